//! The real hypervisor: libvirt by its official bindings.
//!
//! *Connection.* One, opened when first needed, opened anew after libvirtd restarts. Keepalive
//! messages make a call to a daemon that hangs fail instead of waiting for ever.
//!
//! *Events* ([`events`]) come on one owned thread that runs libvirt's event loop; they are hints.
//!
//! *Attaching.* A VF is plugged as a plain `<hostdev>` with `<teaming>` (libvirt 7.1), not as
//! `<interface type='hostdev'>`: for the latter libvirt sets the VF's address and VLAN itself and
//! restores what it found before, at moments that the switch-over cannot choose. With a plain hostdev
//! VF attributes are ours alone. `managed='no'`: we bind vfio-pci ourselves, beforehand.

mod attach;
mod capabilities;
mod connection;
mod definition;
mod events;
mod nic;
mod prepare;

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use accelnet_model::{DomainCapabilities, MacAddr, PciAddress, Staging, VmFacts, VmState};
use connection::Connection;
use uuid::Uuid;
use virt::{domain::Domain, sys};

use crate::{
    Hypervisor, HypervisorError, HypervisorEvent, NewNic, Result, Staged, Version, Versions,
    VfAttachment, VmSeen,
};

/// The system's QEMU driver.
pub const DEFAULT_URI: &str = "qemu:///system";

/// libvirt on this machine.
#[derive(Debug)]
pub struct Libvirt {
    connection: Connection,
    events: Arc<events::Hub>,
    /// Domain capabilities of these versions: a long document that changes with them only.
    capabilities: Mutex<Option<(Versions, DomainCapabilities)>>,
}

impl Libvirt {
    /// libvirt behind this URI ([`DEFAULT_URI`]). Nothing is connected yet.
    pub fn new(uri: &str) -> Self {
        let events = Arc::new(events::Hub::default());
        Self {
            connection: Connection::new(uri, Arc::clone(&events)),
            events,
            capabilities: Mutex::default(),
        }
    }

    fn domain(&self, vm: Uuid) -> Result<Domain> {
        let connection = self.connection.get()?;
        connection
            .lookup_domain_by_uuid(vm)
            .map_err(|_| HypervisorError::NoSuchVm(vm))
    }
}

fn refused(operation: &str) -> impl FnOnce(virt::error::Error) -> HypervisorError {
    let operation = operation.to_owned();
    move |error| HypervisorError::Refused {
        operation,
        message: error.message().to_owned(),
    }
}

fn version(number: u32) -> Version {
    // major·1,000,000 + minor·1,000 + release (virGetVersion).
    (number / 1_000_000, number / 1_000 % 1_000, number % 1_000)
}

fn observe(domain: &Domain) -> Result<VmFacts> {
    let asked = "read a VM's definition";
    let (state, _) = domain.state().map_err(refused(asked))?;
    let state = state.to_raw();
    let live = domain.xml_desc(0).map_err(refused(asked))?;
    let persistent = domain.is_persistent().map_err(refused(asked))?;
    let config = if persistent {
        Some(
            domain
                .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
                .map_err(refused(asked))?,
        )
    } else {
        None
    };
    let active = domain.is_active().map_err(refused(asked))?;
    let state = match (active, state) {
        (false, _) => VmState::Off,
        (true, sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED) => VmState::Paused,
        (true, _) => VmState::Running,
    };
    definition::facts(&live, config.as_deref(), state)
}

impl Hypervisor for Libvirt {
    fn observe_versions(&self) -> Result<Versions> {
        let connection = self.connection.get()?;
        let asked = "read versions";
        let libvirt = connection.lib_version().map_err(refused(asked))?;
        let qemu = connection.hyp_version().map_err(refused(asked))?;
        Ok(Versions {
            libvirt: version(libvirt),
            qemu: version(qemu),
        })
    }

    fn observe_capabilities(&self) -> Result<DomainCapabilities> {
        let versions = self.observe_versions()?;
        let connection = self.connection.get()?;
        let mut known = self
            .capabilities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, capabilities)) = known.as_ref().filter(|(of, _)| *of == versions) {
            return Ok(capabilities.clone());
        }
        let capabilities = capabilities::observe(&connection)?;
        *known = Some((versions, capabilities.clone()));
        Ok(capabilities)
    }

    fn observe_vms(&self) -> Result<Vec<VmSeen>> {
        let connection = self.connection.get()?;
        let domains = connection
            .list_all_domains(0)
            .map_err(refused("list VMs"))?;
        let mut vms = Vec::new();
        for domain in &domains {
            match observe(domain) {
                Ok(facts) => vms.push(VmSeen {
                    uuid: facts.uuid,
                    name: facts.name.clone(),
                    state: facts.state,
                    job: facts.job,
                    facts: Ok(facts),
                }),
                // A VM that went away between list and look is not there; the next look agrees.
                Err(error) if domain.is_active().is_err() => {
                    tracing::debug!(%error, "a VM went away");
                }
                Err(error) => return Err(error),
            }
        }
        vms.sort_by_key(|vm| vm.uuid);
        Ok(vms)
    }

    fn watch(&self, events: mpsc::Sender<HypervisorEvent>) -> Result<()> {
        self.events.subscribe(events);
        // A daemon that is not there yet is reported by the next call; events begin when it is.
        if let Err(error) = self.connection.get() {
            tracing::warn!(%error, "libvirt cannot be watched yet");
        }
        Ok(())
    }

    fn attach_vf(&self, vm: Uuid, vf: &VfAttachment) -> Result<()> {
        attach::attach(&self.domain(vm)?, vf)
    }

    fn detach_vf(&self, vm: Uuid, pci: PciAddress, deadline: Duration) -> Result<()> {
        attach::detach(&self.domain(vm)?, pci, deadline, &self.events)
    }

    fn ensure_released(&self, _vm: Uuid, _mac: MacAddr, _deadline: Duration) -> Result<()> {
        Ok(())
    }

    fn end_job(&self, _vm: Uuid) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, vm: Uuid, staging: &Staging) -> Result<Staged> {
        prepare::prepare(&self.domain(vm)?, staging)
    }

    fn ensure_nic(&self, vm: Uuid, nic: &NewNic, live: bool) -> Result<Staged> {
        prepare::ensure_nic(&self.domain(vm)?, nic, live)
    }
}
