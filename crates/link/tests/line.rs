//! A cluster's server and its agents, over TLS on loopback: the real server and line, a node that is a twin.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use accelnet_api::{
    Client, JoinTokenRequest, ServerUrl,
    agents::{BASE, Up},
    incoming::{Admitted, IncomingVm},
};
use accelnet_link::{Connected, Credentials, Line, Node, Pending, ask, join};
use accelnet_model::{
    AdapterStatus, Code, Counted, Counters, Name, NicCounted, NodeDesired, NodeStatus, Problem,
    VmStatus, WhenToCreateVfs,
};
use accelnet_pki::{Authority, tls};
use accelnet_rules::fixture;
use accelnet_server::{Door, Server, Settings, membership};
use accelnet_store::MemoryStore;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{oneshot, watch},
    task::JoinHandle,
};
use uuid::Uuid;

/// Anything that takes this long in a test does not come.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks as this agent does.
fn with_certificate_of(agent: &Agent) -> reqwest::Client {
    let config = agent.credentials.tls().unwrap();
    reqwest::Client::builder()
        .tls_backend_preconfigured(rustls::ClientConfig::clone(&config))
        .build()
        .unwrap()
}

/// A server of a cluster, and where it is.
struct Cluster {
    url: ServerUrl,
    address: SocketAddr,
    store: Arc<MemoryStore>,
    directory: tempfile::TempDir,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    starts: u32,
}

impl Cluster {
    async fn start() -> Self {
        // The port stays the same when the server starts again.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut cluster = Self {
            url: format!("https://{address}").parse().unwrap(),
            address,
            store: Arc::new(MemoryStore::new()),
            directory: tempfile::tempdir().unwrap(),
            running: None,
            starts: 0,
        };
        cluster.serve(listener).await;
        cluster
    }

    async fn serve(&mut self, listener: TcpListener) {
        let authority = Arc::new(membership::found(&*self.store).await.unwrap());
        let week = Duration::from_secs(7 * 24 * 3600);
        let names = ["127.0.0.1".to_owned()];
        let own = authority.issue_server(&names, week, jiff::Timestamp::now());
        let config = tls::server(&authority, &own.unwrap()).unwrap();
        let (_keep, certificate) = watch::channel(config);
        let servers = vec![self.address.to_string()];
        let server = Server::of_cluster(
            Arc::clone(&self.store),
            authority,
            servers,
            Settings::default(),
        );
        let server = server.await.unwrap();
        self.starts += 1;
        let local = UnixListener::bind(self.socket()).unwrap();
        let doors = vec![Door::Local(local), Door::Network(listener, certificate)];
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            server
                .serve(doors, async move { drop(stopped.await) })
                .await;
        });
        self.running = Some((stop, serving));
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join(format!("{}.sock", self.starts))
    }

    async fn stop(&mut self) {
        let (stop, serving) = self.running.take().unwrap();
        drop(stop);
        serving.await.unwrap();
    }

    async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener).await;
    }

    /// The local administrator.
    fn admin(&self) -> Client {
        Client::on_socket(&self.socket()).unwrap()
    }

    async fn token(&self, node: Option<&str>) -> String {
        let request = JoinTokenRequest {
            node: node.map(name),
            ttl_s: 900,
        };
        self.admin().join_token(&request).await.unwrap().token
    }

    async fn joined(&self, node: &str) -> Agent {
        let token = self.token(None).await;
        let credentials = join(&self.url, &token, &name(node)).await.unwrap();
        Agent::start(credentials)
    }

    /// Waits until the cluster's status is so.
    async fn until(&self, what: &str, so: impl Fn(&accelnet_api::ClusterStatus) -> bool) {
        let admin = self.admin();
        let seen = admin.follow_status(|status| !so(status));
        let seen = tokio::time::timeout(LIMIT, seen).await;
        seen.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
            .unwrap();
    }

    async fn until_up(&self, node: &str, up: bool) {
        let is_so = |status: &accelnet_api::ClusterStatus| {
            let mut nodes = status.nodes.iter();
            nodes.any(|one| one.name.as_str() == node && one.reachable == up)
        };
        self.until(&format!("{node} up: {up}"), is_so).await;
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A node that sees what the rules' fixture is, and follows what it is told.
struct Twin {
    told: watch::Sender<Option<NodeDesired>>,
    status: Mutex<NodeStatus>,
    looks: watch::Sender<u32>,
}

impl Node for Twin {
    fn set_desired(&self, desired: NodeDesired) {
        self.told.send_replace(Some(desired));
    }

    fn traffic(&self, vm: Uuid) -> Pending<'static, Vec<NicCounted>> {
        let nic = NicCounted {
            vm,
            mac: fixture::vm(1).nics[0].mac,
            software: Some(Counted::Counted(Counters {
                rx_packets: 5,
                ..Counters::default()
            })),
            vf: None,
            interrupts: None,
            pci: None,
        };
        Box::pin(std::future::ready(vec![nic]))
    }

    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>> {
        self.looks.send_modify(|looks| *looks += 1);
        let told = self.told.borrow().clone().unwrap_or_default();
        let mut status = self.status.lock().unwrap();
        status.sequence += 1;
        status.generation = told.generation;
        status.converged = true;
        let status = status.clone();
        Box::pin(std::future::ready(Ok(status)))
    }
}

struct Agent {
    credentials: Credentials,
    directory: tempfile::TempDir,
    twin: Arc<Twin>,
    reports: watch::Sender<Option<NodeStatus>>,
    line: JoinHandle<()>,
}

impl Agent {
    fn start(credentials: Credentials) -> Self {
        let observed = fixture::observed();
        let adapters = observed.adapters.iter().cloned().map(AdapterStatus::of);
        let status = NodeStatus {
            sequence: 1,
            node: observed.node.clone(),
            bridges: observed.bridges.clone(),
            adapters: adapters.collect(),
            ..NodeStatus::default()
        };
        let twin = Arc::new(Twin {
            told: watch::Sender::new(None),
            status: Mutex::new(status.clone()),
            looks: watch::Sender::new(0),
        });
        let reports = watch::Sender::new(Some(status));
        let directory = tempfile::tempdir().unwrap();
        credentials.write(directory.path()).unwrap();
        let node = Arc::clone(&twin) as Arc<dyn Node>;
        let line = Line::new(
            credentials.clone(),
            directory.path().to_owned(),
            node,
            reports.subscribe(),
        );
        let line = tokio::spawn(line.run());
        Self {
            credentials,
            directory,
            twin,
            reports,
            line,
        }
    }

    async fn until_told(&self, what: &str, so: impl Fn(&NodeDesired) -> bool) {
        let mut told = self.twin.told.subscribe();
        let told = told.wait_for(|told| told.as_ref().is_some_and(&so));
        let told = tokio::time::timeout(LIMIT, told).await;
        drop(
            told.unwrap_or_else(|_| panic!("not told within {LIMIT:?}: {what}"))
                .unwrap(),
        );
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.line.abort();
    }
}

async fn add_intent(admin: &Client) {
    let intent = serde_json::json!({
        "name": "compute", "types": ["compute"], "adapters": ["pf0"], "bridge": "br0", "vfs": "auto"
    });
    let intent = serde_json::from_value(intent).unwrap();
    admin.add_intent(&intent, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_reports_is_told_and_is_asked() {
    let cluster = Cluster::start().await;
    let agent = cluster.joined("node1").await;
    cluster.until_up("node1", true).await;
    add_intent(&cluster.admin()).await;
    agent
        .until_told("the intent", |told| told.intents.len() == 1)
        .await;
    // A check looks at the nodes afresh.
    let looks = *agent.twin.looks.borrow();
    let checks = cluster.admin().prereq(None).await.unwrap();
    assert!(!checks.items.is_empty());
    assert!(*agent.twin.looks.borrow() > looks);
    let node = cluster.admin().node("node1").await.unwrap();
    assert_eq!(node.id, Some(agent.credentials.node));
    assert!(node.certificate_expires > node.joined, "{node:?}");
    // What is enabled is told too, over the same session.
    let enable = serde_json::json!({"intent": "compute", "when": WhenToCreateVfs::Now});
    let enable = serde_json::from_value(enable).unwrap();
    cluster.admin().enable(&enable, false).await.unwrap();
    agent
        .until_told("enabled", |told| told.enabled.is_some())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_asked_what_was_counted_of_a_vm() {
    let cluster = Cluster::start().await;
    let agent = cluster.joined("node1").await;
    cluster.until_up("node1", true).await;
    let with_vm = {
        let mut status = agent.twin.status.lock().unwrap();
        status.sequence += 1;
        status.vms = vec![VmStatus::of(fixture::vm(1))];
        status.clone()
    };
    agent.reports.send_replace(Some(with_vm));
    cluster
        .until("the VM", |status| status.nodes[0].vms == 1)
        .await;
    let vm = cluster.admin().vm_with_traffic("vm1").await.unwrap();
    let Some(Counted::Counted(counters)) = &vm.traffic[0].software else {
        panic!("{vm:?}");
    };
    assert_eq!((counters.rx_packets, &vm.traffic[0].vf), (5, &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_again_is_found_and_told() {
    let mut cluster = Cluster::start().await;
    let agents = [cluster.joined("node1").await, cluster.joined("node2").await];
    for node in ["node1", "node2"] {
        cluster.until_up(node, true).await;
    }
    cluster.stop().await;
    cluster.start_again().await;
    for node in ["node1", "node2"] {
        cluster.until_up(node, true).await;
    }
    add_intent(&cluster.admin()).await;
    for agent in &agents {
        agent
            .until_told("the intent", |told| told.intents.len() == 1)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_none_let_nobody_in() {
    let cluster = Cluster::start().await;
    let good = cluster.token(None).await;
    let named = cluster.token(Some("node1")).await;
    let other = Cluster::start().await;
    let of_other = other.token(None).await;
    let tried = |token: String, node: &'static str| {
        let url = cluster.url.clone();
        async move { join(&url, &token, &name(node)).await.unwrap_err().code }
    };
    assert_eq!(tried("nonsense".into(), "node1").await, Code::JoinRefused);
    // Nothing was sent to a server that is not the one that the token names.
    assert_eq!(tried(of_other, "node1").await, Code::ServerNotTrusted);
    assert_eq!(tried(named, "node2").await, Code::JoinRefused);
    assert!(cluster.admin().status().await.unwrap().nodes.is_empty());
    join(&cluster.url, &good, &name("node1")).await.unwrap();
    assert_eq!(tried(good, "node2").await, Code::JoinRefused);
    let again = cluster.token(None).await;
    assert_eq!(tried(again, "node1").await, Code::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_removed_is_nobody_and_forgotten() {
    let mut cluster = Cluster::start().await;
    let agent = cluster.joined("node1").await;
    cluster.until_up("node1", true).await;
    // Before a VM comes to it it asks; of one that nobody knows nobody wants anything.
    let vm = IncomingVm {
        uuid: Uuid::from_u128(1),
        name: "vm1".into(),
        nics: Vec::new(),
    };
    let connected = Connected {
        server: cluster.url.clone(),
        http: with_certificate_of(&agent),
    };
    let may_come = || ask::may_come(&connected, &vm, LIMIT);
    assert_eq!(may_come().await, Ok(Admitted { level: None }));
    // It has no VM that could be parked as its host goes down.
    let goes_down = || ask::goes_down(&connected, LIMIT);
    assert_eq!(goes_down().await.unwrap().problems, []);
    cluster.admin().remove_node("node1", false).await.unwrap();
    cluster
        .until("node1 is gone", |status| status.nodes.is_empty())
        .await;
    // Its certificate is good for TLS, and for nothing behind it.
    let http = with_certificate_of(&agent);
    assert_eq!(may_come().await.unwrap_err().code, Code::NodeNotMember);
    assert_eq!(goes_down().await.unwrap_err().code, Code::NodeNotMember);
    let follow = http
        .get(format!("{}{BASE}/follow", cluster.url))
        .send()
        .await;
    let refused: accelnet_api::ProblemDocument = follow.unwrap().json().await.unwrap();
    assert_eq!(refused.problem.code, Code::NodeNotMember);
    let api = http
        .get(format!("{}/api/v1/status", cluster.url))
        .send()
        .await;
    assert_eq!(api.unwrap().status(), 401);
    // Another server knows nothing of it either.
    cluster.stop().await;
    cluster.start_again().await;
    assert!(cluster.admin().status().await.unwrap().nodes.is_empty());
    // The machine may come back, as another node.
    let second = cluster.joined("node1").await;
    cluster.until_up("node1", true).await;
    assert_ne!(second.credentials.node, agent.credentials.node);
}

/// What people may ask and change is not for nodes: their certificate opens their line, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_certificate_opens_nothing_of_the_api() {
    let cluster = Cluster::start().await;
    let agent = cluster.joined("node1").await;
    cluster.until_up("node1", true).await;
    let http = with_certificate_of(&agent);
    let document = serde_json::to_value(accelnet_server::openapi()).unwrap();
    let mut tried = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace("{node}", "node1").replace("{name}", "node1");
        for method in operations.as_object().unwrap().keys() {
            let Ok(method) = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()) else {
                continue;
            };
            let url = format!("{}{path}", cluster.url);
            let request = http
                .request(method.clone(), url)
                .json(&serde_json::json!({}));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{method} {path}");
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_nothing_in_anothers_name() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.joined("node1").await, cluster.joined("node2").await);
    cluster.until_up("node1", true).await;
    cluster.until_up("node2", true).await;
    let http = with_certificate_of(&two);
    // Numbers of sessions follow one another: one of these is node1's.
    let url = format!("{}{BASE}/report", cluster.url);
    let line = http
        .get(format!("{}{BASE}/follow", cluster.url))
        .send()
        .await;
    let mut line = line.unwrap();
    let welcome = line.chunk().await.unwrap().unwrap();
    let welcome: serde_json::Value =
        serde_json::from_slice(welcome.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let own = welcome["session"].as_u64().unwrap();
    for session in own.saturating_sub(20)..own {
        let status = NodeStatus {
            problems: vec![Problem::new(Code::Internal, "forged")],
            ..NodeStatus::default()
        };
        let up = Up {
            session,
            sequence: 1000,
            at: None,
            answers: Vec::new(),
            traffic: None,
            status: Some(Box::new(status)),
        };
        let answer = http.post(&url).json(&up).send().await.unwrap();
        assert_eq!(answer.status(), 409, "{session}");
    }
    let node = cluster.admin().node("node1").await.unwrap();
    assert!(node.summary.problems.is_empty(), "{node:?}");
    drop(one);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_no_agent_speaks_and_people_need_tokens() {
    let cluster = Cluster::start().await;
    let token = cluster.token(None).await;
    let credentials = join(&cluster.url, &token, &name("node1")).await.unwrap();
    let authority: Authority = membership::founded(&*cluster.store).await.unwrap();
    let config = tls::client(&authority.certificate_pem()).unwrap();
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(rustls::ClientConfig::clone(&config))
        .build()
        .unwrap();
    for path in ["/node/v1/follow", "/api/v1/status"] {
        let answer = http
            .get(format!("{}{path}", cluster.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
    // What is kept is for root alone, and says nothing when it is printed.
    let directory = tempfile::tempdir().unwrap();
    credentials.write(directory.path()).unwrap();
    let file = directory.path().join("node.json");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(!format!("{credentials:?}").contains("PRIVATE"));
    let read = Credentials::read(directory.path()).unwrap();
    assert_eq!(read.node, credentials.node);
    std::fs::write(&file, "{ torn").unwrap();
    assert_eq!(
        Credentials::read(directory.path()).unwrap_err().code,
        Code::StoreFailed
    );
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        Credentials::read(directory.path()).unwrap_err().code,
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_in_time_and_kept() {
    let cluster = Cluster::start().await;
    let token = cluster.token(None).await;
    let credentials = join(&cluster.url, &token, &name("node1")).await.unwrap();
    // One that ends soon: as the server would have given it six days ago.
    let authority: Authority = membership::founded(&*cluster.store).await.unwrap();
    let own = accelnet_pki::node_request().unwrap();
    let day = Duration::from_secs(24 * 3600);
    let now = jiff::Timestamp::now();
    let old = authority.issue_node(&own.request_pem, credentials.node, &name("node1"), day, now);
    let old = credentials.renewed(old.unwrap(), &own.key).unwrap();
    let agent = Agent::start(old.clone());
    cluster.until_up("node1", true).await;
    let file = agent.directory.path().join("node.json");
    let renewed = async {
        loop {
            let kept = Credentials::read(agent.directory.path()).unwrap();
            if kept.expires().unwrap() > old.expires().unwrap() {
                return kept;
            }
            // It is renewed with the next sign of life.
            let mut looks = agent.reports.subscribe();
            let tick = tokio::time::timeout(Duration::from_millis(200), looks.changed());
            let _ = tick.await;
        }
    };
    let kept = tokio::time::timeout(LIMIT, renewed).await;
    let kept = kept.unwrap_or_else(|_| panic!("{} is as it was", file.display()));
    assert!(kept.tls().is_ok());
    // The old one is good until it ends; the new one opens the next session.
    drop(agent);
    let _again = Agent::start(kept);
    cluster.until_up("node1", true).await;
}
