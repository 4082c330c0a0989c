//! Can this VM be accelerated at this level, on this node, now? Every reason why not, at once.
//!
//! | part | asks |
//! |---|---|
//! | [`definition`] | machine type, NIC model, standby feature, root ports, and who may change them |
//! | [`size`] | vCPUs for the level, memory that can be pinned |
//! | [`supply`] | node, adapters and VFs: can they give the level now |
//! | [`port`] | what the VM's port on the switch carries: policy, further addresses, MTU |
//!
//! What a VM has already (a VF, a root port, pinned memory) is not asked for again.

mod definition;
mod port;
mod size;
mod supply;

use accelnet_model::{Code, Intent, NicFacts, Performance, Problem, VmFacts, VmState};
pub use port::{findings, others_behind};
pub use supply::{free_vfs, has_vectors, short_of_vectors};

pub(crate) use definition::staging_refused;

use definition::STAGED_ALREADY;

use crate::{
    observed::{Observed, nics_on},
    pair,
};

/// All that keeps the VM from being accelerated; empty if nothing does. `waived` are names of rules of its ports
/// that need not hold.
pub fn check(
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    level: Performance,
    waived: &[String],
) -> Vec<Problem> {
    let nics = match connected(vm, intent) {
        Ok(nics) => nics,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    if vm.state != VmState::Running {
        let state = match vm.state {
            VmState::Paused => "paused",
            VmState::Running | VmState::Off => "off",
        };
        let text = format!("VM '{}' is {state}.", vm.name);
        problems.push(Problem::new(Code::VmNotRunning, text));
    }
    let waiting = waiting(observed, vm, &nics);
    of_itself(observed, vm, &nics, &waiting, level, &mut problems);
    if vm.state == VmState::Off {
        supply::check(observed, intent, level, 0, &mut problems);
        return about(vm, problems);
    }
    supply::check(observed, intent, level, waiting.len(), &mut problems);
    problems.extend(nics.iter().filter_map(|nic| pair::problem(vm, nic)));
    let paired = |nic: &&NicFacts| pair::of_others(vm, nic).is_some();
    let nics: Vec<&NicFacts> = nics.into_iter().filter(|nic| !paired(nic)).collect();
    port::foreign_vfs(observed, vm, &nics, &mut problems);
    if !waiting.is_empty() {
        port::mtu(observed, intent, &waiting, &mut problems);
    }
    for nic in nics {
        port::check(observed, vm, intent, nic, waived, &mut problems);
    }
    about(vm, problems)
}

/// What in the VM itself keeps it from being accelerated, whatever the node has for it: of use before
/// the intent's VFs are there.
pub fn check_vm(
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    level: Performance,
) -> Vec<Problem> {
    let nics = match connected(vm, intent) {
        Ok(nics) => nics,
        Err(problem) => return vec![problem],
    };
    let waiting = waiting(observed, vm, &nics);
    let mut problems = Vec::new();
    of_itself(observed, vm, &nics, &waiting, level, &mut problems);
    about(vm, problems)
}

/// What shows on the VM alone. Of one that is off only what starting it would not change.
fn of_itself(
    observed: &Observed,
    vm: &VmFacts,
    nics: &[&NicFacts],
    waiting: &[&NicFacts],
    level: Performance,
    problems: &mut Vec<Problem>,
) {
    let off = vm.state == VmState::Off;
    if off {
        problems.extend(definition::check_prepare(vm, nics));
    } else {
        definition::check(vm, waiting, problems);
    }
    problems.extend(size::vcpus(observed, vm, level));
    if !off {
        problems.extend(size::memory(observed, vm));
    }
}

/// Why a VM cannot get a NIC on the intent's bridge, or not be accelerated with it; empty if nothing
/// keeps it.
pub fn check_without_nic(
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    level: Performance,
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = staging_refused(vm).into_iter().collect();
    problems.extend(definition::check_prepare(vm, &[]));
    problems.extend(size::vcpus(observed, vm, level));
    let running = vm.state == VmState::Running;
    if running {
        problems.extend(size::memory(observed, vm));
    }
    supply::check(observed, intent, level, usize::from(running), &mut problems);
    port::mtu(observed, intent, &[], &mut problems);
    about(vm, problems)
}

/// Why what acceleration needs cannot be staged on the VM's definition; empty if it can, or if
/// nothing is missing.
pub fn check_prepare(vm: &VmFacts, intent: &Intent) -> Vec<Problem> {
    match connected(vm, intent) {
        Ok(nics) => about(vm, definition::check_prepare(vm, &nics)),
        Err(problem) => vec![problem],
    }
}

/// The VM's NICs on the intent's bridge; there must be one.
fn connected<'a>(vm: &'a VmFacts, intent: &'a Intent) -> Result<Vec<&'a NicFacts>, Problem> {
    let name = &vm.name;
    let nics: Vec<&NicFacts> = nics_on(vm, &intent.bridge).collect();
    let problem = if vm.nics.is_empty() && vm.nics_staged.is_empty() {
        let text = format!("VM '{name}' has no NIC.");
        Problem::new(Code::GetNetworkAdapterFailed, text)
    } else if nics.is_empty()
        && let Some(problem) = waits_for_start(vm, intent)
    {
        problem
    } else if nics.is_empty() {
        let places = vm.nics.iter().map(|nic| match (&nic.bridge, &nic.direct) {
            (Some(bridge), _) => format!("{} on {bridge}", nic.mac),
            (None, Some(below)) => format!("{} a macvtap of {below}, type 'direct'", nic.mac),
            (None, None) => format!("{} on no bridge", nic.mac),
        });
        let places: Vec<String> = places.collect();
        let text = format!(
            "None of the NICs of VM '{name}' is on bridge {} ({}).",
            intent.bridge,
            places.join(", ")
        );
        Problem::new(Code::VmNoNicOnIntent, text)
    } else {
        return Ok(nics);
    };
    Err(problem.about("vm", name))
}

/// Why a VM whose NIC is staged is not accelerated yet.
fn waits_for_start(vm: &VmFacts, intent: &Intent) -> Option<Problem> {
    let mut staged = vm.nics_staged.iter();
    let nic = staged.find(|nic| nic.bridge.as_ref() == Some(&intent.bridge))?;
    let (mac, bridge) = (nic.mac, &intent.bridge);
    let text = format!("NIC {mac} on {bridge} comes with the VM's next cold start.");
    let problem = Problem::new(Code::VmNeedsColdStart, text).about("nic", mac);
    Some(problem.with_cure(STAGED_ALREADY))
}

/// NICs that have no VF yet: what is needed for them must be free. Nothing is needed for one that has somebody
/// else's.
fn waiting<'a>(observed: &Observed, vm: &VmFacts, nics: &[&'a NicFacts]) -> Vec<&'a NicFacts> {
    let without =
        |nic: &&NicFacts| observed.vf_of(vm, nic).is_none() && pair::of_others(vm, nic).is_none();
    nics.iter().copied().filter(without).collect()
}

fn about(vm: &VmFacts, problems: Vec<Problem>) -> Vec<Problem> {
    let named = problems
        .into_iter()
        .map(|problem| problem.about("vm", &vm.name));
    named.collect()
}

#[cfg(test)]
mod tests;
