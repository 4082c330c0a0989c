//! The node's start: VFs are made again from the ledger alone, before networks and guests.

use std::path::Path;

use accelnet_host::Host;
use accelnet_model::{AdapterFacts, VfAttributes, VfUser};

use crate::ledger::{AdapterEntry, Ledger};

/// What was done, in words, and what went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Done.
    pub done: Vec<String>,
    /// Not done, and why; the rest was done all the same.
    pub failed: Vec<String>,
}

/// Makes the VFs that the ledger tells of, binds them to vfio-pci and brings them to the baseline.
/// Needs neither server nor libvirt; VFs in use are not touched.
pub fn boot(host: &dyn Host, state_dir: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let ledger = match Ledger::load(state_dir) {
        Ok(ledger) => ledger,
        Err(error) => {
            outcome.failed.push(error.to_string());
            return outcome;
        }
    };
    if ledger.desired.enabled.is_none() {
        return outcome;
    }
    for entry in &ledger.adapters {
        if let Err(text) = adapter(host, entry, &mut outcome) {
            outcome.failed.push(text);
        }
    }
    outcome
}

fn find(host: &dyn Host, entry: &AdapterEntry) -> Result<AdapterFacts, String> {
    let adapters = host.observe_adapters().map_err(|error| error.to_string())?;
    let found = adapters.into_iter().find(|adapter| adapter.id == entry.id);
    found.ok_or_else(|| {
        let id = &entry.id;
        format!(
            "there is no adapter {} with address {} any more",
            id.pci_path, id.permanent_mac
        )
    })
}

fn adapter(host: &dyn Host, entry: &AdapterEntry, outcome: &mut Outcome) -> Result<(), String> {
    let before = find(host, entry)?;
    let name = &before.ifname;
    if before.vfs.len() as u32 != entry.vfs {
        host.ensure_vf_count(before.pci, entry.vfs)
            .map_err(|error| format!("{name}: {error}"))?;
        outcome.done.push(format!("{name}: {} VFs made", entry.vfs));
    }
    for vf in find(host, entry)?
        .vfs
        .iter()
        .filter(|vf| vf.user == VfUser::Nobody)
    {
        let clean = || {
            host.ensure_vf_vfio(vf.pci)?;
            host.ensure_vf_attributes(before.pci, vf.index, &VfAttributes::baseline())
                .map(drop)
        };
        if let Err(error) = clean() {
            outcome
                .failed
                .push(format!("{name}: VF {}: {error}", vf.pci));
        }
    }
    Ok(())
}
