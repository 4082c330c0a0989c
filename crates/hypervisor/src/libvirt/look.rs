//! Looking at one VM: its state first, which is answered at once; then, if it may be asked, all else.

use accelnet_model::{VmFacts, VmJob};
use virt::{domain::Domain, error::Error, sys};

use super::{
    calls,
    definition::{self, Named},
    process,
    refusal::refused_on,
    state::{Here, RawState},
};
use crate::{HypervisorError, Result, VmSeen};

/// Why nothing more is asked about a VM.
const COMES_IN: &str = "it comes in (start, restore or migration) and has not run here yet";

/// What is seen at first.
#[derive(Debug)]
pub struct Glance {
    /// The VM.
    pub vm: Named,
    /// Its state.
    pub raw: RawState,
    /// The job that stopped it.
    pub job: Option<VmJob>,
}

/// Name and state; `None` if the VM went away since it was listed. Asks nothing of QEMU.
pub fn glance(domain: &Domain, here: &Here) -> Result<Option<Glance>> {
    let vm = named(domain)?;
    let raw = match calls::state(domain) {
        Ok(raw) => raw,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(refused_on(domain, "read a VM's state")(error)),
    };
    let job = raw.job(is_here(&vm, domain, raw, here));
    Ok(Some(Glance { vm, raw, job }))
}

/// True if the VM has run here in this start. One that is paused for a migration, and that nobody saw
/// running (the agent has just started), may tell by its process.
pub fn is_here(vm: &Named, domain: &Domain, raw: RawState, here: &Here) -> bool {
    let start = domain.id();
    if here.note(vm.uuid, start, raw) {
        return true;
    }
    let Some(start) = start.filter(|_| raw.is_migrating() && process::was_started_here(&vm.name))
    else {
        return false;
    };
    here.runs(vm.uuid, start);
    true
}

/// The VM with all about it, or why that cannot be known; `None` if it went away meanwhile. Fails only
/// if libvirt itself has gone.
pub fn look(domain: &Domain, glance: Glance) -> Result<Option<VmSeen>> {
    let state = glance.raw.run_state();
    let facts = if glance.job == Some(VmJob::Incoming) {
        Err(COMES_IN.to_owned())
    } else {
        match facts(domain, &glance) {
            Ok(Some(facts)) => Ok(facts),
            Ok(None) => return Ok(None),
            Err(gone @ HypervisorError::Unavailable(_)) => return Err(gone),
            Err(error) => Err(error.to_string()),
        }
    };
    Ok(Some(VmSeen {
        uuid: glance.vm.uuid,
        name: glance.vm.name,
        state,
        job: glance.job,
        facts,
    }))
}

/// Who it is: known from the list, without asking anybody.
pub fn named(domain: &Domain) -> Result<Named> {
    let asked = "read a VM's name";
    Ok(Named {
        uuid: domain.uuid().map_err(refused_on(domain, asked))?,
        name: domain.name().map_err(refused_on(domain, asked))?,
    })
}

fn facts(domain: &Domain, glance: &Glance) -> Result<Option<VmFacts>> {
    let Some(live) = definition_of(domain, 0)? else {
        return Ok(None);
    };
    let persistent = match domain.is_persistent() {
        Ok(persistent) => persistent,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(refused_on(domain, "look at a VM")(error)),
    };
    let config = if persistent {
        let Some(config) = definition_of(domain, sys::VIR_DOMAIN_XML_INACTIVE)? else {
            return Ok(None);
        };
        Some(config)
    } else {
        None
    };
    let state = glance.raw.run_state();
    let mut facts = definition::facts(&glance.vm, &live, config.as_deref(), state)?;
    facts.job = glance.job;
    Ok(Some(facts))
}

fn definition_of(domain: &Domain, flags: u32) -> Result<Option<String>> {
    match domain.xml_desc(flags) {
        Ok(xml) => Ok(Some(xml)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(refused_on(domain, "read a VM's definition")(error)),
    }
}

/// Only this says that a VM is not there; every other error says that it is not known.
fn is_gone(error: &Error) -> bool {
    error.code().to_raw() == sys::VIR_ERR_NO_DOMAIN
}
