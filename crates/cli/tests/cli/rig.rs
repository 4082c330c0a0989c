//! A server of fake nodes on a socket, and the program called against it.

use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use accelnet_rules::{Observed, fixture};
use accelnet_server::fake::{FakeNodes, Running};
use accelnet_store::MemoryStore;
use serde_json::Value;

/// The line that adds the intent of most tests.
pub const ADD_INTENT: [&str; 7] = [
    "intent",
    "add",
    "compute",
    "--bridge",
    "br0",
    "--adapter",
    "pf0",
];

pub struct Rig {
    pub nodes: Arc<FakeNodes>,
    pub directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
}

/// What a call came to.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Asserts the exit code.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// What a call that was done printed.
    #[track_caller]
    pub fn done(self) -> String {
        let ended = self.with(0);
        assert_eq!(ended.err, "");
        ended.out
    }

    /// The document of a call that was done.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// Codes of the document of problems on standard error, each with its cure.
    #[track_caller]
    pub fn problem_codes(&self) -> Vec<String> {
        let document: Value = serde_json::from_str(&self.err).unwrap();
        codes(&document["problems"])
    }

    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        let all = format!("{}{}", self.out, self.err);
        for word in words {
            assert!(all.contains(word), "'{word}' is not in:\n{all}");
        }
    }
}

/// Codes of problems that are complete.
#[track_caller]
pub fn codes(problems: &Value) -> Vec<String> {
    let problems = problems.as_array().unwrap().iter();
    let code = |problem: &Value| {
        for part in ["title", "detail", "cure"] {
            assert!(
                problem[part].as_str().is_some_and(|text| !text.is_empty()),
                "{problem}"
            );
        }
        problem["code"].as_str().unwrap().to_owned()
    };
    problems.map(code).collect()
}

impl Rig {
    /// A server of these nodes.
    pub fn of(nodes: Arc<FakeNodes>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("accelnet.sock");
        let start = Running::start(MemoryStore::new(), &nodes, &socket);
        let running = Some(runtime.block_on(start));
        Self {
            nodes,
            directory,
            runtime,
            running,
        }
    }

    /// The fixture's node, with nothing set up.
    pub fn bare() -> Self {
        Self::of(FakeNodes::one())
    }

    /// The fixture's node, changed, with acceleration enabled.
    pub fn enabled(change: impl FnOnce(&mut Observed)) -> Self {
        let mut seen = fixture::observed();
        change(&mut seen);
        let rig = Self::of(FakeNodes::new([("node1", seen)]));
        rig.add_intent();
        rig.call(&["enable"]).with(0);
        rig
    }

    pub fn add_intent(&self) {
        self.call(&ADD_INTENT).done();
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("accelnet.sock")
    }

    /// A port, without TLS, at which the server takes requests as from the network.
    pub fn in_the_network(&self) -> SocketAddr {
        let running = self.running.as_ref().unwrap();
        self.runtime.block_on(running.in_the_network(None))
    }

    pub fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// Calls the program.
    pub fn call(&self, line: &[&str]) -> Ended {
        self.call_with(line, b"")
    }

    /// Calls the program with this on its standard input.
    pub fn call_with(&self, line: &[&str], input: &[u8]) -> Ended {
        run(self.command(line), input)
    }

    pub fn command(&self, line: &[&str]) -> Command {
        let mut command = program();
        command.env("ACCELNET_SOCKET", self.socket()).args(line);
        command
    }

    /// Stops the server.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The program, told nothing by the environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelnet"));
    command.env_clear();
    command
}

pub fn run(mut command: Command, input: &[u8]) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may end without having read it.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Asserts that a terminal would show all of it.
#[track_caller]
pub fn assert_printable(text: &str) {
    let odd = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
    assert!(!text.contains(odd), "{text:?}");
}
