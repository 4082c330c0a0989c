//! VMs that are there and cannot be looked at; of all else about them nothing is concluded.

use accelnet_model::{Code, FaultObject, FaultSeverity};

use super::{Detection, Finding, Found, NodeScene, Window};

pub const DETECTION: Detection = Detection {
    code: Code::VmNotSeen,
    severity: FaultSeverity::Warning,
    about: "VM",
    by_node: true,
    finds: "libvirt tells of a VM that it is there, and not what it has.",
    because: "A VM that comes in by a migration is not told more of until it runs; large ones take minutes.",
    window: Window::seconds(300, 30),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    for vm in &scene.status.unseen_vms {
        let object = FaultObject::vm(vm.uuid, &vm.name, Some(scene.name));
        found.unseen(&object);
        // Where nothing of libvirt answers, that is told of the node.
        if scene.status.node.libvirt.is_some() {
            let because = vm.because.trim_end_matches('.');
            found.wrong(
                &DETECTION,
                Finding::new(&DETECTION, object, format!("{because}.")),
            );
        }
    }
    if scene.status.node.libvirt.is_none() {
        for vm in &scene.status.vms {
            found.unseen(&scene.vm(vm));
        }
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{NicPath, Performance, UnseenVm, VmState};

    use super::*;
    use crate::health::tests::Bench;

    #[test]
    fn of_a_vm_that_cannot_be_looked_at_only_that_is_told() {
        let mut bench = Bench::new();
        bench.wish(1, Some(Performance::Low));
        bench.path(1, NicPath::Synthetic);
        let facts = &bench.status.vms[0].facts;
        bench.status.unseen_vms.push(UnseenVm {
            uuid: facts.uuid,
            name: facts.name.clone(),
            state: VmState::Running,
            job: None,
            because: "libvirt gave no definition.".into(),
        });
        let finding = bench.only(Code::VmNotSeen);
        assert_eq!(finding.evidence, "libvirt gave no definition.");
        assert_eq!(bench.found().unseen.len(), 1);
    }
}
