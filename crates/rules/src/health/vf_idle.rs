//! A guest that drives its VF, and sends by its tap all the same.

use accelnet_model::{Code, FaultSeverity};

use super::{Detection, Finding, Found, NodeScene, Window, vf_path::shall_be_on_vf};

pub const DETECTION: Detection = Detection {
    code: Code::VfIdle,
    severity: FaultSeverity::Warning,
    about: "VM",
    by_node: true,
    finds: "A VM with a level runs and drives its VF, of which the adapter's driver counts nothing that the guest sends, \
            while frames of the guest come by its tap. Looked at every 10 s; at three such looks it is said, unless the \
            guest sent anything by the VF between them. Where the driver counts nothing by VF (igb, for one), or has \
            counted nothing that any VF of the adapter sent, nothing is said. One whose NIC was left on its tap for \
            that is told as vf_not_used alone.",
    because: "The three looks are half a minute, longer than a switch-over; another half says that it is no restart. It \
              closes a minute after the guest sent something by the VF.",
    window: Window::seconds(30, 60),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    for vm in scene.vms().filter(|vm| shall_be_on_vf(scene, vm)) {
        let idle = scene.status.idle_vfs.iter();
        let idle = idle.filter(|idle| idle.vm == vm.facts.uuid);
        let nics = idle.map(|idle| format!("NIC {} has VF {}", idle.mac, idle.vf));
        let nics: Vec<String> = nics.collect();
        if nics.is_empty() {
            continue;
        }
        let evidence = format!(
            "On '{}': {}; its driver in the guest drives it, the card counts nothing that it sends, and frames of the \
             guest come by its tap.",
            scene.name,
            nics.join("; ")
        );
        found.wrong(&DETECTION, Finding::new(&DETECTION, scene.vm(vm), evidence));
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{IdleVf, NicPath, Performance, VmState};

    use super::*;
    use crate::health::tests::Bench;

    #[test]
    fn a_vf_that_is_driven_and_not_sent_by_is_told_of_a_vm_that_shall_use_it() {
        let mut bench = Bench::new();
        bench.wish(1, Some(Performance::Low));
        bench.path(1, NicPath::Vf);
        assert_eq!(bench.codes(), []);
        let facts = &bench.status.vms[0].facts;
        bench.status.idle_vfs.push(IdleVf {
            vm: facts.uuid,
            mac: facts.nics[0].mac,
            vf: "0000:01:10.0".parse().unwrap(),
        });
        let finding = bench.only(Code::VfIdle);
        assert!(finding.evidence.contains("has VF 0000:01:10.0"));
        assert_eq!(finding.object.name, "vm1");
        bench.status.vms[0].facts.state = VmState::Paused;
        assert_eq!(bench.codes(), []);
        bench.status.vms[0].facts.state = VmState::Running;
        bench.wish(1, None);
        assert_eq!(bench.codes(), []);
    }
}
