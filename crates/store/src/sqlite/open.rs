//! Opening the file: make it private, own it alone, check that it is ours and whole.
//!
//! An existing file is never opened and closed here by other means than SQLite: POSIX locks belong
//! to the process, and closing any descriptor of the file would free those of a store that has it
//! open already.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{CORRUPT_CURE, schema};
use crate::{HistoryLimits, limits};

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteOptions {
    /// What is kept of the past.
    pub history: HistoryLimits,
    /// Size of the file at which writes are refused.
    pub file_bytes_max: u64,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        let history = HistoryLimits::default();
        Self {
            history,
            file_bytes_max: limits::SQLITE_FILE_BYTES_MAX,
        }
    }
}

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{} is in use by another process, probably another accelnet server; only one server can \
         use it: stop the other one (`fuser {}` shows which it is)",
        file.display(), file.display()
    )]
    InUse {
        /// The file.
        file: PathBuf,
    },

    /// It is a SQLite database of something else.
    #[error("{} is a SQLite database, but not an accelnet store; name another file", file.display())]
    NotAStore {
        /// The file.
        file: PathBuf,
    },

    /// A newer release has written it.
    #[error(
        "{} has schema {found}, this release knows none above {known}; run the release that wrote \
         it, or a newer one",
        file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this release knows.
        known: usize,
    },

    /// It is damaged.
    #[error("{} is damaged: {detail}. {CORRUPT_CURE}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What was found.
        detail: String,
    },

    /// The operating system refused.
    #[error("cannot open {}: {source}", file.display())]
    Io {
        /// The file, or the directory for it.
        file: PathBuf,
        /// Its answer.
        source: io::Error,
    },

    /// SQLite refused.
    #[error("cannot open {}: {detail}", file.display())]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// Its answer.
        detail: String,
    },
}

/// Opens, or makes, the file; afterwards it is locked, checked and has the current schema.
pub(super) fn open(file: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    ensure_private_file(file)?;
    let classify = |error| open_error(file, &error);
    // No CREATE: the file is there, with the mode we want. No mutex: one thread.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(classify)?;
    own(&connection).map_err(classify)?;
    let found = check_identity(file, &connection)?;
    configure(&connection, options).map_err(classify)?;
    check_integrity(file, &connection)?;
    schema::migrate(&connection, found).map_err(classify)?;
    Ok(connection)
}

/// What an error during opening means. Anything that says "not as it should be" is corruption: the
/// queries are constant, so a missing table or a wrong type is the file's fault.
pub(super) fn open_error(file: &Path, error: &rusqlite::Error) -> OpenError {
    let (file, detail) = (file.to_owned(), error.to_string());
    match error {
        rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => OpenError::Corrupt { file, detail },
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse { file },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                OpenError::Corrupt { file, detail }
            }
            _ => OpenError::Sqlite { file, detail },
        },
    }
}

/// Why the file cannot be written, in the system's words, if that is so: SQLite says of a read-only file
/// system no more than "disk I/O error". The file is asked about, not opened (see above).
pub(super) fn unwritable(file: &Path) -> Option<io::Error> {
    let writable = rustix::fs::access(file, rustix::fs::Access::WRITE_OK);
    writable.err().map(io::Error::from)
}

fn ensure_private_file(file: &Path) -> Result<(), OpenError> {
    let at = |path: &Path| {
        let file = path.to_owned();
        move |source| OpenError::Io { file, source }
    };
    let directory = directory_of(file);
    ensure_directory(directory).map_err(at(directory))?;
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
    {
        Ok(_) => sync_directory(directory).map_err(at(directory)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(file).map_err(at(file))?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                tracing::warn!(file = %file.display(), mode = format!("{mode:o}"), "made private");
                fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(at(file))?;
            }
            unwritable(file).map_or(Ok(()), |source| Err(at(file)(source)))
        }
        Err(source) => Err(at(file)(source)),
    }
}

/// Makes the directory and what is above it, so that it survives the loss of power.
fn ensure_directory(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|path| !path.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    missing
        .into_iter()
        .try_for_each(|made| sync_directory(directory_of(made)))
}

/// The directory a path is in; the current one for a bare name.
fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Locks the file until the connection is closed.
fn own(connection: &Connection) -> rusqlite::Result<()> {
    // An owner does not go away by waiting for it.
    connection.busy_timeout(Duration::ZERO)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")
}

/// Says which schema the file has; 0 if it is new.
fn check_identity(file: &Path, connection: &Connection) -> Result<usize, OpenError> {
    let classify = |error| open_error(file, &error);
    let number = |sql| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(classify)
    };
    let id = number("PRAGMA application_id")?;
    if id != i64::from(schema::APPLICATION_ID) {
        let is_new = id == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0;
        return if is_new {
            Ok(0)
        } else {
            Err(OpenError::NotAStore {
                file: file.to_owned(),
            })
        };
    }
    let (found, known) = (number("PRAGMA user_version")?, schema::SCHEMA_VERSION);
    match usize::try_from(found) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(OpenError::Newer {
            file: file.to_owned(),
            found,
            known,
        }),
    }
}

fn configure(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        // As durable, with two more syncs a commit.
        tracing::warn!(
            mode,
            "the file system does not allow a write-ahead log; writes are slower"
        );
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The file is the only thing we trust less than our own code.
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    // A WAL that a burst has made large is cut back to this at the next checkpoint.
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    let page_bytes: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let pages = options.file_bytes_max / page_bytes.cast_unsigned().max(1);
    let pages = i64::try_from(pages)
        .unwrap_or(i64::MAX)
        .clamp(1, i64::from(u32::MAX) - 1);
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}

fn check_integrity(file: &Path, connection: &Connection) -> Result<(), OpenError> {
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let detail = found.map_err(|error| open_error(file, &error))?;
    if detail == "ok" {
        return Ok(());
    }
    Err(OpenError::Corrupt {
        file: file.to_owned(),
        detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_said_in_the_systems_words() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store.db");
        drop(open(&file, &SqliteOptions::default()).unwrap());
        assert!(unwritable(&file).is_none());
        // Root may write whatever is there, on any file system that may be written.
        fs::remove_file(&file).unwrap();
        let reason = unwritable(&file).unwrap().to_string();
        assert!(reason.contains("No such file"), "{reason}");
    }

    /// Nothing but the loss of power shows if one of these is wrong.
    #[test]
    fn a_commit_is_synced_and_the_file_is_locked() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open(
            &directory.path().join("store.db"),
            &SqliteOptions::default(),
        )
        .unwrap();
        let setting = |name| -> String {
            let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
            connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(setting("journal_mode"), "wal");
        assert_eq!(setting("synchronous"), "2", "FULL");
        assert_eq!(setting("locking_mode"), "exclusive");
        assert_eq!(
            setting("max_page_count"),
            (2_u64 * 1024 * 1024 * 1024 / 4096).to_string()
        );
    }
}
