//! The inequalities and bounds of a cluster, each summed over all nodes and kept up to date.

use std::collections::BTreeSet;

use super::{
    LEVELS, PerLevel,
    balance::{Balance, Other},
    bounds::{Bound, Pools, Takes},
    case::Case,
    criteria::{Counts, Criterion, Sorts},
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
    further: usize,
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

/// All sums.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    pub(super) shape: Shape,
    costs: LevelCosts,
    criteria: Vec<(View, Vec<(Criterion, Balance)>)>,
    bounds: Vec<(Bound, Balance)>,
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
        let balance = || Balance::new(count, shape.further);
        let of_view = |view: &View| {
            let sorts = sorts(&shape, makeup, *view, costs);
            let criteria = Criterion::all(&shape.sizes, sorts).into_iter();
            let sums = criteria.map(|criterion| (criterion, balance()));
            (*view, sums.collect())
        };
        let criteria = makeup.views().iter().map(of_view).collect();
        let sizes = shape.sizes.iter().map(|size| size.least);
        let bounds = Bound::all(costs, sizes).into_iter();
        let bounds = bounds.map(|bound| (bound, balance())).collect();
        let mut sums = Self {
            shape,
            costs,
            criteria,
            bounds,
            pools: Pools::new(costs),
            figures: vec![Figures::default(); count],
            places: [0; LEVELS],
            doubtful: BTreeSet::new(),
        };
        for (number, node) in nodes.enumerate() {
            sums.refresh(number as u32, node);
        }
        sums
    }

    /// Brings one node's values up to date.
    pub(super) fn refresh(&mut self, number: u32, node: &NodeState) {
        let (down, costs) = (node.down, self.costs);
        let assumed = node.assumed(costs);
        match assumed.fits {
            Some(true) => self.doubtful.remove(&number),
            Some(false) | None => self.doubtful.insert(number),
        };
        let figures = Figures::of(node, &assumed.rests, costs);
        let old = std::mem::replace(&mut self.figures[number as usize], figures);
        self.places = sum(less(self.places, old.places), figures.places);
        self.pools.learn(node.rests_of_known(costs));
        let takes = Takes::of(node, &self.pools);
        for (bound, balance) in &mut self.bounds {
            let values = (bound.takes(&takes), bound.load(&node.counts));
            balance.set(Other {
                number,
                down,
                values,
            });
        }
        for (view, sums) in &mut self.criteria {
            let supply = Supply::of(assumed.rests.iter().copied(), *view, costs);
            for (criterion, balance) in sums {
                let values = (criterion.supply(&supply), criterion.demand(&node.counts));
                balance.set(Other {
                    number,
                    down,
                    values,
                });
            }
        }
    }

    /// True if the inequalities show that everything fits, whichever nodes go down.
    pub(super) fn is_sufficient(&self, case: &Case<'_>) -> bool {
        case.doubtful().next().is_none()
            && self.criteria.iter().any(|(view, sums)| {
                let others = supplies(case, *view);
                let mut sums = sums.iter();
                sums.all(|sum| holds(sum, case, &others))
            })
    }

    /// The nodes to lose of the first inequality that does not hold, in the first view: those that are
    /// down and those that weigh most.
    pub(super) fn weakest(&self, case: &Case<'_>) -> Vec<u32> {
        let failing = self.criteria.first().and_then(|(view, sums)| {
            let others = supplies(case, *view);
            let failing = sums.iter().find(|sum| !holds(sum, case, &others))?;
            Some(
                failing
                    .1
                    .worst(by_criterion(&failing.0, &others), case.down()),
            )
        });
        failing.unwrap_or_else(|| case.down().iter().copied().collect())
    }

    /// Nodes to lose that prove that not everything fits, if a bound shows it.
    pub(super) fn exceeded(&self, case: &Case<'_>) -> Option<Vec<u32>> {
        let others = case.others.iter();
        let others: Vec<(u32, &NodeState, Takes)> = others
            .map(|(number, node)| (*number, node, Takes::of(node, &self.pools)))
            .collect();
        let (bound, balance) = self.bounds.iter().find(|(bound, balance)| {
            !balance.bears(bound.load(&case.off), by_bound(*bound, &others))
        })?;
        Some(balance.worst(by_bound(*bound, &others), case.down()))
    }

    /// NICs that would have to find room without these nodes, and the places that there are, each level
    /// alone.
    pub(super) fn shortage(&self, case: &Case<'_>, lost: &[u32]) -> [PerLevel<u64>; 2] {
        let (mut demand, mut places) = (nics_of(&case.off), self.places);
        for number in lost {
            let known = self.figures[*number as usize];
            demand = sum(demand, known.carries);
            places = less(places, known.places);
        }
        for (number, node) in &case.others {
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

fn sorts(shape: &Shape, makeup: Makeup, view: View, costs: LevelCosts) -> Sorts {
    let (slots, pools) = (makeup.slots(view), makeup.pools(view));
    Sorts {
        // A pool in which both can run out may become either.
        slots: makeup.both() || slots.contains(&true),
        pools: makeup.both() || pools,
        most_nics: shape.most_nics,
        levels_alike: !makeup.both() && !pools && !slots[..shape.highest].contains(&true),
        costs,
    }
}

/// Nodes that are other than they are, with their supply.
type Supplies<'a> = Vec<(u32, &'a NodeState, Supply)>;

fn supplies<'a>(case: &'a Case<'_>, view: View) -> Supplies<'a> {
    let costs = case.costs();
    let of = |(number, node): &'a (u32, NodeState)| {
        let supply = Supply::of(node.rests(costs).into_iter(), view, costs);
        (*number, node, supply)
    };
    case.others.iter().map(of).collect()
}

fn by_criterion<'a>(
    criterion: &'a Criterion,
    others: &'a Supplies<'_>,
) -> impl Iterator<Item = Other> + Clone + 'a {
    others.iter().map(|(number, node, supply)| Other {
        number: *number,
        down: node.down,
        values: (criterion.supply(supply), criterion.demand(&node.counts)),
    })
}

fn by_bound<'a>(
    bound: Bound,
    others: &'a [(u32, &NodeState, Takes)],
) -> impl Iterator<Item = Other> + Clone + 'a {
    others.iter().map(move |(number, node, takes)| Other {
        number: *number,
        down: node.down,
        values: (bound.takes(takes), bound.load(&node.counts)),
    })
}

/// Whether an inequality holds. One for VMs of a sort that does not occur says nothing.
fn holds(
    (criterion, balance): &(Criterion, Balance),
    case: &Case<'_>,
    others: &Supplies<'_>,
) -> bool {
    !criterion.concerns(&case.all)
        || balance.bears(criterion.demand(&case.off), by_criterion(criterion, others))
}
