//! A copy in memory that follows its store: for reading where the store's leader is another, or none.
//!
//! It costs the store one list and one watch, whoever reads it, and stays readable when the store does not answer.
//! Then it is old, which it cannot know: whoever reads it has to be told so.

use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use crate::{
    Compare, Event, EventBatch, KeyValue, Listing, Op, Page, Result, Revision, Store, StoreError,
    TxnOutcome, Watch,
    list::{Range, Undo},
    txn,
};

/// After a store that did not answer it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows a store. Dropping it ends that.
#[derive(Debug)]
pub struct Replica {
    latest: watch::Receiver<Option<Snapshot>>,
    following: JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Replica {
    /// Begins to follow what is below a prefix.
    pub fn follow<S: Store>(store: Arc<S>, prefix: &str) -> Self {
        let (told, latest) = watch::channel(None);
        let following = tokio::spawn(follow(store, prefix.to_owned(), told));
        Self { latest, following }
    }

    /// What is known by now; `None` until all of it was read for the first time.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.latest.borrow().clone()
    }
}

async fn follow<S: Store>(store: Arc<S>, prefix: String, latest: watch::Sender<Option<Snapshot>>) {
    loop {
        // What was read stays meanwhile.
        if let Err(error) = follow_on(&*store, &prefix, &latest).await {
            tracing::warn!(%error, "the copy of the store is read anew");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reads all, and follows, until that breaks off.
async fn follow_on<S: Store>(
    store: &S,
    prefix: &str,
    latest: &watch::Sender<Option<Snapshot>>,
) -> Result<()> {
    let all = store.list_all(prefix).await?;
    let mut changes = store.watch(prefix, all.revision.next()).await?;
    let items = all.items.into_iter().map(|kv| (kv.key.clone(), kv));
    latest.send_replace(Some(Snapshot {
        items: Arc::new(items.collect()),
        revision: all.revision,
    }));
    loop {
        let batch = changes.recv().await?;
        latest.send_modify(|copy| {
            if let Some(copy) = copy {
                copy.take(batch);
            }
        });
    }
}

/// A store as it was at one revision. It does not change, and nothing can be written to it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    items: Arc<BTreeMap<String, Arc<KeyValue>>>,
    revision: Revision,
}

impl Snapshot {
    /// Of when it is.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    fn take(&mut self, batch: EventBatch) {
        // Copied only if somebody reads what was before.
        let items = Arc::make_mut(&mut self.items);
        for event in batch.events {
            match event {
                Event::Put { kv, .. } => items.insert(kv.key.clone(), kv),
                Event::Delete { key, .. } => items.remove(&key),
            };
        }
        self.revision = batch.revision;
    }

    /// It has no other revision than its own.
    fn check(&self, at: Option<Revision>) -> Result<()> {
        match at {
            Some(wanted) if wanted > self.revision => Err(StoreError::Future {
                wanted,
                current: self.revision,
            }),
            Some(wanted) if wanted < self.revision => Err(StoreError::Compacted {
                wanted,
                oldest: self.revision,
            }),
            _ => Ok(()),
        }
    }
}

impl Store for Snapshot {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        txn::check_key(key)?;
        self.check(at)?;
        Ok(self.items.get(key).cloned())
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listing> {
        let range = Range::new(prefix, page)?;
        self.check(range.at)?;
        let from = (Bound::Included(range.start()), Bound::Unbounded);
        let walk = self.items.range::<str, _>(from);
        let walk = walk.map(|(_, kv)| Ok(kv.clone()));
        range.at_revision(self.revision, walk, Undo::new())
    }

    async fn txn(&self, _compares: Vec<Compare>, _ops: Vec<Op>) -> Result<TxnOutcome> {
        Err(StoreError::Deposed)
    }

    async fn watch(&self, _prefix: &str, _from: Revision) -> Result<Watch> {
        let reason = "a copy does not change".to_owned();
        Err(StoreError::Closed { reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HistoryLimits, MemoryStore};

    async fn put(store: &MemoryStore, key: &str, value: &str) {
        let ops = vec![Op::put(key, value.as_bytes().to_vec())];
        store.txn(Vec::new(), ops).await.unwrap();
    }

    async fn until(replica: &Replica, store: &MemoryStore) -> Snapshot {
        let now = store.list("a/", Page::first(1)).await.unwrap().revision;
        let is_of_now =
            |copy: &Option<Snapshot>| copy.as_ref().is_some_and(|copy| copy.revision == now);
        let mut latest = replica.latest.clone();
        latest.wait_for(is_of_now).await.unwrap().clone().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn it_shows_what_the_store_shows_and_is_older_where_somebody_holds_it() {
        let store = Arc::new(MemoryStore::new());
        put(&store, "a/1", "one").await;
        put(&store, "b/1", "of others").await;
        let replica = Replica::follow(Arc::clone(&store), "a/");
        assert!(replica.snapshot().is_none(), "nothing was read yet");
        put(&store, "a/2", "two").await;
        let held = until(&replica, &store).await;
        store
            .txn(Vec::new(), vec![Op::delete("a/1")])
            .await
            .unwrap();
        put(&store, "a/2", "two again").await;
        let copy = until(&replica, &store).await;

        assert_eq!(copy.list_all("").await, store.list_all("a/").await);
        let two = copy.get("a/2", None).await.unwrap().unwrap();
        assert_eq!((&*two.value, two.version), (&b"two again"[..], 2));
        assert_eq!(held.list_all("a/").await.unwrap().items.len(), 2);
        let before = Some(held.revision());
        assert!(matches!(
            copy.get("a/2", before).await,
            Err(StoreError::Compacted { .. })
        ));
        let later = Some(copy.revision().next());
        assert!(matches!(
            copy.get("a/2", later).await,
            Err(StoreError::Future { .. })
        ));
    }

    #[tokio::test]
    async fn nothing_is_written_to_it() {
        let store = Arc::new(MemoryStore::new());
        put(&store, "a/1", "one").await;
        let replica = Replica::follow(Arc::clone(&store), "a/");
        let copy = until(&replica, &store).await;
        let written = copy.txn(Vec::new(), vec![Op::delete("a/1")]).await;
        assert_eq!(written, Err(StoreError::Deposed));
        assert!(store.get("a/1", None).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fell_behind_reads_all_anew() {
        let least = HistoryLimits {
            revisions: 1,
            ..HistoryLimits::default()
        };
        let store = Arc::new(MemoryStore::with_history(least));
        let replica = Replica::follow(Arc::clone(&store), "a/");
        until(&replica, &store).await;
        // Without a pause in between: the replica has no turn.
        for number in 0..5 {
            put(&store, &format!("a/{number}"), "x").await;
        }
        let copy = until(&replica, &store).await;
        assert_eq!(copy.list_all("a/").await, store.list_all("a/").await);
    }
}
