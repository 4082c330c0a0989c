//! etcd and servers as processes: for tests, and for the benchmark of the same.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use accelnet_api::{Client, JoinTokenRequest, ServerUrl};
use accelnet_pki::{Fingerprint, tls};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

/// What takes this long does not come.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that nobody tells of: a process that starts.
pub const AGAIN: Duration = Duration::from_millis(50);

/// A process that ends with whoever has it.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).unwrap();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// An etcd of one member, and the store that it is.
pub fn etcd(directory: &Path) -> (Process, String) {
    start_etcd(&directory.join("etcd"), "http", &[])
}

/// One that is spoken to in this way, with more options.
pub fn start_etcd(home: &Path, scheme: &str, more: &[String]) -> (Process, String) {
    let (client, peer) = (free_port(), free_port());
    let client = format!("127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let url = format!("{scheme}://{client}");
    let process = Command::new("etcd")
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
        .args(["--logger=zap", "--log-level=error"])
        .args(more)
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd (Debian: etcd-server)");
    (Process(process), format!("etcd://{client}"))
}

/// One server's command line and where it is.
pub struct Place {
    pub address: String,
    pub socket: PathBuf,
    pub state: PathBuf,
    pub store: String,
    /// With what it speaks to etcd.
    pub files: Vec<String>,
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

    /// A token that a machine can join with.
    pub async fn join_token(&self) -> String {
        let request = JoinTokenRequest {
            node: None,
            ttl_s: 900,
        };
        self.admin().join_token(&request).await.unwrap().token
    }
}

/// A cluster's authority, and its first administrator's token.
pub struct Founded {
    pub fingerprint: Fingerprint,
    pub token: String,
}

impl Founded {
    /// An administrator who was told of the server at this place.
    pub fn person(&self, place: &Place) -> Client {
        let tls = tls::pinned(self.fingerprint).unwrap();
        Client::over_tls(&place.url(), &tls, Some(&self.token)).unwrap()
    }
}

/// Founds a cluster, as soon as its store answers.
pub async fn found(place: &Place) -> Founded {
    let init = async || {
        let output = place.accelnetd("init").output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(said)
    };
    let (said, _) = until("the cluster is founded", init).await;
    let mut words = said.lines().map(str::trim);
    let fingerprint = words.nth(1).unwrap().parse().unwrap();
    let token = words.find(|word| word.starts_with("accelnet-1.admin."));
    Founded {
        fingerprint,
        token: token.unwrap().to_owned(),
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
