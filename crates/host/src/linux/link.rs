//! A PF's interface by rtnetlink: permanent address, attributes of its VFs, its address filter.
//!
//! VF attributes are asked for without statistics (`RTEXT_FILTER_SKIP_STATS`): with them, a PF with
//! many VFs exceeds what one attribute can hold, and the kernel answers `EMSGSIZE` (Linux 5.16 on
//! leaves out the VFs' statistics too). Source of what a missing value looks like:
//! net/core/rtnetlink.c, `rtnl_fill_vfinfo`: drivers that do not know spoof check or trust leave
//! the preset -1; a rate they do not know reads 0, like no limit.

use std::collections::BTreeMap;

use accelnet_model::{IfName, MacAddr, Support, VfAttributes};
use netlink_bindings::{
    rt_link::{
        Ifinfomsg, IflaVfMac, IflaVfRate, IflaVfSpoofchk, IflaVfTrust, IflaVfVlan,
        IterableLinkAttrs, IterableVfinfoAttrs, OpGetlinkDo, PushVfinfoAttrs, Request,
    },
    rt_neigh,
};

use super::netlink::{Netlink, ifindex};
use crate::Result;

/// include/uapi/linux/rtnetlink.h.
const RTEXT_FILTER_VF: u32 = 1;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

/// include/uapi/linux/neighbour.h.
const NTF_SELF: u8 = 2;

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
    let header = Ifinfomsg {
        ifi_index: ifindex(name)? as i32,
        ..Ifinfomsg::default()
    };
    let mut request = Request::new().op_getlink_do(&header);
    request
        .encode()
        .push_ext_mask(RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS);
    let operation = format!("read the link {name} and its VFs");
    let reply = Netlink::route()?.get(&operation, &request)?;
    Ok(decode(OpGetlinkDo::decode_request(&reply).1))
}

fn decode(attributes: IterableLinkAttrs<'_>) -> Link {
    let vfs = attributes.get_vfinfo_list().ok();
    let vfs = vfs.into_iter().flat_map(|list| list.get_info());
    Link {
        permanent_mac: attributes.get_perm_address().ok().and_then(mac),
        vfs: vfs.filter_map(|info| decode_vf(&info)).collect(),
    }
}

fn decode_vf(info: &IterableVfinfoAttrs<'_>) -> Option<(u32, Vf)> {
    let address = info.get_mac().ok()?;
    let vlan = info.get_vlan().ok();
    let rate = info.get_rate().ok();
    let flag = |setting: Option<u32>| match setting {
        Some(0) => Support::Supported(false),
        Some(u32::MAX) => Support::Unsupported,
        Some(_) => Support::Supported(true),
        None => Support::Unknown,
    };
    let number = |rate: Option<u32>| rate.map_or(Support::Unknown, Support::Supported);
    let attributes = VfAttributes {
        mac: mac(&address.mac[..6])?,
        vlan: vlan.as_ref().map_or(0, |vlan| vlan.vlan as u16),
        qos: vlan.map_or(0, |vlan| vlan.qos as u8),
        spoofchk: flag(info.get_spoofchk().ok().map(|spoofchk| spoofchk.setting)),
        trust: flag(info.get_trust().ok().map(|trust| trust.setting)),
        max_tx_rate_mbps: number(rate.as_ref().map(|rate| rate.max_tx_rate)),
        min_tx_rate_mbps: number(rate.map(|rate| rate.min_tx_rate)),
    };
    let tags = info.get_vlan_list().ok();
    let dot1q = tags
        .into_iter()
        .flat_map(|list| list.get_info())
        // vlan_proto is a big-endian u16 in the first bytes of the last word.
        .all(|tag| tag.as_array()[12..14] == 0x8100u16.to_be_bytes());
    Some((address.vf, Vf { attributes, dot1q }))
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    let mac = MacAddr(bytes.try_into().ok()?);
    Some(mac)
}

/// Changes one attribute of a VF.
pub fn change(name: &IfName, vf: u32, change: Change) -> Result<()> {
    let header = Ifinfomsg {
        ifi_index: ifindex(name)? as i32,
        ..Ifinfomsg::default()
    };
    let mut request = Request::new().op_setlink_do(&header);
    encode(
        request.encode().nested_vfinfo_list().nested_info(),
        vf,
        change,
    );
    let operation = format!("{} on VF {vf} of {name}", in_words(change));
    Netlink::route()?.ack(&operation, &request)
}

fn encode<P: netlink_bindings::traits::Pusher>(info: PushVfinfoAttrs<P>, vf: u32, change: Change) {
    match change {
        Change::Mac(address) => {
            let mut mac = [0; 32];
            mac[..6].copy_from_slice(&address.0);
            info.push_mac(IflaVfMac { vf, mac })
        }
        Change::Vlan(vlan, qos) => info.push_vlan(IflaVfVlan {
            vf,
            vlan: vlan.into(),
            qos: qos.into(),
        }),
        Change::Spoofchk(on) => info.push_spoofchk(IflaVfSpoofchk {
            vf,
            setting: on.into(),
        }),
        Change::Trust(on) => info.push_trust(IflaVfTrust {
            vf,
            setting: on.into(),
        }),
        Change::Rates { min_mbps, max_mbps } => info.push_rate(IflaVfRate {
            vf,
            min_tx_rate: min_mbps,
            max_tx_rate: max_mbps,
        }),
    };
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
        Change::Rates { min_mbps, max_mbps } => {
            format!("set transmit rates min {min_mbps} max {max_mbps} Mbit/s")
        }
    }
}

/// Sets an interface administratively up.
pub fn set_up(name: &IfName) -> Result<()> {
    let header = Ifinfomsg {
        ifi_index: ifindex(name)? as i32,
        ifi_flags: libc::IFF_UP as u32,
        ifi_change: libc::IFF_UP as u32,
        ..Ifinfomsg::default()
    };
    let request = Request::new().op_setlink_do(&header);
    Netlink::route()?.ack(&format!("set {name} up"), &request)
}

/// Unicast addresses that were put into an interface's own receive filter (`bridge fdb … self`).
pub fn filter(name: &IfName) -> Result<Vec<MacAddr>> {
    let header = rt_neigh::Ndmsg {
        ndm_family: libc::AF_BRIDGE as u8,
        ndm_ifindex: ifindex(name)? as i32,
        ..rt_neigh::Ndmsg::default()
    };
    let request = rt_neigh::Request::new().op_getneigh_dump(&header);
    let operation = format!("read the address filter of {name}");
    let entries = Netlink::route()?.dump(&operation, &request)?;
    let mut filter: Vec<_> = entries
        .iter()
        .filter_map(|entry| {
            let (about, attributes) = rt_neigh::OpGetneighDump::decode_request(entry);
            let own = about.ndm_ifindex == header.ndm_ifindex && about.ndm_flags & NTF_SELF != 0;
            own.then(|| attributes.get_lladdr().ok().and_then(mac))?
        })
        .filter(|mac| !mac.is_group())
        .collect();
    filter.sort_unstable();
    filter.dedup();
    Ok(filter)
}

#[cfg(test)]
mod tests;
