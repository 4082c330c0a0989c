//! What restricts or changes a VM's traffic on the software path, and decisions that some of it need not
//! hold on a VF.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of thing restricts or changes a VM's traffic on the software path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PolicyKind {
    /// The port is an access port of this VLAN (untagged, PVID) on a VLAN-filtering bridge or by
    /// libvirt's `<vlan>`.
    AccessVlan {
        /// VLAN id, 1..=4094.
        vlan: u16,
        /// Every uplink of the bridge carries it with its tag (802.1Q) and nothing else of it, so that a VF of
        /// this VLAN meets the same frames. False where only the definition says so.
        uplink_tagged: bool,
    },
    /// The port carries several VLANs.
    VlanTrunk,
    /// The port is isolated from other isolated ports.
    Isolation,
    /// A limit of rates: libvirt's `<bandwidth>`, and what it is on the host.
    Bandwidth {
        /// Towards the network, Mbit/s; `None` if there is none, or none of whole Mbit/s without a peak.
        outbound_mbps: Option<u32>,
        /// Towards the guest, Mbit/s, rounded up; `None` if there is none.
        inbound_mbps: Option<u32>,
    },
    /// libvirt `<filterref>`.
    NwFilter,
    /// A traffic-control filter or a discipline that is not the default, on tap, bridge or uplink.
    TrafficControl,
    /// An eBPF program on tap, bridge or uplink (tcx, XDP, clsact).
    Ebpf,
    /// Port mirroring.
    Mirror,
    /// nftables/ebtables rules of the bridge family, or inet ones with br_netfilter.
    Firewall,
}

/// One thing found on the path tap–bridge–uplink that restricts or changes the VM's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct PolicyFinding {
    /// What it is.
    #[serde(flatten)]
    pub kind: PolicyKind,
    /// Where it was found: an interface, a table, an element of the VM's definition.
    pub place: String,
    /// The rule as its owner would write or see it.
    pub rule: String,
    /// What a waiver calls it: the same at each start of the VM. Without one nothing waives it, because nobody
    /// could say what they waive (it could not be read), or because it is what a VM's port is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Somebody's decision that a VM may have a VF although one rule of its port does not hold there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waiver {
    /// The rule's name ([`PolicyFinding::name`]).
    pub rule: String,
    /// Who decided: the user's name or number.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}
