//! VFs of the enabled intent's adapters that cannot be given out: others have them, a process keeps them that no VM is
//! known of, something is left on them, or they did not come clean.

use accelnet_model::{AdapterFacts, Code, FaultSeverity, VfFacts, VfUser};

use super::{Detection, Finding, Found, NodeScene, Window};

pub const OTHERS: Detection = Detection {
    code: Code::VfInUseByOthers,
    severity: FaultSeverity::Notice,
    about: "adapter",
    by_node: true,
    finds: "VFs of the intent's adapters, not excluded from it, that a driver of the host or a process has, or a VM that \
            has no level. The evidence names each. A process that has opened the VF's group and not yet the device in it \
            does not show.",
    because: "A VM that is disabled, or comes in, has its VF for some seconds to minutes beside its wish.",
    window: Window::seconds(300, 60),
};

pub const ORPHANED: Detection = Detection {
    code: Code::VfOrphaned,
    severity: FaultSeverity::Warning,
    about: "adapter",
    by_node: true,
    finds: "VFs that a QEMU process has open, and that no VM known to libvirt has.",
    because: "QEMU opens a VF before libvirt names it, and closes it after; both take seconds.",
    window: Window::seconds(120, 60),
};

pub const UNCLEAN: Detection = Detection {
    code: Code::VfUnclean,
    severity: FaultSeverity::Notice,
    about: "adapter",
    by_node: true,
    finds: "VFs that nobody has, and that carry an address, a VLAN, a rate or trust.",
    because: "A VF that comes back is cleaned within seconds, with rests of up to two minutes if that fails.",
    window: Window::seconds(180, 60),
};

pub const QUARANTINED: Detection = Detection {
    code: Code::VfQuarantined,
    severity: FaultSeverity::Warning,
    about: "adapter",
    by_node: true,
    finds: "VFs that did not come back to their safe state, and are not given out.",
    because: "It is tried again with rests; the first tries often do what is left.",
    window: Window::seconds(60, 60),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    let Some(intent) = scene.intent() else {
        return;
    };
    // Whose a VF is only libvirt tells.
    let sees = scene.status.node.libvirt.is_some();
    let adapters = scene.status.adapters.iter();
    for adapter in adapters.filter(|adapter| intent.covers(&adapter.facts)) {
        let facts = &adapter.facts;
        let object = scene.object("adapter", &facts.ifname);
        let mut tell = |detection: &Detection, words: Vec<String>| {
            if !words.is_empty() {
                let evidence = format!("{}.", words.join(", "));
                found.wrong(detection, Finding::new(detection, object.clone(), evidence));
            }
        };
        let quarantined = adapter.quarantined.iter();
        tell(
            &QUARANTINED,
            quarantined
                .map(|problem| problem.detail.trim_end_matches('.').to_owned())
                .collect(),
        );
        if !sees {
            for detection in [&OTHERS, &ORPHANED, &UNCLEAN] {
                found.not_seen(detection, &object);
            }
            continue;
        }
        let ours = |vf: &&VfFacts| !intent.exclude_vfs.contains(&vf.pci);
        let all = |words: &dyn Fn(&VfFacts) -> Option<String>| -> Vec<String> {
            facts.vfs.iter().filter(ours).filter_map(words).collect()
        };
        tell(&OTHERS, all(&|vf| others(scene, vf)));
        tell(&ORPHANED, all(&orphaned));
        tell(&UNCLEAN, all(&|vf| unclean(facts, vf)));
    }
}

fn is_qemu(command: &str) -> bool {
    command.contains("qemu")
}

/// Who has it that should not.
fn others(scene: &NodeScene<'_>, vf: &VfFacts) -> Option<String> {
    match (&vf.user, vf.vm) {
        (_, Some(vm)) if scene.wish(vm).level.is_some() => None,
        (_, Some(vm)) => {
            let mut vms = scene.status.vms.iter();
            let name = vms.find(|known| known.facts.uuid == vm);
            let name = name.map_or_else(|| vm.to_string(), |known| known.facts.name.clone());
            Some(format!("VM '{name}' without a level has {}", vf.pci))
        }
        (VfUser::HostDriver { driver }, None) => Some(format!("{driver} has {}", vf.pci)),
        (VfUser::Process { pid, command }, None) if !is_qemu(command) => {
            Some(format!("{command} (process {pid}) has {}", vf.pci))
        }
        _ => None,
    }
}

fn orphaned(vf: &VfFacts) -> Option<String> {
    match (&vf.user, vf.vm) {
        (VfUser::Process { pid, command }, None) if is_qemu(command) => {
            Some(format!("{command} (process {pid}) has {}", vf.pci))
        }
        _ => None,
    }
}

/// What is left on it.
fn unclean(adapter: &AdapterFacts, vf: &VfFacts) -> Option<String> {
    let free = vf.user == VfUser::Nobody && vf.vm.is_none() && vf.promised.is_none();
    let attributes = &vf.attributes;
    let rate = |rate: &accelnet_model::Support<u32>| rate.value().is_some_and(|rate| *rate > 0);
    let left = [
        (!attributes.mac.is_zero(), "an address"),
        (attributes.vlan != 0, "a VLAN"),
        (rate(&attributes.max_tx_rate_mbps), "a rate"),
        (rate(&attributes.min_tx_rate_mbps), "a guaranteed rate"),
        (attributes.trust.is(&true), "trust"),
    ];
    let left: Vec<&str> = left
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, word)| *word)
        .collect();
    (free && !left.is_empty()).then(|| {
        format!(
            "VF {} of {} has {}",
            vf.index,
            adapter.ifname,
            left.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use accelnet_model::{MacAddr, Performance, Problem};
    use uuid::Uuid;

    use super::*;
    use crate::health::tests::Bench;

    fn process(command: &str) -> VfUser {
        VfUser::Process {
            pid: 7,
            command: command.into(),
        }
    }

    #[test]
    fn vfs_that_others_have_are_told_by_who_has_them() {
        let mut bench = Bench::new();
        bench.adapter().vfs[0].user = VfUser::HostDriver {
            driver: "igbvf".into(),
        };
        bench.adapter().vfs[1].user = process("dpdk-testpmd");
        bench.adapter().vfs[2].vm = Some(Uuid::from_u128(1));
        let finding = bench.only(Code::VfInUseByOthers);
        for words in [
            "igbvf has 0000:01:10.0",
            "dpdk-testpmd (process 7)",
            "VM 'vm1' without",
        ] {
            assert!(finding.evidence.contains(words), "{}", finding.evidence);
        }
        // What the intent excludes, and a VM with a level, are as they should be.
        let excluded = bench.adapter().vfs[..2].iter().map(|vf| vf.pci).collect();
        bench.desired.intents[0].exclude_vfs = excluded;
        bench.wish(1, Some(Performance::Low));
        bench.path(1, accelnet_model::NicPath::Vf);
        assert_eq!(bench.codes(), []);
    }

    #[test]
    fn a_vf_that_a_vm_s_process_keeps_without_a_vm_is_orphaned() {
        let mut bench = Bench::new();
        bench.adapter().vfs[3].user = process("qemu-system-x86");
        let finding = bench.only(Code::VfOrphaned);
        assert!(finding.evidence.contains("process 7"));
        bench.status.node.libvirt = None;
        assert_eq!(bench.codes(), [], "only libvirt knows");
    }

    #[test]
    fn what_is_left_on_a_free_vf_is_named() {
        let mut bench = Bench::new();
        bench.adapter().vfs[1].attributes.mac = MacAddr([2, 0, 0, 0, 0, 9]);
        bench.adapter().vfs[1].attributes.vlan = 12;
        let finding = bench.only(Code::VfUnclean);
        assert_eq!(finding.evidence, "VF 1 of pf0 has an address and a VLAN.");
        bench.adapter().vfs[1].user = VfUser::Reserved;
        assert_eq!(bench.codes(), []);
    }

    #[test]
    fn a_vf_in_quarantine_is_told_with_why() {
        let mut bench = Bench::new();
        let problem = Problem::new(Code::VfQuarantined, "VF 2 keeps its address.");
        bench.status.adapters[0].quarantined.push(problem);
        let finding = bench.only(Code::VfQuarantined);
        assert_eq!(finding.evidence, "VF 2 keeps its address.");
    }
}
