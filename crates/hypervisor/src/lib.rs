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

use accelnet_model::{
    DomainCapabilities, IfName, MacAddr, Name, PciAddress, Staging, VmFacts, VmJob, VmState,
};
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
    /// Its guest restarted from inside: drivers let go of all devices, and take them anew.
    Rebooted(Uuid),
    /// QEMU asks the guest to give up the VF by itself, for a migration or a save (its monitor event
    /// UNPLUG_PRIMARY); libvirt tells nothing of it.
    UnplugPrimary(Uuid),
    /// QEMU's migration code (also that of saves) changed its state (its monitor event MIGRATION).
    Migration(Uuid, MigrationPhase),
    /// The connection was lost; the next call connects again.
    Disconnected,
    /// The connection is (again) there: look at everything.
    Connected,
}

/// States of QEMU's migration that matter here (qapi/migration.json, `MigrationStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationPhase {
    /// `wait-unplug`: nothing goes on until the guest has given up the VF.
    WaitsForUnplug,
    /// `failed` or `cancelled`: QEMU plugs the VF back by itself.
    Failed,
    /// Any other.
    Other,
}

/// What libvirt says of a VM at once, whatever else goes on with it, and what could be seen of it.
#[derive(Debug, Clone, PartialEq)]
pub struct VmSeen {
    /// The VM.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: VmState,
    /// The job that a paused VM waits for.
    pub job: Option<VmJob>,
    /// All about it, or why it could not be seen.
    pub facts: std::result::Result<VmFacts, String>,
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

    /// All VMs, running or not, with NICs, host devices and free root ports, from live and persistent
    /// definitions. State first: one that comes in and has not run here is asked for nothing else, since
    /// libvirt answers no other question about it for up to half a minute. One that cannot be read costs
    /// only itself; an error means that it is not known which VMs there are.
    fn observe_vms(&self) -> Result<Vec<VmSeen>>;

    /// Sends events from now on, until the receiver is dropped.
    fn watch(&self, events: mpsc::Sender<HypervisorEvent>) -> Result<()>;

    /// Plugs the VF into the running VM (live only) as
    /// `<interface type='hostdev'>` with `<teaming type='transient' persistent=…/>`. Nothing is
    /// done if the VM has it already. [`HypervisorError::Busy`] while a job is under way; if it fails
    /// nothing is left, but for [`HypervisorError::DeviceLeft`].
    fn attach_vf(&self, vm: Uuid, vf: &VfAttachment) -> Result<()>;

    /// Unplugs the VF and waits until the guest has released it (DEVICE_DELETED; libvirt's
    /// device-removed event) or the deadline passes ([`HypervisorError::GuestRefused`]). False, and nothing
    /// is done, if the VM does not have it as far as libvirt knows: QEMU may ([`Self::ensure_released`]). A guest that is busy is asked again within the deadline;
    /// [`HypervisorError::Busy`] at once while a job is under way, which libvirt would wait for.
    fn detach_vf(&self, vm: Uuid, pci: PciAddress, deadline: Duration) -> Result<bool>;

    /// What QEMU still has of a NIC's VF although libvirt's definition has no such device any more is
    /// unplugged, and waited for until the deadline ([`HypervisorError::GuestRefused`]). False if there is
    /// nothing of it.
    fn ensure_released(&self, vm: Uuid, mac: MacAddr, deadline: Duration) -> Result<bool>;

    /// Ends a job (save, dump, migration) that stopped the VM's processors and waits for its guest to give
    /// up the VF, and lets the VM run on at once: the guest must run for that. Nothing is done if there is
    /// no such job, or if it does not wait any more (then it would do harm to end it).
    fn end_job(&self, vm: Uuid) -> Result<()>;

    /// Migrates the running VM to another node, live, and waits for its end: it runs there then, is defined
    /// there if it was here, and is no more here. If it fails the VM runs on here, unharmed. It goes on if
    /// the caller's process ends.
    fn migrate(&self, vm: Uuid, to: &Name) -> Result<()>;

    /// Ends a migration of the VM to another node, which runs on here then. Nothing is done if there is none.
    fn end_migration(&self, vm: Uuid) -> Result<()>;

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
