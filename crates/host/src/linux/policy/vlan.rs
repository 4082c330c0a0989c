//! VLANs of a port on a bridge that filters by VLAN.

use accelnet_model::{IfName, PolicyFinding, PolicyKind};

use super::{finding, sysfs};
use crate::{
    Result,
    linux::{
        attributes::{find, iter, push, u16_at, u32_at},
        netlink::{Netlink, ifindex},
        sysfs::Root,
    },
};

const RTM_GETLINK: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_EXT_MASK: u16 = 29;
/// linux/if_bridge.h.
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const RTEXT_FILTER_BRVLAN: u32 = 2;
const PVID: u16 = 2;
const UNTAGGED: u16 = 4;

/// A VLAN of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Vlan {
    id: u16,
    pvid: bool,
    untagged: bool,
}

/// Nothing if the bridge does not filter, or guest and uplink have the same single untagged VLAN.
pub fn observe(
    root: &Root,
    bridge: &IfName,
    tap: &IfName,
    uplink: &IfName,
) -> Result<Option<PolicyFinding>> {
    let path = root.path(&format!("sys/class/net/{bridge}/bridge/vlan_filtering"));
    if sysfs::read(&path)?.is_none_or(|value| value == "0") {
        return Ok(None);
    }
    let (guest, wire) = (vlans(tap)?, vlans(uplink)?);
    Ok(judge(&guest, &wire).map(|kind| {
        let words: Vec<_> = guest
            .iter()
            .map(|vlan| {
                let marks = [(vlan.pvid, " PVID"), (vlan.untagged, " untagged")];
                let marks: String = marks
                    .iter()
                    .filter(|(on, _)| *on)
                    .map(|(_, text)| *text)
                    .collect();
                format!("{}{marks}", vlan.id)
            })
            .collect();
        finding(
            kind,
            tap,
            format!("VLAN filtering on {bridge}: {}", words.join(", ")),
        )
    }))
}

fn judge(guest: &[Vlan], wire: &[Vlan]) -> Option<PolicyKind> {
    match guest {
        [only] if only.pvid && only.untagged => {
            let outside = wire.iter().find(|vlan| vlan.id == only.id);
            match outside {
                Some(vlan) if vlan.pvid && vlan.untagged => None,
                _ => Some(PolicyKind::AccessVlan { vlan: only.id }),
            }
        }
        _ => Some(PolicyKind::VlanTrunk),
    }
}

fn vlans(port: &IfName) -> Result<Vec<Vlan>> {
    let index = ifindex(port)?;
    let mut message = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
    message.extend([0; 12]);
    push(
        &mut message,
        IFLA_EXT_MASK,
        &RTEXT_FILTER_BRVLAN.to_ne_bytes(),
    );
    let answers = Netlink::route()?.request(
        &format!("read the VLANs of {port}"),
        RTM_GETLINK,
        libc::NLM_F_DUMP as u16,
        &message,
    )?;
    let mut found = Vec::new();
    for answer in answers
        .iter()
        .filter(|answer| u32_at(&answer.payload, 4) == Some(index))
    {
        let spec = answer
            .payload
            .get(16..)
            .and_then(|rest| find(rest, IFLA_AF_SPEC));
        for (kind, value) in iter(spec.unwrap_or_default()) {
            let (Some(flags), Some(id)) = (u16_at(value, 0), u16_at(value, 2)) else {
                continue;
            };
            if kind == IFLA_BRIDGE_VLAN_INFO {
                found.push(Vlan {
                    id,
                    pvid: flags & PVID != 0,
                    untagged: flags & UNTAGGED != 0,
                });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_untagged_vlan_is_no_policy() {
        let access = |id| Vlan {
            id,
            pvid: true,
            untagged: true,
        };
        let tagged = |id| Vlan {
            id,
            pvid: false,
            untagged: false,
        };
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
}
