//! What is remembered of nodes as it is kept: in parts, as a value of the store holds a mebibyte, and a node may have
//! some thousand VMs.
//!
//! Parts of one node may be written one after the other, and an end that is no longer needed may stay:
//! the first says how many there are. What is read is where VMs were, which their nodes soon say anew.

use std::collections::BTreeMap;

use accelnet_model::{Name, Problem, UnseenVm};
use accelnet_store::{Op, limits};
use serde::{Deserialize, Serialize};

use super::{
    PREFIX, put,
    remembered::{Remembered, Rest, Vm},
};

/// VMs of one part: 300 bytes each, some times that with many NICs.
const VMS_IN_PART: usize = 512;

/// A part of what is kept of a node as it is written; the first one is all but further VMs.
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
    rest: Option<Rest>,
    /// Further VMs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vms: Vec<Vm>,
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

fn parts(node: &Remembered) -> Vec<Part> {
    let (vms, unseen) = (&node.vms, &node.unseen_vms);
    let chunks = |count: usize| count.div_ceil(VMS_IN_PART);
    let count = chunks(vms.len()).max(chunks(unseen.len())).max(1);
    let all = (0..count).map(|number| {
        let part = number * VMS_IN_PART;
        let vms = vms.iter().skip(part).take(VMS_IN_PART).cloned().collect();
        let unseen = unseen.iter().skip(part).take(VMS_IN_PART);
        Part {
            name: node.name.clone(),
            number,
            parts: count,
            rest: (number == 0).then(|| node.rest.clone()),
            vms,
            unseen_vms: unseen.cloned().collect(),
        }
    });
    all.collect()
}

/// What writes reports. One that no value can hold is left out: others must not wait for it.
pub fn ops(reports: &[Remembered]) -> Result<Vec<Op>, Problem> {
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

/// What is remembered, from its parts. What an earlier version wrote has no such first part: its node says it anew.
pub fn joined(parts: impl Iterator<Item = Part>) -> Vec<Remembered> {
    let mut nodes: BTreeMap<Name, BTreeMap<usize, Part>> = BTreeMap::new();
    for part in parts {
        let node = nodes.entry(part.name.clone()).or_default();
        node.insert(part.number, part);
    }
    let all = nodes.into_iter().filter_map(|(name, mut parts)| {
        let first = parts.remove(&0)?;
        let mut node = Remembered {
            name,
            rest: first.rest?,
            vms: first.vms,
            unseen_vms: first.unseen_vms,
        };
        let others = parts.into_iter();
        for (_, part) in others.filter(|(number, _)| *number < first.parts) {
            node.vms.extend(part.vms);
            node.unseen_vms.extend(part.unseen_vms);
        }
        Some(node)
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use accelnet_model::{AdapterStatus, NodeStatus, VfUser, VmFacts, VmStatus};
    use accelnet_rules::fixture;
    use uuid::Uuid;

    use super::*;

    fn reported(vms: u128) -> NodeStatus {
        let observed = fixture::observed();
        let vm = |number| VmStatus {
            // What makes a report large.
            problems: vec![Problem::new(accelnet_model::Code::Internal, "x".repeat(3000)); 4],
            ..VmStatus::of(VmFacts {
                uuid: Uuid::from_u128(number),
                ..fixture::vm(1)
            })
        };
        let adapters = observed.adapters.iter().cloned().map(AdapterStatus::of);
        NodeStatus {
            adapters: adapters.collect(),
            bridges: observed.bridges,
            node: observed.node,
            vms: (0..vms).map(vm).collect(),
            ..NodeStatus::default()
        }
    }

    fn node(vms: u128) -> Remembered {
        Remembered::of("node1".parse().unwrap(), &reported(vms))
    }

    fn values(ops: &[Op]) -> impl Iterator<Item = &Vec<u8>> {
        ops.iter().filter_map(|op| match op {
            Op::Put { value, .. } => Some(value),
            Op::Delete { .. } => None,
        })
    }

    fn read(ops: &[Op]) -> Vec<Remembered> {
        let parts = values(ops).map(|value| super::super::decode("a part", value).unwrap());
        joined(parts)
    }

    #[test]
    fn a_node_of_any_size_fits_and_is_read_as_it_was() {
        for vms in [0, 1, 512, 513, 2000] {
            let node = node(vms);
            let ops = ops(std::slice::from_ref(&node)).unwrap();
            for value in values(&ops) {
                assert!(value.len() <= limits::VALUE_BYTES_MAX, "{vms}");
            }
            assert_eq!(read(&ops), [node], "{vms}");
        }
    }

    #[test]
    fn what_is_left_of_a_longer_one_is_not_taken_for_new() {
        let (long, short) = (node(2000), node(600));
        let mut all = ops(std::slice::from_ref(&long)).unwrap();
        let new = ops(std::slice::from_ref(&short)).unwrap();
        let new_keys: Vec<String> = new.iter().map(|op| op.key().to_owned()).collect();
        all.retain(|op| !new_keys.contains(&op.key().to_owned()));
        all.extend(new);
        assert_eq!(read(&all), [short]);
    }

    #[test]
    fn what_an_earlier_version_wrote_is_passed_over() {
        let old = serde_json::json!({"schema": 1, "name": "node1", "status": reported(1)});
        let old: Part = super::super::decode("it", old.to_string().as_bytes()).unwrap();
        assert_eq!(joined([old].into_iter()), []);
    }

    #[test]
    fn one_that_cannot_be_kept_keeps_no_other_from_it() {
        let mut status = reported(1);
        status.node.hostname = "x".repeat(2 << 20);
        let large = Remembered::of("large".parse().unwrap(), &status);
        let ops = ops(&[large, node(1)]).unwrap();
        assert_eq!(read(&ops), [node(1)]);
    }

    /// VFs, who has them, and VMs with their NICs are what they were; it is a small part of the report.
    #[test]
    fn the_little_that_is_kept_is_what_capacity_rests_on() {
        let mut observed = reported(20);
        observed.vms.iter_mut().for_each(|vm| vm.problems.clear());
        let vfs = &mut observed.adapters[0].facts.vfs;
        vfs[0].vm = Some(Uuid::from_u128(3));
        vfs[1].promised = Some(Uuid::from_u128(9));
        vfs[2].user = VfUser::HostDriver {
            driver: "igbvf".into(),
        };
        vfs[3].group_peers = vec![vfs[4].pci];
        let kept = Remembered::of("node1".parse().unwrap(), &observed);
        let size = |bytes: Vec<u8>| bytes.len();
        let written = size(serde_json::to_vec(&kept).unwrap());
        let whole = size(serde_json::to_vec(&observed).unwrap());
        eprintln!("{written} of {whole} bytes");
        assert!(written * 2 < whole);

        let read = kept.status();
        let free = |status: &NodeStatus| -> Vec<bool> {
            let vfs = status.adapters[0].facts.vfs.iter();
            let nobodys = vfs.map(|vf| {
                vf.vm.is_none()
                    && vf.user == VfUser::Nobody
                    && vf.promised.is_none()
                    && vf.group_peers.is_empty()
            });
            nobodys.collect()
        };
        assert_eq!(free(&read), free(&observed));
        assert_eq!(free(&read), [false, false, false, false, true, true, true]);
        let (was, is) = (&observed.vms[3].facts, &read.vms[3].facts);
        assert_eq!(
            (is.uuid, &is.name, is.state),
            (was.uuid, &was.name, was.state)
        );
        assert_eq!(is.nics[0].bridge, was.nics[0].bridge);
        let (was, is) = (&observed.adapters[0].facts, &read.adapters[0].facts);
        assert_eq!(
            (&is.id, &is.master, is.total_vfs),
            (&was.id, &was.master, was.total_vfs)
        );
    }
}
