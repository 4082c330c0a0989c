//! Loading the history: from the rows of a file to what a watch or a read of the past needs.
//!
//! What cannot be seen by SQLite's own check is found here: since each revision is one transaction,
//! a revision without a change means that rows are gone.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{
    open::{OpenError, open_error},
    table::{Change, Meta, Table},
};
use crate::{Event, EventBatch, KeyValue, Result, history::Publisher};

/// An error of SQLite, or something only we can see is wrong.
enum LoadError {
    Sqlite(rusqlite::Error),
    Gap(String),
}

impl From<rusqlite::Error> for LoadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Fills the history with what the file has of it, and checks that nothing is missing.
pub(super) fn load(
    file: &Path,
    table: &Table,
    meta: Meta,
    publisher: &Publisher,
) -> Result<(), OpenError> {
    let mut next = EventBatch {
        revision: meta.compacted.next(),
        events: Vec::new(),
    };
    // What each key was last, so that an event and the one before it share the value.
    let mut last: HashMap<String, Option<Arc<KeyValue>>> = HashMap::new();
    let loaded = table.changes_after(meta.compacted, |change: Change| {
        if change.revision != next.revision {
            let revision = next.revision.next();
            let full = std::mem::replace(
                &mut next,
                EventBatch {
                    revision,
                    events: Vec::new(),
                },
            );
            if full.events.is_empty() || change.revision != revision {
                return Err(LoadError::Gap(format!(
                    "a change before {} is missing",
                    change.revision
                )));
            }
            publisher.publish([full]);
        }
        let prev = match last.insert(change.key.clone(), change.kv.clone()) {
            Some(prev) => prev,
            None => table.prev(&change)?,
        };
        next.events.push(match change.kv {
            Some(kv) => Event::Put { kv, prev },
            None => Event::Delete {
                key: change.key,
                prev,
            },
        });
        Ok(())
    });
    let found = loaded.map(|()| {
        publisher.publish(Some(next).filter(|next| !next.events.is_empty()));
        publisher.follower().head()
    });
    let detail = match found {
        Ok(head) if head == meta.revision => return Ok(()),
        Ok(head) => format!("its revision is {}, its last change {head}", meta.revision),
        Err(LoadError::Gap(detail)) => detail,
        Err(LoadError::Sqlite(error)) => return Err(open_error(file, &error)),
    };
    Err(OpenError::Corrupt {
        file: file.to_owned(),
        detail,
    })
}
