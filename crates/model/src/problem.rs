//! The problem catalogue: everything that can go wrong and be shown to a user.
//!
//! Each [`Code`] is one entry with its title, general cure and exit code; API, command line and
//! documentation all read this table, so that a problem has the same words everywhere. A
//! [`Problem`] adds what was found this time and which objects it is about.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Exit codes of the command line; documented in `docs/reference/exit-codes.md`.
pub mod exit {
    /// All done.
    pub const OK: u8 = 0;
    /// An error in accelnet or on a machine.
    pub const FAILED: u8 = 1;
    /// The command line cannot be understood (clap's own code too).
    pub const USAGE: u8 = 2;
    /// Refused by a rule; nothing was changed.
    pub const REFUSED: u8 = 3;
    /// Something named does not exist, or names more than one thing.
    pub const NOT_FOUND: u8 = 4;
    /// No permission.
    pub const PERMISSION: u8 = 5;
    /// The server or an agent cannot be reached.
    pub const UNREACHABLE: u8 = 6;
    /// Done for some and not for others.
    pub const PARTIAL: u8 = 7;
    /// A deadline passed before the wanted state was reached; work goes on.
    pub const TIMEOUT: u8 = 8;
}

macro_rules! catalogue {
    ($($variant:ident $code:literal $exit:ident $title:literal $cure:literal)+) => {
        /// What kind of problem it is. In JSON and on the command line it is written in snake case.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        pub enum Code {
            $(#[doc = $title] #[serde(rename = $code)] $variant,)+
        }

        impl Code {
            /// Every entry of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The entry's key, in snake case.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// One sentence that says what is wrong.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What generally helps.
            pub fn cure(self) -> &'static str {
                match self { $(Self::$variant => $cure,)+ }
            }

            /// Exit code of a command that ends with this problem.
            pub fn exit_code(self) -> u8 {
                match self { $(Self::$variant => exit::$exit,)+ }
            }
        }
    };
}

catalogue! {
    AccelNetNotSupported "accel_net_not_supported" REFUSED
        "The node lacks something that accelerated networking needs."
        "Install or upgrade what is named, then run 'accelnet prereq' again."
    HyperthreadingCheckFailed "hyperthreading_check_failed" REFUSED
        "SMT (hyperthreading) is on on some nodes and off on others."
        "Make it the same on all nodes, in the firmware or with the kernel argument 'nosmt'."
    IntentNotFound "intent_not_found" NOT_FOUND
        "There is no intent with this name."
        "List the intents with 'accelnet intent list', or add one with 'accelnet intent add'."
    IntentExists "intent_exists" REFUSED
        "An intent with this name exists already and is different."
        "Choose another name, or remove the existing intent first."
    IntentTypeCheckFailed "intent_type_check_failed" REFUSED
        "The intent is not a compute intent."
        "Use an intent of type compute; accelerated networking is for the traffic of VMs."
    IntentInUse "intent_in_use" REFUSED
        "Accelerated networking is enabled on this intent."
        "Run 'accelnet disable' first."
    IntentInvalid "intent_invalid" REFUSED
        "The intent cannot be as given."
        "Correct what is named."
    BridgeNotFound "bridge_not_found" REFUSED
        "The intent's bridge does not exist on the node, or is no Linux bridge."
        "Create the bridge with your network manager, or name the right one in the intent."
    BridgeNotSupported "bridge_not_supported" REFUSED
        "The intent's switch is of a kind that cannot be accelerated."
        "Use a Linux bridge with exactly one uplink."
    AdapterNotFound "adapter_not_found" NOT_FOUND
        "There is no such adapter."
        "List the adapters with 'accelnet adapter list'."
    AdapterNotUplink "adapter_not_uplink" REFUSED
        "The adapter is not a port of the intent's bridge."
        "Make the adapter a port of the bridge, or name the adapter that is."
    AdapterInTwoIntents "adapter_in_two_intents" REFUSED
        "An adapter can belong to one intent only."
        "Remove it from the other intent first."
    AdapterLinkDown "adapter_link_down" REFUSED
        "The adapter has no link."
        "Bring the interface up, and check cable and switch port."
    SriovSupportUnknown "sriov_support_unknown" REFUSED
        "The adapter does not advertise SR-IOV."
        "Use a card with SR-IOV, and turn SR-IOV on in the firmware setup of machine and card."
    SriovSupportMissingAcs "sriov_support_missing_acs" REFUSED
        "The PCIe path to the adapter lacks Access Control Services, so its VFs are not isolated from each other."
        "Put the card in another slot (one below a root port with ACS), or ask the vendor for a firmware with ACS."
    SriovSupportMissingPfDriver "sriov_support_missing_pf_driver" REFUSED
        "The adapter's driver is not bound or cannot create VFs."
        "Install or update the driver, and bind it."
    SriovSupportNoBusResources "sriov_support_no_bus_resources" REFUSED
        "There are not enough PCIe bus numbers for the VFs."
        "Change the PCIe settings in the firmware setup (SR-IOV, ARI, bus allocation), boot with 'pci=realloc,assign-busses', or use another slot."
    SriovSupportNoIommu "sriov_support_no_iommu" REFUSED
        "The IOMMU is off or missing."
        "Turn on VT-d or AMD-Vi in the firmware setup, and boot with 'intel_iommu=on iommu=pt' (Intel) or 'iommu=pt' (AMD)."
    SriovSupportNoVfBarSpace "sriov_support_no_vf_bar_space" REFUSED
        "There is not enough memory address space for the VFs."
        "Turn on 'Above 4G decoding' in the firmware setup, or boot with 'pci=realloc'."
    SriovSupportNoOsc "sriov_support_no_osc" REFUSED
        "The firmware did not hand control of PCI Express to the system (_OSC)."
        "Update the firmware, or boot with 'pcie_ports=native' if the vendor agrees."
    SpoofCheckUnsupported "spoof_check_unsupported" REFUSED
        "The adapter cannot keep a VF from sending with another address than its own."
        "Use an adapter whose driver offers a spoof check (ip link set PF vf N spoofchk on), or update the driver."
    AdaptersDiffer "adapters_differ" REFUSED
        "The intent's adapters are not alike on all nodes."
        "Give all nodes the same model, driver and firmware; while an update is rolled out this is to be expected."
    InterruptRemappingOff "interrupt_remapping_off" REFUSED
        "Interrupt remapping is off, so assigned devices could forge interrupts."
        "Turn on x2APIC and interrupt remapping in the firmware setup; do not allow unsafe interrupts."
    VfNotIsolated "vf_not_isolated" REFUSED
        "The VF shares its IOMMU group with other devices."
        "Use a slot below a root port with ACS."
    VfCountNotPossible "vf_count_not_possible" REFUSED
        "The wanted number of VFs cannot be had."
        "Choose a number that the adapter offers, or free the VFs that are in use first."
    VfsWaiting "vfs_waiting" REFUSED
        "The VFs do not exist yet: creating them interrupts the adapter's link, which is in use."
        "Restart the node (they are created before guests start), stop the VMs on the bridge, or run 'accelnet enable … --when now' and accept the interruption."
    VfInUseByOthers "vf_in_use_by_others" REFUSED
        "The VF is used by something that accelnet does not manage."
        "Stop what uses it; until then accelnet leaves it alone."
    VfQuarantined "vf_quarantined" REFUSED
        "A VF did not come back to its safe state and is not given out."
        "Look at the kernel log of the node; unbinding and binding the adapter's driver, or a restart of the node, usually cleans it."
    NoFreeVf "no_free_vf" REFUSED
        "All VFs of the intent's adapters on the node are taken."
        "Disable acceleration of a VM that needs it less, or give the intent more VFs."
    CannotProvisionPerformance "cannot_provision_performance" REFUSED
        "No adapter of the intent can give this level."
        "Choose a lower level, or use adapters whose VFs have more queue pairs."
    ClusterNotEnoughResources "cluster_not_enough_resources" REFUSED
        "With the reserve held back there is no room for this VM."
        "Lower the reserve or the level, add VFs or nodes, or disable acceleration of another VM."
    AccelNetNotEnabled "accel_net_not_enabled" REFUSED
        "Accelerated networking is not enabled."
        "Run 'accelnet enable --intent NAME' first."
    AccelNetEnabledElsewhere "accel_net_enabled_elsewhere" REFUSED
        "Accelerated networking is enabled on another intent."
        "Run 'accelnet disable' first."
    EnableAccelNetFailed "enable_accel_net_failed" FAILED
        "Enabling accelerated networking did not succeed."
        "Follow the cause that is named."
    ReserveOutOfRange "reserve_out_of_range" REFUSED
        "The node reserve must be a whole percentage from 0 to 99."
        "Give a whole number from 0 to 99; 50 is the default."
    NodeNotFound "node_not_found" NOT_FOUND
        "There is no node with this name."
        "See the nodes with 'accelnet status'."
    VmNotFound "vm_not_found" NOT_FOUND
        "There is no VM with this name or UUID."
        "List the VMs with 'accelnet vm list'."
    VmAmbiguous "vm_ambiguous" NOT_FOUND
        "More than one VM has this name."
        "Name the VM by its UUID."
    VmNotRunning "vm_not_running" REFUSED
        "The VM is not running."
        "Start the VM; a VF can be given to a running VM only."
    VmNotAccelerated "vm_not_accelerated" REFUSED
        "The VM is not in the state that the command is for."
        "Use 'accelnet vm enable' for a VM that is not accelerated, 'accelnet vm set' for one that is."
    GetNetworkAdapterFailed "get_network_adapter_failed" REFUSED
        "The VM has no network adapter."
        "Give the VM a virtio NIC on the intent's bridge."
    VmNoNicOnIntent "vm_no_nic_on_intent" REFUSED
        "The VM has no NIC on the intent's bridge."
        "Connect one of the VM's NICs to the bridge."
    VmNicNotVirtio "vm_nic_not_virtio" REFUSED
        "The VM's NIC is not a virtio NIC."
        "Change the NIC's model to virtio; only virtio-net can stand by for a VF."
    VmMachineNotPcie "vm_machine_not_pcie" REFUSED
        "The VM's machine type has no PCI Express."
        "Define the VM with machine type q35."
    VmNoFreeRootPort "vm_no_free_root_port" REFUSED
        "The VM has no free PCIe root port to plug a VF into."
        "Run 'accelnet vm prepare VM', then shut the VM down and start it again."
    VmNeedsColdStart "vm_needs_cold_start" REFUSED
        "The running VM's NIC cannot stand by for a VF (no VIRTIO_NET_F_STANDBY)."
        "Run 'accelnet vm prepare VM', then shut the VM down and start it again; a reboot inside the guest is not enough."
    VmDefinitionNotOurs "vm_definition_not_ours" REFUSED
        "The VM's definition is transient or made anew by a manager, so nothing can be staged on it."
        "Make the change in the manager that owns the definition."
    VmNotEnoughVcpus "vm_not_enough_vcpus" REFUSED
        "The VM has fewer vCPUs than the level needs."
        "Give the VM more vCPUs, or choose a lower level."
    HtEnabledMinProcessorCounter "ht_enabled_min_processor_counter" REFUSED
        "With SMT on, the level needs more vCPUs than the VM has."
        "Give the VM more vCPUs, choose a lower level, or turn SMT off on all nodes."
    VmMemoryNotPinnable "vm_memory_not_pinnable" REFUSED
        "The VM's memory cannot be pinned, which a VF needs."
        "Free memory on the node, or remove what keeps the memory from being pinned."
    VfMtuTooSmall "vf_mtu_too_small" REFUSED
        "The adapter's MTU is smaller than the bridge's."
        "Give adapter and bridge the same MTU."
    PolicyNotOffloadable "policy_not_offloadable" REFUSED
        "A network policy on the VM's port would not hold on the VF."
        "Remove the policy from the port if it is not needed, or leave the VM on the software path."
    ReachabilityNotOffloadable "reachability_not_offloadable" REFUSED
        "What is behind the VM's port could not be reached over the VF."
        "Keep nested switches, VRRP and macvlan guests on the software path."
    GuestWithoutFailover "guest_without_failover" REFUSED
        "The guest does not use the VF: it lacks the failover or VF driver."
        "Load net_failover and the VF's driver in the guest (Linux 4.18 or newer), or leave the VM on the software path."
    VfAttachFailed "vf_attach_failed" FAILED
        "The VF could not be given to the VM; the VM stayed on the software path."
        "Follow the cause that is named; accelnet tries again by itself."
    VfDetachFailed "vf_detach_failed" FAILED
        "The guest did not release the VF; the VM stays on it."
        "Look at the guest (its kernel must take part in PCIe hot-unplug); accelnet tries again by itself."
    HypervisorUnavailable "hypervisor_unavailable" UNREACHABLE
        "libvirt does not answer on the node."
        "Start libvirtd (or virtqemud): 'systemctl start libvirtd'."
    HostOperationFailed "host_operation_failed" FAILED
        "The node's kernel refused an operation."
        "See the kernel's message; it is tried again by itself."
    RepairRepeated "repair_repeated" FAILED
        "Something else on the node keeps changing what accelnet owns."
        "Find what changes it (a network manager, a script, another SR-IOV tool), and let it leave alone what is named; accelnet goes on putting it right."
    RepairFailed "repair_failed" FAILED
        "What accelnet owns on the node could not be put right, in several tries."
        "Follow the cause that is named; accelnet tries again every few minutes."
    AgentUnreachable "agent_unreachable" UNREACHABLE
        "The node's agent does not answer."
        "Check 'systemctl status accelnetd' on the node."
    ServerNotRunning "server_not_running" UNREACHABLE
        "The accelnet server does not answer."
        "Start it with 'systemctl start accelnetd', or name its socket with --socket."
    PermissionDenied "permission_denied" PERMISSION
        "You have no permission for this."
        "Use root or a member of group 'accelnet'."
    InvalidArgument "invalid_argument" USAGE
        "A value cannot be understood."
        "Correct the value that is named."
    NotFound "not_found" NOT_FOUND
        "There is nothing at this address."
        "See /api/v1/openapi.json for what exists."
    Conflict "conflict" FAILED
        "Somebody else changed the same thing at the same time."
        "Look at the current state and try again."
    Timeout "timeout" TIMEOUT
        "The wanted state was not reached in time; the work goes on."
        "Follow it with 'accelnet status' and 'accelnet vm show VM'."
    StoreFailed "store_failed" FAILED
        "The server could not read or write its state."
        "Check disk space and permissions of the state directory that is named."
    Internal "internal" FAILED
        "accelnet met a situation that should not happen."
        "Please report it, with the log of accelnetd."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = crate::ids::InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| {
                crate::ids::InvalidValue::new(
                    "problem code",
                    text,
                    "see 'accelnet explain' for all codes",
                )
            })
    }
}

/// Something that a problem is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ObjectRef {
    /// `node`, `adapter`, `vf`, `vm`, `nic`, `intent`, `bridge`, `check`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// One problem as it happened: the catalogue's entry, what was found, and about what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Catalogue entry.
    pub code: Code,
    /// The entry's title.
    pub title: String,
    /// What was found this time, with names and numbers.
    pub detail: String,
    /// What to do.
    pub cure: String,
    /// Objects concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectRef>,
}

impl Problem {
    /// A problem with the catalogue's cure.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            title: code.title().to_owned(),
            detail: detail.into(),
            cure: code.cure().to_owned(),
            objects: Vec::new(),
        }
    }

    /// Adds an object that it is about.
    #[must_use]
    pub fn about(mut self, kind: &str, name: impl fmt::Display) -> Self {
        self.objects.push(ObjectRef {
            kind: kind.to_owned(),
            name: name.to_string(),
        });
        self
    }

    /// Replaces the general cure by one for this case.
    #[must_use]
    pub fn with_cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = cure.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.code, self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_complete_and_unique() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(
                code.title().ends_with('.') && code.cure().ends_with('.'),
                "{code}"
            );
            assert_eq!(code.as_str().parse::<Code>().unwrap(), *code);
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
