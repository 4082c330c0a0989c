//! Boundaries of each kind of card, and laws that hold for all of them.

use Performance::{High, Low, Medium};
use accelnet_model::Support;
use proptest::prelude::*;

use super::*;
use crate::fixture;

/// 1, 2 and 4 pairs.
static USUAL: std::sync::LazyLock<Levels> = std::sync::LazyLock::new(Levels::default);

fn of_pairs(pairs: &str) -> Levels {
    Levels {
        queue_pairs: pairs.parse().unwrap(),
        ..Levels::default()
    }
}

fn card(driver: &str, vf_pci_id: &str, total_vfs: u32, vfs: u32) -> AdapterFacts {
    AdapterFacts {
        driver: Some(driver.into()),
        vf_pci_id: Some(vf_pci_id.into()),
        total_vfs,
        vf_total_msix: Support::Supported(0),
        ..fixture::adapter(vfs)
    }
}

fn pool(driver: &str, vectors: u32, total_vfs: u32) -> AdapterFacts {
    AdapterFacts {
        vf_total_msix: Support::Supported(vectors),
        ..card(driver, "15b3:101e", total_vfs, 0)
    }
}

#[test]
fn the_emulated_card_gives_medium_and_seven_vfs() {
    let adapter = fixture::adapter(0);
    assert_eq!(levels(&adapter, &USUAL), [Low, Medium]);
    let pairs = QueuePairs {
        allotted: 2,
        effective: 1,
    };
    assert_eq!(queue_pairs(&adapter, &USUAL), Some(pairs));
    let plan = choose_vf_count(&adapter, &USUAL, VfCount::Auto).unwrap();
    assert_eq!((plan.count, plan.levels), (7, vec![Low, Medium]));
    assert!(plan.because.contains("Medium"), "{}", plan.because);
    // igbvf: three vectors, one pair.
    assert_eq!(in_use(&adapter, 0), Some(0));
    assert_eq!(in_use(&adapter, 3), Some(1));
}

#[test]
fn known_cards() {
    // Driver, VF id, VFs: levels; queue pairs of a VF, and how many of them Linux uses.
    type Case<'a> = (&'a str, &'a str, u32, &'a [Performance], Option<(u32, u32)>);
    let cases: &[Case<'_>] = &[
        ("igb", "8086:10ca", 7, &[Low, Medium], Some((2, 1))),
        ("igb", "8086:1520", 7, &[Low], Some((1, 1))),
        ("igb", "8086:ffff", 7, &[Low], None),
        ("ixgbe", "8086:10ed", 31, &[Low, Medium, High], Some((4, 2))),
        ("ixgbe", "8086:10ed", 32, &[Low, Medium], Some((2, 2))),
        ("i40e", "8086:154c", 64, &[Low, Medium, High], Some((4, 4))),
        // No pool: an older kernel divides the vectors itself.
        ("ice", "8086:1889", 8, &[Low], None),
        // Known, but nobody tells how many.
        ("bnxt_en", "14e4:16dc", 8, &[Low], None),
        ("virtio_net", "1af4:1041", 8, &[Low], None),
    ];
    for (driver, id, vfs, expected, pairs) in cases {
        let adapter = card(driver, id, 128, *vfs);
        assert_eq!(levels(&adapter, &USUAL), *expected, "{driver} {id} {vfs}");
        let found = queue_pairs(&adapter, &USUAL);
        let found = found.map(|pairs| (pairs.allotted, pairs.effective));
        assert_eq!(found, *pairs, "{driver} {id} {vfs}");
    }
    let nothing_bound = AdapterFacts {
        driver: None,
        ..fixture::adapter(7)
    };
    assert_eq!(levels(&nothing_bound, &USUAL), [Low]);
    assert_eq!(in_use(&nothing_bound, 5), None);
    assert_eq!(in_use(&card("bnxt_en", "14e4:16dc", 128, 8), 5), None);
}

#[test]
fn a_pool_gives_what_the_level_needs() {
    let adapter = pool("mlx5_core", 60, 16);
    assert_eq!(levels(&adapter, &USUAL), [Low, Medium, High]);
    assert_eq!(
        queue_pairs(&adapter, &USUAL),
        None,
        "it depends on the level"
    );
    // 60 vectors, five for a VF at High.
    assert_eq!(
        choose_vf_count(&adapter, &USUAL, VfCount::Auto)
            .unwrap()
            .count,
        12
    );
    assert_eq!(levels(&pool("ice", 5, 8), &USUAL), [Low, Medium, High]);
    assert_eq!(levels(&pool("ice", 4, 8), &USUAL), [Low, Medium]);
    assert_eq!(levels(&pool("ice", 2, 8), &USUAL), [Low]);
    assert_eq!(levels(&pool("ice", 1, 8), &USUAL), []);
    assert_eq!(in_use(&adapter, 5), Some(4));
}

#[test]
fn an_intent_s_own_numbers_count() {
    let igb = fixture::adapter(7);
    assert_eq!(
        levels(&igb, &of_pairs("Low=1,Medium=1,High=2")),
        [Low, Medium, High]
    );
    assert_eq!(levels(&igb, &of_pairs("Low=2,Medium=4,High=4")), [Low]);
    assert_eq!(levels(&igb, &of_pairs("Low=4,Medium=4,High=4")), []);
    let eight = of_pairs("High=8");
    let mlx5 = pool("mlx5_core", 60, 16);
    assert_eq!(
        choose_vf_count(&mlx5, &eight, VfCount::Auto).unwrap().count,
        6
    );
    // The others keep what an idle VF has: two of 8 · 2 + 7.
    let short = pool("mlx5_core", 22, 8);
    let with_vfs = AdapterFacts {
        vfs: fixture::adapter(8).vfs,
        ..short
    };
    assert_eq!(levels(&with_vfs, &eight), [Low, Medium]);
}

#[test]
fn what_a_vf_has_and_what_the_guest_uses_is_by_evidence() {
    let mut igb = fixture::adapter(2);
    let pairs = |adapter: &AdapterFacts| {
        let pairs = queue_pairs_of_vf(adapter, &adapter.vfs[0])?;
        Some((pairs.allotted, pairs.effective))
    };
    assert_eq!(pairs(&igb), Some((2, 0)), "no driver drives it");
    igb.vfs[0].active_vectors = 3;
    assert_eq!(pairs(&igb), Some((2, 1)));
    let mut mlx5 = AdapterFacts {
        vfs: fixture::adapter(2).vfs,
        ..pool("mlx5_core", 60, 8)
    };
    mlx5.vfs[0].active_vectors = 3;
    assert_eq!(pairs(&mlx5), None, "its vectors are not known");
    mlx5.vfs[0].msix_vectors = Support::Supported(5);
    assert_eq!(pairs(&mlx5), Some((4, 2)));
    mlx5.driver = Some("unheard_of".into());
    assert_eq!(pairs(&mlx5), None);
}

#[test]
fn ixgbe_trades_vfs_for_queues() {
    let adapter = card("ixgbe", "8086:10ed", 63, 0);
    let plan = choose_vf_count(&adapter, &USUAL, VfCount::Auto).unwrap();
    assert_eq!((plan.count, plan.levels), (31, vec![Low, Medium, High]));
    assert!(
        plan.because.contains("High") && plan.because.contains("63"),
        "{}",
        plan.because
    );
    let plan = choose_vf_count(&adapter, &USUAL, VfCount::Exactly(32)).unwrap();
    assert_eq!((plan.count, plan.levels), (32, vec![Low, Medium]));
}

#[test]
fn what_is_there_stays() {
    let adapter = fixture::adapter(4);
    for wanted in [VfCount::Auto, VfCount::Keep, VfCount::Exactly(4)] {
        assert_eq!(
            choose_vf_count(&adapter, &USUAL, wanted).unwrap().count,
            4,
            "{wanted}"
        );
    }
    assert_eq!(
        choose_vf_count(&adapter, &USUAL, VfCount::Exactly(7))
            .unwrap()
            .count,
        7
    );
}

#[test]
fn impossible_numbers_are_refused() {
    let mut used = fixture::adapter(4);
    used.vfs[1].vm = Some(uuid::Uuid::from_u128(1));
    let mut without = fixture::adapter(0);
    without.total_vfs = 0;
    let cases = [
        (fixture::adapter(0), VfCount::Exactly(8)),
        (fixture::adapter(0), VfCount::Keep),
        (used.clone(), VfCount::Exactly(7)),
        (without, VfCount::Auto),
    ];
    for (adapter, wanted) in cases {
        let problem = choose_vf_count(&adapter, &USUAL, wanted).unwrap_err();
        assert_eq!(problem.code, Code::VfCountNotPossible);
        assert!(problem.detail.contains("pf0"), "{problem}");
    }
    assert_eq!(
        choose_vf_count(&used, &USUAL, VfCount::Exactly(4))
            .unwrap()
            .count,
        4
    );
    assert_eq!(
        choose_vf_count(&used, &USUAL, VfCount::Auto).unwrap().count,
        4
    );
}

fn any_adapter() -> impl Strategy<Value = AdapterFacts> {
    let drivers = prop::sample::select(vec![
        ("igb", "8086:10ca"),
        ("igb", "8086:1520"),
        ("ixgbe", "8086:1515"),
        ("i40e", "8086:154c"),
        ("ice", "8086:1889"),
        ("mlx5_core", "15b3:101e"),
        ("hns3", "19e5:a22e"),
        ("unheard_of", "1234:5678"),
    ]);
    (drivers, 0..128_u32, 0..400_u32).prop_map(|((driver, id), total, vectors)| AdapterFacts {
        vf_total_msix: Support::Supported(vectors),
        ..card(driver, id, total, 0)
    })
}

proptest! {
    /// A level that is possible makes the lower ones possible.
    #[test]
    fn levels_are_a_prefix(adapter in any_adapter()) {
        let levels = levels(&adapter, &USUAL);
        prop_assert_eq!(&levels[..], &Performance::ALL[..levels.len()]);
    }

    /// The automatic number is within the card, and one more would cost the level it was chosen for.
    #[test]
    fn the_automatic_number_is_the_largest(adapter in any_adapter()) {
        let Ok(plan) = choose_vf_count(&adapter, &USUAL, VfCount::Auto) else {
            prop_assert!(adapter.total_vfs == 0 || levels(&adapter, &USUAL).is_empty());
            return Ok(());
        };
        prop_assert!((1..=adapter.total_vfs).contains(&plan.count));
        let best = *plan.levels.last().unwrap();
        let at = |count| QueuePairProfile::with_vfs(&adapter, count).vfs_with(USUAL.queue_pairs(best), count);
        prop_assert_eq!(at(plan.count), plan.count);
        if plan.count < adapter.total_vfs {
            prop_assert!(at(plan.count + 1) < plan.count + 1);
        }
    }

    /// No more is in use than a VF can have, and more vectors never mean fewer pairs.
    #[test]
    fn use_is_bounded(adapter in any_adapter(), vectors in 0..300_u32) {
        let Some(pairs) = in_use(&adapter, vectors) else { return Ok(()) };
        prop_assert!(pairs <= vectors);
        if let Some(has) = queue_pairs(&adapter, &USUAL) {
            prop_assert!(pairs <= has.allotted);
        }
        prop_assert!(in_use(&adapter, vectors + 1).unwrap() >= pairs);
    }
}
