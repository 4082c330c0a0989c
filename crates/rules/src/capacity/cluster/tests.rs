//! What changed all at once, and what would be, against clusters made anew.

use proptest::prelude::*;

use super::*;
use crate::capacity::{
    budget::Budget,
    case::Case,
    tests::{Question, any_adapter, cluster, exceeded, is_sufficient, questions},
};

/// What is there of a cluster of which some nodes, and what is on them, became another's.
fn mixed(from: &Question, to: &Question, which: &[bool]) -> (Vec<Node>, Vec<Vm>) {
    let turned = |number: usize| which[number % which.len()] && number < to.nodes.len();
    let nodes = from.nodes.iter().enumerate().map(|(number, node)| {
        if turned(number) {
            to.nodes[number].clone()
        } else {
            node.clone()
        }
    });
    let on = |vm: &Vm| {
        let of = |node: &String| from.nodes.iter().position(|known| known.name == *node);
        vm.node.as_ref().map(of)
    };
    let mut vms: BTreeMap<String, Vm> = BTreeMap::new();
    for (question, is_to) in [(to, true), (from, false)] {
        for vm in &question.vms {
            let here = match on(vm) {
                None => is_to,
                Some(node) => node.is_some_and(|node| turned(node) == is_to),
            };
            if here {
                vms.entry(vm.name.clone()).or_insert_with(|| vm.clone());
            }
        }
    }
    (nodes.collect(), vms.into_values().collect())
}

proptest! {
    /// All at once or made anew is the same.
    #[test]
    fn changed_is_as_made_anew(
        from in questions(any_adapter(), 3, any::<bool>()),
        to in questions(any_adapter(), 3, any::<bool>()),
        which in prop::collection::vec(any::<bool>(), 1..9),
    ) {
        let percent = from.percent;
        let mut changed = cluster(&from.nodes, &from.vms, percent);
        let (nodes, vms) = mixed(&from, &to, &which);
        let other = nodes.iter().filter(|node| !from.nodes.contains(node)).cloned();
        let mut turned: BTreeMap<String, Option<Vm>> = BTreeMap::new();
        turned.extend(from.vms.iter().map(|vm| (vm.name.clone(), None)));
        turned.extend(vms.iter().map(|vm| (vm.name.clone(), Some(vm.clone()))));
        turned.retain(|name, vm| changed.vm(name) != *vm);
        changed.change(other.collect(), turned).unwrap();
        let mut anew = cluster(&nodes, &vms, percent);
        prop_assert_eq!(changed.figures(), anew.figures());
        prop_assert_eq!(&changed.sums.shape, &anew.sums.shape);
        prop_assert_eq!(&changed.sums.doubtful, &anew.sums.doubtful);
        prop_assert_eq!(exceeded(&changed), exceeded(&anew));
        prop_assert_eq!(is_sufficient(&changed), is_sufficient(&anew));
        for vm in from.new {
            if changed.vm(&vm.name).is_none() {
                prop_assert_eq!(changed.admit(vm.clone()).is_ok(), anew.admit(vm).is_ok());
            }
        }
    }

    /// What would be is as if it were.
    #[test]
    fn a_case_is_as_a_cluster_made_so(
        from in questions(any_adapter(), 3, any::<bool>()),
        which in prop::collection::vec(0..20_usize, 1..4),
        tolerated in 0..3_usize,
    ) {
        let mut vms = from.vms.clone();
        vms.extend(from.new.iter().cloned());
        let asked = cluster(&from.nodes, &vms, from.percent);
        let tolerated = tolerated.min(from.nodes.len() - 1);
        let mut made = asked.clone();
        made.tolerated = tolerated;
        let mut case = Case::now(&asked).tolerating(tolerated);
        for which in which {
            let vm = &vms[which % vms.len()];
            if made.remove(&vm.name).is_some() {
                case = case.without(&vm.name);
            }
            let other = Vm { name: format!("{}-{which}", vm.name), ..vms[which / 2 % vms.len()].clone() };
            let place = made.place(&other).unwrap();
            if made.vm(&other.name).is_none() {
                case = case.with((other.level, other.nics), place.as_ref());
                made.put(other).unwrap();
            }
        }
        let made_case = Case::now(&made).settled();
        if case.sums().shape.covers(&case.shape()) {
            let sufficient = case.is_sufficient();
            prop_assert!(!sufficient || made_case.is_sufficient());
        }
        let case = case.settled();
        prop_assert_eq!(&case.sums().shape, &made_case.sums().shape);
        prop_assert_eq!(case.is_sufficient(), is_sufficient(&made));
        prop_assert_eq!(case.exceeded(), exceeded(&made));
        let budget = &mut Budget::of_a_decision();
        prop_assert_eq!(case.verdict(budget), made_case.verdict(&mut Budget::of_a_decision()));
    }
}
