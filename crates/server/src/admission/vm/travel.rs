//! Moving a VM to another node: off its VF, live migration, a VF there.

use std::time::Duration;

use accelnet_api::{MoveRequest, Vm};
use accelnet_model::{Code, Name, Problem, VmState};
use accelnet_rules::moves;
use jiff::Timestamp;

use super::{all_wanted, enabled_intent, put, steps};
use crate::{
    admission::{Decided, Decision, places},
    audit::printable,
    reports::{Known, Seen},
    state::{Park, Wanted, Wish, Write},
};

/// How long it is tried if nobody says: a VM with much memory on a slow network takes minutes.
const USUAL_SECONDS: u64 = 600;
/// A day; nothing holds room on two nodes for longer.
const LONGEST_SECONDS: u64 = 24 * 3600;

/// Moving a VM: it is parked at its node, which migrates it when it goes by its tap, until it runs where it was
/// to go.
pub fn travel(
    wish: &Wish,
    seen: &Seen,
    vm: &Vm,
    request: &MoveRequest,
    now: Timestamp,
) -> Decision {
    enabled_intent(wish)?;
    let seconds = request.for_seconds.unwrap_or(USUAL_SECONDS);
    let to = may_go(wish, seen, vm, request, seconds).map_err(|problem| vec![problem])?;
    let before = wish.park_of(vm.uuid);
    if vm.node.as_ref() == Some(to) {
        return Ok(stay(wish, vm, before));
    }
    let until = now
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX);
    let park = Park::until_moved(before, now, to, until);
    let mut plan = Vec::new();
    let on_vf = vm.nics.iter().filter(|nic| nic.managed && nic.vf.is_some());
    plan.extend(on_vf.flat_map(|nic| steps(&nic.mac.to_string(), moves::steps_back())));
    plan.push(format!("migrate it to '{to}', live"));
    plan.push(match park.holds_on(to) {
        true => "there it stays on its software path".to_owned(),
        false => "give it its VFs there when it runs".to_owned(),
    });
    Ok(Decided::one(parked(wish, vm, Some(park)), plan))
}

fn parked(wish: &Wish, vm: &Vm, park: Option<Park>) -> Write {
    let wanted = Wanted {
        park,
        ..all_wanted(wish, vm)
    };
    put(vm, wanted)
}

/// It is where it shall be: that it was to go elsewhere counts no more.
fn stay(wish: &Wish, vm: &Vm, before: Option<&Park>) -> Decided {
    match before.filter(|park| park.moving_to().is_some()) {
        None => Decided::nothing(),
        Some(park) => {
            let plan = vec!["move it no longer".to_owned()];
            Decided::one(parked(wish, vm, park.without_move()), plan)
        }
    }
}

/// The node that it may go to.
fn may_go<'a>(
    wish: &Wish,
    seen: &'a Seen,
    vm: &Vm,
    request: &MoveRequest,
    seconds: u64,
) -> Result<&'a Name, Problem> {
    if !(1..=LONGEST_SECONDS).contains(&seconds) {
        let problem = Problem::new(Code::InvalidArgument, format!("{seconds} s were given."));
        let problem = problem.with_cure("Give a time of one second to one day, or none.");
        return Err(problem.about("field", "for_seconds"));
    }
    let to = node(seen, &request.to)?;
    if vm.level.is_none() {
        let text = format!("VM '{}' is not accelerated.", vm.name);
        let problem = Problem::new(Code::VmNotAccelerated, text).about("vm", &vm.name);
        return Err(problem.with_cure(
            "Any tool can migrate it, for instance 'virsh migrate --live'; nothing has to be done before.",
        ));
    }
    if vm.state == VmState::Off {
        let text = format!("VM '{}' is off.", vm.name);
        let problem = Problem::new(Code::VmNotRunning, text).about("vm", &vm.name);
        return Err(problem.with_cure("Start it on the other node: it is accelerated there."));
    }
    if let Some(blind) = to.blind() {
        return Err(blind);
    }
    if vm.node.as_ref() != Some(&to.name) && !request.without_vf {
        has_room(wish, seen, vm, &to.name)?;
    }
    Ok(&to.name)
}

fn node<'a>(seen: &'a Seen, word: &str) -> Result<&'a Known, Problem> {
    let name: Option<Name> = word.parse().ok();
    name.and_then(|name| seen.node(&name)).ok_or_else(|| {
        let text = format!("There is no node '{}'.", printable(word));
        Problem::new(Code::NodeNotFound, text)
    })
}

/// It can have its VFs there. Where VMs are is not ours to choose, so the reserve is nothing to refuse by.
pub fn has_room(wish: &Wish, seen: &Seen, vm: &Vm, to: &Name) -> Result<(), Problem> {
    let places = places(wish, seen, vm, vm.level)?;
    let mut there = places.nodes.iter().filter(|place| place.node == *to);
    if there.any(|place| place.fits) {
        return Ok(());
    }
    let text = format!("Node '{to}' has no free VF for VM '{}'.", vm.name);
    let problem = Problem::new(Code::NoFreeVf, text).about("vm", &vm.name);
    Err(problem.about("node", to).with_cure(
        "'accelnet vm where VM' shows which nodes can; with --without-vf it goes all the same, and by the \
         switch there.",
    ))
}
