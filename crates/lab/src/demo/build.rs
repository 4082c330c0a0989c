//! The product is built while its node boots: the node has it when it is there.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A build that goes on; it ends with whoever waits for it.
pub struct Build {
    command: String,
    child: Child,
}

impl Build {
    /// Starts it, after the node and its guests: they have one core, and deadlines.
    pub fn start(command: &str) -> Result<Self> {
        let child = Command::new("nice")
            .args(["-n", "10", "sh", "-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("'{command}' does not start"))?;
        Ok(Self {
            command: command.to_owned(),
            child,
        })
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Result<()> {
        let ended = self.child.wait()?;
        ensure!(
            ended.success(),
            "'{}' failed ({ended}): it says why above",
            self.command
        );
        Ok(())
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It ended by itself a moment ago, if this fails.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_fails_says_which() {
        Build::start("true").unwrap().wait().unwrap();
        let error = Build::start("false").unwrap().wait().unwrap_err();
        assert!(error.to_string().contains("'false' failed"), "{error}");
    }
}
