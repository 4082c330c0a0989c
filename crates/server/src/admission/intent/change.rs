//! Changing an intent: what it becomes must be possible as if it were added, and nothing that VMs are
//! accelerated on may go away.

use accelnet_api::ChangeIntent;
use accelnet_model::{
    AdapterFacts, Code, IfName, Intent, Levels, NicPath, NodeStatus, Problem, VfCount, VfUser,
    VmStatus,
};
use accelnet_rules::{Observed, eligibility, observed::nics_on, prereq};

use super::{Decided, find, impossible, misfits, settings, taken_adapters};
use crate::{
    admission::{capacity, checks, later, reporting},
    reports::{Known, Seen, observed},
    state::{Wish, Write},
};

/// Changing an intent. The decision is about what it becomes.
pub fn change(
    wish: &Wish,
    seen: &Seen,
    name: &str,
    change: &ChangeIntent,
) -> Result<Decided<Intent>, Vec<Problem>> {
    let nodes = &seen.all();
    let before = find(wish, name).map_err(|problem| vec![problem])?;
    if *change == ChangeIntent::default() {
        let text = "Nothing is said that is to be changed.";
        let problem = Problem::new(Code::InvalidArgument, text);
        let cure = "Name adapters, a rule for them, a bridge, a number of VFs, types, queue pairs or rates.";
        return Err(vec![problem.with_cure(cure)]);
    }
    let after = changed(before, change);
    if *before == after {
        return Ok(Decided::nothing().about(after));
    }
    let mut problems = impossible(&after);
    problems.extend(taken_adapters(wish, nodes, &after));
    if !problems.is_empty() {
        return Err(problems);
    }
    let heard = &reporting(nodes)?;
    let enabled = wish.desired.enabled.as_ref();
    match enabled.filter(|enabled| enabled.intent == before.name) {
        None => problems.extend(misfits(heard, &after)),
        Some(enabled) => {
            // What rests on it there nobody can say now. A node that is silent follows with its levels when it is back.
            if takes_away(before, &after) {
                problems.extend(nodes.iter().filter_map(|node| node.silent.clone()));
            }
            problems.extend(left_behind(wish, nodes, before, &after));
            problems.extend(other_vf_counts(nodes, before, &after));
            problems.extend(levels_lost(wish, nodes, before, &after));
            if problems.is_empty() {
                problems.extend(prereq::errors(&checks(heard, Some(&after))));
                let reserve = enabled.into();
                problems.extend(capacity::shortage(wish, seen, &after, reserve));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut plan = vec![
        format!("change intent '{}' from {}", before.name, settings(before)),
        format!("to {}", settings(&after)),
    ];
    plan.extend(later(nodes));
    Ok(Decided::one(Write::Intent(after.clone()), plan).about(after))
}

fn changed(before: &Intent, change: &ChangeIntent) -> Intent {
    let ChangeIntent {
        types,
        adapters,
        matching,
        bridge,
        vfs,
        queue_pairs,
        max_tx_rate_mbps,
        vf_driver,
        exclude_vfs,
    } = change.clone();
    // Names take the place of a rule, and the other way round.
    let (adapters, matching) = match (adapters, matching) {
        (None, None) => (before.adapters.clone(), before.matching.clone()),
        (adapters, matching) => (adapters.unwrap_or_default(), matching),
    };
    let levels = before.levels;
    Intent {
        name: before.name.clone(),
        types: types.unwrap_or_else(|| before.types.clone()),
        adapters,
        matching,
        bridge: bridge.unwrap_or_else(|| before.bridge.clone()),
        create: before.create,
        vfs: vfs.unwrap_or(before.vfs),
        levels: Levels {
            queue_pairs: queue_pairs.unwrap_or(levels.queue_pairs),
            max_tx_rate_mbps: max_tx_rate_mbps.unwrap_or(levels.max_tx_rate_mbps),
        },
        vf_driver: vf_driver.unwrap_or_else(|| before.vf_driver.clone()),
        exclude_vfs: exclude_vfs.unwrap_or_else(|| before.exclude_vfs.clone()),
    }
}

/// More than levels becomes another: what VMs are on may go away.
fn takes_away(before: &Intent, after: &Intent) -> bool {
    let levels = after.levels;
    let only_levels = Intent {
        levels,
        ..before.clone()
    };
    only_levels != *after
}

fn in_use(intent: &Intent, text: String, cure: &str) -> Problem {
    Problem::new(Code::IntentInUse, text)
        .about("intent", &intent.name)
        .with_cure(cure)
}

/// VMs whose VF or whose bridge the intent would have no more.
fn left_behind(wish: &Wish, nodes: &[Known], before: &Intent, after: &Intent) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !after.is_compute() {
        let text = format!(
            "Acceleration is enabled on intent '{}', which must stay of type compute.",
            before.name
        );
        problems.push(in_use(before, text, Code::IntentInUse.cure()));
    }
    let stays = |status: &NodeStatus, vm: &VmStatus| {
        let covered = |name: &IfName| {
            let mut known = status.adapters.iter().map(|adapter| &adapter.facts);
            known.any(|facts| facts.ifname == *name && after.covers(facts))
        };
        let ours = |nic: &&accelnet_model::NicStatus| {
            nic.vf.is_some() && nic.bridge.as_ref() == Some(&before.bridge)
        };
        vm.nics.iter().filter(ours).all(|nic| {
            let adapter = nic.adapter.as_ref();
            before.bridge == after.bridge && adapter.is_none_or(covered)
        })
    };
    for node in nodes {
        let statuses = node.current().into_iter();
        for (status, vm) in
            statuses.flat_map(|status| status.vms.iter().map(move |vm| (status, vm)))
        {
            let facts = &vm.facts;
            let wished = wish
                .enabled_for(facts.uuid)
                .is_some_and(|wish| wish.level.is_some());
            let moves = vm.progress.is_some() && before.bridge != after.bridge;
            let concerned = nics_on(facts, &before.bridge).next().is_some();
            if wished && concerned && (moves || !stays(status, vm)) {
                let adapters: Vec<String> = vm
                    .nics
                    .iter()
                    .filter(|nic| nic.path != NicPath::None)
                    .filter_map(|nic| nic.adapter.as_ref())
                    .map(ToString::to_string)
                    .collect();
                let text = format!(
                    "VM '{}' on node '{}' is accelerated by {} on {}.",
                    facts.name,
                    node.name,
                    if adapters.is_empty() {
                        "a VF".to_owned()
                    } else {
                        adapters.join(", ")
                    },
                    before.bridge
                );
                let cure = format!("Run 'accelnet vm disable {}' first.", facts.uuid);
                problems.push(in_use(before, text, &cure).about("vm", &facts.name));
            }
        }
    }
    problems
}

/// VMs that are accelerated at a level which their node could not give any more; one that is silent, as it was last.
fn levels_lost(wish: &Wish, nodes: &[Known], before: &Intent, after: &Intent) -> Vec<Problem> {
    if before.levels == after.levels {
        return Vec::new();
    }
    let lost = |problem: &Problem| {
        matches!(
            problem.code,
            Code::CannotProvisionPerformance | Code::TxRateNotPossible
        )
    };
    let mut problems = Vec::new();
    let reports = nodes.iter().filter_map(|node| node.status.as_deref());
    for observed in reports.map(Observed::from_status) {
        for vm in &observed.vms {
            let level = wish.enabled_for(vm.uuid).and_then(|wish| wish.level);
            let concerned = nics_on(vm, &after.bridge).next().is_some();
            let Some(level) = level.filter(|_| concerned) else {
                continue;
            };
            let found = eligibility::check(&observed, vm, after, level, &[]);
            problems.extend(found.into_iter().filter(lost));
        }
    }
    problems
}

/// Adapters whose number of VFs would change while some of their VFs are in use. Only a number that
/// is named changes that of VFs that exist.
fn other_vf_counts(nodes: &[Known], before: &Intent, after: &Intent) -> Vec<Problem> {
    let VfCount::Exactly(wanted) = after.vfs else {
        return Vec::new();
    };
    if before.vfs == after.vfs {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (node, observed) in observed(nodes) {
        for adapter in observed.uplinks(after) {
            let existing = adapter.vfs.len() as u32;
            let users = users(adapter, &observed);
            if u32::from(wanted) != existing && !users.is_empty() {
                let text = format!(
                    "Node '{node}', adapter {}: it has {existing} VFs, {wanted} are wanted, and \
                     VFs are used by {}.",
                    adapter.ifname,
                    users.join(", ")
                );
                let problem = Problem::new(Code::VfCountNotPossible, text);
                problems.push(
                    problem
                        .about("node", &node)
                        .about("adapter", &adapter.ifname),
                );
            }
        }
    }
    problems
}

/// Who uses VFs of an adapter, in words.
fn users(adapter: &AdapterFacts, observed: &Observed) -> Vec<String> {
    let used = adapter
        .vfs
        .iter()
        .filter(|vf| vf.vm.is_some() || vf.user != VfUser::Nobody);
    let words = used.map(|vf| {
        let vm = vf.vm.and_then(|uuid| observed.vm(uuid));
        match (vm, &vf.user) {
            (Some(vm), _) => format!("VM '{}'", vm.name),
            (None, VfUser::Process { pid, command }) => format!("{command} (process {pid})"),
            (None, VfUser::Reserved) => "a VM that comes in".to_owned(),
            (None, VfUser::HostDriver { driver }) => format!("the host's driver {driver}"),
            (None, VfUser::Others { why }) => format!("others ({why})"),
            (None, VfUser::Nobody) => "a VM".to_owned(),
        }
    });
    words.collect()
}
