//! Acceleration of the cluster: enabled if all prerequisites are met.

use std::collections::BTreeSet;

use accelnet_api::{EnableRequest, SetRequest};
use accelnet_model::{
    AdapterFacts, ClusterEnable, Code, Intent, Name, Problem, VmStatus, WhenToCreateVfs,
};
use accelnet_rules::{
    Observed, capacity::Reserve, eligibility, observed::nics_on, plan::interrupted, prereq, profile,
};
use uuid::Uuid;

use super::{Decided, Decision, capacity, checks, intent, later, reporting};
use crate::{
    reports::{Known, Seen, observed},
    state::{Wish, Write},
    whereabouts,
};

/// The reference's default.
const DEFAULT_RESERVE: Reserve = Reserve::Percentage(50);
/// One node at least is up.
const HIGHEST_RESERVE: u8 = 99;

/// Enabling acceleration, or changing how it is enabled.
pub fn enable(wish: &Wish, seen: &Seen, request: &EnableRequest) -> Decision {
    let nodes = &seen.all();
    let before = wish.desired.enabled.as_ref();
    let asked = (request.node_reserve_percentage, request.nodes_down);
    // What is not said stays as it is enabled.
    let kept = before.map_or(DEFAULT_RESERVE, Reserve::from);
    let reserve = reserve(asked, nodes.len()).map(|asked| asked.unwrap_or(kept));
    let when = before.map_or_else(WhenToCreateVfs::default, |before| before.when);
    let when = request.when.unwrap_or(when);
    let (intent, reserve) = match (intent::find(wish, &request.intent), reserve) {
        (Ok(intent), Ok(reserve)) => (intent, reserve),
        (found, reserve) => return Err(found.err().into_iter().chain(reserve.err()).collect()),
    };
    if let Some(other) = before.filter(|before| before.intent != intent.name) {
        let text = format!("It is enabled on intent '{}'.", other.intent);
        return Err(vec![Problem::new(Code::AccelNetEnabledElsewhere, text)]);
    }
    let enable = with(reserve, nodes.len(), intent, when);
    let heard = &reporting(nodes)?;
    let mut failed = prereq::errors(&checks(heard, Some(intent)));
    failed.extend(intent::taken_adapters(wish, nodes, intent));
    // VMs may be wanted here from before it was disabled.
    if before.is_none_or(|before| grows(before, &enable, nodes.len())) {
        failed.extend(capacity::shortage(wish, seen, intent, reserve));
    }
    if !failed.is_empty() {
        return Err(failed);
    }
    if before == Some(&enable) {
        return Ok(Decided::nothing());
    }
    let plan = plan(nodes, intent, when).map_err(|problem| vec![problem])?;
    Ok(Decided::one(Write::Cluster(Some(enable)), plan))
}

/// Changing how acceleration is enabled. Another intent takes the present one's place in one step:
/// what is wrong with it is said before anything is disabled.
pub fn set(wish: &Wish, seen: &Seen, request: &SetRequest) -> Decision {
    let nodes = &seen.all();
    let enabled = wish.desired.enabled.as_ref();
    let Some((before, old)) = enabled.zip(wish.desired.enabled_intent()) else {
        let text = "There is nothing to change.";
        return Err(vec![Problem::new(Code::AccelNetNotEnabled, text)]);
    };
    if *request == SetRequest::default() {
        let text = "Nothing is said that is to be changed.";
        let problem = Problem::new(Code::InvalidArgument, text);
        let cure = "Name an intent, a reserve, or when VFs are created.";
        return Err(vec![problem.with_cure(cure)]);
    }
    let name = request.intent.as_deref().unwrap_or(old.name.as_str());
    let asked = (request.node_reserve_percentage, request.nodes_down);
    let (intent, asked) = match (intent::find(wish, name), reserve(asked, nodes.len())) {
        (Ok(intent), Ok(asked)) => (intent, asked),
        (found, reserve) => return Err(found.err().into_iter().chain(reserve.err()).collect()),
    };
    let when = request.when.unwrap_or(before.when);
    let after = match asked {
        Some(reserve) => with(reserve, nodes.len(), intent, when),
        None => ClusterEnable {
            intent: intent.name.clone(),
            when,
            ..before.clone()
        },
    };
    let reserve = Reserve::from(&after);
    if *before == after {
        return Ok(Decided::nothing());
    }
    let moves = intent.name != old.name;
    let mut failed = Vec::new();
    if moves {
        let heard = reporting(nodes)?;
        failed.extend(prereq::errors(&checks(&heard, Some(intent))));
        failed.extend(intent::taken_adapters(wish, nodes, intent));
    }
    if moves || grows(before, &after, nodes.len()) {
        failed.extend(capacity::shortage(wish, seen, intent, reserve));
    }
    if !failed.is_empty() {
        return Err(failed);
    }
    let mut steps = Vec::new();
    if moves {
        steps.push(stop(&old.name));
        let wished: BTreeSet<Uuid> = wish.specs.iter().map(|spec| spec.uuid).collect();
        let fates = wished.into_iter();
        steps.extend(fates.filter_map(|vm| fate(wish, seen, vm, old, intent)));
        steps.push(format!("enable acceleration on intent '{}'", intent.name));
    }
    if Reserve::from(before) != reserve {
        let (from, to) = (in_words(before.into(), nodes), in_words(reserve, nodes));
        steps.push(format!("change the reserve from {from} to {to}"));
    }
    if moves || before.when != after.when {
        steps.extend(plan(nodes, intent, after.when).map_err(|problem| vec![problem])?);
    }
    Ok(Decided::one(Write::Cluster(Some(after)), steps))
}

/// What another intent means for a VM; `None` for one that is accelerated on neither.
fn fate(wish: &Wish, seen: &Seen, vm: Uuid, old: &Intent, new: &Intent) -> Option<String> {
    let level_on = |intent: &Intent| wish.on(vm, &intent.name).and_then(|wanted| wanted.level);
    let (before, after) = (level_on(old), level_on(new));
    before.or(after)?;
    let place = whereabouts::of(seen, vm);
    let last = place.filter(|place| place.node.current().is_some());
    let Some((status, seen)) = last.and_then(|place| Some((place.status, place.last()?))) else {
        let name = wish.name_of(vm);
        let held = match after {
            Some(level) => format!("a VF is held for it at {level} on intent '{}'", new.name),
            None => format!("nothing is held for it on intent '{}'", new.name),
        };
        let where_it_is = match place {
            Some(place) => format!("it cannot be looked at on node '{}' now", place.node.name),
            None => "no node has it now".to_owned(),
        };
        return Some(format!("VM '{name}': {where_it_is}; {held}"));
    };
    let name = &seen.facts.name;
    let mut parts = Vec::new();
    let same = old.bridge == new.bridge;
    let (stay, come) = (nics(seen, old), nics(seen, new));
    if before.is_some() && !stay.is_empty() && !same {
        let bridge = &old.bridge;
        parts.push(format!(
            "{stay} on {bridge} stays as it is, no longer managed"
        ));
    }
    let bridge = &new.bridge;
    parts.push(match after {
        _ if come.is_empty() => format!("it has no NIC on {bridge} to accelerate"),
        Some(level) => {
            let observed = Observed::from_status(status);
            let problems = eligibility::check_vm(&observed, &seen.facts, new, level);
            let when = match problems.first() {
                Some(problem) => format!(", but not now: {} [{}]", problem.detail, problem.code),
                None => String::new(),
            };
            format!(
                "{come} on {bridge} is accelerated at {level}, as was asked for on intent '{}' \
                 before{when}",
                new.name
            )
        }
        None => format!("{come} on {bridge} stays as it is until 'vm enable' asks for more"),
    });
    Some(format!("VM '{name}': {}", parts.join("; ")))
}

/// A VM's NICs on an intent's bridge, in words.
fn nics(vm: &VmStatus, intent: &Intent) -> String {
    let nics = nics_on(&vm.facts, &intent.bridge).map(|nic| format!("NIC {}", nic.mac));
    nics.collect::<Vec<_>>().join(", ")
}

/// The reserve that is asked for, as one of a percentage and a number of nodes; `None` if neither is.
fn reserve(
    (percentage, count): (Option<i64>, Option<i64>),
    nodes: usize,
) -> Result<Option<Reserve>, Problem> {
    let Some(count) = count else {
        return percentage.map(of_percentage).transpose();
    };
    if percentage.is_some() {
        let text = "The reserve is given twice: as a percentage and as a number of nodes.";
        let problem = Problem::new(Code::ReserveOutOfRange, text).about("field", "nodes_down");
        return Err(problem.with_cure("Give one of them."));
    }
    let most = nodes.saturating_sub(1);
    let possible = usize::try_from(count).ok().filter(|count| *count <= most);
    possible.map(Reserve::NodesDown).map(Some).ok_or_else(|| {
        let text = format!("{count} nodes down were given; of {nodes}, 0 to {most} can be.");
        Problem::new(Code::ReserveOutOfRange, text).about("field", "nodes_down")
    })
}

fn of_percentage(asked: i64) -> Result<Reserve, Problem> {
    let percentage = u8::try_from(asked).ok();
    percentage
        .filter(|percentage| *percentage <= HIGHEST_RESERVE)
        .map(Reserve::Percentage)
        .ok_or_else(|| Problem::new(Code::ReserveOutOfRange, format!("{asked} was given.")))
}

/// Acceleration of an intent with a reserve.
fn with(reserve: Reserve, nodes: usize, intent: &Intent, when: WhenToCreateVfs) -> ClusterEnable {
    ClusterEnable {
        intent: intent.name.clone(),
        node_reserve_percentage: reserve.percentage(nodes),
        nodes_down: match reserve {
            Reserve::NodesDown(count) => u32::try_from(count).ok(),
            Reserve::Percentage(_) => None,
        },
        when,
    }
}

/// More nodes may be down than before.
fn grows(before: &ClusterEnable, after: &ClusterEnable, nodes: usize) -> bool {
    Reserve::from(before).nodes_down(nodes) < Reserve::from(after).nodes_down(nodes)
}

fn in_words(reserve: Reserve, nodes: &[Known]) -> String {
    let (percentage, count) = (
        reserve.percentage(nodes.len()),
        reserve.nodes_down(nodes.len()),
    );
    format!("{percentage} % ({count} down)")
}

fn plan(nodes: &[Known], intent: &Intent, when: WhenToCreateVfs) -> Result<Vec<String>, Problem> {
    let mut plan = Vec::new();
    for (name, observed) in observed(nodes) {
        for adapter in observed.uplinks(intent) {
            let step = vfs(&observed, intent, adapter, when)?;
            plan.push(format!("{name}: {step}"));
        }
        plan.push(format!(
            "{name}: bind free VFs to vfio-pci and bring them to the safe baseline"
        ));
        plan.push(format!(
            "{name}: keep guests, host and VFs on {} reachable for each other",
            intent.bridge
        ));
    }
    plan.extend(later(nodes));
    Ok(plan)
}

/// What is done about an adapter's VFs, when, and what that interrupts.
fn vfs(
    observed: &Observed,
    intent: &Intent,
    adapter: &AdapterFacts,
    when: WhenToCreateVfs,
) -> Result<String, Problem> {
    let wanted = profile::choose_vf_count(adapter, &intent.levels, intent.vfs)?;
    let (port, existing) = (&adapter.ifname, adapter.vfs.len() as u32);
    let (count, because) = (wanted.count, wanted.because);
    if existing == count {
        return Ok(format!("{port} has its {existing} VFs ({because})"));
    }
    let carries = interrupted(observed, intent);
    let carried = if carries.is_empty() {
        "nothing that needs it".to_owned()
    } else {
        carries.join(", ")
    };
    let when = match when {
        WhenToCreateVfs::Now if carries.is_empty() => "now".to_owned(),
        WhenToCreateVfs::Now => format!("now, which interrupts {carried}"),
        WhenToCreateVfs::Empty if carries.is_empty() => "now, as nothing needs the link".to_owned(),
        WhenToCreateVfs::Empty => {
            format!("staged until nothing needs the link, which carries {carried}")
        }
        WhenToCreateVfs::Boot => "staged for the node's next start".to_owned(),
    };
    Ok(format!("create {count} VFs on {port} ({because}): {when}"))
}

fn stop(intent: &Name) -> String {
    format!("stop managing intent '{intent}'; VMs keep their VFs and settings")
}

/// Disabling acceleration. VMs keep what they have.
pub fn disable(wish: &Wish) -> Decision {
    let Some(enabled) = &wish.desired.enabled else {
        return Ok(Decided::nothing());
    };
    Ok(Decided::one(
        Write::Cluster(None),
        vec![stop(&enabled.intent)],
    ))
}
