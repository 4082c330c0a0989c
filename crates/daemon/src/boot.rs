//! `accelnetd boot`: VFs as the ledger tells, without server and libvirt.

use std::path::Path;

use accelnet_host::linux::Linux;
use anyhow::{Result, ensure};

use crate::own_agent;

/// Makes the VFs again. What cannot be done is told; the rest is done all the same. Where an agent runs, it does all
/// that itself.
pub fn run(state_dir: &Path) -> Result<()> {
    let _only = own_agent::lock()?;
    let outcome = accelnet_agent::boot(&Linux::new(), state_dir);
    for text in &outcome.done {
        tracing::info!("{text}");
    }
    ensure!(outcome.failed.is_empty(), "{}", outcome.failed.join("; "));
    Ok(())
}
