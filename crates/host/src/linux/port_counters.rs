//! What passed an adapter's port, in the counters that mean the same on each card: `ethtool -S … --groups eth-mac`
//! (IEEE 802.3, 30.3.1.1.2 `aFramesTransmittedOK` and 30.3.1.1.5 `aFramesReceivedOK`).
//!
//! An interface's counters are those of the host alone, without its VFs; these are of all together. Linux 5.13 has them,
//! and a driver that fills none has none here.
//!
//! Sources: Documentation/networking/ethtool-netlink.rst (STATS_GET), include/uapi/linux/ethtool_netlink.h.

use std::collections::BTreeMap;

use accelnet_model::{IfName, PortCounters};

use super::{
    attributes::{find, iter, push, u32_at},
    genl::{self, HEADER},
    netlink::Netlink,
};
use crate::Result;

const ETHTOOL_MSG_STATS_GET: u8 = 32;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_STATS_HEADER: u16 = 2;
const ETHTOOL_A_STATS_GROUPS: u16 = 3;
const ETHTOOL_A_STATS_GRP: u16 = 4;
const ETHTOOL_A_BITSET_NOMASK: u16 = 1;
const ETHTOOL_A_BITSET_SIZE: u16 = 2;
const ETHTOOL_A_BITSET_VALUE: u16 = 4;
const ETHTOOL_A_STATS_GRP_ID: u16 = 2;
const ETHTOOL_A_STATS_GRP_STAT: u16 = 4;
const ETHTOOL_STATS_ETH_MAC: u32 = 1;
const ETHTOOL_A_STATS_ETH_MAC_2_TX_PKT: u16 = 0;
const ETHTOOL_A_STATS_ETH_MAC_5_RX_PKT: u16 = 3;
const NLA_F_NESTED: u16 = 0x8000;

/// The counters of these adapters' ports; those of which there are none are not there.
pub fn observe(adapters: &[IfName]) -> Result<BTreeMap<IfName, PortCounters>> {
    let mut ports = BTreeMap::new();
    if adapters.is_empty() {
        return Ok(ports);
    }
    let Some((mut socket, family)) = genl::family("ethtool")? else {
        return Ok(ports);
    };
    for adapter in adapters {
        match one(&mut socket, family, adapter) {
            Ok(Some(port)) => {
                ports.insert(adapter.clone(), port);
            }
            Ok(None) => {}
            Err(error) if error.is_gone() || error.is_unsupported() => {}
            Err(error) => tracing::warn!(%adapter, %error, "counters of the port"),
        }
    }
    Ok(ports)
}

fn one(socket: &mut Netlink, family: u16, adapter: &IfName) -> Result<Option<PortCounters>> {
    let operation = format!("read the counters of {adapter}'s port");
    let answers = socket.request(&operation, family, 0, &asked(adapter))?;
    Ok(answers
        .first()
        .and_then(|answer| read(answer.payload.get(HEADER..)?)))
}

fn asked(adapter: &IfName) -> Vec<u8> {
    let mut header = Vec::new();
    push(
        &mut header,
        ETHTOOL_A_HEADER_DEV_NAME,
        format!("{adapter}\0").as_bytes(),
    );
    let mut groups = Vec::new();
    push(&mut groups, ETHTOOL_A_BITSET_NOMASK, &[]);
    let (size, value) = (ETHTOOL_STATS_ETH_MAC + 1, 1u32 << ETHTOOL_STATS_ETH_MAC);
    push(&mut groups, ETHTOOL_A_BITSET_SIZE, &size.to_ne_bytes());
    push(&mut groups, ETHTOOL_A_BITSET_VALUE, &value.to_ne_bytes());
    let mut request = genl::header(ETHTOOL_MSG_STATS_GET);
    push(&mut request, ETHTOOL_A_STATS_HEADER | NLA_F_NESTED, &header);
    push(&mut request, ETHTOOL_A_STATS_GROUPS | NLA_F_NESTED, &groups);
    request
}

/// Nothing if the driver has not both: half of it is no figure.
pub fn read(list: &[u8]) -> Option<PortCounters> {
    let groups = iter(list).filter(|(kind, _)| *kind == ETHTOOL_A_STATS_GRP);
    let mut groups = groups.map(|(_, group)| group);
    let group = groups.find(|group| {
        let id = find(group, ETHTOOL_A_STATS_GRP_ID).and_then(|id| u32_at(id, 0));
        id == Some(ETHTOOL_STATS_ETH_MAC)
    })?;
    let count = |wanted| {
        let counts = iter(group).filter(|(kind, _)| *kind == ETHTOOL_A_STATS_GRP_STAT);
        let mut counts = counts.filter_map(|(_, count)| find(count, wanted));
        counts.find_map(|value| Some(u64::from_ne_bytes(*value.first_chunk()?)))
    };
    Some(PortCounters {
        rx_packets: count(ETHTOOL_A_STATS_ETH_MAC_5_RX_PKT)?,
        tx_packets: count(ETHTOOL_A_STATS_ETH_MAC_2_TX_PKT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: u32, counts: &[(u16, u64)]) -> Vec<u8> {
        let mut group = Vec::new();
        push(&mut group, ETHTOOL_A_STATS_GRP_ID, &id.to_ne_bytes());
        for (kind, value) in counts {
            let mut count = Vec::new();
            push(&mut count, *kind, &value.to_ne_bytes());
            push(&mut group, ETHTOOL_A_STATS_GRP_STAT | NLA_F_NESTED, &count);
        }
        let mut list = Vec::new();
        push(&mut list, ETHTOOL_A_STATS_GRP | NLA_F_NESTED, &group);
        list
    }

    #[test]
    fn both_counts_are_read_or_none() {
        let both = [(0, 7), (1, 1), (3, 5)];
        let port = PortCounters {
            rx_packets: 5,
            tx_packets: 7,
        };
        assert_eq!(read(&group(1, &both)), Some(port));
        let behind = [group(0, &[(0, 99)]), group(1, &both)].concat();
        assert_eq!(read(&behind), Some(port));
        // A driver that counts nothing there, or half of it; another group; what is cut short.
        for none in [group(1, &[]), group(1, &both[..1]), group(3, &both)] {
            assert_eq!(read(&none), None);
        }
        let whole = group(1, &both);
        assert_eq!(read(&whole[..whole.len() - 6]), None);
        assert_eq!(read(&[]), None);
    }

    /// This machine's kernel takes the question. No driver that is made by software alone has such counters.
    #[test]
    fn an_interface_without_them_is_not_there() {
        let lo: IfName = "lo".parse().unwrap();
        let gone: IfName = "no-such-if".parse().unwrap();
        assert_eq!(observe(&[lo.clone(), gone]).unwrap(), BTreeMap::new());
        let Some((mut socket, family)) = genl::family("ethtool").unwrap() else {
            return;
        };
        match one(&mut socket, family, &lo) {
            Ok(found) => assert_eq!(found, None),
            Err(error) => assert!(error.is_unsupported(), "{error}"),
        }
    }
}
