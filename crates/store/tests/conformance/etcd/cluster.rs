//! Members of etcd as processes: on free ports of the loopback, in a directory that goes with them.

use std::{
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use accelnet_store::{EtcdOptions, Revision};
use etcd_client::{Client, ConnectOptions, GetOptions};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a member may take to start.
const START_MAX: Duration = Duration::from_secs(60);

/// Free ports can be taken by others before etcd does; then others are tried.
const ATTEMPTS: usize = 5;

/// Certificates for the members to show, and of the authority they ask clients for.
pub struct Secure {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Some members. They are killed when it is dropped; if the test is killed itself, with it.
pub struct Cluster {
    // Before the directory, so that they are gone first.
    members: Vec<Member>,
    directory: TempDir,
}

struct Member {
    arguments: Vec<String>,
    url: String,
    log: PathBuf,
    process: Child,
}

impl Cluster {
    /// Starts members that form a cluster, and waits until it works.
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, None, &[]).await
    }

    /// One member that holds no more than this.
    pub async fn start_small(quota_bytes: u64) -> Self {
        let quota = format!("--quota-backend-bytes={quota_bytes}");
        Self::start_with(1, None, &[quota]).await
    }

    /// One member that speaks TLS alone, only with clients that have a certificate. It is not
    /// waited for: who has none cannot tell.
    pub async fn start_secure(secure: &Secure) -> Self {
        Self::start_with(1, Some(secure), &[]).await
    }

    async fn start_with(count: usize, secure: Option<&Secure>, more: &[String]) -> Self {
        for _ in 0..ATTEMPTS {
            let mut cluster = Self::spawn(count, secure, more);
            if secure.is_some() || cluster.is_ready().await {
                return cluster;
            }
        }
        panic!("etcd does not start")
    }

    fn spawn(count: usize, secure: Option<&Secure>, more: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * count);
        let (clients, peers) = ports.split_at(count);
        let initial: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(number, port)| format!("m{number}=http://127.0.0.1:{port}"))
            .collect();
        let scheme = if secure.is_some() { "https" } else { "http" };
        let members = (0..count).map(|number| {
            let url = format!("{scheme}://127.0.0.1:{}", clients[number]);
            let peer = format!("http://127.0.0.1:{}", peers[number]);
            let home = directory.path().join(format!("m{number}"));
            let mut arguments = vec![
                format!("--name=m{number}"),
                format!("--data-dir={}", home.display()),
                format!("--listen-client-urls={url}"),
                format!("--advertise-client-urls={url}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster={}", initial.join(",")),
                "--logger=zap".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            if let Some(secure) = secure {
                arguments.extend([
                    format!("--cert-file={}", secure.certificate.display()),
                    format!("--key-file={}", secure.key.display()),
                    format!("--trusted-ca-file={}", secure.ca.display()),
                    "--client-cert-auth".to_owned(),
                ]);
            }
            arguments.extend_from_slice(more);
            let log = directory.path().join(format!("m{number}.log"));
            let process = run(&arguments, &log);
            Member {
                arguments,
                url,
                log,
                process,
            }
        });
        Self {
            members: members.collect(),
            directory,
        }
    }

    /// Waits until all members answer; false if one has ended.
    async fn is_ready(&mut self) -> bool {
        let end = Instant::now() + START_MAX;
        for member in &mut self.members {
            while !answers(&member.url).await {
                if let Some(status) = member.process.try_wait().unwrap() {
                    eprintln!("etcd ended with {status}: {}", member.said());
                    return false;
                }
                assert!(Instant::now() < end, "etcd is silent: {}", member.said());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        true
    }

    /// The URLs of all members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|member| member.url.clone())
            .collect()
    }

    /// Options for a store on it.
    pub fn options(&self) -> EtcdOptions {
        EtcdOptions::new(self.endpoints())
    }

    /// A client of the first member that is no store.
    pub async fn client(&self) -> Client {
        Client::connect(&self.endpoints()[..1], None).await.unwrap()
    }

    /// Has etcd forget what was before a revision.
    pub async fn compact(&self, revision: Revision) {
        let number = i64::try_from(revision.get()).unwrap();
        self.client().await.compact(number, None).await.unwrap();
    }

    /// Kills a member with SIGKILL.
    pub fn kill(&mut self, number: usize) {
        let process = &mut self.members[number].process;
        process.kill().unwrap();
        let status = process.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it had ended before");
    }

    /// Starts a member that was killed, and waits until it answers.
    pub async fn restart(&mut self, number: usize) {
        self.restart_all([number]).await;
    }

    /// Starts members that were killed, and waits until all answer.
    pub async fn restart_all(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            let member = &mut self.members[number];
            member.process = run(&member.arguments, &member.log);
        }
        assert!(self.is_ready().await, "it does not start again");
    }

    /// Removes what a member that was killed has on its disk.
    pub fn forget(&self, number: usize) {
        let home = self.directory.path().join(format!("m{number}"));
        std::fs::remove_dir_all(home).unwrap();
    }

    /// How many seals were written.
    pub async fn seals(&self) -> i64 {
        let options = GetOptions::new().with_prefix().with_count_only();
        let mut client = self.client().await;
        let answer = client.get("accelnet/seals/", Some(options)).await;
        answer.unwrap().count()
    }

    /// Starts the first member, which was killed, for somebody else: its clients do not find it.
    pub async fn outside(&self) -> Outside {
        let member = &self.members[0];
        let url = format!("http://127.0.0.1:{}", free_ports(1)[0]);
        let moved = |argument: &String| argument.replace(&member.url, &url);
        let mut process = run(
            &member.arguments.iter().map(moved).collect::<Vec<_>>(),
            &member.log,
        );
        let end = Instant::now() + START_MAX;
        while !answers(&url).await {
            assert_eq!(process.try_wait().unwrap(), None, "{}", member.said());
            assert!(Instant::now() < end, "etcd is silent: {}", member.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let client = Client::connect([url], None).await.unwrap();
        Outside { client, process }
    }

    /// Stops a member where it is. Its sockets stay open.
    pub fn stop(&self, number: usize) {
        self.signal(number, Signal::STOP);
        // Each thread stops when it gets to it.
        let end = Instant::now() + START_MAX;
        let pid = self.members[number].process.id();
        while !stands(pid) {
            assert!(Instant::now() < end, "it does not stop");
            std::thread::yield_now();
        }
    }

    /// Lets a stopped member go on.
    pub fn go_on(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        let pid = Pid::from_child(&self.members[number].process);
        kill_process(pid, signal).unwrap();
    }
}

/// A member where only a test reaches it.
pub struct Outside {
    client: Client,
    process: Child,
}

impl Outside {
    pub async fn put(&self, name: &str) -> Revision {
        let answer = self.client.clone().put(name, "", None).await.unwrap();
        revision(answer.header())
    }

    pub async fn delete(&self, name: &str) -> Revision {
        let answer = self.client.clone().delete(name, None).await.unwrap();
        assert_eq!(answer.deleted(), 1);
        revision(answer.header())
    }

    pub async fn compact(&self, at: Revision) {
        let number = i64::try_from(at.get()).unwrap();
        self.client.clone().compact(number, None).await.unwrap();
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn revision(header: Option<&etcd_client::ResponseHeader>) -> Revision {
    Revision::new(u64::try_from(header.unwrap().revision()).unwrap())
}

impl Member {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // One that was killed before is not killed again.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts etcd so that it dies with the thread that does, even if nobody drops it.
fn run(arguments: &[String], log: &Path) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "etcd"])
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("setpriv (util-linux) and etcd (etcd-server) are installed")
}

/// Whether all threads of a process are stopped.
fn stands(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(Result::unwrap).all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap();
        let (_, after_name) = stat.rsplit_once(')').unwrap();
        after_name.starts_with(" T")
    })
}

async fn answers(url: &str) -> bool {
    let options = ConnectOptions::new().with_timeout(Duration::from_secs(1));
    match Client::connect([url], Some(options)).await {
        Ok(mut client) => client.get("ready", None).await.is_ok(),
        Err(_) => false,
    }
}

fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    let held: Vec<TcpListener> = (0..count).map(bind).collect();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    held.iter().map(port).collect()
}
