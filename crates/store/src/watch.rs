//! A watch: a cursor over the history.
//!
//! There is no queue between writer and watcher that could overflow. The cursor remembers the next
//! revision to deliver; what it has not delivered is in the history, whose bound is the bound for
//! everyone. A watcher that falls behind it is cut off with [`StoreError::Compacted`].

use crate::{
    EventBatch, Result, Revision, StoreError,
    history::{Follower, Step},
};

/// Delivers what happens under a prefix. Made by [`crate::Store::watch`].
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    next: Revision,
    history: Follower,
}

impl Watch {
    /// Starts at `from`, if that is still kept.
    pub(crate) fn new(history: Follower, prefix: &str, from: Revision) -> Result<Self> {
        history.check_watch(from)?;
        Ok(Self::at(history, prefix, from))
    }

    /// Starts at `from`, of which the caller knows that it has happened or comes next.
    pub(crate) fn at(history: Follower, prefix: &str, from: Revision) -> Self {
        Self {
            prefix: prefix.to_owned(),
            next: from,
            history,
        }
    }

    /// Waits for the next transaction that touched the prefix.
    ///
    /// Each is delivered once, in order. Cancel safe: if the future is dropped, nothing is lost.
    /// [`StoreError::Compacted`] means that this watcher was too slow and has to list again;
    /// [`StoreError::Closed`] comes after everything written before the store closed.
    pub async fn recv(&mut self) -> Result<EventBatch> {
        loop {
            match self.history.step(self.next, &self.prefix)? {
                Step::Batch(batch) => {
                    self.next = batch.revision.next();
                    return Ok(batch);
                }
                Step::Advance(next) => self.next = next,
                Step::CaughtUp(next) => {
                    self.next = next;
                    if self.history.changed().await.is_err() {
                        let reason = "the watch has ended with it".to_owned();
                        return Err(StoreError::Closed { reason });
                    }
                }
            }
        }
    }

    /// The next transaction, if it is known already: on etcd, what was just written arrives a
    /// moment later.
    pub fn try_recv(&mut self) -> Result<Option<EventBatch>> {
        loop {
            match self.history.step(self.next, &self.prefix)? {
                Step::Batch(batch) => {
                    self.next = batch.revision.next();
                    return Ok(Some(batch));
                }
                Step::Advance(next) => self.next = next,
                Step::CaughtUp(next) => {
                    self.next = next;
                    return Ok(None);
                }
            }
        }
    }

    /// The revision to watch from in order to go on after what was delivered. It moves on while
    /// the watch waits, even if nothing happens under its prefix but elsewhere in the store.
    pub fn resume_from(&self) -> Revision {
        self.next
    }
}
