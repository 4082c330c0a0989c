//! Logging in to a server over TLS, profiles, tokens, the record.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use accelnet_pki::{Authority, tls};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::rig::{Ended, Rig, assert_printable, program, run};

/// A cluster's server in the network, and a user who has heard of it.
struct Cluster {
    rig: Rig,
    url: String,
    fingerprint: String,
    ca: PathBuf,
    home: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        let rig = Rig::bare();
        let authority = Authority::create(Uuid::from_u128(1), Timestamp::now()).unwrap();
        let url = rig.over_tls(&authority, "127.0.0.1");
        let home = tempfile::tempdir().unwrap();
        let ca = home.path().join("ca.pem");
        fs::write(&ca, authority.certificate_pem()).unwrap();
        Self {
            rig,
            url,
            fingerprint: authority.fingerprint().to_string(),
            ca,
            home,
        }
    }

    /// A token, made at the socket.
    fn token(&self, name: &str, role: &str) -> String {
        let line = ["token", "create", name, "--role", role, "-o", "json"];
        let made = self.rig.call(&line).json();
        made["token"].as_str().unwrap().to_owned()
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = program();
        command.env("HOME", self.home.path()).args(line);
        command
    }

    fn call(&self, line: &[&str]) -> Ended {
        run(self.command(line), b"")
    }

    /// Logs in by the authority's fingerprint.
    fn log_in(&self, token: &str, name: &str) -> Ended {
        let line = ["login", &self.url, "--fingerprint", &self.fingerprint];
        let command = self.command(&[&line[..], &["--name", name]].concat());
        run(command, token.as_bytes())
    }

    fn config(&self) -> PathBuf {
        self.home.path().join(".config/accelnet/config.json")
    }
}

impl Rig {
    /// A server with a certificate for this host in front of the server; its address.
    fn over_tls(&self, authority: &Authority, host: &str) -> String {
        let lifetime = Duration::from_secs(3600);
        let identity = authority.issue_server(&[host.to_owned()], lifetime, Timestamp::now());
        let config = tls::server(authority, &identity.unwrap()).unwrap();
        let behind = self.in_the_network();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        self.runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let acceptor = TlsAcceptor::from(Arc::clone(&config));
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut outside = acceptor.accept(stream).await?;
                    let mut inside = TcpStream::connect(behind).await?;
                    copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        format!("https://{address}")
    }
}

#[test]
fn who_logs_in_is_known_from_then_on_and_may_what_the_role_says() {
    let cluster = Cluster::new();
    let token = cluster.token("alice", "viewer");
    let said = cluster.log_in(&format!("{token}\n"), "lab").done();
    assert!(said.contains("as 'alice' (viewer)"), "{said}");
    assert!(cluster.call(&["status"]).done().contains("node1"));
    assert_eq!(cluster.call(&["whoami"]).done(), "alice (viewer)\n");
    let who = cluster.call(&["whoami", "-o", "json"]).json();
    assert_eq!(
        (&who["role"], &who["by"]),
        (&"viewer".into(), &"token".into())
    );
    let ended = cluster.call(&["disable"]).with(5);
    ended.says(&["[not_permitted]", "role 'operator'", "cure: "]);
    let ended = cluster.call(&["token", "list", "-o", "json"]).with(5);
    assert_eq!(ended.problem_codes(), ["not_permitted"]);
    // Nobody else can read it, and nothing that is printed has it.
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cluster.config()), 0o600);
    assert_eq!(mode(&cluster.config().parent().unwrap().to_owned()), 0o700);
    let (_, secret) = token.rsplit_once('.').unwrap();
    for line in [
        &["profile", "list"][..],
        &["profile", "list", "-o", "yaml"],
        &["whoami"],
    ] {
        assert!(!cluster.call(line).done().contains(secret), "{line:?}");
    }
    // Revoked, it is refused at once.
    cluster.rig.call(&["token", "revoke", "alice"]).done();
    cluster
        .call(&["status"])
        .with(5)
        .says(&["[not_authenticated]", "accelnet login"]);
    cluster.call(&["logout"]).done();
    assert!(
        !fs::read_to_string(cluster.config())
            .unwrap()
            .contains(secret)
    );
    cluster
        .call(&["logout"])
        .with(4)
        .says(&["[profile_not_found]"]);
}

#[test]
fn a_server_that_is_not_the_cluster_s_is_told_nothing() {
    let cluster = Cluster::new();
    let token = cluster.token("alice", "admin");
    let other = Authority::create(Uuid::from_u128(2), Timestamp::now()).unwrap();
    // Another authority's server, and the cluster's own under another name.
    let impostor = cluster.rig.over_tls(&other, "127.0.0.1");
    let line = [
        "login",
        &impostor,
        "--fingerprint",
        &cluster.fingerprint,
        "-o",
        "json",
    ];
    let ended = run(cluster.command(&line), token.as_bytes()).with(5);
    assert_eq!(ended.problem_codes(), ["server_not_trusted"]);
    let elsewhere = cluster.url.replace("127.0.0.1", "localhost");
    let line = ["login", &elsewhere, "--ca", cluster.ca.to_str().unwrap()];
    let ended = run(cluster.command(&line), token.as_bytes()).with(5);
    ended.says(&["[server_not_trusted]"]);
    // By nothing at all nobody is recognized; not even the token is asked for.
    let ended = cluster.call(&["login", &cluster.url]).with(5);
    ended.says(&["[server_not_trusted]", "fingerprint or CA file"]);
    assert!(
        !cluster.config().exists(),
        "nothing is remembered of a login that failed"
    );
    // What is no TLS, and nobody.
    let plain = cluster.rig.in_the_network();
    let line = [
        "login",
        &format!("https://{plain}"),
        "--fingerprint",
        &cluster.fingerprint,
    ];
    let ended = run(cluster.command(&line), token.as_bytes()).with(6);
    ended.says(&["[server_not_running]", "no accelnet server"]);
    let line = [
        "login",
        "https://127.0.0.1:1",
        "--fingerprint",
        &cluster.fingerprint,
    ];
    let ended = run(cluster.command(&line), token.as_bytes()).with(6);
    ended.says(&["[server_not_running]", "--server"]);
}

#[test]
fn what_is_no_token_is_refused_and_not_repeated() {
    let cluster = Cluster::new();
    let good = cluster.token("alice", "admin");
    let (_, secret) = good.rsplit_once('.').unwrap();
    for (token, code) in [
        ("", 2),
        ("letmein", 2),
        (&good[..good.len() - 1], 2),
        (secret, 2),
        (&good.replace("alice", "bob"), 5),
    ] {
        let ended = cluster.log_in(token, "lab").with(code);
        assert_printable(&ended.err);
        assert!(!ended.err.contains(&secret[..12]), "{}", ended.err);
    }
    let line = ["login", &cluster.url, "--fingerprint", "abc"];
    run(cluster.command(&line), good.as_bytes())
        .with(2)
        .says(&["[invalid_argument]"]);
}

#[test]
fn several_clusters_have_profiles_and_programs_need_none() {
    let (one, two) = (Cluster::new(), Cluster::new());
    two.rig.add_intent();
    one.log_in(&one.token("alice", "viewer"), "one").done();
    let token = two.token("bob", "admin");
    let line = [
        "login",
        &two.url,
        "--ca",
        two.ca.to_str().unwrap(),
        "--name",
        "two",
    ];
    run(one.command(&line), token.as_bytes()).done();
    assert_eq!(one.call(&["whoami"]).done(), "bob (admin)\n");
    assert_eq!(
        one.call(&["whoami", "--cluster", "one"]).done(),
        "alice (viewer)\n"
    );
    assert_eq!(
        one.call(&["whoami", "--server", &one.url]).done(),
        "alice (viewer)\n"
    );
    one.call(&["profile", "use", "one"]).done();
    assert_eq!(one.call(&["whoami"]).done(), "alice (viewer)\n");
    let list = one.call(&["profile", "list", "-o", "json"]).json();
    assert_eq!(list["items"][0]["current"], true);
    assert_eq!(list["items"][1]["name"], "bob");
    one.call(&["whoami", "--cluster", "three"])
        .with(4)
        .says(&["one, two"]);
    let mut by_variable = one.command(&["whoami"]);
    by_variable.env("ACCELNET_CLUSTER", "two");
    assert_eq!(run(by_variable, b"").done(), "bob (admin)\n");
    // The socket is one's own, not the profile's.
    let socket = one.rig.socket();
    let line = ["whoami", "--socket", socket.to_str().unwrap(), "-o", "json"];
    assert_eq!(one.call(&line).json()["by"], "socket");
    // Without any profile.
    let program = |variables: &[(&str, &str)]| {
        let mut command = program();
        command.arg("whoami").envs(variables.iter().copied());
        run(command, b"")
    };
    let (server, known) = (
        ("ACCELNET_SERVER", &*two.url),
        ("ACCELNET_FINGERPRINT", &*two.fingerprint),
    );
    let ca = ("ACCELNET_CA", two.ca.to_str().unwrap());
    let token = ("ACCELNET_TOKEN", &*token);
    assert_eq!(program(&[server, known, token]).done(), "bob (admin)\n");
    assert_eq!(program(&[server, ca, token]).done(), "bob (admin)\n");
    program(&[server, token])
        .with(5)
        .says(&["[server_not_trusted]", "ACCELNET_FINGERPRINT"]);
    program(&[server, known])
        .with(5)
        .says(&["[not_authenticated]", "No token was sent."]);
    program(&[("ACCELNET_SERVER", "http://x"), token])
        .with(2)
        .says(&["TLS only"]);
}

#[test]
fn a_file_that_others_can_read_is_not_used() {
    let cluster = Cluster::new();
    cluster
        .log_in(&cluster.token("alice", "admin"), "lab")
        .done();
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(cluster.config(), fs::Permissions::from_mode(mode)).unwrap();
        let ended = cluster.call(&["status"]).with(5);
        ended.says(&["[profile_not_private]", "chmod 600"]);
    }
    // What needs no server works all the same.
    cluster.call(&["explain", "profile_not_private"]).done();
    fs::set_permissions(cluster.config(), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(cluster.config(), "{\"profiles\": 1}").unwrap();
    cluster
        .call(&["status"])
        .with(2)
        .says(&["config.json", "move it away"]);
}

#[test]
fn at_a_node_s_socket_one_asks_as_oneself() {
    let cluster = Cluster::new();
    let token = cluster.token("alice", "viewer");
    let socket = cluster.rig.socket();
    let line = ["login", "--local", "--socket", socket.to_str().unwrap()];
    let said = run(cluster.command(&line), token.as_bytes()).done();
    assert!(said.contains("profile 'local'"), "{said}");
    assert_eq!(cluster.call(&["whoami"]).done(), "alice (viewer)\n");
    cluster
        .call(&["disable"])
        .with(5)
        .says(&["[not_permitted]"]);
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let rig = Rig::bare();
    let line = [
        "token", "create", "ci", "--role", "operator", "--ttl", "30d",
    ];
    let made = rig.call(&line).done();
    let token = made.lines().last().unwrap();
    assert!(token.starts_with("accelnet-1.ci."), "{made}");
    rig.call(&line).with(3).says(&["[token_exists]"]);
    let list = rig.call(&["token", "list"]).done();
    assert!(
        list.contains("operator") && !list.contains("accelnet-1"),
        "{list}"
    );
    let planned = rig.call(&["token", "revoke", "ci", "--dry-run"]).done();
    assert!(planned.contains("revoke token 'ci'"), "{planned}");
    rig.call(&["token", "revoke", "ci"]).done();
    rig.call(&["token", "revoke", "ci"])
        .with(4)
        .says(&["[token_not_found]"]);
    let audit = rig.call(&["audit"]).done();
    let places = ["token create", "token revoke"].map(|words| audit.find(words).unwrap());
    assert!(places[0] < places[1] && audit.contains("uid "), "{audit}");
    let audit = rig.call(&["audit", "--limit", "1", "-o", "json"]).json();
    assert_eq!(audit["items"][0]["operation"], "token revoke");
    assert_eq!(
        rig.call(&["audit", "--since", "1h"]).done().lines().count(),
        3
    );
    let none = rig.call(&["audit", "--since", "2999-01-01T00:00:00Z", "-o", "json"]);
    assert_eq!(none.json()["items"], Value::Array(Vec::new()));
}

#[test]
fn the_record_is_followed() {
    let rig = Rig::bare();
    rig.call(&["token", "create", "a", "--role", "viewer"])
        .done();
    let mut command = rig.command(&["audit", "--follow", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["subject"], "a viewer");
    rig.call(&["token", "revoke", "a"]).done();
    assert_eq!(next()["operation"], "token revoke");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A server that gives each request the answer that its path begins with; nodes are the server's to know, and
/// here only how they are shown is of interest.
fn canned(rig: &Rig, answers: &'static [(&'static str, &'static str)]) -> String {
    let path = rig.directory.path().join("canned.sock");
    let _ = fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            use std::io::{Read, Write};
            let mut connection = connection.unwrap();
            connection
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let mut asked = [0; 4096];
            let count = connection.read(&mut asked).unwrap_or_default();
            let asked = String::from_utf8_lossy(&asked[..count]).into_owned();
            let answer = answers.iter().find(|(start, _)| asked.starts_with(start));
            let body = answer.map_or("{}", |(_, body)| body);
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = connection.write_all(format!("{head}{body}").as_bytes());
        }
    });
    path.display().to_string()
}

const NODE: &str = r#"{"name":"node2","reachable":true,"converged":true,"vfs":4,"vfs_used":1,"vms":3,
"vms_accelerated":1,"problems":[],"id":"00000000-0000-0000-0000-000000000007",
"joined":"2026-11-29T10:00:00Z",
"draining":{"vms_left":1,"blocked":[{"code":"vf_detach_failed","title":"It stays.","detail":"VM web1.",
"cure":"Wait."}]}}"#;

#[test]
fn nodes_and_servers_are_shown_and_drained() {
    let rig = Rig::bare();
    assert!(rig.call(&["node", "list"]).done().contains("node1"));
    let outcome: &'static str = Box::leak(
        format!(r#"{{"dry_run":false,"changed":true,"plan":["x"],"object":{NODE}}}"#).into(),
    );
    let answers: &'static [(&str, &str)] = Box::leak(Box::new([
        ("GET /api/v1/nodes/node2", NODE),
        ("POST /api/v1/nodes/node2/drain", outcome),
        ("POST /api/v1/nodes/node2/uncordon", outcome),
        ("DELETE /api/v1/nodes/node2", outcome),
        (
            "POST /api/v1/join-tokens",
            r#"{"token":"accelnet-join-1.a.b","expires":"2026-11-29T10:15:00Z",
            "command":"accelnetd join https://server1:7643 accelnet-join-1.a.b"}"#,
        ),
        (
            "GET /api/v1/servers",
            r#"{"items":[{"name":"server1","address":"server1:7643","active":true,
            "since":"2026-11-29T10:00:00Z","version":"0.1.0"}]}"#,
        ),
    ]));
    let socket = canned(&rig, answers);
    let call = |line: &[&str]| rig.call(&[line, &["--socket", &socket]].concat());
    for (line, words) in [
        (
            &["node", "show", "node2"][..],
            "joined: 2026-11-29T10:00:00Z",
        ),
        (&["node", "show", "node2"], "VMs on a VF still: 1"),
        (
            &["node", "join-token", "--node", "node4"],
            "accelnetd join https://server1:7643",
        ),
        (&["node", "remove", "node2"], "no longer of the cluster"),
        (&["node", "uncordon", "node2"], "go to their VFs again"),
        (&["server", "list"], "active"),
    ] {
        let said = call(line).done();
        assert!(said.contains(words), "{line:?}: {said}");
    }
    let node = call(&["node", "show", "node2", "-o", "json"]).json();
    assert_eq!(node["draining"]["vms_left"], 1);
    // What keeps its VF is said, and that not all was done.
    let ended = call(&["node", "drain", "node2"]).with(7);
    ended.says(&["VMs that keep theirs: 1", "[vf_detach_failed]"]);
    rig.call(&["node", "show", ".."])
        .with(4)
        .says(&["[node_not_found]"]);
}
