//! Reaching a node: ssh to a port on loopback, with keys of this lab only.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{lab::process::MARK, shell};

/// How to reach one node.
#[derive(Debug, Clone)]
pub struct Ssh {
    lab: PathBuf,
    port: u16,
}

/// Creates the lab's client key and the nodes' host key in the lab's directory, and the file that
/// pins the latter. The nodes get to see what they need, in `share`.
pub fn create_keys(lab: &Path, share: &Path) -> Result<()> {
    let directory = lab.join("keys");
    std::fs::create_dir_all(&directory)?;
    for name in ["client_key", "host_key"] {
        let path = directory.join(name);
        shell::run(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "accelnet-lab", "-f"])
                .arg(&path),
        )?;
    }
    let key = std::fs::read_to_string(directory.join("host_key.pub"))?;
    std::fs::write(
        directory.join("known_hosts"),
        format!("accelnet-lab-node {key}"),
    )?;
    // The client's own half too: nodes reach each other with it.
    for name in ["host_key", "client_key.pub", "client_key", "known_hosts"] {
        std::fs::copy(directory.join(name), share.join(name))?;
    }
    Ok(())
}

impl Ssh {
    /// A node whose sshd answers on this port of loopback; `lab` is the lab's directory.
    pub fn new(lab: &Path, port: u16) -> Self {
        Self {
            lab: lab.to_owned(),
            port,
        }
    }

    /// Waits until the node lets us in. It says that it is up before its management address surely
    /// works, and the first attempt can get lost in QEMU's user network.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let output = self
                .command_within(false, 5)
                .arg("true")
                .stdin(Stdio::null())
                .output()
                .context("ssh cannot be run")?;
            if output.status.success() {
                return Ok(());
            }
            if start.elapsed() > limit {
                let err = String::from_utf8_lossy(&output.stderr);
                bail!("the node lets nobody in: {}", err.trim());
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// The ssh command up to the host's name.
    pub fn command(&self, tty: bool) -> Command {
        self.command_within(tty, 30)
    }

    fn command_within(&self, tty: bool, connect_s: u32) -> Command {
        let mut command = Command::new("ssh");
        let keys = self.lab.join("keys");
        let path = |name: &str| keys.join(name).display().to_string();
        command
            .env(MARK, &self.lab)
            .args([
                "-F",
                "/dev/null",
                "-p",
                &self.port.to_string(),
                "-i",
                &path("client_key"),
            ])
            .args(["-o", &format!("UserKnownHostsFile={}", path("known_hosts"))])
            .args([
                "-o",
                "HostKeyAlias=accelnet-lab-node",
                "-o",
                "StrictHostKeyChecking=yes",
            ])
            .args([
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "BatchMode=yes",
                "-o",
                &format!("ConnectTimeout={connect_s}"),
                "-o",
                "LogLevel=ERROR",
            ])
            .args([
                "-o",
                "ServerAliveInterval=15",
                "-o",
                "ServerAliveCountMax=4",
            ])
            .args(["-o", "ControlMaster=auto", "-o", "ControlPersist=300"])
            .args([
                "-o",
                &format!("ControlPath={}/c{}", keys.display(), self.port),
            ])
            .args([if tty { "-t" } else { "-T" }, "root@127.0.0.1", "--"]);
        command
    }

    /// Runs a command line with our own standard streams; its exit code.
    pub fn exec(&self, words: &[String]) -> Result<i32> {
        let tty = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let status = self
            .command(tty)
            .arg(shell::join(words))
            .status()
            .context("ssh cannot be run")?;
        Ok(status.code().unwrap_or(255))
    }

    /// Runs a shell script; its output. Fails if the script does.
    pub fn script(&self, script: &str) -> Result<String> {
        use std::io::Write;
        let mut child = self
            .command(false)
            .arg("sh -eu")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("ssh cannot be run")?;
        // A shell that has gone already says why on its standard error.
        let _ = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(script.as_bytes()));
        let output = child.wait_with_output()?;
        if !output.status.success() {
            // Many a program says on its standard output what is wrong, as systemctl is-active does.
            bail!(
                "a command on the node failed ({}): {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Ends the shared connection, if there is one.
    pub fn close(&self) {
        let _ = self
            .command(false)
            .args(["-O", "exit"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
