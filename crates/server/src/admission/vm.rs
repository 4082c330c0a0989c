//! VMs: accelerated if they are eligible and there is room, brought back whenever it is asked for.

mod incoming;
mod nic;
mod park;
mod travel;
mod waiver;

use std::collections::BTreeSet;

use accelnet_api::{AccelerateRequest, Vm};
use accelnet_model::{Code, Intent, NodeStatus, Performance, Problem, VmFacts};
use accelnet_rules::{Observed, eligibility, moves, observed::nics_on, profile, staging};
use jiff::Timestamp;

pub use incoming::incoming;
pub use park::{park, park_ended, unpark};
pub use travel::travel;
pub use waiver::ended as waivers_ended;

use super::{Decided, Decision, capacity};
use crate::{
    reports::{Known, Seen},
    state::{OnIntent, Wanted, Wish, Write},
};

/// The intent that acceleration is enabled on.
fn enabled_intent(wish: &Wish) -> Result<&Intent, Vec<Problem>> {
    wish.desired.enabled_intent().ok_or_else(|| {
        let text = "No intent is enabled.";
        vec![Problem::new(Code::AccelNetNotEnabled, text)]
    })
}

/// The report of the VM's node, which must be of now.
fn report_of<'a>(seen: &'a Seen, vm: &Vm) -> Result<&'a NodeStatus, Vec<Problem>> {
    let unknown = || {
        let text = format!("No node has VM '{}' now.", vm.name);
        Problem::new(Code::VmNotFound, text).about("vm", &vm.name)
    };
    let node = vm.node.as_ref().and_then(|name| seen.node(name));
    // Where it is may be known from before, and how it is now must be.
    let blind = match node {
        Some(node) => node.blind(),
        // Perhaps it is on a node that cannot tell.
        None => seen.iter().find_map(Known::blind),
    };
    let current = node.filter(|_| blind.is_none()).and_then(Known::current);
    current.ok_or_else(|| vec![blind.unwrap_or_else(unknown)])
}

/// What is wanted for a VM on an intent.
fn wanted(wish: &Wish, vm: &Vm, intent: &Intent) -> OnIntent {
    wish.on(vm.uuid, &intent.name).cloned().unwrap_or_default()
}

/// The wish for a VM on an intent; what is wanted on others stays.
fn write(wish: &Wish, vm: &Vm, intent: &Intent, wanted: OnIntent) -> Write {
    let mut all = all_wanted(wish, vm);
    all.intents.insert(intent.name.clone(), wanted);
    put(vm, all)
}

/// All that is wanted for a VM, to be changed.
fn all_wanted(wish: &Wish, vm: &Vm) -> Wanted {
    let spec = wish.specs.get(vm.uuid);
    Wanted {
        intents: spec.map(|spec| spec.intents.clone()).unwrap_or_default(),
        park: wish.park_of(vm.uuid).cloned(),
        name: vm.name.clone(),
    }
}

fn put(vm: &Vm, wanted: Wanted) -> Write {
    Write::Vm {
        uuid: vm.uuid,
        wanted,
    }
}

/// Accelerating a VM, or changing its level. `who` asks, `now`.
pub fn accelerate(
    wish: &Wish,
    seen: &Seen,
    vm: &Vm,
    request: &AccelerateRequest,
    (who, now): (&str, Timestamp),
) -> Decision {
    let intent = enabled_intent(wish)?;
    let (level, present) = (request.performance, vm.level);
    let must_be = request.must_be_accelerated;
    if must_be.is_some_and(|must_be| must_be != present.is_some()) {
        return Err(vec![wrong_state(vm, present)]);
    }
    let observed = Observed::from_status(report_of(seen, vm)?);
    let Some(facts) = observed.vm(vm.uuid) else {
        let text = format!("VM '{}' went away.", vm.name);
        return Err(vec![
            Problem::new(Code::VmNotFound, text).about("vm", &vm.name),
        ]);
    };
    let new = nic::added(wish, seen, facts, intent, request);
    let before = wanted(wish, vm, intent);
    let waivers = waiver::added(&before, &observed, facts, intent, request, (who, now))?;
    let asked = OnIntent { waivers, ..before };
    let mut problems = match &new {
        Some(_) => eligibility::check_without_nic(&observed, facts, intent, level),
        None => eligibility::check(&observed, facts, intent, level, &asked.waived()),
    };
    // Whoever is not eligible at all need not hear of the others' VFs too.
    if problems.is_empty() && present != Some(level) {
        problems.extend(capacity::refused(wish, seen, intent, vm, level));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let wanted = OnIntent {
        level: Some(level),
        add_nic: new.or(before.add_nic),
        ..asked
    };
    if present == Some(level) && wanted == before {
        return Ok(Decided::nothing());
    }
    let mut plan = waiver::in_words(&before, &wanted);
    if let Some(mac) = new {
        plan.extend(nic::plan(facts, intent, mac));
    }
    match present {
        Some(old) if old != level && vm.parked.is_some() => {
            plan.push(format!("change the level from {old} to {level}"));
        }
        Some(old) if old != level => {
            plan.extend(changed_level(&observed, facts, intent, old, level));
        }
        Some(_) => {}
        None => {
            let there = nics_on(facts, &intent.bridge).map(|nic| nic.mac);
            let macs = there.chain(new).collect::<BTreeSet<_>>();
            let sequence = attach(&observed, intent);
            plan.extend(
                macs.into_iter()
                    .flat_map(|mac| steps(&mac.to_string(), sequence.clone())),
            );
        }
    }
    let rate = intent.levels.max_tx_rate_mbps(level);
    if let Some(rate) = rate.filter(|_| present != Some(level)) {
        plan.push(format!("let it send {rate} Mbit/s at most"));
    }
    let staging = staging::missing(facts, &wanted.desired(vm.uuid), intent);
    plan.extend(staging::in_words(facts, &staging));
    let write = write(wish, vm, intent, wanted);
    Ok(Decided::one(write, plan))
}

/// The steps to a VF, as far as they concern the node's adapters.
fn attach(observed: &Observed, intent: &Intent) -> Vec<&'static str> {
    let pool = observed
        .uplinks(intent)
        .any(|adapter| profile::idle_vectors(adapter).is_some());
    moves::steps_to_vf(pool).collect()
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
            plan.extend(steps(&mac, moves::steps_back()));
            plan.extend(steps(&mac, attach(observed, intent)));
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

fn steps(nic: &str, steps: impl IntoIterator<Item = &'static str>) -> Vec<String> {
    let steps = steps.into_iter();
    steps.map(|step| format!("NIC {nic}: {step}")).collect()
}

/// Bringing a VM back to the software path; what is not accelerated stays so. A VM that no node has
/// is forgotten, and so gives back what was held for it. NICs on other intents' bridges stay as they
/// are: nobody manages them now.
pub fn decelerate(wish: &Wish, vm: &Vm) -> Decision {
    if vm.level.is_none() {
        return Ok(Decided::nothing());
    }
    if vm.node.is_none() {
        let plan = vec!["give back the VFs that are held for it, on all nodes".to_owned()];
        return Ok(Decided::one(forget(wish, vm), plan));
    }
    let intent = enabled_intent(wish)?;
    let on_vf = vm.nics.iter().filter(|nic| nic.managed && nic.vf.is_some());
    let mut plan: Vec<String> = on_vf
        .flat_map(|nic| steps(&nic.mac.to_string(), moves::steps_back()))
        .collect();
    if plan.is_empty() {
        plan.push("give back the VF that is held for it".to_owned());
    }
    plan.extend(vm.kept_vfs().map(|nic| {
        let (mac, vf) = (
            nic.mac,
            nic.vf.map_or_else(String::new, |vf| vf.to_string()),
        );
        format!("NIC {mac}: keeps VF {vf}; acceleration is not enabled on its network")
    }));
    // A NIC that was added stays; it would not be added again.
    let wanted = OnIntent {
        level: None,
        add_nic: None,
        waivers: Vec::new(),
        ..wanted(wish, vm, intent)
    };
    let mut all = all_wanted(wish, vm);
    all.intents.insert(intent.name.clone(), wanted);
    // There is nothing left that it would be kept from.
    all.park = None;
    Ok(Decided::one(put(vm, all), plan))
}

/// Nothing is held for the VM on the enabled intent any more, or nowhere if none is enabled; what is
/// kept for other intents stays.
fn forget(wish: &Wish, vm: &Vm) -> Write {
    let mut all = all_wanted(wish, vm);
    match wish.desired.enabled.as_ref() {
        Some(enabled) => drop(all.intents.remove(&enabled.intent)),
        None => all.intents.clear(),
    }
    if all.intents.values().all(|wanted| wanted.level.is_none()) {
        return Write::NoVm(vm.uuid);
    }
    all.park = None;
    put(vm, all)
}

/// Staging on a VM's definition what acceleration needs.
pub fn prepare(wish: &Wish, seen: &Seen, vm: &Vm) -> Decision {
    let intent = enabled_intent(wish)?;
    let observed = Observed::from_status(report_of(seen, vm)?);
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
    let before = wanted(wish, vm, intent);
    let missing = |wanted: &OnIntent| staging::missing(facts, &wanted.desired(vm.uuid), intent);
    let staged_anyway = missing(&before);
    let wanted = OnIntent {
        prepare: true,
        ..before
    };
    let staging = missing(&wanted);
    // The definition has what is needed, or it comes by what is wanted already.
    if staging == staged_anyway {
        return Ok(Decided::nothing());
    }
    let plan = staging::in_words(facts, &staging);
    Ok(Decided::one(write(wish, vm, intent, wanted), plan))
}
