//! VFs in use whose vectors are not those that the VM's level costs, or are not known: what was
//! interrupted on a card that does not show them is done again.

use accelnet_model::{AdapterFacts, Intent, Performance, Problem, VfFacts, VmFacts};

use super::Plan;
use crate::{Observed, eligibility, observed::nics_on, profile};

/// The VF is not known to have the number of vectors that the level costs.
pub fn differ(adapter: &AdapterFacts, vf: &VfFacts, intent: &Intent, level: Performance) -> bool {
    let wanted = profile::wanted_vectors(adapter, &intent.levels, level);
    wanted.is_some_and(|wanted| !vf.msix_vectors.is(&wanted))
}

/// Says why a VF goes on with other vectors than the level costs.
pub fn not_provided(
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    level: Performance,
    problems: &[Problem],
    plan: &mut Plan,
) {
    let mut why = Vec::new();
    for nic in nics_on(vm, &intent.bridge) {
        let Some((adapter, vf)) = observed.vf_of(vm, nic) else {
            continue;
        };
        if differ(adapter, vf, intent, level) {
            let short = eligibility::short_of_vectors(adapter, vf, &intent.levels, level);
            let short = short.filter(|_| problems.is_empty());
            why.extend(short.map(|problem| problem.about("vm", &vm.name)));
            why.extend(problems.iter().cloned());
        }
    }
    why.dedup();
    if !why.is_empty() {
        plan.vm_problems.entry(vm.uuid).or_default().extend(why);
    }
}
