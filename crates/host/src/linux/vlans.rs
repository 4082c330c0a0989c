//! VLANs of the ports of bridges that filter by VLAN, and their state there.

use std::collections::BTreeMap;

use super::{
    attributes::{find, iter, push, u16_at, u32_at},
    links::Interface,
    netlink::Netlink,
    uapi::{
        BRIDGE_VLANDB_ENTRY, BRIDGE_VLANDB_ENTRY_INFO, BRIDGE_VLANDB_ENTRY_RANGE,
        BRIDGE_VLANDB_ENTRY_STATE, DUMP, IFINFOMSG, IFLA_AF_SPEC, IFLA_BRIDGE_VLAN_INFO,
        IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED, RTM_GETLINK, RTM_GETVLAN, ifinfomsg,
    },
};
use crate::{HostError, Result};

// include/uapi/linux/if_bridge.h, `BRIDGE_VLAN_INFO_…`.
const PVID: u16 = 2;
const UNTAGGED: u16 = 4;
const RANGE_BEGIN: u16 = 8;

/// `BR_STATE_FORWARDING`: frames pass.
pub const FORWARDING: u8 = 3;

/// VLANs of a port that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    pub first: u16,
    pub last: u16,
    /// Untagged frames that come in are of it.
    pub pvid: bool,
    /// Its frames leave without their tag.
    pub untagged: bool,
}

/// Length of `struct br_vlan_msg` (include/uapi/linux/if_bridge.h): family, padding, the port's number, which is 0
/// for all ports.
const BR_VLAN_MSG: usize = 8;

/// VLANs whose frames do not pass a port, and the spanning tree's state of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    pub first: u16,
    pub last: u16,
    pub state: u8,
}

/// What ports have, by their numbers.
#[derive(Debug, Default)]
pub struct Vlans {
    vlans: BTreeMap<u32, Vec<Vlan>>,
    blocked: BTreeMap<u32, Vec<Blocked>>,
}

impl Vlans {
    /// Reads those of all ports, if one of these interfaces is a bridge that filters by VLAN.
    pub fn read_if_any_filters<'a>(links: impl IntoIterator<Item = &'a Interface>) -> Result<Self> {
        match links.into_iter().any(|link| link.by_vlan) {
            true => Self::read(),
            false => Ok(Self::default()),
        }
    }

    /// The VLAN of untagged frames that come in at a port of a bridge that filters.
    pub fn pvid(&self, bridge: &Interface, port: &Interface) -> Option<u16> {
        let mut vlans = self.vlans.get(&port.index)?.iter();
        let pvid = vlans.find(|vlan| vlan.pvid)?;
        bridge.by_vlan.then_some(pvid.first)
    }

    fn read() -> Result<Self> {
        let mut message = ifinfomsg(0, 0, 0);
        message[0] = libc::AF_BRIDGE as u8;
        let mask = RTEXT_FILTER_BRVLAN_COMPRESSED.to_ne_bytes();
        push(&mut message, IFLA_EXT_MASK, &mask);
        let operation = "read the VLANs of bridge ports";
        let answers = Netlink::route()?.request(operation, RTM_GETLINK, DUMP, &message)?;
        let ports = answers.iter().filter_map(|answer| {
            let index = u32_at(&answer.payload, 4)?;
            let attributes = answer.payload.get(IFINFOMSG..)?;
            Some((index, decode(find(attributes, IFLA_AF_SPEC)?)))
        });
        Ok(Self {
            vlans: ports.collect(),
            blocked: blocked()?,
        })
    }

    /// Those of a port.
    pub fn at(&self, port: &Interface) -> &[Vlan] {
        self.vlans.get(&port.index).map_or(&[], Vec::as_slice)
    }

    /// Those whose frames do not pass a port.
    pub fn blocked_at(&self, port: &Interface) -> &[Blocked] {
        self.blocked.get(&port.index).map_or(&[], Vec::as_slice)
    }
}

/// VLANs that do not forward at all ports. A kernel before 5.6 has no state of a VLAN, and no such question.
fn blocked() -> Result<BTreeMap<u32, Vec<Blocked>>> {
    let operation = "read the states of VLANs at bridge ports";
    let mut message = [0; BR_VLAN_MSG];
    message[0] = libc::AF_BRIDGE as u8;
    let answers = match Netlink::route()?.request(operation, RTM_GETVLAN, DUMP, &message) {
        Err(error) if error.is_unsupported() => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut ports: BTreeMap<u32, Vec<Blocked>> = BTreeMap::new();
    for answer in &answers {
        // A VLAN whose state is not told is not one that forwards.
        let (port, states) = states_of(&answer.payload)
            .ok_or_else(|| HostError::Malformed(format!("{operation}: an entry has no state")))?;
        let blocked = states.into_iter().filter(|vlans| vlans.state != FORWARDING);
        ports.entry(port).or_default().extend(blocked);
    }
    Ok(ports)
}

/// A port, and the states of all its VLANs.
pub fn states_of(answer: &[u8]) -> Option<(u32, Vec<Blocked>)> {
    let port = u32_at(answer, 4)?;
    let entries = iter(answer.get(BR_VLAN_MSG..)?);
    let entries = entries.filter(|(kind, _)| *kind == BRIDGE_VLANDB_ENTRY);
    let states: Option<_> = entries.map(|(_, entry)| state_of(entry)).collect();
    Some((port, states?))
}

fn state_of(entry: &[u8]) -> Option<Blocked> {
    let state = *find(entry, BRIDGE_VLANDB_ENTRY_STATE)?.first()?;
    let first = u16_at(find(entry, BRIDGE_VLANDB_ENTRY_INFO)?, 2)?;
    let last = find(entry, BRIDGE_VLANDB_ENTRY_RANGE);
    let last = last.map_or(Some(first), |last| u16_at(last, 0))?;
    Some(Blocked { first, last, state })
}

/// Ranges come as two entries, begin and end.
pub fn decode(spec: &[u8]) -> Vec<Vlan> {
    let mut vlans = Vec::new();
    let mut begin = None;
    for (kind, value) in iter(spec) {
        let (Some(flags), Some(id)) = (u16_at(value, 0), u16_at(value, 2)) else {
            continue;
        };
        if kind != IFLA_BRIDGE_VLAN_INFO {
            continue;
        }
        if flags & RANGE_BEGIN != 0 {
            begin = Some(id);
            continue;
        }
        vlans.push(Vlan {
            first: begin.take().unwrap_or(id),
            last: id,
            pvid: flags & PVID != 0,
            untagged: flags & UNTAGGED != 0,
        });
    }
    vlans
}

impl Vlan {
    /// As iproute2 writes it.
    pub fn in_words(&self) -> String {
        let marks = [(self.pvid, " PVID"), (self.untagged, " untagged")];
        let marks = marks.iter().filter(|(on, _)| *on);
        let marks: String = marks.map(|(_, text)| *text).collect();
        format!("{}{marks}", in_words(self.first, self.last))
    }
}

/// One, or a range.
pub fn in_words(first: u16, last: u16) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_such() {
        let mut spec = Vec::new();
        for (flags, id) in [(PVID | UNTAGGED, 1u16), (RANGE_BEGIN, 10), (16, 4094)] {
            let value = [flags.to_ne_bytes(), id.to_ne_bytes()].concat();
            push(&mut spec, IFLA_BRIDGE_VLAN_INFO, &value);
        }
        let words: Vec<_> = decode(&spec).iter().map(Vlan::in_words).collect();
        assert_eq!(words, ["1 PVID untagged", "10-4094"]);
    }

    #[test]
    fn a_state_that_is_not_told_is_no_answer() {
        let answer = |entry: &[u8]| {
            let mut answer = vec![libc::AF_BRIDGE as u8, 0, 0, 0, 7, 0, 0, 0];
            push(&mut answer, BRIDGE_VLANDB_ENTRY, entry);
            answer
        };
        let mut entry = Vec::new();
        // struct bridge_vlan_info: flags and number.
        let info = [0u16.to_ne_bytes(), 42u16.to_ne_bytes()].concat();
        push(&mut entry, BRIDGE_VLANDB_ENTRY_INFO, &info);
        assert_eq!(states_of(&answer(&entry)), None);
        push(&mut entry, BRIDGE_VLANDB_ENTRY_STATE, &[1]);
        let learning = |last| Blocked {
            first: 42,
            last,
            state: 1,
        };
        let port = u32::from_ne_bytes([7, 0, 0, 0]);
        assert_eq!(states_of(&answer(&entry)), Some((port, vec![learning(42)])));
        push(&mut entry, BRIDGE_VLANDB_ENTRY_RANGE, &50u16.to_ne_bytes());
        assert_eq!(states_of(&answer(&entry)), Some((port, vec![learning(50)])));
    }
}
