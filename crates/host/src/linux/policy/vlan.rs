//! VLANs of a port on a bridge that filters by VLAN.

use std::collections::BTreeMap;

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{
    Interface, finding,
    port::{FORWARDING, not_forwarding},
};
use crate::{
    Result,
    linux::{
        attributes::{find, iter, push, u16_at, u32_at},
        netlink::Netlink,
        uapi::{
            BRIDGE_VLANDB_ENTRY, BRIDGE_VLANDB_ENTRY_INFO, BRIDGE_VLANDB_ENTRY_RANGE,
            BRIDGE_VLANDB_ENTRY_STATE, DUMP, IFINFOMSG, IFLA_AF_SPEC, IFLA_BRIDGE_VLAN_INFO,
            IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED, RTM_GETLINK, RTM_GETVLAN, ifinfomsg,
        },
    },
};

// include/uapi/linux/if_bridge.h, `BRIDGE_VLAN_INFO_…`.
const PVID: u16 = 2;
const UNTAGGED: u16 = 4;
const RANGE_BEGIN: u16 = 8;

/// VLANs of a port that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Vlan {
    first: u16,
    last: u16,
    pvid: bool,
    untagged: bool,
}

/// VLANs whose frames do not pass a port, and the spanning tree's state of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Blocked {
    first: u16,
    last: u16,
    state: u8,
}

/// What ports have, by their numbers.
#[derive(Debug, Default)]
pub struct Vlans {
    vlans: BTreeMap<u32, Vec<Vlan>>,
    blocked: BTreeMap<u32, Vec<Blocked>>,
}

impl Vlans {
    /// Reads those of all ports.
    pub fn read() -> Result<Self> {
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

    /// Nothing if the bridge does not filter, or guest and wire have the same single untagged VLAN at
    /// every uplink. What is below a bond is no port, and has none. A VLAN whose frames do not pass a port
    /// (its own spanning tree's state) has no name: it is not for a waiver.
    pub fn observe(
        &self,
        bridge: &Interface,
        tap: &Interface,
        uplinks: &[&Interface],
    ) -> Vec<PolicyFinding> {
        if !bridge.by_vlan {
            return Vec::new();
        }
        let of = |port: &Interface| self.vlans.get(&port.index).map_or(&[][..], Vec::as_slice);
        let guest = of(tap);
        let ports = uplinks
            .iter()
            .filter(|uplink| uplink.master == Some(bridge.index));
        let wires: Vec<_> = ports.map(|uplink| of(uplink)).collect();
        let kind = judge(guest, &wires, bridge.dot1q);
        let words: Vec<_> = guest.iter().map(Vlan::in_words).collect();
        let rule = format!("VLAN filtering on {}: {}", bridge.name, words.join(", "));
        let found = kind.map(|kind| finding(kind, &tap.name, rule, "tap/vlan"));
        let here = |blocked: &&Blocked| {
            let mut theirs = guest.iter();
            theirs.any(|vlan| vlan.first <= blocked.last && blocked.first <= vlan.last)
        };
        let not_passed = [tap]
            .into_iter()
            .chain(uplinks.iter().copied())
            .flat_map(|port| {
                let blocked = self
                    .blocked
                    .get(&port.index)
                    .into_iter()
                    .flatten()
                    .filter(here);
                blocked.map(|one| {
                    let what = format!("VLAN {}", in_words(one.first, one.last));
                    not_forwarding(port, &what, one.state)
                })
            });
        found.into_iter().chain(not_passed).collect()
    }
}

/// VLANs that do not forward at all ports. A kernel before 5.6 has no state of a VLAN, and no such question.
fn blocked() -> Result<BTreeMap<u32, Vec<Blocked>>> {
    let operation = "read the states of VLANs at bridge ports";
    // struct br_vlan_msg: family, padding, the port's number; all ports for 0.
    let message = [libc::AF_BRIDGE as u8, 0, 0, 0, 0, 0, 0, 0];
    let answers = match Netlink::route()?.request(operation, RTM_GETVLAN, DUMP, &message) {
        Err(error) if error.is_unsupported() => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut ports: BTreeMap<u32, Vec<Blocked>> = BTreeMap::new();
    for answer in &answers {
        let port = u32_at(&answer.payload, 4);
        let entries = answer.payload.get(message.len()..);
        let (Some(port), Some(entries)) = (port, entries) else {
            continue;
        };
        let found = iter(entries).filter(|(kind, _)| *kind == BRIDGE_VLANDB_ENTRY);
        let found = found.filter_map(|(_, entry)| state_of(entry));
        ports.entry(port).or_default().extend(found);
    }
    Ok(ports)
}

fn state_of(entry: &[u8]) -> Option<Blocked> {
    let state = *find(entry, BRIDGE_VLANDB_ENTRY_STATE)?.first()?;
    let first = u16_at(find(entry, BRIDGE_VLANDB_ENTRY_INFO)?, 2)?;
    let last = find(entry, BRIDGE_VLANDB_ENTRY_RANGE).and_then(|last| u16_at(last, 0));
    let blocked = Blocked {
        first,
        last: last.unwrap_or(first),
        state,
    };
    (state != FORWARDING).then_some(blocked)
}

/// Ranges come as two entries, begin and end.
fn decode(spec: &[u8]) -> Vec<Vlan> {
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
    fn in_words(&self) -> String {
        let marks = [(self.pvid, " PVID"), (self.untagged, " untagged")];
        let marks = marks.iter().filter(|(on, _)| *on);
        let marks: String = marks.map(|(_, text)| *text).collect();
        format!("{}{marks}", in_words(self.first, self.last))
    }
}

fn in_words(first: u16, last: u16) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    }
}

/// What the VLANs of guest and uplinks mean; `dot1q`: tags are those that a VF's VLAN has.
fn judge(guest: &[Vlan], wires: &[&[Vlan]], dot1q: bool) -> Option<PolicyKind> {
    let vlan = match guest {
        [only] if only.pvid && only.untagged && only.first == only.last => only.first,
        _ => return Some(PolicyKind::VlanTrunk),
    };
    let outside = |wire: &&[Vlan]| {
        let mut vlans = wire.iter();
        vlans
            .find(|wire| (wire.first..=wire.last).contains(&vlan))
            .map(|found| (found.pvid, found.untagged))
    };
    let everywhere =
        |as_it| !wires.is_empty() && wires.iter().all(|wire| outside(wire) == Some(as_it));
    (!everywhere((true, true))).then(|| PolicyKind::AccessVlan {
        vlan,
        uplink_tagged: dot1q && everywhere((false, false)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_untagged_vlan_is_no_policy() {
        let vlan = |first, last, untagged| Vlan {
            first,
            last,
            pvid: untagged,
            untagged,
        };
        let access = |id| vlan(id, id, true);
        let tagged = |id| vlan(id, id, false);
        let is_access = |vlan, uplink_tagged| {
            Some(PolicyKind::AccessVlan {
                vlan,
                uplink_tagged,
            })
        };
        let (untagged_1, trunk) = ([access(1), tagged(5)], [vlan(2, 4094, false)]);
        let (seven, five) = ([access(7)], [access(5)]);
        assert_eq!(judge(&seven, &[&trunk], true), is_access(7, true));
        assert_eq!(judge(&seven, &[&trunk], false), is_access(7, false));
        assert_eq!(
            judge(&seven, &[&trunk, &untagged_1], true),
            is_access(7, false)
        );
        assert_eq!(judge(&seven, &[], true), is_access(7, false));
        assert_eq!(
            judge(&five, &[&trunk, &untagged_1], true),
            is_access(5, true)
        );
        // Untagged frames of the wire are of it, or its frames leave without their tag.
        for (pvid, untagged) in [(true, false), (false, true)] {
            let odd = Vlan {
                pvid,
                untagged,
                ..tagged(5)
            };
            assert_eq!(judge(&five, &[&[odd]], true), is_access(5, false));
        }
        assert_eq!(judge(&[access(1)], &[&untagged_1], true), None);
        assert_eq!(
            judge(&[access(1)], &[&untagged_1, &trunk], true),
            is_access(1, false)
        );
        for guest in [&[vlan(1, 2, true)][..], &[access(1), tagged(5)], &[]] {
            let wire = [access(1)];
            assert_eq!(judge(guest, &[&wire], true), Some(PolicyKind::VlanTrunk));
        }
    }

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
}
