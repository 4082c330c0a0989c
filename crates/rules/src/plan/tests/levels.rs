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
    let plan = plan(observed, wish, &memory(observed));
    let problems = plan.vm_problems.get(&VM).into_iter().flatten();
    problems.map(|problem| problem.code).collect()
}

#[test]
fn a_limit_is_put_on_the_vf_and_kept_there() {
    let wish = at(Performance::Low, "default", "Low=100");
    let done = actions(&settled(), &wish);
    let [Action::Switch(switch)] = &done[..] else {
        panic!("{done:?}");
    };
    assert_eq!(switch.attributes.max_tx_rate_mbps, Support::Supported(100));
    assert_eq!(switch.vectors, None);
    let mut observed = accelerated();
    // Set by the switch-over, lost, or of another level.
    for (rate, settled) in [(100, true), (0, false), (500, false)] {
        observed.adapters[0].vfs[0].attributes.max_tx_rate_mbps = Support::Supported(rate);
        assert_eq!(actions(&observed, &wish).is_empty(), settled, "{rate}");
    }
}

#[test]
fn a_limit_that_the_card_cannot_keep_is_refused() {
    let wish = at(Performance::Low, "default", "Low=5000");
    assert_eq!(actions(&settled(), &wish), []);
    assert_eq!(codes(&settled(), &wish), [Code::TxRateNotPossible]);
}

#[test]
fn idle_vfs_keep_what_one_pair_needs() {
    let wish = at(Performance::Low, "default", "none");
    let observed = pool(settled(), 64, 8);
    let expected: Vec<Action> = observed.adapters[0]
        .vfs
        .iter()
        .map(|vf| Action::VfVectors {
            vf: vf.pci,
            vectors: 2,
        })
        .collect();
    let done = actions(&observed, &wish);
    assert_eq!(done[..expected.len()], expected);
    let done = actions(&pool(settled(), 64, 2), &wish);
    assert!(matches!(&done[..], [Action::Switch(_)]), "{done:?}");
    // Nobody can tell yet.
    let mut unknown = pool(settled(), 64, 2);
    unknown.adapters[0].vfs[3].msix_vectors = Support::Unknown;
    let vf = unknown.adapters[0].vfs[3].pci;
    assert_eq!(
        actions(&unknown, &wish)[0],
        Action::VfVectors { vf, vectors: 2 }
    );
}

#[test]
fn a_vf_is_given_the_vectors_of_its_level() {
    for (level, expected) in [
        (Performance::Low, 2),
        (Performance::Medium, 3),
        (Performance::High, 9),
    ] {
        let done = actions(&pool(settled(), 64, 2), &at(level, "High=8", "none"));
        let [Action::Switch(switch)] = &done[..] else {
            panic!("{done:?}");
        };
        assert_eq!((switch.to_vf, switch.vectors), (true, Some(expected)));
    }
}

#[test]
fn another_level_moves_the_vm_by_its_tap() {
    let wish = at(Performance::High, "default", "none");
    let mut observed = pool(accelerated(), 64, 2);
    let done = actions(&observed, &wish);
    assert!(
        matches!(&done[..], [Action::Switch(switch)] if !switch.to_vf),
        "{done:?}"
    );
    observed.adapters[0].vfs[0].msix_vectors = Support::Supported(5);
    assert_eq!(actions(&observed, &wish), []);
    observed.adapters[0].vfs[0].msix_vectors = Support::Unknown;
    assert_eq!(actions(&observed, &wish).len(), 1, "who knows");
    // Not while the guest starts, nor when it could not come back.
    observed.adapters[0].vfs[0].msix_vectors = Support::Supported(2);
    let mut starting = observed.clone();
    starting.adapters[0].vfs[0].active_vectors = 0;
    let switches = |action: &Action| matches!(action, Action::Switch(_));
    assert!(!actions(&starting, &wish).iter().any(switches));
    observed.vms[0].vcpus = 2;
    assert_eq!(actions(&observed, &wish), []);
    assert_eq!(codes(&observed, &wish), [Code::VmNotEnoughVcpus]);
}

#[test]
fn a_pool_that_is_short_takes_nothing_from_a_vm() {
    let wish = at(Performance::High, "default", "none");
    // Seven VFs with two each: 17 are enough to raise one to High, 16 are not.
    let short = pool(accelerated(), 16, 2);
    assert_eq!(actions(&short, &wish), []);
    assert_eq!(codes(&short, &wish), [Code::CannotProvisionPerformance]);
    let mut taken = pool(accelerated(), 17, 2);
    assert_eq!(actions(&taken, &wish).len(), 1);
    // Somebody else was raised.
    let other = &mut taken.adapters[0].vfs[1];
    other.msix_vectors = Support::Supported(5);
    other.user = VfUser::Process {
        pid: 4711,
        command: "qemu".into(),
    };
    assert_eq!(actions(&taken, &wish), []);
    assert_eq!(codes(&taken, &wish), [Code::NoFreeVf]);
    // The same for a VM that has no VF yet.
    let mut taken = pool(settled(), 17, 2);
    taken.adapters[0].vfs[1] = pool(accelerated(), 17, 5).adapters[0].vfs[1].clone();
    taken.adapters[0].vfs[1].user = VfUser::Process {
        pid: 4711,
        command: "qemu".into(),
    };
    assert_eq!(actions(&taken, &wish), []);
    assert_eq!(codes(&taken, &wish), [Code::NoFreeVf]);
}

#[test]
fn queues_of_the_software_path_are_staged_beside_everything_else() {
    let wish = at(Performance::Medium, "default", "none");
    let done = actions(&settled(), &wish);
    let [Action::Prepare { vm, staging }, Action::Switch(_)] = &done[..] else {
        panic!("{done:?}");
    };
    let mac = settled().vms[0].nics[0].mac;
    assert_eq!((*vm, &staging.queues[..]), (VM, &[(mac, 2)][..]));
    assert!(staging.standby.is_empty());
}
