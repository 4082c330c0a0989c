//! Forwarding entries: a bridge's, and the address filter of a card.
//!
//! Both are neighbour messages of family `AF_BRIDGE` (net/core/rtnetlink.c `rtnl_fdb_add`): with
//! `NTF_MASTER` they go to the bridge that the interface is a port of, with `NTF_SELF` to the
//! interface's own driver.

use std::collections::BTreeMap;

use accelnet_model::{FdbEntry, IfName, MacAddr};

use super::{
    attributes::{find, push, u16_at, u32_at},
    netlink::{Netlink, ifindex},
};
use crate::{Entry, HostError, Result};

// include/uapi/linux/rtnetlink.h, include/uapi/linux/neighbour.h
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const NDA_LLADDR: u16 = 2;
const NDA_VLAN: u16 = 5;
const NDA_MASTER: u16 = 9;
const NTF_SELF: u8 = 2;
const NTF_MASTER: u8 = 4;
const NTF_STICKY: u8 = 0x40;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

const CREATE: u16 = libc::NLM_F_CREATE as u16;
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;

fn message(index: u32, state: u16, flags: u8, mac: MacAddr) -> Vec<u8> {
    // struct ndmsg: family, padding, ifindex, state, flags, type.
    let mut message = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
    message.extend((index as i32).to_ne_bytes());
    message.extend(state.to_ne_bytes());
    message.extend([flags, 0]);
    push(&mut message, NDA_LLADDR, &mac.0);
    message
}

/// All forwarding entries of a bridge, by the interface number of the port that they point to.
pub fn observe(bridge: u32) -> Result<BTreeMap<u32, Vec<FdbEntry>>> {
    let mut header = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
    header.extend([0; 8]);
    // The kernel filters by the bridge if it is named (`NDA_MASTER`, checked in strict mode too).
    push(&mut header, NDA_MASTER, &bridge.to_ne_bytes());
    let answers = Netlink::route()?.request(
        "read the bridge's forwarding table",
        RTM_GETNEIGH,
        libc::NLM_F_DUMP as u16,
        &header,
    )?;
    let mut entries: BTreeMap<u32, Vec<FdbEntry>> = BTreeMap::new();
    for answer in &answers {
        if let Some((port, entry)) = decode(&answer.payload, bridge) {
            entries.entry(port).or_default().push(entry);
        }
    }
    Ok(entries)
}

fn decode(payload: &[u8], bridge: u32) -> Option<(u32, FdbEntry)> {
    let (port, state) = (u32_at(payload, 4)?, u16_at(payload, 8)?);
    let attributes = payload.get(12..)?;
    // Entries of the ports' own drivers (`self`) have no master, or are not the bridge's.
    if find(attributes, NDA_MASTER).and_then(|value| u32_at(value, 0)) != Some(bridge) {
        return None;
    }
    if payload.get(10)? & NTF_SELF != 0 && port != bridge {
        return None;
    }
    let mac = MacAddr(*find(attributes, NDA_LLADDR)?.first_chunk()?);
    let vlan = find(attributes, NDA_VLAN).and_then(|value| u16_at(value, 0));
    let local = state & NUD_PERMANENT != 0;
    Some((
        port,
        FdbEntry {
            mac,
            vlan,
            local,
            fixed: local || state & NUD_NOARP != 0,
            sticky: payload.get(10)? & NTF_STICKY != 0,
        },
    ))
}

/// See [`crate::Host::ensure_bridge_entry`].
pub fn ensure_entry(port: &IfName, bridge: u32, mac: MacAddr, wanted: Entry) -> Result<()> {
    let present = wanted != Entry::Absent;
    let index = ifindex(port)?;
    let points_here = |only_fixed: bool| -> Result<bool> {
        let entries = observe(bridge)?;
        let here = entries.get(&index).into_iter().flatten();
        Ok(here
            .filter(|entry| entry.mac == mac && !entry.local)
            .any(|entry| entry.fixed || !only_fixed))
    };
    if points_here(present)? == present {
        return Ok(());
    }
    let operation = if present {
        format!("let the bridge send {mac} to {port}")
    } else {
        format!("take away the bridge's entry of {mac} on {port}")
    };
    let mut netlink = Netlink::route()?;
    let done = if present {
        let message = message(index, NUD_NOARP, NTF_MASTER, mac);
        netlink.request(&operation, RTM_NEWNEIGH, CREATE | REPLACE, &message)
    } else {
        let message = message(index, NUD_PERMANENT, NTF_MASTER, mac);
        netlink.request(&operation, RTM_DELNEIGH, 0, &message)
    };
    match done {
        Err(HostError::Kernel {
            code: libc::ENOENT, ..
        }) if !present => {}
        other => drop(other?),
    }
    if points_here(present)? == present {
        return Ok(());
    }
    Err(HostError::NotAsAsked {
        operation,
        wanted: if present {
            "an entry".into()
        } else {
            "no entry".into()
        },
        found: if present {
            "none".into()
        } else {
            "one (the address is in use there)".into()
        },
    })
}

/// See [`crate::Host::ensure_pf_filter`]; `filter` reads the addresses that are there.
pub fn ensure_filter(
    pf: &IfName,
    mac: MacAddr,
    present: bool,
    filter: impl Fn() -> Result<Vec<MacAddr>>,
) -> Result<()> {
    if filter()?.contains(&mac) == present {
        return Ok(());
    }
    let operation = if present {
        format!("put {mac} into the address filter of {pf}")
    } else {
        format!("take {mac} out of the address filter of {pf}")
    };
    // Drivers take permanent entries only (`ndo_dflt_fdb_add`).
    let message = message(ifindex(pf)?, NUD_PERMANENT, NTF_SELF, mac);
    let (kind, flags) = if present {
        (RTM_NEWNEIGH, CREATE | APPEND)
    } else {
        (RTM_DELNEIGH, 0)
    };
    match Netlink::route()?.request(&operation, kind, flags, &message) {
        Ok(_) => {}
        Err(HostError::Kernel {
            code: libc::EEXIST, ..
        }) if present => {}
        Err(HostError::Kernel {
            code: libc::ENOENT, ..
        }) if !present => {}
        Err(HostError::Kernel {
            code: libc::ENOSPC | libc::ENOMEM,
            ..
        }) if present => {
            return Err(HostError::FilterFull(pf.clone()));
        }
        Err(error) => return Err(error),
    }
    if filter()?.contains(&mac) == present {
        return Ok(());
    }
    let found = if present {
        "it is not there"
    } else {
        "it is still there"
    };
    Err(HostError::NotAsAsked {
        operation,
        wanted: present.to_string(),
        found: found.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_bridge_are_told_from_the_drivers() {
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let mut entry = message(3, NUD_NOARP, 0, mac);
        assert_eq!(decode(&entry, 9), None, "without a master it is a driver's");
        push(&mut entry, NDA_MASTER, &9u32.to_ne_bytes());
        push(&mut entry, NDA_VLAN, &5u16.to_ne_bytes());
        let (port, decoded) = decode(&entry, 9).unwrap();
        assert_eq!(
            (
                port,
                decoded.mac,
                decoded.vlan,
                decoded.fixed,
                decoded.local
            ),
            (3, mac, Some(5), true, false)
        );
        assert_eq!(decode(&entry, 8), None, "another bridge's");
        assert_eq!(decode(&entry[..9], 9), None);
    }
}
