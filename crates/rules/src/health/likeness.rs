//! Adapters of an intent whose model, driver or firmware differ across nodes.

use std::collections::BTreeMap;

use accelnet_model::{AdapterFacts, Code, FaultObject, FaultSeverity, Intent};

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::AdaptersDiffer,
    severity: FaultSeverity::Notice,
    about: "intent",
    by_node: false,
    finds: "Model, driver, version of driver or firmware of an intent's adapters are not the same on all nodes that \
            report.",
    because: "An update is rolled out node by node, which may take a day.",
    window: Window::seconds(24 * 3600, 60),
};

type Property = (&'static str, fn(&AdapterFacts) -> Option<&str>);

/// Versions as the driver tells them; one that tells none is not compared.
const PROPERTIES: [Property; 4] = [
    ("model", |facts| Some(&facts.pci_id)),
    ("driver", |facts| facts.driver.as_deref()),
    ("driver version", |facts| facts.driver_version.as_deref()),
    ("firmware", |facts| facts.firmware.as_deref()),
];

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    let some_unseen = scene.nodes.iter().any(|node| node.current.is_none());
    for intent in &scene.desired.intents {
        let object = FaultObject::of_cluster("intent", &intent.name);
        let differences = PROPERTIES
            .iter()
            .filter_map(|property| differs(scene, intent, property));
        let differences: Vec<String> = differences.collect();
        if !differences.is_empty() {
            let evidence = format!("{}.", differences.join("; "));
            found.wrong(&DETECTION, Finding::new(&DETECTION, object, evidence));
        } else if some_unseen {
            // The one that differs may be the one that is silent.
            found.not_seen(&DETECTION, &object);
        }
    }
}

/// The values with how many nodes have them and one that does, if there are several.
fn differs(
    scene: &ClusterScene<'_>,
    intent: &Intent,
    (property, read): &Property,
) -> Option<String> {
    let mut values: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for node in scene.nodes {
        let adapters = node.current.into_iter().flat_map(|status| &status.adapters);
        let adapters = adapters.map(|adapter| &adapter.facts);
        // An intent's adapters of one node may be of two kinds: that is its own matter.
        let first = adapters.into_iter().find(|facts| intent.covers(facts));
        if let Some(value) = first.and_then(*read) {
            let (count, _) = values.entry(value).or_insert((0, node.name.as_str()));
            *count += 1;
        }
    }
    let several = values.len() > 1;
    let each = values
        .into_iter()
        .map(|(value, (count, node))| match count {
            1 => format!("{value} on {node}"),
            _ => format!("{value} on {count} nodes ({node}, …)"),
        });
    let each: Vec<String> = each.collect();
    several.then(|| format!("{property} differs: {}", each.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::Cluster;

    #[test]
    fn firmware_that_differs_is_told_and_one_that_is_not_told_is_not_compared() {
        let mut cluster = Cluster::new();
        cluster.statuses[0].adapters[0].facts.firmware = Some("1.2".into());
        assert_eq!(cluster.codes(), []);
        cluster.statuses[1].adapters[0].facts.firmware = Some("1.3".into());
        assert_eq!(cluster.codes(), [Code::AdaptersDiffer]);
        let words = format!("{:?}", cluster.found().verdicts);
        assert!(
            words.contains("firmware differs: 1.2 on node1, 1.3 on node2"),
            "{words}"
        );
    }
}
