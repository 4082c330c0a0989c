//! What can go wrong with an operation.
//!
//! The variants follow what a caller does next: list again (`Compacted`, `Future`), correct the
//! request (`Invalid`), tell the operator (`Full`, `Corrupt`, `Backend`, `Refused`), try again
//! (`Unreachable`), read again before trying again (`OutcomeUnknown`), leave writing to another
//! server (`Deposed`), or give up (`Closed`). Errors are values that can be cloned, because
//! one failed commit answers many callers.

use std::path::PathBuf;

use crate::{Revision, limits};

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The revision asked for is no longer kept, or a watcher was so slow that its next event is
    /// gone. List again and watch from there.
    #[error(
        "revision {wanted} is no longer kept, the oldest is {oldest}; list again and watch from \
         the revision of that list"
    )]
    Compacted {
        /// What was asked for.
        wanted: Revision,
        /// The oldest revision the same call could be made with.
        oldest: Revision,
    },

    /// The revision asked for has not happened. The caller has seen another store, or this one
    /// before it was restored from a backup.
    #[error(
        "revision {wanted} has not happened, the store is at {current}; it may have been restored \
         from a backup: list again and watch from the revision of that list"
    )]
    Future {
        /// What was asked for.
        wanted: Revision,
        /// Where the store is.
        current: Revision,
    },

    /// The request can never succeed as it is.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),

    /// There was no room; nothing was written, and reading goes on.
    #[error(
        "there is no room for {}: its file system is full or the file has reached its limit of \
         {limit_bytes} bytes; nothing was written. Free space and try again",
        file.display()
    )]
    Full {
        /// The file.
        file: PathBuf,
        /// How large it may get.
        limit_bytes: u64,
    },

    /// The file is damaged.
    #[error("{} is damaged: {detail}. {}", file.display(), crate::sqlite::CORRUPT_CURE)]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What was found.
        detail: String,
    },

    /// The backend refused for another reason; nothing was written.
    #[error("cannot work with {}: {detail}", file.display())]
    Backend {
        /// The file.
        file: PathBuf,
        /// What it said.
        detail: String,
    },

    /// etcd was not reached or did not answer in time. Nothing was written; try again.
    #[error("etcd ({endpoints}) does not answer: {detail}; nothing was written")]
    Unreachable {
        /// Where it was looked for.
        endpoints: String,
        /// What happened instead.
        detail: String,
    },

    /// etcd answered that it will not do this: it has no room, or the certificate lacks a right.
    /// Nothing was written.
    #[error("etcd ({endpoints}) refuses: {detail}; nothing was written")]
    Refused {
        /// Where it was asked.
        endpoints: String,
        /// What it said.
        detail: String,
    },

    /// The write may have happened or not; reading tells, and what is read then is final.
    ///
    /// A store in a file has stopped, since it can no longer say what would survive a crash: it
    /// tells after it is opened again. A store on etcd goes on, and tells at the next read: before
    /// that it makes sure that what has not happened by then never will.
    #[error("it is unknown whether the write to {place} happened: {detail}. {cure}")]
    OutcomeUnknown {
        /// The file, or the endpoints of etcd.
        place: String,
        /// What went wrong.
        detail: String,
        /// What to do.
        cure: &'static str,
    },

    /// This server does not lead any more, so it must not write. Nothing was written.
    #[error("another server may lead by now; nothing was written")]
    Deposed,

    /// The store was closed or has stopped.
    #[error("the store is closed: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// Only a prefix may be empty.
    #[error("the key is empty")]
    EmptyKey,

    /// A key or prefix is too long.
    #[error(
        "a key of {bytes} bytes is too long, the limit is {}",
        limits::KEY_BYTES_MAX
    )]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },

    /// Control characters would garble listings, and a NUL ends text in SQLite's own functions.
    #[error("the key {key:?} contains a control character")]
    KeyHasControlCharacter {
        /// The key.
        key: String,
    },

    /// A value is too large.
    #[error(
        "the value of {key} has {bytes} bytes, the limit is {}",
        limits::VALUE_BYTES_MAX
    )]
    ValueTooLarge {
        /// The key.
        key: String,
        /// Size of its value.
        bytes: usize,
    },

    /// Too many ops for one transaction: split it.
    #[error(
        "a transaction of {ops} ops is too large, the limit is {}",
        limits::TXN_OPS_MAX
    )]
    TooManyOps {
        /// How many there are.
        ops: usize,
    },

    /// Too many compares for one transaction.
    #[error(
        "a transaction of {compares} compares is too large, the limit is {}",
        limits::TXN_COMPARES_MAX
    )]
    TooManyCompares {
        /// How many there are.
        compares: usize,
    },

    /// All keys and values of the transaction together are too large: split it.
    #[error(
        "a transaction of {bytes} bytes is too large, the limit is {}",
        limits::TXN_BYTES_MAX
    )]
    TxnTooLarge {
        /// Keys and values together.
        bytes: usize,
    },

    /// Two ops of one transaction name the same key.
    #[error("the key {key} occurs in two ops of one transaction")]
    DuplicateKey {
        /// The key.
        key: String,
    },

    /// What is said of etcd contradicts itself.
    #[error("the options for etcd are wrong: {reason}")]
    EtcdOptions {
        /// In which way.
        reason: String,
    },

    /// A page must have between 1 and the maximum number of items.
    #[error(
        "a page of {limit} items is impossible, use 1 to {}",
        limits::PAGE_ITEMS_MAX
    )]
    PageLimit {
        /// What was asked for.
        limit: usize,
    },
}
