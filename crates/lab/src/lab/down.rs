//! Taking a lab down, whatever state it is in.

use std::fs;

use anyhow::{Context, Result};

use super::{Lab, node::kill_machine};
use crate::ssh::Ssh;

impl Lab {
    /// Ends everything that the lab with this name started, and removes its files. Nothing to do is
    /// no error.
    pub fn down(name: &str) -> Result<()> {
        let directory = Self::directory_of(name)?;
        if !directory.exists() {
            return Ok(());
        }
        if let Ok(lab) = Self::open(name) {
            for node in &lab.nodes {
                Ssh::new(&directory.join("share/keys"), node.ssh_port).close();
            }
        }
        // Every directory below with a pid file is a process of this lab (the nodes', the wire's).
        for entry in fs::read_dir(&directory)?.flatten() {
            if entry.path().join("pid").exists() {
                kill_machine(&entry.path())?;
            }
        }
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))
    }
}
