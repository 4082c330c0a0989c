//! Every set of nodes to lose, each with a placement, for small clusters.
//!
//! Nodes that are alike are interchangeable, so only *how many* of each kind are lost matters. A VM that
//! runs on adapters that are not known is on the same ones whichever nodes go down. So everything fits
//! only if there is *one* choice of adapters for all of them with which it does for every set of nodes.
//! The one that is assumed is tried first, then others, as far as the budget goes: with that one alone 6 of
//! 1,550 VMs with one NIC that fit would be refused in the clusters of `measured`, with others none.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    budget::Budget,
    case::Case,
    criteria::Counts,
    levels::LevelCosts,
    node::{NodeState, increase},
    place::{self, Asked},
    position,
    supply::Rest,
};

/// Clusters beyond these are not looked at.
pub(super) const MOST_NODES: usize = 256;
const MOST_SETS: usize = 5000;
/// Choices of one node, and combinations of all nodes' choices, beyond which nobody looks.
const MOST_CHOICES: usize = 32;
const MOST_COMBINATIONS: usize = 256;

/// Nodes that are alike: they have the same left, and carry the same.
type Kinds<'a> = BTreeMap<(Vec<Rest>, &'a Counts), Vec<u32>>;

impl Case<'_> {
    /// True if a placement was found whichever nodes go down; else the nodes to lose for which there is
    /// none, with one choice at least of adapters that are not known. `None` if nobody knows.
    pub(super) fn fits_everywhere(&self, budget: &mut Budget) -> Option<Result<(), Vec<u32>>> {
        if self.len() > MOST_NODES {
            return None;
        }
        let up = || self.nodes().filter(|(_, node)| !node.down);
        let mut choices = Choices::of(up().map(|(_, node)| node), self.costs(), budget)?;
        let mut all_seen = choices.complete;
        let mut refuted = None;
        loop {
            let rests = up().map(|(number, _)| number).zip(choices.rests());
            match self.fits_with(rests, budget) {
                Some(Ok(())) => return Some(Ok(())),
                Some(Err(lost)) => refuted = refuted.or(Some(lost)),
                None => all_seen = false,
            }
            match choices.next() {
                Some(true) => {}
                Some(false) => return refuted.filter(|_| all_seen).map(Err),
                None => return None,
            }
        }
    }

    /// With these rests of the nodes that are up.
    fn fits_with(
        &self,
        rests: impl Iterator<Item = (u32, Vec<Rest>)>,
        budget: &mut Budget,
    ) -> Option<Result<(), Vec<u32>>> {
        let mut kinds = Kinds::new();
        for (number, mut rests) in rests {
            // Which adapter it is says nothing.
            rests.sort_unstable();
            let key = (rests, &self.node(number).counts);
            kinds.entry(key).or_default().push(number);
        }
        let sizes: Vec<usize> = kinds.values().map(Vec::len).collect();
        for lost in sets(&sizes, self.further(), budget)? {
            let mut survivors = Vec::new();
            let mut demand = self.homeless();
            for (((rests, counts), numbers), lost) in kinds.iter().zip(&lost) {
                budget.spend(1 + counts.len() + (numbers.len() - lost) * rests.len())?;
                survivors.extend(numbers[*lost..].iter().map(|_| rests.clone()));
                counts
                    .iter()
                    .for_each(|(kind, count)| increase(&mut demand, *kind, count * *lost as u64));
            }
            let vms = hardest_first(&demand, budget)?;
            if place::place(survivors, &vms, self.costs(), budget)?.is_none() {
                let lost = kinds.values().zip(&lost);
                let lost = lost.flat_map(|(numbers, lost)| &numbers[..*lost]);
                return Some(Err(self.with_down(lost.copied())));
            }
        }
        Some(Ok(()))
    }
}

/// High first, and in each level those with many NICs.
fn hardest_first(demand: &Counts, budget: &mut Budget) -> Option<Vec<Asked>> {
    let mut vms = Vec::new();
    for ((level, nics), count) in demand.iter().rev() {
        let count = usize::try_from(*count).ok()?;
        budget.spend(count)?;
        let (level, nics) = (position(*level), *nics);
        vms.extend(std::iter::repeat_n(Asked { level, nics }, count));
    }
    Some(vms)
}

/// What can be left of nodes on which VMs' adapters are not known: one choice of them after the other,
/// the one that is assumed first.
pub(super) struct Choices {
    /// Of each node, each different way once.
    of: Vec<Vec<Vec<Rest>>>,
    which: Vec<usize>,
    taken: usize,
    /// Those are all ways.
    complete: bool,
}

/// What can be left of a node's adapters, each different way once, the one that is assumed first; and
/// whether that is all.
fn choices_of(
    node: &NodeState,
    costs: LevelCosts,
    budget: &mut Budget,
) -> Option<(Vec<Vec<Rest>>, bool)> {
    let assumed = node.assumed(costs);
    if !node.has_unpinned() {
        return Some((vec![assumed.rests], true));
    }
    let mut complete = true;
    let mut found = BTreeSet::from([node.rests_of_known(costs).collect::<Vec<Rest>>()]);
    for (level, nics) in node.unpinned.into_iter().enumerate().rev() {
        for _ in 0..nics {
            budget.spend(8 * found.len() * (1 + node.adapters.len()))?;
            let able = |rests: &Vec<Rest>, at: &usize| rests[*at].places(level, costs) > 0;
            let more = found.iter().flat_map(|rests| {
                let able = (0..rests.len()).filter(|at| able(rests, at));
                able.map(|at| {
                    let mut after = rests.clone();
                    after[at] = after[at].without(level, costs);
                    after
                })
            });
            found = more.collect();
            while found.len() > MOST_CHOICES {
                found.pop_last();
                complete = false;
            }
        }
    }
    found.remove(&assumed.rests);
    let mut choices = vec![assumed.rests];
    choices.extend(found);
    Some((choices, complete))
}

impl Choices {
    pub(super) fn of<'a>(
        nodes: impl Iterator<Item = &'a NodeState>,
        costs: LevelCosts,
        budget: &mut Budget,
    ) -> Option<Self> {
        let all: Option<Vec<_>> = nodes.map(|node| choices_of(node, costs, budget)).collect();
        let (of, complete): (Vec<_>, Vec<bool>) = all?.into_iter().unzip();
        Some(Self {
            which: vec![0; of.len()],
            of,
            taken: 1,
            complete: !complete.contains(&false),
        })
    }

    /// What is left of each node.
    pub(super) fn rests(&self) -> Vec<Vec<Rest>> {
        let chosen = self.of.iter().zip(&self.which);
        chosen.map(|(rests, which)| rests[*which].clone()).collect()
    }

    /// Goes on to the next combination; false after the last, `None` if nobody looks any further.
    pub(super) fn next(&mut self) -> Option<bool> {
        self.taken += 1;
        for (at, rests) in self.which.iter_mut().zip(&self.of) {
            *at += 1;
            if *at < rests.len() {
                return (self.taken <= MOST_COMBINATIONS).then_some(true);
            }
            *at = 0;
        }
        Some(false)
    }
}

/// All ways to lose `count` nodes of kinds of so many each, as numbers of each kind; `None` if there are
/// too many.
fn sets(kinds: &[usize], count: usize, budget: &mut Budget) -> Option<Vec<Vec<usize>>> {
    let mut all: Vec<(Vec<usize>, usize)> = vec![(Vec::new(), count)];
    for (position, kind) in kinds.iter().enumerate() {
        let after: usize = kinds[position + 1..].iter().sum();
        let mut next = Vec::new();
        for (chosen, left) in all {
            let least = left.saturating_sub(after);
            for lost in least..=left.min(*kind) {
                let mut chosen = chosen.clone();
                budget.spend(chosen.len() / 8 + 1)?;
                chosen.push(lost);
                next.push((chosen, left - lost));
            }
        }
        if next.len() > MOST_SETS {
            return None;
        }
        all = next;
    }
    Some(all.into_iter().map(|(chosen, _)| chosen).collect())
}
