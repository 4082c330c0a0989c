//! Transactions: what can be asked, whether it is valid, and what it comes to.
//!
//! [`Txn::plan`] is the one place where a transaction is decided. It is pure: the backend passes in
//! how to look a key up and writes what comes out. Because a key occurs at most once in the ops,
//! the order of the ops never matters to the result.

use std::{collections::HashSet, sync::Arc};

use crate::{Event, EventBatch, InvalidRequest, KeyValue, Result, Revision, limits};

/// A condition: the key was last written by exactly this revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// Which key.
    pub key: String,
    /// The revision it must have; [`Revision::ABSENT`] if it must not exist.
    pub mod_revision: Revision,
}

impl Compare {
    /// The key does not exist.
    pub fn absent(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            mod_revision: Revision::ABSENT,
        }
    }

    /// The key was not written since `mod_revision`.
    pub fn unchanged(key: impl Into<String>, mod_revision: Revision) -> Self {
        Self {
            key: key.into(),
            mod_revision,
        }
    }
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes the key, whether it exists or not.
    Put {
        /// Which key.
        key: String,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Deletes the key; does nothing if it is absent.
    Delete {
        /// Which key.
        key: String,
    },
}

impl Op {
    /// Writes `value` to `key`.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
        }
    }

    /// Deletes `key`.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The key it changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// A comparison that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The key.
    pub key: String,
    /// What was found there, so that the caller can decide anew without another read.
    pub found: Option<Arc<KeyValue>>,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnOutcome {
    /// All compares held and all ops were done.
    Committed {
        /// The `mod_revision` of all keys written; the store's revision if nothing changed.
        revision: Revision,
    },
    /// A compare did not hold; nothing was done.
    Conflict {
        /// The revision at which the comparison was made.
        revision: Revision,
        /// Each compare that did not hold; at least one.
        conflicts: Vec<Conflict>,
    },
}

impl TxnOutcome {
    /// The revision, if it was committed.
    pub fn committed(&self) -> Option<Revision> {
        match self {
            Self::Committed { revision } => Some(*revision),
            Self::Conflict { .. } => None,
        }
    }
}

/// A transaction that was found valid.
#[derive(Debug)]
pub(crate) struct Txn {
    compares: Vec<Compare>,
    ops: Vec<Op>,
}

/// What a transaction comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Some compares do not hold.
    Conflict(Vec<Conflict>),
    /// They hold, and nothing is to be changed.
    Nothing,
    /// They hold, and this is to be written.
    Write(EventBatch),
}

impl Txn {
    /// Checks it against the limits.
    pub(crate) fn new(compares: Vec<Compare>, ops: Vec<Op>) -> Result<Self, InvalidRequest> {
        if ops.len() > limits::TXN_OPS_MAX {
            return Err(InvalidRequest::TooManyOps { ops: ops.len() });
        }
        if compares.len() > limits::TXN_COMPARES_MAX {
            return Err(InvalidRequest::TooManyCompares {
                compares: compares.len(),
            });
        }
        let mut bytes = 0;
        for compare in &compares {
            check_key(&compare.key)?;
            bytes += compare.key.len();
        }
        let mut seen = HashSet::with_capacity(ops.len());
        for op in &ops {
            check_key(op.key())?;
            bytes += op.key().len();
            if !seen.insert(op.key()) {
                return Err(InvalidRequest::DuplicateKey {
                    key: op.key().to_owned(),
                });
            }
            if let Op::Put { key, value } = op {
                if value.len() > limits::VALUE_BYTES_MAX {
                    let (key, bytes) = (key.clone(), value.len());
                    return Err(InvalidRequest::ValueTooLarge { key, bytes });
                }
                bytes += value.len();
            }
        }
        if bytes > limits::TXN_BYTES_MAX {
            return Err(InvalidRequest::TxnTooLarge { bytes });
        }
        Ok(Self { compares, ops })
    }

    /// What it compares and does, for a backend that decides by itself.
    pub(crate) fn into_parts(self) -> (Vec<Compare>, Vec<Op>) {
        (self.compares, self.ops)
    }

    /// Decides it, given how to look up what a key is now. `next` is the revision it leads to if it
    /// changes anything.
    pub(crate) fn plan<E>(
        self,
        next: Revision,
        mut current: impl FnMut(&str) -> Result<Option<Arc<KeyValue>>, E>,
    ) -> Result<Plan, E> {
        let mut conflicts = Vec::new();
        for Compare { key, mod_revision } in self.compares {
            let found = current(&key)?;
            if found
                .as_ref()
                .map_or(Revision::ABSENT, |kv| kv.mod_revision)
                != mod_revision
            {
                conflicts.push(Conflict { key, found });
            }
        }
        if !conflicts.is_empty() {
            return Ok(Plan::Conflict(conflicts));
        }
        let mut events = Vec::with_capacity(self.ops.len());
        for op in self.ops {
            let prev = current(op.key())?;
            events.extend(event_of(op, prev, next));
        }
        if events.is_empty() {
            return Ok(Plan::Nothing);
        }
        Ok(Plan::Write(EventBatch {
            revision: next,
            events,
        }))
    }
}

/// What `op` does to a key that was `prev`; `None` if it does nothing.
fn event_of(op: Op, prev: Option<Arc<KeyValue>>, revision: Revision) -> Option<Event> {
    match op {
        Op::Put { key, value } => {
            let kv = KeyValue {
                key,
                value,
                create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
                mod_revision: revision,
                version: prev.as_ref().map_or(1, |prev| prev.version + 1),
            };
            Some(Event::Put {
                kv: Arc::new(kv),
                prev,
            })
        }
        Op::Delete { key } => prev.map(|prev| Event::Delete {
            key,
            prev: Some(prev),
        }),
    }
}

/// A key must not be empty, and must be fit for a prefix.
pub(crate) fn check_key(key: &str) -> Result<(), InvalidRequest> {
    if key.is_empty() {
        return Err(InvalidRequest::EmptyKey);
    }
    check_prefix(key)
}

/// A prefix may be empty.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), InvalidRequest> {
    if prefix.len() > limits::KEY_BYTES_MAX {
        return Err(InvalidRequest::KeyTooLong {
            bytes: prefix.len(),
        });
    }
    if prefix.chars().any(char::is_control) {
        return Err(InvalidRequest::KeyHasControlCharacter {
            key: prefix.to_owned(),
        });
    }
    Ok(())
}
