//! Taking a lab down, whatever state it is in.

use std::{fs, io::ErrorKind};

use anyhow::{Context, Result};

use super::{Lab, process};

impl Lab {
    /// Ends everything that the lab with this name started, and removes its files. Nothing to do is
    /// no error.
    pub fn down(name: &str) -> Result<()> {
        let directory = Self::directory_of(name)?;
        if !directory.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&directory)?.flatten() {
            process::kill_one(&directory, &entry.path())?;
        }
        process::kill_all(&directory)?;
        if let Ok(storage) = fs::read_link(directory.join("disks")) {
            match fs::remove_dir_all(&storage) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {}", storage.display()));
                }
                _ => {}
            }
        }
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))
    }
}
