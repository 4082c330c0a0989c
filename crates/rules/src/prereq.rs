//! Prerequisite checks: what must hold before acceleration can be enabled.
//!
//! Each check is a small rule over what nodes report, in a file of its own. All checks always run,
//! so that every failure is reported at once. Without an intent only the nodes are judged, with one
//! also its bridge and adapters (as the reference's `Get-AccelNetManagementPreReq` does).
//!
//! A check that cannot tell (a value is not known) never passes silently: it fails as a warning, or
//! says in `found` what it is waiting for.

mod adapter;
mod address_filter;
mod bridge;
mod compute_intent;
mod hook;
mod iommu;
mod isolation;
mod likeness;
mod numa;
mod platform;
mod smt;
mod spoof_check;
mod sriov;
mod tx_rate;
mod vf_count;
mod vf_owners;

use accelnet_model::{
    AdapterName, CheckResult, Code, Intent, Name, Problem, Severity, SriovSupport,
};

pub use crate::observed::Node;

/// Runs every check on every node; on the intent and its adapters too if one is given.
pub fn run(nodes: &[Node], intent: Option<&Intent>) -> Vec<CheckResult> {
    let mut results = vec![reports(nodes)];
    for node in nodes {
        platform::check(node, &mut results);
        iommu::check(node, &mut results);
    }
    results.extend(smt::check(nodes));
    results.extend(hook::check(nodes));
    if let Some(intent) = intent {
        results.push(compute_intent::check(intent));
        for node in nodes {
            on_node(node, intent, &mut results);
        }
        likeness::check(nodes, intent, &mut results);
    }
    results
}

/// The checks of one node's bridge and adapters.
fn on_node(node: &Node, intent: &Intent, results: &mut Vec<CheckResult>) {
    results.push(bridge::check(node, intent));
    let present = adapter::present(node, intent, results);
    // With a rule at least one.
    let missing = present.len() < intent.adapters.len().max(1);
    for facts in present {
        adapter::check(node, intent, facts, results);
        sriov::check(node, facts, results);
        vf_count::check(node, intent, facts, results);
        isolation::check(node, facts, results);
        spoof_check::check(node, facts, results);
        results.extend(tx_rate::check(node, intent, facts));
        results.extend(address_filter::check(node, intent, facts));
        results.extend(vf_owners::check(node, facts));
        results.extend(numa::check(node, facts));
    }
    if missing {
        // It may be one of those that lost their driver, and the interface's name with it.
        let adapters = node.1.adapters.iter();
        let without_driver = adapters.filter(|facts| facts.sriov == SriovSupport::MissingPfDriver);
        without_driver.for_each(|facts| sriov::check(node, facts, results));
    }
}

/// Problems of the checks that failed as errors: what `enable` refuses with.
pub fn errors(results: &[CheckResult]) -> Vec<Problem> {
    let failed = results
        .iter()
        .filter(|result| !result.passed && result.severity == Severity::Error);
    failed.filter_map(|result| result.problem.clone()).collect()
}

/// Somebody must report, else nothing is known.
fn reports(nodes: &[Node]) -> CheckResult {
    let check = Check::of_cluster("nodes");
    match nodes.len() {
        0 => check.fails(Code::AgentUnreachable, "no node reports"),
        1 => check.passes("1 node reports"),
        count => check.passes(format!("{count} nodes report")),
    }
}

/// A check that is about to be judged.
struct Check {
    name: &'static str,
    node: Option<Name>,
    adapter: Option<AdapterName>,
}

impl Check {
    fn of_cluster(name: &'static str) -> Self {
        Self {
            name,
            node: None,
            adapter: None,
        }
    }

    fn of_node(name: &'static str, node: &Node) -> Self {
        Self {
            name,
            node: Some(node.0.clone()),
            adapter: None,
        }
    }

    fn of_adapter(name: &'static str, node: &Node, adapter: impl Into<AdapterName>) -> Self {
        Self {
            name,
            node: Some(node.0.clone()),
            adapter: Some(adapter.into()),
        }
    }

    fn passes(self, found: impl Into<String>) -> CheckResult {
        CheckResult {
            check: self.name.to_owned(),
            node: self.node,
            adapter: self.adapter,
            passed: true,
            severity: Severity::Error,
            found: found.into(),
            problem: None,
        }
    }

    /// Failed, and acceleration cannot be enabled.
    fn fails(self, code: Code, found: impl Into<String>) -> CheckResult {
        self.failed(Severity::Error, code, found.into())
    }

    /// Failed, but acceleration can be enabled.
    fn warns(self, code: Code, found: impl Into<String>) -> CheckResult {
        self.failed(Severity::Warning, code, found.into())
    }

    fn failed(self, severity: Severity, code: Code, found: String) -> CheckResult {
        let place = match (&self.node, &self.adapter) {
            (Some(node), Some(adapter)) => format!("Node '{node}', adapter {adapter}: "),
            (Some(node), None) => format!("Node '{node}': "),
            (None, Some(adapter)) => format!("Adapter {adapter}: "),
            (None, None) => String::new(),
        };
        let mut problem = Problem::new(code, format!("{place}{found}."));
        if let Some(node) = &self.node {
            problem = problem.about("node", node);
        }
        if let Some(adapter) = &self.adapter {
            problem = problem.about("adapter", adapter);
        }
        CheckResult {
            passed: false,
            severity,
            problem: Some(problem),
            ..self.passes(found)
        }
    }
}

/// Gives a failed check's problem a cure for this case.
fn cured(mut result: CheckResult, cure: &str) -> CheckResult {
    result.problem = result.problem.map(|problem| problem.with_cure(cure));
    result
}

/// Names as a list in words.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests;
