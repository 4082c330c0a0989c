//! What the node is, in the words of its report.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_model::{
    AdapterStatus, NicFacts, NicPath, NicStatus, NodeDesired, NodeStatus, Problem, Progress,
    VmDesired, VmFacts, VmState, VmStatus,
};
use accelnet_rules::{
    Observed,
    handle::Handle,
    moves::{Goal, Move, NicId, steps_back, steps_to_vf},
    new_nic,
    observed::nics_on,
    phase::Phase,
    plan::{Memory, Plan, stands_on_vf},
    profile, staging,
};
use uuid::Uuid;

use crate::failures::Failures;

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

/// Everything that a report is made of.
pub struct Scene<'a> {
    /// What was seen.
    pub observed: &'a Observed,
    /// What is wanted.
    pub desired: &'a NodeDesired,
    /// What is left to do.
    pub plan: &'a Plan,
    /// What cannot be seen.
    pub memory: &'a Memory,
    /// VMs that something is done with, or was and is not seen yet.
    pub busy: &'a BTreeSet<Uuid>,
    /// NICs that were settled in their phase; what they need since then is a repair.
    pub settled: &'a BTreeMap<NicId, Phase>,
    /// What failed.
    pub failures: &'a Failures,
    /// VMs whose job was ended.
    pub frozen: &'a BTreeMap<Uuid, (Duration, Problem)>,
    /// What was staged.
    pub staged: &'a BTreeMap<Uuid, Vec<String>>,
    /// How often something was put right that others had changed.
    pub repairs: u64,
}

/// Builds the report.
pub fn status(scene: &Scene<'_>, problems: Vec<Problem>, convergence: Convergence) -> NodeStatus {
    let Scene {
        observed, desired, ..
    } = scene;
    let mut all = problems;
    all.dedup();
    let adapters = observed.adapters.iter().map(|facts| {
        let vfs = facts.vfs.iter();
        AdapterStatus {
            quarantined: vfs
                .filter_map(|vf| scene.failures.of_vf(vf.pci).cloned())
                .collect(),
            facts: facts.clone(),
            problems: Vec::new(),
        }
    });
    // Of VMs that libvirt cannot be asked for nothing is told that would look like knowledge.
    let vms = observed.vms.iter().filter(|_| observed.hypervisor_answers);
    let seen = vms.filter(|vm| !observed.stale.contains(&vm.uuid));
    NodeStatus {
        sequence: 0,
        generation: desired.generation,
        converged: convergence == Convergence::Done,
        resting: convergence == Convergence::Resting,
        adapters: adapters.collect(),
        vms: seen.map(|vm| vm_status(scene, vm)).collect(),
        unseen_vms: observed.unseen_vms.clone(),
        node: observed.node.clone(),
        bridges: observed.bridges.clone(),
        problems: all,
        agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        repairs: scene.repairs,
        ..NodeStatus::default()
    }
}

fn vm_status(scene: &Scene<'_>, vm: &VmFacts) -> VmStatus {
    let Scene {
        observed, desired, ..
    } = scene;
    let intent = desired.enabled_intent();
    let wish = desired.vm(vm.uuid);
    let level = wish.and_then(|wish| wish.level);
    let frozen = scene.frozen.get(&vm.uuid).map(|(_, problem)| problem);
    let mut problems: Vec<Problem> = frozen.cloned().into_iter().collect();
    let planned = scene.plan.vm_problems.get(&vm.uuid);
    problems.extend(planned.into_iter().flatten().cloned());
    problems.extend(scene.failures.of_vm(vm.uuid).iter().cloned());
    let reason = problems.first().map(|problem| problem.detail.clone());
    let nics = vm.nics.iter().map(|nic| {
        let ours = intent.is_some_and(|intent| nic.bridge.as_ref() == Some(&intent.bridge));
        let reason = reason.as_deref().filter(|_| level.is_some() && ours);
        nic_status(scene, vm, nic, reason)
    });
    let policy = vm.nics.iter().flat_map(|nic| {
        let found = observed.policy.get(&(vm.uuid, nic.mac));
        found.cloned().unwrap_or_default()
    });
    let on_intent = intent.map(|intent| nics_on(vm, &intent.bridge));
    let policy_seen =
        on_intent.is_some_and(|mut nics| nics.all(|nic| observed.knows_policy(vm.uuid, nic.mac)));
    let mut moves = scene.memory.moves.values();
    let going = moves.find(|going| going.nic.vm == vm.uuid);
    let progress = going.map(|going| progress(scene, vm, going));
    let progress = progress.or_else(|| at_work(scene, vm));
    VmStatus {
        nics: nics.collect(),
        policy: policy.collect(),
        policy_seen,
        level,
        resting: scene.failures.rests(vm.uuid) && progress.is_none(),
        progress,
        problems,
        staged: staged(vm, wish, scene.staged),
        facts: vm.clone(),
    }
}

/// How far a switch-over is.
fn progress(scene: &Scene<'_>, vm: &VmFacts, going: &Move) -> Progress {
    let has = vm.hostdevs.iter().any(|has| has.pci == going.device());
    let settled = scene
        .plan
        .nics
        .get(&going.nic)
        .is_some_and(|nic| nic.settled);
    let (operation, steps, number): (_, Vec<&str>, usize) = match &going.goal {
        Goal::ToVf { vectors, .. } => {
            let opened = match (settled, has) {
                (_, true) => 4,
                (true, false) => 3,
                (false, false) => 1,
            };
            let number = if going.opens() { opened } else { 0 };
            let pool = vectors.is_some();
            let steps: Vec<&str> = steps_to_vf(pool).collect();
            ("attach", steps, number - usize::from(!pool && number > 0))
        }
        Goal::Back { .. } => {
            let number = match (settled, has) {
                (_, false) => 3,
                (true, true) => 2,
                (false, true) => 0,
            };
            ("detach", steps_back().collect(), number)
        }
    };
    Progress {
        operation: operation.to_owned(),
        step: steps.get(number).copied().unwrap_or("begin").to_owned(),
        number: number as u32 + 1,
        of: steps.len() as u32,
    }
}

/// Something else is done with the VM.
fn at_work(scene: &Scene<'_>, vm: &VmFacts) -> Option<Progress> {
    scene.busy.contains(&vm.uuid).then(|| Progress {
        operation: "prepare".to_owned(),
        step: "change what the VM has".to_owned(),
        number: 1,
        of: 1,
    })
}

/// What the VM's next cold start brings: of a running one it shows, of one that is off only what was
/// staged is known.
fn staged(
    vm: &VmFacts,
    wish: Option<&VmDesired>,
    staged: &BTreeMap<Uuid, Vec<String>>,
) -> Vec<String> {
    let mut all = match vm.state {
        VmState::Off => staged.get(&vm.uuid).cloned().unwrap_or_default(),
        VmState::Running | VmState::Paused => staging::to_come(vm),
    };
    let added = wish.and_then(|wish| wish.add_nic);
    all.extend(added.and_then(|mac| new_nic::to_come(vm, mac)));
    all
}

/// The path is the VF if that is the NIC's phase, and bridge, filter and VF are as that asks, or were until something was
/// changed that is put right: its frames go by the VF meanwhile.
fn nic_status(scene: &Scene<'_>, vm: &VmFacts, nic: &NicFacts, reason: Option<&str>) -> NicStatus {
    let Scene {
        observed, desired, ..
    } = scene;
    let mut status = NicStatus::of(nic);
    let handle = Handle::of(observed, vm, nic);
    // A NIC whose link is set down may still have a VF that is not.
    if vm.state == VmState::Off || (!nic.link_up && handle.is_none()) {
        status.path = NicPath::None;
        return status;
    }
    let Some(Handle::Vfio(adapter, vf)) = handle else {
        status.reason = reason.map(str::to_owned);
        return status;
    };
    status.adapter = Some(adapter.ifname.clone());
    status.vf = Some(vf.pci);
    status.queue_pairs = profile::queue_pairs_of_vf(adapter, vf);
    let id = NicId {
        vm: vm.uuid,
        mac: nic.mac,
    };
    let why_not = match scene.plan.nics.get(&id) {
        _ if vf.active_vectors == 0 => Some("no driver in the guest drives the VF"),
        Some(planned) if planned.past.phase == Phase::Vf && planned.settled => None,
        Some(_) if scene.settled.get(&id) == Some(&Phase::Vf) => None,
        Some(planned) if planned.past.phase == Phase::Vf => Some("the switch-over is not complete"),
        Some(_) if !adapter.carrier => Some("the adapter has no link"),
        Some(planned) if planned.past.given_up => Some("frames of the guest come by its tap"),
        Some(_) => Some("both paths are open, until it is sure that the guest uses the VF"),
        // One on another intent's bridge keeps the path it has, which is told by the same evidence.
        None => {
            let mut intents = desired.intents.iter();
            let intent = intents.find(|intent| nic.bridge.as_ref() == Some(&intent.bridge));
            let stands = intent.is_none_or(|intent| stands_on_vf(observed, intent, vm, nic));
            (!stands).then_some("the switch-over is not complete")
        }
    };
    match why_not {
        None => status.path = NicPath::Vf,
        Some(why) => {
            status.reason = Some(why.to_owned());
            if !nic.link_up {
                status.path = NicPath::None;
            }
        }
    }
    status
}
