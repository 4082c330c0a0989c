//! Capacity questions from a file: planning without a server, and checks from outside.
//!
//! ```json
//! {"node_reserve_percentage": 50, "down": ["node2"],
//!  "nodes": [{"name": "node1", "adapters": [{"name": "pf0", "vfs": 7, "queue_pairs_per_vf": 2}]}],
//!  "vms": [{"name": "a", "level": "low", "nics": 1, "node": "node1", "adapters": ["pf0"]}],
//!  "add": [{"name": "b", "level": "high", "nics": 2}]}
//! ```
//! VMs of `vms` are admitted as they are; those of `add` are off and are decided one after the other.

mod check;

use accelnet_model::{Code, Performance, Problem};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Capacity, Refusal, budget::Budget, case::Case};

/// A capacity question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityFile {
    /// Percentage of nodes that may be down at once, 0..=99; 50 if nothing is said.
    #[serde(
        default,
        alias = "reserve_percentage",
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub node_reserve_percentage: Option<i64>,
    /// Nodes that are down now.
    #[serde(default)]
    pub down: Vec<String>,
    /// All nodes.
    pub nodes: Vec<NodeEntry>,
    /// Accelerated VMs.
    #[serde(default)]
    pub vms: Vec<VmEntry>,
    /// VMs that ask to be.
    #[serde(default)]
    pub add: Vec<VmEntry>,
    /// How many nodes may be down at once, instead of the percentage; fewer than there are.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub nodes_down: Option<i64>,
    /// What levels cost, if not what they do by default.
    #[serde(default)]
    pub queue_pairs_per_level: LevelQueuePairs,
}

/// `null` is not the same as nothing.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    i64::deserialize(deserializer).map(Some)
}

/// Queue pairs of a NIC of each level; each number divides the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LevelQueuePairs {
    /// Low.
    #[serde(alias = "Low")]
    pub low: u32,
    /// Medium.
    #[serde(alias = "Medium")]
    pub medium: u32,
    /// High.
    #[serde(alias = "High")]
    pub high: u32,
}

impl Default for LevelQueuePairs {
    fn default() -> Self {
        let [low, medium, high] = Performance::ALL.map(Performance::queue_pairs);
        Self { low, medium, high }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// Its adapters.
    pub adapters: Vec<AdapterEntry>,
}

/// An adapter; exactly one of the two numbers of queue pairs is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterEntry {
    /// Its name on the node.
    pub name: String,
    /// Its VFs.
    pub vfs: u32,
    /// Queue pairs that its VFs draw from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_pairs_total: Option<u32>,
    /// The most of them that one VF can have, if there is such a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_pairs_max_per_vf: Option<u32>,
    /// Queue pairs that each of its VFs has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_pairs_per_vf: Option<u32>,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmEntry {
    /// Its name.
    pub name: String,
    /// Its level, in upper or lower case.
    #[serde(deserialize_with = "level")]
    pub level: Performance,
    /// NICs on the intent's switch.
    #[serde(default = "one")]
    pub nics: u32,
    /// Where it runs; left out if it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Adapter of each NIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Vec<String>>,
}

fn one() -> u32 {
    1
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Performance, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityReport {
    /// How many nodes may be down at once.
    pub nodes_down_tolerated: usize,
    /// Whether the reserve is kept by the VMs of `vms` alone.
    pub holds: bool,
    /// VMs of `add` that are admitted, in order.
    pub admitted: Vec<String>,
    /// The others.
    pub refused: Vec<Refused>,
    /// How many more VMs with one NIC would be admitted after all that.
    pub fits_more: FitsMore,
}

/// A VM that is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The VM.
    pub name: String,
    /// Catalogue entry.
    pub code: Code,
    /// What is missing, in words.
    pub reason: String,
    /// Nodes whose loss would leave too little.
    pub counterexample: Vec<String>,
}

/// How many more VMs of each level fit; each level for itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FitsMore {
    /// Low.
    pub low: u64,
    /// Medium.
    pub medium: u64,
    /// High.
    pub high: u64,
}

impl CapacityFile {
    /// Answers the question.
    ///
    /// # Errors
    /// `reserve_out_of_range`, or `invalid_argument` for whatever else cannot be, with the field's
    /// name: names that are empty, occur twice or do not exist, a VM without NICs or with another
    /// number of adapters, an adapter with both or no number of queue pairs.
    pub fn answer(self) -> Result<CapacityReport, Problem> {
        let question = check::check(self)?;
        let mut capacity = Capacity::with_costs(question.nodes, question.reserve, question.costs)?;
        for vm in question.vms {
            capacity.put(vm)?;
        }
        let mut budget = Budget::of_a_question();
        let holds = Case::now(&capacity).verdict(&mut budget).is_ok();
        let (mut admitted, mut refused) = (Vec::new(), Vec::new());
        for vm in question.add {
            let (name, kind) = (vm.name.clone(), (vm.level, vm.nics));
            match capacity.admit_within(vm, &mut budget) {
                Ok(()) => admitted.push(name),
                Err(Refusal::Invalid(problem)) => return Err(problem.about("vm", name)),
                Err(refusal) => {
                    let mut explained = capacity.explain(&refusal, Some(&name));
                    if let Refusal::Short(shortage) = &refusal {
                        let own = capacity.nowhere(&shortage.lost, &name, kind);
                        explained.reason.extend(own);
                    }
                    let names = explained.counterexample.iter();
                    refused.push(Refused {
                        name,
                        code: explained.code,
                        reason: explained.reason,
                        counterexample: names.map(|name| name.to_string()).collect(),
                    });
                }
            }
        }
        Ok(CapacityReport {
            nodes_down_tolerated: capacity.nodes_down_tolerated(),
            holds,
            admitted,
            refused,
            fits_more: capacity.fits_more_of_each(),
        })
    }
}

#[cfg(test)]
mod tests;
