//! Faults as they are kept: what is wrong waits for its window, is open, and closes when it has been gone for another.
//!
//! ```text
//!                 wrong             for its window             right for its window
//!     (nothing) ───────► Waiting ─────────────────► Open ──────────────────────────► (nothing), or Gone while muted
//!         ▲                 │ right                   │ not seen: stays as it is
//!         └─────────────────┘                         └─┐
//! ```
//!
//! A pure function of what was found, the time, and the state before. Windows are measured by a clock that only goes
//! forward; the time of day is for people, and for what is known to be so since a time of day.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_model::{Fault, FaultObject, Name};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod counter;

use counter::Counter;

use super::{Detection, Finding, Key, Tuning, Verdict, Window, detection::of};

/// Evidence that changes is told at most this often: what goes to and fro would be written with each look.
pub const UPDATED_EVERY: Duration = Duration::from_secs(60);
/// What waits longer than this is kept too, so that a server that is started anew does not begin to wait anew.
const KEPT_FROM: Duration = Duration::from_secs(600);
/// So many can be open: a cluster of 1,000 nodes with ten each. More are nothing that anybody could read, and each is
/// a key in the store; those that do not fit wait.
const OPEN_MAX: usize = 10_000;

/// A moment, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The time of day.
    pub at: Timestamp,
    /// Since some beginning; never goes back.
    pub up: Duration,
}

/// How far a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is wrong, and not for long enough.
    Waiting,
    /// It is told.
    Open,
    /// It is not wrong; only that it is muted is remembered.
    Gone,
}

/// One condition of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// How far it is.
    pub phase: Phase,
    /// As it is told, or would be.
    pub fault: Fault,
    /// Since when it is wrong by the clock that goes forward, and how long it had been before that began.
    wrong: (Duration, Duration),
    /// Since when it is right.
    right: Option<Duration>,
    /// When its evidence was told last.
    told: Duration,
    /// What was done about it, or why nothing was; the end of its evidence.
    remark: Option<String>,
}

impl Entry {
    /// Its evidence without what was done about it.
    fn plain_evidence(&self) -> &str {
        let evidence = self.fault.evidence.as_str();
        let remark = self.remark.as_deref();
        let plain = remark.and_then(|remark| evidence.strip_suffix(remark));
        plain.map_or(evidence, str::trim_end)
    }

    fn with_remark(&self, evidence: String) -> String {
        match &self.remark {
            Some(remark) => format!("{evidence} {remark}"),
            None => evidence,
        }
    }
}

/// What is kept of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// How far it is.
    pub phase: Phase,
    /// The fault.
    pub fault: Fault,
    /// The end of its evidence: what was done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// A change that is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// A fault is there.
    Opened(Fault),
    /// It is worse, or less bad, or its evidence is another.
    Updated(Fault),
    /// It is gone.
    Closed(Fault),
}

/// What comes of a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stepped {
    /// What is told.
    pub changes: Vec<Changed>,
    /// What is to be kept anew, or not to be kept any more.
    pub keep: BTreeSet<Key>,
    /// Something of what is shown is another.
    pub shows: bool,
    /// After this, something follows from time alone.
    pub next: Option<Duration>,
}

impl Stepped {
    fn in_time(&mut self, left: Duration) {
        self.next = Some(self.next.map_or(left, |next| next.min(left)));
    }
}

/// What cannot be seen just now, beside what rules say of single objects.
pub struct Sight<'a> {
    /// Nodes without a report of now.
    pub silent: &'a BTreeSet<Name>,
    /// Objects, by kind and id.
    pub unseen: &'a BTreeSet<(String, String)>,
    /// Whether a VM, by its UUID, can be seen on another node than the one that it was on.
    pub vm_elsewhere: &'a dyn Fn(&str) -> bool,
}

impl Sight<'_> {
    /// Nothing can be said of this condition.
    fn hides(&self, detection: &Detection, object: &FaultObject) -> bool {
        let FaultObject { kind, id, node, .. } = object;
        if !detection.by_node {
            return false;
        }
        if self.unseen.contains(&(kind.clone(), id.clone())) {
            return true;
        }
        let silent = node.as_ref().is_some_and(|node| self.silent.contains(node));
        silent && (kind != "vm" || !(self.vm_elsewhere)(id))
    }
}

/// All conditions that are wrong, were a moment ago, or are muted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    entries: BTreeMap<Key, Entry>,
    counters: BTreeMap<Key, Counter>,
}

/// What a verdict says at this moment.
enum Says {
    Wrong(Finding),
    Right,
    Nothing,
}

impl State {
    /// The state as it was kept by a server before.
    pub fn restored(kept: impl IntoIterator<Item = Kept>, now: Moment) -> Self {
        let entries = kept.into_iter().map(
            |Kept {
                 phase,
                 fault,
                 remark,
             }| {
                let passed = now.at.duration_since(fault.since);
                let passed = Duration::try_from(passed).unwrap_or_default();
                let entry = Entry {
                    phase,
                    wrong: (now.up, passed),
                    right: None,
                    told: now.up,
                    remark,
                    fault,
                };
                (Key::of(entry.fault.code, &entry.fault.object), entry)
            },
        );
        Self {
            entries: entries.collect(),
            counters: BTreeMap::new(),
        }
    }

    /// What is to be kept of a condition; nothing if it is not worth it.
    pub fn kept(&self, key: &Key, tuning: &Tuning) -> Option<Kept> {
        let entry = self.entries.get(key)?;
        is_kept(entry, tuning).then(|| Kept {
            phase: entry.phase,
            fault: entry.fault.clone(),
            remark: entry.remark.clone(),
        })
    }

    /// Open faults: the worst first, of these the oldest.
    pub fn open(&self) -> Vec<Fault> {
        let open = self
            .entries
            .values()
            .filter(|entry| entry.phase == Phase::Open);
        let mut open: Vec<Fault> = open.map(|entry| entry.fault.clone()).collect();
        open.sort_by(|one, other| {
            let worst = other.severity.cmp(&one.severity);
            worst
                .then(one.since.cmp(&other.since))
                .then(one.id.cmp(&other.id))
        });
        open
    }

    /// Sets what somebody said to a fault that is open, or is gone and muted, by its id; its key and the fault after it,
    /// `None` if there is none.
    pub fn mark(&mut self, id: &str, mark: impl FnOnce(&mut Fault)) -> Option<(Key, Fault)> {
        let mut told = self.entries.iter_mut();
        let (key, entry) =
            told.find(|(_, entry)| entry.phase != Phase::Waiting && entry.fault.id == id)?;
        mark(&mut entry.fault);
        Some((key.clone(), entry.fault.clone()))
    }

    /// What was found of an open fault, by its id, without what was done about it.
    pub fn found(&self, id: &str) -> Option<&str> {
        let mut open = self.entries.values();
        let found = open.find(|entry| entry.phase == Phase::Open && entry.fault.id == id)?;
        Some(found.plain_evidence())
    }

    /// Says of an open fault, by its id, what was done about it, or why nothing was: the end of its evidence from now on.
    pub fn remark(&mut self, id: &str, remark: &str, now: Moment) -> Stepped {
        let mut stepped = Stepped::default();
        let mut open = self.entries.iter_mut();
        let found = open.find(|(_, entry)| entry.phase == Phase::Open && entry.fault.id == id);
        let Some((key, entry)) = found else {
            return stepped;
        };
        if entry.remark.as_deref() == Some(remark) {
            return stepped;
        }
        let evidence = entry.plain_evidence().to_owned();
        entry.remark = Some(remark.to_owned());
        entry.fault.evidence = entry.with_remark(evidence);
        entry.told = now.up;
        let changed = Changed::Updated(entry.fault.clone());
        stepped.changes.push(changed);
        stepped.keep.insert(key.clone());
        stepped.shows = true;
        stepped
    }

    /// Somebody says that a condition is cured: what was counted of it counts no more, and its fault closes. If it is
    /// found again it is another.
    pub fn cleared(&mut self, key: &Key) -> Stepped {
        let mut stepped = Stepped::default();
        self.counters.remove(key);
        match self.entries.get(key).map(|entry| entry.phase) {
            Some(Phase::Open) => self.close(key, &mut stepped),
            Some(Phase::Waiting) => {
                self.entries.remove(key);
                stepped.keep.insert(key.clone());
            }
            Some(Phase::Gone) | None => {}
        }
        stepped
    }

    /// One step: what was found, at a moment.
    pub fn step<'a>(
        &mut self,
        verdicts: impl IntoIterator<Item = (&'a Key, &'a Verdict)>,
        sight: &Sight<'_>,
        now: Moment,
        tuning: &Tuning,
    ) -> Stepped {
        let mut stepped = Stepped::default();
        let mut said = BTreeSet::new();
        for (key, verdict) in verdicts {
            let Some((detection, window)) = window(key, tuning) else {
                continue;
            };
            said.insert(key);
            let says = self.says(key, verdict, window, now);
            self.take(key, (detection, window), says, now, &mut stepped);
        }
        let others = self.entries.iter().filter(|(key, _)| !said.contains(key));
        let others: Vec<(Key, bool)> = others
            .map(|(key, entry)| {
                let hidden = of(key.code)
                    .is_some_and(|detection| sight.hides(detection, &entry.fault.object));
                (key.clone(), hidden)
            })
            .collect();
        // A counter that nobody tells any more would begin where it ended.
        let entries = &self.entries;
        self.counters
            .retain(|key, _| said.contains(key) || entries.contains_key(key));
        for (key, hidden) in others {
            let says = if hidden { Says::Nothing } else { Says::Right };
            match window(&key, tuning) {
                Some(known) => self.take(&key, known, says, now, &mut stepped),
                // It was turned off, or is of another version's.
                None => self.drop(&key, now, &mut stepped),
            }
        }
        self.end_mutes(now, &mut stepped);
        stepped
    }

    fn says(&mut self, key: &Key, verdict: &Verdict, window: Window, now: Moment) -> Says {
        let (finding, total) = match verdict {
            Verdict::NotSeen => return Says::Nothing,
            Verdict::Wrong(finding) => return Says::Wrong(finding.clone()),
            Verdict::Counted(finding, total) => (finding, *total),
        };
        let Window::Counts { times, within } = window else {
            return Says::Nothing;
        };
        // What was before the first look is nobody's news.
        let first = || Counter::at(total);
        let counter = self.counters.entry(key.clone()).or_insert_with(first);
        let new = counter.takes(total, now.up, within);
        let sum = counter.sum();
        let open = self.entries.get(key).map(|entry| entry.phase) == Some(Phase::Open);
        if new == 0 || (sum < times && !open) {
            return Says::Right;
        }
        let mut finding = finding.clone();
        let much = if sum == 1 {
            "Once".to_owned()
        } else {
            format!("{sum} times")
        };
        let evidence = &finding.evidence;
        finding.evidence = format!("{evidence} {much} within {}.", words(within));
        Says::Wrong(finding)
    }

    fn take(
        &mut self,
        key: &Key,
        (detection, window): (&Detection, Window),
        says: Says,
        now: Moment,
        stepped: &mut Stepped,
    ) {
        match says {
            Says::Wrong(finding) => self.wrong(key, detection, window, finding, now, stepped),
            Says::Right => self.right(key, window, now, stepped),
            Says::Nothing => self.not_seen(key, now, stepped),
        }
    }

    fn wrong(
        &mut self,
        key: &Key,
        detection: &Detection,
        window: Window,
        mut finding: Finding,
        now: Moment,
        stepped: &mut Stepped,
    ) {
        let (opens, _) = window.lengths();
        if let Some(entry) = self.entries.get(key) {
            finding.evidence = entry.with_remark(finding.evidence);
        }
        let room = self.entries.len() < OPEN_MAX
            || self
                .entries
                .values()
                .filter(|entry| entry.phase == Phase::Open)
                .count()
                < OPEN_MAX;
        let known = self.entries.get(key);
        let since = finding.since.unwrap_or(now.at);
        let begins = known.is_none_or(|entry| entry.phase == Phase::Gone);
        if begins {
            let muted = known.and_then(|entry| entry.fault.muted.clone());
            let fault = Fault {
                id: key.fault_id(),
                code: detection.code,
                title: detection.code.title().to_owned(),
                severity: finding.severity,
                object: finding.object.clone(),
                since,
                opened: now.at,
                last_seen: None,
                evidence: finding.evidence.clone(),
                cure: cure(detection, &finding),
                acknowledged: None,
                muted,
            };
            let entry = Entry {
                phase: Phase::Waiting,
                fault,
                wrong: (now.up, Duration::ZERO),
                right: None,
                told: now.up,
                remark: None,
            };
            if opens >= KEPT_FROM || known.is_some() {
                stepped.keep.insert(key.clone());
            }
            self.entries.insert(key.clone(), entry);
        }
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.right = None;
        if entry.fault.last_seen.take().is_some() {
            stepped.shows |= entry.phase == Phase::Open;
        }
        match entry.phase {
            Phase::Waiting => {
                let fault = &mut entry.fault;
                fault.severity = finding.severity;
                fault.cure = cure(detection, &finding);
                (fault.object, fault.evidence) = (finding.object, finding.evidence);
                let lasted = match finding.since {
                    Some(since) => {
                        fault.since = since;
                        Duration::try_from(now.at.duration_since(since)).unwrap_or_default()
                    }
                    None => now.up.saturating_sub(entry.wrong.0) + entry.wrong.1,
                };
                if lasted < opens {
                    return stepped.in_time(opens - lasted);
                }
                if !room {
                    return;
                }
                entry.phase = Phase::Open;
                entry.told = now.up;
                entry.fault.opened = now.at;
                stepped.changes.push(Changed::Opened(entry.fault.clone()));
                stepped.keep.insert(key.clone());
                stepped.shows = true;
            }
            Phase::Open => update(key, entry, detection, finding, now, stepped),
            Phase::Gone => {}
        }
    }

    fn right(&mut self, key: &Key, window: Window, now: Moment, stepped: &mut Stepped) {
        let (opens, closes) = window.lengths();
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        match entry.phase {
            Phase::Gone => {}
            Phase::Waiting => {
                let kept = opens >= KEPT_FROM || entry.fault.muted.is_some();
                match entry.fault.muted {
                    Some(_) => entry.phase = Phase::Gone,
                    None => drop(self.entries.remove(key)),
                }
                if kept {
                    stepped.keep.insert(key.clone());
                }
            }
            Phase::Open => {
                let since = *entry.right.get_or_insert(now.up);
                if entry.fault.last_seen.is_none() {
                    entry.fault.last_seen = Some(now.at);
                    stepped.shows = true;
                }
                let gone = now.up.saturating_sub(since);
                match gone < closes {
                    true => stepped.in_time(closes - gone),
                    false => self.close(key, stepped),
                }
            }
        }
    }

    fn not_seen(&mut self, key: &Key, now: Moment, stepped: &mut Stepped) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        // Whether it is still right nobody knows.
        entry.right = None;
        if entry.phase == Phase::Open && entry.fault.last_seen.is_none() {
            entry.fault.last_seen = Some(now.at);
            stepped.shows = true;
        }
    }

    fn close(&mut self, key: &Key, stepped: &mut Stepped) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        stepped.changes.push(Changed::Closed(entry.fault.clone()));
        stepped.keep.insert(key.clone());
        stepped.shows = true;
        // Somebody knew of this one, not of the next; nor was anything done about that.
        entry.fault.acknowledged = None;
        entry.remark = None;
        match entry.fault.muted {
            Some(_) => entry.phase = Phase::Gone,
            None => drop(self.entries.remove(key)),
        }
    }

    fn drop(&mut self, key: &Key, now: Moment, stepped: &mut Stepped) {
        let open = self.entries.get(key).map(|entry| entry.phase) == Some(Phase::Open);
        if open {
            self.close(key, stepped);
        }
        if let Some(entry) = self.entries.remove(key)
            && (entry.phase != Phase::Waiting || entry.told < now.up)
        {
            stepped.keep.insert(key.clone());
        }
    }

    fn end_mutes(&mut self, now: Moment, stepped: &mut Stepped) {
        let mut over = Vec::new();
        for (key, entry) in &mut self.entries {
            let Some(until) = entry.fault.muted.as_ref().map(|muted| muted.until) else {
                continue;
            };
            match Duration::try_from(until.duration_since(now.at)) {
                Ok(left) if !left.is_zero() => stepped.in_time(left),
                _ => {
                    entry.fault.muted = None;
                    stepped.keep.insert(key.clone());
                    stepped.shows |= entry.phase == Phase::Open;
                    over.extend((entry.phase == Phase::Gone).then(|| key.clone()));
                }
            }
        }
        for key in over {
            self.entries.remove(&key);
        }
    }
}

fn is_kept(entry: &Entry, tuning: &Tuning) -> bool {
    match entry.phase {
        Phase::Open | Phase::Gone => true,
        Phase::Waiting => {
            let window = of(entry.fault.code).and_then(|known| tuning.window(known));
            let long = window.is_some_and(|window| window.lengths().0 >= KEPT_FROM);
            long || entry.fault.muted.is_some()
        }
    }
}

/// A fault that is open as it is now.
fn update(
    key: &Key,
    entry: &mut Entry,
    detection: &Detection,
    finding: Finding,
    now: Moment,
    stepped: &mut Stepped,
) {
    let cure = cure(detection, &finding);
    let fault = &mut entry.fault;
    let worse = finding.severity != fault.severity;
    let moved = finding.object != fault.object;
    let other = finding.evidence != fault.evidence || cure != fault.cure;
    let left = (entry.told + UPDATED_EVERY).saturating_sub(now.up);
    if !worse && !moved && !other {
        return;
    }
    if !worse && !moved && !left.is_zero() {
        return stepped.in_time(left);
    }
    entry.told = now.up;
    fault.severity = finding.severity;
    (fault.object, fault.evidence, fault.cure) = (finding.object, finding.evidence, cure);
    stepped.changes.push(Changed::Updated(fault.clone()));
    stepped.keep.insert(key.clone());
    stepped.shows = true;
}

fn cure(detection: &Detection, finding: &Finding) -> String {
    let own = finding.cure.clone();
    own.unwrap_or_else(|| detection.code.cure().to_owned())
}

fn window(key: &Key, tuning: &Tuning) -> Option<(&'static Detection, Window)> {
    let detection = of(key.code)?;
    Some((detection, tuning.window(detection)?))
}

/// A length of time in words.
pub(super) fn words(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
