//! The tables, and how a file of an older release becomes one of this release.
//!
//! `version` holds every key as each transaction left it, as long as it is current or in the
//! history. That one table answers reads (a key's highest `id`), the history (ids above a bound)
//! and what was before (the next lower `id` of a key).

use rusqlite::Connection;

/// Marks the file as ours in SQLite's header (`file` shows it): "acnt".
pub(super) const APPLICATION_ID: i32 = 0x6163_6e74;

/// Ids of one revision: a power of two above the ops of one transaction, so that ids order by
/// revision, then by place in the transaction, and one index serves both.
pub(super) const IDS_A_REVISION: i64 = 256;
const _: () = assert!(crate::limits::TXN_OPS_MAX <= IDS_A_REVISION as usize);

/// Each step leads from the schema of its index to the next one. Steps that were released are never
/// changed. The number of steps done is SQLite's `user_version`, so that step and number change in
/// one transaction.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE version (
        -- mod_revision * 256 + place in the transaction
        id              INTEGER PRIMARY KEY CHECK (id >= 256),
        key             TEXT    NOT NULL,
        -- 0 if deleted
        create_revision INTEGER NOT NULL CHECK (create_revision >= 0),
        version         INTEGER NOT NULL CHECK (version >= 0),
        -- NULL if deleted
        value           BLOB
    ) STRICT;
    CREATE UNIQUE INDEX version_of_key ON version (key, id);
    CREATE TABLE meta (
        one             INTEGER PRIMARY KEY CHECK (one = 1),
        revision        INTEGER NOT NULL,
        -- history up to here, included, may be incomplete
        compacted       INTEGER NOT NULL CHECK (compacted BETWEEN 1 AND revision)
    ) STRICT;
    INSERT INTO meta VALUES (1, 1, 1);
"];

/// The schema this release works with.
pub(super) const SCHEMA_VERSION: usize = MIGRATIONS.len();

/// Brings the schema from `found` to [`SCHEMA_VERSION`].
pub(super) fn migrate(connection: &Connection, found: usize) -> rusqlite::Result<()> {
    for (number, step) in (1_i64..).zip(MIGRATIONS).skip(found) {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
        tracing::info!(schema = number, "the store's schema was brought up to date");
    }
    Ok(())
}
