//! What is asked of the tables and written to them: every SQL statement there is.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::schema::IDS_A_REVISION;
use crate::{Event, EventBatch, KeyValue, Revision};

/// The connection and the statements over it.
#[derive(Debug)]
pub(super) struct Table {
    connection: Connection,
}

/// Where the store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Its revision.
    pub revision: Revision,
    /// The history up to here, included, may be incomplete.
    pub compacted: Revision,
}

/// A row of the history.
#[derive(Debug)]
pub(super) struct Change {
    pub revision: Revision,
    pub key: String,
    /// `None` if it was deleted.
    pub kv: Option<Arc<KeyValue>>,
    id: i64,
}

const COLUMNS: &str = "id, key, create_revision, version, value";

impl Table {
    pub(super) fn new(connection: Connection) -> Self {
        // One of each below.
        connection.set_prepared_statement_cache_capacity(16);
        Self { connection }
    }

    /// Starts a transaction; dropping it takes back what was done in it.
    pub(super) fn begin(&self) -> rusqlite::Result<Transaction<'_>> {
        self.connection.unchecked_transaction()
    }

    /// Whether a transaction is open that should not be: taking it back has failed.
    pub(super) fn is_stuck(&self) -> bool {
        !self.connection.is_autocommit()
    }

    pub(super) fn meta(&self) -> rusqlite::Result<Meta> {
        self.connection
            .query_row("SELECT revision, compacted FROM meta", [], |row| {
                let revision = |column| row.get(column).map(i64::cast_unsigned).map(Revision::new);
                Ok(Meta {
                    revision: revision(0)?,
                    compacted: revision(1)?,
                })
            })
    }

    pub(super) fn set_meta(&self, meta: Meta) -> rusqlite::Result<()> {
        let mut update = self
            .connection
            .prepare_cached("UPDATE meta SET revision = ?1, compacted = ?2")?;
        update.execute([
            meta.revision.get().cast_signed(),
            meta.compacted.get().cast_signed(),
        ])?;
        Ok(())
    }

    /// What a key is now.
    pub(super) fn current(&self, key: &str) -> rusqlite::Result<Option<Arc<KeyValue>>> {
        self.before(key, i64::MAX)
    }

    /// What a key was before a change of it.
    pub(super) fn prev(&self, change: &Change) -> rusqlite::Result<Option<Arc<KeyValue>>> {
        self.before(&change.key, change.id)
    }

    fn before(&self, key: &str, id: i64) -> rusqlite::Result<Option<Arc<KeyValue>>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM version WHERE key = ?1 AND id < ?2 ORDER BY id DESC LIMIT 1"
        );
        let mut select = self.connection.prepare_cached(&sql)?;
        let row = select.query_row(params![key, id], change_of).optional()?;
        Ok(row.and_then(|change| change.kv))
    }

    /// Passes a walk over all current keys, from `start` upwards, to `take`. Rows are read as they
    /// are taken.
    pub(super) fn walk<T>(
        &self,
        start: &str,
        take: impl FnOnce(&mut dyn Iterator<Item = rusqlite::Result<Arc<KeyValue>>>) -> T,
    ) -> rusqlite::Result<T> {
        let sql = format!(
            "SELECT {COLUMNS} FROM version AS this WHERE key >= ?1
             AND id = (SELECT max(id) FROM version WHERE key = this.key)
             AND value IS NOT NULL ORDER BY key"
        );
        let mut select = self.connection.prepare_cached(&sql)?;
        let rows = select.query_map([start], change_of)?;
        Ok(take(
            &mut rows.filter_map(|row| row.map(|change| change.kv).transpose()),
        ))
    }

    /// Passes the history after `revision`, in order, to `each`.
    pub(super) fn changes_after<E: From<rusqlite::Error>>(
        &self,
        revision: Revision,
        mut each: impl FnMut(Change) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = format!("SELECT {COLUMNS} FROM version WHERE id >= ?1 ORDER BY id");
        let mut select = self.connection.prepare(&sql)?;
        for change in select.query_map([first_id(revision.next())], change_of)? {
            each(change?)?;
        }
        Ok(())
    }

    /// Writes what a transaction did.
    pub(super) fn insert(&self, batch: &EventBatch) -> rusqlite::Result<()> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO version VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (id, event) in (first_id(batch.revision)..).zip(&batch.events) {
            match event {
                Event::Put { kv, .. } => insert.execute(params![
                    id,
                    kv.key,
                    kv.create_revision.get().cast_signed(),
                    kv.version.cast_signed(),
                    kv.value
                ])?,
                Event::Delete { key, .. } => {
                    insert.execute(params![id, key, 0, 0, None::<&[u8]>])?
                }
            };
        }
        Ok(())
    }

    /// Deletes what only the history between the two revisions (the first excluded, the last
    /// included) still needed: what its changes replaced, and its deletions.
    pub(super) fn compact(&self, from: Revision, to: Revision) -> rusqlite::Result<()> {
        let ids = [first_id(from.next()), first_id(to.next())];
        let mut replaced = self.connection.prepare_cached(
            "DELETE FROM version WHERE id IN (
                 SELECT old.id FROM version AS new JOIN version AS old
                 ON old.key = new.key AND old.id < new.id
                 WHERE new.id >= ?1 AND new.id < ?2)",
        )?;
        replaced.execute(ids)?;
        let mut deletions = self
            .connection
            .prepare_cached("DELETE FROM version WHERE id >= ?1 AND id < ?2 AND value IS NULL")?;
        deletions.execute(ids)?;
        Ok(())
    }
}

fn first_id(revision: Revision) -> i64 {
    revision.get().cast_signed() * IDS_A_REVISION
}

fn change_of(row: &Row<'_>) -> rusqlite::Result<Change> {
    let id: i64 = row.get(0)?;
    let revision = Revision::new((id / IDS_A_REVISION).cast_unsigned());
    let key: String = row.get(1)?;
    let create_revision = Revision::new(row.get::<_, i64>(2)?.cast_unsigned());
    let version = row.get::<_, i64>(3)?.cast_unsigned();
    let kv = row.get::<_, Option<Vec<u8>>>(4)?.map(|value| {
        let key = key.clone();
        Arc::new(KeyValue {
            key,
            value,
            create_revision,
            mod_revision: revision,
            version,
        })
    });
    Ok(Change {
        revision,
        key,
        kv,
        id,
    })
}
