//! What sorts of supply nodes have at all, whatever of it is given out.

use super::{
    LEVELS, PerLevel,
    levels::LevelCosts,
    node::NodeState,
    supply::{Supply, View},
};

/// Marks of one view: slots of each level, then places of each level in pools.
const OF_A_VIEW: usize = 2 * LEVELS;
/// Marks in all: of each view, and whether VFs and queue pairs can both run out somewhere.
const MARKS: usize = OF_A_VIEW * View::ALL.len() + 1;

/// The sorts of supply of a node or of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Makeup([bool; MARKS]);

impl Makeup {
    pub(super) fn of(node: &NodeState, costs: LevelCosts) -> Self {
        let rests = || node.adapters.iter().map(|state| state.whole(costs));
        let mut marks = [false; MARKS];
        for (number, view) in View::ALL.into_iter().enumerate() {
            let supply = Supply::of(rests(), view, costs);
            let all = supply.slots.into_iter().chain(supply.pool_places);
            for (at, count) in all.enumerate() {
                marks[number * OF_A_VIEW + at] = count > 0;
            }
        }
        marks[MARKS - 1] = rests().any(|rest| rest.is_both(costs));
        Self(marks)
    }

    /// VFs and queue pairs can both run out.
    pub(super) fn both(&self) -> bool {
        self.0[MARKS - 1]
    }

    /// The ways in which supply has to be taken.
    pub(super) fn views(&self) -> &'static [View] {
        match self.both() {
            true => &View::ALL[..],
            false => &View::ALL[..1],
        }
    }

    /// Levels of which there are slots, in a view.
    pub(super) fn slots(&self, view: View) -> PerLevel<bool> {
        std::array::from_fn(|level| self.0[view as usize * OF_A_VIEW + level])
    }

    /// Whether there are pools, in a view.
    pub(super) fn pools(&self, view: View) -> bool {
        let first = view as usize * OF_A_VIEW + LEVELS;
        self.0[first..first + LEVELS].contains(&true)
    }
}

/// How many nodes have each sort, so that it is known what the cluster has.
#[derive(Debug, Clone)]
pub(super) struct Census([u32; MARKS]);

impl Census {
    pub(super) fn of(nodes: &[NodeState], costs: LevelCosts) -> Self {
        let mut census = Self([0; MARKS]);
        for node in nodes {
            census.add(Makeup::of(node, costs));
        }
        census
    }

    pub(super) fn add(&mut self, node: Makeup) {
        let counts = self.0.iter_mut().zip(node.0);
        counts.for_each(|(count, there)| *count += u32::from(there));
    }

    pub(super) fn remove(&mut self, node: Makeup) {
        let counts = self.0.iter_mut().zip(node.0);
        counts.for_each(|(count, there)| *count -= u32::from(there));
    }

    /// The cluster's.
    pub(super) fn all(&self) -> Makeup {
        Makeup(self.0.map(|count| count > 0))
    }
}
