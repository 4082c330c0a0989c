//! What was observed of a Linux bridge: ports, forwarding entries and whatever restricts traffic.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{IfName, MacAddr};

/// One entry of a bridge's forwarding table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct FdbEntry {
    /// The address.
    pub mac: MacAddr,
    /// VLAN, where the bridge filters by VLAN.
    pub vlan: Option<u16>,
    /// Belongs to the port or bridge itself (`permanent` in iproute2's words).
    pub local: bool,
    /// Set by somebody, not learned.
    pub fixed: bool,
    /// It does not move when its address shows up as a source elsewhere (`NTF_STICKY`, Linux 4.20).
    #[serde(default)]
    pub sticky: bool,
}

impl FdbEntry {
    /// Says where frames to the address go: it is not the port's or the bridge's own, and of this VLAN, where
    /// the bridge filters by VLAN.
    pub fn is_of(&self, key: FdbKey) -> bool {
        self.mac == key.mac && !self.local && (key.vlan.is_none() || self.vlan == key.vlan)
    }
}

/// What a forwarding entry is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbKey {
    /// The address.
    pub mac: MacAddr,
    /// The VLAN, on a bridge that filters by VLAN; `None` stands for all that the port is in.
    pub vlan: Option<u16>,
}

/// One port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BridgePort {
    /// Interface name.
    pub ifname: IfName,
    /// Source addresses are learned (`IFLA_BRPORT_LEARNING`).
    pub learning: bool,
    /// Unknown unicast is sent here (`IFLA_BRPORT_UNICAST_FLOOD`).
    pub flood: bool,
    /// The port may only talk to ports that are not isolated (`IFLA_BRPORT_ISOLATED`).
    pub isolated: bool,
    /// Frames the host received from the port: for a tap what the guest sent.
    pub rx_packets: u64,
    /// Where the bridge filters by VLAN: the VLAN of untagged frames that come in here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvid: Option<u16>,
    /// Forwarding entries that point to this port.
    pub fdb: Vec<FdbEntry>,
    /// Our hold queue is on the port.
    pub hold_queue: bool,
    /// What it is a VLAN of, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan_of: Option<VlanOf>,
}

/// What a VLAN interface is on top of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VlanOf {
    /// The interface below, e.g. an adapter or a bond.
    pub lower: IfName,
    /// The VLAN's number.
    pub vlan: u16,
}

/// What a bond bundles, and by which of it frames go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BondFacts {
    /// Its members, adapters or not.
    pub members: Vec<IfName>,
    /// The member that is used now, in modes that use one; `None` if no member can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<IfName>,
}

/// The bonding driver's name of the only mode in which one member at a time is the way out.
const ACTIVE_BACKUP: &str = "active-backup";

/// A Linux bridge and everything behind it that we need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BridgeFacts {
    /// Interface name.
    pub ifname: IfName,
    /// `bridge`, or what else the interface is (`openvswitch`, `bond`, …).
    pub kind: String,
    /// The mode of a bond, in the bonding driver's words (`active-backup`, `802.3ad`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond_mode: Option<String>,
    /// What a bond bundles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond: Option<BondFacts>,
    /// Its alias (`IFLA_IFALIAS`); that of a bridge that we made says for which intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What it is a port of itself: a bond's bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<IfName>,
    /// The bridge's own address.
    pub mac: MacAddr,
    /// Its address was set by somebody (`addr_assign_type` 3), so that it does not follow its ports.
    pub mac_pinned: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// `vlan_filtering`.
    pub vlan_filtering: bool,
    /// The host has addresses on the bridge.
    pub has_host_address: bool,
    /// Its ports.
    pub ports: Vec<BridgePort>,
}

impl BridgePort {
    /// Entries of an address that are not the port's or the bridge's own; in this VLAN, where the bridge
    /// filters by VLAN.
    pub fn entries_of(&self, key: FdbKey) -> impl Iterator<Item = &FdbEntry> {
        self.fdb.iter().filter(move |entry| entry.is_of(key))
    }
}

impl BridgeFacts {
    /// The members and the used one of a bond that uses one member at a time; `None` for all else.
    pub fn backup_bond(&self) -> Option<&BondFacts> {
        let mode = self.bond_mode.as_deref();
        self.bond.as_ref().filter(|_| mode == Some(ACTIVE_BACKUP))
    }

    /// The port with this name.
    pub fn port(&self, ifname: &IfName) -> Option<&BridgePort> {
        self.ports.iter().find(|port| &port.ifname == ifname)
    }
}
