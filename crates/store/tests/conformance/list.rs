//! Lists: prefixes, order, pages.

use accelnet_store::{HistoryLimits, Op, Page, Store, limits};

use crate::backend::{Backend, delete, get, keys, put, revision};

pub async fn l01_a_prefix_is_matched_as_text<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let last = '\u{10ffff}';
    let all = [
        "vm",
        "vms",
        "vms/",
        "vms/1",
        "vms/1/status",
        "vms/10",
        "vms/2",
        "vms0",
        "vmt",
    ];
    for key in all
        .into_iter()
        .map(str::to_owned)
        .chain([format!("vms/{last}"), format!("{last}a")])
    {
        put(store, &key, "").await;
    }
    assert_eq!(
        keys(store, "vms/1").await,
        ["vms/1", "vms/1/status", "vms/10"]
    );
    assert_eq!(keys(store, "vms/1/").await, ["vms/1/status"]);
    let below = [
        "vms/",
        "vms/1",
        "vms/1/status",
        "vms/10",
        "vms/2",
        "vms/\u{10ffff}",
    ];
    assert_eq!(keys(store, "vms/").await, below);
    assert_eq!(keys(store, "vms/\u{10ffff}").await, ["vms/\u{10ffff}"]);
    assert_eq!(keys(store, "\u{10ffff}").await, ["\u{10ffff}a"]);
    assert_eq!(keys(store, "vms/3").await, [""; 0]);
    assert_eq!(keys(store, "VMS/").await, [""; 0], "case matters");
    assert_eq!(keys(store, "vms_").await, [""; 0], "there are no wildcards");
    assert_eq!(keys(store, "").await.len(), 11);
    delete(store, "vms/1/status").await;
    assert_eq!(keys(store, "vms/1").await, ["vms/1", "vms/10"]);
}

pub async fn l02_items_are_in_byte_order<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let mut expected = vec![
        "a", "B", "a/b", "a-b", "ab", "ä", "z", "10", "9", "€", "😀", "\u{fffd}",
    ];
    for key in &expected {
        put(store, key, key).await;
    }
    expected.sort_unstable();
    assert_eq!(keys(store, "").await, expected);
}

pub async fn l03_pages_join_without_gap_or_overlap<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let expected: Vec<String> = (0..23).map(|number| format!("k/{number:02}")).collect();
    let ops = expected
        .iter()
        .map(|key| Op::put(key.as_str(), ""))
        .collect();
    store.txn(vec![], ops).await.unwrap();
    put(store, "k0", "outside").await;
    for limit in [1, 5, 22, 23, 24] {
        let mut listing = store.list("k/", Page::first(limit)).await.unwrap();
        let mut found = listing.items.clone();
        while let Some(page) = listing.next_page(limit) {
            listing = store.list("k/", page).await.unwrap();
            assert!(
                (1..=limit).contains(&listing.items.len()),
                "no page is empty"
            );
            found.extend(listing.items.clone());
        }
        assert!(
            found.iter().map(|kv| &kv.key).eq(&expected),
            "pages of {limit}"
        );
    }
}

pub async fn l04_pages_are_of_one_revision_while_others_write<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    for key in ["k/a", "k/c", "k/d", "k/e", "k/f"] {
        put(store, key, "old").await;
    }
    let first = store.list("k/", Page::first(2)).await.unwrap();
    put(store, "k/b", "new").await;
    put(store, "k/d", "new").await;
    delete(store, "k/e").await;
    put(store, "k/e", "new").await;
    delete(store, "k/f").await;
    put(store, "k/g", "new").await;
    let second = store.list("k/", first.next_page(2).unwrap()).await.unwrap();
    let third = store
        .list("k/", second.next_page(2).unwrap())
        .await
        .unwrap();
    assert_eq!((third.revision, third.more), (first.revision, false));
    let items = [first.items, second.items, third.items].concat();
    assert!(
        items
            .iter()
            .map(|kv| kv.key.as_str())
            .eq(["k/a", "k/c", "k/d", "k/e", "k/f"])
    );
    assert!(
        items
            .iter()
            .all(|kv| kv.value == b"old" && kv.mod_revision <= first.revision)
    );
    assert_eq!(
        keys(store, "k/").await,
        ["k/a", "k/b", "k/c", "k/d", "k/e", "k/g"]
    );
}

pub async fn l05_a_page_of_large_items_ends_early<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let value = vec![b'x'; limits::VALUE_BYTES_MAX];
    for key in ["a", "b", "c"] {
        store
            .txn(vec![], vec![Op::put(key, value.clone())])
            .await
            .unwrap();
    }
    let first = store.list("", Page::first(10)).await.unwrap();
    assert_eq!((first.items.len(), first.more), (1, true));
    assert_eq!(store.list_all("").await.unwrap().items.len(), 3);
}

pub async fn l06_after_may_be_any_text<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    for key in ["a", "k/b", "k/d", "z"] {
        put(store, key, "").await;
    }
    let expected = [
        ("", 2),
        ("a", 2),
        ("k/", 2),
        ("k/b", 1),
        ("k/c", 1),
        ("k/d", 0),
        ("z", 0),
    ];
    for (after, count) in expected {
        let page = Page {
            after: Some(after.to_owned()),
            limit: 10,
            at: None,
        };
        let listing = store.list("k/", page).await.unwrap();
        assert_eq!(
            (listing.items.len(), listing.more),
            (count, false),
            "after {after:?}"
        );
    }
}

pub async fn l07_list_all_reads_all_pages<B: Backend>() {
    let backend = B::open(HistoryLimits::default()).await;
    let store = backend.store();
    let count = limits::PAGE_ITEMS_MAX + 200;
    for start in (0..count).step_by(limits::TXN_OPS_MAX) {
        let numbers = start..(start + limits::TXN_OPS_MAX).min(count);
        let ops = numbers
            .map(|number| Op::put(format!("k/{number:05}"), ""))
            .collect();
        store.txn(vec![], ops).await.unwrap();
    }
    let all = store.list_all("k/").await.unwrap();
    assert_eq!((all.items.len(), all.more), (count, false));
    let last = all.items.iter().map(|kv| kv.mod_revision).max();
    assert!(last.unwrap() <= all.revision && all.revision <= revision(store).await);
    assert!(all.items.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(get(store, "k/01199").await, all.items.last().cloned());
}
