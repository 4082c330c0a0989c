//! The node's start: VFs, and bridges of ours, are made again from the ledger alone, before networks
//! and guests.

use std::{collections::BTreeSet, path::Path, time::Duration};

use accelnet_host::Host;
use accelnet_model::{AdapterFacts, AdapterId, VfAttributes, VfUser};
use accelnet_rules::{action::Action, foreign};

use crate::ledger::{AdapterEntry, BridgeEntry, Ledger};

/// At a machine's start drivers are still loaded and interfaces named: what cannot be done is tried again for so long. A
/// card that was taken out holds the start up as long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What was done, in words, and what went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Done.
    pub done: Vec<String>,
    /// Not done, and why; the rest was done all the same.
    pub failed: Vec<String>,
}

/// Makes the VFs and bridges that the ledger tells of, binds VFs to a driver that hands them to VMs, and brings
/// them to the baseline. VFs of others are left alone.
/// Needs neither server nor libvirt; VFs in use are not touched.
pub fn boot(host: &dyn Host, state_dir: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let mut ledger = match Ledger::load(state_dir) {
        Ok(ledger) => ledger,
        Err(error) => {
            outcome.failed.push(error.to_string());
            return outcome;
        }
    };
    if ledger.desired.enabled.is_some() {
        adapters(host, state_dir, &mut ledger, &mut outcome);
    }
    // After the VFs: making those bounces the link.
    for entry in &ledger.bridges {
        if let Err(text) = bridge(host, entry, &mut outcome.done) {
            outcome.failed.push(format!("{}: {text}", entry.bridge));
        }
    }
    outcome
}

/// Does it, again if it fails, until it is done or there has been time enough.
fn patiently<T>(host: &dyn Host, mut work: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let end = host.now() + PATIENCE;
    loop {
        match work() {
            Err(text) if host.now() < end => {
                tracing::debug!(text, "tried again");
                host.pause(PAUSE);
            }
            ended => return ended,
        }
    }
}

/// Makes a bridge of ours again, before guests look for it. An adapter that somebody uses by now is left
/// to him.
fn bridge(host: &dyn Host, entry: &BridgeEntry, done: &mut Vec<String>) -> Result<(), String> {
    let adapter = patiently(host, || find(host, &entry.adapter))?;
    let (bridge, name) = (&entry.bridge, &adapter.ifname);
    let ours = adapter.master.as_ref() == Some(bridge);
    if let Some(master) = adapter.master.as_ref().filter(|_| !ours) {
        return Err(format!("{name} is a port of {master} now"));
    }
    if !adapter.claims.is_empty() {
        return Err(format!("{name} is used: {}", adapter.claims.join("; ")));
    }
    let seen = host.observe_bridges(&BTreeSet::from([bridge.clone()]));
    let seen = seen.map_err(|error| error.to_string())?;
    let there = seen.iter().find(|found| found.ifname == *bridge);
    host.ensure_bridge(bridge, &entry.mark)
        .and_then(|()| host.ensure_bridge_port(bridge, name))
        .map_err(|error| error.to_string())?;
    if there.is_none() || !ours {
        done.push(format!("{bridge}: made, with {name}"));
    }
    Ok(())
}

fn find(host: &dyn Host, id: &AdapterId) -> Result<AdapterFacts, String> {
    let seen = host.observe_adapters(&BTreeSet::new());
    let seen = seen.map_err(|error| error.to_string())?;
    let found = seen.adapters.into_iter().find(|adapter| adapter.id == *id);
    found.ok_or_else(|| {
        let which = format!("adapter {} with address {}", id.pci_path, id.permanent_mac);
        let unseen = seen.unseen.iter();
        let unseen: Vec<_> = unseen
            .map(|(name, error)| format!("{name}: {error}"))
            .collect();
        match unseen.is_empty() {
            true => format!("there is no {which} any more"),
            false => format!(
                "{which} is not seen; it may be one of {}",
                unseen.join("; ")
            ),
        }
    })
}

fn adapters(host: &dyn Host, state_dir: &Path, ledger: &mut Ledger, outcome: &mut Outcome) {
    match patiently(host, || {
        host.observe_node().map_err(|error| error.to_string())
    }) {
        Ok(node) => ledger.ours.since(&node.boot_id),
        Err(text) => return outcome.failed.push(text),
    }
    for entry in ledger.adapters.clone() {
        let done = &mut outcome.done;
        if let Err(text) = patiently(host, || adapter(host, state_dir, ledger, &entry, done)) {
            outcome.failed.push(text);
        }
    }
}

fn adapter(
    host: &dyn Host,
    state_dir: &Path,
    ledger: &mut Ledger,
    entry: &AdapterEntry,
    done: &mut Vec<String>,
) -> Result<(), String> {
    let mut failed = Vec::new();
    let before = find(host, &entry.id)?;
    let name = &before.ifname;
    if before.vfs.len() as u32 != entry.vfs {
        // The agent has to know whose they are, also if this ends in the middle.
        ledger.ours.note(&Action::CreateVfs {
            pf: before.pci,
            count: entry.vfs,
        });
        if let Err(error) = ledger.save(state_dir) {
            failed.push(error.to_string());
        }
        host.ensure_vf_count(before.pci, entry.vfs)
            .map_err(|error| format!("{name}: {error}"))?;
        done.push(format!("{name}: {} VFs made", entry.vfs));
    }
    let (intents, ours) = (&ledger.desired.intents, &ledger.ours);
    let intent = ledger.desired.enabled_intent();
    let driver = intent.and_then(|intent| intent.vf_driver.named());
    let found = find(host, &entry.id)?;
    let idle = found.vfs.iter().filter(|vf| {
        let why = || foreign::why(intents, ours, before.pci, vf.pci, &vf.attributes);
        vf.user == VfUser::Nobody && why().is_none()
    });
    for vf in idle {
        let clean = || {
            host.ensure_vf_vfio(vf.pci, driver)?;
            host.ensure_vf_attributes(before.pci, vf.index, &VfAttributes::baseline())
                .map(drop)
        };
        if let Err(error) = clean() {
            failed.push(format!("{name}: VF {}: {error}", vf.pci));
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("; ")),
    }
}
