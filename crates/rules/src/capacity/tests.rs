//! Decisions against brute force, on clusters of up to 8 nodes; the incremental state against one made
//! anew.

use Performance::{High, Low, Medium};
use accelnet_model::{Code, Performance};
use proptest::prelude::*;

use super::{budget::Budget, case::Case, *};

pub(super) fn cluster(nodes: &[Node], vms: &[Vm], percent: u8) -> Capacity {
    cluster_at(nodes, vms, percent, brute::DEFAULT)
}

fn cluster_at(nodes: &[Node], vms: &[Vm], percent: u8, costs: brute::Costs) -> Capacity {
    let (reserve, costs) = (
        Reserve::Percentage(percent),
        LevelCosts::new(costs).unwrap(),
    );
    let mut capacity = Capacity::with_costs(nodes.to_vec(), reserve, costs).unwrap();
    for vm in vms {
        capacity.put(vm.clone()).unwrap();
    }
    capacity
}

pub(super) fn node(number: usize, adapters: &[(u32, Queues)]) -> Node {
    let adapter = |(index, (vfs, queues)): (usize, &(u32, Queues))| Adapter {
        name: format!("pf{index}"),
        vfs: *vfs,
        queues: *queues,
    };
    Node {
        name: format!("node{}", number + 1),
        adapters: adapters.iter().enumerate().map(adapter).collect(),
        down: false,
    }
}

pub(super) fn off(name: &str, level: Performance, nics: u32) -> Vm {
    Vm {
        name: name.into(),
        level,
        nics,
        node: None,
        adapters: None,
    }
}

/// Whether the inequalities show that everything fits.
pub(super) fn is_sufficient(capacity: &Capacity) -> bool {
    let case = Case::now(capacity).settled();
    case.is_sufficient()
}

/// The nodes to lose by which a bound shows that not everything fits.
pub(super) fn exceeded(capacity: &Capacity) -> Option<Vec<u32>> {
    let case = Case::now(capacity).settled();
    case.exceeded()
}

/// Names of the nodes that a refusal speaks of.
fn counterexample(capacity: &Capacity, refusal: &Refusal) -> Vec<String> {
    let names = capacity.explain(refusal, None).counterexample;
    names.iter().map(ToString::to_string).collect()
}

pub(super) const FIXED_2: Queues = Queues::PerVf { pairs: 2 };
pub(super) const FIXED_4: Queues = Queues::PerVf { pairs: 4 };

#[test]
fn nodes_down_for_a_percentage() {
    let cases = [
        (0, 50, 0),
        (1, 0, 0),
        (1, 50, 0),
        (1, 99, 0),
        (2, 0, 0),
        (2, 1, 1),
        (2, 50, 1),
        (2, 99, 1),
        (3, 33, 1),
        (3, 34, 2),
        (3, 50, 2),
        (4, 50, 2),
        (5, 50, 3),
        (8, 99, 7),
        (100, 50, 50),
        (101, 50, 51),
        (10_000, 1, 100),
        (10_000, 99, 9900),
    ];
    for (nodes, percent, expected) in cases {
        assert_eq!(
            nodes_down_tolerated(nodes, percent),
            expected,
            "{nodes} {percent}"
        );
    }
    assert_eq!(Reserve::NodesDown(9).nodes_down(3), 2);
    assert_eq!(Reserve::NodesDown(1).nodes_down(3), 1);
    for nodes in 1..=100 {
        for count in 0..nodes {
            let percent = Reserve::NodesDown(count).percentage(nodes);
            assert_eq!(
                nodes_down_tolerated(nodes, percent),
                count,
                "{count} of {nodes}"
            );
        }
    }
    assert_eq!(Reserve::NodesDown(7).percentage(3), 66, "as many as can be");
    assert_eq!(Reserve::NodesDown(7).percentage(0), 0);
    assert_eq!(Reserve::Percentage(30).percentage(3), 30);
}

#[test]
fn a_reserve_of_half_holds_back_half() {
    let nodes: Vec<Node> = (0..4).map(|number| node(number, &[(7, FIXED_2)])).collect();
    let mut capacity = cluster(&nodes, &[], 50);
    for number in 0..14 {
        capacity
            .admit(off(&format!("vm{number}"), Medium, 1))
            .unwrap();
    }
    let refusal = capacity.admit(off("one-too-many", Low, 1)).unwrap_err();
    assert_eq!(refusal.code(), Code::ClusterNotEnoughResources);
    assert_eq!(
        refusal,
        Refusal::Short(Shortage {
            lost: vec![2, 3],
            proved: true,
            demand: [1, 14, 0],
            places: [14, 14, 0]
        })
    );
    let explained = capacity.explain(&refusal, Some("one-too-many"));
    assert_eq!(
        explained.reason,
        "With VM 'one-too-many', if node3, node4 were down, the NICs to be placed do not fit on the \
         other nodes: they need 1 Low, 14 Medium, 0 High; there is room for 14 Low, 14 Medium, 0 High, \
         each level alone."
    );
    assert_eq!(counterexample(&capacity, &refusal), ["node3", "node4"]);
    assert!(
        capacity.remove("one-too-many").is_none(),
        "a refused VM leaves no trace"
    );
    let refusal = capacity.admit(off("too-fast", High, 1)).unwrap_err();
    assert_eq!(refusal.code(), Code::CannotProvisionPerformance);
    capacity.remove("vm3").unwrap();
    assert_eq!(capacity.fits_more(Low), 1);
    assert_eq!(capacity.fits_more(High), 0);
    capacity.admit(off("now", Low, 1)).unwrap();
}

#[test]
fn one_node_keeps_nothing_back() {
    let mut capacity = cluster(&[node(0, &[(2, FIXED_4)])], &[], 50);
    assert_eq!(capacity.nodes_down_tolerated(), 0);
    assert_eq!(capacity.fits_more(High), 2);
    capacity.admit(off("a", High, 2)).unwrap();
    let refusal = capacity.admit(off("b", Low, 1)).unwrap_err();
    assert_eq!(refusal.counterexample(), [0; 0]);
    let reason = capacity.explain(&refusal, None).reason;
    assert!(reason.starts_with("With no node down, the NIC"), "{reason}");
}

#[test]
fn all_nics_of_a_vm_are_on_one_node() {
    let nodes = [
        node(0, &[(1, FIXED_4), (1, FIXED_4)]),
        node(1, &[(1, FIXED_4)]),
    ];
    let mut capacity = cluster(&nodes, &[], 0);
    assert!(capacity.would_admit(&off("three", Low, 3)).is_err());
    capacity.admit(off("two", Low, 2)).unwrap();
    assert!(capacity.would_admit(&off("two-more", Low, 2)).is_err());
    capacity.admit(off("one", Low, 1)).unwrap();
}

#[test]
fn nothing_new_while_too_many_are_down() {
    let mut nodes: Vec<Node> = (0..4).map(|number| node(number, &[(7, FIXED_4)])).collect();
    nodes[1].down = true;
    let mut capacity = cluster(&nodes, &[], 25);
    capacity.admit(off("a", Low, 1)).unwrap();
    capacity.set_down("node3", true).unwrap();
    let refusal = capacity.admit(off("b", Low, 1)).unwrap_err();
    assert_eq!(counterexample(&capacity, &refusal), ["node2", "node3"]);
    assert_eq!(capacity.fits_more(Low), 0);
    assert!(capacity.holds().is_ok(), "what is admitted has room");
    capacity.set_down("node3", false).unwrap();
    capacity.admit(off("b", Low, 1)).unwrap();
}

#[test]
fn a_node_that_gives_out_too_much_is_told() {
    let nodes = [node(0, &[(1, FIXED_4)]), node(1, &[(4, FIXED_4)])];
    let running = |name: &str| Vm {
        node: Some("node1".into()),
        adapters: Some(vec!["pf0".into()]),
        ..off(name, Low, 1)
    };
    let mut capacity = cluster(&nodes, &[running("a"), running("b")], 50);
    let refusal = capacity.holds().unwrap_err();
    let explained = capacity.explain(&refusal, None);
    assert!(explained.reason.contains("'node1'"), "{explained:?}");
    assert_eq!(counterexample(&capacity, &refusal), ["node2"]);
    assert!(capacity.admit(off("c", Low, 1)).is_err());
    capacity.remove("b").unwrap();
    capacity.holds().unwrap();
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let twice = vec![node(0, &[]), node(0, &[])];
    assert!(Capacity::new(twice, Reserve::Percentage(0)).is_err());
    let mut adapters_twice = node(0, &[(1, FIXED_2), (1, FIXED_2)]);
    adapters_twice.adapters[1].name = "pf0".into();
    assert!(Capacity::new(vec![adapters_twice], Reserve::Percentage(0)).is_err());
    let mut capacity = cluster(&[node(0, &[(4, FIXED_2)])], &[off("a", Low, 1)], 0);
    let on = |node: Option<&str>, adapters: Option<&[&str]>, nics| Vm {
        node: node.map(Into::into),
        adapters: adapters.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        ..off("b", Low, nics)
    };
    let wrong = [
        off("a", Low, 1),
        off("b", Low, 0),
        on(Some("node7"), None, 1),
        on(None, Some(&["pf0"]), 1),
        on(Some("node1"), Some(&["pf9"]), 1),
        on(Some("node1"), Some(&["pf0"]), 2),
    ];
    for vm in wrong {
        let problem = capacity.put(vm.clone()).unwrap_err();
        assert_eq!(problem.code, Code::InvalidArgument, "{vm:?}");
        assert_eq!(
            capacity.admit(vm).unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    assert!(capacity.set_down("node7", true).is_err());
    assert_eq!(capacity.fits_more(Low), 3);
}

// ---- against brute force ----

pub(super) fn any_level() -> impl Strategy<Value = Performance> {
    prop::sample::select(Performance::ALL.to_vec())
}

fn pool(total: u32, most_per_vf: Option<u32>) -> Queues {
    Queues::Pool { total, most_per_vf }
}

/// The most that a VF of a pool has, if there is a limit.
fn any_most() -> impl Strategy<Value = Option<u32>> {
    prop::option::weighted(0.3, 0..5_u32)
}

/// Only VFs or only queue pairs can run out.
pub(super) fn simple_adapter() -> impl Strategy<Value = (u32, Queues)> {
    prop_oneof![
        (0..4_u32, 0..6_u32).prop_map(|(vfs, pairs)| (vfs, Queues::PerVf { pairs })),
        (0..9_u32, 0..3_u32, any_most())
            .prop_map(|(total, more, most)| (total + more, pool(total, most))),
        (0..4_u32, 0..3_u32, any_most())
            .prop_map(|(vfs, more, most)| (vfs, pool(4 * vfs + more, most))),
    ]
}

pub(super) fn any_adapter() -> impl Strategy<Value = (u32, Queues)> {
    prop_oneof![
        simple_adapter(),
        (0..5_u32, 0..14_u32, any_most()).prop_map(|(vfs, total, most)| (vfs, pool(total, most))),
    ]
}

/// VMs that run on adapters that are not known.
const MOST_UNKNOWN: usize = 4;

type Choices = Vec<(Performance, u32, Option<(usize, Vec<usize>, bool)>)>;

#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) nodes: Vec<Node>,
    pub(super) vms: Vec<Vm>,
    pub(super) new: Vec<Vm>,
    pub(super) percent: u8,
}

/// VMs by choice; where one would be on an adapter that has no room for it, it is off instead.
fn question(
    nodes: Vec<Node>,
    vms: &Choices,
    new: Vec<(Performance, u32)>,
    percent: u8,
) -> Question {
    let mut placed: Vec<Vm> = Vec::new();
    let mut unknown = 0;
    for (number, (level, nics, place)) in vms.iter().enumerate() {
        let mut vm = off(&format!("vm{number}"), *level, *nics);
        if let Some((node, adapters, known)) = place {
            let node = &nodes[node % nodes.len()];
            if !node.adapters.is_empty() {
                vm.node = Some(node.name.clone());
                let pick = |nic: usize| {
                    let index = adapters[nic % adapters.len()] % node.adapters.len();
                    node.adapters[index].name.clone()
                };
                // Brute force tries all combinations of what they can be, so there are few.
                let known = *known || unknown == MOST_UNKNOWN;
                unknown += usize::from(!known);
                vm.adapters = known.then(|| (0..*nics as usize).map(pick).collect());
            }
        }
        placed.push(vm);
        let runs = |vm: &&Vm| vm.node.is_some();
        let running: Vec<Vm> = placed.iter().filter(runs).cloned().collect();
        if !brute::fits_without(&nodes, &running, |_| false) {
            let last = placed.last_mut().unwrap();
            (last.node, last.adapters) = (None, None);
        }
    }
    let new = new.into_iter().enumerate();
    let new = new.map(|(number, (level, nics))| off(&format!("new{number}"), level, nics));
    Question {
        nodes,
        vms: placed,
        new: new.collect(),
        percent,
    }
}

pub(super) fn questions(
    adapter: impl Strategy<Value = (u32, Queues)>,
    most_nics: u32,
    known: impl Strategy<Value = bool> + Clone,
) -> impl Strategy<Value = Question> {
    let adapters = prop::collection::vec(adapter, 0..3);
    let nodes = prop::collection::vec((adapters, prop::bool::weighted(0.1)), 1..=8);
    let place = (0..8_usize, prop::collection::vec(0..3_usize, 1..4), known);
    let vm = (
        any_level(),
        1..=most_nics,
        prop::option::weighted(0.8, place),
    );
    let vms = prop::collection::vec(vm, 0..10);
    let new = prop::collection::vec((any_level(), 1..=most_nics), 1..5);
    (nodes, vms, new, 0..100_u8).prop_map(|(nodes, vms, new, percent)| {
        let nodes = nodes
            .into_iter()
            .enumerate()
            .map(|(number, (adapters, down))| Node {
                down,
                ..node(number, &adapters)
            });
        question(nodes.collect(), &vms, new, percent)
    })
}

/// Each level's cost divides the next one's.
fn any_costs() -> impl Strategy<Value = brute::Costs> {
    let costs = (1..4_u32, 1..4_u32, 1..4_u32);
    costs.prop_map(|(low, medium, high)| [low, low * medium, low * medium * high])
}

/// Adapters with as many more queue pairs as the levels cost more, so that some fit.
fn larger(question: Question, costs: brute::Costs) -> Question {
    let [low, _, high] = costs;
    // Half of that, so that not all that is even fits evenly.
    let scaled = |pairs: u32| (pairs * (low + high / 4)).div_ceil(2);
    let mut nodes = question.nodes;
    for adapter in nodes.iter_mut().flat_map(|node| &mut node.adapters) {
        adapter.queues = match adapter.queues {
            Queues::PerVf { pairs } => Queues::PerVf {
                pairs: scaled(pairs),
            },
            Queues::Pool { total, most_per_vf } => Queues::Pool {
                total: scaled(total),
                most_per_vf: most_per_vf.map(scaled),
            },
        };
    }
    Question { nodes, ..question }
}

/// Every answer is right, and every counterexample is one.
fn agrees(question: &Question, costs: brute::Costs) -> Result<(), TestCaseError> {
    let Question {
        nodes,
        vms,
        new,
        percent,
    } = question;
    let mut capacity = cluster_at(nodes, vms, *percent, costs);
    let mut admitted = vms.clone();
    let down = nodes.iter().filter(|node| node.down).count();
    let tolerated = brute::tolerated(nodes.len(), *percent);
    let held = brute::holds_down(nodes, vms, tolerated, costs);
    prop_assert_eq!(capacity.holds().is_ok(), held);
    prop_assert_eq!(capacity.nodes_down_tolerated(), tolerated);
    for vm in new {
        let mut with = admitted.clone();
        with.push(vm.clone());
        let expected = down <= tolerated && brute::holds_down(nodes, &with, tolerated, costs);
        match capacity.admit(vm.clone()) {
            Ok(()) => {
                prop_assert!(expected, "admitted what does not fit: {:?}", vm);
                admitted = with;
            }
            Err(refusal) => {
                prop_assert!(!expected, "refused what fits: {:?} {:?}", vm, refusal);
                if down <= tolerated && refusal.code() == Code::ClusterNotEnoughResources {
                    let set = refusal.counterexample();
                    prop_assert_eq!(set.len(), tolerated);
                    let lost = |number: usize| set.contains(&(number as u32));
                    let known = with
                        .iter()
                        .all(|vm| vm.node.is_none() || vm.adapters.is_some());
                    // Where adapters are not known no single set need be too much.
                    prop_assert!(
                        !known || !brute::fits_without_at(nodes, &with, lost, costs),
                        "{:?}",
                        refusal
                    );
                }
            }
        }
    }
    Ok(())
}

/// The inequalities alone: what they say fits, fits.
fn never_unsafe(question: &Question, costs: brute::Costs) -> Result<(), TestCaseError> {
    let Question {
        nodes,
        vms,
        percent,
        ..
    } = question;
    let capacity = cluster_at(nodes, vms, *percent, costs);
    let tolerated = brute::tolerated(nodes.len(), *percent);
    let fits = brute::holds_down(nodes, vms, tolerated, costs);
    prop_assert!(!is_sufficient(&capacity) || fits);
    if let Some(lost) = exceeded(&capacity) {
        let lost = |number: usize| lost.contains(&(number as u32));
        prop_assert!(
            !brute::fits_without_at(nodes, vms, lost, costs),
            "the bound is wrong"
        );
    }
    let case = Case::now(&capacity).settled();
    let doubtful = case.doubtful().next().is_some();
    match case.fits_everywhere(&mut Budget::of_a_decision()) {
        Some(Ok(())) => prop_assert!(fits || doubtful),
        Some(Err(_)) => prop_assert!(!fits),
        None => {}
    }
    Ok(())
}

/// A recovery plan places everything that can be placed, on adapters that have room.
fn recovers(question: &Question) -> Result<(), TestCaseError> {
    let Question { nodes, vms, .. } = question;
    let capacity = cluster(nodes, vms, 0);
    let recovery = capacity.recover(&[]).unwrap();
    let fits = brute::fits_without(nodes, vms, |number| nodes[number].down);
    prop_assert_eq!(
        recovery.without_room.is_empty(),
        fits || recovery.without_room.is_empty()
    );
    if fits {
        prop_assert!(recovery.without_room.is_empty(), "{:?}", recovery);
    }
    let mut after = vms.clone();
    for placement in &recovery.placements {
        let vm = after.iter_mut().find(|vm| vm.name == placement.vm).unwrap();
        prop_assert_eq!(placement.adapters.len(), vm.nics as usize);
        vm.node = Some(placement.node.clone());
        vm.adapters = Some(placement.adapters.clone());
    }
    after.retain(|vm| !recovery.without_room.contains(&vm.name));
    let unknown = vms
        .iter()
        .any(|vm| vm.node.is_some() && vm.adapters.is_none());
    if !unknown {
        prop_assert!(brute::fits_without(nodes, &after, |number| nodes[number].down));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn single_nics_on_simple_adapters(question in questions(simple_adapter(), 1, Just(true))) {
        agrees(&question, brute::DEFAULT)?;
        // Exact at any size: the inequalities alone decide.
        let Question { nodes, vms, percent, .. } = &question;
        let capacity = cluster(nodes, vms, *percent);
        let holds = brute::holds(nodes, vms, *percent);
        prop_assert_eq!(is_sufficient(&capacity), holds);
        prop_assert_eq!(exceeded(&capacity).is_none(), holds);
    }

    #[test]
    fn single_nics_on_any_adapters(question in questions(any_adapter(), 1, any::<bool>())) {
        agrees(&question, brute::DEFAULT)?;
        never_unsafe(&question, brute::DEFAULT)?;
    }

    #[test]
    fn several_nics(question in questions(any_adapter(), 3, any::<bool>())) {
        agrees(&question, brute::DEFAULT)?;
        never_unsafe(&question, brute::DEFAULT)?;
        recovers(&question)?;
    }

    /// The same where levels cost something else.
    #[test]
    fn single_nics_at_any_costs(question in questions(any_adapter(), 1, any::<bool>()), costs in any_costs()) {
        let question = larger(question, costs);
        agrees(&question, costs)?;
        never_unsafe(&question, costs)?;
    }

    #[test]
    fn several_nics_at_any_costs(question in questions(any_adapter(), 3, any::<bool>()), costs in any_costs()) {
        let question = larger(question, costs);
        agrees(&question, costs)?;
        never_unsafe(&question, costs)?;
    }

    /// After any changes the state is what it would be if made anew.
    #[test]
    fn kept_up_to_date(
        question in questions(any_adapter(), 3, any::<bool>()),
        changes in prop::collection::vec((0..14_usize, 0..8_usize, any::<bool>()), 0..20),
    ) {
        let Question { mut nodes, vms, new, percent } = question;
        let mut capacity = cluster(&nodes, &vms, percent);
        let mut present = vms.clone();
        let all: Vec<Vm> = vms.into_iter().chain(new).collect();
        for (which, node, down) in changes {
            let vm = &all[which % all.len()];
            if capacity.remove(&vm.name).is_some() {
                present.retain(|other| other.name != vm.name);
            } else {
                capacity.put(vm.clone()).unwrap();
                present.push(vm.clone());
            }
            let node = node % nodes.len();
            nodes[node].down = down;
            capacity.set_down(&nodes[node].name, down).unwrap();
        }
        let fresh = cluster(&nodes, &present, percent);
        prop_assert_eq!(&capacity.sums.shape, &fresh.sums.shape);
        prop_assert_eq!(exceeded(&capacity), exceeded(&fresh));
        prop_assert_eq!(is_sufficient(&capacity), is_sufficient(&fresh));
        prop_assert_eq!(capacity.holds().is_ok(), brute::holds(&nodes, &present, percent));
    }

    /// As many more fit as it says, and not one more.
    #[test]
    fn fits_more_is_exact(question in questions(any_adapter(), 2, any::<bool>()), level in any_level()) {
        let Question { nodes, vms, percent, .. } = question;
        let capacity = cluster(&nodes, &vms, percent);
        let more = capacity.fits_more(level);
        let mut vms = vms;
        for number in 0..=more {
            let down = nodes.iter().filter(|node| node.down).count();
            vms.push(off(&format!("more{number}"), level, 1));
            let fits = down <= brute::tolerated(nodes.len(), percent)
                && brute::holds(&nodes, &vms, percent);
            prop_assert_eq!(fits, number < more);
        }
    }
}
