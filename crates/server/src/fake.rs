//! Nodes that a test says what to see, and a server of them on a socket.
//!
//! A node reports what the rules say about what it sees ([`plan()`]), and does what is wanted of its
//! VMs at once unless it is told to be idle: a NIC is on a VF or it is not, without a switch-over.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use accelnet_model::{
    AdapterStatus, Code, Name, NicFacts, NicPath, NicStatus, NodeDesired, NodeStatus, Problem,
    Staging, VfAttributes, VfUser, VmFacts, VmState, VmStatus,
};
use accelnet_rules::{
    Observed,
    eligibility::free_vfs,
    fixture,
    plan::{Action, Memory, plan},
    profile, staging,
};
use accelnet_store::Store;
use tokio::{net::UnixListener, sync::oneshot, task::JoinHandle};

use crate::{Nodes, Pending, Server, Shared};

type ChangeOnce = Box<dyn FnOnce(&mut Observed) + Send>;

/// One node.
#[derive(Default)]
struct Fake {
    observed: Observed,
    desired: NodeDesired,
    /// The wish that it has taken up.
    followed: NodeDesired,
    idle: bool,
    silent: bool,
    /// Its machine refuses what it tries, with these words.
    refused: Option<String>,
    meanwhile: Option<ChangeOnce>,
    sequence: u64,
}

/// All nodes.
#[derive(Default)]
pub struct FakeNodes {
    nodes: Mutex<BTreeMap<Name, Fake>>,
    /// Who is told; a reference that would keep it alive would keep its store open.
    server: Mutex<Weak<Shared>>,
}

impl FakeNodes {
    /// Nodes that see this.
    pub fn new(nodes: impl IntoIterator<Item = (&'static str, Observed)>) -> Arc<Self> {
        let nodes = nodes.into_iter().map(|(name, mut observed)| {
            observed.node.hostname = name.to_owned();
            let fake = Fake {
                observed,
                ..Fake::default()
            };
            (name.parse().unwrap(), fake)
        });
        Arc::new(Self {
            nodes: Mutex::new(nodes.collect()),
            server: Mutex::default(),
        })
    }

    /// One node, `node1`, that sees what the rules' fixture is.
    pub fn one() -> Arc<Self> {
        Self::new([("node1", fixture::observed())])
    }

    /// One more node, which reports at once.
    pub fn joins(&self, name: &str, mut observed: Observed) {
        observed.node.hostname = name.to_owned();
        let fake = Fake {
            observed,
            ..Fake::default()
        };
        let name: Name = name.parse().unwrap();
        self.lock().insert(name.clone(), fake);
        self.report(&name);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Fake>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, node: &str, act: impl FnOnce(&mut Fake)) {
        let name: Name = node.parse().unwrap();
        act(self.lock().get_mut(&name).unwrap());
        self.report(&name);
    }

    /// What the node sees becomes this, and it reports it.
    pub fn sees(&self, node: &str, change: impl FnOnce(&mut Observed)) {
        self.with(node, |fake| change(&mut fake.observed));
    }

    /// What the node sees becomes this; it has not reported it yet.
    pub fn sees_but_has_not_said(&self, node: &str, change: impl FnOnce(&mut Observed)) {
        let name: Name = node.parse().unwrap();
        change(&mut self.lock().get_mut(&name).unwrap().observed);
    }

    /// What the node sees becomes this when it is asked for something next, before it does that.
    pub fn sees_meanwhile(&self, node: &str, change: impl FnOnce(&mut Observed) + Send + 'static) {
        self.with(node, |fake| fake.meanwhile = Some(Box::new(change)));
    }

    /// What the node sees.
    pub fn seen(&self, node: &str) -> Observed {
        self.lock()[&node.parse().unwrap()].observed.clone()
    }

    /// What the node was asked for last.
    pub fn desired(&self, node: &str) -> NodeDesired {
        self.lock()[&node.parse().unwrap()].desired.clone()
    }

    /// The node takes up what is wanted only when it is told to again.
    pub fn idle(&self, node: &str, idle: bool) {
        self.with(node, |fake| {
            fake.idle = idle;
            fake.follow();
        });
    }

    /// The node gives no answer, or does again.
    pub fn silent(&self, node: &str, silent: bool) {
        self.with(node, |fake| fake.silent = silent);
    }

    /// The node's machine refuses what the node tries, so that it never gets done.
    pub fn refused(&self, node: &str, words: &str) {
        self.with(node, |fake| fake.refused = Some(words.to_owned()));
    }

    fn report(&self, name: &Name) {
        let status = match self.lock().get_mut(name) {
            Some(fake) if !fake.silent => fake.status(),
            _ => return,
        };
        // Not held while it is told: it may answer with what is wanted.
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        if let Some(shared) = server {
            Server { shared }.report(name.clone(), status);
        }
    }
}

impl Nodes for FakeNodes {
    fn names(&self) -> Vec<Name> {
        self.lock().keys().cloned().collect()
    }

    fn refresh<'a>(&'a self, node: &'a Name) -> Pending<'a, Result<NodeStatus, Problem>> {
        let answer = match self.lock().get_mut(node) {
            Some(fake) if !fake.silent => Ok(fake.status()),
            _ => {
                let text = format!("Node '{node}' gave no answer.");
                Err(Problem::new(Code::AgentUnreachable, text).about("node", node))
            }
        };
        Box::pin(std::future::ready(answer))
    }

    fn set_desired(&self, node: &Name, desired: NodeDesired) {
        if let Some(fake) = self.lock().get_mut(node) {
            fake.desired = desired;
            if let Some(change) = fake.meanwhile.take() {
                change(&mut fake.observed);
            }
            fake.follow();
        }
        self.report(node);
    }
}

impl Fake {
    fn follow(&mut self) {
        if self.idle {
            return;
        }
        self.followed = self.desired.clone();
        self.make_bridges();
        let Some(intent) = self.followed.enabled_intent().cloned() else {
            return;
        };
        for number in 0..self.observed.vms.len() {
            let vm = &self.observed.vms[number];
            let Some(wish) = self.followed.vm(vm.uuid).cloned() else {
                continue;
            };
            let staging = staging::missing(vm, &wish, &intent);
            prepare(&mut self.observed.vms[number], &staging);
            let vm = &self.observed.vms[number];
            let running = vm.state == VmState::Running;
            match (wish.level, vm.hostdevs.is_empty()) {
                (Some(_), true) if running => {
                    let uplink = self.observed.uplinks(&intent).next();
                    let free = uplink.and_then(|pf| free_vfs(&self.observed, pf).next());
                    if let Some(index) = free.map(|vf| vf.index as usize) {
                        let uuid = vm.uuid;
                        fixture::put_on_vf(&mut self.observed, number, index);
                        self.observed.adapters[0].vfs[index].vm = Some(uuid);
                    }
                }
                (None, false) => self.give_back(number),
                _ => {}
            }
        }
    }

    fn make_bridges(&mut self) {
        for action in plan(&self.observed, &self.followed, &Memory::default()).actions {
            match action {
                Action::MakeBridge { bridge, mark } => {
                    let mut made = fixture::observed().bridges.remove(0);
                    (made.ifname, made.alias) = (bridge, Some(mark));
                    (made.has_host_address, made.ports) = (false, Vec::new());
                    self.observed.bridges.push(made);
                }
                Action::AddUplink { bridge, adapter } => {
                    let port = fixture::port(adapter.as_str(), None);
                    let mut adapters = self.observed.adapters.iter_mut();
                    let facts = adapters.find(|facts| facts.ifname == adapter).unwrap();
                    (facts.up, facts.carrier) = (true, true);
                    facts.master = Some(bridge.clone());
                    let mut bridges = self.observed.bridges.iter_mut();
                    let made = bridges.find(|found| found.ifname == bridge).unwrap();
                    made.ports.push(port);
                }
                _ => {}
            }
        }
    }

    fn give_back(&mut self, number: usize) {
        let vm = &mut self.observed.vms[number];
        let uuid = vm.uuid;
        vm.hostdevs.clear();
        let adapters = self.observed.adapters.iter_mut();
        for vf in adapters.flat_map(|adapter| &mut adapter.vfs) {
            if vf.vm == Some(uuid) {
                (vf.vm, vf.user, vf.active_vectors) = (None, VfUser::Nobody, 0);
                vf.attributes = VfAttributes::baseline();
            }
        }
    }

    fn status(&mut self) -> NodeStatus {
        self.sequence += 1;
        let observed = &self.observed;
        let plan = plan(observed, &self.followed, &Memory::default());
        let mut problems = plan.problems;
        if !observed.hypervisor_answers {
            let text = "connection refused.";
            problems.push(Problem::new(Code::HypervisorUnavailable, text));
        }
        if let Some(words) = &self.refused {
            problems.push(Problem::new(Code::HostOperationFailed, words.clone()));
        }
        let vms = observed.vms.iter().map(|vm| VmStatus {
            facts: vm.clone(),
            level: self.followed.vm(vm.uuid).and_then(|wish| wish.level),
            nics: vm
                .nics
                .iter()
                .map(|nic| of_nic(observed, vm, nic))
                .collect(),
            policy: vm
                .nics
                .iter()
                .flat_map(|nic| observed.policy.get(&(vm.uuid, nic.mac)).cloned())
                .flatten()
                .collect(),
            progress: None,
            problems: plan.vm_problems.get(&vm.uuid).cloned().unwrap_or_default(),
            staged: staging::to_come(vm),
        });
        let adapters = observed.adapters.iter().map(|facts| AdapterStatus {
            facts: facts.clone(),
            quarantined: Vec::new(),
            problems: Vec::new(),
        });
        NodeStatus {
            sequence: self.sequence,
            generation: self.followed.generation,
            converged: self.refused.is_none(),
            node: observed.node.clone(),
            adapters: adapters.collect(),
            bridges: observed.bridges.clone(),
            vms: vms.collect(),
            problems,
        }
    }
}

fn prepare(vm: &mut VmFacts, staging: &Staging) {
    for nic in &mut vm.nics {
        nic.standby_config |= staging.standby.contains(&nic.mac);
        let queues = staging.queues.iter().find(|(mac, _)| *mac == nic.mac);
        nic.queues_config = queues.map_or(nic.queues_config, |(_, queues)| *queues);
    }
    let ports = staging.standby.len() as u32;
    vm.free_root_ports_config = vm.free_root_ports_config.max(ports);
}

fn of_nic(observed: &Observed, vm: &VmFacts, nic: &NicFacts) -> NicStatus {
    let vf = observed.vf_of(vm, nic);
    let path = match vf {
        _ if vm.state == VmState::Off || !nic.link_up => NicPath::None,
        Some(_) => NicPath::Vf,
        None => NicPath::Synthetic,
    };
    NicStatus {
        mac: nic.mac,
        path,
        reason: None,
        adapter: vf.map(|(adapter, _)| adapter.ifname.clone()),
        vf: vf.map(|(_, vf)| vf.pci),
        queue_pairs: vf.and_then(|(adapter, vf)| profile::queue_pairs_of_vf(adapter, vf)),
        bridge: nic.bridge.clone(),
    }
}

/// A server of fake nodes that serves on a socket.
pub struct Running {
    /// It stops when this is dropped.
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// Starts it on a store and a socket.
    ///
    /// # Panics
    /// If it cannot start.
    pub async fn start<S: Store>(store: S, nodes: &Arc<FakeNodes>, socket: &Path) -> Self {
        let server = Server::new(store, Arc::clone(nodes) as Arc<dyn Nodes>)
            .await
            .unwrap();
        *nodes.server.lock().unwrap_or_else(PoisonError::into_inner) =
            Arc::downgrade(&server.shared);
        for name in nodes.names() {
            nodes.report(&name);
        }
        let listener = UnixListener::bind(socket).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            server
                .serve(listener, async move { drop(stopped.await) })
                .await
        });
        Self { stop, serving }
    }

    /// Stops it and waits for its end.
    ///
    /// # Panics
    /// If it failed.
    pub async fn stop(self) {
        drop(self.stop);
        self.serving.await.unwrap().unwrap();
    }
}
