//! Virtual machines: list, watch, attach, detach, prepare.
//!
//! [`Hypervisor`] is the port through which the agent sees and changes VMs. [`libvirt`] is the real
//! one, by libvirt's official bindings; [`twin`] is a simulated one for tests.
//!
//! All calls are synchronous and bounded. libvirt stays the owner of VMs: a user's XML is read,
//! never written back whole; changes go through the device-level calls.

pub mod error;
pub mod libvirt;
pub mod twin;

use std::{sync::mpsc, time::Duration};

use accelnet_model::{DomainCapabilities, IfName, MacAddr, PciAddress, Staging, VmFacts};
pub use error::HypervisorError;
use uuid::Uuid;

/// Result of a hypervisor operation.
pub type Result<T> = std::result::Result<T, HypervisorError>;

/// Something changed; a hint to look again, never the truth itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HypervisorEvent {
    /// A VM was defined, started, stopped, migrated, suspended …
    Vm(Uuid),
    /// A device was added to or removed from a running VM.
    Device(Uuid),
    /// The connection was lost; the next call connects again.
    Disconnected,
    /// The connection is (again) there: look at everything.
    Connected,
}

/// A VF to plug into a running VM as the fast half of one of its NICs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VfAttachment {
    /// The host's PCI function, bound to vfio-pci.
    pub pci: PciAddress,
    /// The NIC's address; the guest pairs by it.
    pub mac: MacAddr,
    /// Alias of the NIC in the live definition.
    pub persistent_alias: String,
}

/// A NIC that a VM shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNic {
    /// Its address; a VM that has a NIC with this address has this NIC.
    pub mac: MacAddr,
    /// The bridge that it is on.
    pub bridge: IfName,
}

/// A version: major, minor, release.
pub type Version = (u32, u32, u32);

/// Versions of the hypervisor's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// libvirt.
    pub libvirt: Version,
    /// QEMU.
    pub qemu: Version,
}

/// What `prepare` found or staged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Staged {
    /// Changes made to the persistent definition now, in words; empty if nothing was missing.
    pub changes: Vec<String>,
}

/// The hypervisor of one node.
pub trait Hypervisor: Send + Sync + 'static {
    /// Versions of libvirt and QEMU.
    fn observe_versions(&self) -> Result<Versions>;

    /// What VMs can have.
    fn observe_capabilities(&self) -> Result<DomainCapabilities>;

    /// All VMs, running or not, with NICs, host devices and free root ports, from live and
    /// persistent definitions.
    fn observe_vms(&self) -> Result<Vec<VmFacts>>;

    /// Sends events from now on, until the receiver is dropped.
    fn watch(&self, events: mpsc::Sender<HypervisorEvent>) -> Result<()>;

    /// Plugs the VF into the running VM (live only) as
    /// `<interface type='hostdev'>` with `<teaming type='transient' persistent=…/>`. Nothing is
    /// done if the VM has it already.
    fn attach_vf(&self, vm: Uuid, vf: &VfAttachment) -> Result<()>;

    /// Unplugs the VF and waits until the guest has released it (DEVICE_DELETED; libvirt's
    /// device-removed event) or the deadline passes ([`HypervisorError::GuestRefused`]). Nothing is
    /// done if the VM does not have it.
    fn detach_vf(&self, vm: Uuid, pci: PciAddress, deadline: Duration) -> Result<()>;

    /// Stages on the persistent definition what acceleration needs and it lacks, for the next cold
    /// start: `<teaming type='persistent'/>` on the virtio NICs that shall stand by, a free PCIe root
    /// port for each, and queues; a number of queues is only raised. Uses device-level updates (`update-device`/`attach-device` with
    /// `--config`) only.
    fn prepare(&self, vm: Uuid, staging: &Staging) -> Result<Staged>;

    /// The VM's persistent definition has the virtio NIC, which stands by for a VF, and a free PCIe
    /// root port for that; so has the running VM if `live`, as far as the NIC goes (it must have a
    /// free root port then). What is there already is not added again.
    fn ensure_nic(&self, vm: Uuid, nic: &NewNic, live: bool) -> Result<Staged>;
}
