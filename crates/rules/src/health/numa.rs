//! VMs that are bound to another NUMA node than their VF's adapter is at.

use std::collections::BTreeSet;

use accelnet_model::{Bound, Code, FaultSeverity, Numbers, VmFacts, VmStatus};

use super::{Detection, Finding, Found, NodeScene, Window};
use crate::observed::nics_on;

pub const DETECTION: Detection = Detection {
    code: Code::VmNumaMismatch,
    severity: FaultSeverity::Notice,
    about: "VM",
    by_node: true,
    finds: "A VM has a VF of an adapter at one NUMA node, and its definition binds its memory or its vCPUs to others alone. \
            Only where the kernel says where the adapter is, and the definition what the VM is bound to.",
    because: "What a VM is bound to changes with its start or by hand; a minute outlasts a VM that is moved to another VF.",
    window: Window::seconds(60, 30),
};

/// What could be said of one of the two.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    Fits,
    NotKnown,
    Elsewhere(String),
}

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    let Some(intent) = scene.intent() else {
        return;
    };
    for vm in scene.vms() {
        let object = scene.vm(vm);
        let (mut words, mut unknown) = (Vec::new(), false);
        for (adapter, at) in adapters(scene, vm, &intent.bridge) {
            let Some(at) = at else {
                unknown |= vm.facts.memory_on != Bound::Free || vm.facts.cpus_on != Bound::Free;
                continue;
            };
            for side in [memory(&vm.facts, at), cpus(scene, &vm.facts, at)] {
                match side {
                    Side::Fits => {}
                    Side::NotKnown => unknown = true,
                    Side::Elsewhere(what) => {
                        words.push(format!("{what}, its VF is of {adapter} at NUMA node {at}"));
                    }
                }
            }
        }
        if !words.is_empty() {
            let evidence = format!("'{}': {}.", vm.facts.name, words.join("; "));
            found.wrong(&DETECTION, Finding::new(&DETECTION, object, evidence));
        } else if unknown {
            found.not_seen(&DETECTION, &object);
        }
    }
}

/// Adapters of the VFs that the VM has, each once, with where they are.
fn adapters<'a>(
    scene: &'a NodeScene<'_>,
    vm: &'a VmStatus,
    bridge: &'a accelnet_model::IfName,
) -> BTreeSet<(&'a str, Option<u32>)> {
    let nics = nics_on(&vm.facts, bridge).filter_map(|nic| {
        let seen = vm.nics.iter().find(|seen| seen.mac == nic.mac)?;
        let name = seen.adapter.as_ref().filter(|_| seen.vf.is_some())?;
        let mut adapters = scene.status.adapters.iter();
        let adapter = adapters.find(|adapter| adapter.facts.ifname == *name)?;
        Some((name.as_str(), adapter.facts.numa_node))
    });
    nics.collect()
}

fn memory(vm: &VmFacts, at: u32) -> Side {
    match &vm.memory_on {
        Bound::Free => Side::Fits,
        Bound::Unknown => Side::NotKnown,
        Bound::To(nodes) if nodes.contains(at) => Side::Fits,
        Bound::To(nodes) => Side::Elsewhere(format!("its memory is of NUMA node {nodes}")),
    }
}

fn cpus(scene: &NodeScene<'_>, vm: &VmFacts, at: u32) -> Side {
    let cpus: &Numbers = match &vm.cpus_on {
        Bound::Free => return Side::Fits,
        Bound::Unknown => return Side::NotKnown,
        Bound::To(cpus) => cpus,
    };
    let Some(nodes) = scene.status.node.numa.value() else {
        return Side::NotKnown;
    };
    let theirs = nodes.iter().filter(|node| node.cpus.meets(cpus));
    let theirs: Vec<u32> = theirs.map(|node| node.number).collect();
    if theirs.contains(&at) {
        return Side::Fits;
    }
    // CPUs that no node has: what was told does not fit together.
    if theirs.is_empty() {
        return Side::NotKnown;
    }
    let theirs: Vec<String> = theirs.iter().map(ToString::to_string).collect();
    let theirs = theirs.join(", ");
    Side::Elsewhere(format!(
        "its vCPUs are on CPUs {cpus} of NUMA node {theirs}"
    ))
}

#[cfg(test)]
mod tests {
    use accelnet_model::{NumaNode, Support};

    use super::*;
    use crate::health::{Verdict, tests::Bench};

    fn to(set: &str) -> Bound {
        Bound::To(set.parse().unwrap())
    }

    /// VM 1 has a VF of `pf0`, which is at NUMA node 1.
    fn bench() -> Bench {
        let mut bench = Bench::new();
        let cpus = |number, cpus: &str| NumaNode {
            number,
            cpus: cpus.parse().unwrap(),
        };
        bench.status.node.numa =
            Support::Supported(vec![cpus(0, "0-3,8-11"), cpus(1, "4-7,12-15")]);
        bench.adapter().numa_node = Some(1);
        bench.adapter().vfs[0].vm = Some(crate::fixture::vm(1).uuid);
        let vf = bench.adapter().vfs[0].pci;
        let vm = &mut bench.status.vms[0];
        (vm.facts.memory_on, vm.facts.cpus_on) = (Bound::Free, Bound::Free);
        vm.nics[0].adapter = "pf0".parse().ok();
        vm.nics[0].vf = Some(vf);
        bench.wish(1, Some(accelnet_model::Performance::Low));
        bench.path(1, accelnet_model::NicPath::Vf);
        bench
    }

    fn verdict(bench: &Bench) -> Option<Verdict> {
        let found = bench.found().verdicts;
        let mut of_it = found.into_iter();
        of_it.find_map(|(key, verdict)| (key.code == Code::VmNumaMismatch).then_some(verdict))
    }

    #[test]
    fn a_vm_on_the_other_side_is_told_and_one_that_may_be_here_is_not() {
        for (memory, cpus, wrong) in [
            (Bound::Free, Bound::Free, None),
            (to("1"), to("4-5"), None),
            (to("0-1"), to("0-4"), None),
            (
                to("0"),
                Bound::Free,
                Some("its memory is of NUMA node 0, its VF is of pf0"),
            ),
            (to("1"), to("0-3,8"), Some("on CPUs 0-3,8 of NUMA node 0")),
            (Bound::Unknown, to("8"), Some("on CPUs 8 of NUMA node 0")),
        ] {
            let mut bench = bench();
            let facts = &mut bench.status.vms[0].facts;
            (facts.memory_on, facts.cpus_on) = (memory, cpus);
            match (verdict(&bench), wrong) {
                (None, None) => {}
                (Some(Verdict::Wrong(finding)), Some(words)) => {
                    assert!(finding.evidence.contains(words), "{}", finding.evidence);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_nobody_could_tell_is_not_seen() {
        let mut bench = bench();
        bench.status.vms[0].facts.memory_on = Bound::Unknown;
        assert_eq!(verdict(&bench), Some(Verdict::NotSeen));
        let mut bench = self::bench();
        bench.status.vms[0].facts.cpus_on = to("0");
        bench.status.node.numa = Support::Unknown;
        assert_eq!(verdict(&bench), Some(Verdict::NotSeen));
        bench.adapter().numa_node = None;
        assert_eq!(verdict(&bench), Some(Verdict::NotSeen));
        // Without a VF it has nothing of the adapter.
        bench.status.vms[0].nics[0].vf = None;
        assert_eq!(verdict(&bench), None);
    }
}
