//! Is this change allowed, and what would it do? Pure, over wish and fresh reports.

use accelnet_api::{AccelerateRequest, EnableRequest, Vm};
use accelnet_model::{
    CheckResult, ClusterEnable, Code, Intent, NodeStatus, Performance, Problem, Severity, VfUser,
    VmDesired,
};
use accelnet_rules::{
    Observed,
    attach::{ATTACH, DETACH, Step},
    eligibility,
    observed::nics_on,
    prereq, profile,
};

use crate::{
    state::{Wish, Write},
    view::Statuses,
};

/// What to write, and the steps in words.
pub type Decision = Result<(Vec<Write>, Vec<String>), Vec<Problem>>;

/// The reference's default.
const DEFAULT_RESERVE: i64 = 50;

fn observed(statuses: &Statuses) -> Vec<(accelnet_model::Name, Observed)> {
    statuses
        .iter()
        .map(|(name, status)| (name.clone(), Observed::from_status(status)))
        .collect()
}

/// Checks of the nodes, and of an intent.
pub fn checks(statuses: &Statuses, intent: Option<&Intent>) -> Vec<CheckResult> {
    prereq::run(&observed(statuses), intent)
}

fn failures(checks: Vec<CheckResult>, only: impl Fn(&Problem) -> bool) -> Vec<Problem> {
    checks
        .into_iter()
        .filter(|check| !check.passed && check.severity == Severity::Error)
        .filter_map(|check| check.problem)
        .filter(only)
        .collect()
}

/// The intent that a name means.
pub fn find_intent<'a>(wish: &'a Wish, name: &str) -> Result<&'a Intent, Problem> {
    let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    wish.intent(name).ok_or_else(|| {
        Problem::new(
            Code::IntentNotFound,
            format!("No intent is called '{shown}'."),
        )
        .about("intent", shown)
    })
}

/// Adding an intent: it can be as given, and its bridge and adapters are there.
pub fn add_intent(wish: &Wish, statuses: &Statuses, intent: &Intent) -> Decision {
    let invalid =
        |text: &str| vec![Problem::new(Code::IntentInvalid, text).about("intent", &intent.name)];
    if let Some(existing) = wish.intent(intent.name.as_str()) {
        if existing == intent {
            return Ok((Vec::new(), Vec::new()));
        }
        let text = format!(
            "Intent '{}' has bridge {} and other settings.",
            existing.name, existing.bridge
        );
        return Err(vec![
            Problem::new(Code::IntentExists, text).about("intent", &intent.name),
        ]);
    }
    if intent.types.is_empty() {
        return Err(invalid("It has no type."));
    }
    if intent.adapters.is_empty() {
        return Err(invalid("It has no adapter."));
    }
    for adapter in &intent.adapters {
        if let Some(other) = wish
            .desired
            .intents
            .iter()
            .find(|other| other.adapters.contains(adapter))
        {
            let text = format!("{adapter} belongs to intent '{}'.", other.name);
            return Err(vec![
                Problem::new(Code::AdapterInTwoIntents, text).about("adapter", adapter),
            ]);
        }
    }
    // Only what makes the intent impossible; the rest is told by `prereq` and refused by `enable`.
    let wrong = failures(checks(statuses, Some(intent)), |problem| {
        matches!(
            problem.code,
            Code::BridgeNotFound
                | Code::BridgeNotSupported
                | Code::AdapterNotFound
                | Code::AdapterNotUplink
        )
    });
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let adapters: Vec<_> = intent.adapters.iter().map(ToString::to_string).collect();
    let plan = format!(
        "adopt bridge {} with {} as intent '{}'",
        intent.bridge,
        adapters.join(", "),
        intent.name
    );
    Ok((vec![Write::Intent(intent.clone())], vec![plan]))
}

/// Removing an intent.
pub fn remove_intent(
    wish: &Wish,
    name: &str,
) -> Result<(Vec<Write>, Vec<String>, Intent), Vec<Problem>> {
    let intent = find_intent(wish, name)
        .map_err(|problem| vec![problem])?
        .clone();
    if wish
        .desired
        .enabled
        .as_ref()
        .is_some_and(|enabled| enabled.intent == intent.name)
    {
        let text = format!("Acceleration is enabled on intent '{name}'.");
        return Err(vec![
            Problem::new(Code::IntentInUse, text).about("intent", name),
        ]);
    }
    let plan = format!(
        "forget intent '{name}'; bridge {} stays as it is",
        intent.bridge
    );
    Ok((
        vec![Write::NoIntent(intent.name.clone())],
        vec![plan],
        intent,
    ))
}

/// Enabling acceleration.
pub fn enable(wish: &Wish, statuses: &Statuses, request: &EnableRequest) -> Decision {
    let intent = find_intent(wish, &request.intent).map_err(|problem| vec![problem])?;
    let reserve = request.node_reserve_percentage.unwrap_or(DEFAULT_RESERVE);
    let Some(percentage) = u8::try_from(reserve)
        .ok()
        .filter(|percentage| *percentage <= 99)
    else {
        return Err(vec![Problem::new(
            Code::ReserveOutOfRange,
            format!("{reserve} was given."),
        )]);
    };
    if let Some(enabled) = wish
        .desired
        .enabled
        .as_ref()
        .filter(|enabled| enabled.intent != intent.name)
    {
        let text = format!("It is enabled on intent '{}'.", enabled.intent);
        return Err(vec![Problem::new(Code::AccelNetEnabledElsewhere, text)]);
    }
    let failed = failures(checks(statuses, Some(intent)), |_| true);
    if !failed.is_empty() {
        return Err(failed);
    }
    let enable = ClusterEnable {
        intent: intent.name.clone(),
        node_reserve_percentage: percentage,
        when: request.when,
    };
    let plan = enable_plan(statuses, intent, request)?;
    if wish.desired.enabled.as_ref() == Some(&enable) {
        return Ok((Vec::new(), Vec::new()));
    }
    Ok((vec![Write::Cluster(Some(enable))], plan))
}

fn enable_plan(
    statuses: &Statuses,
    intent: &Intent,
    request: &EnableRequest,
) -> Result<Vec<String>, Vec<Problem>> {
    let mut plan = Vec::new();
    for (name, observed) in observed(statuses) {
        for adapter in observed.uplinks(intent) {
            let wanted =
                profile::choose_vf_count(adapter, intent.vfs).map_err(|problem| vec![problem])?;
            let (port, existing) = (&adapter.ifname, adapter.vfs.len() as u32);
            if existing == wanted.count {
                plan.push(format!(
                    "{name}: {port} has its {existing} VFs ({})",
                    wanted.because
                ));
                continue;
            }
            let carries = accelnet_rules::plan::interrupted(&observed, intent);
            let carries = if carries.is_empty() {
                "nothing that needs it".into()
            } else {
                carries.join(", ")
            };
            let when = match request.when {
                accelnet_model::WhenToCreateVfs::Now => "now, which interrupts the link",
                accelnet_model::WhenToCreateVfs::Empty => "as soon as nothing needs the link",
                accelnet_model::WhenToCreateVfs::Boot => "at the node's next start",
            };
            let (count, because) = (wanted.count, wanted.because);
            plan.push(format!(
                "{name}: create {count} VFs on {port} ({because}) {when}; the link carries {carries}"
            ));
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

/// The intent that acceleration is enabled on.
fn enabled_intent(wish: &Wish) -> Result<&Intent, Vec<Problem>> {
    wish.desired.enabled_intent().ok_or_else(|| {
        vec![Problem::new(
            Code::AccelNetNotEnabled,
            "No intent is enabled.",
        )]
    })
}

fn status_of<'a>(statuses: &'a Statuses, vm: &Vm) -> Result<&'a NodeStatus, Vec<Problem>> {
    vm.node
        .as_ref()
        .and_then(|node| statuses.get(node))
        .ok_or_else(|| {
            let text = format!("No node that can be reached has VM '{}'.", vm.name);
            vec![Problem::new(Code::AgentUnreachable, text).about("vm", &vm.name)]
        })
}

/// Accelerating a VM, or changing its level.
pub fn accelerate(
    wish: &Wish,
    statuses: &Statuses,
    vm: &Vm,
    request: &AccelerateRequest,
) -> Decision {
    let intent = enabled_intent(wish)?;
    let (level, before) = (request.performance, wish.vm(vm.uuid));
    let present = before.and_then(|before| before.level);
    if request
        .must_be_accelerated
        .is_some_and(|must| must != present.is_some())
    {
        let text = match present {
            Some(level) => format!("VM '{}' is accelerated at {level} already.", vm.name),
            None => format!(
                "VM '{}' is not accelerated; use 'accelnet vm enable'.",
                vm.name
            ),
        };
        return Err(vec![
            Problem::new(Code::VmNotAccelerated, text).about("vm", &vm.name),
        ]);
    }
    let observed = Observed::from_status(status_of(statuses, vm)?);
    let facts = observed.vm(vm.uuid).ok_or_else(|| {
        vec![Problem::new(
            Code::VmNotFound,
            format!("VM '{}' went away.", vm.name),
        )]
    })?;
    let mut problems = eligibility::check(&observed, facts, intent, level);
    if problems.is_empty() && present.is_none() {
        problems.extend(capacity(wish, &observed, intent, vm));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if present == Some(level) {
        return Ok((Vec::new(), Vec::new()));
    }
    let prepare = before.is_some_and(|before| before.prepare);
    let write = Write::Vm(VmDesired {
        uuid: vm.uuid,
        level: Some(level),
        prepare,
    });
    let plan = match present {
        Some(old) => vec![format!(
            "change the level from {old} to {level}; the VF stays"
        )],
        None => steps(ATTACH),
    };
    Ok((vec![write], plan))
}

fn steps(sequence: &[Step]) -> Vec<String> {
    sequence.iter().map(ToString::to_string).collect()
}

/// VMs that are wanted accelerated hold their VFs also while they are off: never more of them than
/// there are VFs.
fn capacity(wish: &Wish, observed: &Observed, intent: &Intent, vm: &Vm) -> Option<Problem> {
    let ours = |user: &VfUser, assigned: bool| *user == VfUser::Nobody || assigned;
    let vfs = observed
        .uplinks(intent)
        .flat_map(|adapter| &adapter.vfs)
        .filter(|vf| ours(&vf.user, observed.is_assigned(vf.pci)))
        .count();
    let nics_of = |uuid| {
        observed
            .vm(uuid)
            .map_or(0, |vm| nics_on(vm, &intent.bridge).count())
    };
    let held: usize = wish
        .desired
        .vms
        .iter()
        .filter(|other| other.level.is_some() && other.uuid != vm.uuid)
        .map(|other| nics_of(other.uuid))
        .sum();
    let needed = nics_of(vm.uuid);
    (held + needed > vfs).then(|| {
        let text =
            format!("{vfs} VFs, {held} held for other VMs (running or not), {needed} needed.");
        Problem::new(Code::ClusterNotEnoughResources, text).about("vm", &vm.name)
    })
}

/// Bringing a VM back to the software path. Never refused: what is not accelerated stays so.
pub fn decelerate(wish: &Wish, vm: &Vm) -> Decision {
    enabled_intent(wish)?;
    let before = wish.vm(vm.uuid);
    if before.is_none_or(|before| before.level.is_none()) {
        return Ok((Vec::new(), Vec::new()));
    }
    let prepare = before.is_some_and(|before| before.prepare);
    let write = Write::Vm(VmDesired {
        uuid: vm.uuid,
        level: None,
        prepare,
    });
    Ok((vec![write], steps(DETACH)))
}

/// Staging on a VM's definition what acceleration needs.
pub fn prepare(wish: &Wish, statuses: &Statuses, vm: &Vm) -> Decision {
    let intent = enabled_intent(wish)?;
    let observed = Observed::from_status(status_of(statuses, vm)?);
    if let Some(facts) = observed.vm(vm.uuid) {
        let problems = eligibility::check_prepare(facts, intent);
        if !problems.is_empty() {
            return Err(problems);
        }
    }
    let before = wish.vm(vm.uuid);
    if before.is_some_and(|before| before.prepare) {
        return Ok((Vec::new(), Vec::new()));
    }
    let level: Option<Performance> = before.and_then(|before| before.level);
    let write = Write::Vm(VmDesired {
        uuid: vm.uuid,
        level,
        prepare: true,
    });
    let plan = vec![
        format!(
            "let the NICs of VM '{}' on {} stand by for a VF, from its next cold start on",
            vm.name, intent.bridge
        ),
        "add free PCIe root ports that are missing, from its next cold start on".to_owned(),
    ];
    Ok((vec![write], plan))
}
