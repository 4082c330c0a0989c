//! Forwarding entries: a bridge's, and the address filter of a card.
//!
//! Both are neighbour messages of family `AF_BRIDGE` (net/core/rtnetlink.c `rtnl_fdb_add`): with
//! `NTF_MASTER` they go to the bridge that the interface is a port of, with `NTF_SELF` to the
//! interface's own driver.

pub mod filter;

use std::collections::BTreeMap;

use accelnet_model::{FdbEntry, FdbKey, IfName, MacAddr};

use super::{
    attributes::{find, push, u16_at, u32_at},
    netlink::{Netlink, ifindex},
    uapi::{
        CREATE, DUMP, NDA_LLADDR, NDA_MASTER, NDA_VLAN, NDMSG, NTF_MASTER, NTF_SELF, NTF_STICKY,
        NUD_NOARP, NUD_PERMANENT, REPLACE, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH, ndmsg,
    },
};
use crate::{Entry, HostError, Result};

fn message(index: u32, state: u16, flags: u8, mac: MacAddr) -> Vec<u8> {
    let mut message = ndmsg(index, state, flags);
    push(&mut message, NDA_LLADDR, &mac.0);
    message
}

fn in_vlan(mut message: Vec<u8>, vlan: Option<u16>) -> Vec<u8> {
    if let Some(vlan) = vlan {
        push(&mut message, NDA_VLAN, &vlan.to_ne_bytes());
    }
    message
}

/// All forwarding entries of this machine: bridges', and those in filters of cards.
#[derive(Debug, Default)]
pub struct Table {
    /// By bridge and port.
    bridges: BTreeMap<(u32, u32), Vec<FdbEntry>>,
    /// By card; unicast only, sorted.
    filters: BTreeMap<u32, Vec<MacAddr>>,
}

/// What a dump is of.
enum Of {
    /// Everything.
    All,
    /// The bridge with this number.
    Bridge(u32),
    /// The interface with this number (Linux 5.0; before that everything).
    Interface(u32),
}

impl Table {
    /// Reads all.
    pub fn read() -> Result<Self> {
        Self::read_of(&Of::All)
    }

    fn read_of(of: &Of) -> Result<Self> {
        let request = match of {
            Of::All => ndmsg(0, 0, 0),
            Of::Interface(index) => ndmsg(*index, 0, 0),
            Of::Bridge(index) => {
                let mut request = ndmsg(0, 0, 0);
                push(&mut request, NDA_MASTER, &index.to_ne_bytes());
                request
            }
        };
        let operation = "read forwarding entries";
        let answers = Netlink::route()?.request(operation, RTM_GETNEIGH, DUMP, &request)?;
        let mut table = Self::default();
        for answer in &answers {
            table.take(&answer.payload);
        }
        for filter in table.filters.values_mut() {
            filter.sort_unstable();
            filter.dedup();
        }
        Ok(table)
    }

    fn take(&mut self, payload: &[u8]) {
        match decode(payload) {
            Some((At::Bridge { bridge, port }, entry)) => {
                self.bridges.entry((bridge, port)).or_default().push(entry);
            }
            Some((At::Card(index), entry)) if !entry.mac.is_group() => {
                self.filters.entry(index).or_default().push(entry.mac);
            }
            _ => {}
        }
    }

    /// The entries at a port of a bridge that decide where frames go.
    ///
    /// Where the bridge does not filter by VLAN (`by_vlan`) those are the ones without VLAN. Ports have
    /// VLANs there too, in which whatever is set is set as well, and stays when the address moves.
    pub fn entries(&self, bridge: u32, port: u32, by_vlan: bool) -> Vec<FdbEntry> {
        let all = self.bridges.get(&(bridge, port)).into_iter().flatten();
        all.filter(|entry| by_vlan || entry.vlan.is_none())
            .cloned()
            .collect()
    }
}

/// Whose an entry is.
#[derive(Debug, PartialEq, Eq)]
pub enum At {
    Bridge { bridge: u32, port: u32 },
    Card(u32),
}

pub fn decode(payload: &[u8]) -> Option<(At, FdbEntry)> {
    let (port, state) = (u32_at(payload, 4)?, u16_at(payload, 8)?);
    let (flags, attributes) = (*payload.get(10)?, payload.get(NDMSG..)?);
    let master = find(attributes, NDA_MASTER).and_then(|value| u32_at(value, 0));
    let at = match master {
        // Entries of the ports' own drivers (`self`) have no master, or are not the bridge's.
        Some(bridge) if flags & NTF_SELF == 0 || port == bridge => At::Bridge { bridge, port },
        _ if flags & NTF_SELF != 0 => At::Card(port),
        _ => return None,
    };
    let mac = MacAddr(*find(attributes, NDA_LLADDR)?.first_chunk()?);
    let vlan = find(attributes, NDA_VLAN).and_then(|value| u16_at(value, 0));
    let local = state & NUD_PERMANENT != 0;
    let entry = FdbEntry {
        mac,
        vlan,
        local,
        fixed: local || state & NUD_NOARP != 0,
        sticky: flags & NTF_STICKY != 0,
    };
    Some((at, entry))
}

/// The entries of an address at a port that decide where frames go.
///
/// A bridge that does not filter by VLAN looks in one place only (VLAN 0; net/bridge/br_input.c), so
/// the kernel is asked for that one entry (`ndo_fdb_get`, Linux 5.0). On one that filters, and on older
/// kernels, the table is read.
struct Place {
    port: u32,
    bridge: u32,
    of: FdbKey,
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
        let table = Table::read_of(&Of::Bridge(self.bridge))?;
        let mut here = table.entries(self.bridge, self.port, self.by_vlan);
        let FdbKey { mac, vlan } = self.of;
        here.retain(|entry| entry.mac == mac && (vlan.is_none() || entry.vlan == vlan));
        Ok(here)
    }

    fn single(&self) -> Result<Option<FdbEntry>> {
        let operation = format!("look up the bridge's entry of {}", self.of.mac);
        let request = message(self.port, 0, NTF_MASTER, self.of.mac);
        match Netlink::route()?.request(&operation, RTM_GETNEIGH, 0, &request) {
            Ok(answers) => {
                let found = answers.first().and_then(|answer| decode(&answer.payload));
                let here = At::Bridge {
                    bridge: self.bridge,
                    port: self.port,
                };
                Ok(found.filter(|(at, _)| *at == here).map(|(_, entry)| entry))
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
    of: FdbKey,
    wanted: Entry,
) -> Result<()> {
    let index = ifindex(port)?;
    // On one that does not filter there is one place, and what was set by VLAN stays out of it.
    let of = FdbKey {
        vlan: of.vlan.filter(|_| by_vlan),
        ..of
    };
    let mac = of.mac;
    let place = Place {
        port: index,
        bridge,
        of,
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
        let message = in_vlan(message(index, NUD_PERMANENT, NTF_MASTER, mac), of.vlan);
        netlink.request(&operation, RTM_DELNEIGH, 0, &message)
    } else {
        // What is there is changed where it is, and at no moment missing (net/bridge/br_fdb.c,
        // `fdb_add_entry`).
        let sticky = if wanted == Entry::Sticky {
            NTF_STICKY
        } else {
            0
        };
        let message = in_vlan(message(index, NUD_NOARP, NTF_MASTER | sticky, mac), of.vlan);
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

#[cfg(test)]
mod moves;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_bridge_are_told_from_the_drivers() {
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let mut table = Table::default();
        table.take(&message(3, NUD_PERMANENT, NTF_SELF, mac));
        table.take(&message(3, NUD_PERMANENT, NTF_SELF, MacAddr([0x33; 6])));
        // An ARP neighbour's.
        table.take(&message(3, NUD_PERMANENT, 0, mac));
        let mut entry = message(3, NUD_NOARP, 0, mac);
        push(&mut entry, NDA_MASTER, &9u32.to_ne_bytes());
        table.take(&entry);
        push(&mut entry, NDA_VLAN, &5u16.to_ne_bytes());
        table.take(&entry);
        table.take(&entry[..9]);
        assert_eq!(table.filters[&3], [mac]);
        let all = table.entries(9, 3, true);
        let seen: Vec<_> = all.iter().map(|entry| (entry.vlan, entry.local)).collect();
        assert_eq!(seen, [(None, false), (Some(5), false)]);
        assert!(all.iter().all(|entry| entry.mac == mac && entry.fixed));
        assert_eq!(table.entries(9, 3, false).len(), 1, "no VLAN counts");
        assert_eq!(table.entries(8, 3, true), [], "another bridge's");
    }
}
