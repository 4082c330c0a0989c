//! The lab's own program on a node or in a guest, at the end of an ssh connection.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use super::Lab;
use crate::shell;

/// One that says "ready", works until its input ends, and then prints what it has to say, as one line.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it on a node, and waits until it is ready.
    pub fn start(lab: &Lab, node: &str, words: &[String]) -> Result<Self> {
        let mut child = lab
            .ssh(lab.node(node)?)
            .command(false)
            .arg(shell::join(words))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("ssh cannot be run")?;
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().context("no output")?);
        let mut program = Self {
            child,
            stdin,
            lines,
        };
        let line = program.line()?;
        ensure!(line.trim() == "ready", "it is not ready: {line}");
        Ok(program)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line)
    }

    /// Ends it; what it says.
    pub fn finish<T: DeserializeOwned>(mut self) -> Result<T> {
        drop(self.stdin.take());
        let said = serde_json::from_str(&self.line()?);
        said.context("it ended without its log")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
