//! etcd, servers and a node's line.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use accelnet_api::{Client, ServerUrl};
use accelnet_link::{Node, Pending};
use accelnet_model::{AdapterStatus, NodeDesired, NodeStatus, Problem};
use accelnet_rules::fixture;
use tokio::{sync::watch, time::timeout};

use crate::certificates::Certificates;

/// What takes this long does not come.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that nobody tells of: a process that starts.
pub const AGAIN: Duration = Duration::from_millis(50);

/// A process that ends with the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub fn etcd(directory: &Path) -> (Process, String) {
    start_etcd(&directory.join("etcd"), None)
}

/// One that speaks TLS with those who show a certificate of this authority.
pub fn secure_etcd(directory: &Path, certificates: &Certificates) -> (Process, String) {
    start_etcd(&directory.join("secure-etcd"), Some(certificates))
}

fn start_etcd(home: &Path, certificates: Option<&Certificates>) -> (Process, String) {
    let (client, peer) = (free_port(), free_port());
    let (client, peer) = (
        format!("127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let scheme = if certificates.is_some() {
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://{client}");
    let mut command = Command::new("etcd");
    command
        .arg(format!("--data-dir={}", home.display()))
        .args([
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
        ])
        .args([
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
        ])
        .arg(format!("--initial-cluster=default={peer}"))
        .args(["--logger=zap", "--log-level=error"]);
    if let Some(certificates) = certificates {
        command.arg("--client-cert-auth").args([
            format!("--trusted-ca-file={}", certificates.ca.display()),
            format!("--cert-file={}", certificates.cert.display()),
            format!("--key-file={}", certificates.key.display()),
        ]);
    }
    let process = command
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd (Debian: etcd-server)");
    (Process(process), format!("etcd://{client}"))
}

/// One server's command line and where it is.
pub struct Place {
    pub address: String,
    socket: PathBuf,
    state: PathBuf,
    store: String,
    /// With what it speaks to etcd.
    files: Vec<String>,
}

impl Place {
    pub fn new(directory: &Path, name: &str, store: &str) -> Self {
        Self {
            address: format!("127.0.0.1:{}", free_port()),
            socket: directory.join(format!("{name}.sock")),
            state: directory.join(name),
            store: store.to_owned(),
            files: Vec::new(),
        }
    }

    /// The same, which shows these to etcd.
    pub fn with_files(self, certificates: &Certificates) -> Self {
        let file = |option: &str, file: &Path| format!("--etcd-{option}={}", file.display());
        let files = vec![
            file("ca", &certificates.ca),
            file("cert", &certificates.cert),
            file("key", &certificates.key),
        ];
        Self { files, ..self }
    }

    /// The same place, on another store.
    pub fn moved_to(&self, store: &str) -> Self {
        Self {
            address: self.address.clone(),
            socket: self.socket.clone(),
            state: self.state.clone(),
            store: store.to_owned(),
            files: Vec::new(),
        }
    }

    /// A command on the store.
    pub fn on_store(&self, role: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_accelnetd"));
        command.arg(role).arg("--state-dir").arg(&self.state);
        command.args(["--store", &self.store]).args(&self.files);
        command.stdin(Stdio::null());
        command
    }

    pub fn accelnetd(&self, role: &str) -> Command {
        let mut command = self.on_store(role);
        command.args(["--address", &self.address]);
        command
    }

    pub fn start(&self) -> Process {
        let mut command = self.accelnetd("server");
        command
            .args(["--listen", &self.address])
            .arg("--socket")
            .arg(&self.socket);
        Process(command.stderr(Stdio::null()).spawn().unwrap())
    }

    pub fn admin(&self) -> Client {
        Client::on_socket(&self.socket).unwrap()
    }

    pub async fn decides(&self) -> bool {
        self.admin().status().await.is_ok()
    }

    pub fn url(&self) -> ServerUrl {
        self.address.parse().unwrap()
    }
}

pub async fn until<T>(what: &str, so: impl AsyncFn() -> Option<T>) -> (T, Duration) {
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
pub async fn active(places: &[Place; 2]) -> &Place {
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

pub struct Twin(pub watch::Sender<Option<NodeDesired>>);

impl Node for Twin {
    fn set_desired(&self, desired: NodeDesired) {
        self.0.send_replace(Some(desired));
    }

    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>> {
        Box::pin(std::future::ready(Ok(status())))
    }
}

/// A node as the rules' fixture sees it.
pub fn status() -> NodeStatus {
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

pub async fn is_up(place: &Place) -> Option<()> {
    let node = place.admin().node("node1").await.ok()?;
    node.summary.reachable.then_some(())
}

pub async fn add_intent(place: &Place) {
    let intent = serde_json::json!({
        "name": "compute", "types": ["compute"], "adapters": ["pf0"], "bridge": "br0", "vfs": "auto"
    });
    let intent = serde_json::from_value(intent).unwrap();
    place.admin().add_intent(&intent, false).await.unwrap();
}

/// Waits until the node was told so many intents.
pub async fn told(twin: &Twin, intents: usize) {
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
