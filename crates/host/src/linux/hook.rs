//! libvirt's hook: whether it is there, and whether libvirt calls it.
//!
//! libvirt's daemon looks at its start whether there are hooks for QEMU, in the one file `qemu` or in the directory
//! `qemu.d`, and calls none as long as it runs if there were none then (src/util/virhook.c, `virHookInitialize`); which
//! there are is seen at each call. So ours is called if any of them is older than the daemon.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use accelnet_model::Hook;

use super::sysfs::{self, Root};
use crate::{HostError, Result};

/// libvirt's directory of hooks.
pub const DIRECTORY: &str = "/etc/libvirt/hooks";
/// Ours in it.
pub const FILE: &str = "qemu.d/50-accelnet";

/// Where the daemons that run VMs write who they are: the one for everything, and the one for QEMU alone.
const DAEMONS: [&str; 2] = ["run/libvirtd.pid", "run/virtqemud.pid"];

/// How far it is. Without a daemon it will be called by the next one that starts.
pub fn observe(root: &Root) -> Result<Hook> {
    let directory = root.path(DIRECTORY);
    let own = directory.join(FILE);
    if born(&own)?.is_none() {
        return Ok(Hook::Missing);
    }
    let mut hooks = vec![directory.join("qemu")];
    let beside = directory.join("qemu.d");
    hooks.extend(sysfs::names(&beside)?.iter().map(|name| beside.join(name)));
    let mut oldest: Option<SystemTime> = None;
    for hook in hooks {
        oldest = oldest.into_iter().chain(born(&hook)?).min();
    }
    let mut since = None;
    for daemon in DAEMONS {
        since = since.into_iter().chain(started(root, daemon)?).max();
    }
    Ok(match (oldest, since) {
        (Some(oldest), Some(since)) if oldest > since => Hook::NotLoaded,
        _ => Hook::Loaded,
    })
}

/// Since when a hook that can be run is there; `None` if it is not.
fn born(path: &Path) -> Result<Option<SystemTime>> {
    let found = fs::metadata(path).and_then(|found| {
        let time = found.created().or_else(|_| found.modified())?;
        let runs = found.is_file() && found.permissions().mode() & 0o111 != 0;
        Ok(runs.then_some(time))
    });
    match found {
        Ok(time) => Ok(time),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::io(format!("look at {}", path.display()), &error)),
    }
}

/// When the process began whose number is in the file; `None` if there is none.
fn started(root: &Root, file: &str) -> Result<Option<SystemTime>> {
    let Some(pid) = sysfs::parse::<u32>(&root.path(file))? else {
        return Ok(None);
    };
    let Some(stat) = sysfs::read(&root.path(&format!("proc/{pid}/stat")))? else {
        return Ok(None);
    };
    let uptime = sysfs::read(&root.path("proc/uptime"))?;
    let times = uptime.and_then(|uptime| Some((after_boot(&stat)?, seconds(&uptime)?)));
    let (begun, up) =
        times.ok_or_else(|| HostError::Malformed(format!("times of process {pid}")))?;
    Ok(SystemTime::now().checked_sub(up.saturating_sub(begun)))
}

/// The 22nd field of `/proc/PID/stat` (proc_pid_stat(5)): ticks from the boot to the process's start. Its name, the
/// second, may hold blanks and brackets.
pub(super) fn after_boot(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    let second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(
        ticks.checked_mul(1000)? / second.max(1),
    ))
}

pub(super) fn seconds(uptime: &str) -> Option<Duration> {
    let up: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(up).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fixture;

    #[test]
    fn it_is_called_if_the_daemon_found_a_hook_at_its_start() {
        let machine = fixture::igb();
        let root = machine.root();
        assert_eq!(observe(root).unwrap(), Hook::Missing);
        let own = format!("{}/{FILE}", DIRECTORY.trim_start_matches('/'));
        machine.write(&own, "#!/bin/sh\n");
        assert_eq!(observe(root).unwrap(), Hook::Missing, "it cannot be run");
        let runs = |path: &str| {
            fs::set_permissions(root.path(path), fs::Permissions::from_mode(0o755)).unwrap();
        };
        runs(&own);
        assert_eq!(observe(root).unwrap(), Hook::Loaded, "by the next daemon");
        // A daemon that runs for a minute, or began just after.
        let runs_for = |seconds: u64| {
            let begun = (1000 - seconds) * rustix::param::clock_ticks_per_second();
            machine.write("proc/uptime", "1000.00 0.00\n");
            let stat = format!("77 (a) daemon) S{} {begun} 0", " 0".repeat(18));
            machine.write("proc/77/stat", &stat);
        };
        machine.write("run/virtqemud.pid", "77\n");
        runs_for(60);
        assert_eq!(observe(root).unwrap(), Hook::NotLoaded);
        runs_for(0);
        assert_eq!(observe(root).unwrap(), Hook::Loaded);
        machine.write("proc/77/stat", "77 (daemon");
        assert!(observe(root).is_err(), "nobody may say that it is loaded");
        let never = format!("77 (daemon) S{} {} 0", " 0".repeat(18), u64::MAX);
        machine.write("proc/77/stat", &never);
        assert!(observe(root).is_err(), "a time that no clock has");
    }
}
