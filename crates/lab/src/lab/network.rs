//! The networks between nodes: addresses, and cables that are cut and healed.
//!
//! | network | interface | nodes' addresses | who is there |
//! |---|---|---|---|
//! | data | `br0` over `pf0` | 10.77.0.11 … | guests, the host on the wire |
//! | management | `cluster` | 10.78.0.11 …, by the names `node1`, `node1.lab` … | nodes of a lab with several |
//!
//! `mgmt` is none of them: by that interface the lab itself gets into a node, whatever is cut.

use std::{fs, io::ErrorKind, net::Ipv4Addr, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::json;

use super::{Lab, Node};
use crate::qemu::Qmp;

/// One of the networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// The wire that the adapters are plugged into.
    Data,
    /// What nodes of a cluster speak to each other by, and by which guests are migrated.
    Management,
}

impl Network {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Management => "management",
        }
    }

    /// Address of the node with this number.
    pub fn address(self, number: u8) -> Ipv4Addr {
        let network = match self {
            Self::Data => 77,
            Self::Management => 78,
        };
        [10, network, 0, 10 + number].into()
    }

    /// The cable's end in a node's machine, as [`crate::qemu::Machine`] calls it.
    fn id(self) -> &'static str {
        match self {
            Self::Data => "w0",
            Self::Management => "m0",
        }
    }
}

impl Lab {
    /// The networks that there are: one node alone has nobody to be managed with.
    pub fn networks(&self) -> &'static [Network] {
        if self.options.nodes > 1 {
            &[Network::Data, Network::Management]
        } else {
            &[Network::Data]
        }
    }

    /// The wire's sockets for a node, one per adapter.
    pub(super) fn wires_of(&self, node: &Node) -> Vec<PathBuf> {
        use super::SecondAdapter;
        let first = self.directory().join(format!("wire-{}", node.name));
        let second = self.directory().join(format!("wire-{}-pf1", node.name));
        match self.options.second_adapter {
            SecondAdapter::None => vec![first],
            SecondAdapter::Plain | SecondAdapter::NoAcs => vec![first, second],
        }
    }

    /// The management network's socket for a node.
    pub(super) fn management_of(&self, node: &Node) -> Option<PathBuf> {
        let there = self.networks().contains(&Network::Management);
        there.then(|| self.directory().join(format!("management-{}", node.name)))
    }

    /// Unplugs (`true`) or plugs in (`false`) a node's cable; the data network's is that of its first adapter. It
    /// stays as it is when the node loses its power.
    pub fn cut_node(&self, name: &str, network: Network, cut: bool) -> Result<()> {
        let node = self.node(name)?;
        let cable = match network {
            Network::Data => self.wires_of(node).into_iter().next(),
            Network::Management => self.management_of(node),
        };
        let Some(cable) = cable else {
            bail!("a lab of one node has no management network; see 'up --nodes'");
        };
        if self.node_runs(node) {
            set_link(&mut self.monitor(node)?, network, !cut)?;
            if cut {
                self.wire()?.unplugged(&cable)?;
            }
        }
        let mark = self.mark_of(node, network);
        if cut {
            fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))
        } else {
            match fs::remove_file(&mark) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("cannot remove {}", mark.display()))
                }
                _ => Ok(()),
            }
        }
    }

    /// Whether a node's cable is unplugged.
    pub fn is_cut(&self, node: &Node, network: Network) -> bool {
        self.mark_of(node, network).exists()
    }

    /// Of a machine that was just started all cables are plugged in; those that were cut are not.
    pub(super) fn unplug_what_is_cut(&self, node: &Node, monitor: &mut Qmp) -> Result<()> {
        let mut networks = self.networks().iter();
        networks.try_for_each(|network| match self.is_cut(node, *network) {
            true => set_link(monitor, *network, false),
            false => Ok(()),
        })
    }

    /// A file, not a line of `lab.json`: who cuts one node does not undo what another writes of the next.
    fn mark_of(&self, node: &Node, network: Network) -> PathBuf {
        let name = format!("{}-is-cut", network.name());
        self.node_directory(node).join(name)
    }
}

fn set_link(monitor: &mut Qmp, network: Network, up: bool) -> Result<()> {
    let arguments = json!({ "name": network.id(), "up": up });
    monitor.execute("set_link", &arguments).map(drop)
}
