//! One node's process: start, wait until it is up, pause, kill.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::{Lab, Node, process};
use crate::{
    image::Images,
    qemu::{Machine, Qmp, forwarded_port},
};

/// The slowest boot seen in software emulation took 40 s with two labs on two cores.
const BOOT_DEADLINE: Duration = Duration::from_secs(240);
/// From there until its sshd answers: less than a second, but for packets lost on the way.
const WAY_IN_DEADLINE: Duration = Duration::from_secs(60);
/// Guests are saved meanwhile, 15 s each in software emulation.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(180);

/// What a node's machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It runs.
    Running,
    /// It stands still, and so does its clock.
    Paused,
    /// It has no power.
    Off,
}

impl NodeState {
    /// As `status` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Off => "off",
        }
    }
}

impl Lab {
    pub(super) fn node_directory(&self, node: &Node) -> PathBuf {
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

    /// Starts a node's machine. Its disk is kept from the last time; its way in is another one each
    /// time, and is written down.
    pub fn start_node(&mut self, name: &str) -> Result<()> {
        let node = self.node(name)?.clone();
        self.start_machine(&node)?;
        let ssh_port = self.connect_machine(&node)?;
        if let Some(node) = self.nodes.iter_mut().find(|node| node.name == name) {
            node.ssh_port = ssh_port;
        }
        self.save()
    }

    /// Sees to its cables, and asks for its way in: QEMU itself chose the port, so that no two labs can choose the
    /// same.
    fn connect_machine(&self, node: &Node) -> Result<u16> {
        let socket = self.node_directory(node).join("qmp");
        let start = Instant::now();
        let mut qmp = loop {
            match Qmp::connect(&socket) {
                Ok(qmp) => break qmp,
                // QEMU makes the socket a moment after its start, and tells nobody.
                Err(_) if self.node_runs(node) && start.elapsed() < Duration::from_secs(20) => {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                Err(_) => bail!("{}", self.last_words(node, "could not be started")),
            }
        };
        self.unplug_what_is_cut(node, &mut qmp)?;
        let line = json!({ "command-line": "info usernet" });
        let table = qmp.execute("human-monitor-command", &line)?;
        forwarded_port(table.as_str().unwrap_or_default())
            .with_context(|| format!("QEMU forwards no port to {}", node.name))
    }

    fn start_machine(&self, node: &Node) -> Result<()> {
        let name = &node.name;
        if self.node_runs(node) {
            bail!("{name} runs already");
        }
        let directory = self.node_directory(node);
        let (share, images) = (self.directory().join("share"), self.images());
        let (wires, management) = (self.wires_of(node), self.management_of(node));
        let machine = Machine {
            lab: &self.name,
            number: node.number,
            disk: &self.disk_of(node),
            directory: &directory,
            share: &share,
            kernel: &images.kernel,
            initrd: &images.node_initrd,
            wires: &wires,
            management: management.as_deref(),
            accel: self.accel,
        };
        let log = File::create(directory.join("qemu.log"))?;
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(machine.arguments(&self.options))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // It outlives us on purpose; 'down' ends it.
        process::spawn(&mut command, &self.directory(), &directory).map(drop)
    }

    /// Waits until a node that was started says that it is up, and lets us in.
    pub fn wait_for_node(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        self.wait_until_it_says_so(node)?;
        self.ssh(node).wait(WAY_IN_DEADLINE)
    }

    fn wait_until_it_says_so(&self, node: &Node) -> Result<()> {
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
            let lines: Vec<_> = text.lines().rev().take(60).map(str::to_owned).collect();
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
        process::running(&self.directory(), &self.node_directory(node)).is_some()
    }

    /// Power cut: the machine is gone at once. Its disk keeps what was synced.
    pub fn kill_node(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        self.ssh(node).close();
        process::kill_one(&self.directory(), &self.node_directory(node))
    }

    /// Shuts a node down as its administrator does, and waits until its machine is off.
    pub fn shut_down_node(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        // The connection may end before its answer.
        let _ = self.script(name, "systemctl poweroff");
        process::wait_until_gone(
            &self.directory(),
            &self.node_directory(node),
            SHUTDOWN_DEADLINE,
        )
        .with_context(|| self.last_words(node, "does not shut down"))?;
        self.ssh(node).close();
        Ok(())
    }

    /// Stops (`true`) a node's machine where it is, or lets it go on (`false`). It notices nothing: its clock stands
    /// still meanwhile. Others hear nothing of it, though its cables are in.
    pub fn pause_node(&self, name: &str, pause: bool) -> Result<()> {
        let node = self.node(name)?;
        ensure!(self.node_runs(node), "{name} is off");
        let command = if pause { "stop" } else { "cont" };
        self.monitor(node)?.execute(command, &json!({})).map(drop)
    }

    /// What a node's machine does. Fails if it runs but its monitor does not answer.
    pub fn node_state(&self, node: &Node) -> Result<NodeState> {
        if !self.node_runs(node) {
            return Ok(NodeState::Off);
        }
        let status = self.monitor(node)?.execute("query-status", &json!({}))?;
        Ok(match status["status"].as_str() {
            Some("paused") => NodeState::Paused,
            _ => NodeState::Running,
        })
    }

    pub(super) fn monitor(&self, node: &Node) -> Result<Qmp> {
        Qmp::connect(&self.node_directory(node).join("qmp"))
    }
}

fn said_ready(directory: &Path) -> bool {
    fs::read(directory.join("console.log")).is_ok_and(|log| {
        log.windows(b"LAB-READY".len())
            .any(|window| window == b"LAB-READY")
    })
}
