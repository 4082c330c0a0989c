//! Faults and events in the store: a key for each fault that is kept, and the last events by number.
//!
//! They are of the moment: what cannot be read is left out with a warning, as it is found again.

use accelnet_api::Event;
use accelnet_model::Problem;
use accelnet_rules::health::Kept;
use accelnet_store::{Op, limits};
use serde::{Deserialize, Serialize};

use super::{PREFIX, decode, put};

/// Keys of faults.
pub const FAULTS: &str = "faults/";
/// Keys of events.
pub const EVENTS: &str = "events/";
/// Events that are kept: about 400 KiB; on a cluster where little happens, months.
pub const EVENTS_KEPT: u64 = 1000;

/// The key of the first event that was not announced.
const ANNOUNCED: &str = "events/announced";
/// No number of an event, or of an entry of the record, is greater, so that there is always a next one.
pub const NUMBER_MAX: u64 = i64::MAX as u64;

/// How far events were announced.
#[derive(Debug, Serialize, Deserialize)]
struct Announced {
    next: u64,
}

/// Faults and events as they were kept.
#[derive(Debug, Default)]
pub struct Health {
    /// Faults.
    pub faults: Vec<Kept>,
    /// Events with their numbers, in their order.
    pub events: Vec<(u64, Event)>,
    /// The first event that was not announced, if any ever was.
    pub announced: Option<u64>,
}

impl Health {
    /// Takes in a key of the store.
    pub fn take(&mut self, key: &str, value: &[u8]) {
        let key = key.strip_prefix(PREFIX).unwrap_or_default();
        let taken = if key.starts_with(FAULTS) {
            decode(key, value).map(|fault| self.faults.push(fault))
        } else if key == ANNOUNCED {
            decode(key, value).map(|Announced { next }| self.announced = Some(next))
        } else {
            let number = key.strip_prefix(EVENTS).and_then(|end| end.parse().ok());
            let Some(number) = number.filter(|number| *number <= NUMBER_MAX) else {
                tracing::warn!(key, "no event has such a number");
                return;
            };
            decode(key, value).map(|event| self.events.push((number, event)))
        };
        if let Err(problem) = taken {
            tracing::warn!(%problem, "a fault or event that was kept");
        }
    }
}

/// What writes a fault, or takes it away.
///
/// # Errors
/// If it cannot be written.
pub fn fault(id: &str, kept: Option<&Kept>) -> Result<Op, Problem> {
    match kept {
        Some(kept) => put(&format!("{FAULTS}{id}"), kept),
        None => Ok(Op::delete(format!("{PREFIX}{FAULTS}{id}"))),
    }
}

/// What writes an event, and takes away the one that is too old.
///
/// # Errors
/// If it cannot be written.
pub fn event(number: u64, event: &Event) -> Result<Vec<Op>, Problem> {
    // Twenty digits hold any number, so that the order of keys is that of events.
    let mut ops = vec![put(&format!("{EVENTS}{number:020}"), event)?];
    if let Some(old) = number.checked_sub(EVENTS_KEPT) {
        ops.push(Op::delete(format!("{PREFIX}{EVENTS}{old:020}")));
    }
    Ok(ops)
}

/// What writes how far events were announced: up to this one.
///
/// # Errors
/// If it cannot be written.
pub fn announced(next: u64) -> Result<Op, Problem> {
    put(ANNOUNCED, &Announced { next })
}

/// So many of these as fit into one transaction, with room for an entry of the record; at least one.
pub fn fitting(ops: &[Op]) -> usize {
    let mut bytes = 0;
    let room = limits::TXN_OPS_MAX - 2;
    let fit = ops.iter().take(room).take_while(|op| {
        bytes += match op {
            Op::Put { key, value } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        };
        bytes < limits::VALUE_BYTES_MAX
    });
    fit.count().max(1).min(ops.len())
}
