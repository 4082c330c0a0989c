//! What is decided while another change is being written rests on that change.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use accelnet_server::fake::{FakeNodes, Running};
use accelnet_store::{
    Compare, KeyValue, Listing, MemoryStore, Op, Page, Result, Revision, Store, StoreError,
    TxnOutcome, Watch,
};
use tokio::sync::{Notify, Semaphore};

use crate::rig::{Answer, Http, intent, with_vms};

/// A store that holds up writes for VMs, and may fail the first.
struct Slow {
    store: MemoryStore,
    /// Writes may go on.
    gate: Semaphore,
    /// One has come to the gate.
    reached: Notify,
    fails: AtomicBool,
    writes: AtomicU32,
}

impl Store for Slow {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        self.store.get(key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listing> {
        self.store.list(prefix, page).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome> {
        if ops.iter().any(|op| op.key().contains("/vms/")) {
            self.writes.fetch_add(1, SeqCst);
            self.reached.notify_one();
            self.gate.acquire().await.unwrap().forget();
            if self.fails.swap(false, SeqCst) {
                return Err(StoreError::Backend {
                    file: "state".into(),
                    detail: "told to fail".into(),
                });
            }
        }
        self.store.txn(compares, ops).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        self.store.watch(prefix, from).await
    }
}

/// The first VM's write is held up until the others have been decided on; these are the answers in order.
async fn asked_meanwhile(vfs: usize, vms: &[u8], fails: bool) -> (Vec<Answer>, u32) {
    let store = Arc::new(Slow {
        store: MemoryStore::new(),
        gate: Semaphore::new(0),
        reached: Notify::new(),
        fails: AtomicBool::new(fails),
        writes: AtomicU32::new(0),
    });
    let mut seen = with_vms(vms);
    seen.node.memory_available_mib = 1 << 20;
    seen.adapters[0].vfs.truncate(vfs);
    let nodes = FakeNodes::new([("node1", seen)]);
    // It sees its VFs free all the time.
    nodes.idle("node1", true);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("accelnet.sock");
    let running = Running::start(Arc::clone(&store), &nodes, &socket).await;
    let http = Http::on(socket);
    http.post("/intents", intent()).await.done();
    http.enable(0).await.done();
    let ask = |vm: u8| {
        let http = http.clone();
        tokio::spawn(async move { http.accelerate(&format!("vm{vm}"), "low").await })
    };
    let mut asked = vec![ask(vms[0])];
    store.reached.notified().await;
    asked.extend(vms[1..].iter().map(|vm| ask(*vm)));
    // All that can happen on this one thread without the gate has happened.
    for _ in 0..5000 {
        tokio::task::yield_now().await;
    }
    assert!(
        asked.iter().all(|asked| !asked.is_finished()),
        "answered too early"
    );
    store.gate.add_permits(vms.len());
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.unwrap());
    }
    running.stop().await;
    (answers, store.writes.load(SeqCst))
}

#[tokio::test]
async fn what_comes_meanwhile_shares_the_next_write() {
    let (answers, writes) = asked_meanwhile(7, &[1, 2, 3, 4, 5, 6], false).await;
    for answer in answers {
        answer.done();
    }
    assert_eq!(writes, 2);
}

#[tokio::test]
async fn a_refusal_rests_on_what_is_written() {
    let (mut answers, _) = asked_meanwhile(1, &[1, 2], false).await;
    answers[1].refused(422, &["cluster_not_enough_resources"]);
    answers.remove(0).done();
}

/// The last VF was as good as given out; then it was not.
#[tokio::test]
async fn nobody_is_refused_for_a_change_that_came_to_nothing() {
    let (mut answers, _) = asked_meanwhile(1, &[1, 2], true).await;
    assert_eq!(answers[0].codes(), ["store_failed"]);
    answers.remove(1).done();
}
