//! What to do next on a node: a pure function of what is seen and what is wanted.
//!
//! Nothing is remembered but what cannot be seen ([`Memory`]). When everything is as wanted the plan
//! is empty. Actions are in the order in which they are to be done; switch-overs come last, each for
//! one NIC, and one VM has one at a time.
//!
//! | part | decides about |
//! |---|---|
//! | [`bridge`] | bridges that we make |
//! | [`vfs`] | creating VFs, their vectors, binding them, cleaning those that came back |
//! | [`path`] | learning, address filter, forwarding entries, hold queues of the software path |
//! | [`definition`] | what is added to VMs' definitions |
//! | [`switch`] | which NIC goes where |
//! | [`vectors`] | whether a VF in use has what its level costs |

mod bridge;
mod definition;
mod path;
mod switch;
mod vectors;
mod vfs;

use std::collections::{BTreeMap, BTreeSet};

use accelnet_model::{
    AdapterId, IfName, MacAddr, NodeDesired, PciAddress, Problem, Staging, VfAttributes,
};
use uuid::Uuid;

use crate::{Observed, attach::Standing};
pub use switch::is_settled;
pub use vfs::interrupted;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a bridge of ours, or bring it up.
    MakeBridge {
        /// The bridge.
        bridge: IfName,
        /// Its mark.
        mark: String,
    },
    /// Make an adapter that nobody manages the uplink of a bridge of ours, and bring it up.
    AddUplink {
        /// The bridge.
        bridge: IfName,
        /// The adapter.
        adapter: IfName,
    },
    /// Make VFs exist. Bounces the PF's link.
    CreateVfs {
        /// The PF.
        pf: PciAddress,
        /// How many.
        count: u32,
    },
    /// Bind a VF to vfio-pci.
    BindVf {
        /// The VF.
        vf: PciAddress,
    },
    /// Give a VF that nobody uses so many vectors, and bind it to vfio-pci.
    VfVectors {
        /// The VF.
        vf: PciAddress,
        /// Vectors.
        vectors: u32,
    },
    /// Bring a VF that nobody uses to the safe baseline.
    CleanVf {
        /// Its PF.
        pf: PciAddress,
        /// Its number.
        index: u32,
        /// The VF.
        vf: PciAddress,
    },
    /// Keep a bridge's address as it is.
    PinBridge {
        /// The bridge.
        bridge: IfName,
    },
    /// Turn learning at a port on or off.
    PortLearning {
        /// The port.
        port: IfName,
        /// On.
        on: bool,
    },
    /// Flood a port with frames for addresses that the bridge does not know, or do not.
    PortFlood {
        /// The port.
        port: IfName,
        /// Flood it.
        on: bool,
    },
    /// Put an address into a PF's filter, or take it out.
    Filter {
        /// The PF.
        pf: IfName,
        /// The address.
        mac: MacAddr,
        /// In.
        present: bool,
    },
    /// Let the bridge send an address to a port, or not.
    BridgeEntry {
        /// The port.
        port: IfName,
        /// The address.
        mac: MacAddr,
        /// It does.
        present: bool,
    },
    /// Put the hold queue on a tap, and let everything in it pass.
    HoldQueuePass {
        /// The tap.
        tap: IfName,
    },
    /// Stage on a definition what is missing there.
    Prepare {
        /// The VM.
        vm: Uuid,
        /// What.
        staging: Staging,
    },
    /// Add a NIC on the intent's bridge.
    AddNic {
        /// The VM.
        vm: Uuid,
        /// The NIC's address.
        mac: MacAddr,
        /// Its bridge.
        bridge: IfName,
        /// To the running VM too; else to its definition only.
        live: bool,
    },
    /// Move a NIC to a VF or back.
    Switch(Box<Switch>),
}

/// A switch-over of one NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The VM.
    pub vm: Uuid,
    /// Its name, for messages.
    pub vm_name: String,
    /// To the VF, or back to the tap.
    pub to_vf: bool,
    /// Where the NIC is now.
    pub standing: Standing,
    /// The NIC.
    pub mac: MacAddr,
    /// Its alias in the live definition.
    pub alias: String,
    /// Its tap.
    pub tap: IfName,
    /// The PF.
    pub pf: PciAddress,
    /// The PF's interface.
    pub uplink: IfName,
    /// The bridge's port by which the PF's frames come: the PF, or the bond that it is in.
    pub port: IfName,
    /// Number of the VF.
    pub vf_index: u32,
    /// The VF.
    pub vf: PciAddress,
    /// What the VF carries while the VM has it.
    pub attributes: VfAttributes,
    /// Vectors that the VF is given before the VM gets it, where they come from a pool.
    pub vectors: Option<u32>,
}

impl Switch {
    /// The vectors that the VF is really given: one that the VM has already keeps what it has, as nothing
    /// can be changed under a guest.
    pub fn vectors_given(&self) -> Option<u32> {
        self.vectors.filter(|_| self.standing == Standing::OnTap)
    }
}

/// What cannot be seen on the machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// VMs with a switch-over under way: left alone.
    pub busy: BTreeSet<Uuid>,
    /// VFs that those switch-overs are about.
    pub busy_vfs: BTreeSet<PciAddress>,
    /// VMs whose last switch-over failed, and whose next try is not yet due.
    pub resting: BTreeSet<Uuid>,
    /// VFs that did not come clean.
    pub quarantined: BTreeSet<PciAddress>,
    /// Ports where we turned learning off, and of taps flooding too.
    pub ports: BTreeSet<IfName>,
    /// Taps behind which the bridge has known addresses other than the NIC's own.
    pub crowded: BTreeSet<IfName>,
    /// Addresses that we put into a PF's filter.
    pub filtered: BTreeSet<MacAddr>,
    /// Taps whose hold queue was told to pass, and not to hold since.
    pub passing: BTreeSet<IfName>,
    /// The adapters that bridges of ours were made on.
    pub made_on: BTreeMap<IfName, AdapterId>,
}

/// What to do, and what stands in the way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// About the node.
    pub problems: Vec<Problem>,
    /// About VMs.
    pub vm_problems: BTreeMap<Uuid, Vec<Problem>>,
}

/// Decides what to do. Without an enabled intent that is nothing but bridges that we make, and taps that
/// are flooded again: VMs keep what they have.
pub fn plan(observed: &Observed, desired: &NodeDesired, memory: &Memory) -> Plan {
    let mut plan = Plan::default();
    bridge::plan(observed, desired, memory, &mut plan);
    let in_care = desired.enabled_intent().map(|intent| &intent.bridge);
    let bridges = observed.bridges.iter();
    for bridge in bridges.filter(|bridge| Some(&bridge.ifname) != in_care) {
        path::let_go(observed, bridge, memory, &mut plan);
    }
    let (Some(intent), Some(enabled)) = (desired.enabled_intent(), &desired.enabled) else {
        return plan;
    };
    vfs::plan(observed, intent, enabled.when, memory, &mut plan);
    if observed.hypervisor_answers {
        path::plan(observed, intent, memory, &mut plan);
        switch::plan(observed, desired, intent, memory, &mut plan);
    }
    plan
}

#[cfg(test)]
pub(crate) mod tests;
