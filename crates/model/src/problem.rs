//! The problem catalogue: everything that can go wrong and be shown to a user.
//!
//! Each [`Code`] is one entry with its title, explanation, general cure, exit code and HTTP status;
//! API, command line and documentation all read this table, so that a problem has the same words
//! everywhere. A [`Problem`] adds what was found this time and which objects it is about.

mod newer;

use std::fmt;

pub use newer::Newer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};

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
    /// A fault is open that is a warning, and none that is critical.
    pub const WARNING: u8 = 9;
    /// A critical fault is open.
    pub const CRITICAL: u8 = 10;
}

macro_rules! catalogue {
    ($($variant:ident $code:literal $exit:ident $title:literal $explanation:literal $cure:literal)+) => {
        /// What kind of problem it is. In JSON and on the command line it is written in snake case.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)+
            /// What a newer version tells. Its words come with it.
            Newer(Newer),
        }

        impl Code {
            /// Every entry of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The entry's key, in snake case.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ Self::Newer(code) => code.as_str() }
            }

            /// One sentence that says what is wrong.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ Self::Newer(_) => NEWER[0] }
            }

            /// Why it is a problem or how it comes about, with an example where that helps.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)+ Self::Newer(_) => NEWER[1] }
            }

            /// What generally helps.
            pub fn cure(self) -> &'static str {
                match self { $(Self::$variant => $cure,)+ Self::Newer(_) => NEWER[2] }
            }

            /// Exit code of a command that ends with this problem.
            pub fn exit_code(self) -> u8 {
                match self { $(Self::$variant => exit::$exit,)+ Self::Newer(_) => exit::FAILED }
            }
        }
    };
}

/// Title, explanation and cure of what this version does not know.
const NEWER: [&str; 3] = [
    "A problem that this version of accelnet does not know.",
    "Another part of the cluster is newer, and tells it; what it found is in its own words.",
    "Look it up with the newer version ('accelnet explain CODE'), or bring this one up to date.",
];

catalogue! {
    AccelNetNotSupported "accel_net_not_supported" REFUSED
        "The node lacks something that accelerated networking needs."
        "Needed are Linux 5.6, KVM, vfio-pci, libvirt 7.1 and QEMU 4.2 or newer; what was found says which of them is missing or too old."
        "Install or upgrade what is named, then run 'accelnet prereq' again."
    HyperthreadingCheckFailed "hyperthreading_check_failed" REFUSED
        "SMT (hyperthreading) is on on some nodes and off on others."
        "How many vCPUs a level needs depends on SMT; with both kinds of nodes a VM could be accelerated on one and not on another. The state is that of /sys/devices/system/cpu/smt."
        "Make it the same on all nodes, in the firmware or with the kernel argument 'nosmt'."
    IntentNotFound "intent_not_found" NOT_FOUND
        "There is no intent with this name."
        "An intent gives a name to adapters and their bridge. It must be added before anything can be enabled on it."
        "List the intents with 'accelnet intent list', or add one with 'accelnet intent add'."
    IntentExists "intent_exists" REFUSED
        "An intent with this name exists already and is different."
        "Adding the same intent again changes nothing and is no error; this one differs from the one that is there."
        "Choose another name, or remove the existing intent first."
    IntentTypeCheckFailed "intent_type_check_failed" REFUSED
        "The intent is not a compute intent."
        "An intent says what its adapters are for: compute, storage or management. VFs of storage and management adapters are not given to VMs."
        "Use an intent of type compute; accelerated networking is for the traffic of VMs."
    IntentInUse "intent_in_use" REFUSED
        "Accelerated networking is enabled on this intent."
        "Removing the intent, or what its VMs stand on, would take the bypass away from running VMs."
        "Run 'accelnet disable' first."
    IntentInvalid "intent_invalid" REFUSED
        "The intent cannot be as given."
        "Parts of the intent contradict each other, or one of them is not possible in any cluster."
        "Correct what is named."
    BridgeNotFound "bridge_not_found" REFUSED
        "The intent's bridge does not exist on the node, or is no Linux bridge."
        "The VMs' NICs and the adapter must meet on one bridge of the same name on every node. By default accelnet adopts a bridge and never makes one."
        "Create the bridge with your network manager, or name the right one in the intent."
    BridgeNotOurs "bridge_not_ours" REFUSED
        "A bridge of this name exists that accelnet did not make for the intent."
        "With --create accelnet makes the bridge and answers for it; it does not take over one that somebody else made and may change. A bridge that accelnet made has the alias 'accelnet:INTENT', which 'ip -d link show' tells."
        "Leave out --create to adopt the bridge as it is, or choose another name for the new one."
    AdapterManaged "adapter_managed" REFUSED
        "Somebody uses or manages the adapter, so no bridge is made on it."
        "A port of a bridge loses its addresses' connections, and a network manager that brings it up again would fight for it. Signs are: being a port of something, addresses, routes, interfaces on top of it, and NetworkManager, systemd-networkd or ifupdown speaking of it."
        "Choose an adapter that nobody uses, or free it: take it out of the network manager's configuration (NetworkManager: 'nmcli device set INTERFACE managed no'). Or let the manager make the bridge, and leave out --create."
    BridgeNotSupported "bridge_not_supported" REFUSED
        "The intent's switch is of a kind that cannot be accelerated."
        "A frame to a VM arrives by the adapter's own switch or by the bridge, never by both. That can be kept true with a Linux bridge and one uplink (an adapter, or an active-backup bond of adapters); not with Open vSwitch, macvtap, LACP bonds or two uplinks."
        "Use a Linux bridge with exactly one uplink."
    AdapterNotFound "adapter_not_found" NOT_FOUND
        "There is no such adapter."
        "Adapters are named by their interface, which can change when cards are added or firmware is updated. VFs and virtual interfaces are no adapters."
        "List the adapters with 'accelnet adapter list'."
    AdapterAmbiguous "adapter_ambiguous" NOT_FOUND
        "More than one node has an adapter of this name."
        "Names of interfaces are unique on a node only."
        "Say which with --node."
    AdapterNotUplink "adapter_not_uplink" REFUSED
        "The adapter is not a port of the intent's bridge."
        "A VF of an adapter that is not the bridge's uplink would bring the VM into another network than its NIC."
        "Make the adapter a port of the bridge, or name the adapter that is."
    AdapterInTwoIntents "adapter_in_two_intents" REFUSED
        "An adapter can belong to one intent only."
        "Two intents could want different things of the same VFs."
        "Remove it from the other intent first."
    AdapterLinkDown "adapter_link_down" REFUSED
        "The adapter has no link."
        "The interface is down, or the card sees no carrier. VFs of most cards have no link either then."
        "Bring the interface up, and check cable and switch port."
    SriovSupportUnknown "sriov_support_unknown" REFUSED
        "The adapter does not advertise SR-IOV."
        "The kernel offers no sriov_totalvfs for the card, or it is 0: the card has no SR-IOV, its firmware has it turned off, or the kernel does not use it. With many cards it is a setting of the card's own firmware. For example: 'mlxconfig -d 0000:5e:00.0 set SRIOV_EN=1 NUM_OF_VFS=16', then a cold start."
        "Use a card with SR-IOV, and turn SR-IOV on in the firmware setup of machine and card."
    SriovSupportMissingAcs "sriov_support_missing_acs" REFUSED
        "The PCIe path to the adapter lacks Access Control Services, so its VFs are not isolated from each other."
        "Without ACS a port can pass a VF's traffic straight to its neighbours, past the IOMMU. The kernel then puts them into one IOMMU group, which can be given out only as a whole. 'ls /sys/bus/pci/devices/0000:5e:00.0/iommu_group/devices' shows who shares it."
        "Put the card in another slot (one below a root port with ACS), or ask the vendor for a firmware with ACS."
    SriovSupportMissingPfDriver "sriov_support_missing_pf_driver" REFUSED
        "The adapter's driver is not bound or cannot create VFs."
        "VFs are made by the driver of the physical function. It is not bound (vfio-pci or none is in its place), or it refuses sriov_numvfs ('driver does not support SR-IOV configuration via sysfs' in the kernel's log)."
        "Install or update the driver, and bind it."
    SriovSupportNoBusResources "sriov_support_no_bus_resources" REFUSED
        "There are not enough PCIe bus numbers for the VFs."
        "Every VF needs a bus, device and function number. The firmware gave the bridge above the card too few bus numbers, or ARI is off, with which more VFs fit on one bus. 'lspci -vv' shows VF offset and stride of the card, and the last bus (subordinate) of the bridge."
        "Change the PCIe settings in the firmware setup (SR-IOV, ARI, bus allocation), boot with 'pci=realloc,assign-busses', or use another slot."
    SriovSupportNoIommu "sriov_support_no_iommu" REFUSED
        "The IOMMU is off or missing."
        "Without an IOMMU a guest's device could read and write all of the node's memory. There are no groups in /sys/kernel/iommu_groups."
        "Turn on VT-d or AMD-Vi in the firmware setup, and boot with 'intel_iommu=on iommu=pt' (Intel) or 'iommu=pt' (AMD)."
    SriovSupportNoVfBarSpace "sriov_support_no_vf_bar_space" REFUSED
        "There is not enough memory address space for the VFs."
        "All VFs together need a stretch of memory addresses below the bridge above the card, and the firmware left too little. The kernel's log says 'not enough MMIO resources for SR-IOV' when VFs are made."
        "Turn on 'Above 4G decoding' in the firmware setup, or boot with 'pci=realloc'."
    SriovSupportNoOsc "sriov_support_no_osc" REFUSED
        "The firmware did not hand control of PCI Express to the system (_OSC)."
        "The kernel asks the firmware (ACPI method _OSC) for control of PCI Express. If it is refused, extended configuration space may be out of reach, and SR-IOV with it. For example, in the kernel's log: '_OSC: platform retains control of PCIe features (AE_NOT_FOUND)'."
        "Update the firmware, or boot with 'pcie_ports=native' if the vendor agrees."
    SpoofCheckUnsupported "spoof_check_unsupported" REFUSED
        "The adapter cannot keep a VF from sending with another address than its own."
        "On the bridge a VM cannot take over another one's address unseen; on a VF only the card can see to that. Without it a guest could speak for others."
        "Use an adapter whose driver offers a spoof check (ip link set PF vf N spoofchk on), or update the driver."
    AdaptersDiffer "adapters_differ" REFUSED
        "The intent's adapters are not alike on all nodes."
        "A VM that moves to another node would find other queues, rates or faults there. An intent whose adapters differ in model, driver or speed is refused; versions that differ are a warning only, as they do while an update is rolled out."
        "Give all nodes the same model, driver and firmware."
    InterruptRemappingOff "interrupt_remapping_off" REFUSED
        "Interrupt remapping is off, so assigned devices could forge interrupts."
        "A device raises interrupts by writing to memory. Without remapping a guest could make its device raise any of the node's interrupts. The names of interrupt chips in /proc/interrupts begin with 'IR-' if it is on."
        "Turn on x2APIC and interrupt remapping in the firmware setup; do not allow unsafe interrupts."
    VfNotIsolated "vf_not_isolated" REFUSED
        "The VF shares its IOMMU group with other devices."
        "What shares an IOMMU group is not kept apart by the hardware, so a guest with the VF could reach it. Only a VF that is alone in its group is given out."
        "Use a slot below a root port with ACS."
    VfCountNotPossible "vf_count_not_possible" REFUSED
        "The wanted number of VFs cannot be had."
        "The card, its driver or its firmware set the largest number of VFs; and a number can be changed only while no VF is in use, since the kernel takes all VFs away in between."
        "Choose a number that the adapter offers, or free the VFs that are in use first."
    VfsWaiting "vfs_waiting" REFUSED
        "The VFs do not exist yet: creating them interrupts the adapter's link, which is in use."
        "Many drivers reset the adapter when VFs are made, which interrupts everything behind the bridge for seconds. accelnet does that by itself only while nobody would notice."
        "Restart the node (they are created before guests start), stop the VMs on the bridge, or run 'accelnet enable … --when now' and accept the interruption."
    VfInUseByOthers "vf_in_use_by_others" REFUSED
        "The VF is used by something that accelnet does not manage."
        "A process has the VF's vfio file open, a host driver is bound to it, or a VM has it that accelnet did not give it to."
        "Stop what uses it; until then accelnet leaves it alone."
    VfsManagedElsewhere "vfs_managed_elsewhere" REFUSED
        "Another program sets the number of the adapter's VFs, or their attributes."
        "NetworkManager sets the number that a profile's [sriov] names whenever the profile is activated, and takes it back when it is deactivated; systemd does so for SR-IOVVirtualFunctions= and [SR-IOV] in .link and .network files. VFs that change under VMs take them off the network until they are back on their taps."
        "Take the settings out of the file that was found, or set 'vfs' of the intent to 'keep' and the file's number to the one that is wanted."
    MigrationHookMissing "migration_hook_missing" REFUSED
        "libvirt does not ask accelnet before a VM comes to the node on its VF."
        "'accelnet vm move' takes a VM off its VF first. Any other tool does not, and libvirt's hook is where it can be noticed before: a free VF is kept and named, or the VM stays where it is, on its VF, and whoever migrates is told why. Without the hook such a migration is possible only where the VF of the same address is free, and the VM stands still for longer. libvirt looks for hooks at its daemon's start only."
        "On the node: 'accelnetd hook install', then restart libvirt's daemon ('systemctl restart libvirtd', or virtqemud); VMs go on meanwhile."
    EswitchNotSupported "eswitch_not_supported" REFUSED
        "The card's own switch is in a mode that accelnet does not use, or its mode could not be read."
        "In switchdev mode the host decides what VFs may send and reach, by an interface for each VF and rules for flows; without them a VF reaches nobody. accelnet works with the legacy mode, in which the card forwards by addresses and VLANs."
        "Without VFs in use: 'devlink dev eswitch set pci/ADDRESS mode legacy'. A mode that could not be read is asked for again at the next look."
    SwitchOverLoses "switch_over_loses" REFUSED
        "The adapter's driver makes switch-overs lose what comes from outside for a moment."
        "An address can be in the adapter's own filter or on a VF, and not in both at once. Frames for the VM go to its VF as soon as the VF has its address, and are lost until its guest uses it. What comes by the tap waits, as always."
        "Update the driver: ice of Linux 5.19 and later can have an address at both."
    VfQuarantined "vf_quarantined" REFUSED
        "A VF did not come back to its safe state and is not given out."
        "When a VF comes back it is reset, and its address, VLAN, rates, trust and spoof check are set back and read again. This one did not get there, and the next VM would inherit what is left."
        "Look at the kernel log of the node; unbinding and binding the adapter's driver, or a restart of the node, usually cleans it."
    NoFreeVf "no_free_vf" REFUSED
        "All VFs of the intent's adapters on the node are taken."
        "Every VF of the uplink carries a VM, is used by others or is in quarantine. 'accelnet adapter show' says which."
        "Disable acceleration of a VM that needs it less, or give the intent more VFs."
    CannotProvisionPerformance "cannot_provision_performance" REFUSED
        "No adapter of the intent can give this level."
        "A level stands for a number of queue pairs, and what a VF has is set by card, driver and, where the kernel offers it, vectors that can be moved between VFs. 'accelnet adapter list' shows the levels that each adapter can give."
        "Choose a lower level, or use adapters whose VFs have more queue pairs."
    TxRateNotPossible "tx_rate_not_possible" REFUSED
        "The adapter cannot limit what a VM of this level sends, as the intent wants it."
        "The limit is set on the VF, by the driver of the adapter. Some drivers have none, most take only rates between some lowest one and the speed of the link, and ixgbe takes any only on a link of 10 Gbit/s. What cannot be enforced is refused, not left out."
        "Take the limit out of the intent ('accelnet intent set NAME --max-tx-rate none'), choose a rate that the adapter takes, or use another adapter."
    ClusterNotEnoughResources "cluster_not_enough_resources" REFUSED
        "With the reserve held back there is no room for this VM."
        "The reserve keeps room for VMs of nodes that fail: with it, every accelerated VM must find a VF of its level on the nodes that are left. 'accelnet capacity' shows how much is held back, and the largest reserve that would still hold."
        "Lower the reserve or the level, add VFs or nodes, or disable acceleration of another VM."
    AccelNetNotEnabled "accel_net_not_enabled" REFUSED
        "Accelerated networking is not enabled."
        "The command is for a cluster on which acceleration is enabled."
        "Run 'accelnet enable --intent NAME' first."
    AccelNetEnabledElsewhere "accel_net_enabled_elsewhere" REFUSED
        "Accelerated networking is enabled on another intent."
        "A cluster is accelerated on one intent at a time. 'accelnet set --intent NAME' changes to another in one step."
        "Run 'accelnet disable' first."
    EnableAccelNetFailed "enable_accel_net_failed" FAILED
        "Enabling accelerated networking did not succeed."
        "Acceleration was enabled and the nodes began their part, but on some the machine refused it. What was asked for stays wanted, and is tried again with growing pauses. The problems that follow are the causes, by node."
        "Follow the cause that is named."
    ReserveOutOfRange "reserve_out_of_range" REFUSED
        "The node reserve must be a whole percentage from 0 to 99, or fewer nodes than there are."
        "The reserve is the share of nodes, or their number, that may fail while all accelerated VMs still find a place. With all of them nothing would be left to give out. For example: 'accelnet set --reserve 25', 'accelnet set --nodes-down 1'."
        "Give a whole percentage from 0 to 99 (50 is the default), or a number of nodes of which one is left."
    NodeNotFound "node_not_found" NOT_FOUND
        "There is no node with this name."
        "A node is known once its agent has reported, by the machine's host name."
        "See the nodes with 'accelnet status'."
    ServerNotFound "server_not_found" NOT_FOUND
        "There is no server with this address or name."
        "A server is known once it has said where it is, which it does at its start."
        "List the servers with 'accelnet server list'."
    JoinRefused "join_refused" REFUSED
        "The machine was not let into the cluster."
        "A machine joins with a token that the cluster made: for one machine, for some minutes, and for one use. It was not that, or the cluster's authority is not the one that the token names."
        "Make a new token ('accelnet node join-token') and use it at once: 'accelnetd join https://SERVER:PORT TOKEN'."
    NodeNotMember "node_not_member" REFUSED
        "The node is not of this cluster any more."
        "It was removed, or another machine has taken its place. Its VMs keep what they have; nothing new is given to them."
        "Join again with a new token ('accelnet node join-token'), or stop and disable accelnet-agent on the machine."
    ServerNotActive "server_not_active" UNREACHABLE
        "This server stands by, and another one decides."
        "Of several servers on one etcd one is active; it holds a lease there. Agents and the command line are sent on to it by themselves. While none is active, VMs keep what they have."
        "Ask the active server; 'accelnet server list' names it. Where there is none, look whether the servers reach their etcd, and whether that has a quorum; meanwhile 'accelnet status --stale' shows what was kept last, and so does all else that only shows."
    ServerSettling "server_settling" UNREACHABLE
        "The server has just started, and has not heard all of its nodes yet."
        "A server that starts, or takes over from another, waits 10 s (the time after which a silent node is down) before it calls a node down. Until then it does not refuse for lack of room, or because a node is silent, what it might allow a moment later. Nothing was changed."
        "Ask again in a moment. The command line does so by itself for up to a minute."
    ServerBusy "server_busy" UNREACHABLE
        "The server has as many changes to decide on as it can hold."
        "Changes are decided on one after the other and written together. Too many wait if the store is slow, or if very many are asked for at once. Nothing was changed."
        "Ask again in a moment; the command line does so by itself for up to a minute. If it lasts, look how busy the machines of store and server are."
    WatchTooOld "watch_too_old" FAILED
        "What changed since this revision is not known any more."
        "A watch can go on from a revision that the same server told a short while ago. This one is of another server, of a server that was started again, or older than what is kept. The command line starts over by itself."
        "Start over: watch without 'from', which begins with everything that there is."
    TooManyWatches "too_many_watches" UNREACHABLE
        "The server has as many watches as it can."
        "Each watch ('watch=true', 'accelnet vm enable' that waits, 'accelnet audit --follow') holds a connection and has a place of its own until it ends."
        "End watches that nobody reads, and ask again; the command line does so by itself for up to a minute."
    VmNotFound "vm_not_found" NOT_FOUND
        "There is no VM with this name or UUID."
        "VMs are found by name or UUID, among those that libvirt knows on nodes that report."
        "List the VMs with 'accelnet vm list'."
    VmAmbiguous "vm_ambiguous" NOT_FOUND
        "More than one VM has this name."
        "Names of VMs are unique on a node only, and two nodes have one of this name."
        "Name the VM by its UUID."
    VmNotRunning "vm_not_running" REFUSED
        "The VM is not running."
        "The definition of a VM that is off is not changed for this."
        "Start the VM; a VF can be given to a running VM only."
    VmNotAccelerated "vm_not_accelerated" REFUSED
        "The VM is not in the state that the command is for."
        "Enabling is for VMs that are not accelerated, setting and disabling for those that are."
        "Use 'accelnet vm enable' for a VM that is not accelerated, 'accelnet vm set' for one that is."
    GetNetworkAdapterFailed "get_network_adapter_failed" REFUSED
        "The VM has no network adapter."
        "A VF stands beside a virtio NIC, which carries the traffic while there is no VF (during a live migration, say). A VM without NIC has nothing to stand beside."
        "Give the VM a virtio NIC on the intent's bridge, or let accelnet do it: 'accelnet vm enable VM --add-adapter'."
    VmNoNicOnIntent "vm_no_nic_on_intent" REFUSED
        "The VM has no NIC on the intent's bridge."
        "The VM's NICs are on other bridges or networks than the intent's."
        "Connect one of the VM's NICs to the bridge, or let accelnet add one: 'accelnet vm enable VM --add-adapter'."
    VmNicNotVirtio "vm_nic_not_virtio" REFUSED
        "The VM's NIC is not a virtio NIC."
        "The guest joins NIC and VF into one interface (net_failover), which only virtio-net can do. In the interface's definition the model's type is 'virtio' then."
        "Change the NIC's model to virtio; only virtio-net can stand by for a VF."
    VmMachineNotPcie "vm_machine_not_pcie" REFUSED
        "The VM's machine type has no PCI Express."
        "A VF is a PCI Express device and is plugged into a running VM; machine type 'pc' (i440fx) has conventional PCI only."
        "Define the VM with machine type q35."
    VmNoFreeRootPort "vm_no_free_root_port" REFUSED
        "The VM has no free PCIe root port to plug a VF into."
        "On q35 each plugged device needs a free pcie-root-port, and ports can be added only while the VM is off."
        "Run 'accelnet vm prepare VM', then shut the VM down and start it again."
    VmNeedsColdStart "vm_needs_cold_start" REFUSED
        "The running VM's NIC cannot stand by for a VF (no VIRTIO_NET_F_STANDBY)."
        "The feature is offered to the guest when QEMU starts. It is staged in the definition by 'vm prepare' and takes effect when a new QEMU process starts."
        "Run 'accelnet vm prepare VM', then shut the VM down and start it again; a reboot inside the guest is not enough."
    VmDefinitionNotOurs "vm_definition_not_ours" REFUSED
        "The VM's definition is transient or made anew by a manager, so nothing can be staged on it."
        "What accelnet would stage would be gone with the next start."
        "Make the change in the manager that owns the definition."
    VmDefinitionNotChanged "vm_definition_not_changed" FAILED
        "libvirt refused a change of the VM's definition."
        "A NIC, its standby feature or a PCIe root port was to be added, by libvirt's calls for single devices. What was found has libvirt's own words. The VM stays as it was."
        "Follow the cause that is named; accelnet tries again by itself."
    VmNotEnoughVcpus "vm_not_enough_vcpus" REFUSED
        "The VM has fewer vCPUs than the level needs."
        "Queue pairs are of use only if there are vCPUs to serve them: without SMT, Low and Medium need 2 vCPUs, High needs 4."
        "Give the VM more vCPUs, or choose a lower level."
    HtEnabledMinProcessorCounter "ht_enabled_min_processor_counter" REFUSED
        "With SMT on, the level needs more vCPUs than the VM has."
        "With SMT a vCPU is half a core: every level needs 4 vCPUs then, where 2 are enough for Low and Medium without it."
        "Give the VM more vCPUs, choose a lower level, or turn SMT off on all nodes."
    VmMemoryNotPinnable "vm_memory_not_pinnable" REFUSED
        "The VM's memory cannot be pinned, which a VF needs."
        "The device reads and writes the guest's memory by itself, so all of it must stay where it is: what the guest has not touched yet must be free on the node, all must be allowed (memlock), not ballooned away and not confidential."
        "Free memory on the node, or remove what keeps the memory from being pinned."
    VfMtuTooSmall "vf_mtu_too_small" REFUSED
        "The adapter's MTU is smaller than the bridge's, or than the one that the VM's NIC has."
        "A VF cannot have a larger MTU than its adapter; frames that are fine on the bridge would be lost on the bypass. A NIC may have an MTU of its own ('mtu' in its definition): then the guest's kernel does not pair it with a VF that cannot have the same."
        "Give the adapter an MTU as large as the bridge's and the NIC's."
    PolicyNotOffloadable "policy_not_offloadable" REFUSED
        "A network policy on the VM's port would not hold on the VF."
        "On the VF the VM's traffic does not pass the bridge, so filters, VLANs, limits and mirrors of the port must be done by the card. accelnet never gives out a VF that would get round one. What was found names the policy."
        "Remove the policy from the port if it is not needed, leave the VM on the software path, or decide that the rule need not hold for this VM: 'accelnet vm enable VM --waive RULE' with its name in brackets."
    WaiverNotFound "waiver_not_found" NOT_FOUND
        "There is no such rule on the VM's ports, or none that can be waived."
        "A waiver is for one rule by its name, as 'policy_not_offloadable' and 'accelnet vm show' have it in brackets, and the rule must be there. What could not be read, a port that does not forward and a link that is held down have no name, and nothing waives them."
        "Copy the name from what 'accelnet vm enable VM --dry-run' says."
    ReachabilityNotOffloadable "reachability_not_offloadable" REFUSED
        "What is behind the VM's port could not be reached over the VF."
        "The card delivers to the VF what is for the VM's own address. Other addresses behind the same port (nested VMs, VRRP, macvlan) would not be delivered."
        "Keep nested switches, VRRP and macvlan guests on the software path."
    GuestWithoutFailover "guest_without_failover" REFUSED
        "The guest does not take the VF: it lacks the VF's driver, or its interface is down."
        "The VF was given to the VM, and no driver in the guest turned it on in time. Traffic stayed on the virtio NIC throughout."
        "Load net_failover and the VF's driver in the guest (Linux 4.18 or newer) and bring its interface up, also that of a NIC that was just added; or leave the VM on the software path."
    GuestVfNotPaired "guest_vf_not_paired" REFUSED
        "The guest drives the VF, but not as the fast half of its NIC."
        "A driver in the guest turned the VF on, and frames went on coming by the virtio NIC. Either the guest lacks net_failover, or something in it took the VF for a NIC of its own: what is configured by address (netplan's 'macaddress', udev rules, NetworkManager's 'mac-address') fits VF and virtio NIC alike. Traffic stayed on the virtio NIC."
        "Load net_failover in the guest, and let its network configuration name the failover interface only, by name or driver (docs/guide/guests.md)."
    VfAttachFailed "vf_attach_failed" FAILED
        "The VF could not be given to the VM; the VM stayed on the software path."
        "libvirt, QEMU or the kernel refused the device. Everything done for it was taken back."
        "Follow the cause that is named; accelnet tries again by itself."
    VfDetachFailed "vf_detach_failed" FAILED
        "The guest did not release the VF; the VM stays on it."
        "Unplugging asks the guest to let go. It did not in time, and a device is never pulled away from a guest that uses it."
        "Look at the guest (its kernel must take part in PCIe hot-unplug); accelnet tries again by itself."
    VmParked "vm_parked" REFUSED
        "The VM is parked: it is kept on its software path on purpose."
        "Somebody asked for it ('accelnet vm park'), for maintenance, a save or a move, or the node is shutting down. The VM keeps its admission and its share of capacity meanwhile."
        "Run 'accelnet vm unpark VM', or wait until the time it was parked for is over."
    VmMoveFailed "vm_move_failed" FAILED
        "The VM could not be migrated to the other node; it runs on where it was."
        "It was taken off its VF, and libvirt did not migrate it; its words are in what was found. What one node's libvirt needs to reach the other's (addresses, certificates, storage that both have) is libvirt's own configuration: 'virsh migrate' says the same."
        "Follow the cause that is named. It is tried again until the time that was given for it is over; 'accelnet vm unpark VM' ends that, and the VM goes back to its VF."
    VmFrozen "vm_frozen" FAILED
        "A command stopped the VM while it was on its VF, and would have waited for it for ever; it was ended."
        "'virsh save', 'managedsave', 'dump' and 'migrate' without '--live' stop the VM's processors first, and then wait until the guest gives up the VF, which it can do only while it runs. accelnet ends such a job and lets the VM run on; the command says that it was canceled."
        "Take the VM off its VF first: 'accelnet vm park VM', then repeat the command; 'accelnet vm unpark VM' afterwards. Migrate with '--live'."
    VmNotSeen "vm_not_seen" UNREACHABLE
        "The VM is there, and could not be looked at."
        "libvirt tells its state, but not its definition: it comes in by a migration or a restore, or the definition cannot be read. Nothing is concluded from what was not seen, and nothing is changed on the VM."
        "Follow the cause that is named; the VM is looked at again by itself."
    HypervisorUnavailable "hypervisor_unavailable" UNREACHABLE
        "libvirt does not answer on the node."
        "VMs that run go on as they are; nothing can be changed until libvirt answers again."
        "Start libvirtd (or virtqemud): 'systemctl start libvirtd'."
    HostOperationFailed "host_operation_failed" FAILED
        "The node's kernel refused an operation."
        "What was tried, and the kernel's own words, are in what was found. For example: 'make 8 VFs on 0000:01:00.0: Cannot allocate memory (ENOMEM)'."
        "See the kernel's message; it is tried again by itself."
    RepairRepeated "repair_repeated" FAILED
        "Something else on the node keeps changing what accelnet owns."
        "Attributes of VFs, flags of ports while a frame may come either way, and the filter and forwarding entries that accelnet added belong to it. What is changed there is put right, and this was changed again and again."
        "Find what changes it (a network manager, a script, another SR-IOV tool), and let it leave alone what is named; accelnet goes on putting it right."
    RepairFailed "repair_failed" FAILED
        "What accelnet owns on the node could not be put right, in several tries."
        "The kernel refused, or something else undid it each time. It is tried again with rests in between."
        "Follow the cause that is named; accelnet tries again every few minutes."
    VfNotUsed "vf_not_used" FAILED
        "The VM is wanted on a VF, and its packets go by the software path."
        "Acceleration was asked for and admitted; the VM runs and is not parked, and still its frames come and go by its virtio NIC. Nothing is lost, it is only slower. What was found says why."
        "Follow the cause that is named; 'accelnet vm show VM' has all of them."
    LevelNotProvided "level_not_provided" FAILED
        "The guest uses fewer queue pairs than the VM's level stands for."
        "The VF has what the level asks for, and the guest's driver uses less of it: Linux's igbvf uses one pair of two. More vCPUs have nothing to do then."
        "Use a guest driver that can use more queues, or set the VM to the level that it gets: 'accelnet vm set VM --performance Low'."
    AdapterLinkFlaps "adapter_link_flaps" FAILED
        "The adapter loses its link again and again."
        "A link that comes and goes is worse than none: everything behind it goes back and forth each time. The kernel counts losses (carrier_down_count). Making VFs costs one or two as well."
        "Check cable, transceiver and switch port; 'ethtool' and the switch's log say what the two agreed on."
    AdapterIsolated "adapter_isolated" REFUSED
        "The adapter is taken out of the pool: none of its VFs is given out."
        "The server does that for a fault if it is told to ('accelnetd server --fault-actions'), or somebody asked for it. VMs that had one of its VFs go to another adapter of the intent; it counts for no capacity. What was found says why."
        "Cure what is named, then let it back: 'accelnet adapter release ADAPTER --node NODE'."
    AdapterNotSpared "adapter_not_spared" REFUSED
        "The adapter cannot be taken out of the pool."
        "The last adapter that VFs can be had of stays, on each node and for each intent: its VMs would have nowhere to go. So does the member of a bond that frames go by now, and an adapter without which the VMs that are admitted, with the reserve, would have no VF each."
        "Bring another adapter into use (of a bond: 'ip link set BOND type bond active_slave OTHER'), lower the reserve, or disable acceleration of VMs that need it least; then ask again."
    VmNumaMismatch "vm_numa_mismatch" FAILED
        "A VM's memory or processors are bound to another NUMA node than its VF's adapter is at."
        "Each frame crosses the link between the processors, which costs latency and bandwidth. The VM's definition binds it (numatune, cputune), the slot of the card says where the adapter is."
        "Bind the VM to the adapter's NUMA node, use an adapter at the VM's, or put the card in a slot of the other processor."
    AdapterExhausted "adapter_exhausted" FAILED
        "All VFs or queue pairs of the adapter are given out."
        "The next VM that comes to this node, or a higher level of one that is here, finds nothing. Capacity elsewhere is not touched by that."
        "Give the intent more VFs, lower levels that are not used in full, or move a VM: 'accelnet vm where VM' says where there is room."
    VfVectorsShort "vf_vectors_short" FAILED
        "A VM's VF has fewer interrupt vectors than its level's queue pairs need."
        "Each queue pair has a vector of its own (MSI-X), and the driver some more. With fewer the guest cannot use what its level stands for. A VF's vectors are set before it is plugged; it may have been given by an earlier version, or the pool of the card was empty."
        "Free vectors of other VFs (lower levels), then bring the VM back once: 'accelnet vm park VM', 'accelnet vm unpark VM'."
    CapacityFragmented "capacity_fragmented" FAILED
        "There are VFs or queue pairs enough for another VM in sum, and not on one adapter."
        "A NIC takes all that its level needs of one adapter of one node. What is left over here and there adds up to it, and no VM can use it."
        "Move a VM of a lower level to a node where something is left ('accelnet vm where VM'), or lower the levels of VMs that use less."
    VfOrphaned "vf_orphaned" FAILED
        "A VM's process holds a VF, and no VM that libvirt knows has it."
        "QEMU has the VF open, but libvirt has lost the VM or the device. Nobody else can be given the VF until the process ends."
        "Find the process ('ps', its number is in what was found), and end it if its VM is not needed."
    VfUnclean "vf_unclean" FAILED
        "A VF that nobody has carries an address, a VLAN, a rate or trust."
        "What is left on a VF would be the next VM's, and an address on it takes frames away from whoever has that address. accelnet cleans VFs that it had; one that it never had may be somebody's, and is left as it is."
        "Take it back ('ip link set PF vf N mac 00:00:00:00:00:00 vlan 0 max_tx_rate 0 trust off'), or exclude the VF from the intent if somebody needs it: 'accelnet intent set NAME --exclude-vf 0000:01:10.0'."
    DriftRepaired "drift_repaired" FAILED
        "Something on the node changed what accelnet owns; it was put right."
        "Attributes of VFs, and the filter and forwarding entries that accelnet added, belong to it. Each is looked at again and again, and was found changed. It is told for an hour, since whoever did it may do it again."
        "Find what changed it (a network manager, a script, somebody's own commands); the node's log names each repair."
    IntentFailed "intent_failed" FAILED
        "The intent is not in effect on a node."
        "Its bridge, its adapters or what VFs need is not there, or not as the intent says. VMs on this node cannot be accelerated until it is. 'accelnet intent show NAME' has the state on each node."
        "Follow the cause that is named."
    PolicyWaived "policy_waived" FAILED
        "A rule of a VM's port does not hold on its VF, as somebody decided."
        "A waiver is in force. It is told as long as it is, so that nobody forgets it."
        "It ends with its rule, with its VM, or with 'accelnet vm disable VM'; 'accelnet waiver list' shows who decided it, and why."
    ReserveShort "reserve_short" FAILED
        "The reserve is not kept: if as many nodes failed as it allows, some VMs would be without a VF."
        "Nodes or adapters went, or have fewer VFs than before, after VMs had been admitted. No VM is taken off its VF for that; nothing new is admitted meanwhile. 'accelnet capacity' shows how much is there."
        "Bring back what is down, add VFs or nodes, lower the reserve ('accelnet set --reserve 25'), or disable acceleration of VMs that need it least."
    VmOnTwoNodes "vm_on_two_nodes" FAILED
        "The same VM runs on two nodes at once."
        "Both write to its disks and speak for its address. It happens when a node that was taken for dead comes back, or a machine's disk was copied with its VMs."
        "Stop one of the two at once ('virsh destroy'), then look why both run."
    VmNowhere "vm_nowhere" FAILED
        "A VM that is wished accelerated has not been seen on any node for a long time."
        "Its share of capacity is held for it all the while. It may be off and defined nowhere, or gone for good."
        "If it is gone for good: 'accelnet vm disable UUID'."
    ClocksApart "clocks_apart" FAILED
        "The clocks of node and server differ."
        "Certificates, tokens and the ends of parks are of a time of day. With clocks apart they end too early or too late, and logs of two machines cannot be laid side by side."
        "Let both follow the same time servers (chrony, systemd-timesyncd)."
    VersionSkew "version_skew" FAILED
        "Agent and server are of different versions."
        "They understand each other while an update is rolled out. It should end: what is new on one side is of no use as long as the other is old."
        "Finish the update: servers first, then nodes."
    CertificateExpiring "certificate_expiring" FAILED
        "A node's certificate ends soon, and was not renewed."
        "It lasts 7 days, and is renewed by itself when half of that is over. If it ends, the node cannot speak to its servers until it joins again; VMs keep what they have."
        "Look at the node's log ('journalctl -u accelnet-agent') for why; a clock that is wrong is the usual reason."
    TokenExpiring "token_expiring" FAILED
        "A token ends soon."
        "Whoever or whatever uses it will be refused from then on."
        "Make another ('accelnet token create'), give it to whoever uses this one, and revoke this one."
    StoreSlow "store_slow" FAILED
        "The server's store takes long to answer."
        "Every change waits until it is written. Slow disks, a store on a busy machine, or an etcd without quorum are the usual reasons. VMs do not depend on it."
        "Look how busy the store's disk is ('iostat -x'), and at etcd's own metrics and log."
    ServerChangesOften "server_changes_often" FAILED
        "Servers take over from each other again and again."
        "Each time nodes dial anew, and changes wait for some seconds. The server crashes or is restarted, or loses its lease because its store is slow."
        "See why it ended: 'journalctl -u accelnet-server' on each machine that serves."
    ServerUnreachable "server_unreachable" FAILED
        "A server that stands by does not answer."
        "Nothing is missing now: another one decides. If that one ends too there is one less to take over."
        "Look at its machine: 'systemctl status accelnet-server'. One that shall not come back is forgotten by 'accelnet server remove ADDRESS'."
    PcieLinkDegraded "pcie_link_degraded" FAILED
        "The adapter's PCIe link was trained below what card and slot can do."
        "With fewer lanes or a lower speed the card cannot carry what its ports promise. 'lspci -vv' shows LnkCap (what it can) and LnkSta (what it is)."
        "Seat the card anew, try another slot, and look for a setting of the slot in the firmware setup."
    PcieOversubscribed "pcie_oversubscribed" FAILED
        "The card's ports together are faster than its PCIe link."
        "What all of them receive at once does not fit through the slot, and is dropped by the card."
        "Use a slot with more lanes, or count with less than the ports' rates."
    PcieErrors "pcie_errors" FAILED
        "The adapter's PCIe link has errors that could not be corrected."
        "The kernel counts them (AER). A card or slot is about to fail, or a riser has a bad contact; after a fatal one the card is reset, and its VFs with it."
        "Look at the kernel's log for 'AER', seat the card anew, and exchange it if the errors go on."
    VfSwitchesOften "vf_switches_often" FAILED
        "A VM goes back and forth between VF and software path."
        "Each switch costs latency, and many are a sign of something that is not decided: a link that flaps, a rule that comes and goes, a guest that restarts its driver."
        "'accelnet events' shows when and why it switched; cure that, or leave the VM on its software path: 'accelnet vm park VM'."
    VfIdle "vf_idle" FAILED
        "The guest drives its VF and sends by the software path all the same."
        "The card counts nothing that the guest sends by the VF, while its frames come by the tap. Either its bond or its routes prefer the virtio NIC, or the VF does not carry what it is given. Nothing is lost, it is only slower. Where a card's driver counts nothing by VF this cannot be told."
        "Look in the guest which of the two interfaces it sends by ('ip -s link'), and whether it has a failover master above them; then park and unpark the VM, so that it is given its VF anew."
    AdapterNoBuffer "adapter_no_buffer" FAILED
        "The adapter drops packets to the host for want of a buffer."
        "The host does not take packets in as fast as they come (rx_missed_errors, rx_over_errors). They are lost for whatever goes by the switch; VFs have buffers of their own."
        "Give the adapter larger rings ('ethtool -G'), spread its interrupts over more processors, or bring VMs that receive much to their VFs."
    VfReceiveDrops "vf_receive_drops" FAILED
        "The adapter drops packets to a VM at its VF."
        "The guest does not take packets in as fast as they come, or they are of a kind that the VF does not receive. The adapter counts them (IFLA_VF_STATS_RX_DROPPED). The software path would have dropped what is too fast for the guest as well."
        "Look at the guest's load and its rings ('ethtool -g' in it), or give it a higher level, which has more queues."
    VfTransmitDrops "vf_transmit_drops" FAILED
        "The adapter drops what a guest sends by its VF."
        "The guest sends frames with another source address or VLAN than its own (the spoof check), or what the card takes for malicious. The adapter counts them (IFLA_VF_STATS_TX_DROPPED). A switch with the same rules would have dropped them as well."
        "Look in the guest for bridges, macvlan interfaces, VRRP and containers with addresses of their own; give such a VM no level, or take what is in it away."
    VfMisused "vf_misused" FAILED
        "A guest sends by its VF what it must not."
        "The driver of its adapter says so in the kernel's log: frames with another source address or VLAN than its own (the spoof check), which the card drops, or what the card takes for malicious (MDD), for which some drivers (i40e, ice) take the VF out of service until it is reset. Nothing of it reaches the wire."
        "Look in the guest for bridges, macvlan interfaces, VRRP and containers with addresses of their own; give such a VM no level, or take what is in it away. If it has lost its VF over it, park and unpark it."
    FaultNotFound "fault_not_found" NOT_FOUND
        "There is no open fault with this id."
        "Faults close by themselves when what they told of is gone. An id is the same whenever the fault is there."
        "List the open faults with 'accelnet hud'."
    AgentUnreachable "agent_unreachable" UNREACHABLE
        "The node's agent does not answer."
        "The node has not reported for a while, or no node has reported yet. What is known of it may be old."
        "Check 'systemctl status accelnetd' on the node."
    ServerNotRunning "server_not_running" UNREACHABLE
        "The accelnet server does not answer."
        "The command line talks to the server over a socket, by default /run/accelnet/accelnet.sock, and nobody answers there."
        "Start it with 'systemctl start accelnetd', or name its socket with --socket."
    PermissionDenied "permission_denied" PERMISSION
        "You have no permission for this."
        "The socket, and with it everything that the server can do, is open to root and the members of one group. For example: 'usermod -aG accelnet alice', then log in anew."
        "Use root or a member of group 'accelnet'."
    NotAuthenticated "not_authenticated" PERMISSION
        "The server does not know who asks."
        "Whoever comes over the network shows a token. It was not sent, is no token, was revoked, or its time is over; which of these is not told. On the server's own machine root and the group 'accelnet' need none."
        "Log in with 'accelnet login', with a token that an administrator makes by 'accelnet token create'."
    NotPermitted "not_permitted" PERMISSION
        "Your role does not permit this."
        "A viewer sees everything but tokens, an operator changes everything but tokens and which nodes there are, an administrator may do all. 'accelnet whoami' says which you are."
        "Ask an administrator, or use 'accelnet login' with a token of the role that is named."
    TokenNotFound "token_not_found" NOT_FOUND
        "There is no token with this name."
        "Tokens are known by their names; one that was revoked is gone."
        "List the tokens with 'accelnet token list'."
    TokenExists "token_exists" REFUSED
        "A token with this name exists already."
        "A token's secret is shown once, when it is made; it cannot be had again, and a second one beside it is made under another name. One whose time is over is replaced."
        "Choose another name, or revoke the token first ('accelnet token revoke')."
    ProfileNotFound "profile_not_found" NOT_FOUND
        "There is no profile with this name."
        "A profile is what 'accelnet login' remembers of a cluster: its server, by what the server is known, and the token. They are kept for each user, in $XDG_CONFIG_HOME/accelnet or ~/.config/accelnet."
        "Make it with 'accelnet login'."
    ProfileNotPrivate "profile_not_private" PERMISSION
        "Others can read, or change, the file with your tokens."
        "Whoever reads a token can use it. The file is taken only if it belongs to you and nobody else has a right on it."
        "Take the rights away (chmod 600), and revoke the tokens in it if somebody may have read them."
    ServerNotTrusted "server_not_trusted" PERMISSION
        "The server could not prove that it is one of the cluster."
        "Before anything is sent the server shows a certificate, which must be the cluster's, for the address that was asked, and of today. Somebody else may be answering there; or the address, the authority or the machine's clock is wrong."
        "Check address and clock, and log in again with the fingerprint or the CA file that the cluster's administrator gives you."
    InvalidArgument "invalid_argument" USAGE
        "A value cannot be understood."
        "A value has the wrong form (HTTP status 400), or one that cannot be. Nothing was changed."
        "Correct the value that is named."
    NotFound "not_found" NOT_FOUND
        "There is nothing at this address."
        "The address is not one of the API's."
        "See /api/v1/openapi.json for what exists."
    Conflict "conflict" FAILED
        "Somebody else changed the same thing at the same time."
        "What was read had changed before the change could be written. Nothing was changed."
        "Look at the current state and try again."
    Timeout "timeout" TIMEOUT
        "The wanted state was not reached in time; the work goes on."
        "The command stopped waiting; the server and the nodes did not stop. '--timeout' sets how long is waited, '--no-wait' does not wait at all."
        "Follow it with 'accelnet status' and 'accelnet vm show VM'."
    StoreFailed "store_failed" FAILED
        "The server could not read or write its state."
        "What is wanted is kept in the server's state directory, or in an etcd. As long as it cannot be written, nothing new can be asked for; VMs keep what they have."
        "Of a file that is named, check disk space and permissions; of an etcd, whether it has a quorum and how slow its disk is ('etcdctl endpoint health')."
    Internal "internal" FAILED
        "accelnet met a situation that should not happen."
        "An assumption in accelnet's own code did not hold."
        "Please report it, with the log of accelnetd."
}

impl Code {
    /// HTTP status of an answer that is this problem, where HTTP itself has no better one for the
    /// case (a method that is not allowed, a body that is too large).
    pub fn http_status(self) -> u16 {
        match (self, self.exit_code()) {
            // What was asked for may be done, but not beside what is there.
            (
                Self::Conflict
                | Self::VmAmbiguous
                | Self::AdapterAmbiguous
                | Self::IntentExists
                | Self::IntentInUse
                | Self::AdapterInTwoIntents
                | Self::AccelNetEnabledElsewhere
                | Self::TokenExists,
                _,
            ) => 409,
            (Self::NotAuthenticated, _) => 401,
            (Self::ServerNotActive, _) => 421,
            (Self::WatchTooOld, _) => 410,
            (_, exit::NOT_FOUND) => 404,
            (_, exit::PERMISSION) => 403,
            (_, exit::UNREACHABLE) => 503,
            (_, exit::TIMEOUT) => 504,
            // Of the right form, and cannot be; what has a wrong form is answered with HTTP's own 400.
            (_, exit::REFUSED | exit::USAGE) => 422,
            _ => 500,
        }
    }
}

// Derived, it would have the variants' names: what is written in JSON comes from the table.
impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let words = Self::ALL.iter().map(|code| code.as_str());
        let schema = ObjectBuilder::new().schema_type(Type::String);
        let schema = schema.description(Some(
            "What kind of problem it is: a key of the catalogue (docs/reference/problems.md).",
        ));
        schema.enum_values(Some(words)).build().into()
    }
}

impl ToSchema for Code {}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whatever it is: one problem that is not understood must not take a whole report with it.
impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(text
            .parse()
            .unwrap_or_else(|_| Self::Newer(Newer::of(&text))))
    }
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
    /// `node`, `adapter`, `vf`, `vm`, `nic`, `intent`, `bridge`, `check`, `token`, `profile`.
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
                [code.title(), code.explanation(), code.cure()]
                    .iter()
                    .all(|text| text.ends_with('.') && !text.contains('|')),
                "{code}"
            );
            assert!((400..600).contains(&code.http_status()), "{code}");
            assert_eq!(code.as_str().parse::<Code>().unwrap(), *code);
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn what_a_newer_version_tells_is_passed_on_unharmed() {
        let told = serde_json::json!({
            "code": "disk_on_fire", "title": "A disk burns.", "detail": "sda is at 900 °C.",
            "cure": "Leave the building."
        });
        let read: Problem = serde_json::from_value(told.clone()).unwrap();
        assert_eq!(read.code.as_str(), "disk_on_fire");
        assert_eq!(read.code.exit_code(), exit::FAILED);
        assert_eq!(serde_json::to_value(&read).unwrap(), told);
        // What somebody types is another matter.
        assert!("disk_on_fire".parse::<Code>().is_err());
    }
}
