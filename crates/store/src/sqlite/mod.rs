//! The store in one SQLite file: for one server.
//!
//! All work on the file happens on one thread (`worker.rs`), which takes requests from a bounded
//! queue and answers what has piled up with one commit. Watches do not touch the file: they read
//! the history, which is loaded from the file when it is opened.
//!
//! Invariants:
//!
//! * Acknowledged means durable: WAL with `synchronous=FULL` syncs before a commit returns, and
//!   nobody sees a write, by reply, read or watch, before it is committed.
//! * One owner: `locking_mode=EXCLUSIVE` locks the file for as long as it is open; the kernel frees
//!   it when the process dies, so nothing is left to clean up.
//! * Private: the file is 0600, a directory made for it 0700.

mod end;
mod load;
mod open;
mod schema;
mod table;
mod worker;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
};

use tokio::sync::{mpsc, oneshot, watch};

use self::worker::{Request, Worker};
pub use self::{
    end::StoreEnd,
    open::{OpenError, SqliteOptions},
};
use crate::{
    Compare, KeyValue, Listing, Op, Page, Result, Revision, Store, StoreError, TxnOutcome, Watch,
    history::Follower,
    limits,
    list::Range,
    txn::{self, Txn},
};

/// What to do about a damaged file.
pub(crate) const CORRUPT_CURE: &str = "Stop the server, keep a copy of the file and of the one \
     ending in -wal beside it, and put the last backup in their place; without a backup, \
     `sqlite3 FILE .recover | sqlite3 NEWFILE` saves what can still be read";

/// A store in one SQLite file, which it owns alone.
///
/// Dropping it waits until what was accepted is committed and the file is free; [`Self::close`]
/// does the same without blocking the executor.
#[derive(Debug)]
pub struct SqliteStore {
    /// `None` only while it is dropped: closing the queue ends the thread.
    requests: Option<mpsc::Sender<Request>>,
    history: Follower,
    /// Comes once the file is free.
    end: StoreEnd,
    thread: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the file, or makes it, with the directories it is in.
    ///
    /// Checks the whole file for damage, which takes about a second for each few hundred MiB.
    pub async fn open(file: impl Into<PathBuf>, options: SqliteOptions) -> Result<Self, OpenError> {
        let file = file.into();
        let stopped = Arc::new(OnceLock::new());
        let (requests, queue) = mpsc::channel(limits::SQLITE_QUEUE_MAX);
        let (opened, open) = oneshot::channel();
        let (running, ended) = watch::channel(());
        let end = StoreEnd::new(ended, Arc::clone(&stopped));
        let thread = {
            let file = file.clone();
            thread::Builder::new()
                .name("store-sqlite".to_owned())
                .spawn(move || {
                    // Moved in, so that it is dropped last.
                    let _running = running;
                    match Worker::open(file, options, stopped) {
                        Ok(worker) => {
                            // If nobody waits any more, the queue is closed too.
                            let _ = opened.send(Ok(worker.follower()));
                            worker.run(queue);
                        }
                        Err(error) => drop(opened.send(Err(error))),
                    }
                })
        };
        let thread = thread.map_err(|source| OpenError::Io {
            file: file.clone(),
            source,
        })?;
        let history = open.await.unwrap_or_else(|_| {
            let detail = "the thread that opens it has died".to_owned();
            Err(OpenError::Sqlite { file, detail })
        })?;
        Ok(Self {
            requests: Some(requests),
            history,
            end,
            thread: Some(thread),
        })
    }

    /// Waits until everything accepted is committed and the file is free.
    pub async fn close(mut self) {
        self.requests = None;
        self.end.wait().await;
    }

    /// Tells when the store's thread has ended, also to those who have given the store away.
    pub fn end(&self) -> StoreEnd {
        self.end.clone()
    }

    /// Sends a request to the thread and waits for the answer.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request + Send,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(|| self.closed())?;
        requests
            .send(request(reply))
            .await
            .map_err(|_| self.closed())?;
        answer.await.map_err(|_| self.closed())?
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed {
            reason: self.end.reason(),
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook and to every caller.
            let _ = thread.join();
        }
    }
}

impl Store for SqliteStore {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        txn::check_key(key)?;
        let key = key.to_owned();
        self.ask(|reply| Request::Get { key, at, reply }).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listing> {
        let range = Range::new(prefix, page)?;
        self.ask(|reply| Request::List { range, reply }).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome> {
        let txn = Txn::new(compares, ops)?;
        self.ask(|reply| Request::Txn { txn, reply }).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        txn::check_prefix(prefix)?;
        Watch::new(self.history.clone(), prefix, from)
    }
}
