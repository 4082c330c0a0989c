//! Adapters of the same name, or of the same rule, are alike on all nodes: model, driver, its version
//! and firmware.
//!
//! Only a warning: an update is rolled out node by node.

use std::collections::BTreeMap;

use accelnet_model::{AdapterFacts, CheckResult, Code, Intent};

use super::{Check, Node, list};
use crate::membership::{self, Group};

/// A property, and how it is read of an adapter.
type Property = (&'static str, fn(&AdapterFacts) -> Option<String>);

const PROPERTIES: [Property; 6] = [
    ("model", |facts| Some(facts.pci_id.clone())),
    ("speed", |facts| {
        facts.speed_mbps.map(|speed| format!("{speed} Mbit/s"))
    }),
    ("driver", |facts| facts.driver.clone()),
    ("driver version", |facts| facts.driver_version.clone()),
    ("firmware", |facts| facts.firmware.clone()),
    ("firmware by component", components),
];

/// What devlink knows beyond the one line that every driver has.
fn components(facts: &AdapterFacts) -> Option<String> {
    let running = facts.devlink.as_ref()?.running.iter();
    let parts: Vec<String> = running
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

pub(super) fn check(nodes: &[Node], intent: &Intent, results: &mut Vec<CheckResult>) {
    let groups = membership::groups(nodes, intent);
    results.extend(groups.into_iter().filter_map(alike));
}

/// Nothing if fewer than two nodes have the adapter.
fn alike(group: Group<'_>) -> Option<CheckResult> {
    let having = group.having;
    if having.len() < 2 {
        return None;
    }
    let mut differences = Vec::new();
    for (property, read) in PROPERTIES {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (node, facts) in &having {
            let value = read(facts).unwrap_or_else(|| "unknown".to_owned());
            values.entry(value).or_default().push(node.to_string());
        }
        if values.len() > 1 {
            let each = values
                .iter()
                .map(|(value, nodes)| format!("{value} on {}", list(nodes)));
            differences.push(format!(
                "{property} differs ({})",
                each.collect::<Vec<_>>().join("; ")
            ));
        }
    }
    let mut check = Check::of_cluster("alike");
    check.adapter = group.name.cloned();
    Some(if differences.is_empty() {
        check.passes(format!("the same on {} nodes", having.len()))
    } else {
        check.warns(Code::AdaptersDiffer, differences.join("; "))
    })
}
