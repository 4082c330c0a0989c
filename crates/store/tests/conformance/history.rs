//! The past: reading it, and forgetting it.

use accelnet_store::{HistoryLimits, Op, Page, Revision, Store, StoreError};

use crate::backend::{Backend, delete, get, keep, keys, next, put, revision};

async fn value_at(store: &impl Store, key: &str, at: Revision) -> Option<Vec<u8>> {
    store
        .get(key, Some(at))
        .await
        .unwrap()
        .map(|kv| kv.value.clone())
}

pub async fn h01_the_past_can_be_read<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let start = revision(store).await;
    let first = put(store, "a", "1").await;
    let second = put(store, "a", "2").await;
    let deleted = delete(store, "a").await;
    let again = put(store, "a", "3").await;
    put(store, "b", "later").await;
    assert_eq!(value_at(store, "a", start).await, None);
    assert_eq!(value_at(store, "a", first).await, Some(b"1".to_vec()));
    assert_eq!(value_at(store, "a", second).await, Some(b"2".to_vec()));
    assert_eq!(value_at(store, "a", deleted).await, None);
    assert_eq!(value_at(store, "a", again).await, Some(b"3".to_vec()));
    let page = Page {
        at: Some(second),
        ..Page::first(10)
    };
    let listing = store.list("", page).await.unwrap();
    assert_eq!((listing.items.len(), listing.revision), (1, second));
    assert_eq!(listing.items[0].mod_revision, second);
}

pub async fn h02_compaction_keeps_what_is_current<B: Backend>() {
    let backend = B::open(keep(5)).await;
    let store = backend.store();
    let old = put(store, "old", "kept").await;
    put(store, "deleted", "x").await;
    delete(store, "deleted").await;
    for number in 0..400 {
        put(store, &format!("k/{}", number % 3), &number.to_string()).await;
    }
    let kv = get(store, "old").await.unwrap();
    assert_eq!((kv.mod_revision, kv.version), (old, 1));
    assert_eq!(keys(store, "").await, ["k/0", "k/1", "k/2", "old"]);
    let kv = get(store, "k/0").await.unwrap();
    assert_eq!((kv.value.as_slice(), kv.version), (b"399".as_slice(), 134));
    assert!(put(store, "deleted", "anew").await > old);
    assert_eq!(get(store, "deleted").await.unwrap().version, 1);
}

pub async fn h03_compaction_is_told_to_watches_and_reads<B: Backend>() {
    let backend = B::open(keep(5)).await;
    let store = backend.store();
    let start = revision(store).await;
    let mut all = store.watch("", start.next()).await.unwrap();
    let mut revisions = Vec::new();
    for number in 0..20 {
        revisions.push(put(store, "a", &number.to_string()).await);
        next(&mut all).await;
    }
    let back = |count: usize| revisions[19 - count];
    backend.forget_before(back(5)).await;
    // Five are kept: the oldest to be watched is four back, and the state before it is known.
    let error = store.watch("", back(5)).await.unwrap_err();
    assert_eq!(
        error,
        StoreError::Compacted {
            wanted: back(5),
            oldest: back(5).next()
        }
    );
    assert!(error.to_string().contains("list again"));
    let mut watch = store.watch("", back(5).next()).await.unwrap();
    for number in 15..20 {
        let batch = next(&mut watch).await;
        let kv = batch.events[0].current().unwrap();
        assert_eq!(kv.value, number.to_string().as_bytes());
    }
    assert_eq!(value_at(store, "a", back(5)).await, Some(b"14".to_vec()));
    let error = store.get("a", Some(back(6))).await.unwrap_err();
    assert_eq!(
        error,
        StoreError::Compacted {
            wanted: back(6),
            oldest: back(5)
        }
    );
    let page = Page {
        at: Some(back(6)),
        ..Page::first(1)
    };
    assert_eq!(store.list("", page).await.unwrap_err(), error);
}

pub async fn h04_large_values_shorten_the_history<B: Backend>() {
    let backend = B::open(HistoryLimits {
        revisions: 1000,
        bytes: 64 * 1024,
    })
    .await;
    let store = backend.store();
    let start = revision(store).await;
    for _ in 0..3 {
        store
            .txn(vec![], vec![Op::put("a", vec![0; 1024])])
            .await
            .unwrap();
    }
    assert!(store.watch("", start.next()).await.is_ok());
    let revision = store
        .txn(vec![], vec![Op::put("a", vec![0; 100 * 1024])])
        .await
        .unwrap();
    let revision = revision.committed().unwrap();
    let mut watch = store.watch("", revision).await.unwrap();
    assert_eq!(
        next(&mut watch).await.revision,
        revision,
        "the newest is always kept"
    );
    assert!(store.watch("", start.next()).await.is_err());
}

pub async fn h05_the_future_is_refused<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let current = put(store, "a", "1").await;
    assert!(
        store.watch("", current.next()).await.is_ok(),
        "the next one is what a watch waits for"
    );
    // Farther than others get meanwhile, where the store is shared.
    let far = Revision::new(revision(store).await.get() + 1_000_000);
    let errors = [
        store.get("a", Some(far)).await.unwrap_err(),
        store.watch("", far).await.unwrap_err(),
    ];
    for error in errors {
        let StoreError::Future {
            wanted,
            current: at,
        } = error
        else {
            panic!("{error} is not about the future")
        };
        assert!(wanted == far && (current..far).contains(&at));
    }
}
