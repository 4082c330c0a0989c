//! What somebody decided, and should not be forgotten: waivers, and VMs that are parked for long.

use accelnet_model::{Code, FaultSeverity};

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const WAIVED: Detection = Detection {
    code: Code::PolicyWaived,
    severity: FaultSeverity::Notice,
    about: "VM",
    by_node: false,
    finds: "A waiver is in force: a rule of the VM's port need not hold on its VF.",
    because: "It is a decision and not an accident, so it is told as long as it is in force, and no longer.",
    window: Window::seconds(0, 0),
};

pub const PARKED: Detection = Detection {
    code: Code::VmParked,
    severity: FaultSeverity::Notice,
    about: "VM",
    by_node: false,
    finds: "A VM with a level has been parked for long, counted from when it was parked.",
    because: "Maintenance takes hours; what is parked for a day was forgotten, and holds a VF that it does not use.",
    window: Window::seconds(24 * 3600, 0),
};

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    for (vm, waivers) in scene.waivers {
        let each = waivers.iter().map(|waiver| {
            let because = waiver.because.as_deref();
            let because = because
                .map(|words| format!(": {words}"))
                .unwrap_or_default();
            format!(
                "{} by {} at {:.0}{because}",
                waiver.rule, waiver.by, waiver.at
            )
        });
        let each: Vec<String> = each.collect();
        if !each.is_empty() {
            let evidence = format!("Waived: {}.", each.join("; "));
            let mut finding = Finding::new(&WAIVED, vm.clone(), evidence);
            finding.since = waivers.iter().map(|waiver| waiver.at).min();
            found.wrong(&WAIVED, finding);
        }
    }
    for (vm, since, because) in scene.parked {
        let evidence = format!("'{}' is {because}.", vm.name);
        let mut finding = Finding::new(&PARKED, vm.clone(), evidence);
        finding.since = Some(*since);
        found.wrong(&PARKED, finding);
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{FaultObject, Waiver};
    use uuid::Uuid;

    use super::*;
    use crate::health::{Verdict, tests::Cluster};

    #[test]
    fn what_was_decided_is_told_with_who_and_since_when() {
        let mut cluster = Cluster::new();
        let vm = FaultObject::vm(Uuid::from_u128(1), "vm1", None);
        let waiver = Waiver {
            rule: "nft:filter".into(),
            by: "alice".into(),
            at: cluster.now,
            because: Some("a test".into()),
        };
        cluster.waivers = vec![(vm.clone(), vec![waiver])];
        cluster.parked = vec![(vm, cluster.now, "parked until it is unparked".into())];
        assert_eq!(cluster.codes(), [Code::VmParked, Code::PolicyWaived]);
        for verdict in cluster.found().verdicts.into_values() {
            if let Verdict::Wrong(finding) = verdict {
                assert_eq!(finding.since, Some(cluster.now));
            }
        }
        let words = format!("{:?}", cluster.found().verdicts);
        assert!(words.contains("nft:filter by alice at "), "{words}");
        assert!(words.contains(": a test."), "{words}");
    }
}
