//! The nouns: revisions, keys with their values, and what happened to them.

use std::{fmt, sync::Arc};

/// A point in the life of a store: the number of the transaction that led to it. Numbers grow, and
/// some may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(u64);

impl Revision {
    /// The `mod_revision` of a key that is absent, in a [`crate::Compare`].
    pub const ABSENT: Self = Self(0);

    /// The revision of a store in which nothing has been written, as in etcd of its own.
    pub const FIRST: Self = Self(1);

    /// The revision with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it: where to watch from after a list at this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key, its value and its revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key: UTF-8, its parts separated by `/`.
    pub key: String,
    /// The value; the store does not look into it.
    pub value: Vec<u8>,
    /// The transaction that created the key (again, if it had been deleted).
    pub create_revision: Revision,
    /// The transaction that last wrote it; what a [`crate::Compare`] compares with.
    pub mod_revision: Revision,
    /// How often it was written since it was created: 1 for a new key.
    pub version: u64,
}

/// What a transaction did to one key. Values are shared, so a clone is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was written.
    Put {
        /// What it is now.
        kv: Arc<KeyValue>,
        /// What it was before; `None` if it was absent, or if the backend no longer knows
        /// (`kv.version` tells which).
        prev: Option<Arc<KeyValue>>,
    },
    /// The key was deleted.
    Delete {
        /// Which.
        key: String,
        /// What it was before, if the backend still knows.
        prev: Option<Arc<KeyValue>>,
    },
}

impl Event {
    /// The key it happened to.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { kv, .. } => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// What the key is after it.
    pub fn current(&self) -> Option<&Arc<KeyValue>> {
        match self {
            Self::Put { kv, .. } => Some(kv),
            Self::Delete { .. } => None,
        }
    }

    /// What the key was before it.
    pub fn prev(&self) -> Option<&Arc<KeyValue>> {
        match self {
            Self::Put { prev, .. } | Self::Delete { prev, .. } => prev.as_ref(),
        }
    }
}

/// What one transaction did; in a watch, to the keys under its prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// The revision the transaction led to.
    pub revision: Revision,
    /// At most one event a key, in the order of the transaction's ops; never empty.
    pub events: Vec<Event>,
}
