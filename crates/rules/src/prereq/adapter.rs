//! The intent's adapter is there, is the bridge's uplink, has a link and a fitting MTU.

use accelnet_model::{AdapterFacts, CheckResult, Code, IfName, Intent};

use super::{Check, Node, list};

/// The adapter's facts; if it is missing, says so.
pub(super) fn present<'a>(
    node: &'a Node,
    name: &IfName,
    results: &mut Vec<CheckResult>,
) -> Option<&'a AdapterFacts> {
    let found = node.1.adapter(name);
    if found.is_none() {
        let has = list(node.1.adapters.iter().map(|adapter| &adapter.ifname));
        let has = if has.is_empty() { "none" } else { &has };
        let check = Check::of_adapter("adapter", node, name);
        let text = format!("there is no adapter {name}; the node's adapters: {has}");
        results.push(check.fails(Code::AdapterNotFound, text));
    }
    found
}

pub(super) fn check(
    node: &Node,
    intent: &Intent,
    facts: &AdapterFacts,
    results: &mut Vec<CheckResult>,
) {
    results.push(uplink(node, intent, facts));
    results.push(link(node, facts));
    results.extend(mtu(node, intent, facts));
}

fn uplink(node: &Node, intent: &Intent, facts: &AdapterFacts) -> CheckResult {
    let check = Check::of_adapter("adapter", node, &facts.ifname);
    let (name, bridge) = (&facts.ifname, &intent.bridge);
    match &facts.master {
        Some(master) if master == bridge => check.passes(format!("uplink of {master}")),
        Some(master) => check.fails(
            Code::AdapterNotUplink,
            format!("{name} is a port of {master}, not of {bridge}"),
        ),
        None => check.fails(
            Code::AdapterNotUplink,
            format!("{name} is not a port of {bridge}"),
        ),
    }
}

fn link(node: &Node, facts: &AdapterFacts) -> CheckResult {
    let check = Check::of_adapter("link", node, &facts.ifname);
    match (facts.up, facts.carrier, facts.speed_mbps) {
        (false, ..) => check.fails(Code::AdapterLinkDown, "the interface is down"),
        (true, false, _) => check.fails(Code::AdapterLinkDown, "there is no carrier"),
        (true, true, Some(speed)) => check.passes(format!("up, {speed} Mbit/s")),
        (true, true, None) => check.passes("up"),
    }
}

/// A VF cannot have a larger MTU than its PF, and the guest's NIC follows the bridge's.
fn mtu(node: &Node, intent: &Intent, facts: &AdapterFacts) -> Option<CheckResult> {
    let bridge = node.1.bridge(&intent.bridge)?;
    let check = Check::of_adapter("mtu", node, &facts.ifname);
    let (own, others) = (facts.mtu, bridge.mtu);
    let found = format!("MTU {own}, bridge {} has {others}", bridge.ifname);
    Some(if own >= others {
        check.passes(found)
    } else {
        check.fails(Code::VfMtuTooSmall, found)
    })
}
