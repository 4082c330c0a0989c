//! One member that is killed, started again, or slow: nothing is skipped, nothing assumed.

use std::time::{Duration, Instant};

use accelnet_store::{Compare, EtcdOptions, EtcdStore, Op, Revision, Store, StoreError};

use super::{PATIENT, cluster::Cluster, is_open, is_unreachable};
use crate::backend::{get, in_time, next, put, revision};

/// Short enough to wait for, long beside what a call takes.
const DEADLINE: Duration = Duration::from_secs(2);

/// What comes after a deadline on a machine that does other things as well.
const SLACK: Duration = Duration::from_secs(5);

fn hasty(cluster: &Cluster) -> EtcdOptions {
    EtcdOptions {
        deadline: DEADLINE,
        ..cluster.options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e20_an_etcd_that_is_not_there_is_said_within_the_deadline() {
    let mut cluster = Cluster::start(1).await;
    cluster.kill(0);
    let asked = Instant::now();
    let error = EtcdStore::connect(hasty(&cluster)).await.unwrap_err();
    assert!(is_unreachable(&error), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(asked.elapsed() < DEADLINE + SLACK);
}

#[tokio::test(flavor = "multi_thread")]
async fn e21_a_watch_skips_nothing_while_etcd_is_restarted() {
    let mut cluster = Cluster::start(1).await;
    let options = EtcdOptions {
        deadline: PATIENT,
        ..cluster.options()
    };
    let store = EtcdStore::connect(options).await.unwrap();
    let start = revision(&store).await;
    let mut watch = store.watch("", start.next()).await.unwrap();
    let before = put(&store, "a", "before").await;
    assert_eq!(next(&mut watch).await.revision, before);
    for round in 0..3 {
        cluster.kill(0);
        let outside = cluster.outside().await;
        let mut missed = Vec::new();
        for number in 0..3 {
            missed.push(
                outside
                    .put(&format!("accelnet/state/{round}/{number}"))
                    .await,
            );
        }
        missed.push(outside.delete(&format!("accelnet/state/{round}/1")).await);
        drop(outside);
        cluster.restart(0).await;
        missed.push(put(&store, "a", "after").await);
        for revision in missed {
            assert_eq!(next(&mut watch).await.revision, revision);
        }
        assert_eq!(watch.try_recv().unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e22_a_write_to_a_slow_etcd_is_open_until_it_is_looked_up() {
    let cluster = Cluster::start(1).await;
    let store = EtcdStore::connect(hasty(&cluster)).await.unwrap();
    let first = put(&store, "a", "first").await;
    let compare = vec![Compare::unchanged("a", first)];
    cluster.stop(0);
    let asked = Instant::now();
    let error = store
        .txn(compare.clone(), vec![Op::put("a", "second")])
        .await
        .unwrap_err();
    assert!(is_open(&error), "{error}");
    assert!(error.to_string().contains("Read again"), "{error}");
    assert!(asked.elapsed() < DEADLINE + SLACK);
    // As long as it cannot be looked up, nothing is read or written.
    let error = store.get("a", None).await.unwrap_err();
    assert!(is_unreachable(&error), "{error}");
    let write = store.txn(vec![], vec![Op::put("b", "")]).await;
    assert!(is_unreachable(&write.unwrap_err()));
    cluster.go_on(0);
    let found = looked_up(&store, "a").await;
    // What was found then stays: nothing that was under way happens after it.
    let other = EtcdStore::connect(cluster.options()).await.unwrap();
    put(&other, "unrelated", "").await;
    assert_eq!(get(&other, "a").await.unwrap().mod_revision, found);
    // So it can be finished or left.
    let outcome = store
        .txn(
            vec![Compare::unchanged("a", found)],
            vec![Op::put("a", "third")],
        )
        .await
        .unwrap();
    assert!(outcome.committed().is_some());
    let kv = get(&store, "a").await.unwrap();
    assert_eq!(kv.value, b"third");
    assert_eq!(kv.version, if found == first { 2 } else { 3 });
    assert_eq!(
        get(&store, "b").await,
        None,
        "what was said not to be is not"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn e23_a_caller_that_gives_up_leaves_nothing_that_happens_later() {
    let cluster = Cluster::start(1).await;
    let store = EtcdStore::connect(hasty(&cluster)).await.unwrap();
    put(&store, "a", "first").await;
    cluster.stop(0);
    for value in ["second", "third", "fourth"] {
        let ops = vec![Op::put("a", value)];
        // Dropped before the store's own deadline.
        let waiting = tokio::time::timeout(DEADLINE / 20, store.txn(vec![], ops));
        let gave_up = match waiting.await {
            Err(_) => true,
            Ok(outcome) => is_unreachable(&outcome.unwrap_err()),
        };
        assert!(gave_up, "etcd is stopped");
    }
    cluster.go_on(0);
    let found = looked_up(&store, "a").await;
    let seals = cluster.seals().await;
    assert_eq!(seals, 1, "one seal settles all that was open");
    let mut watch = store.watch("a", found.next()).await.unwrap();
    let last = put(&store, "a", "last").await;
    assert_eq!(
        next(&mut watch).await.revision,
        last,
        "nothing came between"
    );
    // Quiet times write no seals.
    assert_eq!(cluster.seals().await, seals);
}

#[tokio::test(flavor = "multi_thread")]
async fn e24_writes_of_an_epoch_that_was_sealed_are_made_again() {
    let cluster = Cluster::start(1).await;
    let options = EtcdOptions {
        deadline: PATIENT,
        ..cluster.options()
    };
    let store = EtcdStore::connect(options).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            for number in 1..=25_u64 {
                // Every other one is given up as soon as it is sent.
                let key = format!("given-up/{writer}");
                let ops = vec![Op::put(key, number.to_string())];
                let mut given_up = Box::pin(store.txn(vec![], ops));
                let once = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(given_up.as_mut().poll(context).is_ready())
                });
                once.await;
                drop(given_up);
                put(&store, &format!("k/{writer}"), &number.to_string()).await;
                assert_eq!(
                    get(&store, &format!("k/{writer}")).await.unwrap().version,
                    number,
                    "done once, not twice"
                );
            }
        });
    }
    in_time(writers.join_all()).await;
    assert!(cluster.seals().await > 0, "nothing was given up in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn e26_watches_end_when_etcd_is_not_the_one_it_was() {
    let mut cluster = Cluster::start(1).await;
    let options = EtcdOptions {
        deadline: PATIENT,
        ..cluster.options()
    };
    let store = EtcdStore::connect(options).await.unwrap();
    for number in 0..10 {
        put(&store, "a", &number.to_string()).await;
    }
    let start = revision(&store).await;
    let mut watch = store.watch("", start).await.unwrap();
    assert_eq!(next(&mut watch).await.revision, start);
    cluster.kill(0);
    cluster.forget(0);
    cluster.restart(0).await;
    let end = in_time(watch.recv()).await.unwrap_err();
    assert!(matches!(end, StoreError::Closed { .. }), "{end}");
    // Whoever lists again sees what there is.
    assert!(store.list_all("").await.unwrap().items.is_empty());
}

/// Reads until etcd answers again.
async fn looked_up(store: &EtcdStore, key: &str) -> Revision {
    let found = async {
        loop {
            match store.get(key, None).await {
                Ok(found) => break found.unwrap().mod_revision,
                Err(error) => assert!(is_unreachable(&error), "{error}"),
            }
        }
    };
    in_time(found).await
}
