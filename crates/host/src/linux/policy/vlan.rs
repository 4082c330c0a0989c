//! What the VLAN of a tap's port means for a VF.

use accelnet_model::{PolicyFinding, PolicyKind};

use super::{Interface, finding, port::not_forwarding};
use crate::linux::vlans::{Blocked, Vlan, Vlans, in_words};

/// Nothing if the bridge does not filter, or guest and wire have the same single untagged VLAN at
/// every uplink. What is below a bond is no port, and has none. A VLAN whose frames do not pass a port
/// (its own spanning tree's state) has no name: it is not for a waiver.
pub fn observe(
    vlans: &Vlans,
    bridge: &Interface,
    tap: &Interface,
    uplinks: &[&Interface],
) -> Vec<PolicyFinding> {
    if !bridge.by_vlan {
        return Vec::new();
    }
    let guest = vlans.at(tap);
    let ports = uplinks
        .iter()
        .filter(|uplink| uplink.master == Some(bridge.index));
    let wires: Vec<_> = ports.map(|uplink| vlans.at(uplink)).collect();
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
            let blocked = vlans.blocked_at(port).iter().filter(here);
            blocked.map(|one| {
                let what = format!("VLAN {}", in_words(one.first, one.last));
                not_forwarding(port, &what, one.state)
            })
        });
    found.into_iter().chain(not_passed).collect()
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
}
