//! Kinds of switches and uplinks that cannot carry an intent: recognised, and refused by name.
//!
//! A VF belongs to one adapter. Its frames leave by that adapter whatever the host's switch would
//! choose, so a switch is accelerated only if one adapter at a time is its way out. What is found is said
//! once for a node, instead of everything that follows from it.

use accelnet_model::{
    AdapterFacts, BridgeFacts, CheckResult, Code, IfName, Intent, Problem, Severity,
};

use crate::{
    Observed, membership,
    prereq::{self, Node},
};

/// `BridgeFacts::kind` of switches and of what adapters are bundled in.
const BRIDGE: &str = "bridge";
const OPEN_VSWITCH: &str = "openvswitch";
const BOND: &str = "bond";
/// The bonding driver's name of LACP.
const LACP: &str = "802.3ad";

/// All prerequisite checks ([`prereq::run`]); where a node's switch is of a kind that is refused, that
/// alone is said about it.
pub fn run(nodes: &[Node], intent: Option<&Intent>) -> Vec<CheckResult> {
    let mut results = prereq::run(nodes, intent);
    let Some(intent) = intent else {
        return results;
    };
    unlike(nodes, intent, &mut results);
    for node in nodes {
        let Some((found, cure)) = refused(&node.1, intent) else {
            continue;
        };
        results.retain(|result| !follows(node, result));
        let text = format!("Node '{}': {found}.", node.0);
        let problem = Problem::new(Code::BridgeNotSupported, text)
            .about("node", &node.0)
            .about("bridge", &intent.bridge)
            .with_cure(cure);
        results.push(CheckResult {
            check: "switch".to_owned(),
            node: Some(node.0.clone()),
            adapter: None,
            passed: false,
            severity: Severity::Error,
            found,
            problem: Some(problem),
        });
    }
    results
}

/// Adapters that differ between nodes in model, driver or speed, which no update makes them: a VM would
/// find another level or another rate where it goes. In versions they may differ, while an update is
/// rolled out ([`prereq`] warns of that).
fn unlike(nodes: &[Node], intent: &Intent, results: &mut [CheckResult]) {
    type Lasting<'a> = (&'a str, Option<&'a str>, Option<u32>);
    for group in membership::groups(nodes, intent) {
        let lasting = group.having.iter().map(|(_, facts)| -> Lasting<'_> {
            let speed = facts.speed_mbps.filter(|_| facts.carrier);
            (&facts.pci_id, facts.driver.as_deref(), speed)
        });
        let all: Vec<Lasting<'_>> = lasting.collect();
        let differ = all.windows(2).any(|pair| {
            let [
                (model, driver, speed),
                (other_model, other_driver, other_speed),
            ] = pair
            else {
                return false;
            };
            // The speed of an adapter without link is not known, which its own check tells.
            let speeds = speed.zip(*other_speed);
            model != other_model
                || driver != other_driver
                || speeds.is_some_and(|(speed, other)| speed != other)
        });
        let of_adapter = results.iter_mut().filter(|result| {
            let code = result.problem.as_ref().map(|problem| problem.code);
            code == Some(Code::AdaptersDiffer) && result.adapter.as_ref() == group.name
        });
        if differ {
            of_adapter.for_each(|result| result.severity = Severity::Error);
        }
    }
}

/// True for what a check says of the node only because of the switch's kind.
fn follows(node: &Node, result: &CheckResult) -> bool {
    let code = result.problem.as_ref().map(|problem| problem.code);
    result.node.as_ref() == Some(&node.0)
        && (result.check == BRIDGE
            || matches!(
                code,
                Some(Code::BridgeNotFound | Code::BridgeNotSupported | Code::AdapterNotUplink)
            ))
}

/// What is found that cannot be, and what helps.
fn refused(observed: &Observed, intent: &Intent) -> Option<(String, &'static str)> {
    let name = &intent.bridge;
    let bundle = observed
        .covered(intent)
        .find_map(|adapter| bundled(observed, intent, adapter));
    if bundle.is_some() {
        return bundle;
    }
    let bridge = observed.bridge(name)?;
    if bridge.kind != BRIDGE {
        let found = match bridge.kind.as_str() {
            OPEN_VSWITCH => format!("{name} belongs to Open vSwitch"),
            BOND => format!("{name} is {} itself, not a bridge", bond(bridge)),
            kind => format!("{name} is not a Linux bridge but of kind '{kind}'"),
        };
        return Some((found, "Connect VMs and adapter with a Linux bridge."));
    }
    let bundle = uplinks(observed, name)
        .into_iter()
        .find_map(|adapter| bundled(observed, intent, adapter));
    if bundle.is_some() {
        return bundle;
    }
    let uplinks = uplinks(observed, name);
    // The members of a bond are one uplink.
    let mut ports: Vec<&IfName> = Vec::new();
    for uplink in &uplinks {
        let port = observed.port_of(uplink, name).unwrap_or(&uplink.ifname);
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    match ports.as_slice() {
        [] => Some(match on_vlan(observed, bridge) {
            Some(found) => (
                found,
                "Make the adapter itself, or its bond, the bridge's uplink: VFs carry frames without that \
                 VLAN's tag. VMs that are to stay in the VLAN stay on the software path.",
            ),
            None => (
                format!("bridge {name} has no uplink: no adapter is a port of it"),
                "Make the intent's adapter a port of the bridge, with your network manager.",
            ),
        }),
        [_] => None,
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            let found = format!(
                "bridge {name} has {} uplinks: {}",
                several.len(),
                names.join(", ")
            );
            let cure = "Leave one adapter in the bridge; give the others bridges of their own.";
            Some((found, cure))
        }
    }
}

/// The port by which frames leave the bridge in a VLAN of an adapter or of a bond of adapters, in words.
pub fn on_vlan(observed: &Observed, bridge: &BridgeFacts) -> Option<String> {
    let leads_out = |lower: &IfName| {
        let mut adapters = observed.adapters.iter();
        adapters.any(|adapter| adapter.ifname == *lower || adapter.master.as_ref() == Some(lower))
    };
    bridge.ports.iter().find_map(|port| {
        let below = port
            .vlan_of
            .as_ref()
            .filter(|below| leads_out(&below.lower))?;
        Some(format!(
            "the uplink of {}, {}, is VLAN {} of {}",
            bridge.ifname, port.ifname, below.vlan, below.lower
        ))
    })
}

/// Adapters by which frames leave the bridge, directly or through what they are bundled in.
fn uplinks<'a>(observed: &'a Observed, bridge: &IfName) -> Vec<&'a AdapterFacts> {
    let leads_there = |adapter: &&AdapterFacts| {
        let Some(master) = &adapter.master else {
            return false;
        };
        let above = || observed.bridge(master)?.master.as_ref();
        master == bridge || above() == Some(bridge)
    };
    observed.adapters.iter().filter(leads_there).collect()
}

/// What the adapter is bundled in, if that is no bridge.
fn bundled(
    observed: &Observed,
    intent: &Intent,
    adapter: &AdapterFacts,
) -> Option<(String, &'static str)> {
    let master = observed.bridge(adapter.master.as_ref()?)?;
    let (port, name) = (&adapter.ifname, &master.ifname);
    let (what, cure) = match (master.kind.as_str(), master.bond_mode.as_deref()) {
        (BRIDGE, _) => return None,
        (OPEN_VSWITCH, _) => (
            format!("{port} is a port of Open vSwitch ({name})"),
            "Connect VMs and adapter with a Linux bridge.",
        ),
        (BOND, _) if master.backup_bond().is_some() => {
            return backup_bond(observed, intent, master);
        }
        (BOND, _) => (
            format!(
                "{port} is in {}: the switch outside takes its adapters for one link, and a VF has \
                 only one of them",
                bond(master)
            ),
            "Take one adapter out of the bond, also on the switch outside, and make it the \
             bridge's only uplink.",
        ),
        (kind, _) => (
            format!("{port} is a port of {name}, which is of kind '{kind}'"),
            "Make the adapter a port of a Linux bridge.",
        ),
    };
    Some((what, cure))
}

/// Why an active-backup bond cannot be the uplink: VMs move to another member's VFs when it fails over,
/// so every member must be able to carry them.
fn backup_bond(
    observed: &Observed,
    intent: &Intent,
    master: &BridgeFacts,
) -> Option<(String, &'static str)> {
    let members = &master.backup_bond()?.members;
    let known = |name: &IfName| observed.adapter(name).filter(|facts| intent.covers(facts));
    if let Some(other) = members.iter().find(|name| known(name).is_none()) {
        let found = format!(
            "{} has member {other}, which is no adapter of the intent",
            bond(master)
        );
        let cure = "Name all members in the intent, or take the others out of the bond.";
        return Some((found, cure));
    }
    let facts: Vec<&AdapterFacts> = members.iter().filter_map(known).collect();
    let unlike = |pair: &[&AdapterFacts]| {
        let lasting = |facts: &AdapterFacts| (facts.pci_id.clone(), facts.driver.clone());
        lasting(pair[0]) != lasting(pair[1])
    };
    if facts.windows(2).any(unlike) {
        let words: Vec<String> = facts
            .iter()
            .map(|facts| format!("{} ({})", facts.ifname, facts.pci_id))
            .collect();
        let found = format!("{} has unlike members: {}", bond(master), words.join(", "));
        return Some((found, "Bundle adapters of one model and driver."));
    }
    if master.master.as_ref() != Some(&intent.bridge) {
        let vlan = observed
            .bridge(&intent.bridge)
            .and_then(|bridge| on_vlan(observed, bridge));
        let found =
            vlan.unwrap_or_else(|| format!("{} is not a port of {}", bond(master), intent.bridge));
        return Some((found, "Make the bond the bridge's port."));
    }
    None
}

/// A bond in words.
fn bond(facts: &BridgeFacts) -> String {
    let name = &facts.ifname;
    match facts.bond_mode.as_deref() {
        None => format!("bond {name} (of unknown mode)"),
        Some(LACP) => format!("bond {name} (LACP, mode {LACP})"),
        Some(mode) => format!("bond {name} (mode {mode})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn failures(observed: Observed) -> Vec<(Code, String)> {
        let nodes = [("node1".parse().unwrap(), observed)];
        let results = run(&nodes, Some(&fixture::intent()));
        let problems = prereq::errors(&results).into_iter();
        problems
            .map(|problem| (problem.code, problem.detail))
            .collect()
    }

    /// One problem and no other, with these words.
    #[track_caller]
    fn refused_with(observed: Observed, words: &[&str]) {
        let found = failures(observed);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, Code::BridgeNotSupported, "{found:?}");
        for word in words.iter().chain(&["node1"]) {
            assert!(found[0].1.contains(word), "'{word}' is not in {found:?}");
        }
    }

    /// `pf0` is a port of `name`, which is of this kind and a port of `br0`.
    fn below(name: &str, kind: &str, mode: Option<&str>) -> Observed {
        let mut observed = fixture::observed();
        observed.adapters[0].master = name.parse().ok();
        let mut bundle = observed.bridges[0].clone();
        bundle.ifname = name.parse().unwrap();
        bundle.kind = kind.into();
        bundle.bond_mode = mode.map(str::to_owned);
        bundle.master = "br0".parse().ok();
        bundle.ports.clear();
        observed.bridges[0].ports[0] = fixture::port(name, None);
        observed.bridges.push(bundle);
        observed
    }

    #[test]
    fn a_linux_bridge_with_one_uplink_fits() {
        assert_eq!(failures(fixture::observed()), []);
    }

    #[test]
    fn two_adapters_in_one_bridge() {
        let mut observed = fixture::observed();
        let mut second = fixture::adapter(0);
        second.ifname = "pf1".parse().unwrap();
        observed.adapters.push(second);
        observed.bridges[0].ports.push(fixture::port("pf1", None));
        refused_with(observed, &["br0", "2 uplinks", "pf0, pf1"]);
    }

    #[test]
    fn bonds_are_told_apart() {
        let lacp = below("bond0", BOND, Some("802.3ad"));
        refused_with(lacp, &["pf0", "bond0", "LACP", "802.3ad"]);
        let other = below("bond0", BOND, Some("balance-rr"));
        refused_with(other, &["bond0", "balance-rr"]);
        refused_with(below("bond0", BOND, None), &["bond0", "unknown mode"]);
        refused_with(below("team0", "team", None), &["team0", "'team'"]);
    }

    #[test]
    fn an_active_backup_bond_of_the_intents_adapters_is_one_uplink() {
        let fit = |change: &dyn Fn(&mut Observed), names: &[&str]| {
            let mut observed = fixture::bonded();
            change(&mut observed);
            let mut intent = fixture::intent();
            intent.adapters = names.iter().map(|name| name.parse().unwrap()).collect();
            let nodes = [("node1".parse().unwrap(), observed)];
            let problems = prereq::errors(&run(&nodes, Some(&intent)));
            let texts = problems.into_iter().map(|problem| problem.detail);
            texts.collect::<Vec<_>>()
        };
        let both = ["pf0", "pf1"];
        assert_eq!(fit(&|_| {}, &both), [""; 0]);
        // The backup may be without link; the used one may not.
        assert_eq!(fit(&|o| o.adapters[1].carrier = false, &both), [""; 0]);
        assert_eq!(fit(&|o| o.adapters[0].carrier = false, &both).len(), 1);
        let one_of = |found: Vec<String>, word: &str| {
            assert!(found.len() == 1 && found[0].contains(word), "{found:?}");
        };
        one_of(fit(&|_| {}, &["pf0"]), "member pf1");
        one_of(
            fit(&|o| o.adapters[1].pci_id = "8086:1572".into(), &both),
            "unlike members",
        );
        one_of(
            fit(
                &|o| {
                    o.bridges[1].master = None;
                    o.bridges[0].ports.remove(0);
                },
                &both,
            ),
            "not a port of br0",
        );
    }

    #[test]
    fn a_bond_of_adapters_that_the_intent_does_not_name() {
        let mut observed = below("bond0", BOND, Some("802.3ad"));
        observed.adapters[0].ifname = "pf5".parse().unwrap();
        let found = failures(observed);
        assert!(
            found.iter().any(|(_, text)| text.contains("LACP")),
            "{found:?}"
        );
    }

    #[test]
    fn open_vswitch_from_either_side() {
        let mut observed = below("ovs-system", OPEN_VSWITCH, None);
        observed.bridges.remove(0);
        refused_with(observed, &["pf0", "Open vSwitch", "ovs-system"]);
        let mut observed = fixture::observed();
        observed.bridges[0].kind = OPEN_VSWITCH.into();
        observed.adapters[0].master = None;
        refused_with(observed, &["br0", "Open vSwitch"]);
    }

    #[test]
    fn a_bridge_that_is_none() {
        let mut observed = fixture::observed();
        observed.bridges[0].kind = BOND.into();
        observed.bridges[0].bond_mode = Some(LACP.into());
        observed.adapters[0].master = None;
        refused_with(observed, &["br0", "LACP", "not a bridge"]);
    }

    #[test]
    fn a_bridge_on_a_vlan_of_the_adapter_or_its_bond() {
        let on = |lower: &str, mut observed: Observed| {
            let port = observed.bridges[0].ports.iter_mut().find(|port| {
                let name = port.ifname.as_str();
                name == "pf0" || name == "bond0"
            });
            let port = port.unwrap();
            port.ifname = format!("{lower}.100").parse().unwrap();
            port.vlan_of = Some(accelnet_model::VlanOf {
                lower: lower.parse().unwrap(),
                vlan: 100,
            });
            observed
        };
        let mut observed = on("pf0", fixture::observed());
        observed.adapters[0].master = None;
        refused_with(observed, &["br0", "pf0.100", "VLAN 100 of pf0"]);
        let mut observed = on("bond0", fixture::bonded());
        observed.bridges[1].master = None;
        let nodes = [("node1".parse().unwrap(), observed)];
        let mut intent = fixture::intent();
        intent.adapters.push("pf1".parse().unwrap());
        let found = prereq::errors(&run(&nodes, Some(&intent)));
        assert!(
            found.len() == 1 && found[0].detail.contains("VLAN 100 of bond0"),
            "{found:?}"
        );
    }

    #[test]
    fn a_bridge_without_uplink() {
        let mut observed = fixture::observed();
        observed.adapters[0].master = None;
        observed.bridges[0].ports.remove(0);
        refused_with(observed, &["br0", "no uplink"]);
    }

    #[test]
    fn adapters_that_are_not_alike() {
        type Change = fn(&mut AdapterFacts);
        let cases: [(bool, Change); 5] = [
            (true, |facts| facts.pci_id = "8086:1572".into()),
            (true, |facts| facts.driver = Some("i40e".into())),
            (true, |facts| facts.speed_mbps = Some(10_000)),
            (false, |facts| facts.firmware = Some("2".into())),
            (false, |_| {}),
        ];
        for (number, (refused, change)) in cases.into_iter().enumerate() {
            let mut other = fixture::observed();
            change(&mut other.adapters[0]);
            let nodes = [
                ("node1".parse().unwrap(), fixture::observed()),
                ("node2".parse().unwrap(), other),
            ];
            let found = prereq::errors(&run(&nodes, Some(&fixture::intent())));
            let codes: Vec<Code> = found.iter().map(|problem| problem.code).collect();
            let expected: &[Code] = if refused {
                &[Code::AdaptersDiffer]
            } else {
                &[]
            };
            assert_eq!(codes, expected, "case {number}");
            let both = |problem: &Problem| {
                problem.detail.contains("node1") && problem.detail.contains("node2")
            };
            assert!(found.iter().all(both), "{found:?}");
        }
    }
}
