//! A PF's interface by rtnetlink: permanent address, attributes of its VFs, its address filter.
//!
//! VF attributes are asked for without statistics (`RTEXT_FILTER_SKIP_STATS`): with them, a PF with
//! many VFs exceeds what one attribute can hold, and the kernel answers `EMSGSIZE` (Linux 5.16 on
//! leaves out the VFs' statistics too). Source of what a missing value looks like:
//! net/core/rtnetlink.c, `rtnl_fill_vfinfo`: drivers that do not know spoof check or trust leave
//! the preset -1; a rate they do not know reads 0, like no limit.

use std::collections::BTreeMap;

use accelnet_model::{AdapterName, IfName, MacAddr, Support, VfAttributes, VfLink};

use super::{
    attributes::{find, iter, push, text, u32_at},
    netlink::{Netlink, ifindex},
    sysfs::{self, Root},
    uapi::{
        IFINFOMSG, IFLA_ALT_IFNAME, IFLA_CARRIER, IFLA_EXT_MASK, IFLA_PERM_ADDRESS, IFLA_PROP_LIST,
        IFLA_VFINFO_LIST, RTEXT_FILTER_SKIP_STATS, RTEXT_FILTER_VF, RTM_GETLINK, RTM_SETLINK,
        ifinfomsg,
    },
};
use crate::{HostError, Result};

// include/uapi/linux/if_link.h
const IFLA_VF_INFO: u16 = 1;
const IFLA_VF_MAC: u16 = 1;
const IFLA_VF_VLAN: u16 = 2;
const IFLA_VF_SPOOFCHK: u16 = 4;
const IFLA_VF_LINK_STATE: u16 = 5;
const IFLA_VF_RATE: u16 = 6;
const IFLA_VF_TRUST: u16 = 9;
const IFLA_VF_VLAN_LIST: u16 = 12;
const IFLA_VF_VLAN_INFO: u16 = 1;

/// One VF as the PF's driver reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vf {
    /// The attributes.
    pub attributes: VfAttributes,
    /// The VLAN tag is 802.1Q (0x8100), not 802.1ad; meaningless without VLAN.
    pub dot1q: bool,
}

impl Vf {
    /// What is known of a VF that the driver says nothing about.
    pub fn unknown() -> Self {
        Self {
            attributes: VfAttributes {
                mac: MacAddr::ZERO,
                vlan: 0,
                qos: 0,
                spoofchk: Support::Unknown,
                trust: Support::Unknown,
                max_tx_rate_mbps: Support::Unknown,
                min_tx_rate_mbps: Support::Unknown,
                link: Support::Unknown,
            },
            dot1q: true,
        }
    }
}

/// What rtnetlink says of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The address burnt into the card, if the driver gives one.
    pub permanent_mac: Option<MacAddr>,
    /// Alternative names (Linux 5.5). Those that no option of ours can hold are left out.
    pub altnames: Vec<AdapterName>,
    /// It is up and has a link.
    pub carrier: bool,
    /// VFs by index; some drivers leave out VFs that are being set up.
    pub vfs: BTreeMap<u32, Vf>,
}

/// One change of a VF's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Administrative address; zero takes it away.
    Mac(MacAddr),
    /// VLAN (802.1Q) and priority; 0 takes it away.
    Vlan(u16, u8),
    /// Spoof check.
    Spoofchk(bool),
    /// Trust.
    Trust(bool),
    /// The link that its user sees.
    Link(VfLink),
    /// Lowest and highest transmit rate in Mbit/s. Always both: a message with one of them sets the
    /// other to 0 (drivers get both in one call).
    Rates {
        /// Guaranteed rate.
        min_mbps: u32,
        /// Limit.
        max_mbps: u32,
    },
}

/// Reads an interface.
pub fn observe(name: &IfName) -> Result<Link> {
    let mut message = ifinfomsg(ifindex(name)?, 0, 0);
    let mask = RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS;
    push(&mut message, IFLA_EXT_MASK, &mask.to_ne_bytes());
    let operation = format!("read the link {name} and its VFs");
    let answers = Netlink::route()?.request(&operation, RTM_GETLINK, 0, &message)?;
    let answer = answers
        .first()
        .and_then(|answer| answer.payload.get(IFINFOMSG..))
        .ok_or_else(|| HostError::Malformed(format!("{operation}: no answer")))?;
    Ok(decode(answer))
}

/// Reads the attributes of an interface.
pub fn decode(attributes: &[u8]) -> Link {
    let list = find(attributes, IFLA_VFINFO_LIST).unwrap_or_default();
    Link {
        // InfiniBand's has 20 bytes.
        permanent_mac: find(attributes, IFLA_PERM_ADDRESS)
            .filter(|address| address.len() == 6)
            .and_then(mac),
        altnames: iter(find(attributes, IFLA_PROP_LIST).unwrap_or_default())
            .filter(|(kind, _)| *kind == IFLA_ALT_IFNAME)
            .filter_map(|(_, name)| text(name).parse().ok())
            .collect(),
        carrier: find(attributes, IFLA_CARRIER) == Some(&[1]),
        vfs: iter(list)
            .filter(|(kind, _)| *kind == IFLA_VF_INFO)
            .filter_map(|(_, info)| decode_vf(info))
            .collect(),
    }
}

/// Every attribute of a VF starts with its number, so its values are the words from the second on.
fn decode_vf(info: &[u8]) -> Option<(u32, Vf)> {
    let address = find(info, IFLA_VF_MAC)?;
    let value = |kind, word: usize| u32_at(find(info, kind)?, 4 * word);
    let flag = |kind| match value(kind, 1) {
        Some(0) => Support::Supported(false),
        Some(u32::MAX) => Support::Unsupported,
        Some(_) => Support::Supported(true),
        None => Support::Unknown,
    };
    let number = |kind, word| value(kind, word).map_or(Support::Unknown, Support::Supported);
    let attributes = VfAttributes {
        mac: address.get(4..).and_then(mac)?,
        vlan: value(IFLA_VF_VLAN, 1).map_or(0, |vlan| vlan as u16),
        qos: value(IFLA_VF_VLAN, 2).map_or(0, |qos| qos as u8),
        spoofchk: flag(IFLA_VF_SPOOFCHK),
        trust: flag(IFLA_VF_TRUST),
        min_tx_rate_mbps: number(IFLA_VF_RATE, 1),
        max_tx_rate_mbps: number(IFLA_VF_RATE, 2),
        // Drivers that have no such setting leave 0, which reads like auto, and is what they do.
        link: value(IFLA_VF_LINK_STATE, 1)
            .and_then(|state| {
                let mut known = [VfLink::Auto, VfLink::Up, VfLink::Down].into_iter();
                known.find(|link| link_state(*link) == state)
            })
            .map_or(Support::Unknown, Support::Supported),
    };
    // struct ifla_vf_vlan_info: VF, VLAN, priority, protocol (big-endian u16).
    let dot1q = iter(find(info, IFLA_VF_VLAN_LIST).unwrap_or_default())
        .filter(|(kind, _)| *kind == IFLA_VF_VLAN_INFO)
        .all(|(_, tag)| tag.get(12..14) == Some(&0x8100u16.to_be_bytes()));
    Some((u32_at(address, 0)?, Vf { attributes, dot1q }))
}

/// The first six bytes as an address: the kernel pads addresses in VF attributes to 32.
fn mac(bytes: &[u8]) -> Option<MacAddr> {
    bytes.first_chunk().copied().map(MacAddr)
}

/// Changes one attribute of a VF.
pub fn change(name: &IfName, vf: u32, change: Change) -> Result<()> {
    let operation = format!("{} on VF {vf} of {name}", in_words(change));
    let mut message = ifinfomsg(ifindex(name)?, 0, 0);
    message.extend(encode(vf, change));
    Netlink::route_to_cards()?.request(&operation, RTM_SETLINK, 0, &message)?;
    Ok(())
}

fn encode(vf: u32, change: Change) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (kind, value): (u16, Vec<u8>) = match change {
        Change::Mac(address) => {
            let mut value: Vec<u8> = words(&[vf]);
            value.extend(address.0);
            // struct ifla_vf_mac holds 32 bytes of address.
            value.resize(36, 0);
            (IFLA_VF_MAC, value)
        }
        Change::Vlan(vlan, qos) => (IFLA_VF_VLAN, words(&[vf, vlan.into(), qos.into()])),
        Change::Spoofchk(on) => (IFLA_VF_SPOOFCHK, words(&[vf, on.into()])),
        Change::Trust(on) => (IFLA_VF_TRUST, words(&[vf, on.into()])),
        Change::Link(link) => (IFLA_VF_LINK_STATE, words(&[vf, link_state(link)])),
        Change::Rates { min_mbps, max_mbps } => (IFLA_VF_RATE, words(&[vf, min_mbps, max_mbps])),
    };
    let (mut info, mut list, mut message) = (Vec::new(), Vec::new(), Vec::new());
    push(&mut info, kind, &value);
    push(&mut list, IFLA_VF_INFO, &info);
    push(&mut message, IFLA_VFINFO_LIST, &list);
    message
}

/// `IFLA_VF_LINK_STATE_…` (include/uapi/linux/if_link.h).
fn link_state(link: VfLink) -> u32 {
    match link {
        VfLink::Auto => 0,
        VfLink::Up => 1,
        VfLink::Down => 2,
    }
}

fn in_words(change: Change) -> String {
    let on_off = |on| if on { "on" } else { "off" };
    match change {
        Change::Mac(MacAddr::ZERO) => "clear the address".into(),
        Change::Mac(mac) => format!("set address {mac}"),
        Change::Vlan(0, _) => "take away the VLAN".into(),
        Change::Vlan(vlan, qos) => format!("set VLAN {vlan} priority {qos}"),
        Change::Spoofchk(on) => format!("turn spoof check {}", on_off(on)),
        Change::Trust(on) => format!("turn trust {}", on_off(on)),
        Change::Link(VfLink::Auto) => "let the link follow the adapter's".into(),
        Change::Link(VfLink::Up) => "set the link up".into(),
        Change::Link(VfLink::Down) => "set the link down".into(),
        Change::Rates { min_mbps, max_mbps } => {
            format!("set transmit rates min {min_mbps} max {max_mbps} Mbit/s")
        }
    }
}

/// The interface is administratively up.
pub fn is_up(root: &Root, name: &IfName) -> Result<bool> {
    let path = root.path(&format!("sys/class/net/{name}/flags"));
    let flags = sysfs::read(&path)?.ok_or_else(|| HostError::Gone(name.to_string()))?;
    let odd = |_| HostError::Malformed(format!("{}: '{flags}'", path.display()));
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).map_err(odd)?;
    Ok(flags & libc::IFF_UP as u32 != 0)
}

/// Sets an interface administratively up.
pub fn set_up(name: &IfName) -> Result<()> {
    let up = libc::IFF_UP as u32;
    let message = ifinfomsg(ifindex(name)?, up, up);
    Netlink::route_to_cards()?.request(&format!("set {name} up"), RTM_SETLINK, 0, &message)?;
    Ok(())
}

#[cfg(test)]
mod tests;
