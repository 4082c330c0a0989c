//! What rules look at.

use std::{collections::BTreeMap, time::Duration};

use accelnet_model::{
    FaultObject, Intent, Name, NodeDesired, NodeStatus, Performance, Problem, VmStatus, Waiver,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::capacity::Fragments;

/// What is wished for a VM on the enabled intent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VmWish {
    /// Its level; `None` if it shall not be on a VF.
    pub level: Option<Performance>,
    /// It is kept on its software path on purpose.
    pub parked: bool,
}

/// One node that reports, and what is wished for its VMs.
#[derive(Debug)]
pub struct NodeScene<'a> {
    /// The node.
    pub name: &'a Name,
    /// Its report, of now.
    pub status: &'a NodeStatus,
    /// What is wanted of all nodes.
    pub desired: &'a NodeDesired,
    /// Its VMs with a wish.
    pub wishes: &'a BTreeMap<Uuid, VmWish>,
    /// The server's version.
    pub server_version: &'a str,
}

impl NodeScene<'_> {
    /// The intent that acceleration is enabled on.
    pub fn intent(&self) -> Option<&Intent> {
        self.desired.enabled_intent()
    }

    /// The wish for a VM.
    pub fn wish(&self, vm: Uuid) -> VmWish {
        self.wishes.get(&vm).copied().unwrap_or_default()
    }

    /// A VM of the node.
    pub fn vm(&self, vm: &VmStatus) -> FaultObject {
        FaultObject::vm(vm.facts.uuid, &vm.facts.name, Some(self.name))
    }

    /// Something of the node.
    pub fn object(&self, kind: &str, name: impl std::fmt::Display) -> FaultObject {
        FaultObject::on_node(kind, self.name, name)
    }

    /// VMs that could be looked at just now.
    pub fn vms(&self) -> impl Iterator<Item = &VmStatus> {
        let sees = self.status.node.libvirt.is_some();
        let vms = self.status.vms.iter().filter(move |_| sees);
        // Of one that could not be looked at, what is told is what was.
        vms.filter(|vm| {
            let mut unseen = self.status.unseen_vms.iter();
            unseen.all(|unseen| unseen.uuid != vm.facts.uuid)
        })
    }
}

/// One node as the cluster has it.
#[derive(Debug)]
pub struct NodeSeen<'a> {
    /// Its name.
    pub name: &'a Name,
    /// Its report, if that is of now.
    pub current: Option<&'a NodeStatus>,
    /// Why it is not, if the node is known to be silent; `None` too while it is awaited.
    pub silent: Option<&'a Problem>,
    /// Its clock less the server's, where it tells the time.
    pub clock_ahead: Option<SignedDuration>,
    /// The end of its certificate.
    pub certified_until: Option<Timestamp>,
}

/// How often a VM's path has changed, by the server's own count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switches {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub node: Name,
    /// So often.
    pub total: u64,
}

/// A token that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEnd {
    /// Its name.
    pub name: Name,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// All nodes, and the server itself.
#[derive(Debug)]
pub struct ClusterScene<'a> {
    /// The time of day.
    pub now: Timestamp,
    /// The nodes.
    pub nodes: &'a [NodeSeen<'a>],
    /// What is wanted of all nodes.
    pub desired: &'a NodeDesired,
    /// VMs that run on more than one node that reports: where.
    pub twice: &'a [(Uuid, String, Vec<Name>)],
    /// VMs that may run on more than one node: one that cannot be seen now had it running.
    pub perhaps_twice: &'a [(Uuid, String)],
    /// VMs with a level that no node has, while all nodes can be seen.
    pub nowhere: &'a [(Uuid, String)],
    /// VMs with a level that no node has, and some node cannot be seen.
    pub perhaps_nowhere: &'a [(Uuid, String)],
    /// VMs that are parked: where they are, since when, and until when in words.
    pub parked: &'a [(FaultObject, Timestamp, String)],
    /// Waivers that are in force.
    pub waivers: &'a [(FaultObject, &'a [Waiver])],
    /// VMs whose path has changed lately.
    pub switches: &'a BTreeMap<Uuid, Switches>,
    /// How far the reserve is short, if it is.
    pub shortage: Option<&'a Problem>,
    /// Levels that no adapter has room for, while what is left in pieces would be enough.
    pub fragments: &'a [Fragments],
    /// Tokens that end.
    pub tokens: &'a [TokenEnd],
    /// How long the store took at most, within the last minute.
    pub store_took: Duration,
    /// Servers that stand by and gave no answer when they were looked at last: where, and why.
    pub silent_servers: &'a [(String, String)],
    /// How often a server has taken over within the last hour.
    pub took_over: u32,
}
