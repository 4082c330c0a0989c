//! The store as one server has it: answers take their time, and transactions go wrong in every way that a store on a
//! network has. It is the server's process that writes: nothing is written once it is dead.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use accelnet_store::{
    Compare, KeyValue, Listing, MemoryStore, Op, Page, Result, Revision, Store, StoreError,
    TxnOutcome, Watch,
};
use tokio::time::sleep;

use crate::scene::Scene;

/// One server's process, as its store knows it.
#[derive(Debug, Default)]
pub struct Leash {
    dead: AtomicBool,
    deposed: AtomicBool,
}

impl Leash {
    /// Nothing of the process happens any more.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Its lease has ended: it may go on for a while, and must not write.
    pub fn depose(&self) {
        self.deposed.store(true, Ordering::Relaxed);
    }

    /// It has ended.
    pub fn is_deposed(&self) -> bool {
        self.deposed.load(Ordering::Relaxed)
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }
}

/// The store of one server's process.
#[derive(Debug, Clone)]
pub struct SimStore {
    under: Arc<MemoryStore>,
    scene: Scene,
    leash: Arc<Leash>,
}

impl SimStore {
    /// The way of this process to the store.
    pub fn new(under: Arc<MemoryStore>, scene: Scene, leash: Arc<Leash>) -> Self {
        Self {
            under,
            scene,
            leash,
        }
    }

    async fn takes(&self) {
        let slow = self.scene.one_in(self.scene.dangers().store_is_slow);
        let most = Duration::from_millis(if slow { 4000 } else { 8 });
        sleep(self.scene.time(Duration::ZERO, most)).await;
        self.lives().await;
    }

    async fn lives(&self) {
        if self.leash.is_dead() {
            pending::<()>().await;
        }
    }

    fn fails(&self) -> bool {
        self.scene.one_in(self.scene.dangers().store_fails)
    }

    fn unreachable(&self) -> StoreError {
        self.scene.reached("store: unreachable");
        StoreError::Unreachable {
            endpoints: "simulated".into(),
            detail: "no answer".into(),
        }
    }

    fn unknown(&self, way: &str) -> StoreError {
        self.scene.reached(&format!("store: {way}"));
        StoreError::OutcomeUnknown {
            place: "simulated".into(),
            detail: way.into(),
            cure: "It is found out.",
        }
    }
}

impl Store for SimStore {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        self.takes().await;
        if self.fails() {
            return Err(self.unreachable());
        }
        self.under.get(key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listing> {
        self.takes().await;
        if self.fails() {
            return Err(self.unreachable());
        }
        self.under.list(prefix, page).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome> {
        self.takes().await;
        if self.leash.is_deposed() {
            self.scene.reached("store: deposed");
            return Err(StoreError::Deposed);
        }
        let way = match self.fails() {
            true => self.scene.below(4),
            false => usize::MAX,
        };
        match way {
            0 => return Err(self.unreachable()),
            1 => return Err(self.unknown("lost")),
            2 => {
                self.under.txn(compares, ops).await?;
                return Err(self.unknown("made in silence"));
            }
            3 => {
                self.under.txn(compares, ops).await?;
                self.scene.reached("store: no answer");
                return pending().await;
            }
            _ => {}
        }
        let outcome = self.under.txn(compares, ops).await;
        self.takes().await;
        outcome
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        self.takes().await;
        if self.fails() {
            return Err(self.unreachable());
        }
        let watch = self.under.watch(prefix, from).await;
        if matches!(watch, Err(StoreError::Compacted { .. })) {
            self.scene.reached("store: compacted");
        }
        watch
    }
}
