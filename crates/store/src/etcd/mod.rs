//! The store in etcd: for several servers.
//!
//! etcd decides and keeps; this turns requests into its own and answers into ours.
//!
//! ```text
//!   get, list ──► read.rs ──┐
//!   txn ────────► write.rs ─┤ seals.rs: no outcome is open    members.rs: one member,
//!                           └──────────────────────────────►  a deadline, what an error means
//!   watch ◄── history ◄── feed.rs ◄── one watch of etcd ◄────┘
//! ```
//!
//! Invariants:
//!
//! * Nothing outside of the prefix is read or written, and below it nothing that is not ours.
//! * Each operation ends within its deadline. An outcome that is not known is told
//!   ([`StoreError::OutcomeUnknown`]), and settled before anything else is read or written
//!   (`seals.rs`).
//! * Reads are linearizable: who reads sees what was acknowledged before, by whichever server.
//! * All watches share one watch of etcd and the history in memory. It is begun anew where it broke
//!   off; if etcd has compacted that far meanwhile, watchers are told.
//!
//! What etcd is to compact is for whoever runs it to say (`--auto-compaction-retention`): an etcd
//! that is shared is not ours to compact.

mod fault;
mod feed;
mod keys;
mod leader;
mod members;
mod options;
mod read;
mod seals;
mod spoken;
mod write;

use std::sync::Arc;

use etcd_client::ResponseHeader;
use tokio::{sync::watch, task::JoinHandle};

use self::{fault::Fault, feed::Feed, keys::Keys, leader::Fence, members::Members, seals::Seals};
pub use self::{
    leader::Leader,
    options::{EtcdOptions, EtcdTls},
};
use crate::{
    Compare, KeyValue, Listing, Op, Page, Result, Revision, Store, StoreError, TxnOutcome, Watch,
    history::{Follower, Publisher},
    list::Range,
    txn::{self, Txn},
};

/// A store in etcd. Cheap to clone; clones are the same store.
#[derive(Debug, Clone)]
pub struct EtcdStore {
    shared: Arc<Shared>,
    /// What each write compares in addition.
    fence: Option<Arc<Fence>>,
}

#[derive(Debug)]
struct Shared {
    members: Arc<Members>,
    keys: Keys,
    seals: Seals,
    history: Follower,
    /// The newest revision that was acknowledged to a writer here. Dropping it ends the feed once
    /// that has arrived.
    written: watch::Sender<Revision>,
    feed: JoinHandle<()>,
}

impl EtcdStore {
    /// Finds etcd, and begins to follow what happens below the prefix.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if the options contradict themselves, [`StoreError::Unreachable`] if
    /// no member answers within the deadline, [`StoreError::Refused`] if one refuses.
    pub async fn connect(options: EtcdOptions) -> Result<Self> {
        options.check()?;
        let members = Arc::new(Members::new(&options).await?);
        let keys = Keys::below(&options.prefix);
        let current = read::current(&members, &keys, members.end()).await;
        let current = match current {
            Ok(current) => current,
            Err(fault) => {
                let error = members.error(fault);
                return Err(spoken::explained(error, &options).await);
            }
        };
        // What happened before, so that who watched another server, or this one before it was
        // started anew, can go on here.
        let kept = u64::try_from(options.history.revisions).unwrap_or(u64::MAX);
        let start = Revision::new(current.get().saturating_sub(kept)).max(Revision::FIRST);
        let publisher = Publisher::new(options.history, start);
        let history = publisher.follower();
        let (written, acknowledged) = watch::channel(Revision::FIRST);
        let feed = Feed::new(Arc::clone(&members), keys.clone(), publisher, acknowledged);
        let feed = tokio::spawn(feed.run());
        Ok(Self {
            shared: Arc::new(Shared {
                members,
                keys,
                seals: Seals::new(),
                history,
                written,
                feed,
            }),
            fence: None,
        })
    }

    /// Ends all watches, after what was written here, and waits for that if this is the last clone.
    pub async fn close(self) {
        if let Some(Shared { feed, written, .. }) = Arc::into_inner(self.shared) {
            drop(written);
            // If it panicked, the panic hook has told.
            let _ = feed.await;
        }
    }

    /// The same store, writing only while the fence stands.
    fn behind(&self, fence: Arc<Fence>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            fence: Some(fence),
        }
    }
}

impl Store for EtcdStore {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        txn::check_key(key)?;
        self.shared.get(self.shared.members.end(), key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listing> {
        let range = Range::new(prefix, page)?;
        self.shared.list(self.shared.members.end(), range).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome> {
        let txn = Txn::new(compares, ops)?;
        let end = self.shared.members.end();
        self.shared.txn(end, self.fence.as_deref(), txn).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        txn::check_prefix(prefix)?;
        let history = self.shared.history.clone();
        match Watch::new(history.clone(), prefix, from) {
            // The history may be behind what the caller has read.
            Err(StoreError::Future { .. }) => {}
            other => return other,
        }
        let Shared { members, keys, .. } = &*self.shared;
        let current = read::current(members, keys, members.end())
            .await
            .map_err(|fault| members.error(fault))?;
        if from > current.next() {
            let wanted = from;
            return Err(StoreError::Future { wanted, current });
        }
        Ok(Watch::at(history, prefix, from))
    }
}

/// The revision of etcd when it answered.
fn revision_of(header: Option<&ResponseHeader>) -> Result<Revision, Fault> {
    let header = header.ok_or_else(|| Fault::Unknown("its answer has no header".to_owned()))?;
    Ok(keys::revision(header.revision()))
}
