//! What capacity is counted in: nodes, adapters, VMs.

use accelnet_model::{ClusterEnable, Code, Performance, Problem};

use super::nodes_down_tolerated;

/// Where the queue pairs of an adapter's VFs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queues {
    /// VFs draw what their level needs from a pool of this many queue pairs.
    Pool {
        /// Queue pairs of the adapter.
        total: u32,
        /// The most that one VF can have; `None` if there is no such limit.
        most_per_vf: Option<u32>,
    },
    /// Every VF has this many; a VF takes one whatever the level, if it has enough for it.
    PerVf {
        /// Queue pairs of each VF.
        pairs: u32,
    },
}

impl Queues {
    /// A pool of which a VF can have as many queue pairs as it needs.
    pub fn pool(total: u32) -> Self {
        let most_per_vf = None;
        Self::Pool { total, most_per_vf }
    }

    /// The most that a VF can have.
    pub(super) fn most_per_vf(self) -> u32 {
        match self {
            Self::Pool { total, most_per_vf } => most_per_vf.unwrap_or(total).min(total),
            Self::PerVf { pairs } => pairs,
        }
    }
}

/// An adapter of the intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Its name on the node.
    pub name: String,
    /// VFs that can be given to VMs (those of others are counted out).
    pub vfs: u32,
    /// Their queue pairs.
    pub queues: Queues,
}

/// A node of the intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its adapters of the intent.
    pub adapters: Vec<Adapter>,
    /// Down or drained now.
    pub down: bool,
}

/// An accelerated VM, or one that asks to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    /// Its name or other identity; unique.
    pub name: String,
    /// Its level.
    pub level: Performance,
    /// NICs on the intent's switch, 1 or more.
    pub nics: u32,
    /// Where it runs; `None` if it is off.
    pub node: Option<String>,
    /// Adapter of each NIC, if it runs and they are known. They are kept while the node is up.
    pub adapters: Option<Vec<String>>,
}

/// How much is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// Percentage of the nodes, 0..=99.
    Percentage(u8),
    /// This many nodes.
    NodesDown(usize),
}

impl Reserve {
    /// How many of `nodes` may be down; one is left at least.
    pub fn nodes_down(self, nodes: usize) -> usize {
        match self {
            Self::Percentage(percent) => nodes_down_tolerated(nodes, percent),
            Self::NodesDown(count) => count.min(nodes.saturating_sub(1)),
        }
    }

    /// The share of `nodes` that may be down, in whole percent. Where the reserve is a number of nodes
    /// this says less than the number: of more than a hundred nodes one is 0 %.
    pub fn percentage(self, nodes: usize) -> u8 {
        match self {
            Self::Percentage(percent) => percent,
            Self::NodesDown(_) => {
                let share = 100 * self.nodes_down(nodes) / nodes.max(1);
                u8::try_from(share).unwrap_or(99).min(99)
            }
        }
    }
}

impl From<&ClusterEnable> for Reserve {
    fn from(enabled: &ClusterEnable) -> Self {
        match enabled.nodes_down {
            Some(count) => Self::NodesDown(count as usize),
            None => Self::Percentage(enabled.node_reserve_percentage),
        }
    }
}

/// Why a VM is not admitted, or why the reserve is not kept. Nodes are numbers in the order in which the
/// cluster was given them; [`Capacity::explain`](super::Capacity::explain) has the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There cannot be such a VM in this cluster.
    Invalid(Problem),
    /// No adapter has as many queue pairs for a VF as the level needs.
    LevelTooHigh {
        /// The level.
        level: Performance,
        /// Queue pairs of a NIC of it.
        queue_pairs: u64,
    },
    /// More nodes are down than the reserve tolerates.
    TooManyDown {
        /// The nodes.
        down: Vec<u32>,
        /// How many it tolerates.
        tolerated: usize,
    },
    /// A node gives out more than it has, so that a set of nodes without it leaves too little.
    Overdrawn {
        /// The node.
        node: u32,
        /// The others, as many as may be down.
        lost: Vec<u32>,
    },
    /// If some nodes were down, the others could not take everything.
    Short(Shortage),
}

/// What there would be too little of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Nodes that leave too little if they are down.
    pub lost: Vec<u32>,
    /// False if it could not be shown to fit, nor that it does not.
    pub proved: bool,
    /// NICs of each level (Low, Medium, High) that would have to find room on the others.
    pub demand: [u64; 3],
    /// NICs that fit there, each level alone.
    pub places: [u64; 3],
}

impl Refusal {
    /// Catalogue entry.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(problem) => problem.code,
            Self::LevelTooHigh { .. } => Code::CannotProvisionPerformance,
            Self::TooManyDown { .. } | Self::Overdrawn { .. } | Self::Short(_) => {
                Code::ClusterNotEnoughResources
            }
        }
    }

    /// Nodes that would leave too little if they were down. Empty if no node need be down for it.
    pub fn counterexample(&self) -> &[u32] {
        match self {
            Self::Invalid(_) | Self::LevelTooHigh { .. } => &[],
            Self::TooManyDown { down, .. } => down,
            Self::Overdrawn { lost, .. } | Self::Short(Shortage { lost, .. }) => lost,
        }
    }
}
