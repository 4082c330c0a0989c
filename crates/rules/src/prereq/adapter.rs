//! The intent's adapter is there, is the bridge's uplink, has a link and a fitting MTU.

use accelnet_model::{AdapterFacts, CheckResult, Code, Intent};

use super::{Check, Node, cured, list};

/// The intent's adapters on the node; if one is missing, says so.
pub(super) fn present<'a>(
    node: &'a Node,
    intent: &'a Intent,
    results: &mut Vec<CheckResult>,
) -> Vec<&'a AdapterFacts> {
    let found: Vec<&AdapterFacts> = node.1.covered(intent).collect();
    let words: fn(&AdapterFacts) -> String = match &intent.matching {
        Some(_) => in_words,
        None => names,
    };
    let has = list(node.1.adapters.iter().map(words));
    let has = if has.is_empty() { "none" } else { &has };
    if let Some(rule) = &intent.matching
        && found.is_empty()
    {
        let text = format!("no adapter matches {rule}; the node's adapters: {has}");
        let result = Check::of_node("adapter", node).fails(Code::AdapterNotFound, text);
        let cure = "Correct the rule; 'accelnet adapter show' tells what each adapter is. The speed \
                    of an adapter without link is not known.";
        results.push(cured(result, cure));
    }
    for name in &intent.adapters {
        if !found.iter().any(|facts| facts.is_called(name)) {
            let check = Check::of_adapter("adapter", node, name.clone());
            let mut others = node.1.node.no_adapters.iter();
            let text = match others.find(|other| other.name == name.as_str()) {
                Some(other) => format!("{name} is no adapter but {}", other.what),
                None => format!("there is no adapter {name}; the node's adapters: {has}"),
            };
            results.push(check.fails(Code::AdapterNotFound, text));
        }
    }
    found
}

/// All that it is called.
fn names(facts: &AdapterFacts) -> String {
    match facts.altnames.as_slice() {
        [] => facts.ifname.to_string(),
        others => format!("{} (also {})", facts.ifname, list(others)),
    }
}

/// What a rule looks at.
fn in_words(facts: &AdapterFacts) -> String {
    let driver = facts.driver.as_deref().unwrap_or("no driver");
    let speed = match facts.speed_mbps {
        _ if !facts.carrier => "no link".to_owned(),
        Some(speed) => format!("{speed} Mbit/s"),
        // Virtual cards have none.
        None => "speed unknown".to_owned(),
    };
    format!("{} ({driver}, {speed}, {})", facts.ifname, facts.pci_id)
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
    let result = match &facts.master {
        Some(master) if master == bridge => return check.passes(format!("uplink of {master}")),
        Some(bond) if node.1.port_of(facts, bridge).is_some() => {
            return check.passes(format!("uplink of {bridge} in {bond}"));
        }
        Some(master) => check.fails(
            Code::AdapterNotUplink,
            format!("{name} is a port of {master}, not of {bridge}"),
        ),
        None => check.fails(
            Code::AdapterNotUplink,
            format!("{name} is not a port of {bridge}"),
        ),
    };
    match &intent.matching {
        None => result,
        Some(rule) => cured(
            result,
            &format!(
                "Make {name} a port of {bridge}, or narrow the rule {rule} to adapters that are."
            ),
        ),
    }
}

fn link(node: &Node, facts: &AdapterFacts) -> CheckResult {
    let check = Check::of_adapter("link", node, &facts.ifname);
    if !(node.1.is_active(facts) || facts.up && facts.carrier) {
        return check.warns(Code::AdapterLinkDown, "the bond's backup has no link");
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn an_adapter_with_link_and_without_speed_is_not_called_one_without_link() {
        let mut facts = fixture::observed().adapters[0].clone();
        for (carrier, speed, words) in [
            (true, Some(1000), "1000 Mbit/s"),
            (true, None, "speed unknown"),
            (false, None, "no link"),
            (false, Some(1000), "no link"),
        ] {
            (facts.carrier, facts.speed_mbps) = (carrier, speed);
            assert!(in_words(&facts).contains(words), "{}", in_words(&facts));
        }
    }
}
