//! Three hosts, a server that may die, and people who want things: production code of agents, their lines and the
//! server over a store and a network that fail.
//!
//! Everything is in the time of a runtime that stands still: it goes on to the next thing that anybody waits for when
//! nobody has anything to do. Hosts are driven by hand as in [`alone`](crate::alone); what is async is the server, the
//! lines, and whoever asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use accelnet_agent::event::Event;
use accelnet_api::{
    ServerUrl,
    agents::{BASE as NODE_BASE, JoinRequest, Joined},
};
use accelnet_host::twin::Machine;
use accelnet_link::{Credentials, Line, Node as AtNode, Pending};
use accelnet_model::{Code, NicPath, NodeDesired, NodeStatus, Problem, VmState};
use accelnet_pki::node_request;
use accelnet_server::{Actor, Sender, Server, membership};
use accelnet_store::MemoryStore;
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, header::CONTENT_TYPE},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{
    runtime::Builder,
    sync::{Notify, mpsc, oneshot, watch},
    task::{JoinHandle, yield_now},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    alone::Length,
    auditor::{Auditor, not_settled},
    net::{Net, Serving},
    node::{Node, VmId, bridge, uplink},
    os_random::by_seed,
    scene::{Dangers, Scene},
    store::{Leash, SimStore},
    turns::Idle,
};

const NODES: usize = 3;
/// VFs of each host.
const VFS: u32 = 3;
/// VMs, more than may be accelerated while one host may be down.
const VMS: u8 = 8;
/// VMs that may have a VF at most while one of the hosts may be down.
const ADMITTED_AT_MOST: usize = (NODES - 1) * VFS as usize;
/// Whoever asks gives up after this.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// All is as wanted within this after the last thing that happened.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Things at one moment.
const AT_ONCE: u64 = 50_000;

/// What the line tells the agent of its node.
enum ToAgent {
    Wish(Box<NodeDesired>),
    Look(oneshot::Sender<NodeStatus>),
}

/// The agent as its line has it.
struct Ear {
    to_agent: mpsc::UnboundedSender<ToAgent>,
    wake: Arc<Notify>,
}

impl AtNode for Ear {
    fn set_desired(&self, desired: NodeDesired) {
        // The agent may be dead; its line is soon, too.
        let _ = self.to_agent.send(ToAgent::Wish(Box::new(desired)));
        self.wake.notify_one();
    }

    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>> {
        let (asker, answer) = oneshot::channel();
        let _ = self.to_agent.send(ToAgent::Look(asker));
        self.wake.notify_one();
        Box::pin(async move {
            let gone = |_| Problem::new(Code::AgentUnreachable, "The agent is dead.");
            let late = |_| Problem::new(Code::AgentUnreachable, "The agent gave no answer.");
            let answer = timeout(Duration::from_secs(40), answer);
            answer.await.map_err(late)?.map_err(gone)
        })
    }
}

/// What connects an agent that runs.
struct Connected {
    line: JoinHandle<()>,
    said: mpsc::UnboundedReceiver<ToAgent>,
    reports: watch::Sender<Option<NodeStatus>>,
    asked: BTreeMap<u64, oneshot::Sender<NodeStatus>>,
    tokens: u64,
}

struct Host {
    node: Node,
    auditor: Auditor,
    credentials: Credentials,
    directory: tempfile::TempDir,
    connected: Option<Connected>,
}

/// A server's process.
struct ServerProcess {
    leash: Arc<Leash>,
    lives: watch::Sender<bool>,
    work: JoinHandle<()>,
}

impl ServerProcess {
    fn die(self) {
        self.leash.kill();
        self.work.abort();
        self.lives.send_replace(false);
    }
}

/// What people know of VMs that they asked something for.
#[derive(Debug, Default)]
struct Known {
    /// Levels that a VM may have: more than one while an answer is missing.
    levels: BTreeMap<VmId, Vec<bool>>,
    /// VMs that somebody is asking for at present: of one VM one thing at a time.
    asking: Vec<VmId>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Happening {
    Enable(VmId),
    Disable(VmId),
    Park(VmId),
    Unpark(VmId),
    /// Somebody stops it, and it may start elsewhere.
    Stop(VmId),
    Start(VmId, usize),
    Reboot(VmId),
    BackUp(VmId, u32),
    KillAgent(usize),
    Revive(usize),
    PowerCut(usize),
    KillServer,
    Depose,
    EndDeposed,
    StartServer,
    Cut(usize, bool, bool),
    Heal(usize),
}

struct Cluster {
    scene: Scene,
    idle: Idle,
    began: Instant,
    hosts: Vec<Host>,
    store: Arc<MemoryStore>,
    net: Net,
    server: Option<ServerProcess>,
    /// Those that have lost the lead and do not know it yet.
    deposed: Vec<ServerProcess>,
    later: BTreeMap<(Duration, u64), Happening>,
    next: u64,
    known: Arc<Mutex<Known>>,
    wake: Arc<Notify>,
    at_once: (Duration, u64),
}

/// Runs a seed.
///
/// # Errors
/// What must never be and was.
///
/// # Panics
/// If there is no runtime to be had.
pub fn run(seed: u64, length: Length) -> (Scene, Result<(), String>) {
    by_seed(seed, || run_here(seed, length))
}

fn run_here(seed: u64, length: Length) -> (Scene, Result<(), String>) {
    let scene = Scene::new(seed, length.aloud);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(async {
        let mut cluster = Cluster::found(&scene).await?;
        let ended = cluster.all(length.happenings).await;
        for number in 0..NODES {
            cluster.kill_agent(number);
        }
        cluster.kill_server();
        ended
    });
    (scene, ended)
}

fn words(problem: &Problem) -> String {
    problem.to_string()
}

fn of_people(method: &str, path: &str, body: &Value) -> Request<Body> {
    let sender = Sender::Local(Actor {
        uid: Some(0),
        ..Actor::default()
    });
    let body = match body {
        Value::Null => Body::empty(),
        body => Body::from(body.to_string()),
    };
    Request::builder()
        .method(method)
        .uri(format!("{}{path}", accelnet_api::BASE))
        .header(CONTENT_TYPE, "application/json")
        .extension(ConnectInfo(sender))
        .body(body)
        .unwrap_or_default()
}

/// Status and body of an answer; `None` if there was none.
async fn ask(net: &Net, request: Request<Body>) -> Option<(u16, Value)> {
    let serving = net.serving()?;
    let answered = async {
        let answer = serving.ask(request).await.ok()?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.ok()?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Some((status, body))
    };
    timeout(ANSWER_LIMIT, answered).await.ok()?
}

impl Cluster {
    async fn found(scene: &Scene) -> Result<Self, String> {
        let dangers = scene.dangers();
        scene.set_dangers(Dangers::NONE);
        let mut cluster = Self {
            scene: scene.clone(),
            idle: Idle::default(),
            began: Instant::now(),
            hosts: Vec::new(),
            store: Arc::new(MemoryStore::new()),
            net: Net::new(scene),
            server: None,
            deposed: Vec::new(),
            later: BTreeMap::new(),
            next: 0,
            known: Arc::default(),
            wake: Arc::default(),
            at_once: (Duration::ZERO, 0),
        };
        membership::found(&*cluster.store)
            .await
            .map_err(|problem| words(&problem))?;
        cluster.start_server().await;
        cluster.pass(Duration::from_secs(5)).await?;
        for number in 0..NODES {
            let host = cluster.join(number).await?;
            cluster.hosts.push(host);
            cluster.revive(number);
        }
        for vm in (1..=VMS).map(VmId) {
            let host = &cluster.hosts[usize::from(vm.0) % NODES];
            host.node.define(vm);
            // Its bridge is there: it starts.
            let _ = host.node.vms.start(vm.uuid());
        }
        cluster.pass(Duration::from_secs(5)).await?;
        let intent =
            json!({"name": "compute", "types": ["compute"], "adapters": ["pf0"], "bridge": "br0"});
        cluster.done("POST", "/intents", intent).await?;
        let enabled = json!({"intent": "compute", "nodes_down": 1, "when": "now"});
        cluster.done("PUT", "/acceleration", enabled).await?;
        cluster.pass(Duration::from_secs(60)).await?;
        scene.set_dangers(dangers);
        Ok(cluster)
    }

    /// Something that must be possible.
    async fn done(&mut self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let net = self.net.clone();
        let request = of_people(method, path, &body);
        let asked = tokio::spawn(async move { ask(&net, request).await });
        while !asked.is_finished() {
            self.pass(Duration::from_millis(20)).await?;
        }
        match asked.await.ok().flatten() {
            Some((200, body)) => Ok(body),
            other => Err(format!("{method} {path}: {other:?}")),
        }
    }

    async fn join(&mut self, number: usize) -> Result<Host, String> {
        let name = format!("node{}", number + 1);
        let token = self
            .done("POST", "/join-tokens", json!({"ttl_s": 900}))
            .await?;
        let own = node_request().map_err(|error| error.to_string())?;
        let request = JoinRequest {
            token: token["token"].as_str().unwrap_or_default().to_owned(),
            request_pem: own.request_pem.clone(),
            name: name.parse().map_err(|error| format!("{error}"))?,
        };
        let body = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let request = Request::builder()
            .method("POST")
            .uri(format!("{NODE_BASE}/join"))
            .header(CONTENT_TYPE, "application/json")
            .extension(ConnectInfo(Sender::Remote {
                address: ([192, 0, 2, 1], 7643).into(),
                node: None,
            }))
            .body(Body::from(body))
            .unwrap_or_default();
        let answer = ask(&self.net, request).await;
        let Some((200, joined)) = answer else {
            return Err(format!("{name} cannot join: {answer:?}"));
        };
        let joined: Joined = serde_json::from_value(joined).map_err(|error| error.to_string())?;
        let server: ServerUrl = "https://server1:7643"
            .parse()
            .map_err(|error| format!("{error}"))?;
        let credentials =
            Credentials::given(joined, &own.key, &server).map_err(|problem| words(&problem))?;
        let mut machine = Machine::igb(&name, &bridge(), &uplink());
        machine.adapters[0].total_vfs = VFS;
        Ok(Host {
            node: Node::new(&name, &self.scene, machine),
            auditor: Auditor::default(),
            credentials,
            directory: tempfile::tempdir().map_err(|error| error.to_string())?,
            connected: None,
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn start_server(&mut self) {
        if self.server.is_some() {
            return;
        }
        self.scene.step("a server starts");
        let leash = Arc::new(Leash::default());
        let store = SimStore::new(
            Arc::clone(&self.store),
            self.scene.clone(),
            Arc::clone(&leash),
        );
        let (lives, watched) = watch::channel(true);
        let (net, store) = (self.net.clone(), Arc::new(store));
        // It has the doors as soon as it has read its state; if it cannot read it ends, as the real one.
        let work = tokio::spawn(async move {
            let addresses = vec!["server1:7643".to_owned()];
            let Ok(authority) = membership::founded(&*store).await else {
                return;
            };
            let server = Server::of_cluster(store, Arc::new(authority), addresses).await;
            let Ok(server) = server else { return };
            net.set_serving(Some(Serving {
                router: server.router(),
                lives: watched,
            }));
            server.work(std::future::pending()).await;
        });
        self.server = Some(ServerProcess { leash, lives, work });
        for _ in 0..3 {
            yield_now().await;
        }
    }

    fn kill_server(&mut self) {
        self.end_deposed();
        if let Some(server) = self.server.take() {
            self.scene.step("the server is killed");
            self.net.set_serving(None);
            server.die();
        }
    }

    fn end_deposed(&mut self) {
        self.deposed.drain(..).for_each(ServerProcess::die);
    }

    /// Its lease is over, which it finds when it writes; another leads from now on, and reads its state.
    async fn depose(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        server.leash.depose();
        self.deposed.push(server);
        self.after(Duration::from_secs(8), Happening::EndDeposed);
        self.start_server().await;
    }

    /// A server that cannot read its state ends, and is started again by whoever watches it.
    fn notice_the_servers_end(&mut self) {
        let ended = |server: &ServerProcess| server.work.is_finished();
        if self.server.as_ref().is_some_and(ended) {
            self.kill_server();
            self.after(Duration::from_secs(5), Happening::StartServer);
        }
    }

    fn revive(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.connected.is_some() {
            return;
        }
        host.node.start();
        let (to_agent, said) = mpsc::unbounded_channel();
        let (reports, its_reports) = watch::channel(None);
        let ear = Ear {
            to_agent,
            wake: Arc::clone(&self.wake),
        };
        let directory = host.directory.path().to_path_buf();
        let line = Line::new(
            host.credentials.clone(),
            directory,
            Arc::new(ear),
            its_reports,
        );
        let line = line.by(Arc::new(self.net.clone()));
        host.connected = Some(Connected {
            line: tokio::spawn(line.run()),
            said,
            reports,
            asked: BTreeMap::new(),
            tokens: 0,
        });
    }

    fn kill_agent(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        host.node.kill(&mut self.idle);
        if let Some(connected) = host.connected.take() {
            connected.line.abort();
        }
    }

    async fn all(&mut self, happenings: usize) -> Result<(), String> {
        for _ in 0..happenings {
            let happening = self.any();
            self.happen(happening).await;
            let most = [5, 300, 4000, 30_000][self.scene.below(4)];
            let pause = self.scene.time(Duration::ZERO, Duration::from_millis(most));
            self.pass(pause).await?;
        }
        while let Some(((at, _), _)) = self.later.first_key_value() {
            let wait = at.saturating_sub(self.now());
            self.pass(wait + Duration::from_millis(1)).await?;
        }
        self.calm().await;
        let end = self.now() + PATIENCE;
        loop {
            let wrong = self.wrong().await?;
            if wrong.is_empty() {
                return Ok(());
            }
            if self.now() > end {
                return Err(format!("it does not come to rest: {wrong:#?}"));
            }
            self.pass(Duration::from_secs(2)).await?;
        }
    }

    fn any(&self) -> Happening {
        let scene = &self.scene;
        let vm = VmId(1 + scene.below(VMS.into()) as u8);
        let number = scene.below(NODES);
        let (up, down) = [(true, true), (true, false), (false, true)][scene.below(3)];
        match scene.below(60) {
            0..=23 => Happening::Enable(vm),
            24..=31 => Happening::Disable(vm),
            32..=33 => Happening::Park(vm),
            34..=35 => Happening::Unpark(vm),
            36..=39 => Happening::Stop(vm),
            40..=43 => Happening::Start(vm, number),
            44..=45 => Happening::Reboot(vm),
            46..=48 => Happening::KillAgent(number),
            49..=50 => Happening::PowerCut(number),
            51..=52 => Happening::KillServer,
            53..=54 => Happening::Depose,
            55..=57 => Happening::Cut(number, up, down),
            _ => Happening::Heal(number),
        }
    }

    fn after(&mut self, most: Duration, happening: Happening) {
        self.next += 1;
        let at = self.now() + self.scene.time(Duration::from_millis(1), most);
        self.later.insert((at, self.next), happening);
    }

    /// Where it runs.
    fn host_of(&self, vm: VmId) -> Option<usize> {
        self.hosts
            .iter()
            .position(|host| host.node.pid(vm).is_some())
    }

    async fn happen(&mut self, happening: Happening) {
        self.scene.step(&format!("{happening:?}"));
        let words = format!("cluster {happening:?}");
        let end = words.find('(').unwrap_or(words.len());
        self.scene.reached(&words[..end]);
        match happening {
            Happening::Enable(vm) => {
                let body = json!({"performance": "low"});
                self.asks(vm, "PUT", "acceleration", body, Some(true));
            }
            Happening::Disable(vm) => {
                self.asks(vm, "DELETE", "acceleration", Value::Null, Some(false));
            }
            Happening::Park(vm) => self.asks(vm, "PUT", "park", json!({}), None),
            Happening::Unpark(vm) => self.asks(vm, "DELETE", "park", Value::Null, None),
            Happening::Stop(vm) => {
                if let Some(number) = self.host_of(vm) {
                    let node = &self.hosts[number].node;
                    node.vms.stop(vm.uuid());
                    let to = self.scene.below(NODES);
                    self.after(Duration::from_secs(60), Happening::Start(vm, to));
                }
            }
            Happening::Start(vm, number) => self.start_vm(vm, number),
            Happening::Reboot(vm) => {
                let Some(number) = self.host_of(vm) else {
                    return;
                };
                let node = &self.hosts[number].node;
                if let Some(pid) = node.pid(vm) {
                    node.host.with(|machine| machine.set_guest_up(pid, false));
                    node.vms.reboot(vm.uuid());
                    self.after(Duration::from_secs(5), Happening::BackUp(vm, pid));
                }
            }
            Happening::BackUp(vm, pid) => {
                for host in &self.hosts {
                    if host.node.pid(vm) == Some(pid) {
                        host.node
                            .host
                            .with(|machine| machine.set_guest_up(pid, true));
                    }
                }
            }
            Happening::KillAgent(number) => {
                self.kill_agent(number);
                self.after(Duration::from_secs(20), Happening::Revive(number));
            }
            Happening::Revive(number) => self.revive(number),
            Happening::PowerCut(number) => self.power_cut(number),
            Happening::KillServer => {
                self.kill_server();
                self.after(Duration::from_secs(10), Happening::StartServer);
            }
            Happening::Depose => self.depose().await,
            Happening::EndDeposed => self.end_deposed(),
            Happening::StartServer => self.start_server().await,
            Happening::Cut(number, up, down) => {
                self.net.cut(&self.hosts[number].node.name, up, down);
                self.after(Duration::from_secs(40), Happening::Heal(number));
            }
            Happening::Heal(number) => self.net.heal(&self.hosts[number].node.name),
        }
    }

    /// It starts on a host, unless it runs somewhere: it is defined there from now on, and nowhere else.
    fn start_vm(&mut self, vm: VmId, number: usize) {
        if self.host_of(vm).is_some() {
            return;
        }
        for host in &self.hosts {
            host.node
                .vms
                .with(|vms| vms.vms.retain(|its| its.facts.uuid != vm.uuid()));
        }
        let node = &self.hosts[number].node;
        node.define(vm);
        // Its bridge is there: it starts.
        let _ = node.vms.start(vm.uuid());
    }

    fn power_cut(&mut self, number: usize) {
        self.kill_agent(number);
        let node = &self.hosts[number].node;
        let mut fell = Vec::new();
        for vm in (1..=VMS).map(VmId) {
            if node.pid(vm).is_some() {
                node.vms.stop(vm.uuid());
                fell.push(vm);
            }
        }
        node.host.with(Machine::reboot);
        node.host.with(|machine| machine.set_link(&uplink(), true));
        node.boot();
        self.after(Duration::from_secs(60), Happening::Revive(number));
        // Somebody starts them elsewhere, or here when it is back.
        for vm in fell {
            let to = self.scene.below(NODES);
            self.after(Duration::from_secs(60), Happening::Start(vm, to));
        }
    }

    /// Somebody asks for something about a VM, while everything goes on.
    fn asks(&self, vm: VmId, method: &'static str, what: &str, body: Value, level: Option<bool>) {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.asking.contains(&vm) {
                return;
            }
            known.asking.push(vm);
            if let Some(level) = level {
                let levels = known.levels.entry(vm).or_insert_with(|| vec![false]);
                if !levels.contains(&level) {
                    levels.push(level);
                }
            }
        }
        let path = format!("/vms/{}/{what}", vm.uuid());
        let (net, scene, known) = (
            self.net.clone(),
            self.scene.clone(),
            Arc::clone(&self.known),
        );
        tokio::spawn(async move {
            let answer = ask(&net, of_people(method, &path, &body)).await;
            let said = answer.as_ref().map(|(status, body)| {
                let code = body["code"].as_str().unwrap_or("done").to_owned();
                (*status, code)
            });
            scene.step(&format!("{method} {path}: {said:?}"));
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.asking.retain(|its| *its != vm);
            let Some(level) = level else { return };
            let levels = known.levels.entry(vm).or_default();
            match said {
                Some((200, _)) => *levels = vec![level],
                // It was refused: nothing was done, of this request.
                Some((status, code)) if status < 500 => {
                    scene.reached(&format!("refused: {code}"));
                    if levels.len() > 1 && levels.last() == Some(&level) {
                        levels.pop();
                    }
                }
                // Nobody knows.
                _ => scene.reached("an answer was lost"),
            }
            let certain = known.levels.values().filter(|levels| **levels == [true]);
            if certain.count() > ADMITTED_AT_MOST {
                scene.violation("more VMs were admitted than the reserve allows".into());
            }
        });
    }

    /// Lets so much time pass, and all that is due in it happen.
    async fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now() + time;
        loop {
            for _ in 0..=self.scene.below(4) {
                yield_now().await;
            }
            self.clocks();
            let now = self.now();
            self.bounded(now)?;
            self.hear();
            self.notice_the_servers_end();
            let due = self
                .later
                .first_entry()
                .filter(|entry| entry.key().0 <= now)
                .map(std::collections::btree_map::OccupiedEntry::remove);
            if let Some(happening) = due {
                Box::pin(self.happen(happening)).await;
                continue;
            }
            let ready: Vec<_> = self
                .hosts
                .iter_mut()
                .enumerate()
                .flat_map(|(number, host)| {
                    let ready = host.node.ready();
                    ready.into_iter().map(move |ready| (number, ready))
                })
                .collect();
            if ready.is_empty() {
                if now >= end {
                    return Ok(());
                }
                self.sleep(end).await;
                continue;
            }
            let (number, chosen) = ready[self.scene.below(ready.len())];
            self.go_on(number, chosen);
            self.audit(number);
            let violations = self.scene.violations();
            if !violations.is_empty() {
                return Err(violations.join("\n"));
            }
        }
    }

    fn bounded(&mut self, now: Duration) -> Result<(), String> {
        self.at_once = match self.at_once {
            (since, count) if since == now => (since, count + 1),
            _ => (now, 0),
        };
        match self.at_once.1 {
            AT_ONCE.. => Err(format!("{AT_ONCE} things at {now:?}")),
            _ => Ok(()),
        }
    }

    /// Time has passed for hosts as for everybody.
    fn clocks(&mut self) {
        let now = self.now();
        for host in &self.hosts {
            let its = host.node.now();
            if its < now {
                host.node.host.advance(now - its);
            }
        }
        self.scene.set_now(now);
    }

    /// What lines have said comes to their agents, and what agents report to their lines.
    fn hear(&mut self) {
        for host in &mut self.hosts {
            let Some(connected) = &mut host.connected else {
                continue;
            };
            while let Ok(said) = connected.said.try_recv() {
                match said {
                    ToAgent::Wish(desired) => host.node.tell(Event::Wished(desired)),
                    ToAgent::Look(asker) => {
                        connected.tokens += 1;
                        connected.asked.insert(connected.tokens, asker);
                        host.node.tell(Event::Asked(connected.tokens));
                    }
                }
            }
        }
    }

    fn go_on(&mut self, number: usize, ready: crate::agent::Ready) {
        let host = &mut self.hosts[number];
        host.node.go_on(ready, &mut self.idle);
        let Some(agent) = &mut host.node.agent else {
            self.kill_agent(number);
            self.after(Duration::from_secs(5), Happening::Revive(number));
            return;
        };
        let Some(connected) = &mut host.connected else {
            return;
        };
        let answers = std::mem::take(&mut agent.answers);
        for (token, status) in answers {
            if let Some(asker) = connected.asked.remove(&token) {
                // Whoever asked may have given up.
                let _ = asker.send(status);
            }
        }
        let reported = &agent.reported;
        connected.reports.send_if_modified(|last| {
            let differs = last != reported;
            if differs {
                last.clone_from(reported);
            }
            differs
        });
    }

    /// Until something is due, somebody is told something, or the end.
    async fn sleep(&self, end: Duration) {
        let later = self
            .later
            .keys()
            .next()
            .map_or(Duration::MAX, |(at, _)| *at);
        let hosts = self.hosts.iter().map(|host| host.node.wakes_at());
        let most = self.now() + Duration::from_millis(500);
        let next = hosts.fold(later, Duration::min).min(end).min(most);
        tokio::select! {
            biased;
            () = self.wake.notified() => {}
            () = sleep_until(self.began + next) => {}
        }
    }

    fn audit(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        // Here it is about who has which VF; whether frames arrive is looked at where a host is alone.
        host.node.host.with(|machine| {
            machine
                .guests
                .iter_mut()
                .for_each(|guest| guest.excused = true);
        });
        host.auditor.look(&host.node, &self.scene, false);
    }

    async fn calm(&mut self) {
        self.scene.step("calm");
        self.scene.set_dangers(Dangers::NONE);
        self.net.heal_all();
        self.end_deposed();
        self.start_server().await;
        for number in 0..NODES {
            self.revive(number);
        }
        for vm in (1..=VMS).map(VmId) {
            if self.host_of(vm).is_none() {
                self.start_vm(vm, usize::from(vm.0) % NODES);
            }
        }
    }

    /// What is not as it shall be at the end.
    async fn wrong(&mut self) -> Result<Vec<String>, String> {
        let listed = match self.done("GET", "/vms", Value::Null).await {
            Ok(listed) => listed,
            Err(words) => return Ok(vec![words]),
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.asking.is_empty() {
            return Ok(vec![format!("{:?} are asked for", known.asking)]);
        }
        let mut wrong = Vec::new();
        let mut expected: Vec<BTreeMap<VmId, NicPath>> = vec![BTreeMap::new(); NODES];
        let mut wanted = 0;
        for vm in (1..=VMS).map(VmId) {
            let Some(number) = self
                .hosts
                .iter()
                .position(|host| host.node.vm(vm).is_some())
            else {
                continue;
            };
            let items = listed["items"].as_array();
            let shown = items.and_then(|items| {
                items
                    .iter()
                    .find(|item| item["uuid"] == vm.uuid().to_string())
            });
            let Some(shown) = shown else {
                wrong.push(format!("{} is not listed", vm.name()));
                continue;
            };
            let name = &self.hosts[number].node.name;
            if shown["node"] != name.as_str() {
                wrong.push(format!("{} is on {name}: {}", vm.name(), shown["node"]));
            }
            let level = !shown["level"].is_null();
            wanted += usize::from(level);
            let maybe = known
                .levels
                .get(&vm)
                .cloned()
                .unwrap_or_else(|| vec![false]);
            if !maybe.contains(&level) {
                let words = format!(
                    "{} is accelerated: {level}; it was said: {maybe:?}",
                    vm.name()
                );
                self.scene.violation(words.clone());
                wrong.push(words);
            }
            let parked = !shown["parked"].is_null();
            let path = match level && !parked {
                true => NicPath::Vf,
                false => NicPath::Synthetic,
            };
            // More may run on a host than it has VFs: then those that are without are told so.
            let told = shown["nics"][0]["path"].as_str() == Some("synthetic");
            let without = path == NicPath::Vf && told && self.is_full(number);
            let path = if without { NicPath::Synthetic } else { path };
            expected[number].insert(vm, path);
        }
        if wanted > ADMITTED_AT_MOST {
            wrong.push(format!("{wanted} VMs are admitted"));
            self.scene
                .violation("more VMs are admitted than the reserve allows".into());
        }
        for (host, expected) in self.hosts.iter().zip(&expected) {
            wrong.extend(not_settled(&host.node, expected));
        }
        Ok(wrong)
    }

    fn is_full(&self, number: usize) -> bool {
        let node = &self.hosts[number].node;
        let used = (1..=VMS).map(VmId).filter(|vm| {
            let runs = node
                .vm(*vm)
                .is_some_and(|facts| facts.state == VmState::Running);
            runs && !node.vfs_of(*vm).is_empty()
        });
        used.count() >= VFS as usize
    }
}
