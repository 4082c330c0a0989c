//! VLANs of a port on a bridge that filters by VLAN.

use std::collections::BTreeMap;

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{Interface, finding};
use crate::{
    Result,
    linux::{
        attributes::{find, iter, push, u16_at, u32_at},
        netlink::Netlink,
        uapi::{
            DUMP, IFINFOMSG, IFLA_AF_SPEC, IFLA_BRIDGE_VLAN_INFO, IFLA_EXT_MASK,
            RTEXT_FILTER_BRVLAN_COMPRESSED, RTM_GETLINK, ifinfomsg,
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

/// VLANs by the number of the port.
#[derive(Debug, Default)]
pub struct Vlans(BTreeMap<u32, Vec<Vlan>>);

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
        Ok(Self(ports.collect()))
    }

    /// Nothing if the bridge does not filter, or guest and wire have the same single untagged VLAN at
    /// every uplink. What is below a bond is no port, and has none.
    pub fn observe(
        &self,
        bridge: &Interface,
        tap: &Interface,
        uplinks: &[&Interface],
    ) -> Option<PolicyFinding> {
        if !bridge.by_vlan {
            return None;
        }
        let of = |port: &Interface| self.0.get(&port.index).map_or(&[][..], Vec::as_slice);
        let guest = of(tap);
        let ports = uplinks
            .iter()
            .filter(|uplink| uplink.master == Some(bridge.index));
        let wires: Vec<_> = ports.map(|uplink| of(uplink)).collect();
        let kind = if wires.is_empty() {
            judge(guest, &[])
        } else {
            wires.iter().find_map(|wire| judge(guest, wire))
        };
        let words: Vec<_> = guest.iter().map(Vlan::in_words).collect();
        let rule = format!("VLAN filtering on {}: {}", bridge.name, words.join(", "));
        kind.map(|kind| finding(kind, &tap.name, rule, "tap/vlan"))
    }
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
        if self.first == self.last {
            format!("{}{marks}", self.first)
        } else {
            format!("{}-{}{marks}", self.first, self.last)
        }
    }
}

fn judge(guest: &[Vlan], wire: &[Vlan]) -> Option<PolicyKind> {
    match guest {
        [only] if only.pvid && only.untagged && only.first == only.last => {
            let vlan = only.first;
            let mut outside = wire.iter();
            let outside = outside.find(|wire| (wire.first..=wire.last).contains(&vlan));
            match outside {
                Some(outside) if outside.pvid && outside.untagged => None,
                _ => Some(PolicyKind::AccessVlan { vlan }),
            }
        }
        _ => Some(PolicyKind::VlanTrunk),
    }
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
        assert_eq!(
            judge(&[access(7)], &[vlan(2, 4094, false)]),
            Some(PolicyKind::AccessVlan { vlan: 7 })
        );
        assert_eq!(
            judge(&[vlan(1, 2, true)], &[vlan(1, 2, true)]),
            Some(PolicyKind::VlanTrunk)
        );
        assert_eq!(judge(&[access(1)], &[access(1), tagged(5)]), None);
        assert_eq!(
            judge(&[access(5)], &[access(1), tagged(5)]),
            Some(PolicyKind::AccessVlan { vlan: 5 })
        );
        assert_eq!(
            judge(&[access(1), tagged(5)], &[access(1)]),
            Some(PolicyKind::VlanTrunk)
        );
        assert_eq!(judge(&[], &[access(1)]), Some(PolicyKind::VlanTrunk));
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
