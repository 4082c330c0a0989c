//! A server without a descriptor left says so, and goes on when there is one. On its own, since the limit
//! is the process's.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use accelnet_server::fake::{FakeNodes, Running};
use accelnet_store::MemoryStore;
use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketType},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// All that is answered; an error if nothing comes for a while.
fn read(mut stream: &UnixStream) -> io::Result<String> {
    let mut text = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_descriptors_is_said_and_survived() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("accelnet.sock");
    let nodes = FakeNodes::one();
    let running = Running::start(MemoryStore::new(), &nodes, &socket).await;
    let before = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(64),
        ..before
    };
    setrlimit(Resource::Nofile, few).unwrap();
    let ask = "GET /api/v1/nodes HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answered = tokio::task::spawn_blocking(move || {
        let served = || {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(ask.as_bytes()).unwrap();
            read(&stream).unwrap()
        };
        // It has begun to take connections.
        assert!(served().starts_with("HTTP/1.1 200 OK"));
        // Clients' own ends are made first: both ends are this process's.
        let client = || {
            let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
            rustix::net::socket(family, kind, None).unwrap()
        };
        let clients: Vec<_> = (0..10).map(|_| client()).collect();
        let address = SocketAddrUnix::new(&socket).unwrap();
        let mut all = Vec::new();
        // The server may still let go of a connection, and so have a descriptor for the first.
        let refused = clients.into_iter().find_map(|client| {
            while let Ok(file) = File::open("/dev/null") {
                all.push(file);
            }
            rustix::net::connect(&client, &address).unwrap();
            let answer = read(&UnixStream::from(client));
            answer.ok().filter(|answer| !answer.is_empty())
        });
        drop(all);
        (refused.expect("all were taken"), served())
    });
    let (refused, served) = answered.await.unwrap();
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let body = refused.split_once("\r\n\r\n").unwrap().1;
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert!(
        body["detail"].as_str().unwrap().contains("descriptor"),
        "{body}"
    );
    assert!(served.starts_with("HTTP/1.1 200 OK"), "{served}");
    running.stop().await;
}
