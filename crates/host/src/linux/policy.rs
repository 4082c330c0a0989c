//! What restricts or changes the traffic of a tap on the host (DESIGN: parity; default-deny).
//!
//! Looked at: VLANs, flags and states of the bridge's ports, disciplines and filters of traffic control, BPF
//! programs, and the packet filters that see bridged frames. What is found and not proved irrelevant is
//! reported, in words that its owner recognises; so is what could not be read.

mod filters;
mod netfilter;
mod port;
mod programs;
mod vlan;

use std::collections::HashMap;

use accelnet_model::{IfName, PolicyFinding, PolicyKind};
use filters::Filters;
use netfilter::Netfilter;
use programs::Programs;

use super::{
    hold_queue,
    links::{Interface, Links},
    qdisc::{self, Qdisc},
    sysfs::Root,
    vlans::Vlans,
};
use crate::{HostError, PolicyPath, Result};

/// Reads answers as each kind of them that there is.
#[cfg(feature = "fuzz")]
pub fn answers(messages: &[super::netlink::Message]) {
    filters::decode(messages);
    messages.iter().for_each(netfilter::answer);
}

/// See [`crate::Host::observe_policy`]: a fixed number of dumps, and one for each place on the paths
/// where somebody keeps filters.
pub fn observe(root: &Root, paths: &[PolicyPath]) -> Vec<Result<Vec<PolicyFinding>>> {
    if paths.is_empty() {
        return Vec::new();
    }
    match Links::read() {
        Ok(links) => {
            let mut view = View::read(root, paths, &links);
            paths.iter().map(|path| view.path(&links, path)).collect()
        }
        Err(error) => paths.iter().map(|_| Err(error.clone())).collect(),
    }
}

/// `name` is what a waiver calls it.
fn finding(
    kind: PolicyKind,
    place: &impl ToString,
    rule: impl Into<String>,
    name: &str,
) -> PolicyFinding {
    PolicyFinding {
        kind,
        place: place.to_string(),
        rule: rule.into(),
        name: Some(name.to_owned()),
    }
}

/// What cannot be read restricts: nobody may say that there is nothing, or waive what nobody knows.
fn unread(kind: PolicyKind, place: &(impl ToString + ?Sized), error: &HostError) -> PolicyFinding {
    PolicyFinding {
        kind,
        place: place.to_string(),
        rule: format!("cannot be read: {error}"),
        name: None,
    }
}

/// One look, for all paths. What could not be read is the finding that says so.
struct View {
    /// By device.
    qdiscs: std::result::Result<HashMap<u32, Vec<Qdisc>>, PolicyFinding>,
    vlans: std::result::Result<Vlans, PolicyFinding>,
    netfilter: std::result::Result<Netfilter, PolicyFinding>,
    filters: Filters,
    programs: Programs,
}

impl View {
    fn read(root: &Root, paths: &[PolicyPath], links: &Links) -> Self {
        let mut names: Vec<&IfName> = paths.iter().map(|path| &path.bridge).collect();
        names.sort_unstable();
        names.dedup();
        let bridges = names.iter().filter_map(|name| links.named(name));
        let vlans = Vlans::read_if_any_filters(bridges.clone());
        Self {
            qdiscs: by_device()
                .map_err(|error| unread(PolicyKind::TrafficControl, "traffic control", &error)),
            vlans: vlans.map_err(|error| unread(PolicyKind::VlanTrunk, "the bridge", &error)),
            netfilter: Netfilter::read(root, bridges).map_err(|error| netfilter::unseen(&error)),
            filters: Filters::default(),
            programs: Programs::default(),
        }
    }

    fn path(&mut self, links: &Links, path: &PolicyPath) -> Result<Vec<PolicyFinding>> {
        let (tap, bridge) = (links.required(&path.tap)?, links.required(&path.bridge)?);
        let uplinks = path.uplinks.iter().map(|name| links.required(name));
        let uplinks = uplinks.collect::<Result<Vec<_>>>()?;
        let mut found = port::of_tap(tap);
        found.extend(uplinks.iter().flat_map(|uplink| port::of_uplink(uplink)));
        match &self.vlans {
            Ok(vlans) => found.extend(vlan::observe(vlans, bridge, tap, &uplinks)),
            Err(unread) => found.push(unread.clone()),
        }
        found.extend(self.qdiscs.as_ref().err().cloned());
        let roles = [(tap, "tap"), (bridge, "bridge")];
        let uplinks_in_role = uplinks.iter().map(|uplink| (*uplink, "uplink"));
        for (device, role) in roles.into_iter().chain(uplinks_in_role) {
            found.extend(self.traffic_control(device, role)?);
            if device.xdp {
                let name = format!("{role}/xdp");
                found.push(finding(
                    PolicyKind::Ebpf,
                    &device.name,
                    "an XDP program",
                    &name,
                ));
            }
            found.extend(self.programs.on(device, role));
        }
        match &mut self.netfilter {
            Ok(netfilter) => found.extend(netfilter.on(links, bridge, tap, &uplinks)),
            Err(unread) => found.push(unread.clone()),
        }
        Ok(found)
    }

    fn traffic_control(&mut self, device: &Interface, role: &str) -> Result<Vec<PolicyFinding>> {
        let Ok(qdiscs) = &self.qdiscs else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for qdisc in qdiscs.get(&device.index).into_iter().flatten() {
            if hold_queue::is_foreign(qdisc) {
                let name = format!("{role}/qdisc-{}", qdisc.kind);
                let rule = qdisc.in_words();
                found.push(finding(
                    PolicyKind::TrafficControl,
                    &device.name,
                    rule,
                    &name,
                ));
            }
            found.extend(self.filters.observe(&device.name, role, qdisc)?);
        }
        Ok(found)
    }
}

fn by_device() -> Result<HashMap<u32, Vec<Qdisc>>> {
    let mut qdiscs: HashMap<u32, Vec<Qdisc>> = HashMap::new();
    for qdisc in qdisc::all()? {
        qdiscs.entry(qdisc.device).or_default().push(qdisc);
    }
    Ok(qdiscs)
}

#[cfg(test)]
mod tests;
