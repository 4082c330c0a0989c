//! What was observed of virtual machines.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ids::{IfName, MacAddr, PciAddress},
    numa::Bound,
    policy::PolicyFinding,
};

/// Run state of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// Its processors run.
    Running,
    /// Suspended in memory.
    Paused,
    /// Not running.
    Off,
}

/// What stops a VM's processors for a while, or has not let them begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmJob {
    /// It comes in (start, restore or migration) and has not run here yet. libvirt answers nothing
    /// about such a VM but its state.
    Incoming,
    /// It is saved to a file (`save`, `managedsave`).
    Saving,
    /// Its memory is dumped.
    Dumping,
    /// It migrates to another node.
    Outgoing,
}

/// One NIC of a VM that is on the software path (virtio or another model; never a hostdev).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NicFacts {
    /// Its address, which is the vNIC's identity within the VM.
    pub mac: MacAddr,
    /// libvirt's alias in the live definition (`net0`, `ua-…`).
    pub alias: Option<String>,
    /// Device model (`virtio`, `e1000e`, …).
    pub model: String,
    /// The MTU that the NIC offers its guest (`<mtu size=…/>`, VIRTIO_NET_F_MTU), if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Bridge that it is on, if it is on one.
    pub bridge: Option<IfName>,
    /// The host's interface that it is a macvtap of (a NIC of type `direct`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<IfName>,
    /// Its tap on the host while the VM runs.
    pub tap: Option<IfName>,
    /// The running NIC offers `VIRTIO_NET_F_STANDBY` (`<teaming type='persistent'/>`, live).
    pub standby_live: bool,
    /// The persistent definition offers it, so it will be there after the next cold start.
    pub standby_config: bool,
    /// Queues of the running NIC (`<driver queues='N'/>`); 1 if nothing is said.
    #[serde(default = "one_queue")]
    pub queues_live: u32,
    /// Queues in the persistent definition.
    #[serde(default = "one_queue")]
    pub queues_config: u32,
    /// The number of queues in the persistent definition can be raised: the NIC is virtio, served by
    /// the host's kernel.
    #[serde(default)]
    pub queues_can_be_raised: bool,
    /// Link state set in the definition (`<link state='down'/>` makes it false).
    pub link_up: bool,
    /// Policy named in the VM's definition (`<bandwidth>`, `<filterref>`, `<vlan>`, isolation).
    pub policy: Vec<PolicyFinding>,
}

impl NicFacts {
    /// True if it is a virtio NIC, whichever way its PCI device presents itself
    /// (<https://libvirt.org/formatdomain.html#virtio-transitional-devices>).
    pub fn is_virtio(&self) -> bool {
        is_virtio(&self.model)
    }
}

/// The same of a model's name.
pub fn is_virtio(model: &str) -> bool {
    matches!(
        model,
        "virtio" | "virtio-transitional" | "virtio-non-transitional"
    )
}

/// What libvirt gives a NIC that says nothing of queues.
fn one_queue() -> u32 {
    1
}

/// A VF in a VM's live definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostdevFacts {
    /// The host's PCI function.
    pub pci: PciAddress,
    /// Its address, if it is an `<interface type='hostdev'>`.
    pub mac: Option<MacAddr>,
    /// libvirt's alias.
    pub alias: Option<String>,
    /// Alias of the NIC that it is the fast half of (`<teaming type='transient'>`).
    pub teaming_with: Option<String>,
}

impl HostdevFacts {
    /// The alias of what we give a NIC. It is that of the NIC, whichever VF it is: QEMU remembers the name of a
    /// standby's primary as long as it runs, and refuses one with another name (hw/net/virtio-net.c,
    /// `failover_hide_primary_device`). A user's alias (`ua-`) is kept by libvirt as it is.
    pub fn alias_for(mac: MacAddr) -> String {
        let digits: String = mac.0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{OUR_ALIAS}{digits}")
    }

    /// The NIC whose alias that is, if it is one of ours.
    pub fn nic_of_alias(alias: &str) -> Option<MacAddr> {
        let digits = alias.strip_prefix(OUR_ALIAS)?;
        let pairs: Vec<&str> = (0..digits.len())
            .step_by(2)
            .map(|at| digits.get(at..at + 2))
            .collect::<Option<_>>()?;
        pairs.join(":").parse().ok()
    }

    /// True if accelnet gave it to the VM, on this node or before it came here.
    pub fn is_ours(&self) -> bool {
        let alias = self.alias.as_deref();
        alias.is_some_and(|alias| alias.starts_with(OUR_ALIAS))
    }
}

const OUR_ALIAS: &str = "ua-accelnet-";

/// One virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmFacts {
    /// Identity.
    pub uuid: Uuid,
    /// Name on this node.
    pub name: String,
    /// Run state.
    pub state: VmState,
    /// The job that a paused VM waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<VmJob>,
    /// Process id of its QEMU while it runs.
    pub pid: Option<u32>,
    /// It has a definition that survives its stop.
    pub persistent: bool,
    /// Name of a manager that regenerates the definition (from its metadata), if any is known.
    pub managed_by: Option<String>,
    /// Machine type (`pc-q35-10.0`, `pc-i440fx-10.0`, …).
    pub machine: String,
    /// vCPUs in use now (or at the next start, if it is off).
    pub vcpus: u32,
    /// Memory in MiB that the guest has, without what of virtio-mem is not plugged.
    pub memory_mib: u64,
    /// What of it is the VM's already, in MiB: resident in its process, to an eighth of the whole, or all of it
    /// in huge pages, which are reserved before a VM starts.
    #[serde(default)]
    pub memory_held_mib: u64,
    /// Memory that cannot be pinned, and why (confidential guest, expected ballooning …).
    pub memory_unpinnable: Option<String>,
    /// The NUMA nodes that its memory is bound to (`<numatune>`).
    #[serde(default, skip_serializing_if = "Bound::is_unknown")]
    pub memory_on: Bound,
    /// The host's CPUs that all its vCPUs are bound to (`<vcpu cpuset=…>`, `<cputune>`).
    #[serde(default, skip_serializing_if = "Bound::is_unknown")]
    pub cpus_on: Bound,
    /// Free hot-pluggable PCIe root ports of the running VM.
    pub free_root_ports_live: u32,
    /// Free ones in the persistent definition.
    pub free_root_ports_config: u32,
    /// NICs on the software path.
    pub nics: Vec<NicFacts>,
    /// NICs that only the persistent definition of the running VM has: they come with its next cold
    /// start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics_staged: Vec<NicFacts>,
    /// PCI devices of the host that the running VM has.
    pub hostdevs: Vec<HostdevFacts>,
    /// PCI devices of the host that its persistent definition names: it needs them at its next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostdevs_config: Vec<PciAddress>,
}

impl VmFacts {
    /// True if the machine type has PCI Express.
    pub fn has_pcie(&self) -> bool {
        self.machine.contains("q35") || self.machine.starts_with("virt")
    }
}
