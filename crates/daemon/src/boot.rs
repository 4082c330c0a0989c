//! `accelnetd boot`: VFs as the ledger tells, without server and libvirt.

use std::path::Path;

use accelnet_host::linux::Linux;
use anyhow::{Result, ensure};

use crate::own_agent;

/// Makes the VFs again. What cannot be done is told; the rest is done all the same. Where an agent runs there is nothing
/// left to do: it does all that, too.
pub fn run(state_dir: &Path) -> Result<()> {
    let _only = match own_agent::lock_or_who()? {
        Ok(only) => only,
        Err(who) => {
            tracing::info!("left to this machine's agent: {who}");
            return Ok(());
        }
    };
    let outcome = accelnet_agent::boot(&Linux::new(), state_dir);
    for text in &outcome.done {
        tracing::info!("{text}");
    }
    ensure!(outcome.failed.is_empty(), "{}", outcome.failed.join("; "));
    Ok(())
}
