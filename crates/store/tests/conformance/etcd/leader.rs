//! Leading: one at a time, and who no longer leads does not write.

use std::{sync::mpsc, thread, time::Duration};

use accelnet_store::{Compare, EtcdOptions, EtcdStore, Op, Store, StoreError};

use super::{PATIENT, cluster::Cluster};
use crate::backend::{get, in_time, put};

/// The shortest that etcd grants.
const LEASE: Duration = Duration::from_secs(2);

async fn store(cluster: &Cluster) -> EtcdStore {
    let options = EtcdOptions {
        deadline: PATIENT,
        ..cluster.options()
    };
    EtcdStore::connect(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn e50_the_next_leads_when_the_first_gives_it_up() {
    let cluster = Cluster::start(1).await;
    let (one, other) = (store(&cluster).await, store(&cluster).await);
    let first = in_time(one.lead("one", LEASE)).await.unwrap();
    put(first.store(), "a", "first").await;
    let mut waiting = Box::pin(other.lead("other", LEASE));
    let early = tokio::time::timeout(2 * LEASE, waiting.as_mut()).await;
    assert!(early.is_err(), "a lease that is kept alive does not end");
    assert!(first.leads());
    let old = first.store().clone();
    drop(first);
    let second = in_time(waiting).await.unwrap();
    assert!(second.leads());
    put(second.store(), "a", "second").await;
    let late = old.txn(vec![], vec![Op::put("a", "late")]).await;
    assert_eq!(late.unwrap_err(), StoreError::Deposed);
    assert_eq!(get(&one, "a").await.unwrap().value, b"second");
}

/// The leader's whole runtime stands still, as a process does that is stopped: no keep-alive, no
/// clock, no notice. When it goes on, the first thing it does is to write.
#[tokio::test(flavor = "multi_thread")]
async fn e51_a_leader_that_stood_still_is_deposed_and_writes_nothing() {
    let cluster = Cluster::start(1).await;
    let options = cluster.options();
    let (led, leads) = mpsc::channel();
    let (go_on, stands) = mpsc::channel::<()>();
    let sleeper = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut leader = runtime.block_on(async {
            let store = EtcdStore::connect(options).await.unwrap();
            let leader = store.lead("sleeper", LEASE).await.unwrap();
            put(leader.store(), "a", "sleeper").await;
            leader
        });
        led.send(()).unwrap();
        stands.recv().unwrap();
        runtime.block_on(async {
            let write = leader.store().txn(vec![], vec![Op::put("a", "late")]).await;
            assert_eq!(write.unwrap_err(), StoreError::Deposed);
            in_time(leader.deposed()).await;
            assert!(!leader.leads());
        });
    });
    tokio::task::spawn_blocking(move || leads.recv().unwrap())
        .await
        .unwrap();
    let next = store(&cluster).await;
    let leader = in_time(next.lead("next", LEASE)).await.unwrap();
    put(leader.store(), "a", "next").await;
    go_on.send(()).unwrap();
    tokio::task::spawn_blocking(move || sleeper.join().unwrap())
        .await
        .unwrap();
    assert_eq!(get(&next, "a").await.unwrap().value, b"next");
}

/// Here the leader has no reason to doubt: etcd alone knows.
#[tokio::test(flavor = "multi_thread")]
async fn e52_the_fence_is_in_the_transaction() {
    let cluster = Cluster::start(1).await;
    let store = store(&cluster).await;
    let mut leader = in_time(store.lead("one", 30 * LEASE)).await.unwrap();
    let written = put(leader.store(), "a", "1").await;
    let mut others = cluster.client().await;
    others.delete("accelnet/leader", None).await.unwrap();
    // Made again by another, it is another key.
    others.put("accelnet/leader", "one", None).await.unwrap();
    assert!(leader.leads());
    let ops = vec![Op::put("a", "2")];
    let fenced = leader.store().txn(vec![], ops.clone()).await;
    assert_eq!(fenced.unwrap_err(), StoreError::Deposed);
    assert!(!leader.leads(), "any doubt ends it");
    // A compare that does not hold is said only by who leads.
    let compare = vec![Compare::absent("a")];
    let fenced = leader.store().txn(compare, ops).await;
    assert_eq!(fenced.unwrap_err(), StoreError::Deposed);
    assert_eq!(
        get(leader.store(), "a").await.unwrap().mod_revision,
        written
    );
    in_time(leader.deposed()).await;
}

/// As many compares as are allowed go beside seal and fence.
#[tokio::test(flavor = "multi_thread")]
async fn e53_the_largest_transaction_of_a_leader_fits() {
    use accelnet_store::limits::{TXN_COMPARES_MAX, TXN_OPS_MAX};
    let cluster = Cluster::start(1).await;
    let store = store(&cluster).await;
    let leader = in_time(store.lead("one", 30 * LEASE)).await.unwrap();
    let long = |number| format!("{}{number:04}", "k".repeat(1020));
    let compares = (0..TXN_COMPARES_MAX).map(|number| Compare::absent(long(number)));
    let ops = (0..TXN_OPS_MAX).map(|number| Op::put(long(number), vec![0; 9000]));
    let outcome = leader
        .store()
        .txn(compares.collect(), ops.collect())
        .await
        .unwrap();
    assert!(outcome.committed().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn e54_a_leader_that_cannot_reach_etcd_steps_down_before_its_lease_ends() {
    let cluster = Cluster::start(1).await;
    let store = store(&cluster).await;
    let lease = 3 * LEASE;
    let mut leader = in_time(store.lead("one", lease)).await.unwrap();
    cluster.stop(0);
    let stopped = std::time::Instant::now();
    // It tells `leads` at once; that the keeper has ended comes after it tried to say so.
    while leader.leads() {
        assert!(stopped.elapsed() < 2 * lease, "it still believes to lead");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stopped.elapsed() < lease, "another could lead by now");
    cluster.go_on(0);
    in_time(leader.deposed()).await;
}
