//! The page for Prometheus at an address of its own: of a server that decides, and of one that stands by.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Stdio,
};

use crate::rig::{Place, Process, active, etcd, found, until};

/// Who serves, and where its metrics are.
struct Measured {
    place: Place,
    metrics: String,
}

impl Measured {
    fn new(directory: &Path, name: &str, store: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            place: Place::new(directory, name, store),
            metrics: free.local_addr().unwrap().to_string(),
        }
    }

    fn start(&self) -> Process {
        let mut command = self.place.accelnetd("server");
        command
            .args(["--listen", &self.place.address])
            .args(["--metrics", &self.metrics])
            .arg("--socket")
            .arg(&self.place.socket);
        Process(command.stderr(Stdio::null()).spawn().unwrap())
    }

    /// What is answered to somebody who shows nothing of himself; `None` while nobody listens.
    fn asked(&self, what: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.metrics).ok()?;
        write!(stream, "{what} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn page(&self) -> Option<String> {
        self.asked("GET /metrics")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_for_prometheus_has_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", directory.path().join("state.sqlite").display());
    let server = Measured::new(directory.path(), "a", &file);
    found(&server.place).await;
    let running = server.start();
    // The words that explain it have it too.
    let told = "\naccelnet_server_active 1\n";
    let decides = async || server.page().filter(|page| page.contains(told));
    let (page, _) = until("its metrics", decides).await;
    assert!(page.starts_with("HTTP/1.0 200 OK"), "{page}");
    for line in [
        "accelnet_agents_connected 0",
        "accelnet_nodes{state=\"current\"} 0",
    ] {
        assert!(page.lines().any(|one| one == line), "{line}\n{page}");
    }
    for (what, status) in [
        ("GET /api/v1/status", 404),
        ("GET /node/v1/follow", 404),
        ("GET /", 404),
        ("POST /metrics", 405),
    ] {
        let answer = server.asked(what).unwrap();
        let expected = format!("HTTP/1.0 {status}");
        assert!(answer.starts_with(&expected), "{what}: {answer}");
    }
    running.signal(rustix::process::Signal::TERM);
    let gone = async || server.page().is_none().then_some(());
    until("nobody listens any more", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_by_says_so_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (_etcd, store) = etcd(directory.path());
    let servers = ["a", "b"].map(|name| Measured::new(directory.path(), name, &store));
    found(&servers[0].place).await;
    let mut running = servers.each_ref().map(|server| Some(server.start()));
    let places = servers.each_ref().map(|server| Place {
        address: server.place.address.clone(),
        socket: server.place.socket.clone(),
        state: server.place.state.clone(),
        store: store.clone(),
        files: Vec::new(),
    });
    let first = active(&places).await.address.clone();
    let first = usize::from(servers[1].place.address == first);
    let pages = async || Some((servers[first].page()?, servers[1 - first].page()?));
    let ((decides, stands_by), _) = until("both tell", pages).await;
    assert!(
        decides.contains("\naccelnet_server_active 1\n"),
        "{decides}"
    );
    let numbers = stands_by
        .lines()
        .filter(|line| line.starts_with("accelnet"));
    assert_eq!(
        numbers.collect::<Vec<_>>(),
        ["accelnet_server_active 0"],
        "{stands_by}"
    );
    // It tells all once it decides.
    drop(running[first].take());
    let decides = async || {
        let page = servers[1 - first].page()?;
        page.contains("\naccelnet_server_active 1\n").then_some(())
    };
    until("the other decides", decides).await;
}
