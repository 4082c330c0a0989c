//! What a level stands for: queue pairs from a pool, a limit, queues of the software path.

use accelnet_model::{AdapterFacts, Levels, Support};

use super::*;

const VM: Uuid = Uuid::from_u128(1);

/// The wish at a level, with these numbers.
fn at(level: Performance, pairs: &str, rates: &str) -> NodeDesired {
    let mut desired = desired(Some(level));
    desired.intents[0].levels = Levels {
        queue_pairs: pairs.parse().unwrap(),
        max_tx_rate_mbps: rates.parse().unwrap(),
    };
    desired
}

/// The same node with a card whose VFs share `total` vectors and have `each`.
fn pool(mut observed: Observed, total: u32, each: u32) -> Observed {
    let adapter = &mut observed.adapters[0];
    *adapter = AdapterFacts {
        driver: Some("mlx5_core".into()),
        vf_pci_id: Some("15b3:1018".into()),
        speed_mbps: Some(25_000),
        vf_total_msix: Support::Supported(total),
        ..adapter.clone()
    };
    for vf in &mut adapter.vfs {
        vf.msix_vectors = Support::Supported(each);
    }
    for vm in &mut observed.vms {
        vm.vcpus = 8;
        vm.nics[0].queues_config = 16;
    }
    observed
}

fn codes(observed: &Observed, wish: &NodeDesired) -> Vec<Code> {
    let plan = planned(observed, wish);
    let problems = plan.vm_problems.get(&VM).into_iter().flatten();
    problems.map(|problem| problem.code).collect()
}

/// Nothing is done, and no switch-over begins.
fn is_quiet(observed: &Observed, wish: &NodeDesired) -> bool {
    planned(observed, wish).is_empty()
}

/// All that happens is that the VM's way back begins.
fn goes_back(observed: &Observed, wish: &NodeDesired) -> bool {
    let plan = planned(observed, wish);
    plan.actions.is_empty() && directions(&plan) == [Going::Back]
}

#[test]
fn a_limit_is_put_on_the_vf_and_kept_there() {
    let wish = at(Performance::Low, "default", "Low=100");
    let plan = planned(&settled(), &wish);
    let (_, attributes, vectors) = to_vf(&plan);
    assert_eq!(attributes.max_tx_rate_mbps, Support::Supported(100));
    assert_eq!((vectors, deeds(&plan)), (None, vec![]));
    let mut observed = accelerated();
    // Set by the switch-over, lost, or of another level: it is put right where the guest uses it.
    for (rate, settled) in [(100, true), (0, false), (500, false)] {
        observed.adapters[0].vfs[0].attributes.max_tx_rate_mbps = Support::Supported(rate);
        let plan = planned(&observed, &wish);
        let limited = |action: &Action| match action {
            Action::Dress { attributes, .. } => attributes.max_tx_rate_mbps.is(&100),
            _ => false,
        };
        assert_eq!(deeds(&plan).iter().any(limited), !settled, "{rate}");
        assert_eq!(plan.actions.is_empty(), settled, "{rate}");
        assert!(plan.turns.is_empty());
    }
}

/// Right after an agent's start policy was not looked at yet: a VLAN and a limit that come from it stay.
#[test]
fn a_vf_keeps_what_it_carries_until_policy_was_seen() {
    let wish = at(Performance::Low, "default", "none");
    let mut observed = accelerated();
    let carried = &mut observed.adapters[0].vfs[0].attributes;
    (carried.vlan, carried.max_tx_rate_mbps) = (42, Support::Supported(100));
    let policy = std::mem::take(&mut observed.policy);
    assert!(is_quiet(&observed, &wish));
    observed.policy = policy;
    let plan = planned(&observed, &wish);
    let put_right = |action: &Action| matches!(action, Action::Dress { attributes, .. } if attributes.vlan == 0);
    assert!(deeds(&plan).iter().any(put_right), "{plan:?}");
}

#[test]
fn a_limit_that_the_card_cannot_keep_is_refused() {
    let wish = at(Performance::Low, "default", "Low=5000");
    assert!(is_quiet(&settled(), &wish));
    assert_eq!(codes(&settled(), &wish), [Code::TxRateNotPossible]);
}

#[test]
fn idle_vfs_keep_what_one_pair_needs() {
    let wish = at(Performance::Low, "default", "none");
    let observed = pool(settled(), 64, 8);
    let adapter = &observed.adapters[0];
    let give = |vf: PciAddress| Action::VfVectors {
        pf: adapter.pci,
        vf,
        vectors: 2,
        driver: None,
    };
    let expected: Vec<Action> = adapter.vfs.iter().map(|vf| give(vf.pci)).collect();
    assert_eq!(actions(&observed, &wish), expected);
    let plan = planned(&pool(settled(), 64, 2), &wish);
    assert_eq!(deeds(&plan), []);
    assert_eq!(directions(&plan), [Going::ToVf]);
    // Nobody can tell yet.
    let mut unknown = pool(settled(), 64, 2);
    unknown.adapters[0].vfs[3].msix_vectors = Support::Unknown;
    let vf = unknown.adapters[0].vfs[3].pci;
    assert_eq!(actions(&unknown, &wish), [give(vf)]);
}

#[test]
fn a_vf_is_given_the_vectors_of_its_level() {
    for (level, expected) in [
        (Performance::Low, None),
        (Performance::Medium, Some(3)),
        (Performance::High, Some(9)),
    ] {
        let observed = pool(settled(), 64, 2);
        let plan = planned(&observed, &at(level, "High=8", "none"));
        let (.., vectors) = to_vf(&plan);
        assert_eq!(vectors, expected, "an idle one has two");
    }
}

#[test]
fn vectors_are_given_before_anything_of_frames_is_touched() {
    let wish = at(Performance::High, "default", "none");
    let mut observed = pool(settled(), 64, 2);
    let mut memory = memory_after(&observed, &wish);
    let begun = begun(&plan(&observed, &wish, &memory, NOW)).remove(0);
    let (id, vf) = (begun.nic, begun.device());
    memory.moves.insert(id, begun);
    let pf = observed.adapters[0].pci;
    let vectors = 5;
    let found = plan(&observed, &wish, &memory, NOW);
    assert_eq!(
        deeds(&found),
        [Action::VfVectors {
            pf,
            vf,
            vectors,
            driver: None
        }]
    );
    assert_eq!(found.phase(id), Some(Phase::Tap));
    // While its adapter is worked on it waits.
    memory.lanes.insert(Lane::Adapter(pf));
    assert!(plan(&observed, &wish, &memory, NOW).is_empty());
    memory.lanes.clear();
    memory.moves.get_mut(&id).unwrap().has_vectors = true;
    observed.adapters[0].vfs[0].msix_vectors = Support::Supported(vectors);
    let found = plan(&observed, &wish, &memory, NOW);
    assert_eq!(found.phase(id), Some(Phase::Both));
    assert_eq!(found.actions[0], (Some(id), learning("pf0", false)));
}

#[test]
fn another_level_moves_the_vm_by_its_tap() {
    let wish = at(Performance::High, "default", "none");
    let mut observed = pool(accelerated(), 64, 2);
    assert!(goes_back(&observed, &wish));
    observed.adapters[0].vfs[0].msix_vectors = Support::Supported(5);
    assert!(is_quiet(&observed, &wish));
    observed.adapters[0].vfs[0].msix_vectors = Support::Unknown;
    assert!(goes_back(&observed, &wish), "who knows");
    // Not while the guest starts, nor when it could not come back.
    observed.adapters[0].vfs[0].msix_vectors = Support::Supported(2);
    let mut starting = observed.clone();
    starting.adapters[0].vfs[0].active_vectors = 0;
    assert_eq!(directions(&planned(&starting, &wish)), []);
    observed.vms[0].vcpus = 2;
    assert!(is_quiet(&observed, &wish));
    assert_eq!(codes(&observed, &wish), [Code::VmNotEnoughVcpus]);
}

#[test]
fn a_pool_that_is_short_takes_nothing_from_a_vm() {
    let wish = at(Performance::High, "default", "none");
    // Seven VFs with two each: 17 are enough to raise one to High, 16 are not.
    let short = pool(accelerated(), 16, 2);
    assert!(is_quiet(&short, &wish));
    assert_eq!(codes(&short, &wish), [Code::CannotProvisionPerformance]);
    let mut taken = pool(accelerated(), 17, 2);
    assert!(goes_back(&taken, &wish));
    // Somebody else was raised.
    let other = &mut taken.adapters[0].vfs[1];
    other.msix_vectors = Support::Supported(5);
    other.user = VfUser::Process {
        pid: 4711,
        command: "qemu".into(),
    };
    assert!(is_quiet(&taken, &wish));
    assert_eq!(codes(&taken, &wish), [Code::NoFreeVf]);
    // The same for a VM that has no VF yet.
    let raised = taken.adapters[0].vfs[1].clone();
    let mut taken = pool(settled(), 17, 2);
    taken.adapters[0].vfs[1] = raised;
    assert!(is_quiet(&taken, &wish));
    assert_eq!(codes(&taken, &wish), [Code::NoFreeVf]);
}

#[test]
fn queues_of_the_software_path_are_staged_beside_everything_else() {
    let wish = at(Performance::Medium, "default", "none");
    let plan = planned(&settled(), &wish);
    let [Action::Prepare { vm, staging }] = &deeds(&plan)[..] else {
        panic!("{plan:?}");
    };
    let mac = settled().vms[0].nics[0].mac;
    assert_eq!((*vm, &staging.queues[..]), (VM, &[(mac, 2)][..]));
    assert!(staging.standby.is_empty());
    assert_eq!(directions(&plan), [Going::ToVf]);
}
