//! What changed of a cluster, all at once: the same as if it were made anew, in a time that depends on
//! what changed.

use std::collections::BTreeMap;

use accelnet_model::Problem;

use super::{
    Capacity, LEVELS,
    index::check_adapters,
    levels::LevelCosts,
    model::{Adapter, Node, Vm},
    state::AdapterState,
    supply::{Supply, View},
};

/// What inequalities have to reckon with because of some adapters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Kinds {
    both: bool,
    /// Per view: levels of which there are VFs of their own, and those that pools give.
    levels: Vec<[[bool; LEVELS]; 2]>,
}

impl Kinds {
    fn of(adapters: &[AdapterState], costs: LevelCosts) -> Self {
        let rests = || adapters.iter().map(AdapterState::whole);
        let levels = View::ALL.iter().map(|view| {
            let supply = Supply::of(rests(), *view, costs);
            [supply.slots, supply.pool_places].map(|all| all.map(|count| count > 0))
        });
        Self {
            both: rests().any(|rest| rest.is_both(costs)),
            levels: levels.collect(),
        }
    }
}

impl Capacity {
    /// A VM as it is known.
    pub fn vm(&self, name: &str) -> Option<&Vm> {
        self.vms.get(name).map(|state| &state.vm)
    }

    /// Nodes that are something else now, and VMs: each as it is, or `None` if it is no more. Whether
    /// there is room for them is not asked.
    ///
    /// # Errors
    /// `invalid_argument` if it cannot be: as with [`Self::put`], and if a node is not known. Then it
    /// is unknown what has changed.
    pub fn change(
        &mut self,
        nodes: Vec<Node>,
        vms: BTreeMap<String, Option<Vm>>,
    ) -> Result<(), Problem> {
        self.refused.clear();
        for name in vms.keys() {
            self.take_out(name);
        }
        let mut back: Vec<Vm> = vms.into_values().flatten().collect();
        let mut all_anew = false;
        for node in nodes {
            let number = self.node_number(&node.name)?;
            check_adapters(&node)?;
            let known = &self.nodes[number as usize];
            if !same_adapters(&known.adapters, &node.adapters) {
                let there: Vec<String> = known.vms.iter().cloned().collect();
                back.extend(there.iter().filter_map(|name| self.take_out(name)));
                all_anew |= self.replace_adapters(number, node.adapters);
            }
            all_anew |= self.mark_down(number, node.down);
        }
        if all_anew {
            self.rebuild();
        }
        for vm in back {
            self.put(vm)?;
        }
        self.settle();
        Ok(())
    }

    /// Other adapters for a node without VMs. True if inequalities have to reckon with something that
    /// they did not before, or not any more.
    fn replace_adapters(&mut self, number: u32, adapters: Vec<Adapter>) -> bool {
        let costs = self.costs;
        let adapters = adapters.into_iter();
        let adapters = adapters
            .map(|adapter| AdapterState::new(adapter, costs))
            .collect();
        let node = &mut self.nodes[number as usize];
        let before = std::mem::replace(&mut node.adapters, adapters);
        let other = Kinds::of(&before, costs) != Kinds::of(&node.adapters, costs);
        if !other {
            self.refresh(number);
        }
        other
    }
}

fn same_adapters(known: &[AdapterState], adapters: &[Adapter]) -> bool {
    let known = known.iter().map(|state| &state.adapter);
    known.eq(adapters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::tests::{Question, any_adapter, cluster, questions},
        *,
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
            turned.retain(|name, vm| changed.vm(name) != vm.as_ref());
            changed.change(other.collect(), turned).unwrap();
            let mut anew = cluster(&nodes, &vms, percent);
            prop_assert_eq!(changed.figures(), anew.figures());
            prop_assert_eq!(changed.is_exact(), anew.is_exact());
            prop_assert_eq!(changed.further(), anew.further());
            prop_assert_eq!(changed.may_be_overdrawn(), anew.may_be_overdrawn());
            prop_assert_eq!(changed.exceeded(), anew.exceeded());
            if vms.iter().all(|vm| vm.node.is_none() || vm.adapters.is_some()) {
                prop_assert_eq!(changed.is_sufficient(), anew.is_sufficient());
            }
            for vm in from.new {
                if changed.vm(&vm.name).is_none() {
                    prop_assert_eq!(changed.admit(vm.clone()).is_ok(), anew.admit(vm).is_ok());
                }
            }
        }
    }
}
