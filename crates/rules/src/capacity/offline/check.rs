//! What cannot be in a capacity question, by the name of its field.
//!
//! All of it is looked at before anything is decided, so that a wrong line at the end of a file is told
//! and not answered around.

use std::collections::{HashMap, HashSet};

use accelnet_model::{Code, Problem};

use super::{AdapterEntry, CapacityFile, LevelQueuePairs, NodeEntry, VmEntry};
use crate::capacity::{Adapter, LevelCosts, Node, Queues, Reserve, Vm};

/// The reference's default.
const DEFAULT_PERCENT: i64 = 50;
/// More than any card has, so that sums stay far from overflowing: VFs are numbered by 16 bits (PCI
/// Express, SR-IOV capability: NumVFs), and the largest cards have some thousands of vectors.
const MOST_VFS: u32 = 65_535;
const MOST_QUEUE_PAIRS: u32 = 1 << 20;
/// Every VF needs a root port, which has a bus number of its own, of which there are 256.
const MOST_NICS: u32 = 256;
/// A name longer than this is a mistake.
const MOST_NAME_BYTES: usize = 255;

/// A question that can be asked.
pub(super) struct Question {
    pub(super) reserve: Reserve,
    pub(super) costs: LevelCosts,
    pub(super) nodes: Vec<Node>,
    pub(super) vms: Vec<Vm>,
    pub(super) add: Vec<Vm>,
}

/// Names of nodes and of their adapters, as far as they are known.
type Adapters = HashMap<String, HashSet<String>>;

/// Takes a file apart.
pub(super) fn check(file: CapacityFile) -> Result<Question, Problem> {
    let reserve = reserve(&file)?;
    let costs = costs(file.queue_pairs_per_level)?;
    let mut adapters = Adapters::new();
    let mut nodes = Vec::with_capacity(file.nodes.len());
    for (number, entry) in file.nodes.into_iter().enumerate() {
        nodes.push(node(&format!("nodes[{number}]"), entry, &mut adapters)?);
    }
    let mut down = HashSet::new();
    for (number, name) in file.down.into_iter().enumerate() {
        let field = format!("down[{number}]");
        if !adapters.contains_key(&name) {
            return invalid(&field, format!("there is no node '{}'", shown(&name)));
        }
        if let Some(name) = down.replace(name) {
            return invalid(&field, format!("node '{}' is there twice", shown(&name)));
        }
    }
    for node in &mut nodes {
        node.down = down.contains(&node.name);
    }
    let mut names = HashSet::new();
    let vms = file.vms.into_iter().enumerate().map(|(number, entry)| {
        let vm = vm(&format!("vms[{number}]"), entry, &mut names)?;
        runs(&format!("vms[{number}]"), &vm, &adapters)?;
        Ok(vm)
    });
    let vms: Vec<Vm> = vms.collect::<Result<_, Problem>>()?;
    let add = file.add.into_iter().enumerate().map(|(number, entry)| {
        let field = format!("add[{number}]");
        let vm = vm(&field, entry, &mut names)?;
        let surplus = match (&vm.node, &vm.adapters) {
            (Some(_), _) => "node",
            (None, Some(_)) => "adapters",
            (None, None) => return Ok(vm),
        };
        let text = format!(
            "VM '{}' asks to be admitted, so it is off and has none",
            shown(&vm.name)
        );
        invalid(&format!("{field}.{surplus}"), text)
    });
    let add = add.collect::<Result<_, Problem>>()?;
    Ok(Question {
        reserve,
        costs,
        nodes,
        vms,
        add,
    })
}

fn invalid<T>(field: &str, text: impl AsRef<str>) -> Result<T, Problem> {
    let text = format!("{field}: {}.", text.as_ref());
    Err(Problem::new(Code::InvalidArgument, text).about("field", field))
}

/// A name that may be anything, as it can stand in a sentence.
fn shown(name: &str) -> String {
    let start = name.chars().take(80);
    start.flat_map(char::escape_debug).collect()
}

fn percent(given: i64) -> Result<u8, Problem> {
    let percent = u8::try_from(given).ok().filter(|percent| *percent <= 99);
    percent.ok_or_else(|| {
        let text = format!("node_reserve_percentage: {given} is not from 0 to 99.");
        Problem::new(Code::ReserveOutOfRange, text).about("field", "node_reserve_percentage")
    })
}

/// The reserve, as a percentage or a number of nodes.
fn reserve(file: &CapacityFile) -> Result<Reserve, Problem> {
    let Some(count) = file.nodes_down else {
        return percent(file.node_reserve_percentage.unwrap_or(DEFAULT_PERCENT))
            .map(Reserve::Percentage);
    };
    if file.node_reserve_percentage.is_some() {
        let text = "the reserve is said twice, here and as node_reserve_percentage";
        return invalid("nodes_down", text);
    }
    let nodes = file.nodes.len();
    let count = usize::try_from(count).ok();
    let possible = count.filter(|count| *count <= nodes.saturating_sub(1));
    possible.map(Reserve::NodesDown).ok_or_else(|| {
        let text = format!(
            "nodes_down: of {nodes} nodes, 0 to {} can be down.",
            nodes.saturating_sub(1)
        );
        Problem::new(Code::ReserveOutOfRange, text).about("field", "nodes_down")
    })
}

fn costs(given: LevelQueuePairs) -> Result<LevelCosts, Problem> {
    let LevelQueuePairs { low, medium, high } = given;
    if high > MOST_QUEUE_PAIRS {
        let text = format!("{high} is more than {MOST_QUEUE_PAIRS}");
        return invalid("queue_pairs_per_level.High", text);
    }
    match LevelCosts::new([low, medium, high]) {
        Some(costs) => Ok(costs),
        None => invalid(
            "queue_pairs_per_level",
            format!("of {low}, {medium} and {high} each must divide the next, and none be 0"),
        ),
    }
}

/// Names stand in tables and shell lines.
fn named(field: &str, name: &str) -> Result<(), Problem> {
    let wrong = match name {
        "" => "a name is not empty".to_owned(),
        _ if name.len() > MOST_NAME_BYTES => {
            format!("a name has {MOST_NAME_BYTES} bytes at most")
        }
        _ if name.chars().any(char::is_control) => {
            format!("'{}' has control characters", shown(name))
        }
        _ => return Ok(()),
    };
    invalid(&format!("{field}.name"), wrong)
}

fn node(field: &str, entry: NodeEntry, all: &mut Adapters) -> Result<Node, Problem> {
    named(field, &entry.name)?;
    let mut names = HashSet::new();
    let mut adapters = Vec::with_capacity(entry.adapters.len());
    for (number, entry) in entry.adapters.into_iter().enumerate() {
        let field = format!("{field}.adapters[{number}]");
        let adapter = adapter(&field, entry)?;
        if !names.insert(adapter.name.clone()) {
            let text = format!("adapter '{}' is there twice", shown(&adapter.name));
            return invalid(&format!("{field}.name"), text);
        }
        adapters.push(adapter);
    }
    if all.insert(entry.name.clone(), names).is_some() {
        let text = format!("node '{}' is there twice", shown(&entry.name));
        return invalid(&format!("{field}.name"), text);
    }
    Ok(Node {
        name: entry.name,
        adapters,
        down: false,
    })
}

fn adapter(field: &str, entry: AdapterEntry) -> Result<Adapter, Problem> {
    named(field, &entry.name)?;
    let within = |name: &str, value: u32, most: u32| {
        if value <= most {
            return Ok(value);
        }
        invalid(
            &format!("{field}.{name}"),
            format!("{value} is more than {most}"),
        )
    };
    let queues = match (entry.queue_pairs_total, entry.queue_pairs_per_vf) {
        (Some(total), None) => Queues::Pool {
            total: within("queue_pairs_total", total, MOST_QUEUE_PAIRS)?,
            most_per_vf: entry
                .queue_pairs_max_per_vf
                .map(|most| within("queue_pairs_max_per_vf", most, MOST_QUEUE_PAIRS))
                .transpose()?,
        },
        (None, Some(_)) if entry.queue_pairs_max_per_vf.is_some() => {
            return invalid(
                &format!("{field}.queue_pairs_max_per_vf"),
                "it is the limit of a pool, and queue_pairs_per_vf is none",
            );
        }
        (None, Some(pairs)) => Queues::PerVf {
            pairs: within("queue_pairs_per_vf", pairs, MOST_QUEUE_PAIRS)?,
        },
        (both, _) => {
            let has = both.map_or("none", |_| "both");
            let text = format!(
                "adapter '{}' needs one of queue_pairs_total and queue_pairs_per_vf, and has {has}",
                shown(&entry.name)
            );
            return invalid(field, text);
        }
    };
    Ok(Adapter {
        vfs: within("vfs", entry.vfs, MOST_VFS)?,
        name: entry.name,
        queues,
    })
}

fn vm(field: &str, entry: VmEntry, names: &mut HashSet<String>) -> Result<Vm, Problem> {
    named(field, &entry.name)?;
    let name = shown(&entry.name);
    if !names.insert(entry.name.clone()) {
        return invalid(
            &format!("{field}.name"),
            format!("VM '{name}' is there twice"),
        );
    }
    if !(1..=MOST_NICS).contains(&entry.nics) {
        let text = format!(
            "VM '{name}' has {} NICs; 1 to {MOST_NICS} are possible",
            entry.nics
        );
        return invalid(&format!("{field}.nics"), text);
    }
    Ok(Vm {
        name: entry.name,
        level: entry.level,
        nics: entry.nics,
        node: entry.node,
        adapters: entry.adapters,
    })
}

/// Whether the VM can run where it is said to.
fn runs(field: &str, vm: &Vm, all: &Adapters) -> Result<(), Problem> {
    let name = shown(&vm.name);
    let Some(node) = &vm.node else {
        if vm.adapters.is_some() {
            let text = format!("VM '{name}' has no node, so it is off and has none");
            return invalid(&format!("{field}.adapters"), text);
        }
        return Ok(());
    };
    let Some(known) = all.get(node) else {
        let text = format!("there is no node '{}'", shown(node));
        return invalid(&format!("{field}.node"), text);
    };
    let adapters = vm.adapters.as_deref().unwrap_or_default();
    if vm.adapters.is_some() && adapters.len() != vm.nics as usize {
        let text = format!(
            "VM '{name}' has {} NICs, but {} adapters",
            vm.nics,
            adapters.len()
        );
        return invalid(&format!("{field}.adapters"), text);
    }
    for (number, adapter) in adapters.iter().enumerate() {
        if !known.contains(adapter) {
            let text = format!("node '{}' has no adapter '{}'", shown(node), shown(adapter));
            return invalid(&format!("{field}.adapters[{number}]"), text);
        }
    }
    Ok(())
}
