//! Capacity questions from a file: planning without a server, and checks from outside.
//!
//! ```json
//! {"reserve_percentage": 50, "down": ["node2"],
//!  "nodes": [{"name": "node1", "adapters": [{"name": "pf0", "vfs": 7, "queue_pairs_per_vf": 2}]}],
//!  "vms": [{"name": "a", "level": "Low", "nics": 1, "node": "node1", "adapters": ["pf0"]}],
//!  "add": [{"name": "b", "level": "High", "nics": 2}]}
//! ```
//! VMs of `vms` are admitted as they are; those of `add` are off and are decided one after the other.

use accelnet_model::{Code, Performance, Problem};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Adapter, Capacity, Node, Queues, Reserve, Vm};

/// More than any card has, so that sums stay far from overflowing: VFs are numbered by 16 bits (PCI
/// Express, SR-IOV capability: NumVFs), and the largest cards have some thousands of vectors.
const MOST_VFS: u32 = 65_535;
const MOST_QUEUE_PAIRS: u32 = 1 << 20;
const MOST_NICS: u32 = 1024;

/// A capacity question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityFile {
    /// Percentage of nodes that may be down at once, 0..=99.
    #[serde(default = "default_reserve")]
    pub reserve_percentage: i64,
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
}

fn default_reserve() -> i64 {
    50
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
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
    /// `reserve_out_of_range`, or `invalid_argument` for whatever else cannot be: names that are empty,
    /// occur twice or do not exist, a VM without NICs, an adapter with both or no number of queue pairs.
    pub fn answer(self) -> Result<CapacityReport, Problem> {
        let percent = u8::try_from(self.reserve_percentage)
            .ok()
            .filter(|percent| *percent <= 99)
            .ok_or_else(|| {
                let text = format!("{} is not from 0 to 99.", self.reserve_percentage);
                Problem::new(Code::ReserveOutOfRange, text)
            })?;
        let nodes: Result<Vec<Node>, Problem> =
            self.nodes.into_iter().map(NodeEntry::check).collect();
        let mut capacity = Capacity::new(nodes?, Reserve::Percentage(percent))?;
        for vm in self.vms {
            capacity.put(vm.check()?)?;
        }
        for node in &self.down {
            capacity.set_down(node, true)?;
        }
        let holds = capacity.holds().is_ok();
        let (mut admitted, mut refused) = (Vec::new(), Vec::new());
        for vm in self.add {
            let vm = vm.check()?;
            if vm.node.is_some() {
                let text = format!("VM '{}' of 'add' is off, so it has no node.", vm.name);
                return Err(Problem::new(Code::InvalidArgument, text));
            }
            let name = vm.name.clone();
            match capacity.admit(vm) {
                Ok(()) => admitted.push(name),
                Err(refusal) if refusal.code == Code::InvalidArgument => {
                    return Err(refusal.into_problem(&name));
                }
                Err(refusal) => refused.push(Refused {
                    name,
                    code: refusal.code,
                    reason: refusal.reason,
                    counterexample: refusal.counterexample,
                }),
            }
        }
        Ok(CapacityReport {
            nodes_down_tolerated: capacity.nodes_down_tolerated(),
            holds,
            admitted,
            refused,
            fits_more: FitsMore {
                low: capacity.fits_more(Performance::Low),
                medium: capacity.fits_more(Performance::Medium),
                high: capacity.fits_more(Performance::High),
            },
        })
    }
}

fn invalid<T>(text: String) -> Result<T, Problem> {
    Err(Problem::new(Code::InvalidArgument, text))
}

/// Names stand in tables and shell lines.
fn named(kind: &str, name: String) -> Result<String, Problem> {
    if name.is_empty() || name.chars().any(char::is_control) || name.len() > 255 {
        let shown: String = name
            .chars()
            .take(80)
            .flat_map(char::escape_default)
            .collect();
        return invalid(format!(
            "'{shown}' cannot be the name of a {kind}: it is empty, longer than 255 bytes or has control \
             characters."
        ));
    }
    Ok(name)
}

impl NodeEntry {
    fn check(self) -> Result<Node, Problem> {
        let adapters: Result<Vec<Adapter>, Problem> =
            self.adapters.into_iter().map(AdapterEntry::check).collect();
        Ok(Node {
            name: named("node", self.name)?,
            adapters: adapters?,
            down: false,
        })
    }
}

impl AdapterEntry {
    fn check(self) -> Result<Adapter, Problem> {
        let name = named("adapter", self.name)?;
        let queues = match (self.queue_pairs_total, self.queue_pairs_per_vf) {
            (Some(total), None) if total <= MOST_QUEUE_PAIRS => Queues::Pool { total },
            (None, Some(pairs)) if pairs <= MOST_QUEUE_PAIRS => Queues::PerVf { pairs },
            (Some(_), Some(_)) | (None, None) => {
                return invalid(format!(
                    "Adapter '{name}' needs one of queue_pairs_total and queue_pairs_per_vf."
                ));
            }
            _ => return invalid(format!("Adapter '{name}' has too many queue pairs.")),
        };
        if self.vfs > MOST_VFS {
            return invalid(format!("Adapter '{name}' has more than {MOST_VFS} VFs."));
        }
        Ok(Adapter {
            name,
            vfs: self.vfs,
            queues,
        })
    }
}

impl VmEntry {
    fn check(self) -> Result<Vm, Problem> {
        let name = named("VM", self.name)?;
        if !(1..=MOST_NICS).contains(&self.nics) {
            return invalid(format!(
                "VM '{name}' has {} NICs; 1 to {MOST_NICS} are possible.",
                self.nics
            ));
        }
        Ok(Vm {
            name,
            level: self.level,
            nics: self.nics,
            node: self.node,
            adapters: self.adapters,
        })
    }
}
