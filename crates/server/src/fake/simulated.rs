//! A cluster of any size that has been in use for long: what is wanted in its store, and nodes that do what they are
//! told at once. For benchmarks, in which everything else is real.

use std::collections::BTreeMap;

use accelnet_model::{Name, NicPath, NodeDesired, NodeStatus, VfUser};
use accelnet_rules::{Observed, fixture};
use accelnet_store::{Op, Store, limits};
use futures::FutureExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::FakeNodes;
use crate::{
    Nodes,
    audit::{Actor, Asked, Entry, KEPT},
    state::put,
};

/// As many as the fixture's PCI addresses can name.
const VFS: u32 = 64;

/// How many there are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Nodes.
    pub nodes: u64,
    /// VMs of each that are accelerated from the beginning.
    pub accelerated: u32,
    /// Its others.
    pub others: u32,
}

/// The VM with a number on the node with a number; those that are accelerated have the lowest.
pub fn uuid(node: u64, number: u32) -> Uuid {
    Uuid::from_u64_pair(node, number.into())
}

/// Its name.
pub fn vm_name(node: u64, number: u32) -> String {
    format!("vm{node}-{number}")
}

/// What is kept of a VM that is accelerated.
pub fn vm_spec(node: u64, number: u32) -> Value {
    let level = if number.is_multiple_of(2) {
        "low"
    } else {
        "medium"
    };
    json!({"uuid": uuid(node, number), "name": vm_name(node, number),
        "intents": {"compute": {"level": level, "prepare": false}}, "by": {"uid": 0, "gid": 0, "pid": 1},
        "at": "2026-01-01T00:00:00Z"})
}

/// Writes what is wanted in such a cluster, and as much of a record as is kept.
///
/// # Panics
/// If it cannot be written.
pub async fn fill<S: Store>(store: &S, size: Size) {
    let op = |key: &str, value: Value| put(key, &value).expect("JSON");
    let intent = serde_json::to_value(fixture::intent()).expect("JSON");
    let enabled = json!({"intent": "compute", "node_reserve_percentage": 50});
    let mut ops = vec![op("intents/compute", intent), op("cluster", enabled)];
    for node in 0..size.nodes {
        ops.extend((0..size.accelerated).map(|number| {
            let key = format!("vms/{}/spec", uuid(node, number));
            op(&key, vm_spec(node, number))
        }));
    }
    ops.extend((0..KEPT).map(|number| {
        let asked = Asked {
            by: Actor::default(),
            operation: "vm enable",
            subject: format!("{} Low", vm_name(number, 0)),
            dry_run: false,
        };
        let entry = Entry::new(&asked, Timestamp::now());
        put(&format!("audit/{number:020}"), &entry).expect("JSON")
    }));
    ops.push(op("generation", json!({})));
    for some in ops.chunks(limits::TXN_OPS_MAX) {
        let some: Vec<Op> = some.to_vec();
        store.txn(Vec::new(), some).await.expect("a commit");
    }
}

/// A node that does at once what it is told.
#[derive(Debug, Clone)]
pub struct SimulatedNode(NodeStatus);

impl SimulatedNode {
    /// All nodes of such a cluster, in the order of their numbers.
    pub fn all(size: Size) -> impl Iterator<Item = (Name, Self)> {
        let template = template(size);
        (0..size.nodes).map(move |number| {
            let name: Name = format!("node{number:05}").parse().expect("a name");
            (name, Self(of_node(template.clone(), number)))
        })
    }

    /// Its next report.
    pub fn report(&mut self) -> NodeStatus {
        self.0.sequence += 1;
        self.0.clone()
    }

    /// Each VM's NIC goes where it is wanted.
    ///
    /// # Panics
    /// If there is no VF for one that was admitted.
    pub fn follow(&mut self, desired: &NodeDesired) {
        let status = &mut self.0;
        status.generation = desired.generation;
        status.converged = true;
        let facts = &mut status.adapters[0].facts;
        for vm in &mut status.vms {
            let Some(wish) = desired.vm(vm.facts.uuid) else {
                continue;
            };
            vm.level = wish.level;
            let nic = &mut vm.nics[0];
            match (wish.level, nic.vf) {
                (Some(_), None) => {
                    let free = facts.vfs.iter_mut().find(|vf| vf.vm.is_none());
                    let free = free.expect("admitted, so there is one");
                    free.vm = Some(vm.facts.uuid);
                    (nic.vf, nic.path) = (Some(free.pci), NicPath::Vf);
                    nic.adapter = Some(facts.ifname.clone());
                }
                (None, Some(has)) => {
                    for vf in facts.vfs.iter_mut().filter(|vf| vf.pci == has) {
                        (vf.vm, vf.user) = (None, VfUser::Nobody);
                    }
                    (nic.vf, nic.path, nic.adapter) = (None, NicPath::Synthetic, None);
                }
                _ => {}
            }
        }
    }

    /// Its memory is another, which changes with everything that a machine does.
    pub fn breathe(&mut self) {
        self.0.node.memory_available_mib ^= 1;
    }
}

/// What a node of the fixture reports with these VMs.
fn template(size: Size) -> NodeStatus {
    let mut observed: Observed = fixture::observed();
    observed.node.memory_available_mib = 1 << 20;
    observed.adapters[0] = fixture::adapter(VFS);
    observed.adapters[0].total_vfs = VFS;
    observed.vms = (1..=size.accelerated + size.others)
        .map(|number| fixture::vm(number as u8))
        .collect();
    let ports = &mut observed.bridges[0].ports;
    ports.truncate(1);
    ports.extend(observed.vms.iter().filter_map(|vm| {
        let tap = vm.nics[0].tap.as_ref()?;
        Some(fixture::port(tap.as_str(), Some(vm.nics[0].mac)))
    }));
    for number in 0..size.accelerated as usize {
        fixture::put_on_vf(&mut observed, number, number);
        observed.adapters[0].vfs[number].vm = Some(observed.vms[number].uuid);
    }
    let nodes = FakeNodes::new([("node", observed)]);
    let name: Name = "node".parse().expect("a name");
    let status = nodes.refresh(&name).now_or_never();
    status.expect("an answer at once").expect("a report")
}

fn of_node(mut status: NodeStatus, node: u64) -> NodeStatus {
    status.node.hostname = format!("node{node:05}");
    let named: BTreeMap<Uuid, Uuid> = (0..)
        .zip(&mut status.vms)
        .map(|(number, vm)| {
            let new = uuid(node, number);
            vm.facts.name = vm_name(node, number);
            (std::mem::replace(&mut vm.facts.uuid, new), new)
        })
        .collect();
    for vf in &mut status.adapters[0].facts.vfs {
        vf.vm = vf.vm.and_then(|vm| named.get(&vm).copied());
    }
    status
}
