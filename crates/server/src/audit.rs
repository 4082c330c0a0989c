//! The record of changes: who asked for what, and when.
//!
//! Changes that were made; not dry runs, and not requests that ask for what is there already. The last
//! [`KEPT`] are kept. What was refused changed nothing, and anybody can have as much refused as he likes:
//! it is told to the log, and pushes no change out of the record.

use std::fmt;

use accelnet_api::{AuditEntry, AuditOutcome, Who};
use accelnet_model::{Name, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Entries that are kept: about 300 KiB, and weeks of an operator's work.
pub const KEPT: u64 = 1000;

/// Who asks: by a token, or as the kernel says of a local process (`SO_PEERCRED`). With nothing in it, it
/// is the server itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Name of the token that was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Name>,
    /// The node where it was asked, if a node has passed it on; the user id is that node's then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// User id.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
    /// Process id.
    pub pid: Option<i32>,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token, node, uid, ..
        } = self;
        let place = match (uid, node) {
            (Some(uid), Some(node)) => format!("uid {uid} on {node}"),
            (Some(uid), None) => format!("uid {uid}"),
            (None, Some(node)) => format!("node {node}"),
            (None, None) => String::new(),
        };
        match (token, place.as_str()) {
            (Some(token), "") => write!(f, "token '{token}'"),
            (Some(token), place) => write!(f, "token '{token}' ({place})"),
            (None, "") => f.write_str("the server itself"),
            (None, place) => f.write_str(place),
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
    /// In the place of one that is in the store and cannot be read.
    pub fn unreadable(key: &str) -> Self {
        Self {
            at: Timestamp::UNIX_EPOCH,
            by: Actor::default(),
            operation: "unreadable entry".to_owned(),
            subject: printable(key),
        }
    }

    /// Of what is only thought through.
    pub fn draft(asked: &Asked) -> Self {
        Self {
            at: Timestamp::UNIX_EPOCH,
            by: asked.by.clone(),
            operation: asked.operation.to_owned(),
            subject: asked.subject.clone(),
        }
    }

    /// The entry of a change that was decided on then.
    pub fn new(asked: &Asked, at: Timestamp) -> Self {
        let entry = Self {
            at,
            ..Self::draft(asked)
        };
        let Actor { pid, .. } = entry.by;
        tracing::info!(target: "audit", by = %entry.by, pid, entry.operation, entry.subject);
        entry
    }

    /// As it is shown.
    pub fn shown(&self, number: u64) -> AuditEntry {
        AuditEntry {
            number,
            at: self.at,
            by: Who {
                name: self.by.to_string(),
                token: self.by.token.clone(),
                uid: self.by.uid,
                node: self.by.node.clone(),
            },
            operation: self.operation.clone(),
            subject: self.subject.clone(),
            outcome: AuditOutcome::Done,
        }
    }
}

/// Tells the log of a request that was refused.
pub fn refused(asked: &Asked, problems: &[Problem]) {
    let Asked {
        by,
        operation,
        subject,
        ..
    } = asked;
    let codes: Vec<&str> = problems
        .iter()
        .map(|problem| problem.code.as_str())
        .collect();
    let refused = codes.join(" ");
    tracing::info!(target: "audit", %by, by.pid, operation, subject, refused);
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
    fn somebody_is_called_by_what_is_known() {
        let actor = |token: &str, uid, node: &str| Actor {
            token: token.parse().ok(),
            node: node.parse().ok(),
            uid,
            ..Actor::default()
        };
        for (by, words) in [
            (actor("", Some(0), ""), "uid 0"),
            (actor("alice", None, ""), "token 'alice'"),
            (actor("alice", Some(1000), ""), "token 'alice' (uid 1000)"),
            (
                actor("alice", Some(1000), "node2"),
                "token 'alice' (uid 1000 on node2)",
            ),
            (actor("", None, ""), "the server itself"),
        ] {
            assert_eq!(by.to_string(), words);
        }
        // As earlier versions wrote it.
        let old: Actor = serde_json::from_str(r#"{"uid":0,"gid":0,"pid":7}"#).unwrap();
        assert_eq!(old.to_string(), "uid 0");
    }

    #[test]
    fn text_of_users_cannot_drive_a_terminal() {
        assert_eq!(printable("web 1 ä"), "web 1 ä");
        assert_eq!(printable("a\u{1b}[31m\n\0"), "a\\u{1b}[31m\\n\\u{0}");
        assert_eq!(printable(&"x".repeat(1000)).len(), 200);
    }
}
