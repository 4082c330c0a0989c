//! Secrets are where they are meant to be, and nowhere else: not in what programs say, however much they are told to
//! say; not in their arguments; not in files that others can read; not in a backup, but for the authority's key.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use accelnet_pki::AccessToken;
use serde_json::{Value, json};

use crate::{
    rig::{Place, Process, found, until},
    shared::Founded,
};

/// So many characters of a secret, wherever they begin, are a part of it: no other text has them by chance.
const PART: usize = 16;

/// What must not be seen, by what it is.
#[derive(Default)]
struct Secrets(BTreeMap<&'static str, String>);

impl Secrets {
    /// The secret part of a token.
    fn token(&mut self, what: &'static str, token: &str) {
        let (_, secret) = token.trim().rsplit_once('.').unwrap();
        assert!(secret.len() >= 40, "{token}");
        self.0.insert(what, secret.to_owned());
    }

    /// A private key: of PKCS 8's form of one for P-256 the 32 bytes that are secret. What is before them all such keys
    /// have, and what follows is the public half.
    fn key(&mut self, what: &'static str, pem: &str) {
        let lines = pem.lines().filter(|line| !line.starts_with("-----"));
        let bare: String = lines.collect();
        assert_eq!(bare.len(), 184, "no key for P-256");
        self.0.insert(what, bare[48..90].to_owned());
    }

    /// Which of them a text has a part of.
    fn within(&self, text: &[u8]) -> Vec<&'static str> {
        let text = String::from_utf8_lossy(text);
        // A key stands there in lines, or in one with the ends of lines written out.
        let text = text.replace(['\n', '\r'], "").replace("\\n", "");
        let is_there = |secret: &String| {
            let parts = secret.as_bytes().windows(PART).step_by(PART / 2);
            let mut parts = parts.map(|part| std::str::from_utf8(part).unwrap());
            parts.any(|part| text.contains(part))
        };
        let found = self.0.iter().filter(|(_, secret)| is_there(secret));
        found.map(|(what, _)| *what).collect()
    }

    #[track_caller]
    fn none_in(&self, place: &str, text: &[u8]) {
        let found = self.within(text);
        assert!(found.is_empty(), "{place} shows {found:?}");
    }
}

/// Everything that a process says goes into a file.
fn logged(mut command: Command, log: &Path) -> Process {
    let file = File::create(log).unwrap();
    command.env("RUST_LOG", "trace").stdin(Stdio::null());
    command.stdout(file.try_clone().unwrap()).stderr(file);
    Process(command.spawn().unwrap())
}

/// The command line, beside the daemon.
fn accelnet(place: &Place, token: Option<&str>, line: &[&str]) -> (bool, Vec<u8>) {
    let program = Path::new(env!("CARGO_BIN_EXE_accelnetd")).with_file_name("accelnet");
    let mut command = Command::new(program);
    command.env_clear().env("RUST_LOG", "trace").args(line);
    match token {
        Some(token) => {
            let url = format!("https://{}", place.address);
            command
                .env("ACCELNET_TOKEN", token)
                .env("ACCELNET_SERVER", url);
            command.env("ACCELNET_CA", place.state.with_file_name("ca.pem"));
        }
        None => {
            command.env("ACCELNET_SOCKET", &place.socket);
        }
    }
    let output = command.output().expect("accelnet, built beside accelnetd");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), said)
}

fn join(place: &Place, directory: &Path, token: &str) -> (bool, Vec<u8>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelnetd"));
    command
        .env("RUST_LOG", "trace")
        .args(["join", "--name", "node1", "--state-dir"]);
    command
        .arg(directory)
        .arg(format!("https://{}", place.address));
    let piped = command
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = piped.stderr(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(token.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.success(),
        [output.stdout, output.stderr].concat(),
    )
}

/// Each file below a directory, with the rights that others have to it or to a directory above it.
fn files(directory: &Path, closed: bool, all: &mut Vec<(PathBuf, bool)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        let closed = closed || about.permissions().mode() & 0o077 == 0;
        if about.is_dir() {
            files(&path, closed, all);
        } else if about.is_file() {
            all.push((path, closed));
        }
    }
}

struct Cluster {
    directory: tempfile::TempDir,
    place: Place,
    founded: Founded,
    secrets: Secrets,
}

impl Cluster {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kept = format!(
            "sqlite:{}",
            directory.path().join("server/a.sqlite").display()
        );
        let place = Place::new(directory.path(), "server", &kept);
        fs::create_dir(&place.state).unwrap();
        fs::set_permissions(&place.state, fs::Permissions::from_mode(0o700)).unwrap();
        let founded = found(&place).await;
        let mut secrets = Secrets::default();
        secrets.token("the first token", &founded.token);
        Self {
            directory,
            place,
            founded,
            secrets,
        }
    }

    fn server(&self) -> (Process, PathBuf) {
        let log = self.directory.path().join("server.log");
        let Place {
            address, socket, ..
        } = &self.place;
        let mut command = self.place.accelnetd("server");
        command
            .args(["--listen", address])
            .arg("--socket")
            .arg(socket);
        (logged(command, &log), log)
    }

    fn backup(&self) -> Vec<u8> {
        let (done, copy) = accelnet(&self.place, None, &["admin", "backup", "-"]);
        assert!(done, "{}", String::from_utf8_lossy(&copy));
        copy
    }
}

fn item(backup: &[u8], key: &str) -> Value {
    let lines = backup.split(|byte| *byte == b'\n');
    let mut items = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let item = items.find(|item| item["key"] == key);
    item.unwrap_or_else(|| panic!("no {key} in the backup"))["value"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_said_or_shown_or_lies_open() {
    let mut cluster = Cluster::new().await;
    let (server, server_log) = cluster.server();
    until("it decides", async || {
        cluster.place.decides().await.then_some(())
    })
    .await;
    let place = &cluster.place;
    let ca = item(&cluster.backup(), "authority");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    fs::write(
        place.state.with_file_name("ca.pem"),
        text(&ca["certificate_pem"]),
    )
    .unwrap();
    let mut secrets = std::mem::take(&mut cluster.secrets);
    secrets.key("the authority's key", &text(&ca["key_pem"]));
    let admin = cluster.founded.token.clone();

    // Made, used and revoked; each is told once, by the command that makes it.
    let made = |name: &str, role: &str| {
        let line = ["token", "create", name, "--role", role, "-o", "json"];
        let (done, said) = accelnet(place, Some(&admin), &line);
        assert!(done, "{}", String::from_utf8_lossy(&said));
        // What is logged beside it is on other lines.
        let said = String::from_utf8(said).unwrap();
        let begin = said.find("accelnet-1.").unwrap();
        let rest = &said[begin..];
        rest[..rest.find('"').unwrap()].to_owned()
    };
    let (viewer, revoked) = (made("viewer", "viewer"), made("gone", "admin"));
    secrets.token("a viewer's token", &viewer);
    secrets.token("a revoked token", &revoked);
    assert!(accelnet(place, None, &["token", "revoke", "gone"]).0);
    let unknown = AccessToken::generate("nobody".parse().unwrap()).unwrap();
    secrets.token("a token that nobody made", &unknown.reveal());
    let (used, unused) = (place.join_token().await, place.join_token().await);
    secrets.token("a node's token", &used);
    secrets.token("a token that no node has used", &unused);

    // A node.
    let node = cluster.directory.path().join("agent");
    let (joined, said) = join(place, &node, &used);
    assert!(joined, "{}", String::from_utf8_lossy(&said));
    secrets.none_in("a node that joins", &said);
    let identity = fs::read(node.join("node/node.json")).unwrap();
    let identity: Value = serde_json::from_slice(&identity).unwrap();
    secrets.key("the node's key", &text(&identity["key_pem"]));
    let (joined, said) = join(place, &cluster.directory.path().join("again"), &used);
    assert!(!joined);
    secrets.none_in("a node that is refused", &said);

    // What is said to those who ask, rightly or not.
    for (token, line) in [
        (None, &["status", "-o", "json"][..]),
        (None, &["token", "list", "-o", "json"]),
        (None, &["audit", "-o", "json"]),
        (None, &["node", "list", "-o", "json"]),
        (None, &["node", "show", "node1"]),
        (None, &["server", "list", "-o", "json"]),
        (None, &["whoami"]),
        (Some(viewer.as_str()), &["status"]),
        (Some(&viewer), &["token", "list"]),
        (Some(&revoked), &["status"]),
        (Some(&unknown.reveal()), &["status", "-o", "json"]),
        (Some(&unused), &["status"]),
    ] {
        let (_, said) = accelnet(place, token, line);
        secrets.none_in(&format!("{line:?}"), &said);
    }
    wrong_requests(&cluster, &admin, &unused, &secrets).await;

    // What runs, and what lies there.
    let arguments = fs::read(format!("/proc/{}/cmdline", server.0.id())).unwrap();
    secrets.none_in("the server's command line", &arguments);
    let backup = cluster.backup();
    assert_eq!(secrets.within(&backup), ["the authority's key"]);
    drop(server);
    let said = fs::read(&server_log).unwrap();
    let words = String::from_utf8_lossy(&said);
    for told in ["token create", "without a good token", "TRACE"] {
        assert!(words.contains(told), "the log does not speak of it: {told}");
    }
    secrets.none_in("the server's log", &said);
    fs::remove_file(server_log).unwrap();
    let mut all = Vec::new();
    files(cluster.directory.path(), false, &mut all);
    for (file, closed) in all {
        let found = secrets.within(&fs::read(&file).unwrap());
        let shown = file.display();
        let allowed: &[&str] = match file.file_name().unwrap().to_str().unwrap() {
            "node.json" => &["the node's key"],
            name if name.starts_with("a.sqlite") => &["the authority's key"],
            _ => &[],
        };
        assert!(
            found.iter().all(|one| allowed.contains(one)),
            "{shown}: {found:?}"
        );
        assert!(found.is_empty() || closed, "{shown} is open to others");
    }
}

/// Requests that put a secret where none belongs: what is answered, and what is told to the log, does not repeat it.
async fn wrong_requests(cluster: &Cluster, admin: &str, join: &str, secrets: &Secrets) {
    let http = accelnet_api::client::http_on(&cluster.place.socket, crate::rig::LIMIT).unwrap();
    for (path, body) in [
        (
            "/node/v1/join",
            json!({"token": [join], "name": "n", "request_pem": ""}),
        ),
        (
            "/node/v1/join",
            json!({"token": join, "name": 7, "request_pem": ""}),
        ),
        (
            "/node/v1/join",
            json!({"token": join, "name": "n", "request_pem": join}),
        ),
        (
            "/api/v1/tokens",
            json!({"name": "a", "role": "viewer", "token": admin}),
        ),
    ] {
        let sent = http.post(format!("http://localhost{path}")).json(&body);
        let answer = sent.bearer_auth(admin).send().await.unwrap();
        assert!(!answer.status().is_success(), "{path}: {body}");
        let said = answer.bytes().await.unwrap();
        secrets.none_in(path, &said);
    }
}

/// Nothing older is spoken, whatever is offered.
#[tokio::test(flavor = "multi_thread")]
async fn only_tls_1_3_is_spoken() {
    let cluster = Cluster::new().await;
    let _server = cluster.server();
    until("it decides", async || {
        cluster.place.decides().await.then_some(())
    })
    .await;
    let speaks = |version: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", version, "-connect", &cluster.place.address]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.contains("BEGIN CERTIFICATE")
    };
    assert!(speaks("-tls1_3"));
    assert!(!speaks("-tls1_2"));
}
