//! Files by which one process at a time has a right, as long as it lives.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, Result, bail};

/// The right, until this is dropped.
#[derive(Debug)]
pub struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // Given back, and not only closed: what this process forks in this moment has the open file too, and with it
        // the right, until it runs its program (flock(2)). Without it the right ends with the last of these.
        let _ = self.0.unlock();
    }
}

/// Takes it.
///
/// # Errors
/// What `taken` says of whoever has it, in words; or that the file cannot be opened.
pub fn take(path: &Path, taken: impl FnOnce(&str) -> String) -> Result<Held> {
    take_or_who(path)?.or_else(|who| bail!(taken(&who)))
}

/// Takes it, or says who has it, in words. The file stays: whoever removed it would give the right to two. Its owner
/// alone can open it, so that nobody without rights keeps it from whom it is for (flock(2) asks for no more than an open
/// file).
///
/// # Errors
/// If the file cannot be opened.
pub fn take_or_who(path: &Path) -> Result<Result<Held, String>> {
    let shown = path.display();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {shown}"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Err(holder(&mut file))),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {shown}"));
        }
    }
    file.set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()))
        .with_context(|| format!("cannot write to {shown}"))?;
    Ok(Ok(Held(file)))
}

/// Who has it, as far as that can be known: it may end, or begin, in this moment.
fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    let number = file
        .read_to_string(&mut pid)
        .ok()
        .and_then(|_| pid.trim().parse::<u32>().ok());
    let Some(number) = number else {
        return "another process".to_owned();
    };
    let command = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    match command.trim() {
        "" => format!("process {number}"),
        command => format!("process {number} ({command})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_the_other_is_told_who() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/lock");
        let first = take(&path, |_| unreachable!()).unwrap();
        let error = take(&path, |who| format!("{who} has it")).unwrap_err();
        let me = std::process::id().to_string();
        assert!(error.to_string().contains(&me), "{error}");
        assert!(error.to_string().ends_with(" has it"), "{error}");
        drop(first);
        drop(take(&path, |_| unreachable!()).unwrap());
    }

    #[test]
    fn what_is_forked_does_not_keep_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = take(&path, |_| unreachable!()).unwrap();
        // As a process that is forked has it, until it runs its program.
        let inherited = first.0.try_clone().unwrap();
        drop(first);
        drop(take(&path, |_| unreachable!()).unwrap());
        drop(inherited);
    }
}
