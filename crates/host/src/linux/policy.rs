//! What restricts or changes the traffic of a tap on the host (DESIGN: parity; default-deny).
//!
//! Looked at: VLANs and flags of the bridge port, disciplines and filters of traffic control, XDP,
//! and packet filter rules of the families that see bridged frames. What is found and not proved
//! irrelevant is reported, in words that its owner recognises.

mod filters;
mod firewall;
mod vlan;

use std::collections::HashMap;

use accelnet_model::{IfName, PolicyFinding, PolicyKind};
use filters::Filters;

use super::{
    hold_queue,
    links::{Interface, Links},
    qdisc::{self, Qdisc},
    sysfs::{self, Root},
    uapi::{
        IFLA_BRPORT_BCAST_FLOOD, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_LOCKED, IFLA_BRPORT_MAB,
        IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_NEIGH_SUPPRESS,
    },
};
use crate::{PolicyPath, Result};

/// Flags of a bridge port that restrict a guest, as sysfs calls them, and how they read when they do
/// not. Others (`bpdu_guard`, `root_block`, `hairpin`, `multicast_fast_leave` …) are about the bridge's
/// own protocols, or let more through.
const PORT_FLAGS: [(u16, &str, bool); 6] = [
    (IFLA_BRPORT_ISOLATED, "isolated", false),
    (IFLA_BRPORT_LOCKED, "locked", false),
    (IFLA_BRPORT_MAB, "mab", false),
    (IFLA_BRPORT_NEIGH_SUPPRESS, "neigh_suppress", false),
    (IFLA_BRPORT_BCAST_FLOOD, "broadcast_flood", true),
    (IFLA_BRPORT_MCAST_FLOOD, "multicast_flood", true),
];

/// See [`crate::Host::observe_policy`]: a fixed number of dumps, and one for each place on the paths
/// where somebody keeps filters.
pub fn observe(root: &Root, paths: &[PolicyPath]) -> Vec<Result<Vec<PolicyFinding>>> {
    if paths.is_empty() {
        return Vec::new();
    }
    match View::read(root, paths) {
        Ok(mut view) => paths.iter().map(|path| view.path(path)).collect(),
        Err(error) => paths.iter().map(|_| Err(error.clone())).collect(),
    }
}

fn finding(kind: PolicyKind, place: &impl ToString, rule: impl Into<String>) -> PolicyFinding {
    PolicyFinding {
        kind,
        place: place.to_string(),
        rule: rule.into(),
    }
}

/// One look, for all paths.
struct View {
    links: Links,
    /// By device.
    qdiscs: HashMap<u32, Vec<Qdisc>>,
    vlans: vlan::Vlans,
    /// Rules that see every bridged frame.
    firewall: Vec<PolicyFinding>,
    filters: Filters,
}

impl View {
    fn read(root: &Root, paths: &[PolicyPath]) -> Result<Self> {
        let links = Links::read()?;
        let bridges = paths.iter().filter_map(|path| links.named(&path.bridge));
        let by_vlan = bridges.into_iter().any(|bridge| bridge.by_vlan);
        let mut qdiscs: HashMap<u32, Vec<Qdisc>> = HashMap::new();
        for qdisc in qdisc::all()? {
            qdiscs.entry(qdisc.device).or_default().push(qdisc);
        }
        Ok(Self {
            qdiscs,
            vlans: if by_vlan {
                vlan::Vlans::read()?
            } else {
                vlan::Vlans::default()
            },
            firewall: firewall::observe(root)?,
            filters: Filters::default(),
            links,
        })
    }

    fn path(&mut self, path: &PolicyPath) -> Result<Vec<PolicyFinding>> {
        let Self {
            links,
            qdiscs,
            vlans,
            firewall,
            filters,
        } = self;
        let (tap, bridge) = (links.required(&path.tap)?, links.required(&path.bridge)?);
        let uplinks = path.uplinks.iter().map(|name| links.required(name));
        let uplinks = uplinks.collect::<Result<Vec<_>>>()?;
        let mut found = port_flags(tap);
        found.extend(vlans.observe(bridge, tap, &uplinks));
        for device in [tap, bridge].into_iter().chain(uplinks) {
            for qdisc in qdiscs.get(&device.index).into_iter().flatten() {
                if hold_queue::is_foreign(qdisc) {
                    let rule = qdisc.in_words();
                    found.push(finding(PolicyKind::TrafficControl, &device.name, rule));
                }
                found.extend(filters.observe(&device.name, qdisc)?);
            }
            if device.xdp {
                found.push(finding(PolicyKind::Ebpf, &device.name, "an XDP program"));
            }
        }
        found.extend(firewall.iter().cloned());
        Ok(found)
    }
}

fn port_flags(tap: &Interface) -> Vec<PolicyFinding> {
    let restricting = PORT_FLAGS.iter().filter_map(|(attribute, flag, harmless)| {
        let value = tap.port_flag(*attribute)?;
        let rule = format!("bridge port flag {flag} is {}", u8::from(value));
        (value != *harmless).then(|| finding(PolicyKind::Isolation, &tap.name, rule))
    });
    restricting.collect()
}

#[cfg(test)]
mod tests;
