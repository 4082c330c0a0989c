//! The real hypervisor: libvirt by its official bindings.
//!
//! *Connection.* One, opened when first needed, opened anew after libvirtd restarts. Keepalive
//! messages make a call to a daemon that hangs fail instead of waiting for ever.
//!
//! *Events* (`events`) come on one owned thread that runs libvirt's event loop; they are hints.
//!
//! *Looking* (`look`, `looks`). A VM's state is asked first, which libvirt answers at once; of one
//! that comes in nothing else is asked. A VM about which libvirt does not answer costs only itself.
//!
//! *Locks.* None is held across a call to libvirt: each call may block, for up to half a minute where
//! another job has the VM, and holds up no other.
//!
//! *Attaching.* A VF is plugged as a plain `<hostdev>` with `<teaming>` (libvirt 7.1), not as
//! `<interface type='hostdev'>`: for the latter libvirt sets the VF's address and VLAN itself and
//! restores what it found before, at moments that the switch-over cannot choose. With a plain hostdev
//! VF attributes are ours alone. `managed='no'`: we bind vfio-pci ourselves, beforehand.

mod attach;
mod calls;
mod capabilities;
mod connection;
mod definition;
mod events;
#[cfg(feature = "fuzz")]
pub mod fuzzed;
pub mod incoming;
mod job;
mod look;
mod looks;
mod migrate;
mod monitor;
mod nic;
mod numa;
mod policy;
mod prepare;
mod process;
mod refusal;
mod root_port;
mod state;
mod taps;
mod waiters;
mod xml;

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use accelnet_model::{DomainCapabilities, MacAddr, Name, PciAddress, Staging, VmState};
use connection::Connection;
pub use migrate::{PeerUri, Peers};
use refusal::{refused, refused_by};
use uuid::Uuid;
use virt::domain::Domain;

use crate::{
    Hypervisor, HypervisorError, HypervisorEvent, NewNic, Result, Staged, Version, Versions,
    VfAttachment, VmSeen,
};

/// The system's QEMU driver.
pub const DEFAULT_URI: &str = "qemu:///system";

/// libvirt on this machine.
#[derive(Debug)]
pub struct Libvirt {
    uri: String,
    peers: Peers,
    connection: Connection,
    sink: Arc<events::Sink>,
    stuck: looks::Stuck,
    /// Domain capabilities of these versions: a long document that changes with them only.
    capabilities: Mutex<Option<(Versions, DomainCapabilities)>>,
}

impl Libvirt {
    /// libvirt behind this URI ([`DEFAULT_URI`]). Nothing is connected yet.
    pub fn new(uri: &str) -> Self {
        let sink = Arc::new(events::Sink::default());
        Self {
            uri: uri.to_owned(),
            peers: Peers::default(),
            connection: Connection::new(uri, Arc::clone(&sink)),
            sink,
            stuck: looks::Stuck::default(),
            capabilities: Mutex::default(),
        }
    }

    /// The same, with another way to other nodes' libvirt.
    #[must_use]
    pub fn with_peers(self, peers: Peers) -> Self {
        Self { peers, ..self }
    }

    fn domain(&self, vm: Uuid) -> Result<Domain> {
        let connection = self.connection.get()?;
        connection
            .lookup_domain_by_uuid(vm)
            .map_err(refused_by(vm, "look for the VM"))
    }

    fn capabilities_of(&self, versions: Versions) -> Option<DomainCapabilities> {
        let known = self
            .capabilities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (_, capabilities) = known.as_ref().filter(|(of, _)| *of == versions)?;
        Some(capabilities.clone())
    }
}

fn version(number: u32) -> Version {
    // major·1,000,000 + minor·1,000 + release (virGetVersion).
    (number / 1_000_000, number / 1_000 % 1_000, number % 1_000)
}

/// A VM whose state could not be read.
fn unseen(domain: &Domain, error: &HypervisorError) -> Result<VmSeen> {
    let vm = look::named(domain)?;
    Ok(VmSeen {
        uuid: vm.uuid,
        name: vm.name,
        // The list itself says which ones run.
        state: domain.id().map_or(VmState::Off, |_| VmState::Running),
        job: None,
        facts: Err(error.to_string()),
    })
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
        if let Some(capabilities) = self.capabilities_of(versions) {
            return Ok(capabilities);
        }
        let connection = self.connection.get()?;
        let capabilities = capabilities::observe(&connection)?;
        *self
            .capabilities
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((versions, capabilities.clone()));
        Ok(capabilities)
    }

    fn observe_vms(&self) -> Result<Vec<VmSeen>> {
        let connection = self.connection.get()?;
        let domains = connection
            .list_all_domains(0)
            .map_err(refused("list VMs"))?;
        let (mut vms, mut tasks) = (Vec::new(), Vec::new());
        for domain in domains {
            match look::glance(&domain, &self.sink.here) {
                Ok(Some(glance)) => tasks.push((domain, glance)),
                Ok(None) => tracing::debug!("a VM went away"),
                Err(gone @ HypervisorError::Unavailable(_)) => return Err(gone),
                Err(error) => vms.push(unseen(&domain, &error)?),
            }
        }
        vms.extend(looks::all(tasks, &self.stuck)?);
        vms.sort_by_key(|vm| vm.uuid);
        self.sink
            .here
            .keep(|vm| vms.binary_search_by_key(&vm, |seen| seen.uuid).is_ok());
        Ok(vms)
    }

    fn watch(&self, events: mpsc::Sender<HypervisorEvent>) -> Result<()> {
        self.sink.subscribe(events);
        // A daemon that is not there yet is reported by the next call; events begin when it is.
        if let Err(error) = self.connection.get() {
            tracing::warn!(%error, "libvirt cannot be watched yet");
        }
        Ok(())
    }

    fn attach_vf(&self, vm: Uuid, vf: &VfAttachment) -> Result<()> {
        attach::attach(&self.domain(vm)?, vf, &self.sink.waiters)
    }

    fn detach_vf(&self, vm: Uuid, pci: PciAddress, deadline: Duration) -> Result<bool> {
        attach::detach(&self.domain(vm)?, pci, deadline, &self.sink.waiters)
    }

    fn ensure_released(&self, vm: Uuid, mac: MacAddr, deadline: Duration) -> Result<bool> {
        attach::ensure_released(&self.domain(vm)?, mac, deadline, &self.sink.waiters)
    }

    fn end_job(&self, vm: Uuid) -> Result<()> {
        job::end(&self.domain(vm)?, &self.sink.here, &self.sink.waiters)
    }

    fn migrate(&self, vm: Uuid, to: &Name) -> Result<()> {
        migrate::migrate(&self.uri, vm, to, &self.peers)
    }

    fn end_migration(&self, vm: Uuid) -> Result<()> {
        migrate::end(&self.domain(vm)?)
    }

    fn prepare(&self, vm: Uuid, staging: &Staging) -> Result<Staged> {
        let domain = self.domain(vm)?;
        job::refuse_while_busy(&domain)?;
        prepare::prepare(&domain, staging)
    }

    fn ensure_nic(&self, vm: Uuid, nic: &NewNic, live: bool) -> Result<Staged> {
        let domain = self.domain(vm)?;
        job::refuse_while_busy(&domain)?;
        prepare::ensure_nic(&domain, nic, live)
    }
}

#[cfg(test)]
mod tests;
