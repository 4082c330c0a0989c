//! Two servers on one etcd, as processes: one decides, the other points to it; what happens when it dies, and when
//! it is stopped. A node's line, in this process, follows.
#![cfg(feature = "etcd")]

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use accelnet_api::{Client, JoinTokenRequest, ServerUrl, agents::ACTIVE_HEADER};
use accelnet_link::{Line, Node, Pending, join};
use accelnet_model::{AdapterStatus, NodeDesired, NodeStatus, Problem};
use accelnet_rules::fixture;
use tokio::{sync::watch, time::timeout};

/// What takes this long does not come.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that nobody tells of: a process that starts.
const AGAIN: Duration = Duration::from_millis(50);

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn etcd(directory: &Path) -> (Process, String) {
    let (client, peer) = (free_port(), free_port());
    let (client, peer) = (
        format!("127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let url = format!("http://{client}");
    let process = Command::new("etcd")
        .arg(format!("--data-dir={}", directory.join("etcd").display()))
        .args([
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
        ])
        .args([
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
        ])
        .arg(format!("--initial-cluster=default={peer}"))
        .args(["--logger=zap", "--log-level=error"])
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd (Debian: etcd-server)");
    (Process(process), format!("etcd://{client}"))
}

/// One server's command line and where it is.
struct Place {
    address: String,
    socket: PathBuf,
    state: PathBuf,
    store: String,
}

impl Place {
    fn new(directory: &Path, name: &str, store: &str) -> Self {
        Self {
            address: format!("127.0.0.1:{}", free_port()),
            socket: directory.join(format!("{name}.sock")),
            state: directory.join(name),
            store: store.to_owned(),
        }
    }

    fn accelnetd(&self, role: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_accelnetd"));
        command.arg(role).arg("--state-dir").arg(&self.state);
        command.args(["--address", &self.address, "--store", &self.store]);
        command
    }

    fn start(&self) -> Process {
        let mut command = self.accelnetd("server");
        command
            .args(["--listen", &self.address])
            .arg("--socket")
            .arg(&self.socket);
        Process(command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn admin(&self) -> Client {
        Client::on_socket(&self.socket).unwrap()
    }

    async fn decides(&self) -> bool {
        self.admin().status().await.is_ok()
    }

    fn url(&self) -> ServerUrl {
        self.address.parse().unwrap()
    }
}

async fn until<T>(what: &str, so: impl AsyncFn() -> Option<T>) -> (T, Duration) {
    let begun = Instant::now();
    let found = async {
        loop {
            if let Some(found) = so().await {
                return found;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let found = timeout(LIMIT, found).await;
    let found = found.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"));
    (found, begun.elapsed())
}

/// Which of them decides.
async fn active(places: &[Place; 2]) -> &Place {
    let look = async || {
        for place in places {
            if place.decides().await {
                return Some(place);
            }
        }
        None
    };
    until("one decides", look).await.0
}

struct Twin(watch::Sender<Option<NodeDesired>>);

impl Node for Twin {
    fn set_desired(&self, desired: NodeDesired) {
        self.0.send_replace(Some(desired));
    }

    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>> {
        Box::pin(std::future::ready(Ok(status())))
    }
}

/// A node as the rules' fixture sees it.
fn status() -> NodeStatus {
    let observed = fixture::observed();
    let adapters = observed.adapters.iter().map(|facts| AdapterStatus {
        facts: facts.clone(),
        quarantined: Vec::new(),
        problems: Vec::new(),
    });
    NodeStatus {
        sequence: 1,
        node: observed.node.clone(),
        bridges: observed.bridges.clone(),
        adapters: adapters.collect(),
        ..NodeStatus::default()
    }
}

async fn is_up(place: &Place) -> Option<()> {
    let node = place.admin().node("node1").await.ok()?;
    node.summary.reachable.then_some(())
}

async fn add_intent(place: &Place) {
    let intent = serde_json::json!({
        "name": "compute", "types": ["compute"], "adapters": ["pf0"], "bridge": "br0", "vfs": "auto"
    });
    let intent = serde_json::from_value(intent).unwrap();
    place.admin().add_intent(&intent, false).await.unwrap();
}

/// Waits until the node was told so many intents.
async fn told(twin: &Twin, intents: usize) {
    let mut told = twin.0.subscribe();
    let so = |told: &Option<NodeDesired>| {
        told.as_ref()
            .is_some_and(|told| told.intents.len() == intents)
    };
    let told = timeout(LIMIT, told.wait_for(so)).await;
    drop(
        told.unwrap_or_else(|_| panic!("not told {intents} intents"))
            .unwrap(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_decides_and_the_other_takes_over() {
    let directory = tempfile::tempdir().unwrap();
    let (_etcd, store) = etcd(directory.path());
    let places = ["a", "b"].map(|name| Place::new(directory.path(), name, &store));
    let init = async || {
        let output = places[0].accelnetd("init").output().unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap())
    };
    let (said, _) = until("the cluster is founded", init).await;
    assert!(said.contains("accelnet-1.admin."), "{said}");
    let again = places[0].accelnetd("init").output().unwrap();
    assert!(
        !again.status.success() && again.stdout.is_empty(),
        "founded twice"
    );
    let mut running = [places[0].start(), places[1].start()];

    let first = active(&places).await;
    let number = usize::from(first.address == places[1].address);
    let second = &places[1 - number];
    let standing_by = async || second.admin().status().await.err();
    let (refused, _) = until("the other answers", async || {
        let problems = standing_by().await?.into_problems();
        (problems[0].code == accelnet_model::Code::ServerNotActive).then(|| problems[0].clone())
    })
    .await;
    assert!(refused.detail.contains(&first.address), "{refused}");
    assert_eq!(ACTIVE_HEADER, "x-accelnet-active");

    // A machine joins by whichever it asks, and is told of changes.
    let request = JoinTokenRequest {
        node: None,
        ttl_s: 900,
    };
    let token = first.admin().join_token(&request).await.unwrap().token;
    let credentials = join(&second.url(), &token, &"node1".parse().unwrap())
        .await
        .unwrap();
    let mut credentials = credentials;
    credentials.learn(&[first.address.clone(), second.address.clone()]);
    let twin = Arc::new(Twin(watch::Sender::new(None)));
    let reports = watch::Sender::new(Some(status()));
    let home = directory.path().join("node");
    let line = Line::new(
        credentials,
        home,
        Arc::clone(&twin) as Arc<dyn Node>,
        reports.subscribe(),
    );
    let line = tokio::spawn(line.run());
    until("the node is up", async || is_up(first).await).await;
    add_intent(first).await;
    told(&twin, 1).await;

    // It dies.
    running[number].signal(rustix::process::Signal::KILL);
    let (_, decided) = until("the other decides", async || {
        second.decides().await.then_some(())
    })
    .await;
    let (_, up) = until("the node is up there", async || is_up(second).await).await;
    second
        .admin()
        .remove_intent("compute", false)
        .await
        .unwrap();
    told(&twin, 0).await;
    eprintln!("killed: another decides after {decided:.1?}, the node is up after {up:.1?} more");

    // It is back, and stands by.
    running[number] = first.start();
    until("it stands by", async || {
        let problems = first.admin().status().await.err()?.into_problems();
        (problems[0].code == accelnet_model::Code::ServerNotActive).then_some(())
    })
    .await;

    // One that is stopped hands over at once, without waiting for the end of a lease.
    running[1 - number].signal(rustix::process::Signal::TERM);
    let (_, handed) = until("it is handed over", async || {
        first.decides().await.then_some(())
    })
    .await;
    let (_, up) = until("the node is up again", async || is_up(first).await).await;
    eprintln!("stopped: another decides after {handed:.1?}, the node is up after {up:.1?} more");
    // What the other wrote is there, and the node hears of what this one writes.
    assert!(first.admin().intents().await.unwrap().items.is_empty());
    add_intent(first).await;
    told(&twin, 1).await;
    line.abort();
}
