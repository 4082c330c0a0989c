//! All interfaces as rtnetlink shows them, by one dump.

use std::collections::{BTreeMap, HashMap};

use accelnet_model::{IfName, MacAddr};

use super::{
    attributes::{find, u16_at, u32_at},
    netlink::Netlink,
    uapi::{
        DUMP, IFINFOMSG, IFLA_ADDRESS, IFLA_BR_NF_CALL, IFLA_BR_VLAN_FILTERING,
        IFLA_BR_VLAN_PROTOCOL, IFLA_CARRIER, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_DATA,
        IFLA_INFO_KIND, IFLA_INFO_SLAVE_DATA, IFLA_INFO_SLAVE_KIND, IFLA_LINK, IFLA_LINKINFO,
        IFLA_MASTER, IFLA_MTU, IFLA_STATS64, IFLA_VLAN_ID, IFLA_XDP, IFLA_XDP_ATTACHED,
        RTM_GETLINK, ifinfomsg, text_of,
    },
};
use crate::{HostError, Result};

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: IfName,
    /// `bridge`, `bond`, `tun`, …; empty for cards.
    pub kind: String,
    /// Administratively up.
    pub up: bool,
    /// Its address.
    pub mac: MacAddr,
    /// MTU in bytes.
    pub mtu: u32,
    /// Number of what it is a port or member of.
    pub master: Option<u32>,
    /// Of a VLAN interface: number of the interface below it, and the VLAN's.
    pub vlan_of: Option<(u32, u16)>,
    /// Its alias; empty if it has none.
    pub alias: String,
    /// The kernel sees a signal, or for a tap a reader.
    pub carrier: bool,
    /// Number of the interface that it is on top of: a VLAN's, a macvlan's.
    pub lower: Option<u32>,
    /// It is a bridge that filters by VLAN.
    pub by_vlan: bool,
    /// It is a bridge whose tags are those of 802.1Q.
    pub dot1q: bool,
    /// It is a bridge whose frames pass the filters of IPv4, IPv6 and ARP (`nf_call_iptables` and its like).
    pub calls_filters: [bool; 3],
    /// Frames that the host received from it.
    pub rx_packets: u64,
    /// An XDP program is attached.
    pub xdp: bool,
    /// `IFLA_BRPORT_…` of a bridge's port, as they came.
    port: Option<Vec<u8>>,
}

/// All interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    by_index: BTreeMap<u32, Interface>,
    by_name: HashMap<IfName, u32>,
}

impl Links {
    /// Reads them.
    pub fn read() -> Result<Self> {
        let operation = "read all interfaces";
        let answers =
            Netlink::route()?.request(operation, RTM_GETLINK, DUMP, &ifinfomsg(0, 0, 0))?;
        let mut links = Self::default();
        for link in answers.iter().filter_map(|answer| decode(&answer.payload)) {
            links.by_name.insert(link.name.clone(), link.index);
            links.by_index.insert(link.index, link);
        }
        Ok(links)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.by_index.values()
    }

    /// The one with this number.
    pub fn get(&self, index: u32) -> Option<&Interface> {
        self.by_index.get(&index)
    }

    /// The one with this name.
    pub fn named(&self, name: &IfName) -> Option<&Interface> {
        self.get(*self.by_name.get(name)?)
    }

    /// The same; [`HostError::Gone`] if there is none.
    pub fn required(&self, name: &IfName) -> Result<&Interface> {
        let found = self.named(name);
        found.ok_or_else(|| HostError::Gone(name.to_string()))
    }
}

impl Interface {
    /// It is a port of a bridge.
    pub fn is_port(&self) -> bool {
        self.port.is_some()
    }

    /// An attribute of a bridge's port that is on or off, or a number that is not 0. None if the kernel does not have it, or the
    /// interface is no port of a bridge.
    pub fn port_flag(&self, attribute: u16) -> Option<bool> {
        let value = find(self.port.as_deref()?, attribute)?;
        (!value.is_empty()).then(|| value.iter().any(|byte| *byte != 0))
    }

    /// An attribute of a bridge's port that is a byte.
    pub fn port_byte(&self, attribute: u16) -> Option<u8> {
        find(self.port.as_deref()?, attribute)?.first().copied()
    }
}

/// None if it is cut off, or its name is none that anything can be called by.
pub fn decode(payload: &[u8]) -> Option<Interface> {
    let attributes = payload.get(IFINFOMSG..)?;
    let number = |kind| find(attributes, kind).and_then(|value| u32_at(value, 0));
    let info = find(attributes, IFLA_LINKINFO).unwrap_or_default();
    let data = find(info, IFLA_INFO_DATA).unwrap_or_default();
    let kind = text_of(info, IFLA_INFO_KIND);
    let first = |list, kind| find(list, kind).and_then(<[u8]>::first).copied();
    let of_bridge = |option| kind == "bridge" && first(data, option).is_some_and(|on| on != 0);
    let is_port = text_of(info, IFLA_INFO_SLAVE_KIND) == "bridge";
    let xdp = find(attributes, IFLA_XDP).unwrap_or_default();
    Some(Interface {
        index: u32_at(payload, 4)?,
        name: text_of(attributes, IFLA_IFNAME).parse().ok()?,
        up: u32_at(payload, 8)? & libc::IFF_UP as u32 != 0,
        // Of other lengths: no Ethernet.
        mac: find(attributes, IFLA_ADDRESS)
            .and_then(|mac| mac.try_into().ok())
            .map_or(MacAddr::ZERO, MacAddr),
        mtu: number(IFLA_MTU).unwrap_or(0),
        master: number(IFLA_MASTER),
        carrier: first(attributes, IFLA_CARRIER).is_some_and(|carrier| carrier != 0),
        lower: number(IFLA_LINK),
        vlan_of: number(IFLA_LINK)
            .zip(find(data, IFLA_VLAN_ID).and_then(|vlan| u16_at(vlan, 0)))
            .filter(|_| kind == "vlan"),
        alias: text_of(attributes, IFLA_IFALIAS),
        by_vlan: of_bridge(IFLA_BR_VLAN_FILTERING),
        dot1q: kind == "bridge"
            && find(data, IFLA_BR_VLAN_PROTOCOL)
                .and_then(<[u8]>::first_chunk)
                .is_some_and(|kind| u16::from_be_bytes(*kind) == libc::ETH_P_8021Q as u16),
        calls_filters: IFLA_BR_NF_CALL.map(of_bridge),
        kind,
        // struct rtnl_link_stats64 begins with it.
        rx_packets: find(attributes, IFLA_STATS64)
            .and_then(|stats| stats.first_chunk())
            .map_or(0, |count| u64::from_ne_bytes(*count)),
        xdp: first(xdp, IFLA_XDP_ATTACHED).is_some_and(|mode| mode != 0),
        port: is_port.then(|| {
            find(info, IFLA_INFO_SLAVE_DATA)
                .unwrap_or_default()
                .to_vec()
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::{
        attributes::push,
        own_network::{bridge, cable, in_own_network, name},
        sysfs,
        uapi::{IFLA_BRPORT_ISOLATED, IFLA_BRPORT_LEARNING, IFLA_BRPORT_UNICAST_FLOOD},
    };

    #[test]
    fn what_the_kernel_shows_is_what_sysfs_shows() {
        in_own_network(|root| {
            assert!(bridge("br0", &[], &["t0", "t1"]));
            cable("alone", None);
            let file = |path: &str| root.path(&format!("sys/class/net/{path}"));
            sysfs::write(&file("br0/ifalias"), "accelnet:a", "mark").unwrap();
            for flag in ["isolated", "learning"] {
                let value = if flag == "isolated" { "1" } else { "0" };
                sysfs::write(&file(&format!("t0/brport/{flag}")), value, "set").unwrap();
            }
            let links = Links::read().unwrap();
            let br0 = links.required(&name("br0")).unwrap();
            assert_eq!(
                (br0.kind.as_str(), br0.up, br0.is_port()),
                ("bridge", true, false)
            );
            assert_eq!(
                (br0.alias.as_str(), br0.mtu, br0.by_vlan),
                ("accelnet:a", 1500, false)
            );
            assert_eq!(sysfs::parse(&file("br0/address")).unwrap(), Some(br0.mac));
            let t0 = links.named(&name("t0")).unwrap();
            assert_eq!(
                (t0.master, t0.is_port(), t0.xdp),
                (Some(br0.index), true, false)
            );
            assert_eq!(links.get(t0.index), Some(t0));
            let flags = [
                (IFLA_BRPORT_ISOLATED, "isolated"),
                (IFLA_BRPORT_LEARNING, "learning"),
                (IFLA_BRPORT_UNICAST_FLOOD, "unicast_flood"),
            ];
            for port in ["t0", "t1"] {
                let link = links.named(&name(port)).unwrap();
                for (attribute, flag) in flags {
                    let shown =
                        sysfs::parse::<u8>(&file(&format!("{port}/brport/{flag}"))).unwrap();
                    let shown = shown.map(|value| value != 0);
                    assert_eq!(link.port_flag(attribute), shown, "{port} {flag}");
                }
            }
            let alone = links.named(&name("alone")).unwrap();
            assert_eq!(
                (alone.up, alone.master, alone.port_flag(8)),
                (false, None, None)
            );
            let gone = links.required(&name("t9")).unwrap_err();
            assert!(gone.is_gone());
        });
    }

    #[test]
    fn an_interface_cut_anywhere_is_none_or_read_as_far_as_it_goes() {
        let mut message = ifinfomsg(7, libc::IFF_UP as u32, 0);
        push(&mut message, IFLA_IFNAME, b"t0\0");
        push(&mut message, IFLA_STATS64, &5u64.to_ne_bytes());
        let mut xdp = Vec::new();
        push(&mut xdp, IFLA_XDP_ATTACHED, &[2]);
        push(&mut message, IFLA_XDP, &xdp);
        let whole = decode(&message).unwrap();
        assert_eq!((whole.rx_packets, whole.xdp, whole.up), (5, true, true));
        for length in 0..message.len() {
            assert!(decode(&message[..length]).is_none_or(|link| link.index == 7));
        }
    }
}
