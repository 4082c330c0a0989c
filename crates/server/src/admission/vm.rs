//! VMs: accelerated if they are eligible and there is room, brought back whenever it is asked for.

use accelnet_api::{AccelerateRequest, Vm};
use accelnet_model::{Code, IfName, Intent, NodeStatus, Performance, Problem, VmDesired, VmFacts};
use accelnet_rules::{
    Observed,
    attach::{ATTACH, DETACH, Step},
    eligibility,
    observed::nics_on,
    profile, staging,
};

use super::{Decided, Decision, capacity};
use crate::{
    reports::Known,
    state::{Wish, Write},
};

/// The intent that acceleration is enabled on.
fn enabled_intent(wish: &Wish) -> Result<&Intent, Vec<Problem>> {
    wish.desired.enabled_intent().ok_or_else(|| {
        let text = "No intent is enabled.";
        vec![Problem::new(Code::AccelNetNotEnabled, text)]
    })
}

/// The report of the VM's node, which must be of now.
fn report_of<'a>(nodes: &'a [Known], vm: &Vm) -> Result<&'a NodeStatus, Vec<Problem>> {
    let unknown = || {
        let text = format!("No node has VM '{}' now.", vm.name);
        Problem::new(Code::VmNotFound, text).about("vm", &vm.name)
    };
    let name = vm.node.as_ref();
    let node = nodes.iter().find(|node| Some(&node.name) == name);
    let Some(node) = node else {
        // Perhaps it is on a node that cannot tell.
        let blind = nodes.iter().find_map(Known::blind);
        return Err(vec![blind.unwrap_or_else(unknown)]);
    };
    node.current()
        .ok_or_else(|| vec![node.silent.clone().unwrap_or_else(unknown)])
}

/// The wish for the VM, or none yet.
fn desired(wish: &Wish, vm: &Vm) -> VmDesired {
    wish.vm(vm.uuid).cloned().unwrap_or(VmDesired {
        uuid: vm.uuid,
        level: None,
        prepare: false,
    })
}

fn write(wish: &Wish, vm: &Vm, change: impl FnOnce(&mut VmDesired)) -> Write {
    let mut desired = desired(wish, vm);
    change(&mut desired);
    let name = vm.name.clone();
    Write::Vm { desired, name }
}

/// Accelerating a VM, or changing its level.
pub fn accelerate(wish: &Wish, nodes: &[Known], vm: &Vm, request: &AccelerateRequest) -> Decision {
    let intent = enabled_intent(wish)?;
    let (level, present) = (request.performance, vm.level);
    let must_be = request.must_be_accelerated;
    if must_be.is_some_and(|must_be| must_be != present.is_some()) {
        return Err(vec![wrong_state(vm, present)]);
    }
    let observed = Observed::from_status(report_of(nodes, vm)?);
    let Some(facts) = observed.vm(vm.uuid) else {
        let text = format!("VM '{}' went away.", vm.name);
        return Err(vec![
            Problem::new(Code::VmNotFound, text).about("vm", &vm.name),
        ]);
    };
    let mut problems = eligibility::check(&observed, facts, intent, level);
    // Whoever is not eligible at all need not hear of the others' VFs too.
    if problems.is_empty() && present != Some(level) {
        problems.extend(capacity::refused(wish, nodes, intent, vm, level));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if present == Some(level) {
        return Ok(Decided::nothing());
    }
    let mut plan = match present {
        Some(old) => changed_level(&observed, facts, intent, old, level),
        None => nics_on(facts, &intent.bridge)
            .flat_map(|nic| steps(&nic.mac.to_string(), &attach(&observed, intent)))
            .collect(),
    };
    if let Some(rate) = intent.levels.max_tx_rate_mbps(level) {
        plan.push(format!("let it send {rate} Mbit/s at most"));
    }
    let mut desired = desired(wish, vm);
    desired.level = Some(level);
    let staging = staging::missing(facts, &desired, intent);
    plan.extend(staging::in_words(facts, &staging));
    let write = write(wish, vm, |desired| desired.level = Some(level));
    Ok(Decided::one(write, plan))
}

/// The steps to a VF, as far as they concern the node's adapters.
fn attach(observed: &Observed, intent: &Intent) -> Vec<Step> {
    let pool = observed
        .uplinks(intent)
        .any(|adapter| profile::idle_vectors(adapter).is_some());
    let mut steps = ATTACH.to_vec();
    steps.retain(|step| pool || *step != Step::VfVectors);
    steps
}

/// What another level means for NICs with their VFs: where vectors come from a pool they go by their
/// taps, as a VF's number can be changed only while no guest has it.
fn changed_level(
    observed: &Observed,
    facts: &VmFacts,
    intent: &Intent,
    old: Performance,
    level: Performance,
) -> Vec<String> {
    let mut plan = Vec::new();
    for nic in nics_on(facts, &intent.bridge) {
        let Some((adapter, vf)) = observed.vf_of(facts, nic) else {
            continue;
        };
        let wanted = profile::wanted_vectors(adapter, &intent.levels, level);
        let has = vf.msix_vectors.value();
        let moves = has.is_some_and(|has| wanted.is_some_and(|wanted| wanted != *has));
        if moves {
            let mac = nic.mac.to_string();
            plan.extend(steps(&mac, DETACH));
            plan.extend(steps(&mac, &attach(observed, intent)));
        }
    }
    let text = format!("change the level from {old} to {level}");
    if plan.is_empty() {
        vec![format!("{text}; the VF stays")]
    } else {
        plan.insert(0, format!("{text}, without interruption:"));
        plan
    }
}

fn wrong_state(vm: &Vm, present: Option<Performance>) -> Problem {
    let name = &vm.name;
    let text = match present {
        Some(level) => format!("VM '{name}' is accelerated at {level} already."),
        None => format!("VM '{name}' is not accelerated."),
    };
    Problem::new(Code::VmNotAccelerated, text).about("vm", name)
}

fn steps(nic: &str, sequence: &[Step]) -> Vec<String> {
    let steps = sequence.iter();
    steps.map(|step| format!("NIC {nic}: {step}")).collect()
}

/// Bringing a VM back to the software path; what is not accelerated stays so. A VM that no node has
/// is forgotten, and so gives back what was held for it.
pub fn decelerate(wish: &Wish, vm: &Vm) -> Decision {
    if vm.level.is_none() {
        return Ok(Decided::nothing());
    }
    if vm.node.is_none() {
        let plan = vec!["give back the VFs that are held for it, on all nodes".to_owned()];
        return Ok(Decided::one(Write::NoVm(vm.uuid), plan));
    }
    let intent = enabled_intent(wish)?;
    if let Some(problem) = on_another_bridge(vm, intent) {
        return Err(vec![problem]);
    }
    let on_vf = vm.nics.iter().filter(|nic| nic.vf.is_some());
    let mut plan: Vec<String> = on_vf
        .flat_map(|nic| steps(&nic.mac.to_string(), DETACH))
        .collect();
    if plan.is_empty() {
        plan.push("give back the VF that is held for it".to_owned());
    }
    let write = write(wish, vm, |desired| desired.level = None);
    Ok(Decided::one(write, plan))
}

/// All its VFs are on bridges of other intents, which nobody manages now: it would never come back.
fn on_another_bridge(vm: &Vm, intent: &Intent) -> Option<Problem> {
    let with_vf = vm.nics.iter().filter(|nic| nic.vf.is_some());
    let bridges: Vec<_> = with_vf.map(|nic| nic.bridge.as_ref()).collect();
    let first = bridges.first().copied().flatten()?;
    let elsewhere =
        |bridge: &Option<&IfName>| bridge.is_some_and(|bridge| *bridge != intent.bridge);
    if !bridges.iter().all(elsewhere) {
        return None;
    }
    let (name, enabled) = (&vm.name, &intent.name);
    let text =
        format!("VM '{name}' has its VF on {first}, which intent '{enabled}' does not manage.");
    let cure =
        format!("Run 'accelnet set --intent …' with the intent of {first}, then disable the VM.");
    let problem = Problem::new(Code::VmNoNicOnIntent, text).with_cure(cure);
    Some(problem.about("vm", name))
}

/// Staging on a VM's definition what acceleration needs.
pub fn prepare(wish: &Wish, nodes: &[Known], vm: &Vm) -> Decision {
    let intent = enabled_intent(wish)?;
    let observed = Observed::from_status(report_of(nodes, vm)?);
    let Some(facts) = observed.vm(vm.uuid) else {
        let text = format!("VM '{}' went away.", vm.name);
        return Err(vec![
            Problem::new(Code::VmNotFound, text).about("vm", &vm.name),
        ]);
    };
    let problems = eligibility::check_prepare(facts, intent);
    if !problems.is_empty() {
        return Err(problems);
    }
    if wish.vm(vm.uuid).is_some_and(|desired| desired.prepare) {
        return Ok(Decided::nothing());
    }
    let mut desired = desired(wish, vm);
    desired.prepare = true;
    let staging = staging::missing(facts, &desired, intent);
    let mut plan = staging::in_words(facts, &staging);
    if plan.is_empty() {
        plan.push("nothing: the definition has what acceleration needs".to_owned());
    }
    let write = write(wish, vm, |desired| desired.prepare = true);
    Ok(Decided::one(write, plan))
}
