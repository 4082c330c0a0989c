//! The lab's processes: started with a mark, found by it, ended.
//!
//! Every child carries its lab's runtime directory in its environment, so that `down` finds it also
//! if the lab's program died before it could write anything down.

use std::{
    fs,
    os::{fd::AsFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal},
};

/// Name of the mark in a child's environment; its value is the lab's runtime directory.
pub const MARK: &str = "ACCELNET_LAB";

/// A killed process is gone at once, unless it hangs in the kernel.
const KILL_DEADLINE: Duration = Duration::from_secs(20);

/// Starts a process of the lab in a group of its own (a Ctrl-C is not meant for it) and writes its
/// number to `place`.
pub fn spawn(command: &mut Command, lab: &Path, place: &Path) -> Result<Child> {
    let shown = format!("{:?}", command.get_program());
    let mut child = command
        .env(MARK, lab)
        .process_group(0)
        .spawn()
        .with_context(|| format!("{shown} cannot be run; 'make deps' installs it"))?;
    fs::write(place.join("pid"), child.id().to_string())?;
    // The kernel shows a program's environment a moment after it has told that the program runs.
    let start = Instant::now();
    while running(lab, place).is_none() && child.try_wait()?.is_none() {
        ensure!(
            start.elapsed() < KILL_DEADLINE,
            "{shown} cannot be seen in /proc"
        );
        std::thread::yield_now();
    }
    Ok(child)
}

/// The process that `place` has the number of, if it still is one of this lab: a number may long
/// belong to somebody else.
pub fn running(lab: &Path, place: &Path) -> Option<Pid> {
    let number = fs::read_to_string(place.join("pid")).ok()?;
    let pid = Pid::from_raw(number.trim().parse().ok()?)?;
    (belongs_to(pid, lab) || names(pid, lab, place)).then_some(pid)
}

/// Kills the process of a directory and waits until it is gone.
pub fn kill_one(lab: &Path, place: &Path) -> Result<()> {
    if let Some(pid) = running(lab, place) {
        kill(pid, || running(lab, place) == Some(pid))?;
    }
    let _ = fs::remove_file(place.join("pid"));
    Ok(())
}

/// Waits until the process of a directory has ended by itself.
pub fn wait_until_gone(lab: &Path, place: &Path, limit: Duration) -> Result<()> {
    if let Some(pid) = running(lab, place)
        && let Ok(fd) = pidfd_open(pid, PidfdFlags::empty())
        && running(lab, place) == Some(pid)
    {
        ensure!(
            ended(&fd, limit)?,
            "process {} did not end within {} s",
            pid.as_raw_nonzero(),
            limit.as_secs()
        );
    }
    let _ = fs::remove_file(place.join("pid"));
    Ok(())
}

/// Kills every process that carries the lab's mark.
pub fn kill_all(lab: &Path) -> Result<()> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let number = entry.file_name().to_string_lossy().parse().ok();
        let pid = number
            .and_then(Pid::from_raw)
            .filter(|pid| *pid != getpid());
        if let Some(pid) = pid.filter(|pid| belongs_to(*pid, lab)) {
            kill(pid, || belongs_to(pid, lab))?;
        }
    }
    Ok(())
}

/// Processes that have gone, and those that are not ours to read, belong to nobody.
fn belongs_to(pid: Pid, lab: &Path) -> bool {
    let read = |name: &str| fs::read(format!("/proc/{}/{name}", pid.as_raw_nonzero()));
    read("environ").is_ok_and(|environment| has_mark(&environment, lab))
}

/// A process of a lab that an older program started has no mark, but its place in its command line.
fn names(pid: Pid, lab: &Path, place: &Path) -> bool {
    let wanted = place.as_os_str().as_encoded_bytes();
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    place.starts_with(lab) && line.windows(wanted.len()).any(|window| window == wanted)
}

/// `environment` is what proc(5) has: `NAME=VALUE`, each ended by a zero byte.
fn has_mark(environment: &[u8], lab: &Path) -> bool {
    let mut wanted = format!("{MARK}=").into_bytes();
    wanted.extend_from_slice(lab.as_os_str().as_encoded_bytes());
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == wanted)
}

fn kill(pid: Pid, still_ours: impl FnOnce() -> bool) -> Result<()> {
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return Ok(()); // It has gone by itself.
    };
    // The descriptor holds on to the process; the number alone could be somebody else's by now.
    if !still_ours() {
        return Ok(());
    }
    match pidfd_send_signal(&fd, Signal::KILL) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error).context("a process of the lab cannot be ended"),
    }
    ensure!(
        ended(&fd, KILL_DEADLINE)?,
        "process {} did not end within {} s of being killed",
        pid.as_raw_nonzero(),
        KILL_DEADLINE.as_secs()
    );
    Ok(())
}

/// Readable when the process has ended (pidfd_open(2)).
fn ended(process: impl AsFd, limit: Duration) -> Result<bool> {
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&Timespec::try_from(limit)?))? > 0)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_mark_is_matched_as_a_whole() {
        let lab = Path::new("/run/lab/a");
        assert!(has_mark(b"HOME=/root\0ACCELNET_LAB=/run/lab/a\0X=1\0", lab));
        for other in [
            "ACCELNET_LAB=/run/lab/ab\0",
            "XACCELNET_LAB=/run/lab/a\0",
            "",
            "ACCELNET_LAB=",
        ] {
            assert!(!has_mark(other.as_bytes(), lab), "{other}");
        }
    }

    #[test]
    fn children_are_found_without_their_number() {
        let lab = std::env::temp_dir().join(format!("accelnet-lab-mark-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&lab).unwrap();
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped());
        let mut child = spawn(&mut command, &lab, &lab).unwrap();
        assert_eq!(
            running(&lab, &lab).map(|pid| pid.as_raw_nonzero().get() as u32),
            Some(child.id())
        );
        assert!(running(Path::new("/other"), &lab).is_none());
        fs::remove_file(lab.join("pid")).unwrap();
        kill_all(&lab).unwrap();
        assert!(child.try_wait().unwrap().is_some(), "it was not ended");
        fs::remove_dir_all(&lab).unwrap();
    }
}
