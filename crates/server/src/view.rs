//! What users see: wish and reports together.
//!
//! Wanted and effective state are both shown, the effective one from the nodes' evidence. What is not
//! of now says so: a node that is silent is unreachable, and its VMs carry that as a problem.

use std::{cell::OnceCell, collections::BTreeSet};

use accelnet_api::{
    Adapter, ClusterStatus, EnabledStatus, IntentStatus, Items, NodeSummary, Parked, Vm,
};
use accelnet_model::{
    Code, Intent, IntentOnNode, IntentState, Name, NicPath, NicStatus, NodeStatus, PciAddress,
    Problem, UnseenVm, VmState, VmStatus, Waiver,
};
use accelnet_rules::{
    capacity::Reserve,
    intent_status::{self, Report},
    profile,
};
use uuid::Uuid;

use crate::{
    admission,
    audit::printable,
    page::Page,
    reports::{Known, Seen},
    state::{VmSpec, Wish},
    whereabouts::{self, Look, Place},
};

/// The cluster at a glance.
pub fn cluster(wish: &Wish, seen: &Seen) -> ClusterStatus {
    let enabled = wish.desired.enabled.as_ref();
    let count = seen.names().len();
    let shown = enabled.map(|enabled| {
        let reserve = Reserve::from(enabled);
        EnabledStatus {
            intent: enabled.intent.clone(),
            node_reserve_percentage: reserve.percentage(count),
            nodes_down: enabled.nodes_down,
            nodes_down_tolerated: reserve.nodes_down(count) as u32,
            when: enabled.when,
        }
    });
    let short = admission::shortage_now(wish, seen);
    ClusterStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        enabled: shown,
        nodes: nodes(wish, seen),
        vms_parked: parked_count(wish),
        problems: short.into_iter().collect(),
    }
}

/// VMs that are wanted accelerated and kept from it for a while.
pub fn parked_count(wish: &Wish) -> u32 {
    let parked = wish.specs.parked();
    parked
        .filter_map(|(spec, _)| wish.level_of(spec.uuid))
        .count() as u32
}

/// All nodes at a glance.
pub fn nodes(wish: &Wish, seen: &Seen) -> Vec<NodeSummary> {
    seen.iter().map(|known| node(wish, known)).collect()
}

/// A node at a glance.
pub fn node(wish: &Wish, known: &Known) -> NodeSummary {
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
    let generation = wish.generation();
    // A wish that concerns others only is not told to it.
    let follows = (wish.changed_for_node(status)..=generation).contains(&status.generation);
    // Of VMs that cannot be seen nobody knows how they are.
    let sees = known.blind().is_none();
    summary.converged = summary.reachable && sees && status.converged && follows;
    summary.resting = summary.reachable && status.resting && follows;
    let vms: BTreeSet<Uuid> = whereabouts::there(status).map(|(uuid, _)| uuid).collect();
    summary.vms = vms.len() as u32;
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
    // Kept back for longer than any try takes, and told by none of the node's own problems.
    let kept_back = status.adapters.iter();
    let kept_back = kept_back.flat_map(|adapter| &adapter.quarantined);
    summary.problems.extend(kept_back.cloned());
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
pub fn accelerated(vm: &VmStatus, intent: &Intent) -> bool {
    let mut ours = vm
        .nics
        .iter()
        .filter(|nic| nic.bridge.as_ref() == Some(&intent.bridge))
        .peekable();
    ours.peek().is_some() && ours.all(|nic| nic.path == NicPath::Vf)
}

/// Where a VM that is listed is, if a node has it.
enum Listed<'a> {
    There(Uuid, &'a Place<'a>),
    Nowhere(&'a VmSpec),
}

/// All VMs by their names, or a page of them: those that nodes have, and those that are wished accelerated and no
/// node has.
pub fn vms(wish: &Wish, seen: &Seen, page: &Page) -> Items<Vm> {
    let places = whereabouts::of_all(seen);
    let blind = OnceCell::new();
    let nowhere = wish
        .specs
        .iter()
        .filter(|spec| !places.contains_key(&spec.uuid));
    let wanted = nowhere.filter(|spec| wish.level_of(spec.uuid).is_some());
    let wanted = wanted.map(|spec| (spec.name.as_str(), spec.uuid, Listed::Nowhere(spec)));
    let there = places
        .iter()
        .map(|(uuid, place)| (place.name(), *uuid, Listed::There(*uuid, place)));
    // A space comes before whatever else a name may have.
    let all = wanted
        .chain(there)
        .map(|(name, uuid, listed)| (format!("{name} {uuid}"), listed));
    // Only what is asked for is made.
    let Items { items, next } = page.of_keyed(all.collect());
    let items = items.into_iter().map(|listed| match listed {
        Listed::There(uuid, place) => vm(wish, uuid, place),
        Listed::Nowhere(spec) => self::nowhere(wish, blind.get_or_init(|| self::blind(seen)), spec),
    });
    Items {
        items: items.collect(),
        next,
    }
}

/// One VM, if a node has it or it is wished accelerated.
pub fn one(wish: &Wish, seen: &Seen, uuid: Uuid) -> Option<Vm> {
    if let Some(place) = whereabouts::of(seen, uuid) {
        return Some(vm(wish, uuid, &place));
    }
    wish.level_of(uuid)?;
    let spec = wish.specs.get(uuid)?;
    Some(nowhere(wish, &blind(seen), spec))
}

/// Why a node cannot say which VMs it has, if there is one.
fn blind(seen: &Seen) -> Option<Problem> {
    seen.iter().find_map(Known::blind)
}

fn vm(wish: &Wish, uuid: Uuid, place: &Place<'_>) -> Vm {
    let mut shown = match place.look {
        Look::Seen(vm) => as_seen(wish, vm),
        Look::Unseen { vm, .. } => not_seen(vm, &place.node.name),
    };
    shown.node = Some(place.node.name.clone());
    shown.state = place.state();
    shown.level = wish.level_of(uuid);
    shown.parked = parked(wish, uuid);
    shown.waivers = waivers(wish, uuid);
    shown.pending = place.status.generation < wish.changed_for(uuid);
    // What is shown is not of now.
    shown.problems.extend(place.node.blind());
    shown
}

fn as_seen(wish: &Wish, vm: &VmStatus) -> Vm {
    Vm {
        vcpus: vm.facts.vcpus,
        nics: vm.nics.iter().map(|nic| self::nic(wish, vm, nic)).collect(),
        progress: vm.progress.clone(),
        resting: vm.resting,
        staged: vm.staged.clone(),
        problems: vm.problems.clone(),
        ..empty(vm.facts.uuid, &vm.facts.name)
    }
}

/// A VM of which nothing is known but that it is there.
fn not_seen(vm: &UnseenVm, node: &Name) -> Vm {
    let because = vm.because.trim_end_matches('.');
    let text = format!("Not seen on node '{node}': {because}.");
    Vm {
        problems: vec![Problem::new(Code::VmNotSeen, text).about("vm", &vm.name)],
        ..empty(vm.uuid, &vm.name)
    }
}

fn empty(uuid: Uuid, name: &str) -> Vm {
    Vm {
        name: name.to_owned(),
        uuid,
        node: None,
        state: VmState::Off,
        level: None,
        parked: None,
        waivers: Vec::new(),
        vcpus: 0,
        nics: Vec::new(),
        pending: false,
        progress: None,
        resting: false,
        staged: Vec::new(),
        problems: Vec::new(),
        traffic: Vec::new(),
    }
}

/// Rules that are waived for a VM on the enabled intent.
fn waivers(wish: &Wish, uuid: Uuid) -> Vec<Waiver> {
    wish.enabled_for(uuid)
        .map(|wanted| wanted.waivers.clone())
        .unwrap_or_default()
}

/// How long a VM is parked; one that is not wanted accelerated has nothing to be kept from.
fn parked(wish: &Wish, uuid: Uuid) -> Option<Parked> {
    wish.level_of(uuid)?;
    Some(wish.park_of(uuid)?.shown())
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

/// A VM that no node has.
fn nowhere(wish: &Wish, blind: &Option<Problem>, spec: &VmSpec) -> Vm {
    let (uuid, name) = (spec.uuid, spec.name.as_str());
    let problem = blind.clone().unwrap_or_else(|| {
        let text = format!("No node has VM '{name}' now; its VF is held for it.");
        let cure = format!("If it is gone for good: 'accelnet vm disable {uuid}'.");
        Problem::new(Code::VmNotFound, text)
            .about("vm", name)
            .with_cure(cure)
    });
    Vm {
        level: wish.level_of(uuid),
        parked: parked(wish, uuid),
        problems: vec![problem],
        ..empty(uuid, name)
    }
}

/// Why nobody can say which VMs there are, if no node can.
pub fn nobody_sees(seen: &Seen) -> Option<Problem> {
    let blind: Option<Vec<Problem>> = seen.iter().map(Known::blind).collect();
    blind?.into_iter().next()
}

/// The one VM that a name or UUID means.
///
/// # Errors
/// `vm_not_found`, `vm_ambiguous`, or why no node can tell which VMs it has.
pub fn find(wish: &Wish, seen: &Seen, word: &str) -> Result<Vm, Problem> {
    // A UUID means its VM, even if somebody gave it to another one as a name.
    let uuid = Uuid::try_parse(word).ok();
    if let Some(vm) = uuid.and_then(|uuid| one(wish, seen, uuid)) {
        return Ok(vm);
    }
    let known: BTreeSet<Uuid> = seen.called(word).chain(wish.specs.named(word)).collect();
    let vms = known.into_iter().filter_map(|uuid| one(wish, seen, uuid));
    // It may have had that name before, or have it on the node that it has left.
    let mut matches: Vec<Vm> = vms.filter(|vm| vm.name == word).collect();
    let shown = printable(word);
    if matches.len() == 1 {
        return Ok(matches.remove(0));
    }
    match matches.as_slice() {
        [] => {
            // Nobody could say so.
            if let Some(problem) = nobody_sees(seen) {
                return Err(problem);
            }
            let unseen = seen.iter().filter(|node| node.blind().is_some());
            let unseen: Vec<String> = unseen.map(|node| format!("'{}'", node.name)).collect();
            let text = match unseen.as_slice() {
                [] => format!("No VM is called '{shown}'."),
                nodes => format!(
                    "No VM is called '{shown}' where it can be seen; it cannot on {}.",
                    in_short(nodes)
                ),
            };
            Err(Problem::new(Code::VmNotFound, text).about("vm", word))
        }
        several => {
            let places = several.iter().map(|vm| match &vm.node {
                Some(node) => format!("{} on {node}", vm.uuid),
                None => vm.uuid.to_string(),
            });
            let places: Vec<String> = places.collect();
            let text = format!("'{shown}' is {}.", places.join(", "));
            Err(Problem::new(Code::VmAmbiguous, text).about("vm", word))
        }
    }
}

/// Some nodes' names; of many, the first and how many more.
fn in_short(nodes: &[String]) -> String {
    const NAMED: usize = 3;
    let named = nodes[..nodes.len().min(NAMED)].join(", ");
    match nodes.len().saturating_sub(NAMED) {
        0 => format!("node {named}"),
        more => format!("nodes {named} and {more} more"),
    }
}

/// All intents, with their state on every node.
pub fn intents(wish: &Wish, seen: &Seen) -> Vec<IntentStatus> {
    let intents = wish.desired.intents.iter();
    intents.map(|each| intent(wish, seen, each)).collect()
}

/// An intent, with its state on every node.
pub fn intent(wish: &Wish, seen: &Seen, intent: &Intent) -> IntentStatus {
    let status = seen.iter().map(|node| {
        let current = node.current();
        let report = match (current, &node.silent) {
            (Some(status), _) => Report::Of(status),
            (None, silent) => Report::Silent(silent.clone()),
        };
        let behind = |status: &NodeStatus| status.generation < wish.changed_for_node(status);
        let (state, problems) = match current {
            Some(status) if behind(status) => (IntentState::Validating, Vec::new()),
            _ => intent_status::of(&wish.desired, intent, &node.name, &report),
        };
        IntentOnNode {
            node: node.name.clone(),
            state,
            problems,
        }
    });
    IntentStatus {
        status: status.collect(),
        intent: intent.clone(),
    }
}

/// All adapters of all nodes.
pub fn adapters(wish: &Wish, seen: &Seen) -> Vec<Adapter> {
    let nodes = seen.iter();
    nodes.flat_map(|node| adapters_of(wish, node)).collect()
}

/// All adapters of a node, as it said last.
pub fn adapters_of(wish: &Wish, node: &Known) -> Vec<Adapter> {
    let status = node.status.as_deref().into_iter();
    let adapters = status.flat_map(|status| &status.adapters).map(|adapter| {
        let facts = &adapter.facts;
        let mut intents = wish.desired.intents.iter();
        let intent = intents.find(|intent| intent.covers(facts));
        let here = intent.map(|intent| intent.levels).unwrap_or_default();
        Adapter {
            node: node.name.clone(),
            intent: intent.map(|intent| intent.name.clone()),
            queue_pairs_per_vf: profile::queue_pairs(facts, &here).map(|pairs| pairs.allotted),
            levels: if facts.total_vfs > 0 {
                profile::levels(facts, &here)
            } else {
                Vec::new()
            },
            isolated: wish.desired.isolation(&node.name, &facts.id).cloned(),
            status: adapter.clone(),
        }
    });
    adapters.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use accelnet_model::AdapterStatus;
    use accelnet_rules::fixture;

    use super::*;

    #[test]
    fn a_vf_that_is_kept_back_is_a_problem_of_its_node() {
        let problem = Problem::new(Code::VfQuarantined, "VF 3 keeps its trust.");
        let adapter = AdapterStatus {
            quarantined: vec![problem.clone()],
            ..AdapterStatus::of(fixture::adapter(4))
        };
        let known = Known {
            name: "node1".parse().unwrap(),
            status: Some(Arc::new(NodeStatus {
                adapters: vec![adapter],
                ..NodeStatus::default()
            })),
            silent: None,
            awaited: false,
        };
        assert_eq!(node(&Wish::nothing(), &known).problems, [problem]);
    }
}
