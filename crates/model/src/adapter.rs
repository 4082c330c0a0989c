//! What was observed of adapters (PFs) and their virtual functions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    devlink::DevlinkFacts,
    ids::{AdapterName, IfName, MacAddr, PciAddress},
    problem::Code,
    support::Support,
};

/// What identifies an adapter for good: PCI path, permanent address and port. Interface names and
/// bare bus numbers change with firmware settings and other cards.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct AdapterId {
    /// The chain of device/function numbers from the root, independent of bus numbers, e.g.
    /// `pci0000:00/03.0/00.0`.
    pub pci_path: String,
    /// The address burnt into the card.
    pub permanent_mac: MacAddr,
    /// Port of a card whose ports share one PCI function (`dev_port`), else 0.
    pub port: u16,
}

/// Whether SR-IOV can be used on an adapter. The eight states are the reference's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SriovSupport {
    /// VFs can be created and assigned.
    // As it was written at first.
    #[serde(alias = "Supported")]
    Supported,
    /// The device advertises no SR-IOV capability.
    #[default]
    #[serde(alias = "Unknown")]
    Unknown,
    /// A bridge on the PCIe path lacks Access Control Services, so VFs share an IOMMU group.
    #[serde(alias = "MissingAcs")]
    MissingAcs,
    /// No driver is bound, or it cannot create VFs.
    #[serde(alias = "MissingPfDriver")]
    MissingPfDriver,
    /// The bridge above has too few bus numbers for the VFs.
    #[serde(alias = "NoBusResources")]
    NoBusResources,
    /// The machine has no IOMMU, or it is off.
    #[serde(alias = "NoIoMmuSupport", rename = "no_iommu_support")]
    NoIoMmuSupport,
    /// Not enough memory address space for the VFs' BARs.
    #[serde(alias = "NoVfBarSpace")]
    NoVfBarSpace,
    /// Firmware did not hand control of PCIe features to the system (_OSC).
    #[serde(alias = "NoOscSupport")]
    NoOscSupport,
}

impl SriovSupport {
    /// The catalogue's entry of the state; `None` if SR-IOV is supported.
    pub fn code(self) -> Option<Code> {
        Some(match self {
            Self::Supported => return None,
            Self::Unknown => Code::SriovSupportUnknown,
            Self::MissingAcs => Code::SriovSupportMissingAcs,
            Self::MissingPfDriver => Code::SriovSupportMissingPfDriver,
            Self::NoBusResources => Code::SriovSupportNoBusResources,
            Self::NoIoMmuSupport => Code::SriovSupportNoIommu,
            Self::NoVfBarSpace => Code::SriovSupportNoVfBarSpace,
            Self::NoOscSupport => Code::SriovSupportNoOsc,
        })
    }
}

/// How a card's own switch forwards between its VFs and the wire (`DEVLINK_ATTR_ESWITCH_MODE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EswitchMode {
    /// By addresses and VLANs that the PF's driver sets.
    Legacy,
    /// As the host says, by an interface on the host for each VF.
    Switchdev,
    /// Another, or none at all: only flows that somebody sets.
    Other,
}

/// A PCI Express link. Speeds are in MT/s a lane: 2.5 GT/s is 2,500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct PcieLink {
    /// As it was trained.
    pub speed_mts: u32,
    /// Lanes in use.
    pub lanes: u32,
    /// The highest speed that card and slot have in common, as far as the slot's shows; else the card's.
    pub best_speed_mts: u32,
    /// The most lanes that card and slot have in common; else the card's.
    pub best_lanes: u32,
}

impl PcieLink {
    /// What it carries one way, in Mbit/s: without the line code (8b/10b up to 5 GT/s, 128b/130b above: PCI Express
    /// Base Specification), with all that packets have around them.
    pub fn mbps(&self) -> u64 {
        let (speed, lanes) = (u64::from(self.speed_mts), u64::from(self.lanes));
        match speed {
            ..=5_000 => speed * lanes * 8 / 10,
            _ => speed * lanes * 128 / 130,
        }
    }

    /// It was trained below what it could be.
    pub fn is_below_its_best(&self) -> bool {
        self.speed_mts < self.best_speed_mts || self.lanes < self.best_lanes
    }
}

/// The link that a VF's user sees (`IFLA_VF_LINK_STATE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VfLink {
    /// The adapter's own.
    Auto,
    /// Up, whatever the adapter's is.
    Up,
    /// Down: a guest with another path leaves the VF by itself.
    Down,
}

/// Attributes of a VF that the PF's driver enforces (rtnetlink `IFLA_VF_*`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VfAttributes {
    /// Administrative address; zero means none.
    pub mac: MacAddr,
    /// VLAN the card inserts and strips; 0 means none.
    pub vlan: u16,
    /// 802.1p priority that goes with `vlan`.
    pub qos: u8,
    /// Frames with another source address are dropped.
    pub spoofchk: Support<bool>,
    /// The VF may change its address and become promiscuous.
    pub trust: Support<bool>,
    /// Highest transmit rate in Mbit/s; 0 means no limit.
    pub max_tx_rate_mbps: Support<u32>,
    /// Guaranteed transmit rate in Mbit/s; 0 means none.
    pub min_tx_rate_mbps: Support<u32>,
    /// The link that its user sees. Drivers that cannot set it (igb) read as [`VfLink::Auto`].
    #[serde(default)]
    pub link: Support<VfLink>,
}

impl VfAttributes {
    /// The safe state of a VF that nobody uses: spoof check on, trust off, no VLAN, no rate limit,
    /// no address. A VF is brought here when it is given out and when it comes back.
    pub fn baseline() -> Self {
        Self {
            mac: MacAddr::ZERO,
            vlan: 0,
            qos: 0,
            spoofchk: Support::Supported(true),
            trust: Support::Supported(false),
            max_tx_rate_mbps: Support::Supported(0),
            min_tx_rate_mbps: Support::Supported(0),
            link: Support::Supported(VfLink::Auto),
        }
    }

    /// Baseline with an address: what a VF carries while a VM uses it and no policy is offloaded.
    pub fn for_mac(mac: MacAddr) -> Self {
        Self {
            mac,
            ..Self::baseline()
        }
    }

    /// True if `self`, as read back, fulfils `wanted`: every attribute is equal, or the driver does
    /// not have it and the wanted value is the one that its absence amounts to (no limit, no trust).
    /// A missing spoof check fulfils nothing: it would leave the VF unpoliced.
    pub fn fulfils(&self, wanted: &Self) -> bool {
        let same_or_absent = |have: &Support<u32>, want: &Support<u32>| {
            have == want || (have.value().is_none() && want.is(&0))
        };
        let trust_fits =
            self.trust == wanted.trust || (self.trust.value().is_none() && wanted.trust.is(&false));
        let link_fits = self.link == wanted.link
            || (self.link.value().is_none() && wanted.link.is(&VfLink::Auto));
        self.mac == wanted.mac
            && link_fits
            && self.vlan == wanted.vlan
            && self.qos == wanted.qos
            && self.spoofchk == wanted.spoofchk
            && trust_fits
            && same_or_absent(&self.max_tx_rate_mbps, &wanted.max_tx_rate_mbps)
            && same_or_absent(&self.min_tx_rate_mbps, &wanted.min_tx_rate_mbps)
    }
}

impl VfFacts {
    /// It is bound to vfio-pci or a vendor's variant of it (`mlx5_vfio_pci`, `hisi-acc-vfio-pci`, …), which
    /// all hand it to user space: their names have `vfio` in them.
    pub fn is_on_vfio(&self) -> bool {
        self.driver.as_deref().is_some_and(is_vfio)
    }
}

/// True for vfio-pci and the vendors' variants of it.
pub fn is_vfio(driver: &str) -> bool {
    driver.contains("vfio")
}

/// Who holds a VF, as far as the machine shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum VfUser {
    /// Nobody.
    #[default]
    Nobody,
    /// A process has the VF's vfio group open (a VM, or somebody's own program).
    Process {
        /// Process id.
        pid: u32,
        /// Its command name.
        command: String,
    },
    /// A kernel network driver on the host is bound to it.
    HostDriver {
        /// The driver's name.
        driver: String,
    },
    /// The node's agent keeps it for a VM that is on its way here.
    Reserved,
    /// Nobody has it now, and it is somebody else's all the same: an intent excludes it, or somebody set it
    /// up. Filled in by whoever knows what was wished and done.
    Others {
        /// What shows it, in words.
        why: String,
    },
}

/// One virtual function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VfFacts {
    /// VF number on its PF, from 0.
    pub index: u32,
    /// The VF's own PCI function.
    pub pci: PciAddress,
    /// The driver bound to it (`vfio-pci`, `igbvf`, …).
    pub driver: Option<String>,
    /// Its IOMMU group.
    pub iommu_group: Option<u32>,
    /// Other PCI functions in the same group; must be empty for assignment.
    pub group_peers: Vec<PciAddress>,
    /// Attributes as the PF's driver reports them.
    pub attributes: VfAttributes,
    /// Who uses it.
    pub user: VfUser,
    /// MSI-X vectors that the VF's user has enabled (vfio entries in `/proc/interrupts`): more than
    /// none means that a driver in the guest really drives the VF.
    pub active_vectors: u32,
    /// Size of the VF's MSI-X table: the vectors that it has. Known only where vectors can be moved
    /// between VFs ([`AdapterFacts::vf_total_msix`]) and the table follows.
    #[serde(default)]
    pub msix_vectors: Support<u32>,
    /// A VM that has the VF in its live definition; filled in by whoever also sees the hypervisor.
    #[serde(default)]
    pub vm: Option<Uuid>,
    /// A VM whose persistent definition names the VF, for its next start, or that is on its way here and finds it
    /// reserved; filled in likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<Uuid>,
}

impl AdapterFacts {
    /// True if that is its interface's name, or an alternative one.
    pub fn is_called(&self, name: &AdapterName) -> bool {
        *name == self.ifname || self.altnames.contains(name)
    }
}

/// One physical function: a port of an SR-IOV card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterFacts {
    /// Lasting identity.
    pub id: AdapterId,
    /// The interface's name today.
    pub ifname: IfName,
    /// Its alternative names (`IFLA_ALT_IFNAME`), which stay when an update renames the interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub altnames: Vec<AdapterName>,
    /// Today's PCI address.
    pub pci: PciAddress,
    /// PCI vendor and device id, e.g. `8086:10c9`.
    pub pci_id: String,
    /// Driver of the PF.
    pub driver: Option<String>,
    /// Driver version as ethtool reports it.
    pub driver_version: Option<String>,
    /// Firmware version as ethtool reports it.
    pub firmware: Option<String>,
    /// Serial number and firmware by component, where the driver has devlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devlink: Option<DevlinkFacts>,
    /// NUMA node, if the machine has any.
    pub numa_node: Option<u32>,
    /// Its PCIe link as it is, and as the card could have it (`current_link_speed` and its like in sysfs).
    #[serde(default)]
    pub pcie: Support<PcieLink>,
    /// Errors of that link so far that were not corrected (`aer_dev_nonfatal`, `aer_dev_fatal`); known only where the
    /// kernel has control of AER.
    #[serde(default)]
    pub pcie_errors: Support<u64>,
    /// How often the link has gone down since the interface is there (`carrier_down_count`, Linux 4.16).
    #[serde(default)]
    pub link_losses: Support<u64>,
    /// Administratively up.
    pub up: bool,
    /// The link has carrier.
    pub carrier: bool,
    /// Speed in Mbit/s, if known.
    pub speed_mbps: Option<u32>,
    /// MTU in bytes.
    pub mtu: u32,
    /// The interface's current address.
    pub mac: MacAddr,
    /// Bridge or bond that it is a port of.
    pub master: Option<IfName>,
    /// What shows that somebody uses or manages an interface that is no port of anything: addresses,
    /// routes, network managers, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
    /// How the card's own switch forwards; `Unsupported` where driver or kernel know only one way, which is
    /// that of [`EswitchMode::Legacy`].
    #[serde(default)]
    pub eswitch: Support<EswitchMode>,
    /// Files of other programs that set the number or the attributes of its VFs, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vf_owners: Vec<String>,
    /// Why it is taken out of the pool, if it is: none of its VFs is given out. Filled in by whoever knows what was
    /// wished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<String>,
    /// Whether the card can be used, and if not why.
    pub sriov: SriovSupport,
    /// What the kernel said when VFs could not be made, for the cause of a problem.
    pub sriov_evidence: Option<String>,
    /// `sriov_totalvfs`.
    pub total_vfs: u32,
    /// `sriov_drivers_autoprobe`.
    pub drivers_autoprobe: Support<bool>,
    /// `sriov_vf_total_msix`: the pool that per-VF vectors are drawn from; 0 where there is none.
    pub vf_total_msix: Support<u32>,
    /// PCI device id of VFs, e.g. `8086:10ca`.
    pub vf_pci_id: Option<String>,
    /// How many addresses beside the PF's own its filter has room for, where the driver tells (devlink's
    /// `max_macs`).
    #[serde(default)]
    pub filter_room: Support<u32>,
    /// MAC addresses in the PF's own filter that were added by hand (`bridge fdb … self`).
    pub filter: Vec<MacAddr>,
    /// Its VFs, by index.
    pub vfs: Vec<VfFacts>,
}
