//! VMs that go back and forth between VF and software path.

use accelnet_model::{Code, FaultObject, FaultSeverity};

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::VfSwitchesOften,
    severity: FaultSeverity::Warning,
    about: "VM",
    by_node: false,
    finds: "How often the path of one of the VM's NICs was another one in its node's report than before, counted by the \
            server since its start.",
    because: "A restart of the guest is two switches, a migration two, a park two; ten within an hour are somebody's \
              quarrel.",
    window: Window::times(10, 3600),
};

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    for (uuid, vm) in scene.switches {
        let evidence = format!("'{}' on '{}' changes its path.", vm.name, vm.node);
        let object = FaultObject::vm(*uuid, &vm.name, Some(&vm.node));
        found.counted(
            &DETECTION,
            Finding::new(&DETECTION, object, evidence),
            vm.total,
        );
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::health::{Switches, Verdict, tests::Cluster};

    #[test]
    fn switches_are_counted_by_vm() {
        let mut cluster = Cluster::new();
        let vm = Switches {
            name: "vm1".into(),
            node: "node1".parse().unwrap(),
            total: 12,
        };
        cluster.switches.insert(Uuid::from_u128(1), vm);
        let found = cluster.found().verdicts;
        let of_it = found
            .iter()
            .find(|(key, _)| key.code == Code::VfSwitchesOften);
        assert!(matches!(of_it, Some((_, Verdict::Counted(_, 12)))));
    }
}
