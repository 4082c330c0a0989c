//! Why a VM's packets go the way they go: what the server knows, as the rule takes it.

use accelnet_api::Vm;
use accelnet_model::{Code, NicCounted, Problem, VmExplanation};
use accelnet_rules::explain::{At, Scene, explain};

use crate::{
    admission,
    reports::Seen,
    state::Wish,
    whereabouts::{self, Look},
};

/// The chain of a VM that was found, with what its node has counted.
pub fn of(
    wish: &Wish,
    seen: &Seen,
    vm: &Vm,
    counted: &Result<Vec<NicCounted>, String>,
) -> VmExplanation {
    let wanted = wish.enabled_for(vm.uuid);
    let waived: Vec<String> = wanted
        .map(|wanted| wanted.waivers.iter().map(|waiver| waiver.rule.clone()))
        .into_iter()
        .flatten()
        .collect();
    // Of one that is nowhere, or cannot be looked at, the view says why.
    let why = |code: Code| {
        let why = vm.problems.first().cloned();
        why.unwrap_or_else(|| Problem::new(code, format!("Nothing is known of '{}'.", vm.name)))
    };
    let place = whereabouts::of(seen, vm.uuid);
    let at = match &place {
        None => At::Nowhere(why(Code::VmNotFound)),
        Some(place) => {
            let node = &place.node.name;
            match (place.node.blind(), place.look) {
                (Some(because), _) => At::NotSeen { node, because },
                (None, Look::Unseen { .. }) => At::NotSeen {
                    node,
                    because: why(Code::VmNotSeen),
                },
                (None, Look::Seen(status)) => At::On {
                    node,
                    status: place.status,
                    vm: status,
                    pending: vm.pending,
                },
            }
        }
    };
    explain(&Scene {
        name: &vm.name,
        uuid: vm.uuid,
        desired: &wish.desired,
        level: wanted.and_then(|wanted| wanted.level),
        parked: vm.parked.as_ref().map(|parked| parked.because.clone()),
        waived: &waived,
        shortage: admission::shortage_now(wish, seen),
        at,
        counted: counted.as_deref().map_err(String::as_str),
    })
}
