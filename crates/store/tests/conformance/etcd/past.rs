//! What others have written, what etcd has forgotten, and answers that are too large.

use accelnet_store::{
    EtcdOptions, EtcdStore, Event, HistoryLimits, Op, Page, Revision, Store, StoreError, limits,
};

use super::{Etcd, PATIENT, cluster::Cluster};
use crate::backend::{Backend, delete, get, in_time, keys, next, put, revision};

#[tokio::test(flavor = "multi_thread")]
async fn e01_what_is_not_ours_is_neither_shown_nor_touched() {
    let cluster = Cluster::start(1).await;
    let mut others = cluster.client().await;
    let foreign: [&[u8]; 8] = [
        b"accelnet",
        b"accelnet/state",
        b"accelnet/state/",
        b"accelnet/state/b\xff",
        b"accelnet/state/b\n",
        b"accelnet/state0",
        b"accelnet/statea",
        b"other/state/b",
    ];
    for name in foreign {
        others.put(name, "foreign", None).await.unwrap();
    }
    let store = EtcdStore::connect(cluster.options()).await.unwrap();
    assert_eq!(keys(&store, "").await, [""; 0]);
    let start = revision(&store).await;
    let mut watch = store.watch("", start.next()).await.unwrap();
    // A page of one holds one of ours, whatever lies between.
    put(&store, "a", "").await;
    for name in foreign {
        others.put(name, "again", None).await.unwrap();
    }
    let last = put(&store, "c", "").await;
    let page = store.list("", Page::first(1)).await.unwrap();
    assert_eq!((&*page.items[0].key, page.more), ("a", true));
    let rest = store.list("", page.next_page(1).unwrap()).await.unwrap();
    assert_eq!((&*rest.items[0].key, rest.more), ("c", false));
    assert_eq!(next(&mut watch).await.events[0].key(), "a");
    assert_eq!(next(&mut watch).await.revision, last);
    // One whose key others changed in the same transaction as theirs.
    let both = etcd_client::Txn::new().and_then([
        etcd_client::TxnOp::put("accelnet/state/a", "theirs", None),
        etcd_client::TxnOp::put(&b"accelnet/state/\xff"[..], "", None),
    ]);
    others.txn(both).await.unwrap();
    let batch = next(&mut watch).await;
    assert!(batch.events.iter().map(Event::key).eq(["a"]));
    for key in ["a", "c"] {
        delete(&store, key).await;
    }
    for name in foreign {
        let left = others.get(name, None).await.unwrap();
        assert_eq!(left.kvs()[0].value(), b"again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e02_stores_below_different_prefixes_do_not_meet() {
    let cluster = Cluster::start(1).await;
    let below = |prefix: &str| EtcdOptions {
        prefix: prefix.to_owned(),
        ..cluster.options()
    };
    let one = EtcdStore::connect(below("a/")).await.unwrap();
    let other = EtcdStore::connect(below("ab/")).await.unwrap();
    let start = revision(&one).await;
    let mut watch = one.watch("b", start.next()).await.unwrap();
    put(&other, "b", "other").await;
    let revision = put(&one, "b", "one").await;
    assert_eq!(next(&mut watch).await.revision, revision);
    assert_eq!(get(&other, "b").await.unwrap().value, b"other");
    let same = EtcdStore::connect(below("a/")).await.unwrap();
    assert_eq!(get(&same, "b").await, get(&one, "b").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn e03_a_paged_list_is_told_that_its_revision_was_compacted() {
    let backend = Etcd::open(HistoryLimits::default()).await;
    let store = backend.store();
    for number in 0..6 {
        put(store, &format!("k/{number}"), "").await;
    }
    let first = store.list("k/", Page::first(2)).await.unwrap();
    let second = store.list("k/", first.next_page(2).unwrap()).await.unwrap();
    let now = put(store, "k/0", "").await;
    backend.forget_before(now).await;
    let page = second.next_page(2).unwrap();
    let error = store.list("k/", page.clone()).await.unwrap_err();
    let expected = StoreError::Compacted {
        wanted: first.revision,
        oldest: now,
    };
    assert_eq!(error, expected);
    assert_eq!(
        store.get("k/1", Some(first.revision)).await.unwrap_err(),
        expected
    );
    let page = Page {
        at: Some(now),
        ..page
    };
    let rest = store.list("k/", page).await.unwrap();
    assert_eq!(rest.items.len(), 2, "the oldest that is said can be read");
}

/// What happened while the feed was cut off and is compacted: never skipped, always said. The
/// deletion at exactly the revision that etcd is compacted at is what older ones lose.
#[tokio::test(flavor = "multi_thread")]
async fn e04_a_watch_is_told_that_what_it_missed_was_compacted() {
    for compact_at_the_deletion in [true, false] {
        let mut cluster = Cluster::start(1).await;
        let options = EtcdOptions {
            deadline: PATIENT,
            ..cluster.options()
        };
        let store = EtcdStore::connect(options).await.unwrap();
        let seen = put(&store, "a", "").await;
        let mut watch = store.watch("", seen).await.unwrap();
        assert_eq!(next(&mut watch).await.revision, seen);
        // The feed hangs on a member that is stopped; the rest happens after it is killed, by
        // another way than through the store.
        cluster.kill(0);
        let outside = cluster.outside().await;
        let deleted = outside.delete("accelnet/state/a").await;
        let compacted = if compact_at_the_deletion {
            deleted
        } else {
            outside.put("accelnet/state/b").await
        };
        outside.compact(compacted).await;
        drop(outside);
        cluster.restart(0).await;
        let wanted = seen.next();
        let lost = StoreError::Compacted {
            wanted,
            oldest: compacted.next(),
        };
        assert_eq!(in_time(watch.recv()).await.unwrap_err(), lost);
        // Whoever lists again goes on.
        let listing = store.list_all("").await.unwrap();
        let mut again = store.watch("", listing.revision.next()).await.unwrap();
        let revision = put(&store, "c", "").await;
        assert_eq!(next(&mut again).await.revision, revision);
    }
}

/// Compacted where the watch has been: nothing is lost, and nothing is said.
#[tokio::test(flavor = "multi_thread")]
async fn e05_a_watch_that_has_seen_it_all_goes_on_after_a_compaction() {
    let backend = Etcd::open(HistoryLimits::default()).await;
    let store = backend.store();
    let start = revision(store).await;
    let mut fast = store.watch("", start.next()).await.unwrap();
    let mut slow = store.watch("", start.next()).await.unwrap();
    let mut revisions = Vec::new();
    for number in 0..20 {
        revisions.push(put(store, "a", &number.to_string()).await);
        assert_eq!(next(&mut fast).await.revision, revisions[number]);
    }
    backend.forget_before(revisions[15]).await;
    let last = put(store, "a", "last").await;
    assert_eq!(next(&mut fast).await.revision, last);
    // It reads what is in memory.
    for &revision in revisions.iter().chain([&last]) {
        assert_eq!(next(&mut slow).await.revision, revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e06_who_watched_before_the_store_was_opened_goes_on() {
    let cluster = Cluster::start(1).await;
    let store = EtcdStore::connect(cluster.options()).await.unwrap();
    let mut revisions = Vec::new();
    for number in 0..10 {
        revisions.push(put(&store, "a", &number.to_string()).await);
    }
    store.close().await;
    let store = EtcdStore::connect(cluster.options()).await.unwrap();
    let mut watch = store.watch("", revisions[4].next()).await.unwrap();
    for &revision in &revisions[5..] {
        assert_eq!(next(&mut watch).await.revision, revision);
    }
    let kept = HistoryLimits {
        revisions: 3,
        ..HistoryLimits::default()
    };
    let options = EtcdOptions {
        history: kept,
        ..cluster.options()
    };
    let short = EtcdStore::connect(options).await.unwrap();
    let error = short.watch("", revisions[5]).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    let mut watch = short.watch("", revisions[7]).await.unwrap();
    assert_eq!(next(&mut watch).await.revision, revisions[7]);
}

/// A thousand items of 20 KiB do not fit into one message, nor do a quarter of them.
#[tokio::test(flavor = "multi_thread")]
async fn e07_pages_shrink_until_their_items_fit_into_a_message() {
    const ITEMS: usize = 600;
    const BYTES: usize = 20 * 1024;
    let cluster = Cluster::start(1).await;
    let options = EtcdOptions {
        deadline: PATIENT,
        ..cluster.options()
    };
    let store = EtcdStore::connect(options).await.unwrap();
    let numbers: Vec<usize> = (0..ITEMS).collect();
    for part in numbers.chunks(60) {
        let put = |number: &usize| Op::put(format!("k/{number:04}"), vec![b'x'; BYTES]);
        let outcome = store.txn(vec![], part.iter().map(put).collect()).await;
        assert!(outcome.unwrap().committed().is_some());
    }
    let first = store
        .list("k/", Page::first(limits::PAGE_ITEMS_MAX))
        .await
        .unwrap();
    let size = |count: usize| count * (BYTES + 6);
    assert!(first.more && size(first.items.len()) <= limits::PAGE_BYTES_MAX);
    assert!(
        size(first.items.len() + 1) > limits::PAGE_BYTES_MAX,
        "it is full"
    );
    let all = store.list_all("k/").await.unwrap();
    let expected = (0..ITEMS).map(|number| format!("k/{number:04}"));
    assert!(all.items.iter().map(|kv| kv.key.clone()).eq(expected));
    // All of it arrives at a watch that starts before it.
    let mut watch = store.watch("k/", Revision::FIRST.next()).await.unwrap();
    let mut arrived = 0;
    while arrived < ITEMS {
        arrived += next(&mut watch).await.events.len();
    }
}

/// Two values as large as they may be, and what they were before, in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn e08_the_largest_transaction_arrives_at_a_watch() {
    let backend = Etcd::open(HistoryLimits::default()).await;
    let store = backend.store();
    let start = revision(store).await;
    let mut watch = store.watch("", start.next()).await.unwrap();
    let large = |byte| {
        let rest = limits::TXN_BYTES_MAX - limits::VALUE_BYTES_MAX - 2;
        vec![
            Op::put("a", vec![byte; limits::VALUE_BYTES_MAX]),
            Op::put("b", vec![byte; rest]),
        ]
    };
    for byte in [1, 2] {
        let outcome = store.txn(vec![], large(byte)).await.unwrap();
        let batch = next(&mut watch).await;
        assert_eq!(Some(batch.revision), outcome.committed());
        assert_eq!(batch.events.len(), 2);
    }
}
