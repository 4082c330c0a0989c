//! Tables for people.

use std::collections::BTreeMap;

use accelnet_api::{ClusterStatus, IntentStatus, Vm};
use accelnet_model::{
    CheckResult, Code, IntentOnNode, IntentState, Levels, NicPath, NicStatus, Problem, Severity,
    VmState,
};

use super::{beside_text, columns::Table, printable, problem_text, traffic};
use crate::verbs::waiver::OfVm;

/// Rows of anything, for people.
pub fn rows(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut all = table(header);
    for row in rows {
        all.add_row(row.iter().map(|cell| printable(cell)));
    }
    text(&all)
}

pub(super) fn table(header: &[&str]) -> Table {
    Table::new(header)
}

/// Adds a row; what is in it may be text of others.
pub(super) fn add<const N: usize>(table: &mut Table, cells: [String; N]) {
    table.add_row(cells.map(|cell| printable(&cell)));
}

pub(super) fn dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(super) fn text(table: &Table) -> String {
    table.text()
}

/// Whether acceleration is enabled, and how.
pub fn enabled(status: &ClusterStatus) -> String {
    let Some(enabled) = &status.enabled else {
        return "Accelerated networking is not enabled.".to_owned();
    };
    format!(
        "Accelerated networking is enabled on intent '{}', reserve {} % ({} of {} nodes may be down).",
        enabled.intent,
        enabled.node_reserve_percentage,
        enabled.nodes_down_tolerated,
        status.nodes.len()
    )
}

/// `accelnet status`.
pub fn status(status: &ClusterStatus) -> String {
    let mut out = format!("{}\n", enabled(status));
    out.push_str(&super::members::nodes(&status.nodes));
    out.push('\n');
    match status.vms_parked {
        0 => {}
        1 => out.push_str("1 VM is parked; 'accelnet vm list' says until when.\n"),
        count => out.push_str(&format!(
            "{count} VMs are parked; 'accelnet vm list' says until when.\n"
        )),
    }
    for problem in &status.problems {
        out.push_str(&problem_text(problem, None));
    }
    for (node, problem) in of_nodes(status) {
        out.push_str(&problem_text(problem, Some(node)));
    }
    out
}

/// `accelnet enable`: what is not there yet, and what helps.
pub fn waiting(status: &ClusterStatus) -> String {
    let of_cluster = status.problems.iter().map(|problem| ("cluster", problem));
    let all = of_cluster.chain(of_nodes(status));
    all.map(|(about, problem)| beside_text(problem, about))
        .collect()
}

/// Problems of nodes, with the node's name.
fn of_nodes(status: &ClusterStatus) -> impl Iterator<Item = (&str, &Problem)> {
    status.nodes.iter().flat_map(|node| {
        let problems = node.problems.iter();
        problems.map(|problem| (node.name.as_str(), problem))
    })
}

/// `accelnet prereq`.
pub fn checks(checks: &[CheckResult]) -> String {
    let mut rows = table(&["check", "node", "adapter", "result", "found"]);
    for check in checks {
        let result = match (check.passed, check.severity) {
            (true, _) => "passed",
            (false, Severity::Warning) => "warning",
            (false, Severity::Error) => "FAILED",
        };
        add(
            &mut rows,
            [
                check.check.clone(),
                dash(check.node.as_ref()),
                dash(check.adapter.as_ref()),
                result.to_owned(),
                check.found.clone(),
            ],
        );
    }
    let mut out = text(&rows);
    out.push('\n');
    for problem in checks
        .iter()
        .filter(|check| !check.passed)
        .filter_map(|check| check.problem.as_ref())
    {
        out.push_str(&problem_text(problem, None));
    }
    out
}

/// `accelnet intent list`.
pub fn intents(intents: &[IntentStatus]) -> String {
    let mut rows = table(&["name", "types", "bridge", "adapters", "vfs", "status"]);
    for shown in intents {
        let intent = &shown.intent;
        let join = |words: Vec<String>| words.join(",");
        add(
            &mut rows,
            [
                intent.name.to_string(),
                join(intent.types.iter().map(ToString::to_string).collect()),
                if intent.create {
                    format!("{} (made)", intent.bridge)
                } else {
                    intent.bridge.to_string()
                },
                intent.adapters_in_words().replace(", ", ","),
                intent.vfs.to_string(),
                states(&shown.status),
            ],
        );
    }
    text(&rows)
}

/// The state, or how many nodes have each.
fn states(status: &[IntentOnNode]) -> String {
    let mut counts: BTreeMap<IntentState, usize> = BTreeMap::new();
    for on_node in status {
        *counts.entry(on_node.state).or_default() += 1;
    }
    match counts.len() {
        1 => counts.keys().map(ToString::to_string).collect(),
        _ => {
            let counted = counts
                .iter()
                .map(|(state, count)| format!("{count} {state}"));
            counted.collect::<Vec<_>>().join(", ")
        }
    }
}

/// `accelnet intent show`.
pub fn intent(shown: &IntentStatus) -> String {
    let mut out = intents(std::slice::from_ref(shown));
    let levels = &shown.intent.levels;
    if *levels != Levels::default() {
        out.push_str(&format!(
            "\n\nqueue pairs: {}  limits (Mbit/s): {}",
            levels.queue_pairs, levels.max_tx_rate_mbps
        ));
    }
    let (driver, excluded) = (&shown.intent.vf_driver, &shown.intent.exclude_vfs);
    if !driver.is_auto() {
        out.push_str(&format!("\n\ndriver of VFs: {driver}"));
    }
    if !excluded.is_empty() {
        let excluded: Vec<String> = excluded.iter().map(ToString::to_string).collect();
        out.push_str(&format!("\n\nVFs of others: {}", excluded.join(", ")));
    }
    let mut rows = table(&["node", "state", "problem"]);
    for on_node in &shown.status {
        let code = on_node.problems.first().map(|problem| problem.code);
        add(
            &mut rows,
            [
                on_node.node.to_string(),
                on_node.state.to_string(),
                dash(code),
            ],
        );
    }
    out.push_str(&format!("\n\n{}\n", text(&rows)));
    for on_node in &shown.status {
        for problem in &on_node.problems {
            out.push_str(&problem_text(problem, Some(on_node.node.as_str())));
        }
    }
    out
}

fn state(state: VmState) -> &'static str {
    match state {
        VmState::Running => "running",
        VmState::Paused => "paused",
        VmState::Off => "off",
    }
}

pub(super) fn path(path: NicPath) -> &'static str {
    match path {
        NicPath::Vf => "VF",
        NicPath::Synthetic => "synthetic",
        NicPath::None => "none",
    }
}

/// `accelnet vm list`.
pub fn vms(vms: &[Vm]) -> String {
    let mut rows = table(&["name", "node", "state", "wanted", "path", "note"]);
    for vm in vms {
        let mut paths: Vec<_> = vm.nics.iter().map(|nic| path(nic.path)).collect();
        paths.dedup();
        add(
            &mut rows,
            [
                vm.name.clone(),
                dash(vm.node.as_ref()),
                state(vm.state).to_owned(),
                dash(vm.level),
                if paths.is_empty() {
                    "-".to_owned()
                } else {
                    paths.join(",")
                },
                note(vm),
            ],
        );
    }
    text(&rows)
}

/// What a VM does, how long it is parked, or what is wrong with it.
fn note(vm: &Vm) -> String {
    if let Some(progress) = &vm.progress {
        return format!("{} {}/{}", progress.operation, progress.number, progress.of);
    }
    let mut problems = vm.problems.iter();
    // That it is parked is said in words.
    let wrong = problems.find(|problem| vm.parked.is_none() || problem.code != Code::VmParked);
    let wrong = wrong.map(|problem| match problem.code {
        Code::VmNotSeen => problem.detail.clone(),
        code if vm.resting => format!("{code} (resting)"),
        code => code.to_string(),
    });
    let parked = vm.parked.iter().map(|parked| parked.because.clone());
    parked.chain(wrong).collect::<Vec<_>>().join("; ")
}

/// `accelnet waiver list`.
pub fn waivers(waivers: &[OfVm]) -> String {
    let mut rows = table(&["vm", "rule", "by", "at", "because"]);
    for OfVm { vm, waiver, .. } in waivers {
        let row = [
            vm.clone(),
            waiver.rule.clone(),
            waiver.by.clone(),
            format!("{:.0}", waiver.at),
            dash(waiver.because.as_ref()),
        ];
        add(&mut rows, row);
    }
    text(&rows)
}

/// `accelnet vm show`.
pub fn vm(vm: &Vm) -> String {
    let mut out = format!(
        "{} ({})\n  node: {}  state: {}  vCPUs: {}  wanted: {}\n",
        printable(&vm.name),
        vm.uuid,
        dash(vm.node.as_ref()),
        state(vm.state),
        vm.vcpus,
        vm.level
            .map_or_else(|| "not accelerated".to_owned(), |level| level.to_string()),
    );
    if let Some(parked) = &vm.parked {
        let because = printable(&parked.because);
        out.push_str(&format!("  {because}; since {:.0}\n", parked.since));
    }
    for waiver in &vm.waivers {
        let because = waiver.because.as_deref().unwrap_or("no reason given");
        out.push_str(&format!(
            "  waived: {} by {} at {:.0}: {}\n",
            printable(&waiver.rule),
            printable(&waiver.by),
            waiver.at,
            printable(because)
        ));
    }
    let mut rows = table(&[
        "nic",
        "bridge",
        "intent",
        "wanted",
        "path",
        "adapter",
        "vf",
        "queue pairs",
        "reason",
    ]);
    for nic in &vm.nics {
        add(&mut rows, nic_row(nic));
    }
    out.push_str(&text(&rows));
    out.push('\n');
    if !vm.traffic.is_empty() {
        out.push_str(&traffic::of_nics(&vm.traffic));
        out.push('\n');
    }
    if let Some(progress) = &vm.progress {
        let (operation, step) = (printable(&progress.operation), printable(&progress.step));
        out.push_str(&format!(
            "{operation}: step {} of {}: {step}\n",
            progress.number, progress.of
        ));
    }
    if vm.resting {
        out.push_str("the last change failed; it is tried again by itself after a rest\n");
    }
    for staged in &vm.staged {
        let staged = printable(staged);
        out.push_str(&format!("staged for the next cold start: {staged}\n"));
    }
    for problem in &vm.problems {
        out.push_str(&problem_text(problem, None));
    }
    out
}

fn nic_row(nic: &NicStatus) -> [String; 9] {
    let pairs = nic
        .queue_pairs
        .map(|pairs| format!("{} ({} in use)", pairs.allotted, pairs.effective));
    [
        nic.mac.to_string(),
        dash(nic.bridge.as_ref()),
        match &nic.intent {
            Some(intent) if !nic.managed => format!("{intent} (not enabled)"),
            intent => dash(intent.as_ref()),
        },
        dash(nic.level),
        path(nic.path).to_owned(),
        dash(nic.adapter.as_ref()),
        dash(nic.vf),
        dash(pairs),
        nic.reason.clone().unwrap_or_default(),
    ]
}
