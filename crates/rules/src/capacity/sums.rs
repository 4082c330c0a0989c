//! The inequalities and bounds of a cluster, each summed over all nodes and kept up to date.

use std::collections::BTreeSet;

use super::{
    LEVELS, PerLevel,
    balance::{Balance, Other},
    bounds::{Bound, Pools, Takes},
    criteria::{Counts, Criterion, Scope},
    levels::LevelCosts,
    makeup::Makeup,
    node::{NodeState, nics_of},
    position,
    sizes::Size,
    supply::{Rest, Supply, View, places},
};

/// What VMs there are for which there are inequalities, and how many nodes may go down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    sizes: BTreeSet<Size>,
    /// The most NICs of any VM.
    most_nics: u32,
    /// The highest level (position) of any VM; the lowest if there are none.
    highest: usize,
    /// How many nodes besides those that are down may go down.
    pub(super) further: usize,
}

impl Shape {
    /// For these VMs, and for VMs with one NIC, which may always come.
    pub(super) fn of(all: &Counts, further: usize) -> Self {
        let sizes = all.keys().map(|(_, nics)| Size::of(*nics));
        let last = all.last_key_value();
        Self {
            sizes: sizes.chain([Size::of(1)]).collect(),
            most_nics: all.keys().map(|(_, nics)| *nics).max().unwrap_or(1),
            highest: last.map_or(0, |((level, _), _)| position(*level)),
            further,
        }
    }

    /// Inequalities of this shape say what is safe for the other: what they ask for more than they must
    /// is never less.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.sizes.is_superset(&other.sizes)
            && self.most_nics >= other.most_nics
            && self.highest >= other.highest
            && self.further == other.further
    }
}

/// What of a node stands in the words of a refusal.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    /// NICs of the VMs that run there.
    carries: PerLevel<u64>,
    /// NICs that fit beside, each level alone.
    places: PerLevel<u64>,
}

impl Figures {
    fn of(node: &NodeState, rests: &[Rest], costs: LevelCosts) -> Self {
        Self {
            carries: nics_of(&node.counts),
            places: places(rests, costs),
        }
    }
}

/// VMs and nodes that are asked about, as far as the sums do not have them.
#[derive(Clone, Copy)]
pub(super) struct Present<'a> {
    /// How many VMs there are, and how many of them are off.
    pub(super) all: &'a Counts,
    pub(super) off: &'a Counts,
    /// Nodes that are down.
    pub(super) down: &'a BTreeSet<u32>,
    /// Nodes that are other than in the sums.
    pub(super) others: &'a [(u32, NodeState)],
}

/// What is summed.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// An inequality, in the view of this position.
    Criterion(usize, Criterion),
    Bound(Bound),
}

/// A node as measures see it.
struct Seen<'a> {
    number: u32,
    node: &'a NodeState,
    /// By each view.
    supplies: Vec<Supply>,
    takes: Takes,
}

#[derive(Debug, Clone)]
struct Sum {
    measure: Measure,
    balance: Balance,
}

impl Sum {
    /// A node's values.
    fn of(measure: Measure, node: &Seen<'_>) -> Other {
        let counts = &node.node.counts;
        Other {
            number: node.number,
            down: node.node.down,
            values: match measure {
                Measure::Criterion(view, criterion) => (
                    criterion.supply(&node.supplies[view]),
                    criterion.demand(counts),
                ),
                Measure::Bound(bound) => (bound.takes(&node.takes), bound.load(counts)),
            },
        }
    }

    /// Whether survivors have enough. An inequality for VMs of a sort that does not occur says nothing.
    fn holds(&self, present: Present<'_>, others: &[Seen<'_>]) -> bool {
        let demand = match self.measure {
            Measure::Criterion(_, criterion) if !criterion.concerns(present.all) => return true,
            Measure::Criterion(_, criterion) => criterion.demand(present.off),
            Measure::Bound(bound) => bound.load(present.off),
        };
        let others = others.iter().map(|node| Self::of(self.measure, node));
        self.balance.bears(demand, others)
    }

    /// The worst nodes to lose: those that are down and those that weigh most.
    fn worst(&self, present: Present<'_>, others: &[Seen<'_>]) -> Vec<u32> {
        let others = others.iter().map(|node| Self::of(self.measure, node));
        self.balance.worst(others, present.down)
    }
}

/// All sums.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    pub(super) shape: Shape,
    costs: LevelCosts,
    views: &'static [View],
    /// Inequalities, by view.
    criteria: Vec<Vec<Sum>>,
    bounds: Vec<Sum>,
    pools: Pools,
    figures: Vec<Figures>,
    /// Places of all nodes.
    places: PerLevel<u64>,
    /// Nodes that give out more than they have, or seem to.
    pub(super) doubtful: BTreeSet<u32>,
}

impl Sums {
    pub(super) fn of<'a>(
        shape: Shape,
        makeup: Makeup,
        costs: LevelCosts,
        nodes: impl Iterator<Item = &'a NodeState> + Clone,
    ) -> Self {
        let count = nodes.clone().count();
        let sum = |measure| Sum {
            measure,
            balance: Balance::new(count, shape.further),
        };
        let scope = Scope {
            slots: makeup.both || makeup.slots.contains(&true),
            pools: makeup.both || makeup.pools,
            most_nics: shape.most_nics,
            levels_alike: !makeup.both
                && !makeup.pools
                && !makeup.slots[..shape.highest].contains(&true),
            costs,
        };
        let all = Criterion::all(&shape.sizes, scope);
        let criteria = (0..makeup.views().len()).map(|view| {
            let criteria = all
                .iter()
                .map(|criterion| Measure::Criterion(view, *criterion));
            criteria.map(sum).collect()
        });
        let sizes = shape.sizes.iter().map(|size| size.least);
        let bounds = Bound::all(costs, sizes).into_iter().map(Measure::Bound);
        let mut sums = Self {
            costs,
            views: makeup.views(),
            criteria: criteria.collect(),
            bounds: bounds.map(sum).collect(),
            pools: Pools::new(costs),
            figures: vec![Figures::default(); count],
            places: [0; LEVELS],
            doubtful: BTreeSet::new(),
            shape,
        };
        for (number, node) in nodes.enumerate() {
            sums.refresh(number as u32, node);
        }
        sums
    }

    /// Brings one node's values up to date.
    pub(super) fn refresh(&mut self, number: u32, node: &NodeState) {
        let assumed = node.assumed(self.costs);
        match assumed.fits {
            Some(true) => self.doubtful.remove(&number),
            Some(false) | None => self.doubtful.insert(number),
        };
        let figures = Figures::of(node, &assumed.rests, self.costs);
        let old = std::mem::replace(&mut self.figures[number as usize], figures);
        self.places = sum(less(self.places, old.places), figures.places);
        self.pools.learn(node.rests_of_known(self.costs));
        let seen = self.seen(number, node, &assumed.rests);
        for sum in self.criteria.iter_mut().flatten().chain(&mut self.bounds) {
            sum.balance.set(Sum::of(sum.measure, &seen));
        }
    }

    fn seen<'a>(&self, number: u32, node: &'a NodeState, rests: &[Rest]) -> Seen<'a> {
        let supply = |view: &View| Supply::of(rests.iter().copied(), *view, self.costs);
        Seen {
            number,
            node,
            supplies: self.views.iter().map(supply).collect(),
            takes: Takes::of(node, &self.pools),
        }
    }

    /// Nodes that are other than they are, as measures see them.
    fn others<'a>(&self, present: Present<'a>) -> Vec<Seen<'a>> {
        let others = present.others.iter();
        let seen = others.map(|(number, node)| self.seen(*number, node, &node.rests(self.costs)));
        seen.collect()
    }

    /// True if the inequalities show that everything fits, whichever nodes go down, if no node gives out
    /// more than it has.
    pub(super) fn is_sufficient(&self, present: Present<'_>) -> bool {
        let others = self.others(present);
        let mut views = self.criteria.iter();
        views.any(|sums| sums.iter().all(|sum| sum.holds(present, &others)))
    }

    /// The nodes to lose of the first inequality that does not hold, in the first view.
    pub(super) fn weakest(&self, present: Present<'_>) -> Vec<u32> {
        let first = self.criteria.iter().flatten();
        let found = self.first_short(first, present);
        found.unwrap_or_else(|| present.down.iter().copied().collect())
    }

    /// Nodes to lose that prove that not everything fits, if a bound shows it.
    pub(super) fn exceeded(&self, present: Present<'_>) -> Option<Vec<u32>> {
        self.first_short(self.bounds.iter(), present)
    }

    fn first_short<'a>(
        &self,
        mut sums: impl Iterator<Item = &'a Sum>,
        present: Present<'_>,
    ) -> Option<Vec<u32>> {
        let others = self.others(present);
        let short = sums.find(|sum| !sum.holds(present, &others))?;
        Some(short.worst(present, &others))
    }

    /// NICs that would have to find room without these nodes, and the places that there are, each level
    /// alone.
    pub(super) fn shortage(&self, present: Present<'_>, lost: &[u32]) -> [PerLevel<u64>; 2] {
        let (mut demand, mut places) = (nics_of(present.off), self.places);
        for number in lost {
            let known = self.figures[*number as usize];
            demand = sum(demand, known.carries);
            places = less(places, known.places);
        }
        for (number, node) in present.others {
            let figures = Figures::of(node, &node.rests(self.costs), self.costs);
            let known = self.figures[*number as usize];
            if lost.binary_search(number).is_ok() {
                demand = less(sum(demand, figures.carries), known.carries);
            } else {
                places = less(sum(places, figures.places), known.places);
            }
        }
        [demand, places]
    }
}

fn sum(one: PerLevel<u64>, other: PerLevel<u64>) -> PerLevel<u64> {
    std::array::from_fn(|level| one[level] + other[level])
}

fn less(one: PerLevel<u64>, other: PerLevel<u64>) -> PerLevel<u64> {
    std::array::from_fn(|level| one[level] - other[level])
}
