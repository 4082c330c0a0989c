//! rtnetlink's numbers and message heads, once for all modules.
//!
//! What the C library has is taken from there; the rest is written down with the header of
//! include/uapi/linux that it is from.

pub use libc::{
    IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_CARRIER, IFLA_EXT_MASK, IFLA_IFALIAS, IFLA_IFNAME,
    IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_INFO_SLAVE_DATA, IFLA_INFO_SLAVE_KIND, IFLA_LINK,
    IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_PERM_ADDRESS, IFLA_STATS64, IFLA_TXQLEN,
    IFLA_VFINFO_LIST, IFLA_XDP, NDA_LLADDR, NDA_MASTER, NDA_VLAN, NTF_MASTER, NTF_SELF, NUD_NOARP,
    NUD_PERMANENT, RT_SCOPE_LINK, RTA_MULTIPATH, RTA_OIF, RTM_DELLINK, RTM_DELNEIGH, RTM_GETADDR,
    RTM_GETLINK, RTM_GETNEIGH, RTM_GETQDISC, RTM_GETROUTE, RTM_GETTFILTER, RTM_NEWLINK,
    RTM_NEWNEIGH, RTM_NEWQDISC, RTM_SETLINK, RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_TC,
    RTPROT_KERNEL, TCA_KIND, TCA_OPTIONS,
};

use super::attributes::{find, text};

// netlink.h, as message flags are.
/// Answer with the whole table.
pub const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// Make it if it does not exist.
pub const CREATE: u16 = libc::NLM_F_CREATE as u16;
/// Put it in place of what is there.
pub const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
/// Beside what is there.
pub const APPEND: u16 = libc::NLM_F_APPEND as u16;
/// Only if it does not exist.
pub const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;

// neighbour.h
/// The entry does not move when its address shows up as a source elsewhere (Linux 4.20).
pub const NTF_STICKY: u8 = 0x40;

// rtnetlink.h: what a dump of links has more or less of.
/// VFs.
pub const RTEXT_FILTER_VF: u32 = 1 << 0;
/// VLANs of bridge ports, ranges as two entries.
pub const RTEXT_FILTER_BRVLAN_COMPRESSED: u32 = 1 << 2;
/// No statistics.
pub const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

// if_link.h
/// Alternative names of an interface (Linux 5.5).
pub const IFLA_PROP_LIST: u16 = 52;
/// Of `IFLA_PROP_LIST`: one of them.
pub const IFLA_ALT_IFNAME: u16 = 53;
/// Of a VLAN interface's `IFLA_INFO_DATA`: its number.
pub const IFLA_VLAN_ID: u16 = 1;
/// Of `IFLA_XDP`: how a program is attached; 0 means that none is.
pub const IFLA_XDP_ATTACHED: u16 = 2;
/// Of a bridge's `IFLA_INFO_DATA`.
pub const IFLA_BR_VLAN_FILTERING: u16 = 7;
/// The same: the type of its tags, big-endian (`ETH_P_8021Q` or `ETH_P_8021AD`).
pub const IFLA_BR_VLAN_PROTOCOL: u16 = 8;
/// The same: its frames pass the filters of IPv4, of IPv6, of ARP.
pub const IFLA_BR_NF_CALL: [u16; 3] = [36, 37, 38];
/// Of a bridge port's `IFLA_INFO_SLAVE_DATA`, a byte like those that follow: the spanning tree's state.
pub const IFLA_BRPORT_STATE: u16 = 1;
/// The bridge answers ARP in the port's place.
pub const IFLA_BRPORT_PROXYARP: u16 = 10;
/// The same where all know all addresses.
pub const IFLA_BRPORT_PROXYARP_WIFI: u16 = 12;
/// Addresses are learned.
pub const IFLA_BRPORT_LEARNING: u16 = 8;
/// Unknown unicast goes there.
pub const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
/// VLANs are put in place of tunnels' numbers.
pub const IFLA_BRPORT_VLAN_TUNNEL: u16 = 29;
/// Multicast that nobody asked for goes there.
pub const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
/// Broadcast goes there.
pub const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
/// The bridge answers ARP and neighbour requests in the port's place.
pub const IFLA_BRPORT_NEIGH_SUPPRESS: u16 = 32;
/// The port talks only to ports that are not isolated.
pub const IFLA_BRPORT_ISOLATED: u16 = 33;
/// Only known addresses may send (Linux 5.16).
pub const IFLA_BRPORT_LOCKED: u16 = 39;
/// Unknown senders become locked entries (Linux 6.2).
pub const IFLA_BRPORT_MAB: u16 = 40;
/// How many multicast groups it may join; a number, 0 for any (Linux 6.3).
pub const IFLA_BRPORT_MCAST_MAX_GROUPS: u16 = 42;
/// The same as `IFLA_BRPORT_NEIGH_SUPPRESS` by VLAN (Linux 6.5).
pub const IFLA_BRPORT_NEIGH_VLAN_SUPPRESS: u16 = 43;

// if_bridge.h
/// Of a port's `IFLA_AF_SPEC`: `struct bridge_vlan_info`, flags and VLAN.
pub const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
/// Asks for the VLANs of bridge ports and their own settings (rtnetlink.h; Linux 5.6).
pub const RTM_GETVLAN: u16 = 114;
/// Of an answer to it: a VLAN, or several that are alike (if_bridge.h).
pub const BRIDGE_VLANDB_ENTRY: u16 = 1;
/// Of such an entry: the first, as in `IFLA_BRIDGE_VLAN_INFO`.
pub const BRIDGE_VLANDB_ENTRY_INFO: u16 = 1;
/// The last, if they are several.
pub const BRIDGE_VLANDB_ENTRY_RANGE: u16 = 2;
/// The spanning tree's state.
pub const BRIDGE_VLANDB_ENTRY_STATE: u16 = 3;

// pkt_sched.h
/// The place of a device's root discipline.
pub const TC_H_ROOT: u32 = 0xffff_ffff;
/// The place of `ingress` and `clsact`.
pub const TC_H_INGRESS: u32 = 0xffff_fff1;
/// Where the filters of `ingress` are.
pub const TC_H_INGRESS_FILTERS: u32 = 0xffff_0000;
/// Where `clsact`'s filters for what comes in are.
pub const TC_H_MIN_INGRESS: u32 = 0xffff_fff2;
/// Where `clsact`'s filters for what goes out are.
pub const TC_H_MIN_EGRESS: u32 = 0xffff_fff3;
// rtnetlink.h
/// Of a discipline: number of the block of filters that it shares with others.
pub const TCA_INGRESS_BLOCK: u16 = 13;
/// The same for what goes out.
pub const TCA_EGRESS_BLOCK: u16 = 14;
/// Stands for an interface's number where a shared block is meant.
pub const TCM_IFINDEX_MAGIC_BLOCK: u32 = 0xffff_ffff;

/// Size of `struct ifinfomsg`.
pub const IFINFOMSG: usize = 16;
/// Size of `struct ndmsg`.
pub const NDMSG: usize = 12;
/// Size of `struct tcmsg`.
pub const TCMSG: usize = 20;

/// `struct ifinfomsg`: family and type (0), index, flags, mask of flags to change.
pub fn ifinfomsg(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [0, index, flags, change].map(u32::to_ne_bytes).concat()
}

/// `struct ndmsg` of a forwarding entry: family and padding, index, state, flags, type.
pub fn ndmsg(index: u32, state: u16, flags: u8) -> Vec<u8> {
    let mut message = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
    message.extend(index.to_ne_bytes());
    message.extend(state.to_ne_bytes());
    message.extend([flags, 0]);
    message
}

/// `struct tcmsg`: family and padding (0), index, handle, parent, info (0).
pub fn tcmsg(index: u32, handle: u32, parent: u32) -> Vec<u8> {
    [0, index, handle, parent, 0].map(u32::to_ne_bytes).concat()
}

/// An attribute's text; empty if there is no such attribute.
pub fn text_of(attributes: &[u8], kind: u16) -> String {
    find(attributes, kind).map(text).unwrap_or_default()
}
