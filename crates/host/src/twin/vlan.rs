//! VLANs of a bridge that filters by them, and of VFs. A guest's port is in one VLAN, untagged; the uplinks carry
//! all of them with their tags, but for the one that untagged frames are of.

use accelnet_model::{BridgeFacts, BridgePort, IfName, MacAddr, PolicyFinding, PolicyKind};

use super::Machine;

/// Where a port is unless somebody says otherwise, and the host (net/bridge/br_vlan.c, `default_pvid`).
const DEFAULT: u16 = 1;
/// Where all frames are on a bridge that does not filter (net/bridge/br_input.c).
const NONE: u16 = 0;

impl Machine {
    /// The bridge filters by VLAN from now on, and these addresses' guests have a VLAN of their own. Guests are
    /// started afterwards.
    pub fn filter_by_vlan(
        &mut self,
        bridge: &IfName,
        guests: impl IntoIterator<Item = (MacAddr, u16)>,
    ) {
        self.vlans.extend(guests);
        let mut bridges = self.bridges.iter_mut();
        if let Some(found) = bridges.find(|found| &found.ifname == bridge) {
            found.vlan_filtering = true;
            for port in &mut found.ports {
                port.pvid = Some(DEFAULT);
            }
        }
    }

    /// The VLAN of the port that a guest with this address gets on a bridge.
    pub(super) fn pvid_for(&self, bridge: &IfName, mac: MacAddr) -> Option<u16> {
        let mut bridges = self.bridges.iter();
        let filters = bridges.any(|found| &found.ifname == bridge && found.vlan_filtering);
        filters.then(|| self.vlans.get(&mac).copied().unwrap_or(DEFAULT))
    }

    /// The VLAN of an address, which is its guest's if it is one's.
    pub(super) fn vlan_of(&self, bridge: &BridgeFacts, port: &IfName, mac: MacAddr) -> Option<u16> {
        let mut guests = self.guests.iter();
        let guest = guests.find(|guest| guest.mac == mac);
        let port = guest.map_or(port, |guest| &guest.tap);
        bridge.port(port)?.pvid
    }

    /// What the tap's VLAN is as policy: that of the uplinks' untagged frames is none.
    pub(super) fn vlan_policy(&self, tap: &IfName) -> Option<PolicyFinding> {
        let vlan = self.port(tap)?.pvid.filter(|vlan| *vlan != DEFAULT)?;
        Some(PolicyFinding {
            kind: PolicyKind::AccessVlan {
                vlan,
                uplink_tagged: true,
            },
            place: tap.to_string(),
            rule: format!("{vlan} PVID untagged"),
            name: None,
        })
    }
}

/// The VLAN in which a frame is that comes in by a port, or from the host, with a tag or without; `None` if it is
/// dropped there.
pub fn within(bridge: &BridgeFacts, from: Option<&IfName>, tag: Option<u16>) -> Option<u16> {
    if !bridge.vlan_filtering {
        return Some(NONE);
    }
    match from {
        Some(port) => tag.or(bridge.port(port)?.pvid),
        None => Some(DEFAULT),
    }
}

/// The host has its address in this VLAN.
pub fn is_the_hosts(vlan: u16) -> bool {
    vlan == NONE || vlan == DEFAULT
}

/// Frames of the VLAN leave by a guest's port.
pub fn leaves(port: &BridgePort, vlan: u16) -> bool {
    vlan == NONE || port.pvid == Some(vlan)
}

/// The tag with which a frame leaves by an uplink that carries it.
pub fn tag_at(uplink: &BridgePort, vlan: u16, tag: Option<u16>) -> Option<u16> {
    match vlan {
        NONE => tag,
        _ => Some(vlan).filter(|vlan| uplink.pvid != Some(*vlan)),
    }
}
