//! What restricts or changes the traffic of a tap on the host (DESIGN: parity; default-deny).
//!
//! Looked at: VLANs and flags of the bridge port, disciplines and filters of traffic control, XDP,
//! and packet filter rules of the families that see bridged frames. What is found and not proved
//! irrelevant is reported, in words that its owner recognises.

mod firewall;
mod vlan;

use accelnet_model::{IfName, PolicyFinding, PolicyKind};

use super::{
    attributes::{find, text, u32_at},
    hold_queue,
    netlink::{Netlink, ifindex},
    qdisc,
    sysfs::{self, Root},
};
use crate::Result;

const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
/// Where filters can be: `TC_H_INGRESS`' handle, and clsact's two hooks (linux/pkt_sched.h).
const PARENTS: [(u32, &str); 3] = [
    (0xffff_0000, "ingress"),
    (0xffff_fff2, "clsact ingress"),
    (0xffff_fff3, "clsact egress"),
];

/// Flags of a bridge port that restrict a guest, and how they read when they do not. Others
/// (`bpdu_guard`, `root_block`, `hairpin`, `multicast_fast_leave` …) are about the bridge's own
/// protocols, or let more through.
const PORT_FLAGS: [(&str, &str); 6] = [
    ("isolated", "0"),
    ("locked", "0"),
    ("mab", "0"),
    ("neigh_suppress", "0"),
    ("broadcast_flood", "1"),
    ("multicast_flood", "1"),
];

/// See [`crate::Host::observe_policy`].
pub fn observe(
    root: &Root,
    bridge: &IfName,
    tap: &IfName,
    uplink: &IfName,
) -> Result<Vec<PolicyFinding>> {
    let mut found = port_flags(root, tap)?;
    found.extend(vlan::observe(root, bridge, tap, uplink)?);
    for device in [tap, bridge, uplink] {
        found.extend(traffic_control(device)?);
        found.extend(xdp(device)?);
    }
    found.extend(firewall::observe(root)?);
    Ok(found)
}

fn finding(kind: PolicyKind, place: &impl ToString, rule: impl Into<String>) -> PolicyFinding {
    PolicyFinding {
        kind,
        place: place.to_string(),
        rule: rule.into(),
    }
}

fn port_flags(root: &Root, tap: &IfName) -> Result<Vec<PolicyFinding>> {
    let mut found = Vec::new();
    for (flag, harmless) in PORT_FLAGS {
        let path = root.path(&format!("sys/class/net/{tap}/brport/{flag}"));
        if let Some(value) = sysfs::read(&path)?.filter(|value| value != harmless) {
            found.push(finding(
                PolicyKind::Isolation,
                tap,
                format!("bridge port flag {flag} is {value}"),
            ));
        }
    }
    Ok(found)
}

fn traffic_control(device: &IfName) -> Result<Vec<PolicyFinding>> {
    let index = ifindex(device)?;
    let mut found = Vec::new();
    for qdisc in qdisc::of(index)?
        .iter()
        .filter(|one| hold_queue::is_foreign(one))
    {
        found.push(finding(
            PolicyKind::TrafficControl,
            device,
            qdisc.in_words(),
        ));
    }
    for (parent, hook) in PARENTS {
        let mut message = vec![0; 4];
        message.extend((index as i32).to_ne_bytes());
        message.extend([0; 4]);
        message.extend(parent.to_ne_bytes());
        message.extend([0; 4]);
        let operation = format!("read the filters of {device}");
        // No such parent is no filters there.
        let filters = Netlink::route()?
            .request(
                &operation,
                RTM_GETTFILTER,
                libc::NLM_F_DUMP as u16,
                &message,
            )
            .unwrap_or_default();
        for filter in filters {
            let Some(attributes) = filter.payload.get(20..) else {
                continue;
            };
            if u32_at(&filter.payload, 4) != Some(index) {
                continue;
            }
            let kind = find(attributes, TCA_KIND).map(text).unwrap_or_default();
            let policy = if kind == "bpf" {
                PolicyKind::Ebpf
            } else {
                PolicyKind::TrafficControl
            };
            let rule = format!("tc filter {kind} on {hook}");
            // A filter is dumped once for itself and once per handle.
            let one = finding(policy, device, rule);
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    Ok(found)
}

fn xdp(device: &IfName) -> Result<Vec<PolicyFinding>> {
    // IFLA_XDP / IFLA_XDP_ATTACHED (linux/if_link.h): 0 means that nothing is attached.
    const RTM_GETLINK: u16 = 18;
    const IFLA_XDP: u16 = 43;
    const IFLA_XDP_ATTACHED: u16 = 2;
    let mut message = vec![0; 4];
    message.extend((ifindex(device)? as i32).to_ne_bytes());
    message.extend([0; 8]);
    let answers =
        Netlink::route()?.request(&format!("read the link {device}"), RTM_GETLINK, 0, &message)?;
    let attached = answers.iter().any(|answer| {
        let xdp = answer
            .payload
            .get(16..)
            .and_then(|rest| find(rest, IFLA_XDP));
        xdp.and_then(|xdp| find(xdp, IFLA_XDP_ATTACHED))
            .is_some_and(|mode| mode.first() != Some(&0))
    });
    Ok(if attached {
        vec![finding(PolicyKind::Ebpf, device, "an XDP program")]
    } else {
        Vec::new()
    })
}
