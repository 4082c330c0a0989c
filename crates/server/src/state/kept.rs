//! Nodes' reports as they are kept: in parts, as a value of the store holds a mebibyte, and the report of
//! a node with some hundred VMs is larger.
//!
//! Parts of one report may be written one after the other, and an end that is no longer needed may stay:
//! the first says how many there are. What is read is where VMs were, which their nodes soon say anew.

use std::collections::BTreeMap;

use accelnet_model::{Name, NodeStatus, Problem, UnseenVm, VmStatus};
use accelnet_store::{Op, limits};
use serde::{Deserialize, Serialize};

use super::{PREFIX, put};

/// VMs of one part: 3 KiB each in the lab, four times that with many NICs and findings.
const VMS_IN_PART: usize = 64;

/// A node's report.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    /// The node.
    pub name: Name,
    /// What it said.
    pub status: NodeStatus,
}

/// A part of a report as it is written; the first one is all but further VMs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    name: Name,
    /// Which it is.
    #[serde(default)]
    number: usize,
    /// How many parts there are; in the first.
    #[serde(default = "one")]
    parts: usize,
    /// All but further VMs; in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<NodeStatus>,
    /// Further VMs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vms: Vec<VmStatus>,
    /// Further VMs that could not be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unseen_vms: Vec<UnseenVm>,
}

fn one() -> usize {
    1
}

fn key(name: &Name, number: usize) -> String {
    match number {
        0 => format!("nodes/{name}/status"),
        _ => format!("nodes/{name}/status/{number:04}"),
    }
}

fn parts(report: &NodeReport) -> Vec<Part> {
    let NodeReport { name, status } = report;
    let (vms, unseen) = (&status.vms, &status.unseen_vms);
    let chunks = |count: usize| count.div_ceil(VMS_IN_PART);
    let count = chunks(vms.len()).max(chunks(unseen.len())).max(1);
    let all = (0..count).map(|number| {
        let part = number * VMS_IN_PART;
        let vms = vms.iter().skip(part).take(VMS_IN_PART).cloned().collect();
        let unseen = unseen.iter().skip(part).take(VMS_IN_PART);
        let unseen_vms = unseen.cloned().collect();
        let first = (number == 0).then(|| NodeStatus {
            vms: Vec::new(),
            unseen_vms: Vec::new(),
            ..status.clone()
        });
        Part {
            name: name.clone(),
            number,
            parts: count,
            status: first,
            vms,
            unseen_vms,
        }
    });
    all.collect()
}

/// What writes reports. One that no value can hold is left out: others must not wait for it.
pub fn ops(reports: &[NodeReport]) -> Result<Vec<Op>, Problem> {
    let mut all = Vec::new();
    for report in reports {
        let parts = parts(report);
        let end = key(&report.name, parts.len());
        let written: Result<Vec<Op>, Problem> = parts
            .iter()
            .map(|part| put(&key(&report.name, part.number), part))
            .collect();
        let written = written?;
        let too_large = |op: &Op| match op {
            Op::Put { value, .. } => value.len() > limits::VALUE_BYTES_MAX,
            Op::Delete { .. } => false,
        };
        if written.iter().any(too_large) {
            tracing::warn!(node = %report.name, "its report is too large to be kept");
            continue;
        }
        all.extend(written);
        all.push(Op::delete(format!("{PREFIX}{end}")));
    }
    Ok(all)
}

/// Reports from their parts.
pub fn joined(parts: impl Iterator<Item = Part>) -> Vec<NodeReport> {
    let mut nodes: BTreeMap<Name, BTreeMap<usize, Part>> = BTreeMap::new();
    for part in parts {
        let node = nodes.entry(part.name.clone()).or_default();
        node.insert(part.number, part);
    }
    let reports = nodes.into_iter().filter_map(|(name, mut parts)| {
        let first = parts.remove(&0)?;
        let count = first.parts;
        let mut status = first.status?;
        status.vms.extend(first.vms);
        status.unseen_vms.extend(first.unseen_vms);
        for (_, part) in parts.into_iter().filter(|(number, _)| *number < count) {
            status.vms.extend(part.vms);
            status.unseen_vms.extend(part.unseen_vms);
        }
        Some(NodeReport { name, status })
    });
    reports.collect()
}

#[cfg(test)]
mod tests {
    use accelnet_rules::fixture;
    use uuid::Uuid;

    use super::*;

    fn report(vms: u128) -> NodeReport {
        let vm = |number| VmStatus {
            facts: accelnet_model::VmFacts {
                uuid: Uuid::from_u128(number),
                ..fixture::vm(1)
            },
            level: None,
            nics: Vec::new(),
            policy_seen: false,
            policy: Vec::new(),
            progress: None,
            resting: false,
            // What makes a report large.
            problems: vec![Problem::new(accelnet_model::Code::Internal, "x".repeat(3000)); 4],
            staged: Vec::new(),
        };
        NodeReport {
            name: "node1".parse().unwrap(),
            status: NodeStatus {
                vms: (0..vms).map(vm).collect(),
                ..NodeStatus::default()
            },
        }
    }

    fn read(ops: &[Op]) -> Vec<NodeReport> {
        let values = ops.iter().filter_map(|op| match op {
            Op::Put { value, .. } => Some(super::super::decode("a part", value).unwrap()),
            Op::Delete { .. } => None,
        });
        joined(values)
    }

    #[test]
    fn a_report_of_any_size_fits_and_is_read_as_it_was() {
        for vms in [0, 1, 64, 65, 400] {
            let report = report(vms);
            let ops = ops(std::slice::from_ref(&report)).unwrap();
            for op in &ops {
                if let Op::Put { value, .. } = op {
                    assert!(value.len() <= limits::VALUE_BYTES_MAX, "{vms}");
                }
            }
            assert_eq!(read(&ops), [report], "{vms}");
        }
    }

    #[test]
    fn what_is_left_of_a_longer_report_is_not_taken_for_new() {
        let (long, short) = (report(400), report(100));
        let mut all = ops(std::slice::from_ref(&long)).unwrap();
        let new = ops(std::slice::from_ref(&short)).unwrap();
        let new_keys: Vec<String> = new.iter().map(|op| op.key().to_owned()).collect();
        all.retain(|op| !new_keys.contains(&op.key().to_owned()));
        all.extend(new);
        assert_eq!(read(&all), [short]);
    }

    #[test]
    fn a_report_as_earlier_versions_wrote_it_is_read() {
        let report = report(1);
        let old = serde_json::json!({"schema": 1, "name": report.name, "status": report.status});
        let old: Part = super::super::decode("it", old.to_string().as_bytes()).unwrap();
        assert_eq!(joined([old].into_iter()), [report]);
    }

    #[test]
    fn one_that_cannot_be_kept_keeps_no_other_from_it() {
        let mut large = report(1);
        large.name = "large".parse().unwrap();
        let text = "x".repeat(2 << 20);
        large.status.problems = vec![Problem::new(accelnet_model::Code::Internal, text)];
        let ops = ops(&[large, report(1)]).unwrap();
        assert_eq!(read(&ops), [report(1)]);
    }
}
