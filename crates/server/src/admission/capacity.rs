//! Room for accelerated VMs, with the reserve held back.
//!
//! Every VM that is wished accelerated holds its VFs, running or not. The rules decide; here wish and
//! reports are put into their terms.

use accelnet_api::Vm;
use accelnet_model::{
    AdapterStatus, Code, IfName, Intent, Name, NodeStatus, Performance, Problem, VfFacts, VfUser,
    VmState, VmStatus,
};
use accelnet_rules::{
    capacity::{self, Capacity, Reserve},
    observed::nics_on,
    profile::room,
};
use uuid::Uuid;

use crate::{reports::Known, state::Wish};

/// Why there is no room for a VM at a level; `None` if there is.
pub fn refused(
    wish: &Wish,
    nodes: &[Known],
    intent: &Intent,
    vm: &Vm,
    level: Performance,
) -> Option<Problem> {
    let percentage = wish.desired.enabled.as_ref()?.node_reserve_percentage;
    let asked = of_vm(nodes, intent, vm.uuid, level);
    let mut capacity = match admitted(wish, nodes, intent, percentage, Some(vm.uuid)) {
        Ok(capacity) => capacity,
        Err(problem) => return Some(problem),
    };
    let refusal = capacity.admit(asked).err()?;
    let mut problem = refusal.into_problem(&vm.name);
    // The rules know the VM by its UUID.
    problem.detail = problem.detail.replace(&vm.uuid.to_string(), &vm.name);
    // And they count in units of their own, not in the intent's queue pairs.
    if problem.code == Code::CannotProvisionPerformance {
        let pairs = intent.levels.queue_pairs(level);
        problem.detail = format!(
            "{level} needs {pairs} queue pair(s) a VF, which no adapter of any node can give."
        );
    }
    Some(problem)
}

/// How far the reserve is short for the VMs that are admitted; `None` if it is not.
pub fn shortage(wish: &Wish, nodes: &[Known], intent: &Intent, percentage: u8) -> Option<Problem> {
    let capacity = match admitted(wish, nodes, intent, percentage, None) {
        Ok(capacity) => capacity,
        Err(problem) => return Some(problem),
    };
    let refusal = capacity.holds().err()?;
    let problem = Problem::new(refusal.code, refusal.reason).about("intent", &intent.name);
    let lost = refusal.counterexample.iter();
    Some(lost.fold(problem, |problem, node| problem.about("node", node)))
}

/// The cluster with all VMs that are admitted, but one.
pub(super) fn admitted(
    wish: &Wish,
    nodes: &[Known],
    intent: &Intent,
    percentage: u8,
    but: Option<Uuid>,
) -> Result<Capacity, Problem> {
    let all = nodes.iter().map(|node| of_node(wish, node, intent));
    let mut capacity = Capacity::new(all.collect(), Reserve::Percentage(percentage))?;
    for other in &wish.desired.vms {
        let counts = but != Some(other.uuid) && !elsewhere(nodes, intent, other.uuid);
        if let Some(level) = other.level.filter(|_| counts) {
            capacity.put(of_vm(nodes, intent, other.uuid, level))?;
        }
    }
    Ok(capacity)
}

fn of_node(wish: &Wish, node: &Known, intent: &Intent) -> capacity::Node {
    let adapters = node.status.iter().flat_map(|status| {
        uplinks(status, intent).map(|adapter| capacity::Adapter {
            name: adapter.facts.ifname.to_string(),
            vfs: ours(wish, adapter),
            queues: room(&adapter.facts, &intent.levels, |vf| !usable(wish, vf)),
        })
    });
    capacity::Node {
        name: node.name.to_string(),
        adapters: adapters.collect(),
        down: node.silent.is_some(),
    }
}

pub(super) fn uplinks<'a>(
    status: &'a NodeStatus,
    intent: &'a Intent,
) -> impl Iterator<Item = &'a AdapterStatus> {
    status.adapters.iter().filter(|adapter| {
        let facts = &adapter.facts;
        intent.adapters.contains(&facts.ifname) && facts.master.as_ref() == Some(&intent.bridge)
    })
}

/// VFs that can be given to VMs: free, or held by a VM that is wished for. What others use, what is
/// not isolated and what is quarantined is counted out.
pub(super) fn ours(wish: &Wish, adapter: &AdapterStatus) -> u32 {
    let vfs = adapter.facts.vfs.iter().filter(|vf| usable(wish, vf));
    vfs.count().saturating_sub(adapter.quarantined.len()) as u32
}

fn usable(wish: &Wish, vf: &VfFacts) -> bool {
    match vf.vm {
        Some(vm) => wish.vm(vm).is_some(),
        None => vf.user == VfUser::Nobody && vf.group_peers.is_empty(),
    }
}

/// A VM in the rules' terms: where it is, and how many VFs it needs.
pub(super) fn of_vm(
    nodes: &[Known],
    intent: &Intent,
    uuid: Uuid,
    level: Performance,
) -> capacity::Vm {
    let seen = find(nodes, uuid);
    let nics = seen.map_or(1, |(_, _, vm)| {
        nics_on(&vm.facts, &intent.bridge).count().max(1)
    });
    let running = seen.filter(|(_, _, vm)| vm.facts.state != VmState::Off);
    capacity::Vm {
        name: uuid.to_string(),
        level,
        nics: nics as u32,
        node: running.map(|(node, ..)| node.to_string()),
        adapters: running.and_then(|(_, status, vm)| adapters(status, vm, intent)),
    }
}

/// All NICs of the VM are on other bridges: it was accelerated on another intent, keeps its VF
/// there, and needs nothing here.
fn elsewhere(nodes: &[Known], intent: &Intent, uuid: Uuid) -> bool {
    find(nodes, uuid).is_some_and(|(_, _, vm)| {
        let mut nics = vm.facts.nics.iter().peekable();
        let other = |bridge: &IfName| *bridge != intent.bridge;
        nics.peek().is_some() && nics.all(|nic| nic.bridge.as_ref().is_some_and(other))
    })
}

/// The VM where it runs, else where it is defined.
fn find(nodes: &[Known], uuid: Uuid) -> Option<(&Name, &NodeStatus, &VmStatus)> {
    let all = nodes.iter().filter_map(|node| {
        let status = node.status.as_deref()?;
        let vm = status.vms.iter().find(|vm| vm.facts.uuid == uuid)?;
        Some((&node.name, status, vm))
    });
    all.max_by_key(|(_, _, vm)| vm.facts.state != VmState::Off)
}

/// The adapter of each of the VM's NICs on the bridge, if all have one that counts: one that was taken
/// off the bridge gives the VM nothing to keep.
fn adapters(status: &NodeStatus, vm: &VmStatus, intent: &Intent) -> Option<Vec<String>> {
    let on_bridge = nics_on(&vm.facts, &intent.bridge).map(|nic| {
        let seen = vm.nics.iter().find(|seen| seen.mac == nic.mac)?;
        let adapter = seen.adapter.as_ref()?;
        let mut known = uplinks(status, intent);
        let counts = known.any(|known| &known.facts.ifname == adapter);
        counts.then(|| adapter.to_string())
    });
    let found: Vec<String> = on_bridge.collect::<Option<_>>()?;
    (!found.is_empty()).then_some(found)
}
