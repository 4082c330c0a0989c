//! A lab's life: up, status, exec, probe, cut, pause, kill, start, down.
//!
//! What there is stands in `lab.json` in the lab's private directory, written before anything is
//! started, so that `down` finds everything also after a crash.

mod calling;
mod cluster;
mod down;
pub mod guests;
mod measure;
mod network;
mod node;
pub mod process;
mod program;
mod travel;
mod up;

use std::{fs, net::Ipv4Addr, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
pub use calling::{Calling, Place};
pub use cluster::{Cluster, Store};
pub use down::on_interrupt as down_on_interrupt;
pub use measure::{Logs, Pinging, Running, wait};
pub use network::Network;
pub use node::NodeState;
use serde::{Deserialize, Serialize};
pub use travel::Following;

use crate::kvm::Accel;
pub use crate::wire::end::Pace;
use crate::{image::Variant, paths, shell, ssh::Ssh};

/// A node's second adapter, `pf1`, which nothing uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SecondAdapter {
    /// There is none.
    #[default]
    None,
    /// Like the first one, on the same wire.
    Plain,
    /// Below a root port without Access Control Services.
    NoAcs,
}

/// What `up` is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Number of nodes, 1 to 9.
    pub nodes: u8,
    /// Number of guests over all nodes, dealt out in turn.
    pub guests: u8,
    /// Nodes have two threads a core.
    pub smt: bool,
    /// VFs that the compute intent asks for; 0 leaves it to the product ("auto").
    pub vfs: u16,
    /// Nodes have an IOMMU.
    pub iommu: bool,
    /// What nodes have besides `pf0`.
    pub second_adapter: SecondAdapter,
    /// Memory of a node in MiB.
    pub memory_mib: u32,
    /// Directory with `accelnet` and `accelnetd`; `None` leaves them out.
    pub bin_dir: Option<PathBuf>,
    /// What nodes have beside what all have.
    #[serde(default)]
    pub variant: Variant,
    /// The product runs as a cluster; `None`: each node is a host for itself.
    pub cluster: Option<Cluster>,
}

/// One node of a running lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// `node1`, …
    pub name: String,
    /// From 1.
    pub number: u8,
    /// Port on loopback that leads to its sshd; 0 until the node was started.
    pub ssh_port: u16,
}

/// One guest of a running lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Guest {
    /// `vm1`, …
    pub name: String,
    /// Where it was started, or moved to by the lab.
    pub node: String,
    /// Last number of its addresses 10.77.0.HOST and fd77::HOST; also its vsock context id.
    pub host: u8,
    /// Its NIC.
    pub mac: String,
}

impl Guest {
    /// Its address on the lab's network.
    pub fn address(&self) -> Ipv4Addr {
        [10, 77, 0, self.host].into()
    }
}

/// A lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lab {
    /// Its name.
    pub name: String,
    /// How it was asked for.
    pub options: Options,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Its guests.
    pub guests: Vec<Guest>,
    /// Images that its disks are laid over.
    pub images: PathBuf,
    /// How its nodes run.
    pub accel: Accel,
}

impl Lab {
    /// Private directory of the lab with this name.
    pub fn directory_of(name: &str) -> Result<PathBuf> {
        let fits = !name.is_empty()
            && name.len() <= 24
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !name.starts_with('-');
        ensure!(
            fits,
            "'{}' is no name for a lab: use 1 to 24 letters, digits and '-'",
            name.escape_debug()
        );
        Ok(paths::runtime_root().join(name))
    }

    /// The running lab with this name.
    pub fn open(name: &str) -> Result<Self> {
        let path = Self::directory_of(name)?.join("lab.json");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("there is no lab '{name}'; start one with 'accelnet-lab --name {name} up'")
        })?;
        serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged; run 'accelnet-lab --name {name} down'",
                path.display()
            )
        })
    }

    /// Its private directory.
    pub fn directory(&self) -> PathBuf {
        paths::runtime_root().join(&self.name)
    }

    /// Disks and other large things: not in the runtime directory, which often lies in memory.
    /// `disks` there is a link to it, so that 'down' finds it whatever the cache is then called.
    fn storage(&self) -> PathBuf {
        self.directory().join("disks")
    }

    fn disk_of(&self, node: &Node) -> PathBuf {
        self.storage().join(format!("{}.qcow2", node.name))
    }

    fn save(&self) -> Result<()> {
        fs::write(
            self.directory().join("lab.json"),
            serde_json::to_vec_pretty(self)?,
        )?;
        Ok(())
    }

    /// Its address on the lab's network, that of the bridge.
    pub fn address_of(&self, node: &str) -> Result<Ipv4Addr> {
        Ok(Network::Data.address(self.node(node)?.number))
    }

    /// The node with this name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let names = || {
            self.nodes
                .iter()
                .map(|node| node.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .with_context(|| format!("there is no node '{name}'; there are {}", names()))
    }

    /// The guest with this name.
    pub fn guest(&self, name: &str) -> Result<&Guest> {
        let names = || {
            self.guests
                .iter()
                .map(|guest| guest.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.guests
            .iter()
            .find(|guest| guest.name == name)
            .with_context(|| format!("there is no guest '{name}'; there are: {}", names()))
    }

    /// The way into a node.
    pub fn ssh(&self, node: &Node) -> Ssh {
        Ssh::new(&self.directory(), node.ssh_port)
    }

    /// Runs a shell script on a node; its output.
    pub fn script(&self, node: &str, script: &str) -> Result<String> {
        self.ssh(self.node(node)?).script(script)
    }

    /// Runs a shell script in a guest; its output.
    pub fn guest_script(&self, guest: &str, script: &str) -> Result<String> {
        let guest = self.guest(guest)?;
        let words = self.guest_command(guest, &["sh".into(), "-c".into(), script.into()]);
        self.script(&guest.node, &shell::join(&words))
    }

    /// The command line that runs a command in a guest, to be run on its node.
    pub fn guest_command(&self, guest: &Guest, words: &[String]) -> Vec<String> {
        let mut line = vec![
            "accelnet-lab-guest".to_owned(),
            "connect".into(),
            guest.host.to_string(),
            "--".into(),
        ];
        line.extend_from_slice(words);
        line
    }

    /// Runs a command on a node with our own standard streams; its exit code.
    pub fn exec(&self, node: &str, words: &[String]) -> Result<i32> {
        if words.is_empty() {
            bail!("no command was given");
        }
        self.ssh(self.node(node)?).exec(words)
    }

    /// Runs a command in a guest with our own standard streams; its exit code.
    pub fn guest_exec(&self, guest: &str, words: &[String]) -> Result<i32> {
        let guest = self.guest(guest)?;
        if words.is_empty() {
            bail!("no command was given");
        }
        self.exec(&guest.node, &self.guest_command(guest, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_labs_fit_into_paths() {
        assert!(Lab::directory_of("demo-1").is_ok());
        for name in ["", "a/b", "..", "-x", "a b", &"x".repeat(25)] {
            assert!(Lab::directory_of(name).is_err(), "{name}");
        }
    }
}
