//! VMs that run and of which the adapters are not known.
//!
//! Such a VM sits on some adapters of its node all the same, and on the same ones whichever nodes go
//! down. So everything fits only if there is *one* choice of adapters for all of them with which it
//! does for every set of nodes. The choice that [`super::state`] makes is tried first; where it is not
//! enough, others are, as far as the budget goes.

use std::collections::{BTreeSet, VecDeque};

use super::{
    Capacity, LEVELS,
    bound::Known,
    budget::Budget,
    position,
    state::{AdapterState, VmState},
    supply::Rest,
};

/// Choices of one node, and combinations of all nodes' choices, beyond which nobody looks.
const MOST_CHOICES: usize = 32;
const MOST_COMBINATIONS: usize = 256;

impl Capacity {
    /// True if there is a choice of adapters with which everything fits whichever nodes go down; else
    /// nodes whose loss one choice does not bear. `None` if it could not be decided.
    pub(super) fn decide_pinned(&self, budget: &mut Budget) -> Option<Result<(), Vec<u32>>> {
        let mut choices: Vec<(u32, Vec<Vec<Rest>>)> = Vec::new();
        let mut all_seen = true;
        for number in 0..self.nodes.len() as u32 {
            let node = &self.nodes[number as usize];
            if node.unpinned > 0 && !node.down {
                let (rests, complete) = self.choices(number, budget)?;
                all_seen &= complete;
                choices.push((number, rests));
            }
        }
        let mut refuted = None;
        let mut which = vec![0; choices.len()];
        for _ in 0..MOST_COMBINATIONS {
            match self.decide_with(&choices, &which, budget)? {
                Ok(()) => return Some(Ok(())),
                Err(lost) => refuted = refuted.or(Some(lost)),
            }
            if !next(&mut which, &choices) {
                return refuted.filter(|_| all_seen).map(Err);
            }
        }
        None
    }

    /// With one choice for each node.
    fn decide_with(
        &self,
        choices: &[(u32, Vec<Vec<Rest>>)],
        which: &[usize],
        budget: &mut Budget,
    ) -> Option<Result<(), Vec<u32>>> {
        let known = |number: u32| {
            let chosen = choices.binary_search_by_key(&number, |(number, _)| *number);
            match chosen {
                Ok(at) => Known {
                    rests: choices[at].1[which[at]].clone(),
                    unpinned: [0; LEVELS],
                    overdrawn: false,
                },
                Err(_) => self.known(number),
            }
        };
        let kinds = self.kinds(known, budget)?;
        self.decide_on(&kinds, budget)
    }

    /// What can be left of a node's adapters, each different way once, the one that is assumed first;
    /// and whether that is all.
    fn choices(&self, number: u32, budget: &mut Budget) -> Option<(Vec<Vec<Rest>>, bool)> {
        let node = &self.nodes[number as usize];
        let mut adapters: Vec<AdapterState> =
            node.adapters.iter().map(AdapterState::unused).collect();
        let mut free: Vec<usize> = Vec::new();
        for name in &node.vms {
            let Some(VmState { vm, place }) = self.vms.get(name) else {
                continue;
            };
            let level = position(vm.level);
            match (&vm.adapters, place) {
                (Some(_), Some((_, places))) => {
                    for adapter in places {
                        adapters[*adapter as usize].give(level);
                    }
                }
                _ => free.extend((0..vm.nics).map(|_| level)),
            }
        }
        free.sort_unstable_by(|a, b| b.cmp(a));
        let mut found: Vec<Vec<Rest>> = Vec::new();
        if !node.seems_overdrawn() {
            found.push(node.adapters.iter().map(AdapterState::rest).collect());
        }
        let mut seen: BTreeSet<(usize, Vec<Rest>)> = BTreeSet::new();
        let mut open = VecDeque::from([(0, adapters)]);
        while let Some((placed, adapters)) = open.pop_back() {
            budget.spend(1 + adapters.len() * adapters.len())?;
            let Some(level) = free.get(placed) else {
                let rests = adapters.iter().map(AdapterState::rest).collect();
                if !found.contains(&rests) {
                    if found.len() == MOST_CHOICES {
                        return Some((found, false));
                    }
                    found.push(rests);
                }
                continue;
            };
            for at in 0..adapters.len() {
                if adapters[at].places(*level) > 0 {
                    let mut adapters = adapters.clone();
                    adapters[at].give(*level);
                    let rests = adapters.iter().map(AdapterState::rest).collect();
                    if seen.insert((placed + 1, rests)) {
                        open.push_back((placed + 1, adapters));
                    }
                }
            }
        }
        // A node on which they cannot be at all was told before.
        (!found.is_empty()).then_some((found, true))
    }
}

/// The next combination; false after the last.
fn next(which: &mut [usize], choices: &[(u32, Vec<Vec<Rest>>)]) -> bool {
    for (at, (_, rests)) in which.iter_mut().zip(choices) {
        *at += 1;
        if *at < rests.len() {
            return true;
        }
        *at = 0;
    }
    false
}
