//! Adapters that have nothing left to give, and VMs whose VF was given too little.

use accelnet_model::{AdapterFacts, Code, FaultSeverity, Intent, Performance, VfFacts, VfUser};

use super::{Detection, Finding, Found, NodeScene, Window};
use crate::{
    eligibility::has_vectors,
    observed::{nics_on, port_of},
    profile,
};

pub const ADAPTER: Detection = Detection {
    code: Code::AdapterExhausted,
    severity: FaultSeverity::Notice,
    about: "adapter",
    by_node: true,
    finds: "An adapter of the enabled intent has VFs and none of them is free, or its pool of vectors has not what another \
            VF of a level costs that it could give. The evidence says of which level.",
    because: "A VM that restarts, moves or changes its level takes and gives within a minute or two; what is full for \
              longer is full.",
    window: Window::seconds(300, 60),
};

pub const VECTORS: Detection = Detection {
    code: Code::VfVectorsShort,
    severity: FaultSeverity::Warning,
    about: "VM",
    by_node: true,
    finds: "A VM has a VF whose vectors (MSI-X) allow fewer queue pairs than its level stands for, by the table of cards \
            and, where vectors come from a pool, the size of the VF's own table.",
    because: "A VF's vectors are set before it is plugged; a change of the level takes some seconds to bring it back with \
              others.",
    window: Window::seconds(60, 30),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    let Some(intent) = scene.intent() else {
        return;
    };
    let sees = scene.status.node.libvirt.is_some() && scene.status.unseen_vms.is_empty();
    for status in &scene.status.adapters {
        let facts = &status.facts;
        let port = port_of(&scene.status.bridges, facts, &intent.bridge);
        // One that is taken out of the pool is told of there.
        let gives = !facts.vfs.is_empty() && facts.isolated.is_none();
        if !intent.covers(facts) || port.is_none() || !gives {
            continue;
        }
        let object = scene.object("adapter", &facts.ifname);
        if !sees {
            found.not_seen(&ADAPTER, &object);
        } else if let Some(what) = exhausted(facts, intent, status.quarantined.len()) {
            let evidence = format!("{what} on '{}'.", scene.name);
            found.wrong(&ADAPTER, Finding::new(&ADAPTER, object, evidence));
        }
    }
    vectors(scene, intent, found);
}

/// What an adapter has not left.
fn exhausted(adapter: &AdapterFacts, intent: &Intent, quarantined: usize) -> Option<String> {
    let name = &adapter.ifname;
    let free = |vf: &&VfFacts| {
        let nobodys = vf.user == VfUser::Nobody && vf.vm.is_none() && vf.promised.is_none();
        nobodys && vf.group_peers.is_empty()
    };
    let free: Vec<&VfFacts> = adapter.vfs.iter().filter(free).collect();
    let all = adapter.vfs.len();
    if free.len() <= quarantined {
        return Some(format!("None of the {all} VFs of {name} is free"));
    }
    let levels = &intent.levels;
    let none_left = |level: &Performance| {
        let mut free = free.iter();
        profile::can_provision(adapter, levels, *level)
            && !free.any(|vf| has_vectors(adapter, vf, levels, *level))
    };
    let level = Performance::ALL.into_iter().find(none_left)?;
    let needed = profile::wanted_vectors(adapter, levels, level)?;
    Some(format!(
        "{} of {all} VFs of {name} are free, and its pool has not the {needed} vectors that {level} needs",
        free.len()
    ))
}

fn vectors(scene: &NodeScene<'_>, intent: &Intent, found: &mut Found) {
    for vm in scene.vms() {
        let Some(level) = scene.wish(vm.facts.uuid).level else {
            continue;
        };
        let object = scene.vm(vm);
        let wanted = intent.levels.queue_pairs(level);
        let (mut short, mut unknown) = (None, false);
        for nic in nics_on(&vm.facts, &intent.bridge) {
            let seen = vm.nics.iter().find(|seen| seen.mac == nic.mac);
            let Some(pci) = seen.and_then(|seen| seen.vf) else {
                continue;
            };
            let mut adapters = scene.status.adapters.iter().map(|status| &status.facts);
            let of = |facts: &'_ AdapterFacts| facts.vfs.iter().position(|vf| vf.pci == pci);
            let Some((adapter, at)) = adapters.find_map(|facts| of(facts).map(|at| (facts, at)))
            else {
                continue;
            };
            match profile::queue_pairs_of_vf(adapter, &adapter.vfs[at]) {
                Some(pairs) if pairs.allotted < wanted => {
                    short.get_or_insert((nic.mac, pci, pairs.allotted));
                }
                Some(_) => {}
                None => unknown = true,
            }
        }
        match short {
            Some((mac, vf, pairs)) => {
                let evidence = format!(
                    "{level} stands for {wanted} queue pairs; VF {vf} of NIC {mac} has vectors for {pairs}."
                );
                found.wrong(&VECTORS, Finding::new(&VECTORS, object, evidence));
            }
            None if unknown => found.not_seen(&VECTORS, &object),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{NicPath, Support};

    use super::*;
    use crate::health::{Verdict, tests::Bench};

    fn taken(bench: &mut Bench) {
        let taken = bench.adapter().vfs.iter_mut();
        taken.for_each(|vf| vf.user = VfUser::Reserved);
    }

    /// Seven VFs of a card with a pool, of so many vectors each.
    fn pool(bench: &mut Bench, total: u32, each: u32) {
        let adapter = bench.adapter();
        adapter.driver = Some("mlx5_core".into());
        adapter.vf_total_msix = Support::Supported(total);
        for vf in &mut adapter.vfs {
            vf.msix_vectors = Support::Supported(each);
        }
    }

    #[test]
    fn an_adapter_without_a_free_vf_is_told() {
        let mut bench = Bench::new();
        assert_eq!(bench.codes(), []);
        taken(&mut bench);
        let finding = bench.only(Code::AdapterExhausted);
        let all = bench.adapter().vfs.len();
        let words = format!("None of the {all} VFs of pf0 is free on 'node1'.");
        assert_eq!(finding.evidence, words);
        // What VMs have is not known now.
        bench.status.node.libvirt = None;
        assert_eq!(bench.codes(), []);
        // One that gives none on purpose is told of elsewhere.
        let mut bench = Bench::new();
        taken(&mut bench);
        bench.adapter().isolated = Some("It flaps.".into());
        assert_eq!(bench.codes(), []);
    }

    #[test]
    fn a_pool_without_vectors_for_a_level_is_told_with_the_level() {
        let mut bench = Bench::new();
        let vfs = bench.adapter().vfs.len() as u32;
        // High needs five; every VF has two, and so much is left.
        pool(&mut bench, 2 * vfs + 3, 2);
        assert_eq!(bench.codes(), []);
        bench.adapter().vfs[0].user = VfUser::Reserved;
        bench.adapter().vfs[0].msix_vectors = Support::Supported(5);
        let finding = bench.only(Code::AdapterExhausted);
        let words = &finding.evidence;
        assert!(
            words.contains("has not the 3 vectors that Medium needs"),
            "{words}"
        );
        // What a VF has is not known: neither is what is left.
        bench.adapter().vfs[0].msix_vectors = Support::Unknown;
        assert_eq!(bench.codes(), []);
    }

    #[test]
    fn a_vf_with_too_few_vectors_for_its_level_is_told() {
        let mut bench = Bench::new();
        pool(&mut bench, 64, 3);
        let vf = bench.adapter().vfs[0].pci;
        bench.adapter().vfs[0].vm = Some(bench.status.vms[0].facts.uuid);
        bench.status.vms[0].nics[0].vf = Some(vf);
        bench.path(1, NicPath::Vf);
        bench.wish(1, Some(Performance::Medium));
        assert_eq!(bench.codes(), []);
        bench.wish(1, Some(Performance::High));
        let finding = bench.only(Code::VfVectorsShort);
        let words = &finding.evidence;
        assert!(
            words.contains("High stands for 4 queue pairs; VF"),
            "{words}"
        );
        assert!(words.ends_with("has vectors for 2."), "{words}");
        bench.adapter().vfs[0].msix_vectors = Support::Unknown;
        let found = bench.found().verdicts;
        let mut of_it = found
            .iter()
            .filter(|(key, _)| key.code == Code::VfVectorsShort);
        assert!(matches!(of_it.next(), Some((_, Verdict::NotSeen))));
    }
}
