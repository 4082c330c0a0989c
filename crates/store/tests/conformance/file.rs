//! What only a file has to prove: it lasts, it is private, and it has one owner.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use accelnet_store::{
    EventBatch, Op, OpenError, Revision, SqliteOptions, SqliteStore, Store, StoreError,
};
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::backend::{delete, file, get, keep, keys, next, put, revision};

async fn open(file: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(file, SqliteOptions::default()).await
}

#[tokio::test]
async fn f01_everything_is_there_after_a_restart() {
    let (_directory, file) = file();
    let store = open(&file).await.unwrap();
    let start = revision(&store).await;
    put(&store, "a", "1").await;
    let ops = vec![Op::put("b", "2"), Op::put("a", "3"), Op::put("c", "")];
    store.txn(vec![], ops).await.unwrap();
    delete(&store, "b").await;
    let before = store.list_all("").await.unwrap();
    let history = |store: SqliteStore| async move {
        let mut watch = store.watch("", start.next()).await.unwrap();
        let batches = [
            next(&mut watch).await,
            next(&mut watch).await,
            next(&mut watch).await,
        ];
        assert_eq!(watch.try_recv().unwrap(), None);
        (batches, store)
    };
    let (seen, store) = history(store).await;
    store.close().await;

    let store = open(&file).await.unwrap();
    assert_eq!(store.list_all("").await.unwrap(), before);
    let (seen_again, store) = history(store).await;
    assert_eq!(seen_again, seen);
    assert_eq!(put(&store, "b", "4").await, before.revision.next());
    assert_eq!(get(&store, "b").await.unwrap().version, 1);
}

#[tokio::test]
async fn f02_dropping_frees_the_file() {
    let (_directory, file) = file();
    for round in 0..5 {
        let store = open(&file).await.unwrap();
        assert_eq!(keys(&store, "").await.len(), round);
        put(&store, &round.to_string(), "").await;
        drop(store);
    }
}

/// Everything that is kept of the past, from `oldest` to `last`.
async fn past(store: &SqliteStore, oldest: Revision, last: Revision) -> Vec<EventBatch> {
    let mut watch = store.watch("", oldest).await.unwrap();
    let mut batches = Vec::new();
    for number in oldest.get()..=last.get() {
        let batch = next(&mut watch).await;
        assert_eq!(batch.revision.get(), number);
        batches.push(batch);
    }
    batches
}

#[tokio::test]
async fn f03_the_history_stays_compacted_and_usable_after_a_restart() {
    const KEPT: u64 = 20;
    let (_directory, file) = file();
    let options = SqliteOptions {
        history: keep(20),
        ..SqliteOptions::default()
    };
    let mut last = Revision::FIRST;
    let mut before = Vec::new();
    for round in 0..4 {
        let store = SqliteStore::open(&file, options).await.unwrap();
        assert_eq!(revision(&store).await, last);
        if let Some(EventBatch {
            revision: oldest, ..
        }) = before.first()
        {
            assert_eq!(past(&store, *oldest, last).await, before);
        }
        for number in 0..150 {
            put(&store, &format!("k/{}", number % 27), &round.to_string()).await;
            last = delete(&store, "gone").await;
            last = if number % 10 == 0 {
                put(&store, "gone", "").await
            } else {
                last
            };
        }
        let oldest = Revision::new(last.get() + 1 - KEPT);
        let wanted = Revision::new(oldest.get() - 1);
        let refused = store.watch("", wanted).await.unwrap_err();
        assert_eq!(refused, StoreError::Compacted { wanted, oldest });
        before = past(&store, oldest, last).await;
        assert_eq!(keys(&store, "").await.len(), 27);
        store.close().await;
    }
    let rows: u64 = Connection::open(&file)
        .unwrap()
        .query_row("SELECT count(*) FROM version", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
        .cast_unsigned();
    assert!(
        rows < 27 + KEPT + 2 * 128,
        "{rows} rows are left of the past"
    );
}

#[tokio::test]
async fn f04_file_and_directory_are_private() {
    let (directory, file) = file();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = open(&file).await.unwrap();
    put(&store, "a", "").await;
    for entry in fs::read_dir(file.parent().unwrap()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    assert_eq!(mode(&directory.path().join("state")), 0o700);
    store.close().await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    open(&file).await.unwrap().close().await;
    assert_eq!(mode(&file), 0o600, "an open file is closed to others");
}

#[tokio::test]
async fn f05_a_second_owner_in_this_process_is_refused() {
    let (_directory, file) = file();
    let store = open(&file).await.unwrap();
    put(&store, "a", "1").await;
    let error = open(&file).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("only one server"));
    put(&store, "a", "2").await;
    store.close().await;
    assert_eq!(
        get(&open(&file).await.unwrap(), "a").await.unwrap().value,
        b"2"
    );
}

#[tokio::test]
async fn f06_other_databases_and_newer_schemas_are_left_alone() {
    let (directory, _) = file();
    let other = directory.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    let before = fs::read(&other).unwrap();
    let error = open(&other).await.unwrap_err();
    assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");
    assert_eq!(fs::read(&other).unwrap(), before);

    let (_directory, newer) = crate::damage::written().await;
    Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = open(&newer).await.unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 99, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_concurrent_writes_share_commits_and_stay_apart() {
    let (_directory, file) = file();
    let store = Arc::new(open(&file).await.unwrap());
    let mut tasks = JoinSet::new();
    for task in 0..300 {
        let store = store.clone();
        tasks.spawn(async move {
            let revision = put(&store, &format!("k/{task}"), "").await;
            let kv = get(&store, &format!("k/{task}")).await.unwrap();
            assert_eq!(
                kv.mod_revision, revision,
                "who was answered reads what it wrote"
            );
            revision
        });
    }
    let mut revisions = tasks.join_all().await;
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 300);
}

#[tokio::test]
async fn f08_what_cannot_be_opened_is_named() {
    let (directory, _) = file();
    let blocked = directory.path().join("blocked");
    fs::write(&blocked, "").unwrap();
    let error = open(&blocked.join("store.db")).await.unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(error.to_string().contains("blocked"));
    let error = open(directory.path()).await.unwrap_err();
    assert!(error.to_string().contains("cannot open"), "{error}");
}
