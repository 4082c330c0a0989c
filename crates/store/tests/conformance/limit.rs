//! Bad input: refused with the reason, and nothing done.

use accelnet_store::{Compare, HistoryLimits, InvalidRequest, Op, Page, Store, StoreError, limits};

use crate::backend::{Backend, keys, put, revision};

/// Has a transaction refused, and says why.
async fn refused(store: &impl Store, compares: Vec<Compare>, ops: Vec<Op>) -> InvalidRequest {
    let before = store.list_all("").await.unwrap().items;
    let error = store.txn(compares, ops).await.unwrap_err();
    assert_eq!(store.list_all("").await.unwrap().items, before);
    let StoreError::Invalid(invalid) = error else {
        panic!("{error} is not about the request")
    };
    invalid
}

fn numbered(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("k/{number}"))
}

pub async fn b01_keys<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let longest = "k".repeat(limits::KEY_BYTES_MAX);
    put(store, &longest, "").await;
    assert_eq!(keys(store, &longest).await, [longest.as_str()]);
    let long = format!("{longest}k");
    let bad = [
        (String::new(), InvalidRequest::EmptyKey),
        (
            long.clone(),
            InvalidRequest::KeyTooLong { bytes: long.len() },
        ),
        (
            "a\0b".to_owned(),
            InvalidRequest::KeyHasControlCharacter {
                key: "a\0b".to_owned(),
            },
        ),
        (
            "a\n".to_owned(),
            InvalidRequest::KeyHasControlCharacter {
                key: "a\n".to_owned(),
            },
        ),
    ];
    for (key, expected) in bad {
        assert_eq!(
            refused(store, vec![], vec![Op::put(&*key, "")]).await,
            expected
        );
        assert_eq!(
            refused(store, vec![], vec![Op::delete(&*key)]).await,
            expected
        );
        assert_eq!(
            refused(store, vec![Compare::absent(&*key)], vec![]).await,
            expected
        );
        let expected = StoreError::Invalid(expected);
        assert_eq!(store.get(&key, None).await.unwrap_err(), expected);
        if !key.is_empty() {
            assert_eq!(
                store.list(&key, Page::first(1)).await.unwrap_err(),
                expected
            );
            let now = revision(store).await;
            assert_eq!(store.watch(&key, now.next()).await.unwrap_err(), expected);
        }
    }
}

pub async fn b02_values<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let bytes = limits::VALUE_BYTES_MAX + 1;
    let ops = vec![Op::put("small", ""), Op::put("large", vec![0; bytes])];
    let expected = InvalidRequest::ValueTooLarge {
        key: "large".to_owned(),
        bytes,
    };
    assert_eq!(refused(store, vec![], ops).await, expected);
    let largest = Op::put("large", vec![0; limits::VALUE_BYTES_MAX]);
    assert!(store.txn(vec![], vec![largest]).await.is_ok());
}

pub async fn b03_ops_and_compares<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let count = limits::TXN_OPS_MAX + 1;
    let ops = numbered(count).map(|key| Op::put(key, "")).collect();
    let error = refused(store, vec![], ops).await;
    assert_eq!(error, InvalidRequest::TooManyOps { ops: count });
    assert_eq!(
        error.to_string(),
        "a transaction of 129 ops is too large, the limit is 128"
    );
    let count = limits::TXN_COMPARES_MAX + 1;
    let compares = numbered(count).map(Compare::absent).collect();
    let expected = InvalidRequest::TooManyCompares { compares: count };
    assert_eq!(refused(store, compares, vec![]).await, expected);
}

pub async fn b04_a_key_is_changed_once_in_a_transaction<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let expected = InvalidRequest::DuplicateKey {
        key: "a".to_owned(),
    };
    for (first, second) in [
        (Op::put("a", "1"), Op::put("a", "2")),
        (Op::put("a", "1"), Op::delete("a")),
        (Op::delete("a"), Op::delete("a")),
    ] {
        let ops = vec![first, Op::put("b", ""), second];
        assert_eq!(refused(store, vec![], ops).await, expected);
    }
    let compares = vec![Compare::absent("a"), Compare::absent("a")];
    let outcome = store.txn(compares, vec![Op::put("a", "")]).await.unwrap();
    assert!(outcome.committed().is_some(), "comparing twice is harmless");
}

pub async fn b05_the_whole_transaction<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let half = limits::TXN_BYTES_MAX / 2;
    let ops = |bytes| vec![Op::put("a", vec![0; half]), Op::put("b", vec![0; bytes])];
    let fits = limits::TXN_BYTES_MAX - half - 2;
    let expected = InvalidRequest::TxnTooLarge {
        bytes: limits::TXN_BYTES_MAX + 1,
    };
    assert_eq!(refused(store, vec![], ops(fits + 1)).await, expected);
    assert!(store.txn(vec![], ops(fits)).await.is_ok());
}

pub async fn b06_pages<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    for limit in [0, limits::PAGE_ITEMS_MAX + 1] {
        let error = store.list("", Page::first(limit)).await.unwrap_err();
        assert_eq!(
            error,
            StoreError::Invalid(InvalidRequest::PageLimit { limit })
        );
    }
    assert!(
        store
            .list("", Page::first(limits::PAGE_ITEMS_MAX))
            .await
            .is_ok()
    );
}

pub async fn b07_the_largest_transaction_fits<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let compares = numbered(limits::TXN_COMPARES_MAX)
        .map(Compare::absent)
        .collect();
    let ops = numbered(limits::TXN_OPS_MAX)
        .map(|key| Op::put(key, vec![0; 11_000]))
        .collect();
    assert!(
        store
            .txn(compares, ops)
            .await
            .unwrap()
            .committed()
            .is_some()
    );
    assert_eq!(keys(store, "k/").await.len(), limits::TXN_OPS_MAX);
}
