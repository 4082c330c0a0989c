//! Adapters that are taken out of the pool, until a person lets them back.

use accelnet_model::{Code, FaultObject, FaultSeverity};

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::AdapterIsolated,
    severity: FaultSeverity::Notice,
    about: "adapter",
    by_node: false,
    finds: "An adapter is taken out of the pool, by the server for a fault or by a person. The evidence says why, and \
            how many of its VFs VMs still have.",
    because: "It is a decision and not an accident, so it is told as long as it is in force, and no longer.",
    window: Window::seconds(0, 0),
};

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    for isolated in &scene.desired.isolated {
        let (node, adapter) = (&isolated.node, &isolated.adapter);
        let current = scene.nodes.iter().find(|seen| seen.name == node);
        let adapters = current.and_then(|seen| seen.current);
        let adapters = adapters.into_iter().flat_map(|status| &status.adapters);
        let facts = adapters
            .map(|status| &status.facts)
            .find(|facts| facts.id == isolated.id);
        let left = match facts {
            Some(facts) => {
                let used = facts.vfs.iter().filter(|vf| vf.vm.is_some()).count();
                format!("VMs have {used} of its VFs")
            }
            None => "it is not seen now".to_owned(),
        };
        let because = isolated.because.trim_end_matches('.');
        let evidence = format!(
            "'{adapter}' on '{node}' gives no VFs since {:.0}: {because}. Now {left}.",
            isolated.since
        );
        let object = FaultObject::on_node("adapter", node, adapter);
        let mut finding = Finding::new(&DETECTION, object, evidence);
        finding.since = Some(isolated.since);
        finding.cure = Some(format!(
            "Cure what is named, then let it back: 'accelnet adapter release {adapter} --node {node}'."
        ));
        found.wrong(&DETECTION, finding);
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::Isolated;
    use uuid::Uuid;

    use super::*;
    use crate::health::tests::Cluster;

    #[test]
    fn an_isolated_adapter_is_told_with_why_and_who_is_still_there() {
        let mut cluster = Cluster::new();
        let facts = &mut cluster.statuses[0].adapters[0].facts;
        facts.vfs[0].vm = Some(Uuid::from_u128(1));
        cluster.desired.isolated.push(Isolated {
            node: "node1".parse().unwrap(),
            adapter: facts.ifname.clone(),
            id: facts.id.clone(),
            since: cluster.now,
            detection: None,
            because: "the cable is changed".into(),
        });
        assert_eq!(cluster.codes(), [Code::AdapterIsolated]);
        let words = format!("{:?}", cluster.found().verdicts);
        assert!(
            words.contains("the cable is changed. Now VMs have 1 of its VFs."),
            "{words}"
        );
        cluster.desired.isolated[0].id.port = 7;
        let words = format!("{:?}", cluster.found().verdicts);
        assert!(words.contains("it is not seen now"), "{words}");
    }
}
