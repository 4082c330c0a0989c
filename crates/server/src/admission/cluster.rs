//! Acceleration of the cluster: enabled if all prerequisites are met.

use accelnet_api::EnableRequest;
use accelnet_model::{AdapterFacts, ClusterEnable, Code, Intent, Problem, WhenToCreateVfs};
use accelnet_rules::{Observed, plan::interrupted, prereq, profile};

use super::{Decided, Decision, all_report, capacity, checks, intent};
use crate::{
    reports::{Known, observed},
    state::{Wish, Write},
};

/// The reference's default.
const DEFAULT_RESERVE: i64 = 50;
/// One node at least is up.
const HIGHEST_RESERVE: u8 = 99;

/// Enabling acceleration, or changing how it is enabled.
pub fn enable(wish: &Wish, nodes: &[Known], request: &EnableRequest) -> Decision {
    let (found, reserve) = (intent::find(wish, &request.intent), reserve(request));
    let (intent, percentage) = match (found, reserve) {
        (Ok(intent), Ok(percentage)) => (intent, percentage),
        (found, reserve) => return Err(found.err().into_iter().chain(reserve.err()).collect()),
    };
    let before = wish.desired.enabled.as_ref();
    if let Some(other) = before.filter(|before| before.intent != intent.name) {
        let text = format!("It is enabled on intent '{}'.", other.intent);
        return Err(vec![Problem::new(Code::AccelNetEnabledElsewhere, text)]);
    }
    let enable = ClusterEnable {
        intent: intent.name.clone(),
        node_reserve_percentage: percentage,
        when: request.when,
    };
    let mut failed = prereq::errors(&checks(nodes, Some(intent)));
    if before.is_some_and(|before| before.node_reserve_percentage < percentage) {
        failed.extend(capacity::shortage(wish, nodes, intent, percentage));
    }
    if !failed.is_empty() {
        return Err(failed);
    }
    if before == Some(&enable) {
        return Ok(Decided::nothing());
    }
    // Nobody reports: the checks have said so already.
    all_report(nodes)?;
    let plan = plan(nodes, intent, request.when).map_err(|problem| vec![problem])?;
    Ok(Decided::one(Write::Cluster(Some(enable)), plan))
}

fn reserve(request: &EnableRequest) -> Result<u8, Problem> {
    let asked = request.node_reserve_percentage.unwrap_or(DEFAULT_RESERVE);
    let percentage = u8::try_from(asked).ok();
    percentage
        .filter(|percentage| *percentage <= HIGHEST_RESERVE)
        .ok_or_else(|| Problem::new(Code::ReserveOutOfRange, format!("{asked} was given.")))
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
    Ok(plan)
}

/// What is done about an adapter's VFs, when, and what that interrupts.
fn vfs(
    observed: &Observed,
    intent: &Intent,
    adapter: &AdapterFacts,
    when: WhenToCreateVfs,
) -> Result<String, Problem> {
    let wanted = profile::choose_vf_count(adapter, intent.vfs)?;
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

/// Disabling acceleration. VMs keep what they have.
pub fn disable(wish: &Wish) -> Decision {
    let Some(enabled) = &wish.desired.enabled else {
        return Ok(Decided::nothing());
    };
    let plan = format!(
        "stop managing intent '{}'; VMs keep their VFs and settings",
        enabled.intent
    );
    Ok(Decided::one(Write::Cluster(None), vec![plan]))
}
