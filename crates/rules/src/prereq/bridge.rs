//! The intent's bridge exists, is a Linux bridge, and has at most one uplink.
//!
//! With two uplinks frames of a VM could leave by one and the VF's by the other: the switch outside
//! would see its address move. A bridge without any is told by the adapters' own check.

use accelnet_model::{BridgeFacts, CheckResult, Code, IfName, Intent, NodeStatus};

use super::{Check, Node, cured, list};

/// What `BridgeFacts::kind` says of a Linux bridge (`IFLA_INFO_KIND`).
const LINUX_BRIDGE: &str = "bridge";

pub(super) fn check(node: &Node<'_>, intent: &Intent) -> CheckResult {
    let check = Check::of_node("bridge", node);
    let name = &intent.bridge;
    let Some(bridge) = find(node.1, intent) else {
        return check.fails(Code::BridgeNotFound, format!("there is no bridge {name}"));
    };
    if bridge.kind != LINUX_BRIDGE {
        let found = format!("{name} is not a Linux bridge but of kind '{}'", bridge.kind);
        return check.fails(Code::BridgeNotSupported, found);
    }
    let uplinks = uplinks(node.1, bridge);
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

/// The intent's bridge on a node, of whatever kind.
pub(super) fn find<'a>(status: &'a NodeStatus, intent: &Intent) -> Option<&'a BridgeFacts> {
    let mut bridges = status.bridges.iter();
    bridges.find(|bridge| bridge.ifname == intent.bridge)
}

/// Ports of the bridge that lead out of the node: adapters, and what adapters are ports of (bonds).
pub(super) fn uplinks<'a>(status: &'a NodeStatus, bridge: &'a BridgeFacts) -> Vec<&'a IfName> {
    let leads_out = |port: &&IfName| {
        status.adapters.iter().any(|adapter| {
            &adapter.facts.ifname == *port || adapter.facts.master.as_ref() == Some(port)
        })
    };
    let ports = bridge.ports.iter().map(|port| &port.ifname);
    ports.filter(leads_out).collect()
}
