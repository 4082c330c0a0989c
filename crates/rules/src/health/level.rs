//! A VM on its VF whose guest uses fewer queue pairs than its level stands for.

use accelnet_model::{Code, FaultSeverity, NicPath};

use super::{Detection, Finding, Found, NodeScene, Window, vf_path::shall_be_on_vf};
use crate::observed::nics_on;

pub const DETECTION: Detection = Detection {
    code: Code::LevelNotProvided,
    severity: FaultSeverity::Notice,
    about: "VM",
    by_node: true,
    finds: "The queue pairs that the guest's driver has interrupts for, of the VF's vectors that are in use, are fewer \
            than the level's.",
    because: "A driver turns its queues on one after the other when its interface comes up; a minute is enough for that.",
    window: Window::seconds(60, 60),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    let Some(intent) = scene.intent() else {
        return;
    };
    for vm in scene.vms().filter(|vm| shall_be_on_vf(scene, vm)) {
        let Some(level) = scene.wish(vm.facts.uuid).level else {
            continue;
        };
        let wanted = intent.levels.queue_pairs(level);
        let fewer = nics_on(&vm.facts, &intent.bridge).find_map(|nic| {
            let seen = vm.nics.iter().find(|seen| seen.mac == nic.mac)?;
            let pairs = seen.queue_pairs.filter(|_| seen.path == NicPath::Vf)?;
            // A VF that cannot have them is told of as such.
            let guest_s = pairs.effective < wanted && pairs.allotted >= wanted;
            guest_s.then_some((seen.mac, pairs))
        });
        if let Some((mac, pairs)) = fewer {
            let evidence = format!(
                "{level} stands for {wanted} queue pairs; NIC {mac} has a VF with {}, and its guest uses {}.",
                pairs.allotted, pairs.effective
            );
            found.wrong(&DETECTION, Finding::new(&DETECTION, scene.vm(vm), evidence));
        }
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{Performance, QueuePairs};

    use super::*;
    use crate::health::tests::Bench;

    #[test]
    fn a_guest_that_uses_fewer_pairs_than_its_level_is_told() {
        let mut bench = Bench::new();
        bench.path(1, NicPath::Vf);
        bench.status.vms[0].nics[0].queue_pairs = Some(QueuePairs {
            allotted: 2,
            effective: 1,
        });
        bench.wish(1, Some(Performance::Low));
        assert_eq!(bench.codes(), []);
        bench.wish(1, Some(Performance::Medium));
        let finding = bench.only(Code::LevelNotProvided);
        assert!(finding.evidence.contains("uses 1"), "{}", finding.evidence);
        // A driver of which nobody knows how it uses its vectors: not seen, not zero.
        bench.status.vms[0].nics[0].queue_pairs = None;
        assert_eq!(bench.codes(), []);
    }
}
