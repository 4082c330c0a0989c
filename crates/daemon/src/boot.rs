//! `accelnetd boot`: VFs as the ledger tells, without server and libvirt.

use std::path::Path;

use accelnet_host::linux::Linux;
use anyhow::{Result, ensure};

/// Makes the VFs again. What cannot be done is told; the rest is done all the same.
pub fn run(state_dir: &Path) -> Result<()> {
    let outcome = accelnet_agent::boot(&Linux::new(), state_dir);
    for text in &outcome.done {
        tracing::info!("{text}");
    }
    ensure!(outcome.failed.is_empty(), "{}", outcome.failed.join("; "));
    Ok(())
}
