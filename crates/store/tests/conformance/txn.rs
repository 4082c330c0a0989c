//! Transactions: revisions, comparing, atomicity, races.

use accelnet_store::{Compare, Conflict, HistoryLimits, Op, Revision, Store, TxnOutcome};
use tokio::task::JoinSet;

use crate::backend::{Backend, delete, get, keys, next, put, revision};

pub async fn t01_a_new_store_is_empty<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    assert_eq!(get(store, "vms/a").await, None);
    assert!(keys(store, "").await.is_empty());
    assert!(revision(store).await >= Revision::FIRST);
}

pub async fn t02_a_put_is_read_back_with_its_revisions<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let created = put(store, "vms/ä", "one").await;
    let kv = get(store, "vms/ä").await.unwrap();
    assert_eq!(
        (kv.key.as_str(), kv.value.as_slice()),
        ("vms/ä", b"one".as_slice())
    );
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (created, created, 1)
    );
    let changed = put(store, "vms/ä", "two").await;
    let kv = get(store, "vms/ä").await.unwrap();
    assert_eq!(kv.value, b"two");
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (created, changed, 2)
    );
}

pub async fn t03_versions_count_writes_and_start_again_after_a_delete<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    for version in 1..=3 {
        put(store, "a", "same").await;
        assert_eq!(get(store, "a").await.unwrap().version, version);
    }
    let deleted = delete(store, "a").await;
    assert_eq!(get(store, "a").await, None);
    let created = put(store, "a", "again").await;
    assert!(created > deleted);
    let kv = get(store, "a").await.unwrap();
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (created, created, 1)
    );
}

pub async fn t04_the_revision_grows_with_each_change_and_nothing_else_is_one<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let start = revision(store).await;
    let first = put(store, "a", "1").await;
    assert!(first > start);
    let second = put(store, "a", "1").await;
    assert!(second > first, "an equal value is a write");
    let mut watch = store.watch("", second.next()).await.unwrap();
    assert!(delete(store, "absent").await >= second);
    let nothing = store.txn(vec![], vec![]).await.unwrap();
    assert!(nothing.committed().unwrap() >= second);
    let lost = store
        .txn(vec![Compare::absent("a")], vec![Op::put("b", "")])
        .await
        .unwrap();
    assert_eq!(lost.committed(), None);
    assert_eq!(get(store, "a").await.unwrap().mod_revision, second);
    let deleted = delete(store, "a").await;
    assert!(deleted > second);
    assert_eq!(
        next(&mut watch).await.revision,
        deleted,
        "nothing happened between"
    );
}

pub async fn t05_a_transaction_happens_as_a_whole<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    put(store, "gone", "x").await;
    let ops = vec![
        Op::put("b", "2"),
        Op::delete("gone"),
        Op::put("a", "1"),
        Op::delete("absent"),
    ];
    let revision = store.txn(vec![], ops).await.unwrap().committed().unwrap();
    assert_eq!(keys(store, "").await, ["a", "b"]);
    for key in ["a", "b"] {
        assert_eq!(get(store, key).await.unwrap().mod_revision, revision);
    }
}

pub async fn t06_a_failed_compare_does_nothing_and_says_what_is_there<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let first = put(store, "a", "1").await;
    let second = put(store, "a", "2").await;
    let compares = vec![
        Compare::unchanged("a", first),
        Compare::absent("b"),
        Compare::unchanged("c", second),
        Compare::unchanged("a", second),
    ];
    let outcome = store.txn(compares, vec![Op::put("b", "x")]).await.unwrap();
    let conflicts = vec![
        Conflict {
            key: "a".to_owned(),
            found: get(store, "a").await,
        },
        Conflict {
            key: "c".to_owned(),
            found: None,
        },
    ];
    let TxnOutcome::Conflict {
        revision,
        conflicts: found,
    } = outcome
    else {
        panic!("{outcome:?} is not what was compared")
    };
    assert!(revision >= second);
    assert_eq!(found, conflicts);
    assert_eq!(keys(store, "").await, ["a"]);
    // A key that was deleted and made again is another key.
    delete(store, "a").await;
    put(store, "a", "2").await;
    let outcome = store
        .txn(vec![Compare::unchanged("a", second)], vec![])
        .await
        .unwrap();
    assert_eq!(outcome.committed(), None);
}

pub async fn t07_a_compare_guards_other_keys<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let lease = put(store, "lease", "server-1").await;
    let held = vec![Compare::unchanged("lease", lease)];
    assert!(
        store
            .txn(held.clone(), vec![Op::put("a", "1")])
            .await
            .unwrap()
            .committed()
            .is_some()
    );
    put(store, "lease", "server-2").await;
    assert_eq!(
        store
            .txn(held, vec![Op::put("a", "2")])
            .await
            .unwrap()
            .committed(),
        None
    );
    assert_eq!(get(store, "a").await.unwrap().value, b"1");
}

pub async fn t08_racing_increments_lose_nothing<B: Backend>() {
    const TASKS: u64 = 8;
    const INCREMENTS: u64 = 25;
    let backend = B::open(HistoryLimits::default()).await;
    let start = revision(backend.store()).await;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = backend.store().clone();
        tasks.spawn(async move {
            for _ in 0..INCREMENTS {
                increment(&store).await;
            }
        });
    }
    tasks.join_all().await;
    let kv = get(backend.store(), "counter").await.unwrap();
    assert_eq!(kv.value, (TASKS * INCREMENTS).to_string().as_bytes());
    assert_eq!(kv.version, TASKS * INCREMENTS);
    assert!(kv.mod_revision.get() >= start.get() + TASKS * INCREMENTS);
}

/// Adds one to the counter, as often as it takes.
async fn increment(store: &impl Store) {
    let mut found = get(store, "counter").await;
    loop {
        let (value, mod_revision) = found.map_or((0, Revision::ABSENT), |kv| {
            (
                std::str::from_utf8(&kv.value)
                    .unwrap()
                    .parse::<u64>()
                    .unwrap(),
                kv.mod_revision,
            )
        });
        let compare = Compare::unchanged("counter", mod_revision);
        let put = Op::put("counter", (value + 1).to_string());
        match store.txn(vec![compare], vec![put]).await.unwrap() {
            TxnOutcome::Committed { .. } => return,
            TxnOutcome::Conflict { mut conflicts, .. } => found = conflicts.remove(0).found,
        }
    }
}

pub async fn t09_of_racing_creators_one_wins<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let store = backend.store().clone();
        tasks.spawn(async move {
            let ops = vec![
                Op::put("owner", task.to_string()),
                Op::put("log", task.to_string()),
            ];
            store
                .txn(vec![Compare::absent("owner")], ops)
                .await
                .unwrap()
                .committed()
                .map(|_| task)
        });
    }
    let winners: Vec<i32> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    for key in ["owner", "log"] {
        let kv = get(backend.store(), key).await.unwrap();
        assert_eq!(kv.value, winners[0].to_string().as_bytes());
    }
}

pub async fn t10_an_empty_value_is_not_an_absent_key<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let created = put(store, "a", "").await;
    assert_eq!(get(store, "a").await.unwrap().value, b"");
    assert_eq!(keys(store, "").await, ["a"]);
    assert_eq!(
        store
            .txn(vec![Compare::absent("a")], vec![])
            .await
            .unwrap()
            .committed(),
        None
    );
    assert!(delete(store, "a").await > created);
}
