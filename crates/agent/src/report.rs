//! What the node is, in the words of its report.

use accelnet_model::{
    AdapterStatus, Intent, NicFacts, NicPath, NicStatus, NodeDesired, NodeStatus, Problem,
    VmDesired, VmFacts, VmState, VmStatus,
};
use accelnet_rules::{
    Observed, new_nic,
    plan::{Plan, is_settled},
    profile, staging,
};

use crate::memory::Memory;

/// How far the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convergence {
    /// Something is left to do, or under way.
    Working,
    /// What is left waits out a rest after a failure.
    Resting,
    /// All is as it is wanted, as far as that is possible.
    Done,
}

/// Builds the report of one pass.
pub fn status(
    observed: Observed,
    desired: &NodeDesired,
    plan: &Plan,
    memory: &Memory,
    problems: Vec<Problem>,
    convergence: Convergence,
) -> NodeStatus {
    let intent = desired.enabled_intent();
    let vms = observed
        .vms
        .iter()
        .map(|vm| vm_status(&observed, vm, desired, plan, memory, intent))
        .collect();
    let mut all = problems;
    all.extend(plan.problems.iter().cloned());
    all.extend(memory.action_problems.iter().cloned());
    all.dedup();
    let adapters = observed.adapters.iter().map(|facts| {
        let quarantined = facts
            .vfs
            .iter()
            .filter_map(|vf| memory.quarantined.get(&vf.pci))
            .map(|quarantine| quarantine.problem.clone());
        AdapterStatus {
            quarantined: quarantined.collect(),
            facts: facts.clone(),
            problems: Vec::new(),
        }
    });
    NodeStatus {
        sequence: 0,
        generation: desired.generation,
        converged: convergence == Convergence::Done,
        resting: convergence == Convergence::Resting,
        adapters: adapters.collect(),
        vms,
        node: observed.node,
        bridges: observed.bridges,
        problems: all,
    }
}

fn vm_status(
    observed: &Observed,
    vm: &VmFacts,
    desired: &NodeDesired,
    plan: &Plan,
    memory: &Memory,
    intent: Option<&Intent>,
) -> VmStatus {
    let wish = desired.vm(vm.uuid);
    let level = wish.and_then(|wish| wish.level);
    let mut problems = plan.vm_problems.get(&vm.uuid).cloned().unwrap_or_default();
    if let Some(failure) = memory.failures.get(&vm.uuid) {
        problems.extend(failure.problems.iter().cloned());
    }
    let reason = problems.first().map(|problem| problem.detail.clone());
    let nics = vm.nics.iter().map(|nic| {
        let ours = intent.is_some_and(|intent| nic.bridge.as_ref() == Some(&intent.bridge));
        let reason = reason.as_deref().filter(|_| level.is_some() && ours);
        // One on another intent's bridge keeps the path it has, which is told by the same evidence.
        let mut intents = desired.intents.iter();
        let of_nic = intents.find(|intent| nic.bridge.as_ref() == Some(&intent.bridge));
        nic_status(observed, vm, nic, of_nic, memory, reason)
    });
    let policy = vm.nics.iter().flat_map(|nic| {
        observed
            .policy
            .get(&(vm.uuid, nic.mac))
            .cloned()
            .unwrap_or_default()
    });
    VmStatus {
        nics: nics.collect(),
        policy: policy.collect(),
        level,
        resting: memory.failures.contains_key(&vm.uuid) && !memory.busy.contains_key(&vm.uuid),
        progress: memory.busy.get(&vm.uuid).map(|busy| busy.progress.clone()),
        problems,
        staged: staged(vm, wish, memory),
        facts: vm.clone(),
    }
}

/// What the VM's next cold start brings: of a running one it shows, of one that is off only what was
/// staged is known.
fn staged(vm: &VmFacts, wish: Option<&VmDesired>, memory: &Memory) -> Vec<String> {
    let mut all = match vm.state {
        VmState::Off => memory.staged.get(&vm.uuid).cloned().unwrap_or_default(),
        VmState::Running | VmState::Paused => staging::to_come(vm),
    };
    let added = wish.and_then(|wish| wish.add_nic);
    all.extend(added.and_then(|mac| new_nic::to_come(vm, mac)));
    all
}

/// The path is the VF if a driver in the guest drives it, bridge and filter send everything there,
/// and no frame of the guest has come by its tap since the look before.
fn nic_status(
    observed: &Observed,
    vm: &VmFacts,
    nic: &NicFacts,
    intent: Option<&Intent>,
    memory: &Memory,
    reason: Option<&str>,
) -> NicStatus {
    let mut status = NicStatus {
        mac: nic.mac,
        path: NicPath::Synthetic,
        reason: None,
        adapter: None,
        vf: None,
        queue_pairs: None,
        bridge: nic.bridge.clone(),
        intent: None,
        managed: false,
        level: None,
    };
    if vm.state == VmState::Off || !nic.link_up {
        status.path = NicPath::None;
        return status;
    }
    let Some((adapter, vf)) = observed.vf_of(vm, nic) else {
        status.reason = reason.map(str::to_owned);
        return status;
    };
    status.adapter = Some(adapter.ifname.clone());
    status.vf = Some(vf.pci);
    status.queue_pairs = profile::queue_pairs_of_vf(adapter, vf);
    let by_tap = nic.tap.as_ref().is_some_and(|tap| memory.tap_active(tap));
    let settled = intent.is_none_or(|intent| is_settled(observed, intent, vm, nic));
    let why_not = if vf.active_vectors == 0 {
        Some("no driver in the guest drives the VF")
    } else if by_tap {
        Some("frames of the guest come by its tap")
    } else if !settled {
        Some("the switch-over is not complete")
    } else {
        None
    };
    match why_not {
        None => status.path = NicPath::Vf,
        Some(why) => status.reason = Some(why.to_owned()),
    }
    status
}
