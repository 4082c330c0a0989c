//! State: keys with revisions, transactions that compare first, and watches that miss nothing.
//!
//! [`Store`] is the port through which the server keeps everything it must not forget. It has
//! etcd's semantics and no more than accelnet needs of them, so that a cluster can move from one
//! server with a file ([`SqliteStore`]) to several servers with `EtcdStore` without a change in
//! the code above. [`MemoryStore`] is for tests and simulation.
//!
//! What every backend keeps to (`tests/conformance` runs the same cases over each):
//!
//! * The store has one revision. It grows by at least 1 with each transaction that changes
//!   something: on an etcd that is shared, others make it grow too. A new store is at
//!   [`Revision::FIRST`] or later.
//! * A transaction happens whole or not at all, one after the other; once acknowledged by a durable
//!   backend it survives the loss of power.
//! * A key remembers the revision that created it, the one that last changed it, and how many
//!   changes it has had since it was created. Deleting it forgets all three.
//! * A watch delivers each change after its start exactly once, in order, a transaction as a whole.
//!   If it cannot, it says [`StoreError::Compacted`] and the client lists again; it never skips,
//!   and it never holds up a writer.
//! * Every request, queue and history has a limit, in [`limits`].
//!
//! ```text
//!            Store::txn                              Watch::recv
//!                │                                        ▲
//!         plan (pure, txn.rs)                   cursor over the history
//!                │                                        │
//!   memory: map ─┴─ sqlite: one thread, ──publish──► history (bounded ring)
//!                   group commit, fsync                    ▲
//!   etcd: its own transaction ╌╌╌► etcd ╌╌► feed ──publish──┘
//! ```

// What only etcd needs stands beside what all need; lints look at all of it.
#![cfg_attr(not(feature = "etcd"), allow(dead_code))]

mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod history;
mod kv;
pub mod limits;
mod list;
mod memory;
mod replica;
mod sqlite;
mod txn;
mod watch;

use std::sync::Arc;

pub use error::{InvalidRequest, StoreError};
#[cfg(feature = "etcd")]
pub use etcd::{EtcdOptions, EtcdStore, EtcdTls, Leader};
pub use kv::{Event, EventBatch, KeyValue, Revision};
pub use limits::HistoryLimits;
pub use list::{Listing, Page};
pub use memory::MemoryStore;
pub use replica::{Replica, Snapshot};
pub use sqlite::{OpenError, SqliteOptions, SqliteStore, StoreEnd};
pub use txn::{Compare, Conflict, Op, TxnOutcome};
pub use watch::Watch;

/// Result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Where state is kept. See the crate's documentation for what holds for every backend.
///
/// A deadline is the caller's to set: dropping the future of a read costs nothing; dropping that of
/// [`Store::txn`] leaves open whether the transaction happened, as a broken connection would.
pub trait Store: Send + Sync + 'static {
    /// The value of `key` now, or as it was `at` a revision that is still kept.
    fn get(
        &self,
        key: &str,
        at: Option<Revision>,
    ) -> impl Future<Output = Result<Option<Arc<KeyValue>>>> + Send;

    /// One page of the keys that start with `prefix`, in byte order.
    ///
    /// The prefix is plain text: to list what is below `vms`, pass `vms/`. The empty prefix is
    /// everything.
    fn list(&self, prefix: &str, page: Page) -> impl Future<Output = Result<Listing>> + Send;

    /// Does all `ops` if every compare holds, else nothing.
    ///
    /// Losing the comparison is an outcome, not an error. If nothing would change (no ops, or only
    /// deletes of absent keys) the revision stays.
    fn txn(
        &self,
        compares: Vec<Compare>,
        ops: Vec<Op>,
    ) -> impl Future<Output = Result<TxnOutcome>> + Send;

    /// Everything that happens to keys under `prefix` from revision `from` on, itself included.
    ///
    /// After a [`Store::list`], watch from its revision's [`Revision::next`].
    fn watch(&self, prefix: &str, from: Revision) -> impl Future<Output = Result<Watch>> + Send;

    /// All keys under `prefix`, read page by page at one revision.
    ///
    /// Holds everything in memory; for the start of a server, not for requests of users. Fails with
    /// [`StoreError::Compacted`] if so much is written meanwhile that the revision of the first
    /// page is no longer kept.
    fn list_all(&self, prefix: &str) -> impl Future<Output = Result<Listing>> + Send {
        async move {
            let mut all = self
                .list(prefix, Page::first(limits::PAGE_ITEMS_MAX))
                .await?;
            while let Some(page) = all.next_page(limits::PAGE_ITEMS_MAX) {
                let next = self.list(prefix, page).await?;
                all.items.extend(next.items);
                all.more = next.more;
            }
            Ok(all)
        }
    }
}

impl<S: Store> Store for Arc<S> {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        S::get(self, key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listing> {
        S::list(self, prefix, page).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome> {
        S::txn(self, compares, ops).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        S::watch(self, prefix, from).await
    }
}
