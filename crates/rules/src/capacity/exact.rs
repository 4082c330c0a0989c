//! Every set of nodes to lose, and every placement, for small clusters.
//!
//! Nodes that are alike are interchangeable, so only *how many* of each kind are lost matters. For a
//! set, first a greedy placement is tried and a bound; then a search over the survivors: what each
//! takes is chosen among all that cannot be added to, and what could not be finished once is not tried
//! again. The work is bounded; `None` means that nobody knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use accelnet_model::Performance;

use super::{
    LEVELS, PerLevel,
    bound::{Known, WEIGHTS, weigh, weights},
    budget::Budget,
    criteria::Counts,
    index::Capacity,
    levels::LevelCosts,
    position,
    region::Region,
    supply::Rest,
};

/// Clusters beyond these are not searched.
pub(super) const MOST_NODES: usize = 256;
const MOST_SETS: usize = 5000;

/// What makes nodes alike: what is left, what must stay beside it, and all that is there.
type Likeness<'a> = (Vec<Rest>, PerLevel<u64>, &'a Counts);

/// Nodes that are alike: they have the same left, and carry the same.
pub(super) struct Kind {
    region: Rc<Region>,
    unpinned: PerLevel<u64>,
    counts: Counts,
    numbers: Vec<u32>,
    /// The most of each of the [`weights`] that it takes beside what must stay.
    takes: [u64; WEIGHTS],
}

impl Kind {
    fn fits(&self, nics: PerLevel<u64>) -> bool {
        let together = std::array::from_fn(|level| nics[level] + self.unpinned[level]);
        self.region.fits(together)
    }
}

/// A sort of VM to be placed: NICs of one level, on one node together.
#[derive(Clone, Copy)]
struct Sort {
    level: Performance,
    nics: u32,
}

impl Sort {
    fn nics(self, count: u32) -> PerLevel<u64> {
        let mut nics = [0; LEVELS];
        nics[position(self.level)] = u64::from(self.nics) * u64::from(count);
        nics
    }
}

/// How many VMs of each sort a survivor takes, in the order of the survivors.
pub(super) struct Packing {
    /// Number of the node, and what it takes.
    pub(super) takes: Vec<(u32, Counts)>,
}

impl Capacity {
    /// True if everything fits whichever nodes go down; else the nodes to lose that prove it. Adapters
    /// of VMs that run and of which they are not known may be others for each choice of nodes.
    pub(super) fn decide_exactly(&self, budget: &mut Budget) -> Option<Result<(), Vec<u32>>> {
        let kinds = self.kinds(|number| self.known(number), budget)?;
        self.decide_on(&kinds, budget)
    }

    /// The same for nodes that are taken apart already.
    pub(super) fn decide_on(
        &self,
        kinds: &[Kind],
        budget: &mut Budget,
    ) -> Option<Result<(), Vec<u32>>> {
        let sizes: Vec<usize> = kinds.iter().map(|kind| kind.numbers.len()).collect();
        for lost in sets(&sizes, self.further(), budget)? {
            if self.pack_on(kinds, &lost, budget)?.is_none() {
                let mut numbers = self.down();
                for (kind, lost) in kinds.iter().zip(&lost) {
                    numbers.extend(&kind.numbers[..*lost]);
                }
                numbers.sort_unstable();
                return Some(Err(numbers));
            }
        }
        Some(Ok(()))
    }

    /// A placement of all VMs that are off or on the nodes that are down, if there is one.
    pub(super) fn pack_now(&self) -> Option<Option<Packing>> {
        let mut budget = Budget::of_a_question();
        let kinds = self.kinds(|number| self.known(number), &mut budget)?;
        self.pack_on(&kinds, &vec![0; kinds.len()], &mut budget)
    }

    /// The nodes that are up, by kind, as they are known.
    pub(super) fn kinds(
        &self,
        known: impl Fn(u32) -> Known,
        budget: &mut Budget,
    ) -> Option<Vec<Kind>> {
        if self.nodes.len() > MOST_NODES {
            return None;
        }
        let mut kinds: BTreeMap<Likeness<'_>, Vec<u32>> = BTreeMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if !node.down {
                let known = known(number as u32);
                budget.spend(known.rests.len() + node.vms.len())?;
                let key = (known.rests, known.unpinned, &node.counts);
                kinds.entry(key).or_default().push(number as u32);
            }
        }
        let mut regions: BTreeMap<Vec<Rest>, Rc<Region>> = BTreeMap::new();
        let kinds = kinds
            .into_iter()
            .map(|((rests, unpinned, counts), numbers)| {
                let region = match regions.get(&rests) {
                    Some(region) => region.clone(),
                    None => {
                        let region = Rc::new(Region::of(&rests, self.costs, budget)?);
                        regions.insert(rests, region.clone());
                        region
                    }
                };
                let takes = |weights| {
                    let most = region.most(weights);
                    most.saturating_sub(weigh(unpinned, weights))
                };
                Some(Kind {
                    takes: weights(self.costs).map(takes),
                    region,
                    unpinned,
                    counts: counts.clone(),
                    numbers,
                })
            });
        kinds.collect()
    }

    /// Places what is off, down, or on `lost` nodes of each kind on the other nodes that are up.
    fn pack_on(
        &self,
        kinds: &[Kind],
        lost: &[usize],
        budget: &mut Budget,
    ) -> Option<Option<Packing>> {
        let mut demand = self.off.clone();
        let mut steps = self.nodes.len() * WEIGHTS + demand.len();
        let mut add = |counts: &Counts, times: u64| {
            steps += counts.len();
            for (key, count) in counts {
                *demand.entry(*key).or_default() += count * times;
            }
        };
        for node in self.nodes.iter().filter(|node| node.down) {
            add(&node.counts, 1);
        }
        let mut survivors = Vec::new();
        for (kind, lost) in kinds.iter().zip(lost) {
            if *lost > 0 {
                add(&kind.counts, *lost as u64);
            }
            survivors.extend(kind.numbers[*lost..].iter().map(|number| (kind, *number)));
        }
        budget.spend(steps)?;
        if survivors.iter().any(|(kind, _)| !kind.fits([0; LEVELS])) {
            return Some(None);
        }
        let bounds = weights(self.costs);
        Search::new(survivors, &demand, (self.costs, bounds))?.run(budget)
    }
}

/// All ways to lose `count` nodes of kinds of so many each, as numbers of each kind; `None` if there are
/// too many.
pub(super) fn sets(kinds: &[usize], count: usize, budget: &mut Budget) -> Option<Vec<Vec<usize>>> {
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

/// The search for a placement on the survivors of one set.
struct Search<'a> {
    survivors: Vec<(&'a Kind, u32)>,
    /// Sorts of VM, those hardest to place first.
    sorts: Vec<Sort>,
    demand: Vec<u32>,
    /// What the survivors from a position on take, for each weight.
    takes_from: Vec<[u64; WEIGHTS]>,
    weights: [PerLevel<u64>; WEIGHTS],
    /// Positions and demands that cannot be finished.
    dead: BTreeSet<(usize, Vec<u32>)>,
    taken: Vec<Vec<u32>>,
}

impl<'a> Search<'a> {
    fn new(
        survivors: Vec<(&'a Kind, u32)>,
        demand: &Counts,
        (costs, weights): (LevelCosts, [PerLevel<u64>; WEIGHTS]),
    ) -> Option<Self> {
        let mut sorts: Vec<(Sort, u32)> = Vec::new();
        for ((level, nics), count) in demand {
            let sort = Sort {
                level: *level,
                nics: *nics,
            };
            sorts.push((sort, u32::try_from(*count).ok()?));
        }
        sorts.sort_by_key(|(sort, _)| (costs.of(sort.level) * u64::from(sort.nics), sort.nics));
        sorts.reverse();
        let mut takes_from = vec![[0; WEIGHTS]; survivors.len() + 1];
        for (position, (kind, _)) in survivors.iter().enumerate().rev() {
            let after = takes_from[position + 1];
            takes_from[position] = std::array::from_fn(|which| after[which] + kind.takes[which]);
        }
        Some(Self {
            survivors,
            demand: sorts.iter().map(|(_, count)| *count).collect(),
            sorts: sorts.into_iter().map(|(sort, _)| sort).collect(),
            takes_from,
            weights,
            dead: BTreeSet::new(),
            taken: Vec::new(),
        })
    }

    fn run(mut self, budget: &mut Budget) -> Option<Option<Packing>> {
        if self.exceeds(0, &self.demand) {
            return Some(None);
        }
        if let Some(taken) = self.greedy(budget)? {
            self.taken = taken;
        } else {
            let demand = self.demand.clone();
            if !self.from(0, &demand, budget)? {
                return Some(None);
            }
        }
        let counts = |taken: &Vec<u32>| -> Counts {
            let sorts = self
                .sorts
                .iter()
                .zip(taken)
                .filter(|(_, count)| **count > 0);
            sorts
                .map(|(sort, count)| ((sort.level, sort.nics), u64::from(*count)))
                .collect()
        };
        let takes = self.survivors.iter().zip(&self.taken);
        let takes = takes.map(|((_, number), taken)| (*number, counts(taken)));
        Some(Some(Packing {
            takes: takes.collect(),
        }))
    }

    /// True if the demand weighs more than the survivors from a position on take.
    fn exceeds(&self, position: usize, demand: &[u32]) -> bool {
        let nics = self.nics(demand);
        let mut bounds = self.weights.iter().zip(self.takes_from[position]);
        bounds.any(|(weights, takes)| weigh(nics, *weights) > takes)
    }

    fn nics(&self, counts: &[u32]) -> PerLevel<u64> {
        let mut nics = [0; LEVELS];
        for (sort, count) in self.sorts.iter().zip(counts) {
            nics[position(sort.level)] += u64::from(sort.nics) * u64::from(*count);
        }
        nics
    }

    /// The hardest VMs first, each where it fits first.
    fn greedy(&self, budget: &mut Budget) -> Option<Option<Vec<Vec<u32>>>> {
        budget.spend(self.survivors.len() * self.sorts.len())?;
        let mut taken = vec![vec![0; self.sorts.len()]; self.survivors.len()];
        let mut nics = vec![[0; LEVELS]; self.survivors.len()];
        for (which, sort) in self.sorts.iter().enumerate() {
            let one = sort.nics(1);
            let mut first = 0;
            for _ in 0..self.demand[which] {
                loop {
                    budget.spend(1)?;
                    let Some((kind, _)) = self.survivors.get(first) else {
                        return Some(None);
                    };
                    let more = std::array::from_fn(|level| nics[first][level] + one[level]);
                    if kind.fits(more) {
                        nics[first] = more;
                        break;
                    }
                    // What does not fit for one VM does not for the next of its sort.
                    first += 1;
                }
                taken[first][which] += 1;
            }
        }
        Some(Some(taken))
    }

    /// Places the demand on the survivors from a position on. `None` if the steps are used up.
    fn from(&mut self, position: usize, demand: &[u32], budget: &mut Budget) -> Option<bool> {
        if demand.iter().all(|count| *count == 0) {
            self.taken
                .resize(self.survivors.len(), vec![0; self.sorts.len()]);
            return Some(true);
        }
        if position == self.survivors.len() || self.exceeds(position, demand) {
            return Some(false);
        }
        let key = (position, demand.to_vec());
        if self.dead.contains(&key) {
            return Some(false);
        }
        let mut choices = Vec::new();
        self.choices(position, demand, &mut Vec::new(), &mut choices, budget)?;
        for choice in choices {
            let left: Vec<u32> = demand
                .iter()
                .zip(&choice)
                .map(|(all, some)| all - some)
                .collect();
            self.taken.push(choice);
            if self.from(position + 1, &left, budget)? {
                return Some(true);
            }
            self.taken.truncate(position);
        }
        self.dead.insert(key);
        Some(false)
    }

    /// All that a survivor can take and not add to.
    fn choices(
        &self,
        position: usize,
        demand: &[u32],
        chosen: &mut Vec<u32>,
        all: &mut Vec<Vec<u32>>,
        budget: &mut Budget,
    ) -> Option<()> {
        let kind = self.survivors[position].0;
        let which = chosen.len();
        // Looking whether a choice is complete is the most of it.
        budget.spend(1 + self.sorts.len() + which * which)?;
        if which == self.sorts.len() {
            let complete = (0..which).all(|other| {
                chosen[other] == demand[other] || {
                    let mut more = chosen.clone();
                    more[other] += 1;
                    !kind.fits(self.nics(&more))
                }
            });
            if complete {
                all.push(chosen.clone());
            }
            return Some(());
        }
        let mut most = 0;
        while most < demand[which] {
            budget.spend(1 + which)?;
            chosen.push(most + 1);
            let fits = kind.fits(self.nics(chosen));
            chosen.pop();
            if !fits {
                break;
            }
            most += 1;
        }
        for count in (0..=most).rev() {
            chosen.push(count);
            self.choices(position, demand, chosen, all, budget)?;
            chosen.pop();
        }
        Some(())
    }
}
