//! The same VM on two nodes at once.

use accelnet_model::{Code, FaultObject, FaultSeverity, Name};

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::VmOnTwoNodes,
    severity: FaultSeverity::Critical,
    about: "VM",
    by_node: false,
    finds: "Two nodes that report both say that the VM runs there. One that comes in by a migration does not run yet. It \
            stays open while one of the two cannot be seen.",
    because: "At the end of a migration both nodes may say so until the slower one's next report.",
    window: Window::seconds(30, 10),
};

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    for (uuid, name, nodes) in scene.twice {
        let nodes: Vec<&str> = nodes.iter().map(Name::as_str).collect();
        let evidence = format!("'{name}' runs on {}.", nodes.join(" and "));
        let object = FaultObject::vm(*uuid, name, None);
        found.wrong(&DETECTION, Finding::new(&DETECTION, object, evidence));
    }
    for (uuid, name) in scene.perhaps_twice {
        found.not_seen(&DETECTION, &FaultObject::vm(*uuid, name, None));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::health::{Verdict, tests::Cluster};

    #[test]
    fn a_vm_that_runs_twice_is_told_with_both_nodes() {
        let mut cluster = Cluster::new();
        let nodes = vec!["node1".parse().unwrap(), "node2".parse().unwrap()];
        cluster.twice = vec![(Uuid::from_u128(1), "vm1".into(), nodes)];
        assert_eq!(cluster.codes(), [Code::VmOnTwoNodes]);
        let words = format!("{:?}", cluster.found().verdicts);
        assert!(words.contains("runs on node1 and node2"), "{words}");
        // One of them cannot be seen any more: nobody knows.
        cluster.twice.clear();
        cluster.perhaps_twice = vec![(Uuid::from_u128(1), "vm1".into())];
        let found = cluster.found().verdicts;
        let of_it = found.iter().filter(|(key, _)| key.code == DETECTION.code);
        let verdicts: Vec<&Verdict> = of_it.map(|(_, verdict)| verdict).collect();
        assert_eq!(verdicts, [&Verdict::NotSeen]);
    }
}
