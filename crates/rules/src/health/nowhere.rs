//! VMs that hold capacity and are nowhere.

use accelnet_model::{Code, FaultObject, FaultSeverity};

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::VmNowhere,
    severity: FaultSeverity::Notice,
    about: "VM",
    by_node: false,
    finds: "A VM with a level is defined on no node. While a node is silent nobody can say so.",
    because: "A VM may be taken away for a while (a restore, a node that is rebuilt), and its capacity is its own; after \
              30 days somebody should decide.",
    window: Window::seconds(30 * 24 * 3600, 0),
};

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    for (uuid, name) in scene.nowhere {
        let evidence = format!("No node has '{name}'.");
        let object = FaultObject::vm(*uuid, name, None);
        found.wrong(&DETECTION, Finding::new(&DETECTION, object, evidence));
    }
    for (uuid, name) in scene.perhaps_nowhere {
        found.not_seen(&DETECTION, &FaultObject::vm(*uuid, name, None));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::health::tests::Cluster;

    #[test]
    fn a_vm_that_no_node_has_is_told_if_all_can_be_seen() {
        let mut cluster = Cluster::new();
        let vm = (Uuid::from_u128(5), "vm5".to_owned());
        cluster.perhaps_nowhere = vec![vm.clone()];
        assert_eq!(cluster.codes(), []);
        (cluster.nowhere, cluster.perhaps_nowhere) = (vec![vm], vec![]);
        assert_eq!(cluster.codes(), [Code::VmNowhere]);
    }
}
