//! Keeping a VM on its software path for a while: what is wanted of it stays, and so does its capacity.

use std::time::Duration;

use accelnet_api::{ParkRequest, Vm};
use accelnet_model::{Code, NicPath, Problem, VmState};
use accelnet_rules::{Observed, moves};
use jiff::Timestamp;
use uuid::Uuid;

use super::{all_wanted, attach, enabled_intent, put, report_of, steps};
use crate::{
    admission::{Decided, Decision},
    reports::{Known, Seen},
    state::{Park, Wanted, Wish, Write},
    whereabouts,
};

/// A year; more is a mistake.
const LONGEST_SECONDS: u64 = 365 * 24 * 3600;

/// Parking a VM. One that is not accelerated is on its software path anyway.
pub fn park(wish: &Wish, seen: &Seen, vm: &Vm, request: &ParkRequest, now: Timestamp) -> Decision {
    let length = length(request).map_err(|problem| vec![problem])?;
    if vm.level.is_none() {
        return Ok(Decided::nothing());
    }
    enabled_intent(wish)?;
    let before = wish.park_of(vm.uuid);
    let park = if request.until_boot {
        Park::until_boot(before, now, boot_of(seen, vm)?)
    } else {
        Park::asked(before, now, length)
    };
    if before == Some(&park) {
        return Ok(Decided::nothing());
    }
    let mut plan = vec![format!("keep it on its software path: {park}")];
    let on_vf = vm.nics.iter().filter(|nic| nic.managed && nic.vf.is_some());
    plan.extend(on_vf.flat_map(|nic| steps(&nic.mac.to_string(), moves::steps_back())));
    let wanted = Wanted {
        park: Some(park),
        ..all_wanted(wish, vm)
    };
    Ok(Decided::one(put(vm, wanted), plan))
}

fn length(request: &ParkRequest) -> Result<Option<Duration>, Problem> {
    let Some(seconds) = request.for_seconds else {
        return Ok(None);
    };
    let wrong = |text: String| {
        let problem = Problem::new(Code::InvalidArgument, text).about("field", "for_seconds");
        problem.with_cure("Give a time of one second to one year, or none.")
    };
    if request.until_boot {
        let text = "Both a time and the node's next boot were given as its end.";
        return Err(wrong(text.to_owned()).with_cure("Give one of them."));
    }
    if !(1..=LONGEST_SECONDS).contains(&seconds) {
        return Err(wrong(format!("{seconds} s were given.")));
    }
    Ok(Some(Duration::from_secs(seconds)))
}

/// The present boot of the VM's node.
fn boot_of<'a>(seen: &'a Seen, vm: &Vm) -> Result<&'a str, Vec<Problem>> {
    let node = vm.node.as_ref().and_then(|name| seen.node(name));
    // libvirt need not answer for this.
    let status = match node.and_then(Known::current) {
        Some(status) => status,
        None => report_of(seen, vm)?,
    };
    let boot = status.node.boot_id.as_str();
    if boot.is_empty() {
        let text = format!(
            "Node '{}' does not say which boot it is in.",
            status.node.hostname
        );
        let problem = Problem::new(Code::HostOperationFailed, text).about("vm", &vm.name);
        return Err(vec![problem.with_cure("Park it without --until-boot.")]);
    }
    Ok(boot)
}

/// Letting a VM go to its VF again.
pub fn unpark(wish: &Wish, seen: &Seen, vm: &Vm) -> Decision {
    if wish.park_of(vm.uuid).is_none() {
        return Ok(Decided::nothing());
    }
    let mut plan = vec!["park it no longer".to_owned()];
    let sequence = match (
        whereabouts::of(seen, vm.uuid),
        wish.desired.enabled_intent(),
    ) {
        (Some(place), Some(intent)) => attach(&Observed::from_status(place.status), intent),
        _ => moves::steps_to_vf(false).collect(),
    };
    let on_tap = |path| path == NicPath::Synthetic && vm.level.is_some();
    let on_tap = vm.nics.iter().filter(|nic| nic.managed && on_tap(nic.path));
    plan.extend(on_tap.flat_map(|nic| steps(&nic.mac.to_string(), sequence.clone())));
    let wanted = Wanted {
        park: None,
        ..all_wanted(wish, vm)
    };
    Ok(Decided::one(put(vm, wanted), plan))
}

/// What is left of a VM's park then; nothing to do if that is all of it.
pub fn park_ended(wish: &Wish, seen: &Seen, vm: Uuid, now: Timestamp) -> Decided {
    let Some(spec) = wish.specs.get(vm) else {
        return Decided::nothing();
    };
    let place = whereabouts::of(seen, vm);
    let boot = place.and_then(|place| {
        let boot = place.node.current()?.node.boot_id.as_str();
        (!boot.is_empty()).then_some(boot)
    });
    let runs_on = place.filter(|place| place.state() == VmState::Running);
    let runs_on = runs_on.map(|place| &place.node.name);
    let left = spec.park.as_ref();
    let left = left.and_then(|park| park.left(now, boot, runs_on));
    if left == spec.park {
        return Decided::nothing();
    }
    let wanted = Wanted {
        intents: spec.intents.clone(),
        park: left,
        name: spec.name.clone(),
    };
    let plan = vec!["park it no longer".to_owned()];
    Decided::one(Write::Vm { uuid: vm, wanted }, plan)
}
