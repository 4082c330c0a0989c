//! Capacity: what there is, what is given out, what the reserve holds back.

use accelnet_model::{Name, Performance, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A number of VMs with one NIC for each level, each level alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PerLevel {
    /// Low.
    pub low: u64,
    /// Medium.
    pub medium: u64,
    /// High.
    pub high: u64,
}

/// What a node, or all of them, can give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CapacityFigures {
    /// VFs that are for VMs: those that others use are counted out.
    pub vfs: u64,
    /// VFs given out to running VMs.
    pub vfs_used: u64,
    /// Queue pairs of those VFs, or of the pools that they draw from.
    pub queue_pairs: u64,
    /// Queue pairs given out.
    pub queue_pairs_used: u64,
    /// NICs that fit beside what runs there now, the reserve left aside; none on a node that is down.
    pub free: PerLevel,
    /// What of `free` must stay free: for VMs that are off, and for nodes that may go down.
    pub held_back: PerLevel,
    /// VMs with one NIC that could still be admitted, one after the other: all on this node or, in
    /// total, anywhere. Nodes' numbers do not add up to the total: they share one reserve.
    pub fits_more: PerLevel,
}

/// One node's capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeCapacity {
    /// The node.
    pub name: Name,
    /// It does not answer; its VFs cannot be counted on.
    pub down: bool,
    /// Its figures.
    #[serde(flatten)]
    pub figures: CapacityFigures,
}

/// The largest reserve that would still hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LargestReserve {
    /// As a percentage of the nodes.
    pub node_reserve_percentage: u8,
    /// As a number of nodes.
    pub nodes_down: u32,
}

/// Where a VM would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmMove {
    /// The VM.
    pub vm: String,
    /// Its identity.
    pub uuid: Uuid,
    /// Its level.
    pub level: Performance,
    /// Where it runs now; `None` if it is off.
    pub from: Option<Name>,
    /// Where it would have its VFs.
    pub to: Name,
    /// Adapter of each of its NICs there.
    pub adapters: Vec<String>,
}

/// A VM that would be left without VFs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmWithoutRoom {
    /// The VM.
    pub vm: String,
    /// Its identity.
    pub uuid: Uuid,
    /// Its level.
    pub level: Performance,
    /// Where it runs now; `None` if it is off.
    pub from: Option<Name>,
}

/// What would become of VMs if some nodes were down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Without {
    /// The nodes, besides those that are down now.
    pub nodes: Vec<Name>,
    /// VMs on those nodes, and VMs that are off, with a place.
    pub placements: Vec<VmMove>,
    /// Those without: they would run on the software path.
    pub without_room: Vec<VmWithoutRoom>,
}

/// `GET /capacity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    /// The enabled intent.
    pub intent: Name,
    /// Percentage of nodes that may be down at once.
    pub node_reserve_percentage: u8,
    /// How many nodes may be down at once: min(⌈N·p/100⌉, N−1), or min(K, N−1) if the reserve was given
    /// as a number K; the percentage follows it then.
    pub nodes_down_tolerated: u32,
    /// Whichever so many nodes are down, every admitted VM has its VFs somewhere.
    pub holds: bool,
    /// The largest reserve that would still hold; `None` if even none does not.
    pub largest_reserve: Option<LargestReserve>,
    /// All nodes together.
    pub total: CapacityFigures,
    /// Each node.
    pub nodes: Vec<NodeCapacity>,
    /// What would become of VMs, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<Without>,
    /// How far the reserve is short.
    pub problems: Vec<Problem>,
}

/// What one node could do for a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmPlace {
    /// The node.
    pub node: Name,
    /// The VM is on it now.
    pub present: bool,
    /// The node does not answer.
    pub down: bool,
    /// All NICs of the VM would find VFs there now.
    pub fits: bool,
    /// With the VM there the reserve would hold.
    pub keeps_reserve: bool,
    /// Adapter of each of its NICs, if it fits.
    pub adapters: Vec<String>,
}

/// `GET /vms/{vm}/where`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmPlaces {
    /// The VM.
    pub vm: String,
    /// Its identity.
    pub uuid: Uuid,
    /// The level that was asked about.
    pub level: Performance,
    /// Its NICs on the intent's bridge.
    pub nics: u32,
    /// Every node.
    pub nodes: Vec<VmPlace>,
}
