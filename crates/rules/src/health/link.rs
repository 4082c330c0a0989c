//! An adapter of an intent that has no link, or loses it again and again.

use accelnet_model::{AdapterFacts, Code, FaultSeverity};

use super::{Detection, Finding, Found, NodeScene, Window, detection::worse_if};

pub const DOWN: Detection = Detection {
    code: Code::AdapterLinkDown,
    severity: FaultSeverity::Warning,
    about: "adapter",
    by_node: true,
    finds: "An adapter of an intent is down or has no carrier. Critical if a VM has one of its VFs.",
    because: "Making VFs and a switch that restarts a port take the link away for a few seconds. A port's spanning tree \
              takes up to 30 s to let frames pass, so it closes after that.",
    window: Window::seconds(10, 30),
};

pub const FLAPS: Detection = Detection {
    code: Code::AdapterLinkFlaps,
    severity: FaultSeverity::Warning,
    about: "adapter",
    by_node: true,
    finds: "The kernel's count of the adapter's link losses (carrier_down_count; losses between two looks are in it).",
    because: "Making VFs and a restart of the switch cost one or two losses each; four within 15 min are neither.",
    window: Window::times(4, 900),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    for facts in adapters(scene) {
        let object = scene.object("adapter", &facts.ifname);
        let on = format!("'{}' on '{}'", facts.ifname, scene.name);
        if !facts.up || !facts.carrier {
            let what = match facts.up {
                true => "has no carrier",
                false => "is down",
            };
            let used = facts.vfs.iter().filter(|vf| vf.vm.is_some()).count();
            let evidence = format!("{on} {what}; VMs have {used} of its VFs.");
            let mut finding = Finding::new(&DOWN, object.clone(), evidence);
            finding.severity = worse_if(used > 0, &DOWN);
            found.wrong(&DOWN, finding);
        }
        match facts.link_losses.value() {
            Some(losses) => {
                let evidence = format!("{on} loses its link.");
                found.counted(&FLAPS, Finding::new(&FLAPS, object, evidence), *losses);
            }
            None => found.not_seen(&FLAPS, &object),
        }
    }
}

/// Adapters that an intent has.
pub fn adapters<'a>(scene: &'a NodeScene<'_>) -> impl Iterator<Item = &'a AdapterFacts> {
    let adapters = scene.status.adapters.iter().map(|adapter| &adapter.facts);
    adapters.filter(|facts| {
        let mut intents = scene.desired.intents.iter();
        intents.any(|intent| intent.covers(facts))
    })
}

#[cfg(test)]
mod tests {
    use accelnet_model::Support;
    use uuid::Uuid;

    use super::*;
    use crate::health::{Verdict, tests::Bench};

    #[test]
    fn a_link_that_is_down_is_worse_under_a_vm() {
        let mut bench = Bench::new();
        bench.adapter().carrier = false;
        let finding = bench.only(Code::AdapterLinkDown);
        assert_eq!(finding.severity, FaultSeverity::Warning);
        assert_eq!(finding.object.id, "node1/pf0");
        bench.adapter().vfs[0].vm = Some(Uuid::from_u128(1));
        bench.adapter().up = false;
        bench.wish(1, Some(accelnet_model::Performance::Low));
        bench.path(1, accelnet_model::NicPath::Vf);
        let finding = bench.only(Code::AdapterLinkDown);
        assert_eq!(finding.severity, FaultSeverity::Critical);
        assert!(finding.evidence.contains("is down"));
        // One that no intent has is nobody's business.
        bench.desired.intents.clear();
        bench.desired.enabled = None;
        assert_eq!(bench.codes(), []);
    }

    #[test]
    fn losses_are_the_kernel_s_count_and_a_missing_count_is_not_zero() {
        let mut bench = Bench::new();
        let verdict = |bench: &Bench| {
            let found = bench.found().verdicts;
            let mut of_it = found.into_iter();
            of_it.find_map(|(key, verdict)| (key.code == Code::AdapterLinkFlaps).then_some(verdict))
        };
        assert_eq!(verdict(&bench), Some(Verdict::NotSeen));
        bench.adapter().link_losses = Support::Supported(7);
        assert!(matches!(verdict(&bench), Some(Verdict::Counted(_, 7))));
    }
}
