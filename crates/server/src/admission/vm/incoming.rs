//! A VM that some tool moves to a node on its VF, without having asked: whether it may come.

use accelnet_api::incoming::{Admitted, IncomingVm};
use accelnet_model::{Name, Problem};

use super::{enabled_intent, travel::has_room};
use crate::{
    reports::{Known, Seen},
    state::Wish,
    view,
};

/// Whether a VM may come to a node, and at which level. One that nobody wants accelerated (any more) may always: it
/// runs there by its tap.
///
/// # Errors
/// `no_free_vf` where it would not find one: it goes on where it is, on its VF.
pub fn incoming(
    wish: &Wish,
    seen: &Seen,
    node: &Name,
    coming: &IncomingVm,
) -> Result<Admitted, Problem> {
    let nobody_s = Ok(Admitted { level: None });
    let Ok(intent) = enabled_intent(wish) else {
        return nobody_s;
    };
    let wanted = wish.on(coming.uuid, &intent.name);
    let Some(level) = wanted.and_then(|wanted| wanted.level) else {
        return nobody_s;
    };
    // What is wanted of it is known, so it is, wherever it is.
    let vm = view::one(wish, seen, coming.uuid).filter(|vm| vm.node.as_ref() != Some(node));
    if let Some(vm) = vm {
        if let Some(blind) = seen.node(node).and_then(Known::blind) {
            return Err(blind);
        }
        has_room(wish, seen, &vm, node).map_err(|problem| problem.with_cure(CURE))?;
    }
    Ok(Admitted { level: Some(level) })
}

const CURE: &str = "It goes on where it is, on its VF. 'accelnet vm where VM' shows which nodes can have it; \
    'accelnet vm move VM NODE --without-vf' lets it go there all the same, by the switch.";
