//! A store whose answers are lost, or come late.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, Mutex},
};

use accelnet_store::{
    Compare, KeyValue, Listing, MemoryStore, Op, Page, Revision, Store, StoreError, TxnOutcome,
    Watch,
};

/// What becomes of a transaction.
#[derive(Clone, Copy)]
pub enum Way {
    /// It is made, and nobody is told.
    MadeInSilence,
    /// It is lost on its way.
    Lost,
    /// It is made when those after it have been.
    Late,
    /// The backend cannot be reached; nothing was written.
    Refused,
}

/// A store that treats transactions so, one after the other, and then answers.
pub struct Odd {
    store: MemoryStore,
    ways: Mutex<VecDeque<Way>>,
    late: Mutex<Option<(Vec<Compare>, Vec<Op>)>>,
}

impl Odd {
    /// An empty one.
    pub fn new(ways: &[Way]) -> Self {
        Self {
            store: MemoryStore::new(),
            ways: Mutex::new(ways.iter().copied().collect()),
            late: Mutex::default(),
        }
    }

    /// Treats those that come so, from now on.
    pub fn treats_so(&self, ways: &[Way]) {
        *self.ways.lock().unwrap() = ways.iter().copied().collect();
    }
}

impl Store for Odd {
    async fn get(
        &self,
        key: &str,
        at: Option<Revision>,
    ) -> accelnet_store::Result<Option<Arc<KeyValue>>> {
        self.store.get(key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> accelnet_store::Result<Listing> {
        self.store.list(prefix, page).await
    }

    async fn txn(
        &self,
        compares: Vec<Compare>,
        ops: Vec<Op>,
    ) -> accelnet_store::Result<TxnOutcome> {
        let way = self.ways.lock().unwrap().pop_front();
        match way {
            None => {
                let outcome = self.store.txn(compares, ops).await;
                let late = self.late.lock().unwrap().take();
                if let Some((compares, ops)) = late {
                    let late = self.store.txn(compares, ops).await.unwrap();
                    assert_eq!(late.committed(), None, "made twice");
                }
                outcome
            }
            Some(Way::MadeInSilence) => {
                self.store.txn(compares, ops).await.unwrap();
                pending().await
            }
            Some(Way::Late) => {
                *self.late.lock().unwrap() = Some((compares, ops));
                pending().await
            }
            Some(Way::Lost) => pending().await,
            Some(Way::Refused) => Err(StoreError::Backend {
                file: "state".into(),
                detail: "out of reach".into(),
            }),
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> accelnet_store::Result<Watch> {
        self.store.watch(prefix, from).await
    }
}
