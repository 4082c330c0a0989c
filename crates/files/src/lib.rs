//! Files that are there whole or not at all, whenever the power goes.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Puts this content in the place of what the file holds, for its owner alone (0600). It is written beside it and
/// synced, then takes its name (rename(2) replaces atomically), and the directory is synced, without which the name could
/// be lost (fsync(2)). The directory is made if it is missing. One writer at a time: what an interrupted one left
/// beside it is overwritten.
///
/// # Errors
/// If it cannot be written; then the file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let beside = beside(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    // One that was there keeps its rights when it is opened (open(2)).
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()?;
    accelnet_crash::point(|| format!("replace {}", path.display()))?;
    fs::rename(&beside, path)?;
    fs::File::open(directory)?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_until_all_of_the_new_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/file.json");
        replace(&path, b"one").unwrap();
        // An interrupted one.
        fs::write(beside(&path), "torn and longer").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(!beside(&path).exists());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Where it cannot be written beside it.
        fs::create_dir(beside(&path)).unwrap();
        assert!(replace(&path, b"three").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }
}
