//! The intent's bridge exists, is a Linux bridge, and has at most one uplink.
//!
//! With two uplinks frames of a VM could leave by one and the VF's by the other: the switch outside
//! would see its address move. A bridge without any is told by the adapters' own check.

use accelnet_model::{BridgeFacts, CheckResult, Code, IfName, Intent};

use super::{Check, Node, cured, list};
use crate::Observed;

/// What `BridgeFacts::kind` says of a Linux bridge (`IFLA_INFO_KIND`).
const LINUX_BRIDGE: &str = "bridge";

pub(super) fn check(node: &Node, intent: &Intent) -> CheckResult {
    let check = Check::of_node("bridge", node);
    let name = &intent.bridge;
    let Some(bridge) = node.1.bridge(name) else {
        return check.fails(Code::BridgeNotFound, format!("there is no bridge {name}"));
    };
    if bridge.kind != LINUX_BRIDGE {
        let found = format!("{name} is not a Linux bridge but of kind '{}'", bridge.kind);
        return check.fails(Code::BridgeNotSupported, found);
    }
    let uplinks = uplinks(&node.1, bridge);
    if uplinks.len() > 1 {
        let found = format!("{name} has {} uplinks: {}", uplinks.len(), list(uplinks));
        return check.fails(Code::BridgeNotSupported, found);
    }
    if !bridge.up {
        return cured(
            check.warns(Code::BridgeNotSupported, format!("{name} is down")),
            "Bring the bridge up.",
        );
    }
    match uplinks.first() {
        Some(uplink) => check.passes(format!("{name} is a Linux bridge with uplink {uplink}")),
        None => check.passes(format!("{name} is a Linux bridge")),
    }
}

/// Ports of the bridge that lead out of the node: adapters, and what adapters are ports of (bonds).
pub(super) fn uplinks<'a>(observed: &'a Observed, bridge: &'a BridgeFacts) -> Vec<&'a IfName> {
    let leads_out = |port: &&IfName| {
        observed
            .adapters
            .iter()
            .any(|adapter| &adapter.ifname == *port || adapter.master.as_ref() == Some(port))
    };
    let ports = bridge.ports.iter().map(|port| &port.ifname);
    ports.filter(leads_out).collect()
}
