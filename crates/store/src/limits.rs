//! How much of everything, and why that much.
//!
//! The limits are the tightest of the backends', so that what one accepts all accept: a cluster can
//! move to etcd without meeting a value that no longer fits.

use std::time::Duration;

/// Longest key or prefix, in bytes. Keys are paths of a few names of at most 255 bytes each, and a
/// key is held several times (index, history, watch), so it has to stay small beside its value.
pub const KEY_BYTES_MAX: usize = 1024;

/// Largest value. With its key and the message around it, it has to fit into one etcd request (see
/// [`TXN_BYTES_MAX`]) with room for a second record that changes with it, such as an audit entry.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Keys and values of one transaction together. etcd refuses requests over 1.5 MiB
/// (`--max-request-bytes`), counted with their encoding, for which 64 KiB are left: 256 compares
/// and ops at well below 256 bytes of framing and of the prefix each.
pub const TXN_BYTES_MAX: usize = 1536 * 1024 - 64 * 1024;

/// Ops in one transaction: etcd's `--max-txn-ops`.
pub const TXN_OPS_MAX: usize = 128;

/// Compares in one transaction. etcd counts them by the same limit as ops; two are left to what a
/// store on etcd compares by itself: that the transaction is not void, and that its server leads.
pub const TXN_COMPARES_MAX: usize = TXN_OPS_MAX - 2;

/// Items on one page of a list. With records of about 1 KiB a page stays near 1 MiB.
pub const PAGE_ITEMS_MAX: usize = 1000;

/// Keys and values on one page together; a page ends early rather than exceed it, but holds at
/// least one item. gRPC clients refuse answers over 4 MiB by default; this leaves half of it.
pub const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How far back a watch can start and how far a slow watcher may lag, by default: revisions. At
/// 100 writes a second that is more than a minute, enough for a client to reconnect; an idle
/// cluster keeps hours.
pub const HISTORY_REVISIONS: usize = 8192;

/// The same, by memory: the history is held in memory once, whatever the number of watchers. A
/// record of 1 KiB costs about 2 KiB here, so that both limits are reached together.
pub const HISTORY_BYTES: usize = 16 * 1024 * 1024;

/// Requests waiting for the thread that works on the SQLite file. A caller waits for a place, so
/// this bounds memory, not throughput; two batches keep the thread busy during a commit.
pub(crate) const SQLITE_QUEUE_MAX: usize = 2 * SQLITE_BATCH_MAX;

/// Requests that share one commit. One fsync costs about as much as a hundred small transactions,
/// so a larger batch gains little and makes the first request in it wait longer.
pub(crate) const SQLITE_BATCH_MAX: usize = 64;

/// Revisions that may be forgotten in memory before they are deleted from the file: deleting many
/// at once is cheaper, and none of it can be seen.
pub(crate) const SQLITE_COMPACT_EVERY: u64 = 128;

/// Size of the SQLite file at which writes are refused: etcd's default quota, and far above what
/// accelnet needs (about 1 KiB a VM). A file that gets there is a bug, and must not fill the disk.
pub const SQLITE_FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Longest prefix of all keys on etcd, in bytes: with it a compare or op still has less than 256
/// bytes around its key and value (see [`TXN_BYTES_MAX`]).
pub const ETCD_PREFIX_BYTES_MAX: usize = 128;

/// Largest answer of a watch on etcd. A transaction as a whole arrives at once, with the values
/// before it, and so do up to 1000 of them after an interruption; what exceeds this much is not
/// read, watchers list again.
pub(crate) const ETCD_WATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long etcd may take to answer a call, by default. A new leader of etcd is elected within
/// about 2 s by etcd's default timing; this leaves time for a second attempt.
pub const ETCD_DEADLINE: Duration = Duration::from_secs(5);

/// What a store keeps of the past. Whichever limit is reached first counts; the newest revision is
/// always kept. There is no limit by age: it would need a clock that never jumps, and bounds
/// nothing that these do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Number of revisions.
    pub revisions: usize,
    /// Approximate memory.
    pub bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            revisions: HISTORY_REVISIONS,
            bytes: HISTORY_BYTES,
        }
    }
}
