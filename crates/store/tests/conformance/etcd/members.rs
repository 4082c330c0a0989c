//! Three members: one may die, two may not.

use std::time::{Duration, Instant};

use accelnet_store::{
    Compare, EtcdOptions, EtcdStore, Op, Revision, Store, StoreError, TxnOutcome,
};

use super::{PATIENT, cluster::Cluster, is_open, is_unreachable};
use crate::backend::{get, in_time, next, put, revision};

#[tokio::test(flavor = "multi_thread")]
async fn e30_of_three_members_one_may_be_killed_while_a_counter_is_written_and_watched() {
    for killed in 0..3 {
        let mut cluster = Cluster::start(3).await;
        let options = EtcdOptions {
            deadline: PATIENT,
            ..cluster.options()
        };
        let store = EtcdStore::connect(options).await.unwrap();
        let start = revision(&store).await;
        let mut watch = store.watch("counter", start.next()).await.unwrap();
        let mut last = Revision::ABSENT;
        for number in 1..=60_u64 {
            if number == 30 {
                cluster.kill(killed);
            }
            last = in_time(count_to(&store, number, last)).await;
        }
        let kv = get(&store, "counter").await.unwrap();
        assert_eq!((kv.value.as_slice(), kv.version), (&b"60"[..], 60));
        for number in 1..=60_u64 {
            let batch = next(&mut watch).await;
            let kv = batch.events[0].current().unwrap();
            assert_eq!(kv.version, number, "none is skipped, none comes twice");
        }
    }
}

/// Writes the next number, whatever happens on the way, and looks up what it cannot know.
async fn count_to(store: &EtcdStore, number: u64, last: Revision) -> Revision {
    loop {
        let compare = vec![Compare::unchanged("counter", last)];
        let ops = vec![Op::put("counter", number.to_string())];
        match store.txn(compare, ops).await {
            Ok(TxnOutcome::Committed { revision }) => return revision,
            Ok(conflict) => panic!("{conflict:?} after it was looked up"),
            Err(StoreError::OutcomeUnknown { .. }) => {
                let found = loop {
                    match store.get("counter", None).await {
                        Ok(found) => break found,
                        Err(error) => assert!(is_unreachable(&error), "{error}"),
                    }
                };
                let found = found.map_or(Revision::ABSENT, |kv| kv.mod_revision);
                if found != last {
                    return found;
                }
            }
            Err(error) => assert!(is_unreachable(&error), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e31_without_a_quorum_it_is_said_in_time_and_nothing_is_assumed() {
    const DEADLINE: Duration = Duration::from_secs(2);
    let mut cluster = Cluster::start(3).await;
    let options = EtcdOptions {
        deadline: DEADLINE,
        ..cluster.options()
    };
    let store = EtcdStore::connect(options).await.unwrap();
    let mut written = put(&store, "a", "0").await;
    cluster.kill(1);
    cluster.kill(2);
    for number in 1..=3 {
        let asked = Instant::now();
        let compare = vec![Compare::unchanged("a", written)];
        let ops = vec![Op::put("a", number.to_string())];
        let error = store.txn(compare, ops).await.unwrap_err();
        assert!(is_open(&error) || is_unreachable(&error), "{error}");
        let error = store.get("a", None).await.unwrap_err();
        assert!(is_unreachable(&error), "{error}");
        let error = store.watch("", written.next().next()).await.err();
        assert!(error.is_none_or(|error| is_unreachable(&error)));
        assert!(asked.elapsed() < 3 * DEADLINE + Duration::from_secs(5));
    }
    // With a quorum again, it goes on; at most the one that was open has happened.
    cluster.restart_all([1, 2]).await;
    let found = in_time(async {
        loop {
            match store.get("a", None).await {
                Ok(found) => break found.unwrap(),
                Err(error) => assert!(is_unreachable(&error), "{error}"),
            }
        }
    })
    .await;
    assert!(found.version <= 2, "{found:?}");
    written = in_time(count_on(&store, found.mod_revision)).await;
    assert_eq!(get(&store, "a").await.unwrap().mod_revision, written);
}

async fn count_on(store: &EtcdStore, last: Revision) -> Revision {
    let compare = vec![Compare::unchanged("a", last)];
    let outcome = store.txn(compare, vec![Op::put("a", "end")]).await.unwrap();
    outcome.committed().expect("nobody else writes")
}

/// A member that hangs holds up one operation, not all of them.
#[tokio::test(flavor = "multi_thread")]
async fn e32_a_member_that_hangs_is_left() {
    let cluster = Cluster::start(3).await;
    let options = EtcdOptions {
        deadline: Duration::from_secs(6),
        ..cluster.options()
    };
    let store = EtcdStore::connect(options).await.unwrap();
    let written = put(&store, "a", "").await;
    let mut watch = store.watch("", written.next()).await.unwrap();
    cluster.stop(0);
    // It has its turn; then another is asked, by the watch too.
    let found = in_time(get(&store, "a")).await.unwrap();
    assert_eq!(found.mod_revision, written);
    let revision = in_time(async {
        loop {
            let compare = vec![Compare::unchanged("a", written)];
            match store.txn(compare, vec![Op::put("a", "next")]).await {
                Ok(outcome) => break outcome.committed(),
                Err(error) => assert!(is_unreachable(&error), "{error}"),
            }
        }
    })
    .await;
    let arrived = tokio::time::timeout(Duration::from_secs(8), watch.recv()).await;
    let batch = arrived
        .expect("before a silent connection is given up")
        .unwrap();
    assert_eq!(Some(batch.revision), revision);
    cluster.go_on(0);
}
