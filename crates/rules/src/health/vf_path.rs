//! A VM that shall be on its VF, and whose packets go by the software path.

use accelnet_model::{Code, FaultSeverity, NicPath, VmState, VmStatus};

use super::{Detection, Finding, Found, NodeScene, Window};
use crate::observed::nics_on;

pub const DETECTION: Detection = Detection {
    code: Code::VfNotUsed,
    severity: FaultSeverity::Warning,
    about: "VM",
    by_node: true,
    finds: "A VM with a level runs, is not parked, and a NIC of it on the intent's bridge is not on a VF, by evidence: \
            the guest drives none, or frames come by the tap. The evidence says why, with the code of what is in the way.",
    because: "A guest is given its VF when it has booted and loaded its driver, which takes up to two minutes on a slow \
              machine; a switch-over itself takes seconds. It closes after 30 s on the VF.",
    window: Window::seconds(120, 30),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    let Some(intent) = scene.intent() else {
        return;
    };
    for vm in scene.vms().filter(|vm| shall_be_on_vf(scene, vm)) {
        let mut nics = nics_on(&vm.facts, &intent.bridge).peekable();
        let none = nics.peek().is_none();
        let by_switch = nics.filter_map(|nic| {
            let seen = vm.nics.iter().find(|seen| seen.mac == nic.mac)?;
            (seen.path == NicPath::Synthetic).then_some(seen)
        });
        let by_switch: Vec<_> = by_switch.collect();
        if by_switch.is_empty() && !none {
            continue;
        }
        let problem = vm.problems.first();
        let nics = by_switch.iter().map(|nic| {
            let why = nic.reason.as_deref().filter(|_| problem.is_none());
            match why {
                Some(why) => format!("NIC {}: {}", nic.mac, why.trim_end_matches('.')),
                None => format!("NIC {}", nic.mac),
            }
        });
        let mut words: Vec<String> = nics.collect();
        if none {
            words.push(format!("no NIC on bridge '{}'", intent.bridge));
        }
        let mut evidence = format!("By the switch of '{}': {}.", scene.name, words.join("; "));
        if let Some(problem) = problem {
            evidence.push_str(&format!(" [{}] {}", problem.code, problem.detail));
        }
        let mut finding = Finding::new(&DETECTION, scene.vm(vm), evidence);
        finding.cure = problem.map(|problem| problem.cure.clone());
        found.wrong(&DETECTION, finding);
    }
}

/// It is wanted there, and could be.
pub fn shall_be_on_vf(scene: &NodeScene<'_>, vm: &VmStatus) -> bool {
    let wish = scene.wish(vm.facts.uuid);
    let runs = vm.facts.state == VmState::Running && vm.facts.job.is_none();
    wish.level.is_some() && !wish.parked && runs
}

#[cfg(test)]
mod tests {
    use accelnet_model::{Performance, Problem};

    use super::*;
    use crate::health::{VmWish, tests::Bench};

    #[test]
    fn a_vm_that_is_wanted_on_a_vf_and_is_not_is_told_with_why() {
        let mut bench = Bench::new();
        bench.wish(1, Some(Performance::Low));
        bench.path(1, NicPath::Synthetic);
        let problem = Problem::new(Code::GuestWithoutFailover, "No driver took the VF.");
        bench.status.vms[0].problems.push(problem);
        let finding = bench.only(Code::VfNotUsed);
        assert!(
            finding
                .evidence
                .contains("[guest_without_failover] No driver took")
        );
        assert_eq!(
            finding.cure.as_deref(),
            Some(Code::GuestWithoutFailover.cure())
        );
        assert_eq!(finding.object.name, "vm1");
        // Not where it shall not be there, cannot be, or is.
        bench.path(1, NicPath::Vf);
        assert_eq!(bench.codes(), []);
        bench.path(1, NicPath::Synthetic);
        bench.status.vms[0].facts.state = VmState::Off;
        assert_eq!(bench.codes(), []);
        bench.status.vms[0].facts.state = VmState::Running;
        let uuid = bench.status.vms[0].facts.uuid;
        let level = Some(Performance::Low);
        bench.wishes.insert(
            uuid,
            VmWish {
                level,
                parked: true,
            },
        );
        assert_eq!(bench.codes(), []);
        bench.wish(1, None);
        assert_eq!(bench.codes(), []);
    }

    #[test]
    fn a_vm_without_a_nic_there_is_not_on_its_vf() {
        let mut bench = Bench::new();
        bench.wish(1, Some(Performance::Low));
        bench.status.vms[0].facts.nics[0].bridge = "br9".parse().ok();
        let finding = bench.only(Code::VfNotUsed);
        assert!(finding.evidence.contains("no NIC on bridge 'br0'"));
    }

    #[test]
    fn of_a_vm_that_cannot_be_seen_nothing_is_said() {
        let mut bench = Bench::new();
        bench.wish(1, Some(Performance::Low));
        bench.path(1, NicPath::Synthetic);
        bench.status.node.libvirt = None;
        assert_eq!(bench.codes(), []);
        let found = bench.found();
        let vm = ("vm".to_owned(), bench.status.vms[0].facts.uuid.to_string());
        assert!(found.unseen.contains(&vm));
    }
}
