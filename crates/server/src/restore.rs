//! A backup is put back, into the store that it is of or an empty one of any kind, while no server decides there.
//!
//! ```text
//!   file ─► Backup ──┐
//!                    ├─► plan (pure): what is written, and what differs ─► told, asked ─► carry_out
//!   store as it is ──┘
//! ```
//!
//! Rules:
//!
//! * Agents never go back: the wish goes on with a number that is higher than any that they can have accepted.
//! * A copy takes no VM off its VF, whatever it says: a VM that it does not know, or knows on the software path, is
//!   left as it is. Who is parked is as it is now.
//! * Who may come in is as it is now: a store that has this cluster keeps its authority, nodes and tokens, so that
//!   nobody who was shut out since is let in again. Only a store without a cluster takes them from the copy.
//! * All or nothing. A key says from the first write to the last that it is under way; a server does not start on what
//!   it finds then. One that was interrupted is run again, and comes to the same.

mod differences;
mod plan;

use std::sync::Arc;

use accelnet_api::backup::Backup;
use accelnet_model::{Code, Problem};
use accelnet_store::{Compare, KeyValue, Op, Page, Revision, Store, TxnOutcome, limits};
use jiff::Timestamp;
use serde::Serialize;

pub use differences::{Difference, Kind};
pub use plan::{Plan, Report};

use crate::{
    audit::{Actor, Asked, Entry, KEPT},
    state::{PREFIX, UNFINISHED, put, within},
};

/// Keys and values of one transaction together; with what is around them it fits into a message of any backend.
const BATCH_BYTES: usize = limits::TXN_BYTES_MAX / 2;

/// What [`UNFINISHED`] says.
#[derive(Debug, Serialize)]
struct Unfinished<'a> {
    backup: &'a str,
    since: Timestamp,
}

/// What putting a backup back would do.
///
/// # Errors
/// `invalid_argument` if the backup is of a newer version or holds what cannot be read, `conflict` if the store holds
/// another cluster, `store_failed` if it cannot be read.
pub async fn plan<S: Store>(store: &S, backup: &Backup, now: Timestamp) -> Result<Plan, Problem> {
    plan::of(&everything(store).await?, backup, now)
}

/// All keys, at one revision.
async fn everything<S: Store>(store: &S) -> Result<Vec<Arc<KeyValue>>, Problem> {
    let mut items = Vec::new();
    let mut page = Some(Page::first(limits::PAGE_ITEMS_MAX));
    while let Some(next) = page {
        let listing = within(store.list(PREFIX, next)).await?;
        page = listing.next_page(limits::PAGE_ITEMS_MAX);
        items.extend(listing.items);
    }
    Ok(items)
}

/// Puts it back, all or nothing as seen by servers. Whoever calls it is the only one who may write to the store.
///
/// # Errors
/// `conflict` if the state has changed since the plan was made, `store_failed` if it cannot be written: then servers
/// refuse to start, until it was run again to its end.
pub async fn carry_out<S: Store>(store: &S, plan: &Plan, by: Actor) -> Result<(), Problem> {
    let generation = Compare {
        key: format!("{PREFIX}generation"),
        mod_revision: plan.seen,
    };
    let unfinished = Unfinished {
        backup: &plan.report.sha256,
        since: Timestamp::now(),
    };
    let begin = vec![put(UNFINISHED, &unfinished)?];
    let begun = one(store, vec![generation.clone()], begin).await?;
    let under_way = Compare::unchanged(format!("{PREFIX}{UNFINISHED}"), begun);
    for batch in batches(&plan.ops) {
        one(store, vec![under_way.clone()], batch)
            .await
            .map_err(interrupted)?;
    }
    let asked = Asked {
        by,
        operation: "restore",
        subject: format!(
            "backup of {}, as generation {}",
            plan.report.taken, plan.report.generation
        ),
        dry_run: false,
    };
    let mut last = plan.last.clone();
    let number = plan.entry;
    last.push(put(
        &format!("audit/{number:020}"),
        &Entry::new(&asked, Timestamp::now()),
    )?);
    if let Some(old) = number.checked_sub(KEPT) {
        last.push(Op::delete(format!("{PREFIX}audit/{old:020}")));
    }
    last.push(Op::delete(format!("{PREFIX}{UNFINISHED}")));
    one(store, vec![under_way, generation], last)
        .await
        .map_err(interrupted)?;
    Ok(())
}

/// One transaction, which nobody else may have come before.
async fn one<S: Store>(
    store: &S,
    compares: Vec<Compare>,
    ops: Vec<Op>,
) -> Result<Revision, Problem> {
    match within(store.txn(compares, ops)).await? {
        TxnOutcome::Committed { revision } => Ok(revision),
        TxnOutcome::Conflict { .. } => {
            let text = "Somebody else has changed the state meanwhile.";
            Err(Problem::new(Code::Conflict, text)
                .with_cure("Stop all servers of the cluster, and run it again."))
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn interrupted(problem: Problem) -> Problem {
    let text = format!("The restore was interrupted: {}", problem.detail);
    Problem::new(Code::StoreFailed, text).with_cure(
        "Run it again, with the same file: it comes to the same. Until then no server starts on this store.",
    )
}

/// Ops in batches that a transaction of any backend takes.
fn batches(ops: &[Op]) -> Vec<Vec<Op>> {
    let mut all: Vec<Vec<Op>> = Vec::new();
    let mut bytes = 0;
    for op in ops {
        let size = op.key().len()
            + match op {
                Op::Put { value, .. } => value.len(),
                Op::Delete { .. } => 0,
            };
        match all.last_mut() {
            Some(batch) if batch.len() < limits::TXN_OPS_MAX && bytes + size <= BATCH_BYTES => {
                bytes += size;
                batch.push(op.clone());
            }
            _ => {
                bytes = size;
                all.push(vec![op.clone()]);
            }
        }
    }
    all
}

/// Whether no restore into this store was left half done.
///
/// # Errors
/// `store_failed` if one was.
pub(crate) async fn finished<S: Store>(store: &S) -> Result<(), Problem> {
    let key = format!("{PREFIX}{UNFINISHED}");
    if within(store.get(&key, None)).await?.is_none() {
        return Ok(());
    }
    let text = "A backup is being put back into this store, or that was interrupted.";
    let cure = "Run it again to its end: 'accelnetd restore', with the same file and store.";
    Err(Problem::new(Code::StoreFailed, text).with_cure(cure))
}

#[cfg(test)]
mod tests;
