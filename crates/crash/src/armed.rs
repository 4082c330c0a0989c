//! The directory by which a test and the processes under test speak.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::process::{Signal, getpid, kill_process};

/// What becomes of a process at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    GoesOn,
    Fails,
    Dies,
}

/// Where the test and this process speak; `None` if there is no test.
pub fn directory() -> Option<&'static Path> {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let named = DIRECTORY.get_or_init(|| env::var_os("ACCELNET_CRASH_POINTS").map(PathBuf::from));
    named.as_deref()
}

/// A point is passed.
pub fn pass(directory: &Path, what: &str) -> io::Result<Fate> {
    // Released when it is closed.
    let alone = File::create(directory.join("lock"))?;
    alone.lock()?;
    append(&directory.join("passed"), what)?;
    let armed = directory.join("armed");
    let text = match fs::read_to_string(&armed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Fate::GoesOn),
        text => text?,
    };
    let (others, how) = parse(&text)
        .ok_or_else(|| io::Error::other(format!("{}: '{}'", armed.display(), text.trim())))?;
    if let Some(left) = others.checked_sub(1) {
        fs::write(&armed, format!("{left} {how}\n"))?;
        return Ok(Fate::GoesOn);
    }
    append(&directory.join("happened"), &format!("{how}: {what}"))?;
    fs::remove_file(&armed)?;
    Ok(if how == "die" {
        Fate::Dies
    } else {
        Fate::Fails
    })
}

fn parse(text: &str) -> Option<(u32, &str)> {
    let (others, how) = text.trim().split_once(' ')?;
    ["die", "fail"].contains(&how).then_some(())?;
    Some((others.parse().ok()?, how))
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// SIGKILL, as anybody may send it: nothing is tidied up.
pub fn die() -> ! {
    // Nobody is left to be told that it cannot be sent.
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_happens_once_after_so_many_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(pass(path, "a").unwrap(), Fate::GoesOn);
        fs::write(path.join("armed"), "1 die\n").unwrap();
        let fates = ["b", "c", "d"].map(|what| pass(path, what).unwrap());
        assert_eq!(fates, [Fate::GoesOn, Fate::Dies, Fate::GoesOn]);
        fs::write(path.join("armed"), "0 fail").unwrap();
        assert_eq!(pass(path, "e").unwrap(), Fate::Fails);
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        assert_eq!(read("passed"), "a\nb\nc\nd\ne\n");
        assert_eq!(read("happened"), "die: c\nfail: e\n");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "1", "die 1", "1 sleep", "-1 die"] {
            fs::write(directory.path().join("armed"), text).unwrap();
            assert!(pass(directory.path(), "a").is_err(), "{text}");
        }
        assert!(pass(&directory.path().join("missing"), "a").is_err());
    }
}
