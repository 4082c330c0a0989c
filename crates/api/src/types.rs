//! Bodies of requests and answers.

use accelnet_model::{
    AdapterMatch, AdapterName, AdapterStatus, Code, Counted, IfName, Intent, IntentOnNode,
    IntentType, Interrupts, Isolated, LevelQueuePairs, LevelTxRates, Levels, MacAddr, Name,
    NicPath, NicStatus, PciAddress, Performance, Problem, Progress, VfCount, VfDriver, VmState,
    Waiver, WhenToCreateVfs,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A list, or a page of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Items<T> {
    /// The elements.
    pub items: Vec<T>,
    /// There are more: `after` of the next page. What it is made of is nobody's business.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> From<Vec<T>> for Items<T> {
    /// All elements.
    fn from(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// An error as the API sends it: RFC 9457 problem details, with our catalogue's fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// Link to the catalogue's page of this code.
    #[serde(rename = "type")]
    pub kind: String,
    /// HTTP status.
    pub status: u16,
    /// The first problem; its fields stand at the top level.
    #[serde(flatten)]
    pub problem: Problem,
    /// All problems, if there is more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl ProblemDocument {
    /// Every problem that it tells of.
    pub fn into_problems(self) -> Vec<Problem> {
        if self.problems.is_empty() {
            vec![self.problem]
        } else {
            self.problems
        }
    }
}

/// The cluster at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterStatus {
    /// The server's version.
    pub version: String,
    /// Acceleration, if it is enabled.
    pub enabled: Option<EnabledStatus>,
    /// The nodes.
    pub nodes: Vec<NodeSummary>,
    /// VMs that are parked.
    #[serde(default)]
    pub vms_parked: u32,
    /// What is wrong with the cluster as a whole.
    pub problems: Vec<Problem>,
}

/// Acceleration as it is enabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnabledStatus {
    /// The intent.
    pub intent: Name,
    /// Percentage of nodes that may be down at once.
    pub node_reserve_percentage: u8,
    /// The reserve as it was given, if it was given as a number of nodes; the percentage follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_down: Option<u32>,
    /// How many nodes may be down at once: min(⌈N·p/100⌉, N−1), or min(K, N−1) of a number K.
    pub nodes_down_tolerated: u32,
    /// When missing VFs may be created.
    pub when: WhenToCreateVfs,
}

/// One node at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeSummary {
    /// Its name.
    pub name: Name,
    /// It reports.
    pub reachable: bool,
    /// Nothing is left to do for what is wanted.
    pub converged: bool,
    /// What is left waits out a rest after a failure; the VMs concerned say why.
    #[serde(default)]
    pub resting: bool,
    /// VFs on the adapters of the enabled intent.
    pub vfs: u32,
    /// Those in use by accelerated VMs.
    pub vfs_used: u32,
    /// VMs on the node.
    pub vms: u32,
    /// VMs of which every wanted NIC really uses a VF.
    pub vms_accelerated: u32,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// A VM: what is wanted and what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vm {
    /// Name on its node.
    pub name: String,
    /// Identity.
    pub uuid: Uuid,
    /// Where it is; `None` if no node has it now.
    pub node: Option<Name>,
    /// Run state.
    pub state: VmState,
    /// Wanted level on the enabled intent; `None` if acceleration is not wanted there. While no intent
    /// is enabled: the highest of those that are kept.
    pub level: Option<Performance>,
    /// It is kept on its software path for a while on purpose; its level and its capacity stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Parked>,
    /// Rules of its ports that need not hold on a VF, as somebody decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<Waiver>,
    /// vCPUs.
    pub vcpus: u32,
    /// Effective state of its NICs, from evidence.
    pub nics: Vec<NicStatus>,
    /// The node has not yet taken up the last change of what is wanted (its report is about an older
    /// generation), so the rest of this object may still tell of the time before.
    #[serde(default)]
    pub pending: bool,
    /// A change in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The last change failed (`problems` says why) and is tried again by itself after a rest.
    #[serde(default)]
    pub resting: bool,
    /// Changes staged for its next cold start.
    #[serde(default)]
    pub staged: Vec<String>,
    /// What keeps it from the wanted state.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// What was counted of its NICs, if that was asked for (`traffic=true` of one VM).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<NicTraffic>,
}

/// What was counted of a NIC's packets, on each of its paths. Counters begin again when a tap or a VF is made anew, and a VF's
/// go on when it goes from one VM to the next: only their differences say something of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NicTraffic {
    /// The NIC.
    pub mac: MacAddr,
    /// The path that it is on.
    pub path: NicPath,
    /// Since when, if it has changed since the server that decides has begun to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// How often it changed between VF and switch within the last hour, as far as the server that decides has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switches_last_hour: Option<u32>,
    /// By the VF that it has, as the adapter's driver counts; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vf: Option<Counted>,
    /// By the switch: at its tap, as the guest sees it; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<Counted>,
    /// Interrupts of the VF, which show that a driver in the guest drives it also where nothing is counted by VF; absent if it
    /// has none, or they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupts: Option<Interrupts>,
}

impl Vm {
    /// True if what is wanted is in effect for all its NICs on the enabled intent's bridge; the others
    /// are nobody's business.
    pub fn settled(&self) -> bool {
        if self.pending || self.progress.is_some() {
            return false;
        }
        let managed = || self.nics.iter().filter(|nic| nic.managed);
        match self.level {
            Some(_) if self.parked.is_none() => {
                managed().next().is_some() && managed().all(|nic| nic.path == NicPath::Vf)
            }
            // A VF that the guest keeps may be on its way back to being used.
            _ => managed().all(|nic| nic.path != NicPath::Vf && nic.vf.is_none()),
        }
    }

    /// True if its node has done what can be done before the VM's next cold start, which brings the
    /// rest.
    pub fn waits_for_start(&self) -> bool {
        let brings = |problem: &Problem| {
            matches!(
                problem.code,
                Code::VmNotRunning | Code::VmNeedsColdStart | Code::VmNoFreeRootPort
            )
        };
        let waits = self.state == VmState::Off || !self.problems.is_empty();
        let quiet = !self.pending && self.progress.is_none();
        quiet && waits && !self.staged.is_empty() && self.problems.iter().all(brings)
    }

    /// NICs that use a VF and are not managed: accelerated on another intent, they keep it.
    pub fn kept_vfs(&self) -> impl Iterator<Item = &NicStatus> {
        let all = self.nics.iter();
        all.filter(|nic| !nic.managed && nic.vf.is_some())
    }
}

/// How long a VM is kept on its software path: until all of this is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Parked {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// It ends by itself then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// It lasts until the VM's node has started again.
    pub until_boot: bool,
    /// It lasts until somebody unparks the VM.
    pub until_unparked: bool,
    /// It lasts until the VM runs on this node, which it is being moved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<Name>,
    /// The same in words.
    pub because: String,
}

/// An adapter with its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Adapter {
    /// Where it is.
    pub node: Name,
    /// Intent that it belongs to.
    pub intent: Option<Name>,
    /// Queue pairs of each of its VFs, if known.
    pub queue_pairs_per_vf: Option<u32>,
    /// Levels it can give.
    pub levels: Vec<Performance>,
    /// It is taken out of the pool: since when and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<Isolated>,
    /// Facts, quarantined VFs and problems.
    #[serde(flatten)]
    pub status: AdapterStatus,
}

/// Body of `POST /adapters/{node}/{name}/isolate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IsolateRequest {
    /// Why, for those who see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// Body of `PUT /acceleration`: enable accelerated networking for an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnableRequest {
    /// The intent.
    pub intent: String,
    /// Percentage of nodes that may be down at once, 0..=99. If no reserve is said: as it is enabled
    /// now, else 50.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 99)]
    pub node_reserve_percentage: Option<i64>,
    /// How many nodes may be down at once, instead of the percentage; fewer than there are.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 4294967295_u32)]
    pub nodes_down: Option<i64>,
    /// When missing VFs may be created. If it is not said: as it is enabled now, else `empty`.
    #[serde(default)]
    pub when: Option<WhenToCreateVfs>,
}

/// Body of `PATCH /acceleration`: change how acceleration is enabled. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1)]
pub struct SetRequest {
    /// Another intent: the present configuration is disabled, and this one enabled.
    #[serde(default)]
    pub intent: Option<String>,
    /// Percentage of nodes that may be down at once, 0..=99.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 99)]
    pub node_reserve_percentage: Option<i64>,
    /// How many nodes may be down at once, instead of the percentage; fewer than there are.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 4294967295_u32)]
    pub nodes_down: Option<i64>,
    /// When missing VFs may be created.
    #[serde(default)]
    pub when: Option<WhenToCreateVfs>,
}

/// Body of `PUT /vms/{vm}/acceleration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccelerateRequest {
    /// The wanted level.
    pub performance: Performance,
    /// The VM must (`true`) or must not (`false`) be accelerated already; both if left out.
    #[serde(default)]
    pub must_be_accelerated: Option<bool>,
    /// If the VM has no NIC on the intent's bridge, add a virtio NIC there: while it runs if it has two
    /// free PCIe root ports, else from its next cold start on. A VM that is off is not refused then.
    #[serde(default)]
    pub add_adapter: bool,
    /// Names of rules of its ports (in brackets in `policy_not_offloadable`) that need not hold on a VF, besides
    /// those that are waived already. Each must be there.
    #[serde(default)]
    pub waive: Vec<String>,
    /// Why they are waived, in a person's words.
    #[serde(default)]
    pub because: Option<String>,
}

/// Body of `PUT /vms/{vm}/park`: how long. With neither, until the VM is unparked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParkRequest {
    /// For so many seconds from now on, a year at most.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 31536000)]
    pub for_seconds: Option<u64>,
    /// Until the VM's node has started again. What it was parked for before holds too.
    #[serde(default)]
    pub until_boot: bool,
}

/// Body of `PUT /vms/{vm}/move`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// The node that it shall run on.
    pub to: String,
    /// It is given up after so many seconds, a day at most; 600 if it is not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400)]
    pub for_seconds: Option<u64>,
    /// Also if the node could not give it its VFs: it goes by the switch there until it can.
    #[serde(default)]
    pub without_vf: bool,
}

/// What a request does or, with `?dry_run=true`, would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome<T> {
    /// True if nothing was changed because only the plan was asked for.
    pub dry_run: bool,
    /// True if it differs from what was wanted before.
    pub changed: bool,
    /// The steps, in order, in words.
    pub plan: Vec<String>,
    /// The object as it is after the request (before the agents have acted).
    pub object: T,
}

/// Body of `POST /intents`: an [`Intent`], with nothing that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewIntent {
    /// Unique name.
    pub name: Name,
    /// At least one type.
    #[schema(min_items = 1)]
    pub types: Vec<IntentType>,
    /// Names of the adapters (PFs), the interfaces' own or alternative ones; the same on every node.
    #[serde(default)]
    pub adapters: Vec<AdapterName>,
    /// A rule that says which adapters carry it, instead of names.
    #[serde(default, rename = "match")]
    pub matching: Option<AdapterMatch>,
    /// The Linux bridge that the VMs' NICs are on; it exists, unless `create` is set.
    pub bridge: IfName,
    /// Make the bridge, on an adapter that nobody manages.
    #[serde(default)]
    pub create: bool,
    /// How many VFs each adapter shall have.
    #[serde(default)]
    pub vfs: VfCount,
    /// What the performance levels are here.
    #[serde(default)]
    pub levels: Levels,
    /// The driver that hands VFs to VMs: `auto`, or its name.
    #[serde(default)]
    pub vf_driver: VfDriver,
    /// VFs that are somebody else's, by PCI address.
    #[serde(default)]
    pub exclude_vfs: Vec<PciAddress>,
}

/// Body of `PATCH /intents/{name}`: what changes. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeIntent {
    /// At least one type.
    #[serde(default)]
    #[schema(min_items = 1)]
    pub types: Option<Vec<IntentType>>,
    /// Names of the adapters (PFs), all of them.
    #[serde(default)]
    pub adapters: Option<Vec<AdapterName>>,
    /// A rule that says which adapters carry it, instead of names.
    #[serde(default, rename = "match")]
    pub matching: Option<AdapterMatch>,
    /// Another existing Linux bridge.
    #[serde(default)]
    pub bridge: Option<IfName>,
    /// How many VFs each adapter shall have.
    #[serde(default)]
    pub vfs: Option<VfCount>,
    /// Queue pairs of each level.
    #[serde(default)]
    pub queue_pairs: Option<LevelQueuePairs>,
    /// The most that a VM of each level may send, in Mbit/s; a level that is not named has no limit.
    #[serde(default)]
    pub max_tx_rate_mbps: Option<LevelTxRates>,
    /// The driver that hands VFs to VMs: `auto`, or its name.
    #[serde(default)]
    pub vf_driver: Option<VfDriver>,
    /// VFs that are somebody else's, by PCI address, all of them.
    #[serde(default)]
    pub exclude_vfs: Option<Vec<PciAddress>>,
}

impl From<NewIntent> for Intent {
    fn from(new: NewIntent) -> Self {
        let NewIntent {
            name,
            types,
            adapters,
            matching,
            bridge,
            create,
            vfs,
            levels,
            vf_driver,
            exclude_vfs,
        } = new;
        Self {
            name,
            types,
            adapters,
            matching,
            bridge,
            create,
            vfs,
            levels,
            vf_driver,
            exclude_vfs,
        }
    }
}

/// An intent, and what became of it on each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IntentStatus {
    /// The intent as it is wanted.
    #[serde(flatten)]
    pub intent: Intent,
    /// How far each node is with it.
    pub status: Vec<IntentOnNode>,
}

/// One line of the watch protocol (`?watch=true`): NDJSON, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WatchLine<T> {
    /// What happened.
    #[serde(flatten)]
    pub event: WatchEvent<T>,
    /// Whoever has read up to here knows the state at this revision, and can go on after it with
    /// `from`. Lines without one are part of something that is not whole yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl<T> From<WatchEvent<T>> for WatchLine<T> {
    /// A line after which nobody can go on.
    fn from(event: WatchEvent<T>) -> Self {
        Self {
            event,
            revision: None,
        }
    }
}

/// What a line of a watch tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "event", content = "object")]
pub enum WatchEvent<T> {
    /// The object as it is now: first for every object, then at each change.
    Put(T),
    /// It is gone; its identity.
    Gone(String),
    /// Everything there was at the start has been sent.
    Synced,
    /// Nothing changed for a while; the connection is alive.
    Alive,
    /// The reader is too slow for what changes: this watch ends, and another without `from` begins with
    /// everything that there is.
    StartOver,
}
