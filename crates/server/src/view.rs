//! What users see: wish and reports together.
//!
//! Wanted and effective state are both shown, the effective one from the nodes' evidence. What is not
//! of now says so: a node that is silent is unreachable, and its VMs carry that as a problem.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use accelnet_api::{Adapter, ClusterStatus, EnabledStatus, IntentStatus, NodeSummary, Vm};
use accelnet_model::{
    Code, Intent, IntentOnNode, Name, NicPath, NicStatus, NodeStatus, PciAddress, Problem, VmState,
    VmStatus,
};
use accelnet_rules::{
    capacity::Reserve,
    intent_status::{self, Report},
    profile,
};
use uuid::Uuid;

use crate::{admission, audit::printable, reports::Known, state::Wish};

/// The cluster at a glance.
pub fn cluster(wish: &Wish, nodes: &[Known]) -> ClusterStatus {
    let enabled = wish.desired.enabled.as_ref();
    let shown = enabled.map(|enabled| {
        let reserve = Reserve::from(enabled);
        EnabledStatus {
            intent: enabled.intent.clone(),
            node_reserve_percentage: reserve.percentage(nodes.len()),
            nodes_down: enabled.nodes_down,
            nodes_down_tolerated: reserve.nodes_down(nodes.len()) as u32,
            when: enabled.when,
        }
    });
    let short = enabled
        .zip(wish.desired.enabled_intent())
        .and_then(|(enabled, intent)| admission::shortage(wish, nodes, intent, enabled.into()));
    ClusterStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        enabled: shown,
        nodes: nodes.iter().map(|known| node(wish, known)).collect(),
        problems: short.into_iter().collect(),
    }
}

fn node(wish: &Wish, known: &Known) -> NodeSummary {
    let mut summary = NodeSummary {
        name: known.name.clone(),
        reachable: known.silent.is_none(),
        converged: false,
        resting: false,
        vfs: 0,
        vfs_used: 0,
        vms: 0,
        vms_accelerated: 0,
        problems: known.silent.iter().cloned().collect(),
    };
    let Some(status) = &known.status else {
        return summary;
    };
    let generation = wish.desired.generation;
    summary.converged = summary.reachable && status.converged && status.generation == generation;
    summary.resting = summary.reachable && status.resting && status.generation == generation;
    summary.vms = status.vms.len() as u32;
    if let Some(intent) = wish.desired.enabled_intent() {
        let used: BTreeSet<PciAddress> = status
            .vms
            .iter()
            .flat_map(|vm| &vm.nics)
            .filter_map(|nic| nic.vf)
            .collect();
        let mut adapters = status.adapters.iter().map(|adapter| &adapter.facts);
        let ours = adapters.by_ref().filter(|facts| intent.covers(facts));
        for vf in ours.flat_map(|facts| &facts.vfs) {
            summary.vfs += 1;
            summary.vfs_used += u32::from(used.contains(&vf.pci));
        }
        let accelerated = status.vms.iter().filter(|vm| accelerated(vm, intent));
        summary.vms_accelerated = accelerated.count() as u32;
    }
    summary.problems.extend(status.problems.iter().cloned());
    if status.generation > generation {
        let text = format!(
            "Node '{}' follows generation {} of what is wanted, the server knows {generation}: its \
             state was restored from an older copy.",
            known.name, status.generation
        );
        let cure = "Stop accelnetd on the node, remove ledger.json from its state directory, and \
                    start it; VMs keep what they have.";
        summary
            .problems
            .push(Problem::new(Code::Conflict, text).with_cure(cure));
    }
    summary
}

/// Every NIC of the VM on the intent's bridge really uses a VF, and there is one.
fn accelerated(vm: &VmStatus, intent: &Intent) -> bool {
    let mut ours = vm
        .nics
        .iter()
        .filter(|nic| nic.bridge.as_ref() == Some(&intent.bridge))
        .peekable();
    ours.peek().is_some() && ours.all(|nic| nic.path == NicPath::Vf)
}

/// All VMs: those that nodes have, and those that are wished accelerated and no node has.
pub fn vms(wish: &Wish, nodes: &[Known]) -> Vec<Vm> {
    let mut all: BTreeMap<Uuid, Vm> = BTreeMap::new();
    for node in nodes {
        for vm in node.status.iter().flat_map(|status| &status.vms) {
            let seen = self::vm(wish, node, vm);
            match all.entry(seen.uuid) {
                Entry::Vacant(entry) => drop(entry.insert(seen)),
                // After a migration the definition may stay behind.
                Entry::Occupied(mut entry) if entry.get().state == VmState::Off => {
                    entry.insert(seen);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
    for (uuid, spec) in &wish.specs {
        if wish.level_of(*uuid).is_some() && !all.contains_key(uuid) {
            all.insert(*uuid, unseen(wish, nodes, *uuid, &spec.name));
        }
    }
    let mut vms: Vec<Vm> = all.into_values().collect();
    vms.sort_by(|a, b| (&a.name, a.uuid).cmp(&(&b.name, b.uuid)));
    vms
}

fn vm(wish: &Wish, node: &Known, vm: &VmStatus) -> Vm {
    let generation = node.status.as_ref().map_or(0, |status| status.generation);
    let mut problems = vm.problems.clone();
    problems.extend(node.silent.iter().cloned());
    Vm {
        name: vm.facts.name.clone(),
        uuid: vm.facts.uuid,
        node: Some(node.name.clone()),
        state: vm.facts.state,
        level: wish.level_of(vm.facts.uuid),
        vcpus: vm.facts.vcpus,
        nics: vm.nics.iter().map(|nic| self::nic(wish, vm, nic)).collect(),
        pending: generation < wish.desired.generation,
        progress: vm.progress.clone(),
        resting: vm.resting,
        staged: vm.staged.clone(),
        problems,
    }
}

/// A NIC with the intent that its bridge belongs to. Of several on one bridge the enabled one counts.
fn nic(wish: &Wish, vm: &VmStatus, nic: &NicStatus) -> NicStatus {
    let enabled = wish.desired.enabled_intent();
    let others = wish.desired.intents.iter();
    let mut all = enabled.into_iter().chain(others);
    let intent = all.find(|intent| nic.bridge.as_ref() == Some(&intent.bridge));
    let wanted = intent.and_then(|intent| wish.on(vm.facts.uuid, &intent.name));
    NicStatus {
        intent: intent.map(|intent| intent.name.clone()),
        managed: intent.is_some() && intent == enabled,
        level: wanted.and_then(|wanted| wanted.level),
        ..nic.clone()
    }
}

fn unseen(wish: &Wish, nodes: &[Known], uuid: Uuid, name: &str) -> Vm {
    let blind = nodes.iter().find_map(Known::blind);
    let problem = blind.unwrap_or_else(|| {
        let text = format!("No node has VM '{name}' now; its VF is held for it.");
        let cure = format!("If it is gone for good: 'accelnet vm disable {uuid}'.");
        Problem::new(Code::VmNotFound, text)
            .about("vm", name)
            .with_cure(cure)
    });
    Vm {
        name: name.to_owned(),
        uuid,
        node: None,
        state: VmState::Off,
        level: wish.level_of(uuid),
        vcpus: 0,
        nics: Vec::new(),
        pending: false,
        progress: None,
        resting: false,
        staged: Vec::new(),
        problems: vec![problem],
    }
}

/// Why nobody can say which VMs there are, if no node can.
pub fn nobody_sees(nodes: &[Known]) -> Option<Problem> {
    let blind: Option<Vec<Problem>> = nodes.iter().map(Known::blind).collect();
    blind?.into_iter().next()
}

/// The one VM that a name or UUID means.
///
/// # Errors
/// `vm_not_found`, `vm_ambiguous`, or why a node cannot tell whether it has the VM.
pub fn find<'a>(vms: &'a [Vm], nodes: &[Known], word: &str) -> Result<&'a Vm, Problem> {
    // A UUID means its VM, even if somebody gave it to another one as a name.
    let uuid = Uuid::try_parse(word).ok();
    if let Some(vm) = vms.iter().find(|vm| Some(vm.uuid) == uuid) {
        return Ok(vm);
    }
    let matches: Vec<&Vm> = vms.iter().filter(|vm| vm.name == word).collect();
    let shown = printable(word);
    match matches.as_slice() {
        [one] => Ok(one),
        [] => {
            let text = format!("No VM is called '{shown}'.");
            let unknown = Problem::new(Code::VmNotFound, text).about("vm", shown);
            Err(nodes.iter().find_map(Known::blind).unwrap_or(unknown))
        }
        several => {
            let places = several.iter().map(|vm| match &vm.node {
                Some(node) => format!("{} on {node}", vm.uuid),
                None => vm.uuid.to_string(),
            });
            let places: Vec<String> = places.collect();
            let text = format!("'{shown}' is {}.", places.join(", "));
            Err(Problem::new(Code::VmAmbiguous, text).about("vm", shown))
        }
    }
}

/// All intents, with their state on every node.
pub fn intents(wish: &Wish, nodes: &[Known]) -> Vec<IntentStatus> {
    let intents = wish.desired.intents.iter();
    intents.map(|each| intent(wish, nodes, each)).collect()
}

/// An intent, with its state on every node.
pub fn intent(wish: &Wish, nodes: &[Known], intent: &Intent) -> IntentStatus {
    let status = nodes.iter().map(|node| {
        let report = match (node.current(), &node.silent) {
            (Some(status), _) => Report::Of(status),
            (None, silent) => Report::Silent(silent.clone()),
        };
        let (state, problem) = intent_status::of(&wish.desired, intent, &node.name, &report);
        IntentOnNode {
            node: node.name.clone(),
            state,
            problem,
        }
    });
    IntentStatus {
        status: status.collect(),
        intent: intent.clone(),
    }
}

/// All adapters of all nodes.
pub fn adapters(wish: &Wish, nodes: &[Known]) -> Vec<Adapter> {
    let mut all = Vec::new();
    for node in nodes {
        if let Some(status) = node.status.as_deref() {
            all.extend(of_node(wish, &node.name, status));
        }
    }
    all
}

fn of_node(wish: &Wish, node: &Name, status: &NodeStatus) -> Vec<Adapter> {
    let adapters = status.adapters.iter().map(|adapter| {
        let facts = &adapter.facts;
        let mut intents = wish.desired.intents.iter();
        let intent = intents.find(|intent| intent.covers(facts));
        let here = intent.map(|intent| intent.levels).unwrap_or_default();
        Adapter {
            node: node.clone(),
            intent: intent.map(|intent| intent.name.clone()),
            queue_pairs_per_vf: profile::queue_pairs(facts, &here).map(|pairs| pairs.allotted),
            levels: if facts.total_vfs > 0 {
                profile::levels(facts, &here)
            } else {
                Vec::new()
            },
            status: adapter.clone(),
        }
    });
    adapters.collect()
}
