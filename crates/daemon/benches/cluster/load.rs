//! Who asks: clients over HTTPS with a token, as many at a time as are wanted; and writers of bare transactions.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use accelnet_api::{AccelerateRequest, Client};
use accelnet_model::{Code, Performance};
use accelnet_server::fake::simulated::{Size, uuid, vm_name};
use accelnet_store::{EtcdStore, Op, Store};
use tokio::task::JoinSet;

use crate::{
    shared::{AGAIN, Founded, Place, until},
    written::Shape,
};

/// What all ask for who are to be accelerated.
const LEVEL: Performance = Performance::Medium;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Admission,
    GiveBack,
}

/// VMs of which each is asked for once.
pub struct Vms {
    next: AtomicU64,
    names: Vec<String>,
}

impl Vms {
    fn new(names: impl Iterator<Item = String>) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicU64::new(0),
            names: names.collect(),
        })
    }

    /// These.
    pub fn of(names: Vec<String>) -> Arc<Self> {
        Self::new(names.into_iter())
    }

    /// Those with these numbers on each node, one after the other on nodes that are far from each other.
    pub fn numbered(size: Size, numbers: std::ops::Range<u32>) -> Arc<Self> {
        let node = move |turn: u64| turn * 7919 % size.nodes;
        Self::new(
            numbers.flat_map(move |number| {
                (0..size.nodes).map(move |turn| vm_name(node(turn), number))
            }),
        )
    }

    /// Those of them that are such.
    pub fn only(&self, such: impl Fn(&str) -> bool) -> Arc<Self> {
        let names = self.names.iter().filter(|name| such(name));
        Self::new(names.cloned())
    }

    fn next(&self) -> Option<&str> {
        let turn = self.next.fetch_add(1, SeqCst);
        self.names.get(turn as usize).map(String::as_str)
    }
}

/// A change that a server has acknowledged.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub what: What,
    pub vm: String,
    /// When it was asked for the last time.
    pub asked: Instant,
    pub answered: Instant,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Done {
    pub acknowledged: Vec<Acknowledged>,
    /// What was refused, and why. A machine that is too busy may make a node seem silent.
    pub refused: BTreeMap<Code, u64>,
    pub time: Duration,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        for (code, times) in other.refused {
            *self.refused.entry(code).or_default() += times;
        }
    }

    pub fn names(&self) -> Vec<String> {
        let all = self.acknowledged.iter();
        all.map(|done| done.vm.clone()).collect()
    }

    pub fn rate(&self) -> f64 {
        self.acknowledged.len() as f64 / self.time.as_secs_f64()
    }

    /// In a line; the rate.
    pub fn say(&self, what: &str) {
        let mut times: Vec<Duration> = self
            .acknowledged
            .iter()
            .map(|done| done.answered - done.asked)
            .collect();
        times.sort_unstable();
        println!(
            "    {what}: {:.0} a second, p50 {:.1?}, p99 {:.1?}{}",
            self.rate(),
            at(&times, 50),
            at(&times, 99),
            self.refusals()
        );
    }

    pub fn refusals(&self) -> String {
        let all = self.refused.iter();
        all.map(|(code, times)| format!(", {times} refused: {code}"))
            .collect()
    }
}

/// The time below which so many of a hundred are; they are in order.
pub fn at(times: &[Duration], percent: usize) -> Duration {
    let last = times.len().saturating_sub(1);
    let place = (times.len() * percent / 100).min(last);
    times.get(place).copied().unwrap_or_default()
}

/// Clients that can be stopped.
pub struct Clients {
    all: JoinSet<Done>,
    stop: Arc<AtomicBool>,
    begun: Instant,
}

impl Clients {
    /// Connects so many to a place, and has them ask; whoever is not answered, or sent away, asks again.
    pub async fn start(
        founded: &Founded,
        place: &Place,
        asking: &[(usize, What, Arc<Vms>)],
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut ready = Vec::new();
        for (clients, what, vms) in asking {
            for _ in 0..*clients {
                let client = founded.person(place);
                let known = async || client.whoami().await.ok();
                until("the client is connected", known).await;
                ready.push((client, *what, Arc::clone(vms)));
            }
        }
        let begun = Instant::now();
        let mut all = JoinSet::new();
        for (client, what, vms) in ready {
            let stop = Arc::clone(&stop);
            all.spawn(async move { ask_for_all(&client, what, &vms, &stop).await });
        }
        Self { all, stop, begun }
    }

    /// No more is asked for after this.
    pub fn stop(&self) {
        self.stop.store(true, SeqCst);
    }

    /// Waits for the last answers.
    pub async fn done(self) -> Done {
        let mut done = Done::default();
        for one in self.all.join_all().await {
            done.add(one);
        }
        done.time = self.begun.elapsed();
        done
    }

    /// As many as can be asked for in a time.
    pub async fn for_time(self, time: Duration) -> Done {
        let stop = Arc::clone(&self.stop);
        let timer = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            stop.store(true, SeqCst);
        });
        let done = self.done().await;
        timer.abort();
        done
    }
}

async fn ask_for_all(client: &Client, what: What, vms: &Vms, stop: &AtomicBool) -> Done {
    let mut done = Done::default();
    while !stop.load(SeqCst)
        && let Some(vm) = vms.next()
    {
        loop {
            let asked = Instant::now();
            match ask(client, what, vm).await {
                Ok(()) => {
                    done.acknowledged.push(Acknowledged {
                        what,
                        vm: vm.to_owned(),
                        asked,
                        answered: Instant::now(),
                    });
                    break;
                }
                Err(Code::ServerNotRunning | Code::ServerNotActive | Code::StoreFailed)
                    if !stop.load(SeqCst) =>
                {
                    // As a person does whose command failed: nobody tells when a server is there again.
                    tokio::time::sleep(AGAIN).await;
                }
                Err(code) => {
                    *done.refused.entry(code).or_default() += 1;
                    break;
                }
            }
        }
    }
    done
}

async fn ask(client: &Client, what: What, vm: &str) -> Result<(), Code> {
    let level = match what {
        What::Admission => Some(LEVEL),
        What::GiveBack => None,
    };
    let answer = match level {
        Some(performance) => {
            let request = AccelerateRequest {
                performance,
                must_be_accelerated: None,
                add_adapter: false,
                waive: Vec::new(),
                because: None,
            };
            client.accelerate(vm, &request, false).await
        }
        None => client.decelerate(vm, false).await,
    };
    match answer {
        Ok(outcome) => {
            assert_eq!(outcome.object.level, level, "a wrong answer about {vm}");
            Ok(())
        }
        Err(error) => Err(error.into_problems()[0].code),
    }
}

/// Transactions as an admission makes them, without anybody deciding; how many a second.
pub async fn bare(store: &EtcdStore, shape: Shape, writers: u64, time: Duration) -> f64 {
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        all.spawn(async move {
            let mut times = 0_u64;
            while begun.elapsed() < time {
                let ops = shape.ops(writer, times);
                let done = store.txn(Vec::new(), ops).await.expect("a commit");
                assert!(done.committed().is_some(), "nothing was compared");
                times += 1;
            }
            times
        });
    }
    let times: u64 = all.join_all().await.into_iter().sum();
    times as f64 / begun.elapsed().as_secs_f64()
}

impl Shape {
    fn ops(self, writer: u64, number: u64) -> Vec<Op> {
        let value = |bytes: usize| vec![b'x'; bytes];
        // As long as the real ones.
        let audit = |number: u64| format!("measured/v1/audit/{writer:04}{number:016}");
        vec![
            Op::put("measured/v1/generation", value(self.generation)),
            Op::put(
                format!("measured/v1/vms/{}/spec", uuid(writer, number as u32)),
                value(self.spec),
            ),
            Op::put(audit(number), value(self.audit)),
            Op::delete(audit(number.wrapping_sub(1))),
        ]
    }
}
