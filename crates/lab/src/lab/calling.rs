//! Echo requests from anywhere in the lab to several addresses at once, so that what an event costs one of
//! them is compared with what it costs another in the same seconds.

use std::{
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{Lab, Pace, Pinging};
use crate::{
    probe::{Log, analysis::Echoes},
    shell,
};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// The host on the wire.
    Wire,
    /// A node's own kernel.
    Node(&'a str),
    /// A guest, which must stay where it is meanwhile.
    Guest(&'a str),
}

/// Requests that go on until they are told to stop.
#[derive(Debug)]
pub struct Calling(End);

#[derive(Debug)]
enum End {
    Wire(Vec<Pinging>),
    Program(Program),
}

/// The lab's own program on a node or in a guest. It ends when its input does.
#[derive(Debug)]
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Lab {
    /// Starts echo requests to each of these addresses, so many a second to each. Kernels answer them.
    pub fn start_calling(&self, from: Place<'_>, to: &[Ipv4Addr], pps: u32) -> Result<Calling> {
        let mut words = vec!["accelnet-lab-guest".to_owned(), "echo".into()];
        words.push(pps.to_string());
        words.extend(to.iter().map(ToString::to_string));
        let (node, words) = match from {
            Place::Wire => {
                let pinging = to
                    .iter()
                    .map(|address| self.ping_address(*address, Pace::Rate { pps }))
                    .collect::<Result<_>>()?;
                return Ok(Calling(End::Wire(pinging)));
            }
            Place::Node(node) => (node, words),
            Place::Guest(guest) => {
                let guest = self.guest(guest)?;
                (guest.node.as_str(), self.guest_command(guest, &words))
            }
        };
        let mut child = self
            .ssh(self.node(node)?)
            .command(false)
            .arg(shell::join(&words))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("ssh cannot be run")?;
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let program = Program {
            child,
            stdin,
            lines,
        };
        ensure!(line.trim() == "ready", "nobody asks at {from:?}: {line}");
        Ok(Calling(End::Program(program)))
    }
}

impl Calling {
    /// Asks no more, waits for late answers, and tells what came of it, in the order of the addresses.
    pub fn stop(self) -> Result<Vec<Echoes>> {
        match self.0 {
            End::Wire(pinging) => pinging.into_iter().map(Pinging::stop).collect(),
            End::Program(mut program) => {
                drop(program.stdin.take());
                let mut line = String::new();
                program.lines.read_line(&mut line)?;
                let logs: Vec<Log> =
                    serde_json::from_str(&line).context("who asked ended without its log")?;
                Ok(logs.iter().map(Echoes::of).collect())
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
