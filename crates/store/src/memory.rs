//! The store in memory: for tests, the simulator, and as the plainest statement of the semantics.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    Compare, Event, HistoryLimits, KeyValue, Listing, Op, Page, Result, Revision, Store,
    TxnOutcome, Watch,
    history::{Follower, Publisher},
    list::Range,
    txn::{self, Plan, Txn},
};

/// Forgets everything when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    history: Follower,
}

/// Lock order: state, then history. Both change under the state's lock, so whoever holds it sees
/// the map at the history's head.
#[derive(Debug)]
struct State {
    current: BTreeMap<String, Arc<KeyValue>>,
    publisher: Publisher,
}

impl MemoryStore {
    /// An empty store with the default history.
    pub fn new() -> Self {
        Self::with_history(HistoryLimits::default())
    }

    /// An empty store that keeps so much of the past.
    pub fn with_history(limits: HistoryLimits) -> Self {
        let publisher = Publisher::new(limits, Revision::FIRST);
        let history = publisher.follower();
        Self {
            state: Mutex::new(State {
                current: BTreeMap::new(),
                publisher,
            }),
            history,
        }
    }

    /// The state is whole even if a thread panicked: planning, which could, changes nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

fn ok<T>(result: Result<T, Infallible>) -> T {
    result.unwrap_or_else(|never| match never {})
}

impl Store for MemoryStore {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        txn::check_key(key)?;
        let state = self.state();
        let (_, mut undo) = self.history.undo(at, |changed| changed == key)?;
        Ok(undo
            .remove(key)
            .unwrap_or_else(|| state.current.get(key).cloned()))
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listing> {
        let range = Range::new(prefix, page)?;
        let state = self.state();
        let (revision, undo) = self.history.undo(range.at, |key| range.contains(key))?;
        let walk = state
            .current
            .range::<str, _>((Bound::Included(range.start()), Bound::Unbounded));
        Ok(ok(range.at_revision(
            revision,
            walk.map(|(_, kv)| Ok(kv.clone())),
            undo,
        )))
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome> {
        let txn = Txn::new(compares, ops)?;
        let mut state = self.state();
        let revision = self.history.head();
        Ok(
            match ok(txn.plan(revision.next(), |key| Ok(state.current.get(key).cloned()))) {
                Plan::Conflict(conflicts) => TxnOutcome::Conflict {
                    revision,
                    conflicts,
                },
                Plan::Nothing => TxnOutcome::Committed { revision },
                Plan::Write(batch) => {
                    for event in &batch.events {
                        match event {
                            Event::Put { kv, .. } => {
                                state.current.insert(kv.key.clone(), kv.clone())
                            }
                            Event::Delete { key, .. } => state.current.remove(key),
                        };
                    }
                    let revision = batch.revision;
                    state.publisher.publish([batch]);
                    TxnOutcome::Committed { revision }
                }
            },
        )
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        txn::check_prefix(prefix)?;
        Watch::new(self.history.clone(), prefix, from)
    }
}
