//! What to do next on a node: a pure function of what is seen, what is wanted, and the little that
//! cannot be seen ([`Memory`]).
//!
//! Every NIC's phase is chosen anew from evidence, and the plan is the difference between what the phases
//! ask for and what is there: for all NICs, at every pass. When everything is as wanted it is empty.
//!
//! | part | decides about |
//! |---|---|
//! | [`bridge`] | bridges that we make |
//! | [`vfs`] | creating VFs, their vectors, binding them, cleaning those that came back |
//! | [`nics`] | phases of NICs and what they ask of the host |
//! | [`moves`] | switch-overs that go on, and those that begin |
//! | [`software`] | addresses on the software path that VFs must reach; learning; taps that are let go |
//! | [`migration`] | VMs that are sent to another node, or kept from going |
//! | [`definition`] | what is added to VMs' definitions |
//! | [`vectors`] | whether a VF in use has what its level costs |

mod bridge;
mod definition;
mod migration;
mod moves;
mod nics;
mod software;
mod vectors;
mod vfs;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_model::{AdapterId, IfName, MacAddr, NodeDesired, PciAddress, Problem};
use uuid::Uuid;

use crate::{
    Observed,
    action::{Action, Hold, Lane},
    moves::{Move, NicId},
    phase::{Past, Phase},
};
pub use moves::free_vf;
pub use nics::stands_on_vf;
pub use vfs::interrupted;

/// What cannot be seen on the machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Switch-overs under way.
    pub moves: BTreeMap<NicId, Move>,
    /// What was found out of NICs so far.
    pub pasts: BTreeMap<NicId, Past>,
    /// When the frames by their taps were counted last.
    pub counted: BTreeMap<NicId, Duration>,
    /// Ports at which the bridge was made to forget a NIC's address since both its paths were opened.
    pub forgotten: BTreeMap<NicId, BTreeSet<IfName>>,
    /// What hold queues were told last.
    pub told: BTreeMap<IfName, Hold>,
    /// Taps whose ring was made long enough.
    pub roomy: BTreeSet<IfName>,
    /// Taps that have no place for a hold queue.
    pub without_hold: BTreeSet<IfName>,
    /// Lanes that something is under way in.
    pub lanes: BTreeSet<Lane>,
    /// VMs whose last switch-over failed, and whose next try is not yet due.
    pub resting: BTreeSet<Uuid>,
    /// Those of them that not even the way back is tried for.
    pub resting_all: BTreeSet<Uuid>,
    /// VFs that did not come clean, or cannot be put right.
    pub quarantined: BTreeSet<PciAddress>,
    /// VFs that libvirt gave to another VM a moment before they were plugged: not all looks show that yet.
    pub taken: BTreeSet<PciAddress>,
    /// VFs that somebody else is setting up just now.
    pub setting_up: BTreeSet<PciAddress>,
    /// Adapters whose driver cannot set the link of a VF.
    pub no_vf_link: BTreeSet<PciAddress>,
    /// Ports where we turned learning off: only there it is turned on again.
    pub learning_off: BTreeSet<IfName>,
    /// Ports where we turned flooding off.
    pub flood_off: BTreeSet<IfName>,
    /// Addresses that we put into a PF's filter.
    pub filtered: BTreeSet<MacAddr>,
    /// The adapters that bridges of ours were made on.
    pub made_on: BTreeMap<IfName, AdapterId>,
    /// VMs whose QEMU takes the VF away by itself (a migration or a save).
    pub departing: BTreeSet<Uuid>,
    /// NICs whose VF was undressed at the last stop of their VM, and may be needed again.
    pub undressed: BTreeSet<NicId>,
    /// NICs of which QEMU said that it still has a device.
    pub left: BTreeSet<NicId>,
    /// VMs that came in a moment ago: a VF at once would stop them again.
    pub fresh: BTreeSet<Uuid>,
    /// VFs that are kept for VMs that are on their way here.
    pub promised: BTreeMap<PciAddress, Uuid>,
    /// The machine was looked at since its VMs were: what a VM has in its definition and nobody has open
    /// is not there.
    pub host_is_newer: bool,
}

/// One NIC on the bridge in our care.
#[derive(Debug, Clone, PartialEq)]
pub struct NicPlan {
    /// What is to be remembered of it.
    pub past: Past,
    /// Nothing is left to do for its phase.
    pub settled: bool,
}

/// How a switch-over goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// It begins.
    Begin(Box<Move>),
    /// It is over: the NIC is where it was to be, or has gone with its VM.
    Over,
    /// It came to nothing, and the NIC goes back: why.
    InVain(Problem),
}

/// What to do, and what stands in the way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Within a lane in this order; of one NIC nothing is done after what failed.
    pub actions: Vec<(Option<NicId>, Action)>,
    /// NICs and their phases.
    pub nics: BTreeMap<NicId, NicPlan>,
    /// Switch-overs that change.
    pub turns: Vec<(NicId, Turn)>,
    /// About the node.
    pub problems: Vec<Problem>,
    /// About VMs.
    pub vm_problems: BTreeMap<Uuid, Vec<Problem>>,
}

impl Plan {
    fn push(&mut self, action: Action) {
        let action = (None, action);
        if !self.actions.contains(&action) {
            self.actions.push(action);
        }
    }

    fn push_for(&mut self, nic: NicId, action: Action) {
        self.actions.push((Some(nic), action));
    }

    /// The phase of a NIC.
    pub fn phase(&self, nic: NicId) -> Option<Phase> {
        self.nics.get(&nic).map(|nic| nic.past.phase)
    }

    /// Nothing is left to do for a NIC's phase.
    fn is_settled(&self, nic: NicId) -> bool {
        self.nics.get(&nic).is_some_and(|nic| nic.settled)
    }

    /// Nothing that is told of it differs: counters of frames go on all the time.
    pub fn looks_like(&self, other: &Self) -> bool {
        let nics = |plan: &Self| -> Vec<_> {
            let nics = plan.nics.iter();
            nics.map(|(nic, plan)| (*nic, plan.past.phase, plan.settled, plan.past.given_up))
                .collect()
        };
        nics(self) == nics(other)
            && (&self.actions, &self.turns) == (&other.actions, &other.turns)
            && (&self.problems, &self.vm_problems) == (&other.problems, &other.vm_problems)
    }

    /// Nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.turns.is_empty()
    }
}

/// How many switch-overs to VFs go on at the same time. Each holds a call to libvirt for a second or two;
/// more at once would only wait there.
pub const MOVES: usize = 4;

/// Decides what to do. Without an enabled intent that is nothing but bridges that we make, and ports
/// that are let go: VMs keep what they have.
pub fn plan(observed: &Observed, desired: &NodeDesired, memory: &Memory, now: Duration) -> Plan {
    let mut plan = Plan::default();
    bridge::plan(observed, desired, memory, &mut plan);
    vfs::reserve(observed, memory, &mut plan);
    let in_care = desired.enabled_intent().map(|intent| &intent.bridge);
    let bridges = observed.bridges.iter();
    for bridge in bridges.filter(|bridge| Some(&bridge.ifname) != in_care) {
        software::restore_ports(observed, bridge, memory, &mut plan);
    }
    let (Some(intent), Some(enabled)) = (desired.enabled_intent(), &desired.enabled) else {
        return plan;
    };
    vfs::plan(observed, intent, enabled.when, memory, &mut plan);
    let Some(bridge) = observed.bridge(&intent.bridge) else {
        return plan;
    };
    let nics = nics::phases(observed, intent, bridge, memory, now);
    software::before(observed, intent, bridge, &nics, memory, &mut plan);
    for nic in &nics {
        nics::plan(observed, desired, intent, nic, memory, now, &mut plan);
    }
    moves::plan(observed, desired, intent, &nics, memory, now, &mut plan);
    software::after(observed, intent, bridge, &nics, memory, &mut plan);
    plan
}

#[cfg(test)]
pub(crate) mod tests;
