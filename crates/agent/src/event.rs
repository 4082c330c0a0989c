//! What the agent's step is told, and what it asks to be done.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_host::{HostError, HostEvent, LinkSeen, PolicyPath};
use accelnet_hypervisor::{HypervisorError, HypervisorEvent, Versions, VmSeen};
use accelnet_model::{
    AdapterFacts, BridgeFacts, DomainCapabilities, IfName, MacAddr, NodeDesired, NodeFacts,
    NodeStatus, PciAddress, Performance, PolicyFinding, Problem, Traffic, VfAttributes,
};
use accelnet_rules::{
    action::{Action, Lane},
    moves::NicId,
};
use uuid::Uuid;

use crate::ledger::Ledger;

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// What the node shall be.
    Wished(Box<NodeDesired>),
    /// Somebody wants a fresh look, and waits for the status under this number.
    Asked(u64),
    /// A VM is on its way here, and whoever asked waits for its VFs under this number.
    Expected(u64, Expected),
    /// The host goes down, and no server could be told.
    GoesDown,
    /// The machine tells of a change.
    Host(HostEvent),
    /// The hypervisor does.
    Vms(HypervisorEvent),
    /// A look at the machine is over.
    HostSeen(Box<HostLook>),
    /// A look at the VMs is over.
    VmsSeen(Box<VmsLook>),
    /// A glance at counters and links is over.
    Glanced(GlanceSeen),
    /// Actions were carried out, or not.
    Done(Lane, Vec<Done>),
    /// The ledger could not be written, or (`None`) was.
    Saved(Option<Problem>),
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// Look at the machine.
    LookAtHost(HostScope),
    /// Look at the VMs.
    LookAtVms,
    /// Look at counters and links only.
    Glance(GlanceScope),
    /// Carry out these, in this order; of one NIC nothing after what failed. The lane is free again when
    /// they are told as [`Event::Done`].
    Do(Lane, Vec<(Option<NicId>, Action)>),
    /// Write the ledger, before anything that follows is done.
    Save(Box<Ledger>),
    /// Tell the server.
    Report(Box<NodeStatus>),
    /// Tell who asked under this number.
    Answer(u64, Box<NodeStatus>),
    /// Tell who asked under this number which VFs are kept for the VM that comes, one for each of its NICs.
    Promise(u64, Result<Promised, Problem>),
}

/// A VM that is on its way here with VFs of ours in its definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The VM.
    pub vm: Uuid,
    /// Its name.
    pub name: String,
    /// Its level.
    pub level: Performance,
    /// Its NICs that come with a VF.
    pub nics: Vec<MacAddr>,
}

/// The VFs that are kept for its NICs.
pub type Promised = Vec<(MacAddr, PciAddress)>;

/// What of the machine is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostScope {
    /// Bridges that intents name, whether they exist or not.
    pub bridges: BTreeSet<IfName>,
    /// Paths of NICs, for the policy on them.
    pub paths: Vec<(NicId, PolicyPath)>,
    /// Adapters whose VFs are being worked on: the kernel would not answer until that is over.
    pub busy: BTreeSet<PciAddress>,
    /// Adapters whose counters are looked at, and those of their VFs.
    pub counted: BTreeSet<IfName>,
}

/// Each part of a look at the machine, or why it could not be seen.
#[derive(Debug)]
pub struct HostLook {
    /// The machine as a whole.
    pub node: Result<NodeFacts, HostError>,
    /// Its adapters.
    pub adapters: Result<AdaptersLook, HostError>,
    /// Its switches.
    pub bridges: Result<Vec<BridgeFacts>, HostError>,
    /// Policy on the paths that were asked for.
    pub policy: Vec<(NicId, Result<Vec<PolicyFinding>, HostError>)>,
    /// Counters of adapters that were asked for; one that could not be read is left out.
    pub counted: BTreeMap<IfName, Traffic>,
}

/// Adapters that were seen, and those that were not.
#[derive(Debug, Default)]
pub struct AdaptersLook {
    /// Seen.
    pub seen: Vec<AdapterFacts>,
    /// Not seen, and why.
    pub unseen: Vec<(IfName, String)>,
}

/// Each part of a look at the VMs.
#[derive(Debug)]
pub struct VmsLook {
    /// Versions of libvirt and QEMU.
    pub versions: Result<Versions, HypervisorError>,
    /// What VMs can have; that it does not say is a finding of the prerequisite checks.
    pub capabilities: Option<DomainCapabilities>,
    /// The VMs.
    pub vms: Result<Vec<VmSeen>, HypervisorError>,
}

/// What a glance is at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GlanceScope {
    /// NICs whose counters are looked at.
    pub nics: Vec<GlanceAt>,
    /// Adapters and bonds whose links are.
    pub links: Vec<IfName>,
}

/// What it tells; what could not be read is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GlanceSeen {
    /// Counters.
    pub nics: Vec<Glanced>,
    /// Links.
    pub links: Vec<(IfName, LinkSeen)>,
}

/// A NIC whose counters are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlanceAt {
    /// The NIC.
    pub nic: NicId,
    /// Its tap.
    pub tap: IfName,
    /// The VF that it has.
    pub vf: Option<PciAddress>,
}

/// What they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glanced {
    /// What was looked at.
    pub at: GlanceAt,
    /// Frames that came by the tap.
    pub frames: Option<u64>,
    /// Vectors that the guest has enabled.
    pub vectors: Option<u32>,
}

/// What became of one action.
#[derive(Debug)]
pub struct Done {
    /// The NIC that it was for.
    pub nic: Option<NicId>,
    /// The action.
    pub action: Action,
    /// How it ended; `None` if it was left out because one before it failed.
    pub result: Option<Result<Outcome, Failure>>,
    /// How long it took.
    pub took: Duration,
}

/// What an action brought that cannot be told from the action.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// What a VF carries now.
    pub attributes: Option<VfAttributes>,
    /// What was staged on a definition, in words.
    pub staged: Vec<String>,
    /// There was nothing to release, or to unplug.
    pub nothing_left: bool,
}

/// Why an action was not done.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// In words.
    pub problem: Problem,
    /// What it means for what is done next.
    pub kind: FailureKind,
}

/// Kinds of failures that are not all the same to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The tap has a queueing discipline of somebody else, which is policy: there is no place for ours.
    PlaceTaken,
    /// There is no hold queue for another reason.
    NoPlaceForHold,
    /// QEMU has a device of that name left.
    DeviceLeft,
    /// Somebody else was given the device a moment ago.
    DeviceTaken,
    /// Somebody else does something with the VM.
    Busy,
    /// Any other.
    Refused,
}
