//! What a node reports: facts, what is in effect, and what is wrong.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    adapter::AdapterFacts,
    bridge::BridgeFacts,
    ids::{IfName, MacAddr, Name, PciAddress},
    node::NodeFacts,
    performance::Performance,
    policy::PolicyFinding,
    problem::Problem,
    traffic::{AdapterDrops, IdleVf, VfDrops},
    vm::{NicFacts, VmFacts, VmJob, VmState},
};

/// Which way a vNIC's packets really go, from evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NicPath {
    /// The VF: a driver in the guest drives it and no frame of the guest comes by its tap.
    Vf,
    /// The virtio NIC and the host's switch.
    Synthetic,
    /// None: the VM is off, or the NIC has no link.
    None,
}

/// Queue pairs of an accelerated NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuePairs {
    /// What the VF has.
    pub allotted: u32,
    /// What the guest's driver really uses.
    pub effective: u32,
}

/// The effective state of one vNIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NicStatus {
    /// The vNIC.
    pub mac: MacAddr,
    /// Path in use.
    pub path: NicPath,
    /// Why the path is not the wanted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The adapter whose VF it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<IfName>,
    /// The VF it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vf: Option<PciAddress>,
    /// Its queue pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_pairs: Option<QueuePairs>,
    /// Bridge on the software path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<IfName>,
    /// The intent whose bridge that is. The server, which knows all wishes, fills in this and the next
    /// two; in a node's own report they are empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Name>,
    /// Acceleration is enabled on that intent: the NIC goes where it is wanted. Any other stays as it
    /// is.
    #[serde(default)]
    pub managed: bool,
    /// Level wanted for it; of a NIC that is not managed, the level that is kept until its intent is
    /// enabled again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Performance>,
}

impl NicStatus {
    /// A NIC on its software path that nothing is wanted of.
    pub fn of(facts: &NicFacts) -> Self {
        Self {
            mac: facts.mac,
            path: NicPath::Synthetic,
            reason: None,
            adapter: None,
            vf: None,
            queue_pairs: None,
            bridge: facts.bridge.clone(),
            intent: None,
            managed: false,
            level: None,
        }
    }
}

/// A change in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is done: `attach`, `detach`, `prepare`.
    pub operation: String,
    /// The current step, in words.
    pub step: String,
    /// Number of the current step, from 1.
    pub number: u32,
    /// How many steps there are.
    pub of: u32,
}

/// One VM as its node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmStatus {
    /// Observed facts.
    pub facts: VmFacts,
    /// Level that the agent works towards (from the desired state it accepted).
    pub level: Option<Performance>,
    /// Effective state of each vNIC.
    pub nics: Vec<NicStatus>,
    /// Policy found on each vNIC's host path, definition included.
    pub policy: Vec<PolicyFinding>,
    /// The host paths of all its vNICs on the enabled intent's bridge were looked at: what is not in `policy` is
    /// not there.
    #[serde(default)]
    pub policy_seen: bool,
    /// A change in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The last change failed (`problems` says why) and is tried again by itself after a rest.
    #[serde(default)]
    pub resting: bool,
    /// What keeps the VM from the wanted state.
    pub problems: Vec<Problem>,
    /// Changes staged for its next cold start, in words.
    pub staged: Vec<String>,
}

impl VmStatus {
    /// A VM on its software path that nothing is wanted of; its policy was not looked at.
    pub fn of(facts: VmFacts) -> Self {
        Self {
            nics: facts.nics.iter().map(NicStatus::of).collect(),
            facts,
            level: None,
            policy: Vec::new(),
            policy_seen: false,
            progress: None,
            resting: false,
            problems: Vec::new(),
            staged: Vec::new(),
        }
    }
}

/// A VM that is there and could not be looked at: nothing is known of it but this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnseenVm {
    /// The VM.
    pub uuid: Uuid,
    /// Its name on the node.
    pub name: String,
    /// Its state, which libvirt tells in any case.
    pub state: VmState,
    /// The job that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<VmJob>,
    /// Why the rest could not be seen.
    pub because: String,
}

/// An adapter and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterStatus {
    /// Observed facts.
    pub facts: AdapterFacts,
    /// VFs that did not come clean and are not given out, with the reason.
    pub quarantined: Vec<Problem>,
    /// Problems of the adapter.
    pub problems: Vec<Problem>,
}

impl AdapterStatus {
    /// An adapter that nothing is wrong with.
    pub fn of(facts: AdapterFacts) -> Self {
        Self {
            facts,
            quarantined: Vec::new(),
            problems: Vec::new(),
        }
    }
}

/// Everything a node reports. Written when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Grows with every report of one agent process.
    pub sequence: u64,
    /// Generation of the desired state that this status is about.
    pub generation: u64,
    /// True if nothing is left to do for that generation.
    pub converged: bool,
    /// True if it is not, and all that is left waits out a rest after a failure.
    #[serde(default)]
    pub resting: bool,
    /// The node.
    pub node: NodeFacts,
    /// Its adapters.
    pub adapters: Vec<AdapterStatus>,
    /// Bridges that intents name, as far as they exist.
    pub bridges: Vec<BridgeFacts>,
    /// Its VMs.
    pub vms: Vec<VmStatus>,
    /// VMs that are there and could not be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen_vms: Vec<UnseenVm>,
    /// What is wrong with the node as a whole.
    pub problems: Vec<Problem>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// How often, since the agent's start, something was put right that others had changed.
    #[serde(default)]
    pub repairs: u64,
    /// VFs that guests drive and do not send by, as far as the adapters' drivers count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle_vfs: Vec<IdleVf>,
    /// What adapters had no room for; those that dropped nothing are left out. Told anew at most once a minute, as the
    /// next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapter_drops: Vec<AdapterDrops>,
    /// What was dropped at VFs of VMs; those at which nothing was are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vf_drops: Vec<VfDrops>,
}
