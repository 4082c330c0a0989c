//! What all parts of a run share: chance, what has happened, and what may go wrong.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// So many of the last things that happened are told with what went wrong.
const REMEMBERED: usize = 400;

/// What may go wrong in a run. Of each kind a run has none, or some: what is rare beside everything else is found by
/// runs that have nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dangers {
    /// Of so many changing calls one fails; none if 0.
    pub call_fails: u32,
    /// Of so many things that an agent's process does one is its last.
    pub agent_dies: u32,
    /// Of so many calls one takes long.
    pub call_is_slow: u32,
    /// Of so many requests to the store one goes wrong.
    pub store_fails: u32,
    /// Of so many one takes seconds.
    pub store_is_slow: u32,
    /// Of so many messages one takes seconds.
    pub net_is_slow: u32,
    /// Of so many reports one comes twice.
    pub net_doubles: u32,
}

impl Dangers {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        call_fails: 0,
        agent_dies: 0,
        call_is_slow: 0,
        store_fails: 0,
        store_is_slow: 0,
        net_is_slow: 0,
        net_doubles: 0,
    };

    /// Some of all.
    fn any(chance: &mut Rng) -> Self {
        let mut one_in = |often: &[u32]| match chance.bool() {
            true => often[chance.usize(..often.len())],
            false => 0,
        };
        Self {
            call_fails: one_in(&[4, 20, 100]),
            agent_dies: one_in(&[30, 150, 600]),
            call_is_slow: one_in(&[5, 30]),
            store_fails: one_in(&[8, 50]),
            store_is_slow: one_in(&[10, 60]),
            net_is_slow: one_in(&[5, 40]),
            net_doubles: one_in(&[2, 20]),
        }
    }
}

#[derive(Debug)]
struct Inner {
    chance: Rng,
    dangers: Dangers,
    now: Duration,
    steps: u64,
    hash: u64,
    last: VecDeque<String>,
    aloud: bool,
    reached: BTreeMap<String, u64>,
    violations: Vec<String>,
    trouble: Duration,
}

/// One run's. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Scene(Arc<Mutex<Inner>>);

/// What a run was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Things that happened, one after the other.
    pub steps: u64,
    /// Of all that happened: two runs of one seed have the same.
    pub hash: u64,
    /// How often what was reached.
    pub reached: BTreeMap<String, u64>,
    /// How long it was, in its own time.
    pub lasted: Duration,
}

/// Things that happen while no time passes: whoever is busy without end works in vain.
#[derive(Debug, Clone, Copy, Default)]
pub struct AtOnce {
    since: Duration,
    count: u64,
}

impl AtOnce {
    /// Far from what there is to do for some VMs.
    const MOST: u64 = 50_000;

    /// One more thing.
    ///
    /// # Errors
    /// It is one too many.
    pub fn count(&mut self, now: Duration) -> Result<(), String> {
        if self.since != now {
            *self = Self {
                since: now,
                count: 0,
            };
        }
        self.count += 1;
        match self.count > Self::MOST {
            true => Err(format!("{} things at {now:?}", self.count)),
            false => Ok(()),
        }
    }
}

impl Summary {
    /// Another run beside this one.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.lasted += other.lasted;
        for (point, count) in &other.reached {
            *self.reached.entry(point.clone()).or_default() += count;
        }
    }
}

impl Scene {
    /// The scene of a seed.
    pub fn new(seed: u64, aloud: bool) -> Self {
        // Apart from the rest, so that one kind of danger more does not make other runs of all seeds.
        let dangers = Dangers::any(&mut Rng::with_seed(!seed));
        let chance = Rng::with_seed(seed);
        Self(Arc::new(Mutex::new(Inner {
            chance,
            dangers,
            now: Duration::ZERO,
            steps: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            last: VecDeque::new(),
            aloud,
            reached: BTreeMap::new(),
            violations: Vec::new(),
            trouble: Duration::ZERO,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number below this.
    pub fn below(&self, end: usize) -> usize {
        self.lock().chance.usize(..end.max(1))
    }

    /// One time of so many; never if 0.
    pub fn one_in(&self, often: u32) -> bool {
        often > 0 && self.lock().chance.u32(..often) == 0
    }

    /// A time from `least` to `most`.
    pub fn time(&self, least: Duration, most: Duration) -> Duration {
        let range = least.as_micros() as u64..=most.as_micros() as u64;
        Duration::from_micros(self.lock().chance.u64(range))
    }

    /// What may go wrong.
    pub fn dangers(&self) -> Dangers {
        self.lock().dangers
    }

    /// Changes that.
    pub fn set_dangers(&self, dangers: Dangers) {
        self.lock().dangers = dangers;
    }

    /// The time.
    pub fn now(&self) -> Duration {
        self.lock().now
    }

    /// It passes.
    pub fn set_now(&self, now: Duration) {
        self.lock().now = now;
    }

    /// Whoever should act just now cannot, or not in time.
    pub fn trouble(&self) {
        let mut inner = self.lock();
        inner.trouble = inner.now;
    }

    /// When that was last.
    pub fn last_trouble(&self) -> Duration {
        self.lock().trouble
    }

    /// Something happened.
    pub fn step(&self, what: &str) {
        self.lock().steps += 1;
        self.note(what);
    }

    /// Something is to be known of what happened.
    pub fn note(&self, what: &str) {
        let mut inner = self.lock();
        let mut line = String::new();
        // Text takes whatever is written.
        let _ = write!(line, "{:>12.6} {what}", inner.now.as_secs_f64());
        for byte in line.bytes() {
            // FNV-1a (draft-eastlake-fnv): the same on every machine.
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if inner.aloud {
            eprintln!("{line}");
        }
        if inner.last.len() == REMEMBERED {
            inner.last.pop_front();
        }
        inner.last.push_back(line);
    }

    /// A point was reached that a long run has to reach.
    pub fn reached(&self, point: &str) {
        let mut inner = self.lock();
        *inner.reached.entry(point.to_owned()).or_default() += 1;
    }

    /// Something that must never be.
    pub fn violation(&self, what: String) {
        self.note(&format!("VIOLATION {what}"));
        self.lock().violations.push(what);
    }

    /// What must never be and was.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// What happened last.
    pub fn last(&self) -> Vec<String> {
        self.lock().last.iter().cloned().collect()
    }

    /// What it was so far.
    pub fn summary(&self) -> Summary {
        let inner = self.lock();
        Summary {
            steps: inner.steps,
            hash: inner.hash,
            reached: inner.reached.clone(),
            lasted: inner.now,
        }
    }
}
