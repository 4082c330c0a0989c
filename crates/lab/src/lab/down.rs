//! Taking a lab down, whatever state it is in.

use std::{fs, io::ErrorKind};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

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

/// Takes the lab down and ends this process when it is interrupted (Ctrl-C) or asked to end.
pub fn on_interrupt(name: &str) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let name = name.to_owned();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            eprintln!("interrupted; taking the lab down");
            let ended = match Lab::down(&name) {
                // As a shell reports a process that was interrupted.
                Ok(()) => 130,
                Err(error) => {
                    eprintln!("error: {error:#}");
                    1
                }
            };
            std::process::exit(ended);
        }
    });
    Ok(())
}
