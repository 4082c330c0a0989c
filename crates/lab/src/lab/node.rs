//! One node's process: start, wait until it is up, kill, cut and heal.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{Lab, Node};
use crate::{
    image::Images,
    kvm::Accel,
    qemu::{Machine, Qmp},
};

/// The slowest boot seen in software emulation took 40 s with two labs on two cores.
const BOOT_DEADLINE: Duration = Duration::from_secs(240);

impl Lab {
    fn node_directory(&self, node: &Node) -> PathBuf {
        self.directory().join(&node.name)
    }

    fn images(&self) -> Images {
        Images {
            kernel: self.images.join("vmlinux"),
            node_initrd: self.images.join("node.initrd"),
            node_disk: self.images.join("node.qcow2"),
            guest_initrd: PathBuf::new(),
        }
    }

    /// Starts a node's machine. Its disk is kept from the last time.
    pub fn start_node(&self, name: &str, accel: Accel) -> Result<()> {
        let node = self.node(name)?;
        if self.node_runs(node) {
            bail!("{name} runs already");
        }
        let directory = self.node_directory(node);
        let (share, images) = (self.directory().join("share"), self.images());
        let wires = [self.directory().join(format!("wire-{name}"))];
        let machine = Machine {
            number: node.number,
            directory: &directory,
            share: &share,
            kernel: &images.kernel,
            initrd: &images.node_initrd,
            ssh_port: node.ssh_port,
            wires: &wires,
            accel,
        };
        let log = File::create(directory.join("qemu.log"))?;
        let child = Command::new("qemu-system-x86_64")
            .args(machine.arguments(&self.options))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("qemu-system-x86_64 cannot be run; 'make deps' installs it")?;
        fs::write(directory.join("pid"), child.id().to_string())?;
        Ok(())
    }

    /// Waits until a node that was started says that it is up.
    pub fn wait_for_node(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        let directory = self.node_directory(node);
        let stream = self.console(node, &directory)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let start = Instant::now();
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while start.elapsed() < BOOT_DEADLINE {
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => bail!("{}", self.last_words(node, "ended while starting")),
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    if text.contains("LAB-READY") {
                        return Ok(());
                    }
                    if text.contains("LAB-FAILED") {
                        bail!("{}", self.last_words(node, "failed to start"));
                    }
                    line.clear();
                }
                // The line so far stays in `line`; the node may have said it before we connected.
                Err(_) if said_ready(&directory) => return Ok(()),
                Err(_) => {}
            }
        }
        bail!("{}", self.last_words(node, "was not up in time"))
    }

    fn console(&self, node: &Node, directory: &Path) -> Result<UnixStream> {
        let start = Instant::now();
        loop {
            match UnixStream::connect(directory.join("serial")) {
                Ok(stream) => return Ok(stream),
                Err(_) if self.node_runs(node) && start.elapsed() < Duration::from_secs(20) => {
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                Err(_) => bail!("{}", self.last_words(node, "could not be started")),
            }
        }
    }

    fn last_words(&self, node: &Node, what: &str) -> String {
        let directory = self.node_directory(node);
        let tail = |name: &str| {
            let text = fs::read(directory.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<_> = text.lines().rev().take(8).map(str::to_owned).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n    ")
        };
        format!(
            "{} {what}.\n  QEMU: {}\n  console: {}",
            node.name,
            tail("qemu.log"),
            tail("console.log")
        )
    }

    /// True if the node's machine runs.
    pub fn node_runs(&self, node: &Node) -> bool {
        our_process(&self.node_directory(node)).is_some()
    }

    /// Power cut: the machine is gone at once. Its disk keeps what was synced.
    pub fn kill_node(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        self.ssh(node).close();
        kill_machine(&self.node_directory(node))
    }

    /// Unplugs (`true`) or plugs in (`false`) the cable of a node's adapter.
    pub fn cut_node(&self, name: &str, cut: bool) -> Result<()> {
        let node = self.node(name)?;
        let mut qmp = Qmp::connect(&self.node_directory(node).join("qmp"))?;
        qmp.execute("set_link", &json!({ "name": "w0", "up": !cut }))?;
        Ok(())
    }
}

fn said_ready(directory: &Path) -> bool {
    fs::read(directory.join("console.log")).is_ok_and(|log| {
        log.windows(b"LAB-READY".len())
            .any(|window| window == b"LAB-READY")
    })
}

/// The process that a directory's pid file names, if it is still the one that was started there: a
/// number may long belong to somebody else.
pub fn our_process(directory: &Path) -> Option<rustix::process::Pid> {
    let number: i32 = fs::read_to_string(directory.join("pid"))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let command = fs::read(format!("/proc/{number}/cmdline")).ok()?;
    let mark = directory.as_os_str().as_encoded_bytes();
    let ours = command.windows(mark.len()).any(|window| window == mark);
    rustix::process::Pid::from_raw(number).filter(|_| ours)
}

/// Kills the process of a directory and waits until it is gone.
pub fn kill_machine(directory: &Path) -> Result<()> {
    let Some(pid) = our_process(directory) else {
        return Ok(());
    };
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL)?;
    // Readable when the process has ended (pidfd_open(2)).
    let mut fds = [rustix::event::PollFd::new(
        &fd,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(
        &mut fds,
        Some(&rustix::event::Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        }),
    )?;
    let _ = fs::remove_file(directory.join("pid"));
    Ok(())
}
