//! What adapters drop: for want of a buffer, and at VFs of VMs.
//!
//! Why a frame of a guest was dropped does not show in the count: drivers tell of the spoof check and of what the card
//! takes for malicious in the kernel's log, each in its own words and as often as it likes.

use accelnet_model::{Code, FaultSeverity};

use super::{Detection, Finding, Found, NodeScene, Window, link::adapters};

pub const NO_BUFFER: Detection = Detection {
    code: Code::AdapterNoBuffer,
    severity: FaultSeverity::Warning,
    about: "adapter",
    by_node: true,
    finds: "Packets to the host that an adapter had no buffer for (rx_missed_errors, and rx_over_errors or \
            rx_fifo_errors where the driver counts there), while VMs with a level have VFs of it. rx_dropped is left \
            out: frames that nobody on the host wants are counted there.",
    because: "Some are lost in any burst; a thousand within 10 min are more than one.",
    window: Window::times(1000, 600),
};

pub const TO_GUEST: Detection = Detection {
    code: Code::VfReceiveDrops,
    severity: FaultSeverity::Warning,
    about: "VM",
    by_node: true,
    finds: "Packets to a VM with a level that the adapter dropped at its VF (IFLA_VF_STATS_RX_DROPPED), where the driver \
            counts them; where it does not, nothing is said.",
    because: "As of the adapter: some are lost in any burst.",
    window: Window::times(1000, 600),
};

pub const FROM_GUEST: Detection = Detection {
    code: Code::VfTransmitDrops,
    severity: FaultSeverity::Warning,
    about: "VM",
    by_node: true,
    finds: "Packets of a VM with a level that the adapter dropped at its VF (IFLA_VF_STATS_TX_DROPPED): by the spoof check, \
            by its VLAN, or since the card took them for malicious (MDD). Where the driver does not count them, nothing \
            is said here: see vf_misused.",
    because: "A guest that starts sends a few under an address that is not its own; a hundred within 10 min are no \
              accident.",
    window: Window::times(100, 600),
};

pub const MISUSED: Detection = Detection {
    code: Code::VfMisused,
    severity: FaultSeverity::Warning,
    about: "VM",
    by_node: true,
    finds: "Lines of the kernel's log in which the driver of an adapter (igb, ixgbe, i40e, ice) says that the guest on a \
            VF of it sent frames with another address or VLAN than its own, or what the card takes for malicious (MDD), \
            while a VM with a level has the VF. ixgbe does not say which VF spoofs: that is told of the adapter. A \
            driver says it once a second at most, however many frames there are. Where the log cannot be read, \
            nothing is said.",
    because: "A guest that starts sends a few frames under an address that is not its own.",
    window: Window::times(3, 600),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    let status = scene.status;
    for facts in adapters(scene) {
        let mut drops = status.adapter_drops.iter();
        let drops = drops.find(|drops| drops.adapter == facts.ifname);
        let [no_buffer, misused] = drops.map_or([0; 2], |drops| [drops.no_buffer, drops.misused]);
        let its = format!("'{}' on '{}'", facts.ifname, scene.name);
        let all = [
            (&NO_BUFFER, no_buffer, "had no buffer for packets"),
            (
                &MISUSED,
                misused,
                "has a VF that sends what it must not; its driver does not say which",
            ),
        ];
        for (detection, total, what) in all {
            let object = scene.object("adapter", &facts.ifname);
            let finding = Finding::new(detection, object, format!("{its} {what}."));
            found.counted(detection, finding, total);
        }
    }
    let wanted = |vm: uuid::Uuid| scene.wish(vm).level.is_some();
    for vm in scene.vms().filter(|vm| wanted(vm.facts.uuid)) {
        let its = status.vf_drops.iter();
        let its: Vec<_> = its.filter(|drops| drops.vm == vm.facts.uuid).collect();
        let sum = |of: fn(&accelnet_model::VfDrops) -> u64| {
            its.iter()
                .map(|drops| of(drops))
                .fold(0, u64::saturating_add)
        };
        let vfs: Vec<String> = its.iter().map(|drops| drops.vf.to_string()).collect();
        let at = format!("At VF {} of '{}'", vfs.join(", "), scene.name);
        let all = [
            (
                &TO_GUEST,
                sum(|drops| drops.to_guest),
                "the adapter dropped packets to the guest",
            ),
            (
                &FROM_GUEST,
                sum(|drops| drops.from_guest),
                "the adapter dropped packets of the guest",
            ),
            (
                &MISUSED,
                sum(|drops| drops.misused),
                "the guest sends what it must not, as the adapter's driver says in the kernel's log",
            ),
        ];
        for (detection, total, what) in all {
            let evidence = format!("{at} {what}.");
            let finding = Finding::new(detection, scene.vm(vm), evidence);
            found.counted(detection, finding, total);
        }
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{AdapterDrops, Performance, VfDrops};

    use super::*;
    use crate::health::{Verdict, tests::Bench};

    fn of_kind(bench: &Bench, code: Code, kind: &str) -> Option<(String, u64)> {
        let mut all = bench.found().verdicts.into_iter();
        all.find_map(|(key, verdict)| match verdict {
            Verdict::Counted(finding, total) if key.code == code && finding.object.kind == kind => {
                Some((finding.evidence, total))
            }
            _ => None,
        })
    }

    fn total(bench: &Bench, code: Code) -> Option<(String, u64)> {
        of_kind(bench, code, "adapter").or_else(|| of_kind(bench, code, "vm"))
    }

    #[test]
    fn an_adapter_s_own_is_its_count() {
        let mut bench = Bench::new();
        assert_eq!(total(&bench, Code::AdapterNoBuffer).unwrap().1, 0);
        bench.status.adapter_drops = vec![AdapterDrops {
            adapter: "pf0".parse().unwrap(),
            no_buffer: 12,
            misused: 3,
        }];
        let (evidence, count) = total(&bench, Code::AdapterNoBuffer).unwrap();
        assert_eq!((count, evidence.contains("'pf0' on 'node1'")), (12, true));
        let (evidence, count) = total(&bench, Code::VfMisused).unwrap();
        assert_eq!((count, evidence.contains("does not say which")), (3, true));
        bench.desired.intents.clear();
        assert_eq!(total(&bench, Code::AdapterNoBuffer), None);
    }

    #[test]
    fn a_vm_s_are_those_of_all_its_vfs() {
        let mut bench = Bench::new();
        bench.wish(1, Some(Performance::Low));
        let drops = |vm: u128, vf: &str| VfDrops {
            vm: uuid::Uuid::from_u128(vm),
            mac: accelnet_model::MacAddr([2, 0, 0, 0, 0x77, 1]),
            vf: vf.parse().unwrap(),
            to_guest: 2,
            from_guest: 30,
            misused: 4,
        };
        bench.status.vf_drops = vec![
            drops(1, "0000:01:10.0"),
            drops(1, "0000:01:10.2"),
            drops(2, "0000:01:10.4"),
        ];
        let (evidence, count) = total(&bench, Code::VfReceiveDrops).unwrap();
        assert_eq!(count, 4);
        assert!(evidence.contains("At VF 0000:01:10.0, 0000:01:10.2 of 'node1'"));
        assert_eq!(total(&bench, Code::VfTransmitDrops).unwrap().1, 60);
        let misused = of_kind(&bench, Code::VfMisused, "vm").unwrap();
        assert_eq!(misused.1, 8);
        assert!(misused.0.contains("in the kernel's log"), "{misused:?}");
        // Of a VM without a level nothing is said.
        bench.wish(1, None);
        assert_eq!(total(&bench, Code::VfTransmitDrops), None);
    }
}
