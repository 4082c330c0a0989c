//! Does KVM really work here?
//!
//! `/dev/kvm` may open, and run what a small boot sector does, and still fail at a kernel's first thousand
//! instructions: inside a machine that does not nest, with a KVM made for kernels that know it (`kvm_pvm`). So the
//! nodes' own kernel is really booted, as far as it gets without a disk. Emulated nodes always have KVM (the
//! emulation has AMD's).

use std::{
    fs, io,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// A kernel says this at the end of its own start if it was given no file system: by then it has used both
/// processors, their memory and their interrupts.
const STARTED: &[u8] = b"Kernel panic - not syncing: VFS";
/// QEMU says this, and goes on standing still, when KVM gave up.
const GAVE_UP: &[u8] = b"KVM internal error";
/// Real KVM takes a second.
const DEADLINE: Duration = Duration::from_secs(10);

/// How nodes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accel {
    /// Hardware virtualization.
    Kvm,
    /// QEMU's software emulation.
    Tcg,
}

impl Accel {
    /// As QEMU calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Finds out by trying, with the nodes' kernel.
pub fn probe(kernel: &Path) -> Result<Accel> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    let works = opened.is_ok() && nests() && boots(kernel, Accel::Kvm, DEADLINE)?;
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

/// True if machines that KVM runs here have KVM too, as nodes run guests of their own
/// (Documentation/virt/kvm/x86/running-nested-guests.rst).
fn nests() -> bool {
    ["kvm_intel", "kvm_amd"].iter().any(|module| {
        let path = format!("/sys/module/{module}/parameters/nested");
        // That of another maker's processor is not there.
        fs::read_to_string(path).is_ok_and(|says| matches!(says.trim(), "Y" | "1"))
    })
}

/// True if a kernel comes to the end of its own start until then.
pub fn boots(kernel: &Path, accel: Accel, deadline: Duration) -> Result<bool> {
    let until = Instant::now() + deadline;
    let cpu = match accel {
        Accel::Kvm => "host",
        Accel::Tcg => "max",
    };
    let (mut output, writer) = io::pipe()?;
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", "q35,kernel-irqchip=split", "-accel", accel.name()])
        .args(["-cpu", cpu, "-smp", "2", "-m", "256", "-nodefaults"])
        .args(["-display", "none", "-serial", "stdio", "-no-reboot"])
        .args(["-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = qemu.spawn()?;
    // It holds the pipe's other end, whose last copy shall be the child's.
    drop(qemu);
    let started = says(&mut output, until);
    child.kill()?;
    child.wait()?;
    started
}

/// Reads until it is said how it went: true if the kernel started.
fn says(output: &mut io::PipeReader, until: Instant) -> Result<bool> {
    let mut said = Vec::new();
    let has = |said: &[u8], words: &[u8]| said.windows(words.len()).any(|part| part == words);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = rustix::event::Timespec::try_from(left)?;
        let mut poll = [rustix::event::PollFd::new(
            output,
            rustix::event::PollFlags::IN,
        )];
        if rustix::event::poll(&mut poll, Some(&timeout))? == 0 {
            return Ok(false);
        }
        let mut part = [0; 4096];
        let length = output.read(&mut part)?;
        said.extend_from_slice(&part[..length]);
        if has(&said, STARTED) {
            return Ok(true);
        }
        if length == 0 || has(&said, GAVE_UP) {
            return Ok(false);
        }
    }
}
