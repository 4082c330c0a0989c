//! A simulation of nodes: each does what it is told at once and reports it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use accelnet_model::{Name, NicPath, NodeDesired, NodeStatus, Problem, VfUser};
use accelnet_rules::{Observed, fixture};
use accelnet_server::{Nodes, Pending, Server, fake::FakeNodes};
use futures::FutureExt;
use uuid::Uuid;

/// As many as the fixture's PCI addresses can name.
const VFS: u32 = 64;

/// The VM with a number on the node with a number.
pub fn uuid(node: u64, number: u32) -> Uuid {
    Uuid::from_u64_pair(node, number.into())
}

/// Its name.
pub fn vm_name(node: u64, number: u32) -> String {
    format!("vm{node}-{number}")
}

/// All nodes.
pub struct SimulatedNodes {
    names: Arc<[Name]>,
    nodes: BTreeMap<Name, Mutex<NodeStatus>>,
    server: Mutex<Option<Server>>,
    /// How often one was asked for a report.
    pub asked: AtomicU64,
}

impl SimulatedNodes {
    /// So many nodes, with so many VMs that have their VFs and so many others each.
    pub fn new(count: u64, accelerated: u32, others: u32) -> Self {
        let template = template(accelerated, others);
        let node = |number: u64| {
            let name: Name = format!("node{number:05}").parse().expect("a name");
            (name, Mutex::new(of_node(template.clone(), number)))
        };
        let nodes: BTreeMap<Name, Mutex<NodeStatus>> = (0..count).map(node).collect();
        Self {
            names: nodes.keys().cloned().collect(),
            nodes,
            server: Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// All nodes report, now and whenever they have done something.
    pub fn report_to(&self, server: &Server) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server.clone());
        for name in self.names.iter() {
            self.report(name);
        }
    }

    fn report(&self, name: &Name) {
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let (Some(server), Some(status)) = (server, self.status(name)) {
            server.report(name, status);
        }
    }

    fn status(&self, name: &Name) -> Option<NodeStatus> {
        let node = self.nodes.get(name)?;
        let mut status = node.lock().unwrap_or_else(PoisonError::into_inner);
        status.sequence += 1;
        Some(status.clone())
    }
}

/// What a node of the fixture reports with these VMs.
fn template(accelerated: u32, others: u32) -> NodeStatus {
    let mut observed: Observed = fixture::observed();
    observed.node.memory_available_mib = 1 << 20;
    observed.adapters[0] = fixture::adapter(VFS);
    observed.adapters[0].total_vfs = VFS;
    observed.vms = (1..=accelerated + others)
        .map(|number| fixture::vm(number as u8))
        .collect();
    let ports = &mut observed.bridges[0].ports;
    ports.truncate(1);
    ports.extend(observed.vms.iter().filter_map(|vm| {
        let tap = vm.nics[0].tap.as_ref()?;
        Some(fixture::port(tap.as_str(), Some(vm.nics[0].mac)))
    }));
    for number in 0..accelerated as usize {
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

/// Each VM's NIC goes where it is wanted.
fn follow(status: &mut NodeStatus, desired: &NodeDesired) {
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

impl Nodes for SimulatedNodes {
    fn names(&self) -> Arc<[Name]> {
        Arc::clone(&self.names)
    }

    fn refresh<'a>(&'a self, node: &'a Name) -> Pending<'a, Result<NodeStatus, Problem>> {
        self.asked.fetch_add(1, Relaxed);
        let status = self.status(node).expect("a node");
        std::future::ready(Ok(status)).boxed()
    }

    fn set_desired(&self, node: &Name, desired: NodeDesired) {
        if let Some(known) = self.nodes.get(node) {
            let mut status = known.lock().unwrap_or_else(PoisonError::into_inner);
            follow(&mut status, &desired);
        }
        self.report(node);
    }
}
