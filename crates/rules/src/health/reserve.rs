//! The reserve that is not kept any more.

use accelnet_model::{Code, FaultObject, FaultSeverity};

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::ReserveShort,
    severity: FaultSeverity::Critical,
    about: "intent",
    by_node: false,
    finds: "With the VMs that are admitted, and what nodes have now, not every set of nodes that the reserve lets be down \
            leaves a VF to each VM. The evidence names such a set.",
    because: "A node that restarts is gone for minutes, and its VFs with it; after a minute it is worth knowing.",
    window: Window::seconds(60, 60),
};

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    let Some(enabled) = &scene.desired.enabled else {
        return;
    };
    let object = FaultObject::of_cluster("intent", &enabled.intent);
    if let Some(problem) = scene.shortage {
        let nodes = problem
            .objects
            .iter()
            .filter(|object| object.kind == "node");
        let nodes: Vec<String> = nodes.map(|object| format!("'{}'", object.name)).collect();
        let mut evidence = problem.detail.clone();
        if !nodes.is_empty() {
            evidence.push_str(&format!(" For example without {}.", nodes.join(", ")));
        }
        found.wrong(&DETECTION, Finding::new(&DETECTION, object, evidence));
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::Problem;

    use super::*;
    use crate::health::tests::Cluster;

    #[test]
    fn a_reserve_that_is_short_is_told_with_by_how_much() {
        let mut cluster = Cluster::new();
        let problem = Problem::new(Code::ClusterNotEnoughResources, "2 VFs are missing.");
        cluster.shortage = Some(problem.about("intent", "compute").about("node", "node2"));
        assert_eq!(cluster.codes(), [Code::ReserveShort]);
        let words = format!("{:?}", cluster.found().verdicts);
        assert!(
            words.contains("2 VFs are missing. For example without 'node2'."),
            "{words}"
        );
    }
}
