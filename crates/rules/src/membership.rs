//! Which adapters of a node carry an intent, and whether another intent has them too.

use std::fmt::Display;

use accelnet_model::{AdapterFacts, AdapterName, Code, Intent, Name, Problem};

use crate::observed::{Node, Observed};

/// Adapters that are compared between nodes: those of one name, or all that fulfil the rule.
pub struct Group<'a> {
    /// Their name; `None` for those of a rule.
    pub name: Option<&'a AdapterName>,
    /// The adapters, with their nodes.
    pub having: Vec<(&'a Name, &'a AdapterFacts)>,
}

/// The intent's adapters on all nodes, in groups of those that must be alike.
pub fn groups<'a>(nodes: &'a [Node], intent: &'a Intent) -> Vec<Group<'a>> {
    let all = || {
        nodes
            .iter()
            .flat_map(|(node, seen)| seen.adapters.iter().map(move |a| (node, a)))
    };
    if intent.matching.is_some() {
        let having = all().filter(|(_, facts)| intent.covers(facts)).collect();
        return vec![Group { name: None, having }];
    }
    let of_name = |name: &'a AdapterName| Group {
        name: Some(name),
        having: all().filter(|(_, facts)| facts.is_called(name)).collect(),
    };
    intent.adapters.iter().map(of_name).collect()
}

/// Adapters of the intent that another intent has as well, by name or by rule: on this node, as its
/// facts show.
pub fn contested(
    node: &impl Display,
    observed: &Observed,
    intent: &Intent,
    intents: &[Intent],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for facts in observed.covered(intent) {
        let mut others = intents.iter().filter(|other| other.name != intent.name);
        if let Some(other) = others.find(|other| other.covers(facts)) {
            problems.push(in_two(node, facts, intent, other));
        }
    }
    problems
}

fn in_two(node: &impl Display, facts: &AdapterFacts, intent: &Intent, other: &Intent) -> Problem {
    let why = |intent: &Intent| match &intent.matching {
        Some(rule) => format!("intent '{}' (which matches {rule})", intent.name),
        None => format!("intent '{}'", intent.name),
    };
    let name = &facts.ifname;
    let text = format!(
        "Node '{node}', adapter {name}: it belongs to {} and to {}.",
        why(other),
        why(intent)
    );
    let problem = Problem::new(Code::AdapterInTwoIntents, text)
        .about("node", node)
        .about("adapter", name);
    if intent.matching.is_none() && other.matching.is_none() {
        return problem;
    }
    problem.with_cure("Narrow the rule ('accelnet intent set NAME --match …'), or name adapters.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn ruled(name: &str, rule: &str) -> Intent {
        Intent {
            name: name.parse().unwrap(),
            adapters: Vec::new(),
            matching: Some(rule.parse().unwrap()),
            ..fixture::intent()
        }
    }

    #[test]
    fn rules_choose_adapters_by_what_they_are() {
        let observed = fixture::observed();
        for (rule, chosen) in [
            ("driver=igb", true),
            ("speed=1000", true),
            ("pci=8086:10c9", true),
            ("driver=igb,speed=1000,pci=8086:10c9", true),
            ("driver=ixgbe", false),
            ("driver=igb,speed=10000", false),
            ("pci=8086:1572,driver=igb", false),
        ] {
            let intent = ruled("a", rule);
            assert_eq!(observed.covered(&intent).count() == 1, chosen, "{rule}");
            assert_eq!(observed.uplinks(&intent).count() == 1, chosen, "{rule}");
        }
    }

    #[test]
    fn without_link_the_uplink_stays_the_uplink() {
        let mut observed = fixture::observed();
        let intent = ruled("a", "speed=1000");
        (
            observed.adapters[0].carrier,
            observed.adapters[0].speed_mbps,
        ) = (false, None);
        assert_eq!(observed.uplinks(&intent).count(), 1);
        observed.adapters[0].master = None;
        assert_eq!(observed.covered(&intent).count(), 0);
    }

    #[test]
    fn an_adapter_in_two_intents_is_found_by_what_it_is() {
        let (observed, node) = (fixture::observed(), "node1");
        let (named, by_driver) = (fixture::intent(), ruled("second", "driver=igb"));
        let found = |intent: &Intent, other: &Intent| {
            let all = [intent.clone(), other.clone()];
            let problems = contested(&node, &observed, intent, &all);
            problems
                .first()
                .map(|problem| (problem.code, problem.detail.clone()))
        };
        let (code, text) = found(&by_driver, &named).unwrap();
        assert_eq!(code, Code::AdapterInTwoIntents);
        for word in ["node1", "pf0", "'compute'", "'second'", "driver=igb"] {
            assert!(text.contains(word), "{text}");
        }
        assert!(found(&named, &by_driver).is_some());
        assert!(found(&ruled("third", "speed=1000"), &by_driver).is_some());
        assert_eq!(found(&ruled("third", "driver=ixgbe"), &by_driver), None);
    }
}
