//! The recent past, held in memory once: what watches read and older revisions are made of.
//!
//! ```text
//!      forgotten        kept (ring)              to come
//!   ──────────────┬────────────────────────┬──────────────
//!        compacted│ oldest            head │ head.next()
//! ```
//!
//! Invariants: the ring holds each transaction after `compacted` up to `head` exactly once, in
//! order of revision. Revisions without one are those of other users of the same etcd. Only the backend
//! appends, through [`Publisher`], after a transaction is durable. Watchers are cursors that read
//! through [`Follower`], so a slow one costs nothing, holds up nobody, and learns from its cursor
//! that it was too slow.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{Event, EventBatch, HistoryLimits, Result, Revision, StoreError, list::Undo};

/// Batches looked at while the lock is held once; the rest after others had their turn.
const SCAN_MAX: usize = 512;

/// Memory of an event beside its keys and values: two reference counts, lengths and revisions.
const EVENT_OVERHEAD_BYTES: usize = 192;

/// The bounded ring.
#[derive(Debug)]
struct Ring {
    limits: HistoryLimits,
    batches: VecDeque<Arc<EventBatch>>,
    bytes: usize,
    compacted: Revision,
    head: Revision,
}

impl Ring {
    fn push(&mut self, batch: EventBatch) {
        debug_assert!(batch.revision > self.head, "the history went back");
        self.head = batch.revision;
        self.bytes += bytes_of(&batch);
        self.batches.push_back(Arc::new(batch));
        while self.batches.len() > 1
            && (self.batches.len() > self.limits.revisions || self.bytes > self.limits.bytes)
        {
            if let Some(gone) = self.batches.pop_front() {
                self.bytes -= bytes_of(&gone);
                self.compacted = gone.revision;
            }
        }
    }

    /// The batches from `from` on, which must not be compacted.
    fn from(&self, from: Revision) -> impl DoubleEndedIterator<Item = &Arc<EventBatch>> {
        let skip = self.batches.partition_point(|batch| batch.revision < from);
        self.batches.range(skip..)
    }
}

fn bytes_of(batch: &EventBatch) -> usize {
    let of_event = |event: &Event| {
        let values = event.current().map_or(0, |kv| kv.value.len())
            + event.prev().map_or(0, |kv| kv.value.len());
        2 * event.key().len() + values + EVENT_OVERHEAD_BYTES
    };
    batch.events.iter().map(of_event).sum()
}

/// The end that appends; dropping it ends all watches.
#[derive(Debug)]
pub(crate) struct Publisher {
    ring: Arc<Mutex<Ring>>,
    head: watch::Sender<Revision>,
}

impl Publisher {
    /// A history that starts after `compacted`.
    pub(crate) fn new(limits: HistoryLimits, compacted: Revision) -> Self {
        let ring = Ring {
            limits,
            batches: VecDeque::new(),
            bytes: 0,
            compacted,
            head: compacted,
        };
        let (head, _) = watch::channel(ring.head);
        Self {
            ring: Arc::new(Mutex::new(ring)),
            head,
        }
    }

    /// Adds what happened, in order of revision, and wakes the watchers.
    pub(crate) fn publish(&self, batches: impl IntoIterator<Item = EventBatch>) {
        let mut ring = lock(&self.ring);
        batches.into_iter().for_each(|batch| ring.push(batch));
        let head = ring.head;
        drop(ring);
        self.head.send_replace(head);
    }

    /// Nothing more happened up to `head`.
    pub(crate) fn advance(&self, head: Revision) {
        let mut ring = lock(&self.ring);
        ring.head = ring.head.max(head);
        let head = ring.head;
        drop(ring);
        self.head.send_replace(head);
    }

    /// What happened up to `compacted` can no longer be known: whoever has not seen it lists again.
    pub(crate) fn forget(&self, compacted: Revision) {
        let mut ring = lock(&self.ring);
        ring.batches.clear();
        ring.bytes = 0;
        ring.compacted = ring.head.max(compacted);
        ring.head = ring.compacted;
        let head = ring.head;
        drop(ring);
        self.head.send_replace(head);
    }

    /// The end that reads.
    pub(crate) fn follower(&self) -> Follower {
        Follower {
            ring: self.ring.clone(),
            head: self.head.subscribe(),
        }
    }
}

/// The end that reads.
#[derive(Debug, Clone)]
pub(crate) struct Follower {
    ring: Arc<Mutex<Ring>>,
    head: watch::Receiver<Revision>,
}

/// What a cursor found.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next transaction that touched the prefix, with only what it did there.
    Batch(EventBatch),
    /// Nothing up to here; there is more to look at.
    Advance(Revision),
    /// Nothing more so far; this revision comes next.
    CaughtUp(Revision),
}

impl Follower {
    /// The store's revision.
    pub(crate) fn head(&self) -> Revision {
        lock(&self.ring).head
    }

    /// The newest revision that is no longer kept; its state still is.
    pub(crate) fn compacted(&self) -> Revision {
        lock(&self.ring).compacted
    }

    /// Waits for a publication since the last call; one that came before this call counts, so that
    /// whoever looks and then waits misses none. Fails once the publisher is gone.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.head.changed().await
    }

    /// Whether a watch can start at `from`.
    pub(crate) fn check_watch(&self, from: Revision) -> Result<()> {
        let ring = lock(&self.ring);
        check(from, ring.compacted.next(), ring.head.next(), ring.head)
    }

    /// What the cursor at `from` sees next under `prefix`. It may be ahead of the history, where
    /// that is told what happened in another process.
    pub(crate) fn step(&self, from: Revision, prefix: &str) -> Result<Step> {
        let ring = lock(&self.ring);
        check(
            from,
            ring.compacted.next(),
            Revision::new(u64::MAX),
            ring.head,
        )?;
        for (scanned, batch) in ring.from(from).enumerate() {
            if scanned == SCAN_MAX {
                return Ok(Step::Advance(batch.revision));
            }
            let here = |event: &&Event| event.key().starts_with(prefix);
            let events: Vec<Event> = batch.events.iter().filter(here).cloned().collect();
            if !events.is_empty() {
                return Ok(Step::Batch(EventBatch {
                    revision: batch.revision,
                    events,
                }));
            }
        }
        Ok(Step::CaughtUp(from.max(ring.head.next())))
    }

    /// The revision a read `at` shows, and what keys that have changed since were then. Keys that
    /// are not `wanted` are left out.
    pub(crate) fn undo(
        &self,
        at: Option<Revision>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(Revision, Undo)> {
        let ring = lock(&self.ring);
        let Some(at) = at else {
            return Ok((ring.head, BTreeMap::new()));
        };
        check(at, ring.compacted, ring.head, ring.head)?;
        let mut undo = BTreeMap::new();
        // Backwards, so that the first change after `at` has the last word.
        for event in ring
            .from(at.next())
            .rev()
            .flat_map(|batch| batch.events.iter().rev())
        {
            if wanted(event.key()) {
                undo.insert(event.key().to_owned(), event.prev().cloned());
            }
        }
        Ok((at, undo))
    }
}

fn check(wanted: Revision, oldest: Revision, newest: Revision, current: Revision) -> Result<()> {
    if wanted < oldest {
        return Err(StoreError::Compacted { wanted, oldest });
    }
    if wanted > newest {
        return Err(StoreError::Future { wanted, current });
    }
    Ok(())
}

/// The ring is whole even if a thread panicked: each change of it is a push or nothing.
fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}
