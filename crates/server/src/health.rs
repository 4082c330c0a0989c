//! What is wrong and lasts, and what happened: kept up after changes of wish and reports, and told.
//!
//! ```text
//!   changed ──► look.rs: rules, on what has changed ──► state (rules) ──► shown: lists, watches
//!                                                          │
//!                                                          └──► faults and events to be written ──► store
//! ```
//!
//! One task looks, of the server that decides. Memory leads: what could not be written is written later, and shown all
//! the same.

mod act;
mod announce;
mod events;
mod look;
mod paths;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use accelnet_api::{Event, EventKind};
use accelnet_model::{Acknowledged, Code, Fault, MacAddr, Muted, Problem};
pub use accelnet_rules::health::{Acts, Tuning};
use accelnet_rules::health::{Changed, Key, Moment, State, Stepped};
use accelnet_store::Op;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    Clock, Server, admission,
    apart::apart,
    audit::{Asked, Entry, printable},
    state::health as kept,
};
pub use announce::{Announce, Announcer, NotTaken};
pub use events::Events;
use look::{Extras, Looked};
use paths::Paths;

/// After a look there is none for this long, and for so many times as long as it took: a twentieth of a core at most.
const REST: Duration = Duration::from_secs(1);
const REST_TIMES: u32 = 20;
/// What no change tells of (clocks, certificates, how slow the store is) is looked at this often.
const TICK: Duration = Duration::from_secs(30);
/// What could not be written is written after this.
const AGAIN: Duration = Duration::from_secs(5);

/// How a server looks after its cluster.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// When faults are told.
    pub tuning: Tuning,
    /// What is done about them.
    pub acts: Acts,
    /// What time it is.
    pub clock: Clock,
    /// Whom faults are announced to.
    pub announcer: Announcer,
}

/// Faults and events.
pub struct Health {
    settings: Settings,
    /// When the server began.
    began: Instant,
    inner: tokio::sync::Mutex<Inner>,
    shown: RwLock<Arc<[Fault]>>,
    events: Mutex<Events>,
    /// How often a NIC's path was another one.
    switches: AtomicU64,
    paths: Mutex<Paths>,
}

struct Inner {
    state: State,
    looked: Looked,
    /// Faults to be written, or to be taken away.
    keep: BTreeSet<Key>,
}

impl Health {
    /// As a server before has left it.
    pub fn new(kept: kept::Health, mut settings: Settings) -> Self {
        settings.tuning = settings.acts.tuned(settings.tuning);
        let began = Instant::now();
        let now = Moment {
            at: settings.clock.now(),
            up: Duration::ZERO,
        };
        let state = State::restored(kept.faults, now);
        Self {
            settings,
            began,
            shown: RwLock::new(state.open().into()),
            inner: tokio::sync::Mutex::new(Inner {
                state,
                looked: Looked::default(),
                keep: BTreeSet::new(),
            }),
            events: Mutex::new(Events::kept(kept.events, kept.announced)),
            switches: AtomicU64::new(0),
            paths: Mutex::default(),
        }
    }

    /// Open faults: the worst first.
    pub fn shown(&self) -> Arc<[Fault]> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&shown)
    }

    /// How often a NIC's path was another one than before, since the server's start.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// Since when a NIC is on its path, if that is known, and how often it switched within the last hour.
    pub fn path_of(&self, vm: Uuid, mac: MacAddr) -> (Option<Timestamp>, u32) {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.of(vm, mac, self.now().up)
    }

    /// The last events, in their order.
    pub fn events(&self) -> Vec<Event> {
        self.with_events(|events| events.all().cloned().collect())
    }

    /// The number of the next event.
    pub fn next_event(&self) -> u64 {
        self.with_events(|events| events.next())
    }

    fn with_events<T>(&self, work: impl FnOnce(&mut Events) -> T) -> T {
        work(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Moment {
        Moment {
            at: self.settings.clock.now(),
            up: self.began.elapsed(),
        }
    }

    fn show(&self, inner: &Inner) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        *shown = inner.state.open().into();
    }
}

impl Server {
    /// Looks after the cluster until the server stops.
    pub(crate) async fn look_after_health(&self) {
        let health = &self.shared.health;
        let text = format!("A server of version {} decides.", env!("CARGO_PKG_VERSION"));
        let now = health.now().at;
        health.with_events(|events| events.push(events::of(EventKind::ServerStarted, now, text)));
        let mut changes = self.shared.changes.subscribe();
        let stopping = self.stopping();
        tokio::pin!(stopping);
        let mut tried = act::Tried::default();
        loop {
            changes.borrow_and_update();
            let begun = Instant::now();
            let look_and_act = async {
                let next = self.look_at_health().await;
                let again = self.act_on_faults(&mut tried).await;
                next.into_iter().chain(again).min()
            };
            let next = tokio::select! {
                () = &mut stopping => return,
                next = look_and_act => next,
            };
            let rest = REST.max(begun.elapsed().saturating_mul(REST_TIMES));
            tokio::select! {
                () = &mut stopping => return,
                () = sleep(rest) => {}
            }
            tokio::select! {
                () = &mut stopping => return,
                () = sleep(next.unwrap_or(TICK).min(TICK)) => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One look; after how long something follows from time alone.
    async fn look_at_health(&self) -> Option<Duration> {
        let health = &self.shared.health;
        let mut wish = self.shared.told.newest()?;
        wish.room = Arc::clone(&self.shared.room);
        let seen = self.seen();
        let now = health.now();
        let membership = self.shared.membership.as_ref();
        let mut extras = Extras {
            of_sessions: membership
                .map(|membership| membership.hub.clocks_and_certificates())
                .unwrap_or_default(),
            store_took: self.shared.state.took(),
            silent_servers: membership
                .map(|membership| membership.standbys.silent())
                .unwrap_or_default(),
            took_over: health.with_events(|events| events.took_over(now.at)),
            fragments: Vec::new(),
        };
        let mut inner = health.inner.lock().await;
        let Inner {
            state,
            looked,
            keep,
        } = &mut *inner;
        let (mut stepped, happened) = apart(|| {
            let shortage = admission::shortage_now(&wish, &seen);
            extras.fragments = admission::fragments_now(&wish, &seen);
            looked.look(&wish, &seen, &extras, shortage.as_ref(), now);
            health.switches.store(looked.switched(), Ordering::Relaxed);
            let mut paths = health.paths.lock().unwrap_or_else(PoisonError::into_inner);
            paths.note(looked.path_changes(), now.at, now.up);
            drop(paths);
            let stepped = looked.step(state, now, &health.settings.tuning);
            (stepped, looked.happened(now.at))
        });
        keep.append(&mut stepped.keep);
        let news = !stepped.changes.is_empty() || !happened.is_empty();
        health.with_events(|events| {
            happened.into_iter().for_each(|event| events.push(event));
            for change in &stepped.changes {
                tell_log(change);
                events.push(events::of_fault(change, now.at));
            }
        });
        if stepped.shows {
            health.show(&inner);
        }
        if stepped.shows || news {
            self.changed();
        }
        match self.keep_health(&mut inner).await {
            Ok(()) => stepped.next,
            Err(problem) => {
                tracing::warn!(%problem, "faults and events could not be kept; it is tried again");
                Some(stepped.next.unwrap_or(AGAIN).min(AGAIN))
            }
        }
    }

    /// Tells what follows for faults from somebody's word, and writes it; what cannot be written now is written later.
    async fn take_in(&self, inner: &mut Inner, mut stepped: Stepped, now: Moment) {
        let health = &self.shared.health;
        if stepped == Stepped::default() {
            return;
        }
        inner.keep.append(&mut stepped.keep);
        health.with_events(|events| {
            for change in &stepped.changes {
                tell_log(change);
                events.push(events::of_fault(change, now.at));
            }
        });
        health.show(inner);
        self.changed();
        if let Err(problem) = self.keep_health(inner).await {
            tracing::warn!(%problem, "faults and events could not be kept; it is tried again");
        }
    }

    /// Writes what is to be written.
    async fn keep_health(&self, inner: &mut Inner) -> Result<(), Problem> {
        let health = &self.shared.health;
        let keys: Vec<Key> = inner.keep.iter().cloned().collect();
        let faults = keys.iter().map(|key| inner.fault_op(key, health));
        let mut faults: Vec<Op> = faults.collect::<Result<_, _>>()?;
        let mut written = 0;
        while !faults.is_empty() {
            let rest = faults.split_off(kept::fitting(&faults));
            let count = faults.len();
            self.shared.state.keep_health(faults, None).await?;
            for key in &keys[written..written + count] {
                inner.keep.remove(key);
            }
            written += count;
            faults = rest;
        }
        loop {
            let (ops, last) = health.with_events(|events| events.to_write())?;
            let Some(last) = last else {
                return Ok(());
            };
            self.shared.state.keep_health(ops, None).await?;
            health.with_events(|events| events.written(last));
        }
    }

    /// Sets what somebody says to a fault; the fault after it, and whether it was another before.
    ///
    /// # Errors
    /// `fault_not_found`; if it cannot be written, and then it is as it was.
    pub(crate) async fn mark_fault(
        &self,
        id: &str,
        asked: &Asked,
        mark: impl FnOnce(&mut Fault, &Asked, Timestamp),
    ) -> Result<(Fault, bool), Problem> {
        let health = &self.shared.health;
        let now = health.now().at;
        let mut inner = health.inner.lock().await;
        let mut before = None;
        let marked = inner.state.mark(id, |fault| {
            before = Some(fault.clone());
            mark(fault, asked, now);
        });
        let (Some((key, fault)), Some(before)) = (marked, before) else {
            let text = format!("No open fault has the id '{}'.", printable(id));
            return Err(Problem::new(Code::FaultNotFound, text));
        };
        let changed = fault != before;
        let take_back = |inner: &mut Inner| {
            drop(inner.state.mark(id, |fault| fault.clone_from(&before)));
        };
        if asked.dry_run || !changed {
            take_back(&mut inner);
            return Ok((fault, changed));
        }
        let entry = Entry::new(asked, now);
        let written = match inner.fault_op(&key, health) {
            Ok(op) => self.shared.state.keep_health(vec![op], Some(&entry)).await,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = written {
            take_back(&mut inner);
            return Err(problem);
        }
        health.show(&inner);
        drop(inner);
        self.changed();
        Ok((fault, changed))
    }
}

impl Inner {
    fn fault_op(&self, key: &Key, health: &Health) -> Result<Op, Problem> {
        let kept = self.state.kept(key, &health.settings.tuning);
        kept::fault(&key.fault_id(), kept.as_ref())
    }
}

/// Somebody knows of it.
pub fn acknowledge(fault: &mut Fault, asked: &Asked, now: Timestamp, note: Option<&str>) {
    fault.acknowledged = Some(Acknowledged {
        by: asked.by.to_string(),
        at: now,
        note: note.map(printable),
    });
}

/// Somebody does not want to be told of it for a while.
pub fn mute(
    fault: &mut Fault,
    asked: &Asked,
    now: Timestamp,
    length: Duration,
    note: Option<&str>,
) {
    // An end that no clock can show is refused before.
    let until = now.checked_add(length).unwrap_or(Timestamp::MAX);
    fault.muted = Some(Muted {
        by: asked.by.to_string(),
        until,
        note: note.map(printable),
    });
}

/// Tells the log, with fields by which journalctl and others can choose.
fn tell_log(change: &Changed) {
    let (what, fault) = match change {
        Changed::Opened(fault) => ("opened", fault),
        Changed::Updated(fault) => ("updated", fault),
        Changed::Closed(fault) => ("closed", fault),
    };
    let Fault {
        id,
        code,
        severity,
        object,
        evidence,
        ..
    } = fault;
    let node = object.node.as_ref().map(|node| node.as_str());
    tracing::info!(target: "fault", what, id, %code, %severity, kind = object.kind, name = object.name, node, evidence);
}

#[cfg(test)]
mod tests;
