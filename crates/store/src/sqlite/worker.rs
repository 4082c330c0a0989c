//! The thread that works on the file.
//!
//! ```text
//!   wait for a request ─► take what else waits (bounded)
//!        ▲                      │
//!        │              all transactions, one commit ──► publish, answer
//!        │                      │                             │
//!        └───── reads ◄─────────┴─────────────────────────────┘
//! ```
//!
//! Requests that wait at the same time are concurrent: none was answered, so none can expect to
//! come before another. That is why writes may go first, and share one commit.
//!
//! If a commit fails in a way that leaves open what is on the disk, the thread ends: only opening
//! the file anew can tell. Everything else takes the batch back and goes on.

use std::{
    ffi::c_int,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use rusqlite::{
    ErrorCode,
    ffi::{self, SQLITE_FULL, SQLITE_IOERR},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    load::load,
    open::{OpenError, SqliteOptions, open, open_error, unwritable},
    table::{Meta, Table},
};
use crate::{
    EventBatch, KeyValue, Listing, Result, Revision, StoreError, TxnOutcome,
    history::{Follower, Publisher},
    limits,
    list::Range,
    txn::{Plan, Txn},
};

type Reply<T> = oneshot::Sender<Result<T>>;

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum Request {
    Get {
        key: String,
        at: Option<Revision>,
        reply: Reply<Option<Arc<KeyValue>>>,
    },
    List {
        range: Range,
        reply: Reply<Listing>,
    },
    Txn {
        txn: Txn,
        reply: Reply<TxnOutcome>,
    },
}

/// Owns the file and appends to the history.
#[derive(Debug)]
pub(super) struct Worker {
    file: PathBuf,
    file_bytes_max: u64,
    table: Table,
    /// How far the file is compacted, which lags behind the history in memory.
    compacted: Revision,
    publisher: Publisher,
    history: Follower,
    stopped: Arc<OnceLock<String>>,
}

/// A test may have this fail, as SQLite would.
fn point(what: &str, code: c_int) -> rusqlite::Result<()> {
    accelnet_crash::point(|| what.to_owned())
        .map_err(|_| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
}

/// The transactions of one commit, decided.
type Decided = (Vec<TxnOutcome>, Vec<EventBatch>);

impl Worker {
    /// Opens the file and loads the history.
    pub(super) fn open(
        file: PathBuf,
        options: SqliteOptions,
        stopped: Arc<OnceLock<String>>,
    ) -> Result<Self, OpenError> {
        let table = Table::new(open(&file, &options)?);
        let meta = table.meta().map_err(|error| open_error(&file, &error))?;
        let publisher = Publisher::new(options.history, meta.compacted);
        load(&file, &table, meta, &publisher)?;
        let history = publisher.follower();
        tracing::info!(file = %file.display(), revision = %meta.revision, "the store is open");
        let (file_bytes_max, compacted) = (options.file_bytes_max, meta.compacted);
        Ok(Self {
            file,
            file_bytes_max,
            table,
            compacted,
            publisher,
            history,
            stopped,
        })
    }

    /// The reading end of the history.
    pub(super) fn follower(&self) -> Follower {
        self.history.clone()
    }

    /// Works until the queue is closed and empty, or the file has failed.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let waiting = std::iter::from_fn(|| queue.try_recv().ok());
            let batch = std::iter::once(first)
                .chain(waiting)
                .take(limits::SQLITE_BATCH_MAX);
            let (mut txns, mut replies, mut reads) = (Vec::new(), Vec::new(), Vec::new());
            for request in batch {
                match request {
                    Request::Txn { txn, reply } => {
                        txns.push(txn);
                        replies.push(reply);
                    }
                    read => reads.push(read),
                }
            }
            if !txns.is_empty() {
                self.write(txns, replies);
            }
            if self.stopped.get().is_some() {
                return;
            }
            reads.into_iter().for_each(|read| self.read(read));
        }
    }

    /// Whoever has stopped waiting for an answer does not get one.
    fn read(&self, request: Request) {
        match request {
            Request::Get { key, at, reply } => drop(reply.send(self.get(&key, at))),
            Request::List { range, reply } => drop(reply.send(self.list(&range))),
            Request::Txn { .. } => unreachable!("transactions are taken out before"),
        }
    }

    fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        let (_, mut undo) = self.history.undo(at, |changed| changed == key)?;
        match undo.remove(key) {
            Some(then) => Ok(then),
            None => self.table.current(key).map_err(|error| self.error(&error)),
        }
    }

    fn list(&self, range: &Range) -> Result<Listing> {
        let (revision, undo) = self.history.undo(range.at, |key| range.contains(key))?;
        let page = self.table.walk(range.start(), |walk| {
            range.at_revision(revision, walk, undo)
        });
        page.flatten().map_err(|error| self.error(&error))
    }

    fn write(&mut self, txns: Vec<Txn>, replies: Vec<Reply<TxnOutcome>>) {
        match self.commit(txns) {
            Ok((outcomes, batches)) => {
                self.publisher.publish(batches);
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(Ok(outcome));
                }
            }
            Err(error) => {
                tracing::error!(%error, "transactions have failed");
                if matches!(error, StoreError::OutcomeUnknown { .. }) || self.table.is_stuck() {
                    // Set before answering, so that whoever is answered finds it closed.
                    self.stopped.get_or_init(|| error.to_string());
                }
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Decides all transactions, one after the other, and commits them together.
    fn commit(&mut self, txns: Vec<Txn>) -> Result<Decided> {
        let (decided, compacted) = {
            let transaction = self.table.begin().map_err(|error| self.error(&error))?;
            let (decided, compacted) = self.decide(txns).map_err(|error| self.error(&error))?;
            if decided.1.is_empty() {
                return Ok(decided);
            }
            point("commit to the store", SQLITE_FULL).map_err(|error| self.error(&error))?;
            transaction
                .commit()
                .and_then(|()| point("say that it is committed", SQLITE_IOERR))
                .map_err(|error| self.commit_error(&error))?;
            (decided, compacted)
        };
        self.compacted = compacted;
        Ok(decided)
    }

    /// Each transaction sees what those before it have written. Also says how far the file is
    /// compacted with them.
    fn decide(&self, txns: Vec<Txn>) -> rusqlite::Result<(Decided, Revision)> {
        let mut revision = self.history.head();
        let mut outcomes = Vec::with_capacity(txns.len());
        let mut batches = Vec::new();
        for txn in txns {
            outcomes.push(
                match txn.plan(revision.next(), |key| self.table.current(key))? {
                    Plan::Conflict(conflicts) => TxnOutcome::Conflict {
                        revision,
                        conflicts,
                    },
                    Plan::Nothing => TxnOutcome::Committed { revision },
                    Plan::Write(batch) => {
                        self.table.insert(&batch)?;
                        revision = batch.revision;
                        batches.push(batch);
                        TxnOutcome::Committed { revision }
                    }
                },
            );
        }
        let mut compacted = self.compacted;
        if batches.is_empty() {
            return Ok(((outcomes, batches), compacted));
        }
        let forgotten = self.history.compacted();
        if forgotten.get() - compacted.get() >= limits::SQLITE_COMPACT_EVERY {
            self.table.compact(compacted, forgotten)?;
            compacted = forgotten;
        }
        self.table.set_meta(Meta {
            revision,
            compacted,
        })?;
        Ok(((outcomes, batches), compacted))
    }

    /// What an error means after which nothing was written.
    fn error(&self, error: &rusqlite::Error) -> StoreError {
        let (file, detail) = (self.file.clone(), self.detail(error));
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full {
                file,
                limit_bytes: self.file_bytes_max,
            },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt { file, detail }
            }
            _ => StoreError::Backend { file, detail },
        }
    }

    /// A full disk is found before the commit record is written; after any other failure it may be
    /// on the disk or not, and a second try of fsync would not tell.
    fn commit_error(&self, error: &rusqlite::Error) -> StoreError {
        match self.error(error) {
            full @ StoreError::Full { .. } => full,
            _ => StoreError::OutcomeUnknown {
                place: self.file.display().to_string(),
                detail: self.detail(error),
                cure: "Check the disk and restart the server, which then finds out",
            },
        }
    }

    /// What went wrong; first what the system says of the file, if it does.
    fn detail(&self, error: &rusqlite::Error) -> String {
        match unwritable(&self.file) {
            Some(reason) => format!("it cannot be written: {reason} ({error})"),
            None => error.to_string(),
        }
    }
}
