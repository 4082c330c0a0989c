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
    uapi::{
        APPEND, CREATE, DUMP, NDA_LLADDR, NDA_MASTER, NDA_VLAN, NDMSG, NTF_MASTER, NTF_SELF,
        NTF_STICKY, NUD_NOARP, NUD_PERMANENT, REPLACE, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH,
        ndmsg,
    },
};
use crate::{Entry, HostError, Result};

fn message(index: u32, state: u16, flags: u8, mac: MacAddr) -> Vec<u8> {
    let mut message = ndmsg(index, state, flags);
    push(&mut message, NDA_LLADDR, &mac.0);
    message
}

/// The forwarding entries of a bridge that decide where frames go, by the interface number of the port
/// that they point to.
///
/// Where a bridge does not filter by VLAN (`by_vlan`) those are the ones without VLAN. Ports have VLANs
/// there too, in which whatever is set is set as well, and stays when the address moves.
pub fn observe(bridge: u32, by_vlan: bool) -> Result<BTreeMap<u32, Vec<FdbEntry>>> {
    let mut header = ndmsg(0, 0, 0);
    // The kernel filters by the bridge if it is named (`NDA_MASTER`, checked in strict mode too).
    push(&mut header, NDA_MASTER, &bridge.to_ne_bytes());
    let answers = Netlink::route()?.request(
        "read the bridge's forwarding table",
        RTM_GETNEIGH,
        DUMP,
        &header,
    )?;
    let mut entries: BTreeMap<u32, Vec<FdbEntry>> = BTreeMap::new();
    for answer in &answers {
        if let Some((port, entry)) = decode(&answer.payload, bridge)
            && (by_vlan || entry.vlan.is_none())
        {
            entries.entry(port).or_default().push(entry);
        }
    }
    Ok(entries)
}

fn decode(payload: &[u8], bridge: u32) -> Option<(u32, FdbEntry)> {
    let (port, state) = (u32_at(payload, 4)?, u16_at(payload, 8)?);
    let attributes = payload.get(NDMSG..)?;
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

/// The entries of an address at a port that decide where frames go.
///
/// A bridge that does not filter by VLAN looks in one place only (VLAN 0; net/bridge/br_input.c), so
/// the kernel is asked for that one entry (`ndo_fdb_get`, Linux 5.0). On one that filters, and on older
/// kernels, the table is read.
struct Place {
    port: u32,
    bridge: u32,
    mac: MacAddr,
    by_vlan: bool,
}

impl Place {
    fn entries(&self) -> Result<Vec<FdbEntry>> {
        if !self.by_vlan {
            match self.single() {
                Err(error) if error.is_unsupported() => {}
                other => return Ok(other?.into_iter().collect()),
            }
        }
        let here = observe(self.bridge, self.by_vlan)?.remove(&self.port);
        let here = here.into_iter().flatten();
        Ok(here.filter(|entry| entry.mac == self.mac).collect())
    }

    fn single(&self) -> Result<Option<FdbEntry>> {
        let operation = format!("look up the bridge's entry of {}", self.mac);
        let request = message(self.port, 0, NTF_MASTER, self.mac);
        match Netlink::route()?.request(&operation, RTM_GETNEIGH, 0, &request) {
            Ok(answers) => {
                let mut found = answers
                    .iter()
                    .filter_map(|answer| decode(&answer.payload, self.bridge));
                let here = found.find(|(port, _)| *port == self.port);
                Ok(here.map(|(_, entry)| entry))
            }
            // No entry of this address, wherever it would point.
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether these entries of an address at a port are what is wanted of it there.
fn fits(entries: &[FdbEntry], wanted: Entry) -> bool {
    let mut others = entries.iter().filter(|entry| !entry.local);
    match wanted {
        Entry::Absent => others.next().is_none(),
        Entry::Static => others.any(|entry| entry.fixed && !entry.sticky),
        Entry::Sticky => others.any(|entry| entry.fixed && entry.sticky),
    }
}

/// See [`crate::Host::ensure_bridge_entry`]. `bridge` is the number of the port's bridge, `by_vlan`
/// whether it filters by VLAN.
pub fn ensure_entry(
    port: &IfName,
    bridge: u32,
    by_vlan: bool,
    mac: MacAddr,
    wanted: Entry,
) -> Result<()> {
    let index = ifindex(port)?;
    let place = Place {
        port: index,
        bridge,
        mac,
        by_vlan,
    };
    let before = place.entries()?;
    if fits(&before, wanted) {
        return Ok(());
    }
    let operation = match wanted {
        Entry::Absent => format!("take away the bridge's entry of {mac} on {port}"),
        Entry::Static => format!("let the bridge send {mac} to {port}"),
        Entry::Sticky => format!("let the bridge send {mac} to {port} whoever sends from it"),
    };
    let not_as_asked = |found: &[FdbEntry]| HostError::NotAsAsked {
        operation: operation.clone(),
        wanted: format!("{wanted:?}").to_lowercase(),
        found: in_words(found),
    };
    // An entry in its place would take the port's own address from the host.
    if before.iter().any(|entry| entry.local) {
        return Err(not_as_asked(&before));
    }
    let mut netlink = Netlink::route()?;
    let done = if wanted == Entry::Absent {
        let message = message(index, NUD_PERMANENT, NTF_MASTER, mac);
        netlink.request(&operation, RTM_DELNEIGH, 0, &message)
    } else {
        // What is there is changed where it is, and at no moment missing (net/bridge/br_fdb.c,
        // `fdb_add_entry`).
        let sticky = if wanted == Entry::Sticky {
            NTF_STICKY
        } else {
            0
        };
        let message = message(index, NUD_NOARP, NTF_MASTER | sticky, mac);
        netlink.request(&operation, RTM_NEWNEIGH, CREATE | REPLACE, &message)
    };
    match done {
        // It aged, or moved, meanwhile.
        Err(error) if error.errno() == Some(libc::ENOENT) && wanted == Entry::Absent => {}
        other => drop(other?),
    }
    let after = place.entries()?;
    if fits(&after, wanted) {
        return Ok(());
    }
    Err(not_as_asked(&after))
}

fn in_words(entries: &[FdbEntry]) -> String {
    let words = entries.iter().map(|entry| match entry {
        FdbEntry { local: true, .. } => "the port's own address",
        FdbEntry { sticky: true, .. } => "sticky",
        FdbEntry { fixed: true, .. } => "static",
        _ => "learned (the address is in use there)",
    });
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        "absent".to_owned()
    } else {
        words.join(", ")
    }
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
mod moves;

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
