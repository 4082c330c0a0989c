//! What was counted of packets: of all interfaces and of all VFs, by one dump; or of one adapter and its VFs.
//!
//! A driver that counts nothing by VF (it has no `ndo_get_vf_stats`) reads like one whose VFs had no packet: the
//! kernel fills in zeros (net/core/rtnetlink.c, `rtnl_fill_vfinfo`). Who counts is for the caller to judge.
//!
//! With statistics, a PF of some 200 VFs is more than one attribute holds, and the kernel gives no answer for it
//! (`EMSGSIZE`). Then the PFs are asked one by one, and that one is left out.

use std::collections::BTreeMap;

use accelnet_model::{Counters, IfName, Traffic};

use super::{
    attributes::{find, iter, push, u32_at},
    kernel_log::KernelLog,
    netlink::{Message, Netlink, ifindex},
    port_counters,
    sysfs::{Root, link_name},
    uapi::{
        DUMP, IFINFOMSG, IFLA_EXT_MASK, IFLA_IFNAME, IFLA_STATS64, IFLA_VFINFO_LIST,
        RTEXT_FILTER_VF, RTM_GETLINK, ifinfomsg, text_of,
    },
    vfio,
};
use crate::Result;

// include/uapi/linux/if_link.h
const IFLA_VF_INFO: u16 = 1;
const IFLA_VF_MAC: u16 = 1;
const IFLA_VF_STATS: u16 = 8;
const IFLA_VF_STATS_RX_PACKETS: u16 = 0;
const IFLA_VF_STATS_TX_PACKETS: u16 = 1;
const IFLA_VF_STATS_RX_BYTES: u16 = 2;
const IFLA_VF_STATS_TX_BYTES: u16 = 3;
const IFLA_VF_STATS_BROADCAST: u16 = 4;
const IFLA_VF_STATS_MULTICAST: u16 = 5;
const IFLA_VF_STATS_RX_DROPPED: u16 = 7;
const IFLA_VF_STATS_TX_DROPPED: u16 = 8;

/// Reads all counters. `pfs` are asked one by one where one dump cannot hold all.
pub fn observe(root: &Root, pfs: &[IfName]) -> Result<Traffic> {
    let mut traffic = by_netlink(pfs)?;
    match vfio::observe_interrupts(root) {
        Ok(interrupts) => traffic.interrupts = Some(interrupts),
        Err(error) => tracing::warn!(%error, "interrupts of VFs"),
    }
    match port_counters::observe(pfs) {
        Ok(ports) => traffic.ports = ports,
        Err(error) => tracing::warn!(%error, "counters of ports"),
    }
    Ok(traffic)
}

/// Those of one adapter and its VFs, and what the kernel's log says of them.
pub fn observe_adapter(root: &Root, log: &KernelLog, pf: &IfName) -> Result<Traffic> {
    let mut traffic = one(&mut Netlink::route()?, pf).map(|answers| of(&answers))?;
    // Of what is no PCI function itself (virtio) no driver says anything that is known.
    let device = link_name(&root.path(&format!("sys/class/net/{pf}/device")))?;
    if let Some(address) = device.and_then(|name| name.parse().ok()) {
        traffic.misuse = log.misuse(root, address);
    }
    Ok(traffic)
}

fn by_netlink(pfs: &[IfName]) -> Result<Traffic> {
    let mut netlink = Netlink::route()?;
    match dump(&mut netlink, RTEXT_FILTER_VF) {
        Err(error) if error.errno() == Some(libc::EMSGSIZE) => {}
        answers => return answers.map(|answers| of(&answers)),
    }
    let mut traffic = of(&dump(&mut netlink, 0)?);
    for pf in pfs {
        match one(&mut netlink, pf) {
            Ok(answers) => traffic.vfs.extend(of(&answers).vfs),
            Err(error) => tracing::debug!(%pf, %error, "counters of VFs"),
        }
    }
    Ok(traffic)
}

fn dump(netlink: &mut Netlink, mask: u32) -> Result<Vec<Message>> {
    let message = asked(0, mask);
    netlink.request("read all counters", RTM_GETLINK, DUMP, &message)
}

fn one(netlink: &mut Netlink, pf: &IfName) -> Result<Vec<Message>> {
    let message = asked(ifindex(pf)?, RTEXT_FILTER_VF);
    let operation = format!("read the counters of {pf} and its VFs");
    netlink.request(&operation, RTM_GETLINK, 0, &message)
}

fn asked(index: u32, mask: u32) -> Vec<u8> {
    let mut message = ifinfomsg(index, 0, 0);
    if mask != 0 {
        push(&mut message, IFLA_EXT_MASK, &mask.to_ne_bytes());
    }
    message
}

fn of(answers: &[Message]) -> Traffic {
    let mut traffic = Traffic::default();
    for answer in answers {
        let Some(attributes) = answer.payload.get(IFINFOMSG..) else {
            continue;
        };
        let Ok(name) = text_of(attributes, IFLA_IFNAME).parse::<IfName>() else {
            continue;
        };
        if let Some(counters) = find(attributes, IFLA_STATS64).and_then(of_interface) {
            traffic.interfaces.insert(name.clone(), counters);
        }
        if let Some(list) = find(attributes, IFLA_VFINFO_LIST) {
            traffic.vfs.insert(name, of_vfs(list));
        }
    }
    traffic
}

fn u64_at(bytes: &[u8], number: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(8 * number..)?.first_chunk()?))
}

/// `struct rtnl_link_stats64`: packets, bytes, errors, dropped, each of both directions; multicasts received; then
/// errors by kind. Drivers that say nothing in `rx_missed_errors` say it in one of the two before, which are "used
/// interchangeably" (include/uapi/linux/if_link.h). `rx_dropped` is no want of buffers: frames that nobody on the host
/// wants, of an unknown protocol or VLAN, are counted there.
fn of_interface(stats: &[u8]) -> Option<Counters> {
    Some(Counters {
        rx_packets: u64_at(stats, 0)?,
        tx_packets: u64_at(stats, 1)?,
        rx_bytes: u64_at(stats, 2)?,
        tx_bytes: u64_at(stats, 3)?,
        rx_dropped: u64_at(stats, 6),
        tx_dropped: u64_at(stats, 7),
        rx_missed: missed(stats),
        broadcast: None,
        multicast: u64_at(stats, 8),
    })
}

fn missed(stats: &[u8]) -> Option<u64> {
    let (over, fifo, missed) = (u64_at(stats, 11)?, u64_at(stats, 14)?, u64_at(stats, 15)?);
    Some(missed.saturating_add(over.max(fifo)))
}

fn of_vfs(list: &[u8]) -> BTreeMap<u32, Counters> {
    let infos = iter(list).filter(|(kind, _)| *kind == IFLA_VF_INFO);
    infos.filter_map(|(_, info)| of_vf(info)).collect()
}

/// The number is in each attribute of a VF but this one.
fn of_vf(info: &[u8]) -> Option<(u32, Counters)> {
    let stats = find(info, IFLA_VF_STATS)?;
    let count = |kind| find(stats, kind).and_then(|value| u64_at(value, 0));
    let counters = Counters {
        rx_packets: count(IFLA_VF_STATS_RX_PACKETS)?,
        tx_packets: count(IFLA_VF_STATS_TX_PACKETS)?,
        rx_bytes: count(IFLA_VF_STATS_RX_BYTES)?,
        tx_bytes: count(IFLA_VF_STATS_TX_BYTES)?,
        // Linux 4.18.
        rx_dropped: count(IFLA_VF_STATS_RX_DROPPED),
        tx_dropped: count(IFLA_VF_STATS_TX_DROPPED),
        rx_missed: None,
        broadcast: count(IFLA_VF_STATS_BROADCAST),
        multicast: count(IFLA_VF_STATS_MULTICAST),
    };
    Some((u32_at(find(info, IFLA_VF_MAC)?, 0)?, counters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::{
        own_network::{bridge, in_own_network, name},
        sysfs,
    };

    fn stats(values: &[(u16, u64)]) -> Vec<u8> {
        let mut stats = Vec::new();
        for (kind, value) in values {
            push(&mut stats, *kind, &value.to_ne_bytes());
        }
        stats
    }

    fn vf(number: u32, stats: &[u8]) -> Vec<u8> {
        let mut info = Vec::new();
        let mut mac = number.to_ne_bytes().to_vec();
        mac.resize(36, 0);
        push(&mut info, IFLA_VF_MAC, &mac);
        push(&mut info, IFLA_VF_STATS, stats);
        info
    }

    fn message(vfs: &[Vec<u8>]) -> Message {
        let mut list = Vec::new();
        for info in vfs {
            push(&mut list, IFLA_VF_INFO, info);
        }
        let mut payload = ifinfomsg(3, 0, 0);
        push(&mut payload, IFLA_IFNAME, b"pf0\0");
        let own: Vec<u8> = (1u64..=16).flat_map(u64::to_ne_bytes).collect();
        push(&mut payload, IFLA_STATS64, &own);
        push(&mut payload, IFLA_VFINFO_LIST, &list);
        Message {
            kind: 16,
            flags: 0,
            payload,
        }
    }

    #[test]
    fn counters_of_an_interface_and_of_its_vfs_are_read() {
        let all: Vec<(u16, u64)> = (0..9).map(|kind| (kind, 10 + u64::from(kind))).collect();
        // As a kernel that does not count what is dropped.
        let old = stats(&all[..6]);
        let traffic = of(&[message(&[vf(0, &stats(&all)), vf(5, &old), vf(6, &[])])]);
        let pf = &traffic.interfaces[&name("pf0")];
        assert_eq!((pf.rx_packets, pf.tx_packets, pf.rx_bytes), (1, 2, 3));
        assert_eq!((pf.rx_dropped, pf.tx_dropped), (Some(7), Some(8)));
        // rx_missed_errors, and the larger of rx_over_errors and rx_fifo_errors.
        assert_eq!(pf.rx_missed, Some(16 + 15));
        let vfs = &traffic.vfs[&name("pf0")];
        let first = Counters {
            rx_packets: 10,
            tx_packets: 11,
            rx_bytes: 12,
            tx_bytes: 13,
            broadcast: Some(14),
            multicast: Some(15),
            rx_dropped: Some(17),
            tx_dropped: Some(18),
            rx_missed: None,
        };
        assert_eq!(vfs[&0], first);
        assert_eq!((vfs[&5].rx_packets, vfs[&5].rx_dropped), (10, None));
        assert!(!vfs.contains_key(&6), "nothing is not zero");
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_read_as_far_as_it_goes() {
        let all: Vec<(u16, u64)> = (0..9).map(|kind| (kind, 1)).collect();
        let whole = message(&[vf(0, &stats(&all))]);
        for length in 0..whole.payload.len() {
            let cut = Message {
                payload: whole.payload[..length].to_vec(),
                ..whole.clone()
            };
            let vfs = of(&[cut]).vfs;
            assert!(vfs.values().flatten().all(|(number, _)| *number == 0));
        }
    }

    #[test]
    fn the_kernel_s_own_counters_are_those_of_sysfs() {
        in_own_network(|root| {
            assert!(bridge("br0", &[], &["t0"]));
            let before = crate::linux::netlink::dumps();
            let traffic = observe(root, &[]).unwrap();
            assert_eq!(crate::linux::netlink::dumps() - before, 1);
            let file = root.path("sys/class/net/t0/statistics/tx_bytes");
            let shown: u64 = sysfs::parse(&file).unwrap().unwrap();
            assert!(traffic.interfaces[&name("t0")].tx_bytes <= shown);
            assert!(traffic.vfs.is_empty());
            assert!(traffic.interrupts.is_some());
            let before = crate::linux::netlink::dumps();
            let alone = observe_adapter(root, &KernelLog::default(), &name("t0")).unwrap();
            assert_eq!(crate::linux::netlink::dumps(), before);
            let known: Vec<_> = alone.interfaces.keys().cloned().collect();
            assert_eq!(known, [name("t0")]);
            assert_eq!(alone.interfaces[&name("t0")].rx_missed, Some(0));
        });
    }
}
