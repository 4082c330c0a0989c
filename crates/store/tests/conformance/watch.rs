//! Watches: nothing missed, nothing twice, nothing out of order, and nobody held up.

use std::{collections::BTreeMap, future::poll_fn, pin::pin, task::Poll};

use accelnet_store::{Event, HistoryLimits, Op, Revision, Store, StoreError};
use tokio::task::JoinSet;

use crate::backend::{Backend, delete, get, in_time, keep, next, put, revision};

pub async fn w01_a_watch_from_now_sees_what_comes<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let before = put(store, "a", "before").await;
    let mut watch = store.watch("", before.next()).await.unwrap();
    assert_eq!(watch.try_recv().unwrap(), None);
    let (batch, revision) = tokio::join!(next(&mut watch), put(store, "a", "after"));
    assert_eq!(batch.revision, revision);
    assert_eq!(batch.events[0].current(), get(store, "a").await.as_ref());
    assert_eq!(watch.try_recv().unwrap(), None);
}

pub async fn w02_a_watch_from_the_past_sees_what_was<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let start = revision(store).await;
    let mut revisions = Vec::new();
    for number in 0..700 {
        revisions.push(put(store, &format!("k/{}", number % 7), &number.to_string()).await);
    }
    for skip in [0, 1, 350, 699] {
        let before = if skip == 0 {
            start
        } else {
            revisions[skip - 1]
        };
        let mut watch = store.watch("k/", before.next()).await.unwrap();
        for (number, &revision) in revisions.iter().enumerate().skip(skip) {
            let batch = next(&mut watch).await;
            assert_eq!(batch.revision, revision);
            assert_eq!(
                batch.events[0].current().unwrap().value,
                number.to_string().as_bytes()
            );
        }
        assert_eq!(watch.try_recv().unwrap(), None);
    }
    // One that has to look far for its prefix finds it as well.
    let mut watch = store.watch("late", start.next()).await.unwrap();
    let late = put(store, "late", "").await;
    assert_eq!(next(&mut watch).await.revision, late);
}

pub async fn w03_a_watch_sees_its_prefix_only<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let start = revision(store).await;
    let mut watch = store.watch("vms/", start.next()).await.unwrap();
    for key in ["vms", "vms0", "vm/a", "nodes/vms/a"] {
        put(store, key, "").await;
    }
    delete(store, "vms/absent").await;
    let inside = put(store, "vms/", "").await;
    assert_eq!(next(&mut watch).await.revision, inside);
    assert_eq!(watch.try_recv().unwrap(), None);
}

pub async fn w04_a_transaction_arrives_as_a_whole<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let start = revision(store).await;
    let ops = vec![
        Op::put("k/b", ""),
        Op::put("x", ""),
        Op::put("k/a", ""),
        Op::delete("k/c"),
    ];
    let revision = store.txn(vec![], ops).await.unwrap().committed().unwrap();
    let mut watch = store.watch("k/", start.next()).await.unwrap();
    let batch = next(&mut watch).await;
    assert_eq!(batch.revision, revision);
    assert!(batch.events.iter().map(Event::key).eq(["k/b", "k/a"]));
}

pub async fn w05_events_say_what_was_before<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let start = revision(store).await;
    let mut watch = store.watch("", start.next()).await.unwrap();
    put(store, "a", "1").await;
    let one = get(store, "a").await;
    put(store, "a", "2").await;
    let two = get(store, "a").await;
    delete(store, "a").await;
    put(store, "a", "3").await;
    let three = get(store, "a").await.unwrap();
    let event = |kv, prev| Event::Put { kv, prev };
    let expected = [
        event(one.clone().unwrap(), None),
        event(two.clone().unwrap(), one),
        Event::Delete {
            key: "a".to_owned(),
            prev: two,
        },
        event(three, None),
    ];
    for expected in expected {
        assert_eq!(next(&mut watch).await.events, [expected]);
    }
}

pub async fn w06_every_event_once_and_in_order_under_concurrent_writes<B: Backend>() {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 50;
    let backend = B::open(HistoryLimits::default()).await;
    let start = revision(backend.store()).await;
    let mut watchers = JoinSet::new();
    for _ in 0..4 {
        let mut watch = backend.store().watch("k/", start.next()).await.unwrap();
        watchers.spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < (WRITERS * WRITES) as usize {
                seen.push(next(&mut watch).await);
            }
            (seen, watch.try_recv().unwrap())
        });
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = backend.store().clone();
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..WRITES {
                acknowledged.push(put(&store, &format!("k/{writer}"), &number.to_string()).await);
            }
            acknowledged
        });
    }
    let mut acknowledged: Vec<Revision> = writers.join_all().await.concat();
    acknowledged.sort_unstable();
    for (seen, more) in watchers.join_all().await {
        assert_eq!(more, None);
        assert!(
            seen.iter()
                .map(|batch| batch.revision)
                .eq(acknowledged.iter().copied())
        );
        let mut written: BTreeMap<&str, u64> = BTreeMap::new();
        for event in seen.iter().flat_map(|batch| &batch.events) {
            let number = written.entry(event.key()).or_default();
            assert_eq!(
                event.current().unwrap().value,
                number.to_string().as_bytes()
            );
            *number += 1;
        }
        assert!(written.len() == WRITERS as usize && written.values().all(|&n| n == WRITES));
    }
}

pub async fn w07_list_then_watch_misses_nothing<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let writer = {
        let store = backend.store().clone();
        tokio::spawn(async move {
            for number in 0..200 {
                let key = format!("k/{}", number % 10);
                if number % 4 == 3 {
                    delete(&store, &key).await;
                } else {
                    put(&store, &key, &number.to_string()).await;
                }
            }
            put(&store, "k/end", "").await;
        })
    };
    let store = backend.store();
    let listing = store.list_all("k/").await.unwrap();
    let mut watch = store.watch("k/", listing.revision.next()).await.unwrap();
    let mut known: BTreeMap<_, _> = listing
        .items
        .into_iter()
        .map(|kv| (kv.key.clone(), kv))
        .collect();
    while !known.contains_key("k/end") {
        for event in next(&mut watch).await.events {
            match event.current() {
                Some(kv) => known.insert(kv.key.clone(), kv.clone()),
                None => known.remove(event.key()),
            };
        }
    }
    writer.await.unwrap();
    assert!(
        store
            .list_all("k/")
            .await
            .unwrap()
            .items
            .iter()
            .eq(known.values())
    );
}

pub async fn w08_a_slow_watcher_is_cut_off_and_holds_up_nobody<B: Backend>() {
    let backend = B::open(keep(10)).await;
    let store = backend.store();
    let start = revision(store).await;
    let mut slow = store.watch("", start.next()).await.unwrap();
    let mut fast = store.watch("", start.next()).await.unwrap();
    put(store, "a", "0").await;
    let first = next(&mut slow).await;
    assert_eq!(first, next(&mut fast).await);
    let mut revisions = vec![first.revision];
    for number in 1..=11 {
        let revision = in_time(put(store, "a", &number.to_string())).await;
        assert_eq!(next(&mut fast).await.revision, revision);
        revisions.push(revision);
    }
    // Ten of twelve are kept.
    let lost = StoreError::Compacted {
        wanted: revisions[0].next(),
        oldest: revisions[1].next(),
    };
    assert_eq!(in_time(slow.recv()).await.unwrap_err(), lost);
    assert_eq!(slow.try_recv().unwrap_err(), lost, "it stays cut off");
    let listing = store.list_all("").await.unwrap();
    let mut again = store.watch("", listing.revision.next()).await.unwrap();
    let revision = put(store, "a", "12").await;
    assert_eq!(next(&mut again).await.revision, revision);
}

pub async fn w09_giving_up_waiting_loses_nothing<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let start = revision(store).await;
    let mut watch = store.watch("", start.next()).await.unwrap();
    for _ in 0..3 {
        {
            let mut waiting = pin!(watch.recv());
            poll_fn(|context| {
                assert!(waiting.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        let revision = put(store, "a", "").await;
        assert_eq!(next(&mut watch).await.revision, revision);
    }
}

pub async fn w10_a_quiet_watch_can_resume_where_the_store_is<B: Backend>() {
    let backend = B::open(keep(10)).await;
    let store = backend.store();
    let start = revision(store).await;
    let mut quiet = store.watch("quiet/", start.next()).await.unwrap();
    let mut busy = store.watch("busy", start.next()).await.unwrap();
    for _ in 0..30 {
        let revision = put(store, "busy", "").await;
        assert_eq!(next(&mut busy).await.revision, revision);
        assert_eq!(
            quiet.try_recv().unwrap(),
            None,
            "what it need not see does not cut it off"
        );
        assert_eq!(quiet.resume_from(), revision.next());
    }
    let mut resumed = store.watch("quiet/", quiet.resume_from()).await.unwrap();
    let revision = put(store, "quiet/a", "").await;
    assert_eq!(next(&mut resumed).await.revision, revision);
    assert!(resumed.resume_from() >= revision.next());
}

pub async fn w11_closing_the_store_ends_a_watch_after_its_last_event<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let start = revision(backend.store()).await;
    let mut watch = backend.store().watch("", start.next()).await.unwrap();
    let last = put(backend.store(), "a", "").await;
    backend.close().await;
    assert_eq!(next(&mut watch).await.revision, last);
    assert!(matches!(
        in_time(watch.recv()).await,
        Err(StoreError::Closed { .. })
    ));
}
