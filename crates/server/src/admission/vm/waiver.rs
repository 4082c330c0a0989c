//! Waivers: rules of a VM's ports that need not hold on a VF.

use accelnet_api::AccelerateRequest;
use accelnet_model::{Code, Intent, Problem, VmFacts, VmState, Waiver};
use accelnet_rules::{Observed, eligibility, observed::nics_on};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Decided, OnIntent, Seen, Wish, all_wanted, put};
use crate::{
    view,
    whereabouts::{self, Look},
};

/// Those that there are and those that are asked for.
///
/// # Errors
/// `waiver_not_found` for what is no rule of the VM's ports, or none that can be waived.
pub fn added(
    before: &OnIntent,
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    request: &AccelerateRequest,
    (who, now): (&str, Timestamp),
) -> Result<Vec<Waiver>, Vec<Problem>> {
    let mut waivers = before.waivers.clone();
    let mut problems = Vec::new();
    for rule in &request.waive {
        if waivers.iter().any(|waiver| &waiver.rule == rule) {
            continue;
        }
        let nics = nics_on(vm, &intent.bridge);
        let mut findings = nics.flat_map(|nic| eligibility::findings(observed, vm, nic));
        if findings.any(|finding| finding.name.as_ref() == Some(rule)) {
            waivers.push(Waiver {
                rule: rule.clone(),
                by: who.to_owned(),
                at: now,
                because: request.because.clone(),
            });
        } else {
            let text = format!("The ports of VM '{}' have no rule '{rule}' now.", vm.name);
            problems.push(Problem::new(Code::WaiverNotFound, text).about("vm", &vm.name));
        }
    }
    match problems.is_empty() {
        true => Ok(waivers),
        false => Err(problems),
    }
}

/// What those that are new mean.
pub fn in_words(before: &OnIntent, wanted: &OnIntent) -> Vec<String> {
    let new = wanted
        .waivers
        .iter()
        .filter(|waiver| !before.waivers.contains(waiver));
    let words = new.map(|waiver| format!("waive {}: it does not hold on the VF", waiver.rule));
    words.collect()
}

/// Those whose rule is gone are gone too, so that one that comes back is decided on anew. Nothing is concluded
/// from a VM that is off, whose ports do not exist, or from what could not be looked at.
pub fn ended(wish: &Wish, seen: &Seen, uuid: Uuid) -> Decided {
    let nothing = Decided::nothing();
    let Some(intent) = wish.desired.enabled_intent() else {
        return nothing;
    };
    let waivers = wish.on(uuid, &intent.name).map(|wanted| &wanted.waivers);
    let Some(waivers) = waivers.filter(|waivers| !waivers.is_empty()) else {
        return nothing;
    };
    let Some(place) = whereabouts::of(seen, uuid) else {
        return nothing;
    };
    let (Look::Seen(status), None) = (place.look, place.node.blind()) else {
        return nothing;
    };
    if status.facts.state != VmState::Running || !status.policy_seen {
        return nothing;
    }
    let is_there = |waiver: &Waiver| {
        let mut policy = status.policy.iter();
        policy.any(|finding| finding.name.as_ref() == Some(&waiver.rule))
    };
    let (stay, gone): (Vec<Waiver>, Vec<Waiver>) = waivers.iter().cloned().partition(is_there);
    let Some(vm) = view::one(wish, seen, uuid).filter(|_| !gone.is_empty()) else {
        return nothing;
    };
    let mut all = all_wanted(wish, &vm);
    let Some(wanted) = all.intents.get_mut(&intent.name) else {
        return nothing;
    };
    wanted.waivers = stay;
    let words = gone
        .iter()
        .map(|waiver| format!("the waiver of {} ends: the rule is gone", waiver.rule));
    Decided::one(put(&vm, all), words.collect())
}
