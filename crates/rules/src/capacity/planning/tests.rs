//! What planning answers, against brute force and against admission itself.

use Performance::{High, Low, Medium};
use proptest::prelude::*;

use super::*;
use crate::capacity::{
    brute,
    tests::{FIXED_2, FIXED_4, Question, any_adapter, any_level, cluster, node, off, questions},
};

fn fits(low: u64, medium: u64, high: u64) -> FitsMore {
    FitsMore { low, medium, high }
}

#[test]
fn what_is_free_and_what_the_reserve_leaves_of_it() {
    let nodes = [
        node(0, &[(4, FIXED_4)]),
        node(1, &[(4, FIXED_2)]),
        node(2, &[]),
    ];
    let running = Vm {
        node: Some("node1".into()),
        adapters: Some(vec!["pf0".into()]),
        ..off("a", Low, 1)
    };
    let mut capacity = cluster(&nodes, &[running], 33);
    let seen = capacity.figures();
    let free: Vec<FitsMore> = seen.iter().map(|figures| figures.free).collect();
    assert_eq!(free, [fits(3, 3, 3), fits(4, 4, 0), fits(0, 0, 0)]);
    let used: Vec<[u64; 4]> = seen
        .iter()
        .map(|of| [of.vfs_used, of.vfs, of.queue_pairs_used, of.queue_pairs])
        .collect();
    assert_eq!(used, [[1, 4, 4, 16], [0, 4, 0, 8], [0; 4]]);
    // If node1 were down, node2 would have to take all four; High fits on node1 alone.
    let more = [fits(3, 3, 0), fits(3, 3, 0), fits(0, 0, 0)];
    assert_eq!(capacity.fits_more_by_node(), more);
    capacity.set_down("node2", true).unwrap();
    assert_eq!(capacity.figures()[1].free, fits(0, 0, 0));
    assert_eq!(capacity.fits_more_by_node()[1], fits(0, 0, 0));
}

#[test]
fn a_pool_is_counted_in_queue_pairs() {
    let nodes = [node(0, &[(8, Queues::pool(8))])];
    let running = Vm {
        node: Some("node1".into()),
        adapters: Some(vec!["pf0".into()]),
        ..off("a", High, 1)
    };
    let seen = cluster(&nodes, &[running], 0).figures();
    let of = &seen[0];
    assert_eq!((of.queue_pairs_used, of.queue_pairs), (4, 8));
    assert_eq!((of.vfs_used, of.free), (1, fits(4, 2, 1)));
}

#[test]
fn the_largest_reserve() {
    let nodes: Vec<_> = (0..4).map(|number| node(number, &[(4, FIXED_4)])).collect();
    let of = |count: usize| {
        let vms: Vec<Vm> = (0..count)
            .map(|number| off(&format!("vm{number}"), Low, 1))
            .collect();
        cluster(&nodes, &vms, 50).largest_reserve()
    };
    assert_eq!(of(0), Some((3, 99)));
    assert_eq!(of(4), Some((3, 99)));
    assert_eq!(of(5), Some((2, 50)));
    assert_eq!(of(12), Some((1, 25)));
    assert_eq!(of(16), Some((0, 0)));
    assert_eq!(of(17), None);
    assert_eq!(cluster(&[], &[], 50).largest_reserve(), Some((0, 99)));
}

#[test]
fn nodes_that_could_take_a_vm() {
    let mut nodes = vec![
        node(0, &[(1, FIXED_4), (1, FIXED_4)]),
        node(1, &[(1, FIXED_4)]),
        node(2, &[(2, FIXED_2)]),
        node(3, &[(2, FIXED_4)]),
    ];
    nodes[3].down = true;
    let vm = Vm {
        node: Some("node1".into()),
        adapters: Some(vec!["pf0".into(), "pf1".into()]),
        ..off("a", Medium, 2)
    };
    let capacity = cluster(&nodes, std::slice::from_ref(&vm), 25);
    let offers = capacity.offers(&vm);
    let adapters: Vec<Option<Vec<String>>> =
        offers.iter().map(|offer| offer.adapters.clone()).collect();
    let pair = |one: &str, two: &str| Some(vec![one.to_owned(), two.to_owned()]);
    assert_eq!(
        adapters,
        [pair("pf0", "pf1"), None, pair("pf0", "pf0"), None]
    );
    let keeps: Vec<bool> = offers.iter().map(|offer| offer.keeps_reserve).collect();
    assert_eq!(keeps, [true, false, true, false]);
    let wide = capacity.offers(&off("b", High, 1));
    assert!(wide[0].adapters.is_none() && wide[2].adapters.is_none());
    assert_eq!(wide[1].adapters, Some(vec!["pf0".to_owned()]));
    assert!(wide[1].keeps_reserve);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_largest_reserve_holds_and_no_larger(question in questions(any_adapter(), 2, any::<bool>())) {
        let Question { nodes, vms, percent, .. } = question;
        let largest = cluster(&nodes, &vms, percent).largest_reserve();
        let expected = (0..=99).rev().find(|percent| brute::holds(&nodes, &vms, *percent));
        prop_assert_eq!(largest.map(|(_, percent)| percent), expected);
    }

    /// Each node takes as many as it says, admitted one by one, and the next is refused.
    #[test]
    fn nodes_take_as_many_as_they_say(
        question in questions(any_adapter(), 2, Just(true)),
        level in any_level(),
    ) {
        let Question { nodes, vms, percent, .. } = question;
        let capacity = cluster(&nodes, &vms, percent);
        let fits = capacity.fits_more_by_node();
        for (number, fits) in fits.into_iter().enumerate() {
            let more = [fits.low, fits.medium, fits.high][position(level)];
            let mut asked = capacity.clone();
            for one in 0..=more {
                let vm = off(&format!("more{one}"), level, 1);
                let node = &asked.nodes[number];
                let place = free_place(node, number as u32, (level, 1), asked.costs);
                prop_assert!(place.is_some() || one == more);
                let Some(adapters) = place.and_then(|place| place.adapters) else { break };
                let there = Vm {
                    node: Some(node.name.to_string()),
                    adapters: Some(node.names_of(&adapters)),
                    ..vm
                };
                prop_assert_eq!(asked.admit(there).is_ok(), one < more, "{}: {} of {}", number, one, more);
            }
        }
    }

    /// A node is offered if, and only if, the VM fits there beside what runs there, and the reserve is
    /// kept if brute force says so.
    #[test]
    fn offers_are_those_that_fit(question in questions(any_adapter(), 2, Just(true))) {
        let Question { nodes, vms, new, percent } = question;
        let capacity = cluster(&nodes, &vms, percent);
        for asked in vms.iter().take(3).chain(&new) {
            let offers = capacity.offers(asked);
            let others: Vec<Vm> = vms.iter().filter(|vm| vm.name != asked.name).cloned().collect();
            let admitted = others.len() < vms.len();
            let down = nodes.iter().filter(|node| node.down).count();
            let open = admitted || down <= brute::tolerated(nodes.len(), percent);
            for (number, offer) in offers.iter().enumerate() {
                let there = Vm { node: Some(offer.node.clone()), adapters: None, ..asked.clone() };
                let mut here: Vec<Vm> = others.iter().filter(|vm| vm.node == there.node).cloned().collect();
                here.push(there.clone());
                let fits = !nodes[number].down && brute::fits_without(&nodes, &here, |_| false);
                prop_assert_eq!(offer.adapters.is_some(), fits, "{:?}", offer);
                if let Some(adapters) = &offer.adapters {
                    let mut with = others.clone();
                    with.push(Vm { adapters: Some(adapters.clone()), ..there });
                    let holds = brute::holds(&nodes, &with, percent);
                    prop_assert_eq!(offer.keeps_reserve, open && holds, "{:?}", offer);
                }
            }
        }
    }
}
