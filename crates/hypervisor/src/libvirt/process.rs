//! The process of a VM: its QEMU.

use std::{fs, io};

/// Where libvirt's QEMU driver keeps the process ids of its VMs; `None` for a VM of another driver or one
/// that has just stopped.
pub fn id(name: &str) -> Option<u32> {
    let text = read(&format!("/run/libvirt/qemu/{name}.pid"))?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// True if it is known that this VM was started on this node, and has not come in by a migration or from
/// a file: its QEMU was not told to wait for one (`-incoming`).
pub fn was_started_here(name: &str) -> bool {
    let command = id(name).and_then(|id| read(&format!("/proc/{id}/cmdline")));
    command.is_some_and(|command| !command.is_empty() && !waits(&command))
}

/// Memory of it that is resident, in MiB (`VmRSS` of proc(5); what is in huge pages is not in it).
pub fn resident_mib(name: &str) -> Option<u64> {
    let text = read(&format!("/proc/{}/status", id(name)?))?;
    resident_of(&String::from_utf8_lossy(&text))
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib >> 10)
}

/// The arguments end with a zero byte each (proc(5)).
fn waits(command: &[u8]) -> bool {
    command
        .split(|byte| *byte == 0)
        .any(|argument| argument == b"-incoming")
}

fn read(path: &str) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, path, "a VM's process cannot be looked at");
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_comes_in_was_told_to_wait() {
        assert!(waits(b"/usr/bin/qemu\0-name\0vm1\0-incoming\0defer\0"));
        assert!(!waits(b"/usr/bin/qemu\0-name\0guest=-incoming\0-S\0"));
        let status = "VmPeak:\t  300000 kB\nVmRSS:\t  204800 kB\n";
        assert_eq!(resident_of(status), Some(200));
        assert_eq!(resident_of("VmRSS:\tlots\n"), None);
        // Of what cannot be looked at nothing is known.
        assert!(!was_started_here("no VM/of this name"));
    }
}
