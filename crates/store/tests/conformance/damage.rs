//! Files that are damaged or full, and disks that fail.

use std::{
    fs,
    path::{Path, PathBuf},
};

use accelnet_store::{Op, OpenError, SqliteOptions, SqliteStore, Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::backend::{file, get, in_time, keep, keys, put, revision};

async fn open(file: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(file, SqliteOptions::default()).await
}

/// A closed file with a few changes in it.
pub async fn written() -> (TempDir, PathBuf) {
    let (directory, file) = file();
    let store = open(&file).await.unwrap();
    for number in 0..300 {
        put(&store, &format!("k/{}", number % 100), &"x".repeat(200)).await;
    }
    store.close().await;
    (directory, file)
}

#[tokio::test]
async fn d01_damage_is_found_and_named_with_a_cure() {
    let (_directory, file) = written().await;
    let whole = fs::read(&file).unwrap();
    let text =
        b"this is not a database, it is a text that is longer than a header of SQLite".repeat(9);
    let mut holes = whole.clone();
    for page in holes.chunks_mut(4096).skip(2).step_by(3) {
        page[..64].fill(0xa5);
    }
    for damaged in [text, holes, whole[..whole.len() / 2].to_vec()] {
        fs::write(&file, damaged).unwrap();
        let error = open(&file).await.unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("store.db is damaged") && text.contains("backup"),
            "{text}"
        );
    }
    fs::write(&file, whole).unwrap();
    assert_eq!(keys(&open(&file).await.unwrap(), "").await.len(), 100);
}

#[tokio::test]
async fn d02_a_gap_in_the_history_is_damage() {
    for damage in [
        "DELETE FROM version WHERE id / 256 = 150",
        "DELETE FROM version WHERE id / 256 = 2",
        "DELETE FROM version WHERE id = (SELECT max(id) FROM version)",
        "DELETE FROM meta",
        "DROP TABLE version",
    ] {
        let (_directory, file) = written().await;
        Connection::open(&file)
            .unwrap()
            .execute_batch(damage)
            .unwrap();
        let error = open(&file).await.unwrap_err();
        assert!(
            matches!(error, OpenError::Corrupt { .. }),
            "{damage}: {error}"
        );
    }
}

#[tokio::test]
async fn d03_a_full_store_refuses_writes_and_goes_on() {
    let (_directory, file) = file();
    let options = SqliteOptions {
        history: keep(1),
        file_bytes_max: 1024 * 1024,
    };
    let store = SqliteStore::open(&file, options).await.unwrap();
    let value = vec![b'x'; 100 * 1024];
    let mut written = 0;
    let error = loop {
        let ops = vec![Op::put(format!("k/{written}"), value.clone())];
        match store.txn(vec![], ops).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(keys(&store, "").await.len(), written);
    let before = revision(&store).await;
    let small = put(&store, "small", "fits").await;
    assert_eq!(small, before.next());
    store.close().await;
    let store = open(&file).await.unwrap();
    assert_eq!(keys(&store, "k/").await.len(), written);
    assert_eq!(revision(&store).await, small);
}

/// Adds a trigger that does this when the key `trigger` is written.
fn on_trigger(file: &Path, statement: &str) {
    let sql = format!(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER fault AFTER INSERT ON version WHEN new.key = 'trigger'
         BEGIN {statement}; END"
    );
    Connection::open(file).unwrap().execute_batch(&sql).unwrap();
}

#[tokio::test]
async fn d04_a_write_that_fails_is_taken_back_and_others_go_on() {
    let (_directory, file) = written().await;
    on_trigger(&file, "SELECT RAISE(ABORT, 'an injected fault')");
    let store = open(&file).await.unwrap();
    let before = revision(&store).await;
    let ops = vec![
        Op::put("first", ""),
        Op::put("trigger", ""),
        Op::put("last", ""),
    ];
    let error = store.txn(vec![], ops).await.unwrap_err();
    assert!(matches!(error, StoreError::Backend { .. }), "{error}");
    assert!(error.to_string().contains("an injected fault"));
    assert_eq!(get(&store, "first").await, None);
    assert_eq!(put(&store, "first", "").await, before.next());
}

#[tokio::test]
async fn d05_after_a_commit_of_unknown_outcome_the_store_stops_until_it_is_opened_again() {
    let (_directory, file) = written().await;
    // A deferred constraint fails in the commit itself.
    on_trigger(&file, "INSERT INTO child VALUES (1)");
    let store = open(&file).await.unwrap();
    let before = revision(&store).await;
    let mut watch = store.watch("", before.next()).await.unwrap();
    let mut end = store.end();
    assert!(!end.has_come());
    let error = store
        .txn(vec![], vec![Op::put("trigger", "")])
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::OutcomeUnknown { .. }),
        "{error}"
    );
    let closed = store.get("k/1", None).await.unwrap_err();
    assert!(matches!(&closed, StoreError::Closed { reason } if *reason == error.to_string()));
    assert!(matches!(
        in_time(watch.recv()).await,
        Err(StoreError::Closed { .. })
    ));
    // Whoever does not use it hears of it too.
    assert_eq!(in_time(end.wait()).await, error.to_string());
    assert!(end.has_come() && store.end().has_come());
    store.close().await;
    let store = open(&file).await.unwrap();
    assert_eq!(revision(&store).await, before);
    assert_eq!(get(&store, "trigger").await, None);
    // One that is closed in order has an end as well.
    let mut end = store.end();
    assert!(!end.has_come());
    store.close().await;
    assert_eq!(in_time(end.wait()).await, "its thread has ended");
}
