//! The record of changes: who asked for what, and when.
//!
//! Changes that were made; not dry runs, and not requests that ask for what is there already. The last
//! [`KEPT`] are kept. What was refused changed nothing, and anybody can have as much refused as he likes:
//! it is told to the log, and pushes no change out of the record.

use std::fmt;

use accelnet_model::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Entries that are kept: about 300 KiB, and weeks of an operator's work.
pub const KEPT: u64 = 1000;

/// Who asks, as the kernel says (`SO_PEERCRED`); nothing is known of the sender of a request that
/// did not come by a unix socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// User id.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
    /// Process id.
    pub pid: Option<i32>,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "uid {uid}"),
            None => f.write_str("somebody unknown"),
        }
    }
}

/// What is asked for, by whom.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Who asks.
    pub by: Actor,
    /// The operation, e.g. `vm enable`.
    pub operation: &'static str,
    /// What it is about and how, e.g. `web1 High`; made printable.
    pub subject: String,
    /// Only the plan is wanted.
    pub dry_run: bool,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was decided.
    pub at: Timestamp,
    /// Who asked.
    pub by: Actor,
    /// The operation.
    pub operation: String,
    /// What it is about.
    pub subject: String,
}

impl Entry {
    /// The entry of a change that was decided on just now.
    pub fn new(asked: &Asked) -> Self {
        let entry = Self {
            at: Timestamp::now(),
            by: asked.by,
            operation: asked.operation.to_owned(),
            subject: asked.subject.clone(),
        };
        let Actor { uid, pid, .. } = entry.by;
        tracing::info!(target: "audit", uid, pid, entry.operation, entry.subject);
        entry
    }
}

/// Tells the log of a request that was refused.
pub fn refused(asked: &Asked, problems: &[Problem]) {
    let Asked {
        by: Actor { uid, pid, .. },
        operation,
        subject,
        ..
    } = asked;
    let codes: Vec<&str> = problems
        .iter()
        .map(|problem| problem.code.as_str())
        .collect();
    let refused = codes.join(" ");
    tracing::info!(target: "audit", uid, pid, operation, subject, refused);
}

/// Text of a user's, shortened and without control characters, to be shown and kept.
pub fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let mut shown = String::new();
    for letter in text.chars().take(CHARS_MAX) {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_users_cannot_drive_a_terminal() {
        assert_eq!(printable("web 1 ä"), "web 1 ä");
        assert_eq!(printable("a\u{1b}[31m\n\0"), "a\\u{1b}[31m\\n\\u{0}");
        assert_eq!(printable(&"x".repeat(1000)).len(), 200);
    }
}
