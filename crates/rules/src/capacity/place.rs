//! A placement of VMs on nodes, NIC by NIC: made greedily, and if that fails searched for.
//!
//! Greedy: each VM in turn, hardest first, on the node where its NICs suit best, each NIC on the adapter
//! whose rest it suits best. What is found so fits; what is not found says nothing. Then the same with a
//! way back: every VM on every node in every way, the best one first, what could not be finished once
//! not tried again. The work is bounded; who has used up the steps knows nothing.
//!
//! Why not greedily alone: in the clusters of `measured` 3.3 % of the VMs with several NICs that fit would
//! be refused (48 of 1,449), with the search none.

use std::collections::{BTreeMap, HashSet};

use super::{LEVELS, PerLevel, budget::Budget, levels::LevelCosts, supply::Rest};

/// VMs beyond which nobody searches: each of them may be one way to go back.
const MOST_SEARCHED: usize = 512;
/// Queue pairs a VF are compared in parts of a hundred.
const PARTS: u64 = 100;

/// How ill NICs suit what is left of an adapter; better ones are lower.
pub(super) type Misfit = u64;

/// A VM to be placed: its level (position) and number of NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) level: usize,
    pub(super) nics: u32,
}

/// Where one VM is placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// Node, by its position among those that were offered.
    pub(super) node: usize,
    /// Adapter of each NIC.
    pub(super) adapters: Vec<usize>,
}

/// A spot for each VM, in their order (hardest first), on nodes of which so much is left; `Some(None)`
/// if there is no placement, `None` if it is not known.
pub(super) fn place(
    mut nodes: Vec<Vec<Rest>>,
    vms: &[Asked],
    costs: LevelCosts,
    budget: &mut Budget,
) -> Option<Option<Vec<Spot>>> {
    if !enough(&nodes, nics_from(vms), costs) {
        return Some(None);
    }
    let mut greedy = nodes.clone();
    let spots = vms
        .iter()
        .map(|vm| put_best(&mut greedy, *vm, costs, budget));
    if let Some(spots) = spots.collect::<Option<Option<Vec<Spot>>>>()? {
        return Some(Some(spots));
    }
    if vms.len() > MOST_SEARCHED {
        return None;
    }
    let mut search = Search {
        vms,
        costs,
        budget,
        spots: Vec::new(),
        dead: HashSet::new(),
    };
    let found = search.from(&mut nodes)?;
    Some(found.then_some(search.spots))
}

/// Puts a VM on adapters of one node that are of a sort, if they have room: each NIC where it suits best.
pub(super) fn put(
    rests: &mut [Rest],
    vm: Asked,
    costs: LevelCosts,
    sort: impl Fn(Rest) -> bool,
) -> Option<(Misfit, Vec<usize>)> {
    let able = |rest: &Rest| {
        if sort(*rest) {
            rest.places(vm.level, costs)
        } else {
            0
        }
    };
    if rests.iter().map(able).sum::<u64>() < u64::from(vm.nics) {
        return None;
    }
    let mut chosen = Vec::with_capacity(vm.nics as usize);
    let mut misfit = 0;
    for _ in 0..vm.nics {
        let fitting = rests.iter().enumerate().filter(|(_, rest)| able(rest) > 0);
        let suiting = fitting.map(|(at, rest)| (suits(*rest, vm.level, costs), at));
        let (worse, at) = suiting.min()?;
        rests[at] = rests[at].without(vm.level, costs);
        misfit += worse;
        chosen.push(at);
    }
    Some((misfit, chosen))
}

/// Puts a VM on the node where its NICs suit best; `Some(None)` if it fits on none.
fn put_best(
    nodes: &mut [Vec<Rest>],
    vm: Asked,
    costs: LevelCosts,
    budget: &mut Budget,
) -> Option<Option<Spot>> {
    let mut best: Option<(Misfit, Spot, Vec<Rest>)> = None;
    for (node, rests) in nodes.iter().enumerate() {
        budget.spend(3 * rests.len() * (1 + vm.nics as usize))?;
        let mut after = rests.clone();
        if let Some((misfit, adapters)) = put(&mut after, vm, costs, |_| true)
            && best.as_ref().is_none_or(|(least, ..)| misfit < *least)
        {
            best = Some((misfit, Spot { node, adapters }, after));
        }
    }
    Some(best.map(|(_, spot, after)| {
        nodes[spot.node] = after;
        spot
    }))
}

/// How ill a NIC suits what is left: a VF that could do more is spoilt by it, and so are the queue pairs
/// of a pool that has not as many for each of its VFs as the NIC takes, or more.
fn suits(rest: Rest, level: usize, costs: LevelCosts) -> Misfit {
    let cost: PerLevel<u64> = costs.units();
    match rest {
        Rest::Nothing => Misfit::MAX,
        Rest::Slots { level: most, .. } => PARTS * (cost[most] - cost[level]),
        Rest::Pool { vfs, units, most } => {
            let each = (units * PARTS / vfs).min(cost[most] * PARTS);
            1 + each.abs_diff(cost[level] * PARTS)
        }
    }
}

/// NICs of each level or a higher one.
fn nics_from(vms: &[Asked]) -> PerLevel<u64> {
    let mut nics = [0; LEVELS];
    for vm in vms {
        (0..=vm.level).for_each(|level| nics[level] += u64::from(vm.nics));
    }
    nics
}

/// Whether there are as many places for NICs of each level or a higher one as there are NICs.
fn enough(nodes: &[Vec<Rest>], nics: PerLevel<u64>, costs: LevelCosts) -> bool {
    let places = |level| -> u64 {
        let rests = nodes.iter().flatten();
        rests.map(|rest| rest.places(level, costs)).sum()
    };
    (0..LEVELS).all(|level| nics[level] <= places(level))
}

/// A search for a placement of the VMs after those that have spots.
struct Search<'a> {
    vms: &'a [Asked],
    costs: LevelCosts,
    budget: &'a mut Budget,
    spots: Vec<Spot>,
    /// How many were placed, and what was left then, where it could not be finished.
    dead: HashSet<(usize, Vec<Vec<Rest>>)>,
}

impl Search<'_> {
    /// Places the others. `None` if the steps are used up.
    fn from(&mut self, nodes: &mut [Vec<Rest>]) -> Option<bool> {
        let at = self.spots.len();
        let Some(vm) = self.vms.get(at).copied() else {
            return Some(true);
        };
        // Sorting, hashing and keeping what is left is the most of it.
        let all: usize = nodes.iter().map(|rests| 1 + rests.len()).sum();
        self.budget.spend(32 * all + self.vms.len() - at)?;
        if !enough(nodes, nics_from(&self.vms[at..]), self.costs) {
            return Some(false);
        }
        let mut key = nodes.to_vec();
        key.iter_mut().for_each(|rests| rests.sort_unstable());
        key.sort_unstable();
        let key = (at, key);
        if self.dead.contains(&key) {
            return Some(false);
        }
        for (_, spot, after) in self.ways(nodes, vm)? {
            let number = spot.node;
            let before = std::mem::replace(&mut nodes[number], after);
            self.spots.push(spot);
            if self.from(nodes)? {
                return Some(true);
            }
            self.spots.pop();
            nodes[number] = before;
        }
        self.dead.insert(key);
        Some(false)
    }

    /// All ways to place a VM that differ in what they leave, the best first.
    fn ways(&mut self, nodes: &[Vec<Rest>], vm: Asked) -> Option<Vec<(Misfit, Spot, Vec<Rest>)>> {
        let mut ways = Vec::new();
        for (node, rests) in nodes.iter().enumerate() {
            if nodes[..node].contains(rests) {
                continue;
            }
            // NIC by NIC: what may be left, and how it comes to that.
            let mut some = BTreeMap::from([(rests.clone(), (0, Vec::new()))]);
            for _ in 0..vm.nics {
                self.budget.spend(16 * some.len() * (1 + rests.len()))?;
                let mut more: BTreeMap<Vec<Rest>, (Misfit, Vec<usize>)> = BTreeMap::new();
                for (rests, (misfit, adapters)) in some {
                    for at in 0..rests.len() {
                        if rests[at].places(vm.level, self.costs) > 0 {
                            let misfit = misfit + suits(rests[at], vm.level, self.costs);
                            let mut after = rests.clone();
                            after[at] = after[at].without(vm.level, self.costs);
                            let way = more.entry(after).or_insert((Misfit::MAX, Vec::new()));
                            if misfit < way.0 {
                                *way = (misfit, [adapters.as_slice(), &[at]].concat());
                            }
                        }
                    }
                }
                some = more;
            }
            let found = some.into_iter();
            ways.extend(
                found.map(|(after, (misfit, adapters))| (misfit, Spot { node, adapters }, after)),
            );
        }
        ways.sort_by_key(|(misfit, spot, _)| (*misfit, spot.node));
        Some(ways)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_rest() -> impl Strategy<Value = Rest> {
        prop_oneof![
            (0..5_u64, 0..3_usize).prop_map(|(vfs, level)| Rest::Slots { vfs, level }),
            (0..5_u64, 0..14_u64, 1..3_usize).prop_map(|(vfs, units, most)| Rest::Pool {
                vfs,
                units,
                most
            }),
            Just(Rest::Nothing),
        ]
    }

    /// Every VM on every node in every way.
    fn fits_slowly(nodes: &mut Vec<Vec<Rest>>, vms: &[Asked], left: u32, on: usize) -> bool {
        let costs = LevelCosts::default();
        if left > 0 {
            return (0..nodes[on].len()).any(|at| {
                let before = nodes[on][at];
                before.places(vms[0].level, costs) > 0 && {
                    nodes[on][at] = before.without(vms[0].level, costs);
                    let fits = match left {
                        1 => fits_slowly(nodes, &vms[1..], 0, 0),
                        _ => fits_slowly(nodes, vms, left - 1, on),
                    };
                    nodes[on][at] = before;
                    fits
                }
            });
        }
        vms.is_empty() || (0..nodes.len()).any(|on| fits_slowly(nodes, vms, vms[0].nics, on))
    }

    proptest! {
        #[test]
        fn a_placement_is_found_if_there_is_one(
            nodes in prop::collection::vec(prop::collection::vec(any_rest(), 0..3), 0..4),
            vms in prop::collection::vec((0..3_usize, 1..4_u32), 0..5),
        ) {
            let costs = LevelCosts::default();
            let mut vms: Vec<Asked> =
                vms.into_iter().map(|(level, nics)| Asked { level, nics }).collect();
            vms.sort_by_key(|vm| std::cmp::Reverse((vm.level, vm.nics)));
            let mut left = nodes.clone();
            let found = place(nodes, &vms, costs, &mut Budget::of_a_decision()).unwrap();
            prop_assert_eq!(found.is_some(), fits_slowly(&mut left.clone(), &vms, 0, 0));
            for (vm, spot) in vms.iter().zip(found.into_iter().flatten()) {
                prop_assert_eq!(spot.adapters.len(), vm.nics as usize);
                for at in spot.adapters {
                    let rest = &mut left[spot.node][at];
                    prop_assert!(rest.places(vm.level, costs) > 0);
                    *rest = rest.without(vm.level, costs);
                }
            }
        }
    }
}
