//! One Linux machine: PCI, SR-IOV, vfio, netlink, topology.
//!
//! [`Host`] is the port through which the agent sees and changes the machine. [`linux`] is the real
//! one (sysfs, PCI config space, rtnetlink, tc); [`twin`] is a simulated one for tests.
//!
//! All calls are synchronous and bounded by a deadline; those named `observe_` only read, those
//! named `ensure_` are idempotent: they look first, change only what differs, read back, and report
//! [`HostError::NotAsAsked`] if the machine took the request but did not do it.

pub mod error;
pub mod linux;
pub mod twin;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc,
    time::Duration,
};

use accelnet_model::{
    AdapterFacts, BridgeFacts, DriverName, FdbKey, IfName, MacAddr, NodeFacts, PciAddress,
    PolicyFinding, Traffic, VfAttributes,
};
pub use error::HostError;

/// Result of a host operation.
pub type Result<T> = std::result::Result<T, HostError>;

/// A VF that nobody uses, as it was seen. What is done to it is refused with [`HostError::VfsInUse`] if somebody has it
/// by now, or has given it another address: he opens it in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleVf {
    /// Its PF.
    pub pf: PciAddress,
    /// Its number.
    pub index: u32,
    /// The VF.
    pub vf: PciAddress,
    /// The address that it carries.
    pub mac: MacAddr,
}

/// Something changed on the machine; a hint to look again, never the truth itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEvent {
    /// An interface appeared, changed or went.
    Link(String),
    /// A forwarding entry of a bridge appeared, moved or went.
    Fdb {
        /// The bridge port that it points to.
        port: String,
        /// Its address.
        mac: MacAddr,
        /// Its VLAN, if it is the entry of one.
        vlan: Option<u16>,
        /// It went from there.
        gone: bool,
    },
    /// An address came into a card's own filter, or went.
    Filter {
        /// The interface.
        port: String,
        /// The address.
        mac: MacAddr,
        /// It went.
        gone: bool,
    },
    /// A traffic-control object (qdisc, filter) changed on the device with this name.
    TrafficControl(String),
    /// Packet filter rules changed (nfnetlink).
    Firewall,
    /// Events were lost (receive buffer overrun): look at everything.
    Overrun,
    /// Nothing happened for a while.
    Idle,
}

/// State of the hold queue of ours on a tap (DESIGN §4.7): the tap's root queueing discipline, which
/// lets frames for the guest wait while their path changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldQueue {
    /// In place; frames pass, and what waited leaves in order.
    Pass,
    /// Every frame waits, for so long at most, whoever dies meanwhile: then they pass.
    Hold {
        /// The longest that a frame waits.
        limit: Duration,
    },
}

/// A forwarding entry of a bridge, as it shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// None points the address to the port.
    Absent,
    /// It is there, does not age, and moves when the address shows up as a source elsewhere.
    Static,
    /// It is there and does not move (`NTF_STICKY`).
    Sticky,
}

/// What a look at one interface's link tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSeen {
    /// It is up and has a link.
    pub carrier: bool,
    /// The member that an active-backup bond uses, if it is one and has one.
    pub active: Option<IfName>,
}

/// The adapters of a machine, as far as they could be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdaptersSeen {
    /// Those that could.
    pub adapters: Vec<AdapterFacts>,
    /// Those that are there, or may be, and could not be read whole; nothing else is known of them. By
    /// interface, or what stands for it where there is none (`pci0000-01-00.0`).
    pub unseen: Vec<(IfName, HostError)>,
}

/// The way of a NIC's frames on the host, for the policy on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyPath {
    /// The NIC's tap.
    pub tap: IfName,
    /// The bridge.
    pub bridge: IfName,
    /// The interfaces by which frames leave: ports of the bridge, and what is below a bond.
    pub uplinks: Vec<IfName>,
}

/// A machine that accelnet runs on.
///
/// Every error carries the kernel's own words (errno and, where the kernel sent one, its extended
/// acknowledgement).
pub trait Host: Send + Sync + 'static {
    /// Facts about the machine as a whole (without libvirt's and QEMU's versions).
    fn observe_node(&self) -> Result<NodeFacts>;

    /// All network adapters that are PCI functions and not VFs themselves, with their VFs. One that cannot
    /// be read costs only itself. Those at `busy` are not looked at: their VFs are being made or changed, and
    /// the kernel answers nothing about them before that is over (`sriov_numvfs` is read under the lock
    /// that is held then, drivers/pci/iov.c).
    fn observe_adapters(&self, busy: &BTreeSet<PciAddress>) -> Result<AdaptersSeen>;

    /// All bridges and bonds, and what else has one of these names (`kind` says what it is; ports are
    /// empty then). A fixed number of dumps, however many ports there are.
    fn observe_bridges(&self, named: &BTreeSet<IfName>) -> Result<Vec<BridgeFacts>>;

    /// For each path everything on it that restricts or changes its traffic: bridge VLAN filtering
    /// (PVID, trunk), isolation, tc filters and foreign disciplines, eBPF and XDP, mirroring,
    /// nftables/ebtables rules of the bridge family and, with br_netfilter, of inet. Our own hold queue
    /// is not policy. Rules that can be proved irrelevant to a path are left out. What cannot be read of
    /// one path is its error; nobody may say then that there is nothing.
    fn observe_policy(&self, paths: &[PolicyPath]) -> Vec<Result<Vec<PolicyFinding>>>;

    /// Sends events from now on, until the receiver is dropped.
    fn watch(&self, events: mpsc::Sender<HostEvent>) -> Result<()>;

    /// Exactly `count` VFs exist on the PF, kept from host drivers (`sriov_drivers_autoprobe=0`). With none there is
    /// nothing to keep, and those that somebody makes later get a driver, as kernels have it.
    /// Changing a number goes through 0, so it is refused with [`HostError::VfsInUse`] while any VF
    /// has a user; the caller decides whether the link may bounce. Returns when all VFs' PCI
    /// functions have appeared.
    fn ensure_vf_count(&self, pf: PciAddress, count: u32) -> Result<()>;

    /// The VF is bound to a driver that hands it to user space (with `driver_override`, so that nothing else
    /// takes it): to the one that is named, else to any, and if it has none to the one that the modules of
    /// this kernel name for it.
    fn ensure_vf_vfio(&self, vf: PciAddress, driver: Option<&DriverName>) -> Result<()>;

    /// The VF has this many MSI-X vectors, of a pool that all VFs of its PF share
    /// (`sriov_vf_msix_count`), and is bound as by [`Host::ensure_vf_vfio`]. While a number is set the VF is without
    /// driver; refused with [`HostError::VfsInUse`] if somebody uses it. Read back where the driver
    /// shows it.
    fn ensure_vf_vectors(
        &self,
        vf: PciAddress,
        vectors: u32,
        driver: Option<&DriverName>,
    ) -> Result<()>;

    /// Nobody but this process can open the VF, or (not `reserved`) this process does not keep it any more. It ends
    /// with the process. Refused with [`HostError::VfsInUse`] if somebody has it.
    fn ensure_vf_reserved(&self, vf: PciAddress, reserved: bool) -> Result<()>;

    /// Function-level reset of a VF that nobody uses (`/sys/bus/pci/devices/*/reset`).
    fn reset_vf(&self, vf: &IdleVf) -> Result<()>;

    /// [`Host::ensure_vf_attributes`] with the baseline, for a VF that nobody uses.
    fn ensure_vf_baseline(&self, vf: &IdleVf) -> Result<VfAttributes>;

    /// Sets what differs and can be set, reads back, and returns what is in effect. Attributes that
    /// the driver does not have come back as `Unsupported`; it is for the caller to judge
    /// ([`VfAttributes::fulfils`]). Min and max rate go in one message. [`HostError::NeedsLink`] if all
    /// is so but the rates, which the driver does not change without link.
    fn ensure_vf_attributes(
        &self,
        pf: PciAddress,
        index: u32,
        wanted: &VfAttributes,
    ) -> Result<VfAttributes>;

    /// `IFLA_BRPORT_LEARNING` of a bridge port.
    fn ensure_port_learning(&self, port: &IfName, on: bool) -> Result<()>;

    /// `IFLA_BRPORT_UNICAST_FLOOD` of a bridge port.
    fn ensure_port_flood(&self, port: &IfName, on: bool) -> Result<()>;

    /// The bridge keeps its present address whatever its ports do.
    fn ensure_bridge_mac_pinned(&self, bridge: &IfName) -> Result<()>;

    /// A Linux bridge of this name with this alias exists and is up. One that is made has the alias
    /// from the first moment on, no ports, and IPv6 off. [`HostError::NotAsAsked`] if an interface of
    /// this name exists that is something else.
    fn ensure_bridge(&self, bridge: &IfName, mark: &str) -> Result<()>;

    /// An interface that was no port of anything is a port of the bridge, and up.
    /// [`HostError::NotAsAsked`] if it is a port of something else.
    fn ensure_bridge_port(&self, bridge: &IfName, port: &IfName) -> Result<()>;

    /// `mac` is (or is not) in the PF's own receive filter (`bridge fdb … self`), so that frames
    /// from its VFs to `mac` reach the PF. [`HostError::FilterFull`] if the card has no room.
    fn ensure_pf_filter(&self, pf: &IfName, mac: MacAddr, present: bool) -> Result<()>;

    /// What the bridge's forwarding table has of an address at `port` (`bridge fdb … master static`). An entry
    /// that points it elsewhere is moved, unless [`Entry::Absent`] is wanted: then no entry, set or
    /// learned, points it to this port afterwards, and others stay. Where the bridge filters by VLAN that
    /// is the entry of this VLAN, or for `None` those of all VLANs of the port.
    fn ensure_bridge_entry(&self, port: &IfName, key: FdbKey, wanted: Entry) -> Result<()>;

    /// The tap's hold queue. Once in place it is only ever *changed*, and goes with the tap: grafting
    /// a root discipline on a device under traffic loses packets. A discipline of somebody else that
    /// restricts something is [`HostError::ForeignQdisc`].
    fn ensure_hold_queue(&self, tap: &IfName, wanted: HoldQueue) -> Result<()>;

    /// Behind the tap there is room for all that its hold queue lets go at once. Only while the guest is
    /// on its VF: what comes by the tap meanwhile may be lost.
    fn ensure_tap_room(&self, tap: &IfName) -> Result<()>;

    /// Frames the host received from the port (for a tap: sent by the guest).
    fn rx_packets(&self, port: &IfName) -> Result<u64>;

    /// MSI-X vectors that users of VFs have enabled (`vfio-msix[N](ADDRESS)` in `/proc/interrupts`), by VF;
    /// more than none means that a driver in the guest drives the VF. One read for all.
    fn observe_vectors(&self) -> Result<BTreeMap<PciAddress, u32>>;

    /// Counters of all interfaces and of the VFs of all adapters, by one dump; `pfs` are asked one by one where one
    /// cannot hold all. Interrupts of VFs too, by one read.
    fn observe_traffic(&self, pfs: &[IfName]) -> Result<Traffic>;

    /// Counters of one adapter and of its VFs, by one question; no interrupts.
    fn observe_adapter_traffic(&self, pf: &IfName) -> Result<Traffic>;

    /// The link of an interface, and the member that a bond uses: what a failure of the uplink shows first.
    fn observe_link(&self, name: &IfName) -> Result<LinkSeen>;

    /// Sleeps; a twin advances its clock instead.
    fn pause(&self, time: Duration);

    /// Time since some fixed moment, never going back.
    fn now(&self) -> Duration;
}
