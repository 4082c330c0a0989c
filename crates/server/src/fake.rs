//! Nodes that a test says what to see, and a server of them on a socket.
//!
//! A node reports what the rules say about what it sees ([`plan()`]), and does what is wanted of its
//! VMs at once unless it is told to be idle: a NIC is on a VF or it is not, without a switch-over.

pub mod simulated;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use accelnet_api::{
    draining::Parked,
    incoming::{Admitted, IncomingVm},
};
use accelnet_model::{
    AdapterStatus, Code, Intent, MacAddr, Name, NicCounted, NicFacts, NicPath, NicStatus,
    NodeDesired, NodeStatus, PciAddress, Problem, Staging, UnseenVm, VfAttributes, VfUser,
    VmDesired, VmFacts, VmState, VmStatus,
};
use accelnet_rules::{
    Observed,
    action::Action,
    eligibility::free_vfs,
    fixture, isolation,
    new_nic::{self, When},
    plan::{Memory, plan},
    profile, staging,
};
use accelnet_store::Store;
use axum::{Extension, extract::ConnectInfo};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::oneshot,
    task::JoinHandle,
};
use uuid::Uuid;

use crate::{Door, NodePeerInfo, Nodes, Pending, Sender, Server, Shared, routes};

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
    /// VMs that rest after a failure.
    resting: BTreeMap<Uuid, Problem>,
    /// VMs that it cannot look at, with why.
    unseen: BTreeMap<Uuid, String>,
    meanwhile: Option<ChangeOnce>,
    /// What it says was counted.
    counted: Vec<NicCounted>,
    sequence: u64,
}

/// All nodes.
#[derive(Default)]
pub struct FakeNodes {
    nodes: Mutex<BTreeMap<Name, Fake>>,
    names: Mutex<Arc<[Name]>>,
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
        let nodes: BTreeMap<Name, Fake> = nodes.collect();
        Arc::new(Self {
            names: Mutex::new(nodes.keys().cloned().collect()),
            nodes: Mutex::new(nodes),
            server: Mutex::default(),
        })
    }

    /// One node, `node1`, that sees what the rules' fixture is.
    pub fn one() -> Arc<Self> {
        Self::new([("node1", fixture::observed())])
    }

    /// What a node says was counted of its VMs' packets.
    pub fn counts(&self, node: &str, counted: Vec<NicCounted>) {
        self.with(node, |fake| fake.counted = counted);
    }

    /// One more node, which reports at once.
    pub fn joins(&self, name: &str, mut observed: Observed) {
        observed.node.hostname = name.to_owned();
        let fake = Fake {
            observed,
            ..Fake::default()
        };
        let name: Name = name.parse().unwrap();
        let mut nodes = self.lock();
        nodes.insert(name.clone(), fake);
        let names = nodes.keys().cloned().collect();
        drop(nodes);
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
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

    /// A VM of the node rests after a failure.
    pub fn rests(&self, node: &str, vm: Uuid, problem: Problem) {
        self.with(node, |fake| drop(fake.resting.insert(vm, problem)));
    }

    /// The node cannot look at a VM, and why not; or it can again.
    pub fn cannot_look_at(&self, node: &str, vm: Uuid, because: Option<&str>) {
        self.with(node, |fake| match because {
            Some(because) => drop(fake.unseen.insert(vm, because.to_owned())),
            None => drop(fake.unseen.remove(&vm)),
        });
    }

    /// They report to this server from now on.
    pub(crate) fn speak_to(&self, server: &Server) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) =
            Arc::downgrade(&server.shared);
        for name in self.names().iter() {
            self.report(name);
        }
    }

    fn report(&self, name: &Name) {
        let status = match self.lock().get_mut(name) {
            Some(fake) if !fake.silent => Some(fake.status()),
            _ => None,
        };
        // Not held while it is told: it may answer with what is wanted.
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        let Some(shared) = server else {
            return;
        };
        let server = Server { shared };
        match status {
            Some(status) => server.report(name, status),
            None => server.lost(name, no_answer(name)),
        }
    }
}

fn no_answer(node: &Name) -> Problem {
    let text = format!("Node '{node}' gave no answer.");
    Problem::new(Code::AgentUnreachable, text).about("node", node)
}

impl Nodes for FakeNodes {
    fn names(&self) -> Arc<[Name]> {
        let names = self.names.lock();
        Arc::clone(&names.unwrap_or_else(PoisonError::into_inner))
    }

    fn refresh<'a>(&'a self, node: &'a Name) -> Pending<'a, Result<NodeStatus, Problem>> {
        let answer = match self.lock().get_mut(node) {
            Some(fake) if !fake.silent => Ok(fake.status()),
            _ => Err(no_answer(node)),
        };
        Box::pin(std::future::ready(answer))
    }

    fn traffic<'a>(
        &'a self,
        node: &'a Name,
        vm: Uuid,
    ) -> Pending<'a, Result<Vec<NicCounted>, Problem>> {
        let answer = match self.lock().get(node) {
            Some(fake) if !fake.silent => {
                let counted = fake.counted.iter();
                Ok(counted.filter(|nic| nic.vm == vm).cloned().collect())
            }
            _ => Err(no_answer(node)),
        };
        Box::pin(std::future::ready(answer))
    }

    fn set_desired(&self, node: &Name, desired: NodeDesired) {
        if let Some(fake) = self.lock().get_mut(node) {
            // Two may come in the other order; a node keeps the newer one.
            if desired.generation < fake.desired.generation {
                return;
            }
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
        isolation::mark(&mut self.observed, &self.followed.isolated);
        self.make_bridges();
        let Some(intent) = self.followed.enabled_intent().cloned() else {
            return;
        };
        for number in 0..self.observed.vms.len() {
            let vm = &self.observed.vms[number];
            let Some(wish) = self.followed.vm(vm.uuid).cloned() else {
                continue;
            };
            let missing = |mac| {
                Some((
                    mac,
                    new_nic::missing(&self.observed.vms[number], &intent, mac)?,
                ))
            };
            if let Some((mac, when)) = wish.add_nic.and_then(missing) {
                self.add_nic(&intent, number, mac, when);
            }
            let vm = &mut self.observed.vms[number];
            let staging = staging::missing(vm, &wish, &intent);
            prepare(vm, &staging);
            let running = vm.state == VmState::Running;
            let to_vf = wish.level.is_some() && !wish.parked;
            for nic in 0..self.observed.vms[number].nics.len() {
                self.move_nic(&intent, number, nic, to_vf, running);
            }
        }
    }

    fn make_bridges(&mut self) {
        let now = Duration::ZERO;
        let plan = plan(&self.observed, &self.followed, &Memory::default(), now);
        for (_, action) in plan.actions {
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

    fn add_nic(&mut self, intent: &Intent, number: usize, mac: MacAddr, when: When) {
        let vm = &mut self.observed.vms[number];
        let count = vm.nics.len();
        let live = when == When::Now;
        let nic = NicFacts {
            mac,
            alias: live.then(|| format!("net{count}")),
            bridge: Some(intent.bridge.clone()),
            tap: format!("tap{number}-{count}").parse().ok().filter(|_| live),
            standby_live: live,
            ..fixture::vm(1).nics[0].clone()
        };
        vm.free_root_ports_config = vm.free_root_ports_config.max(2) - 1;
        if when == When::Now {
            vm.free_root_ports_live -= 1;
        }
        match (when, vm.state) {
            (When::Now, _) | (_, VmState::Off) => vm.nics.push(nic),
            (When::NextStart, _) => vm.nics_staged.push(nic),
        }
    }

    /// A NIC on the intent's bridge goes where it is wanted.
    fn move_nic(&mut self, intent: &Intent, number: usize, nic: usize, to_vf: bool, running: bool) {
        let vm = &self.observed.vms[number];
        if vm.nics[nic].bridge.as_ref() != Some(&intent.bridge) {
            return;
        }
        let uuid = vm.uuid;
        let has = self.observed.vf_of(vm, &vm.nics[nic]).map(|(_, vf)| vf.pci);
        match (to_vf, has) {
            (true, None) if running => {
                let uplink = self.observed.giving_uplinks(intent).next();
                let free = uplink.and_then(|pf| Some((pf, free_vfs(&self.observed, pf).next()?)));
                let Some((pf, vf)) = free.map(|(pf, vf)| (pf.pci, vf.index as usize)) else {
                    return;
                };
                let mut all = self.observed.adapters.iter();
                let adapter = all
                    .position(|adapter| adapter.pci == pf)
                    .unwrap_or_default();
                fixture::put_nic_on_vf(&mut self.observed, (number, nic), (adapter, vf));
                self.observed.adapters[adapter].vfs[vf].vm = Some(uuid);
            }
            // It leaves an adapter that is taken out of the pool, if another one has a VF for it.
            (true, Some(vf)) if running => {
                let its = self.observed.vf(vf);
                let isolated = its.is_some_and(|(adapter, _)| adapter.isolated.is_some());
                let has_room = |pf| free_vfs(&self.observed, pf).next().is_some();
                let room = self.observed.giving_uplinks(intent).any(has_room);
                if isolated && room {
                    self.give_back(number, vf);
                    self.move_nic(intent, number, nic, to_vf, running);
                }
            }
            (false, Some(vf)) => self.give_back(number, vf),
            _ => {}
        }
    }

    fn give_back(&mut self, number: usize, pci: PciAddress) {
        let hostdevs = &mut self.observed.vms[number].hostdevs;
        hostdevs.retain(|hostdev| hostdev.pci != pci);
        let adapters = self.observed.adapters.iter_mut();
        let vfs = adapters.flat_map(|adapter| &mut adapter.vfs);
        for vf in vfs.filter(|vf| vf.pci == pci) {
            (vf.vm, vf.user, vf.active_vectors) = (None, VfUser::Nobody, 0);
            vf.attributes = VfAttributes::baseline();
        }
    }

    fn unseen(&self) -> impl Iterator<Item = UnseenVm> {
        self.observed.vms.iter().filter_map(|vm| {
            Some(UnseenVm {
                uuid: vm.uuid,
                name: vm.name.clone(),
                state: vm.state,
                job: vm.job,
                because: self.unseen.get(&vm.uuid)?.clone(),
            })
        })
    }

    fn status(&mut self) -> NodeStatus {
        self.sequence += 1;
        let observed = &self.observed;
        let plan = plan(observed, &self.followed, &Memory::default(), Duration::ZERO);
        let mut problems = plan.problems;
        if !observed.hypervisor_answers {
            let text = "connection refused.";
            problems.push(Problem::new(Code::HypervisorUnavailable, text));
        }
        if let Some(words) = &self.refused {
            problems.push(Problem::new(Code::HostOperationFailed, words.clone()));
        }
        let seen = observed.vms.iter();
        let seen = seen.filter(|vm| !self.unseen.contains_key(&vm.uuid));
        let vms = seen.map(|vm| VmStatus {
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
            policy_seen: true,
            progress: None,
            resting: self.resting.contains_key(&vm.uuid),
            problems: match self.resting.get(&vm.uuid) {
                Some(problem) => vec![problem.clone()],
                None => plan.vm_problems.get(&vm.uuid).cloned().unwrap_or_default(),
            },
            staged: staged(vm, self.followed.vm(vm.uuid)),
        });
        let adapters = observed.adapters.iter().cloned().map(AdapterStatus::of);
        NodeStatus {
            sequence: self.sequence,
            generation: self.followed.generation,
            converged: self.refused.is_none() && self.resting.is_empty(),
            resting: self.refused.is_none() && !self.resting.is_empty(),
            node: observed.node.clone(),
            adapters: adapters.collect(),
            bridges: observed.bridges.clone(),
            vms: vms.collect(),
            unseen_vms: self.unseen().collect(),
            problems,
            agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..NodeStatus::default()
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

fn staged(vm: &VmFacts, wish: Option<&VmDesired>) -> Vec<String> {
    let mut all = staging::to_come(vm);
    let added = wish.and_then(|wish| wish.add_nic);
    all.extend(added.and_then(|mac| new_nic::to_come(vm, mac)));
    all
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
        intent: None,
        managed: false,
        level: None,
    }
}

/// A server of fake nodes that serves on a socket.
pub struct Running {
    /// It stops when this is dropped.
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    server: Weak<Shared>,
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
        nodes.speak_to(&server);
        let listener = UnixListener::bind(socket).unwrap();
        let shared = Arc::downgrade(&server.shared);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            server
                .serve(
                    vec![Door::Local(listener)],
                    async move { drop(stopped.await) },
                )
                .await;
        });
        Self {
            stop,
            serving,
            server: shared,
        }
    }

    /// Also takes requests on a port of the loopback interface, as from somebody in the network: from a
    /// node with its certificate, or anybody. TLS is whoever's who needs it. Lasts as long as the process.
    ///
    /// # Panics
    /// If it cannot start.
    pub async fn in_the_network(&self, node: Option<NodePeerInfo>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let sender = Sender::Remote { address, node };
        let shared = self.server.upgrade().unwrap();
        let router = routes::service(Server { shared });
        let router = router.layer(Extension(ConnectInfo(sender)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// What a node asks before a VM comes to it.
    ///
    /// # Errors
    /// Why the VM may not.
    ///
    /// # Panics
    /// If it runs no more.
    pub async fn incoming(&self, node: &str, vm: &IncomingVm) -> Result<Admitted, Problem> {
        let shared = self.server.upgrade().unwrap();
        let node = node.parse().unwrap();
        Server { shared }.incoming(&node, vm).await
    }

    /// A node says that its host goes down.
    ///
    /// # Errors
    /// Why its VMs are not parked.
    ///
    /// # Panics
    /// If it runs no more.
    pub async fn goes_down(&self, node: &str) -> Result<Parked, Problem> {
        let shared = self.server.upgrade().unwrap();
        let node = node.parse().unwrap();
        Server { shared }.goes_down(&node).await
    }

    /// Stops it and waits for its end.
    ///
    /// # Panics
    /// If it failed.
    pub async fn stop(self) {
        drop(self.stop);
        self.serving.await.unwrap();
    }
}
