//! The backends under test, and short ways to use a store.

use std::{path::PathBuf, sync::Arc, time::Duration};

use accelnet_store::{
    EventBatch, HistoryLimits, KeyValue, MemoryStore, Op, Page, Revision, SqliteOptions,
    SqliteStore, Store, Watch,
};
use tempfile::TempDir;

/// A test that waits longer than this has failed; nothing waits this long otherwise.
const DEADLINE: Duration = Duration::from_secs(60);

/// Makes a fresh store.
pub trait Backend: Sized {
    type Store: Store;

    async fn open(history: HistoryLimits) -> Self;

    fn store(&self) -> &Arc<Self::Store>;

    /// Makes a store forget that was told to keep only so much, where it does not by itself: what
    /// was before this revision.
    async fn forget_before(&self, _revision: Revision) {}

    /// Lets go of the store; what it leaves on the disk goes too.
    async fn close(self) {}
}

pub struct Memory(Arc<MemoryStore>);

impl Backend for Memory {
    type Store = MemoryStore;

    async fn open(history: HistoryLimits) -> Self {
        Self(Arc::new(MemoryStore::with_history(history)))
    }

    fn store(&self) -> &Arc<MemoryStore> {
        &self.0
    }
}

pub struct Sqlite {
    store: Arc<SqliteStore>,
    _directory: TempDir,
}

impl Backend for Sqlite {
    type Store = SqliteStore;

    async fn open(history: HistoryLimits) -> Self {
        let (_directory, file) = file();
        let options = SqliteOptions {
            history,
            ..SqliteOptions::default()
        };
        let store = Arc::new(SqliteStore::open(file, options).await.unwrap());
        Self { store, _directory }
    }

    fn store(&self) -> &Arc<SqliteStore> {
        &self.store
    }
}

/// A place for a file; it goes with the directory.
pub fn file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state/store.db");
    (directory, file)
}

/// Only so many revisions are kept.
pub fn keep(revisions: usize) -> HistoryLimits {
    HistoryLimits {
        revisions,
        ..HistoryLimits::default()
    }
}

/// Writes one key.
pub async fn put(store: &impl Store, key: &str, value: &str) -> Revision {
    let outcome = store.txn(vec![], vec![Op::put(key, value)]).await.unwrap();
    outcome.committed().expect("nothing was compared")
}

/// Deletes one key.
pub async fn delete(store: &impl Store, key: &str) -> Revision {
    let outcome = store.txn(vec![], vec![Op::delete(key)]).await.unwrap();
    outcome.committed().expect("nothing was compared")
}

/// What a key is now.
pub async fn get(store: &impl Store, key: &str) -> Option<Arc<KeyValue>> {
    store.get(key, None).await.unwrap()
}

/// Where the store stands.
pub async fn revision(store: &impl Store) -> Revision {
    store.list("", Page::first(1)).await.unwrap().revision
}

/// The keys of a prefix.
pub async fn keys(store: &impl Store, prefix: &str) -> Vec<String> {
    let listing = store.list(prefix, Page::first(1000)).await.unwrap();
    listing.items.iter().map(|kv| kv.key.clone()).collect()
}

/// The next batch of a watch, which has to come.
pub async fn next(watch: &mut Watch) -> EventBatch {
    in_time(watch.recv()).await.unwrap()
}

/// Fails the test instead of hanging it.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it did not happen in time")
}
