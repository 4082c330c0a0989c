//! Does KVM really work here?
//!
//! `/dev/kvm` may open and still fail at the first instruction (for instance inside a machine that
//! does not nest). So a tiny machine is really run: 512 bytes of boot sector that write to the debug
//! exit port, within a deadline.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Result;

/// Boot sector: `mov al,0x10; out 0xf4,al; hlt`, with the signature at its end. QEMU's
/// isa-debug-exit turns the write of 0x10 into exit status 0x21 (2·value + 1).
const BOOT_SECTOR: [u8; 5] = [0xb0, 0x10, 0xe6, 0xf4, 0xf4];
const EXIT_STATUS: i32 = 0x21;
const DEADLINE: Duration = Duration::from_secs(10);

/// How nodes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// Hardware virtualization.
    Kvm,
    /// QEMU's software emulation.
    Tcg,
}

/// Finds out by trying.
pub fn probe(scratch: &Path) -> Result<Accel> {
    if fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return Ok(Accel::Tcg);
    }
    let disk = scratch.join("kvm-probe.img");
    let mut sector = [0u8; 512];
    sector[..BOOT_SECTOR.len()].copy_from_slice(&BOOT_SECTOR);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&disk, sector)?;
    let mut child = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "16",
            "-nodefaults",
            "-display",
            "none",
        ])
        .args([
            "-no-reboot",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-drive",
        ])
        .arg(format!(
            "file={},format=raw,if=ide,snapshot=on",
            disk.display()
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = rustix::process::Pid::from_child(&child);
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let timeout = rustix::event::Timespec::try_from(DEADLINE)?;
    let mut poll = [rustix::event::PollFd::new(
        &fd,
        rustix::event::PollFlags::IN,
    )];
    if rustix::event::poll(&mut poll, Some(&timeout))? == 0 {
        child.kill()?;
    }
    let works = child.wait()?.code() == Some(EXIT_STATUS);
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}
