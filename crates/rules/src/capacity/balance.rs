//! One measure summed over all nodes, kept up to date: an inequality's, or a bound's.

use std::collections::BTreeSet;

use super::top::TopSum;

/// Supply and load of all nodes by one measure, and what remains if the worst of them go down.
#[derive(Debug, Clone)]
pub(super) struct Balance {
    /// Supply of all nodes.
    supply: u64,
    /// Supply plus load of nodes that are down: none of it counts.
    down: u64,
    /// Supply plus load of the others.
    top: TopSum,
    /// Supply and load of each node as they stand in the sums.
    nodes: Vec<(u64, u64)>,
}

/// A node that is asked about with other values than those in the sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Other {
    pub(super) number: u32,
    pub(super) down: bool,
    /// Supply and load.
    pub(super) values: (u64, u64),
}

impl Balance {
    pub(super) fn new(nodes: usize, k: usize) -> Self {
        let mut top = TopSum::new(k);
        for number in 0..nodes as u32 {
            top.insert(0, number);
        }
        Self {
            supply: 0,
            down: 0,
            top,
            nodes: vec![(0, 0); nodes],
        }
    }

    /// A node has these values now.
    pub(super) fn set(&mut self, new: Other) {
        let Other { number, down, .. } = new;
        let old = std::mem::replace(&mut self.nodes[number as usize], new.values);
        self.supply = self.supply - old.0 + new.values.0;
        let (before, after) = (old.0 + old.1, new.values.0 + new.values.1);
        if down {
            // It is in `top` until it is seen as down for the first time, with 0.
            self.top.remove(before, number);
            self.down = self.down - before + after;
        } else if before != after {
            self.top.remove(before, number);
            self.top.insert(after, number);
        }
    }

    /// Σ supply of survivors ≥ load of the others + `demand`, for the worst choice of nodes, if some
    /// were other than they are.
    pub(super) fn bears(&self, demand: u64, others: impl Iterator<Item = Other> + Clone) -> bool {
        let (mut supply, mut down) = (self.supply, self.down);
        // By how much the k largest may be more, or fewer.
        let (mut more, mut fewer) = (0, 0);
        for other in others.clone() {
            let old = self.nodes[other.number as usize];
            supply = supply - old.0 + other.values.0;
            let (before, after) = (old.0 + old.1, other.values.0 + other.values.1);
            if other.down {
                down = down - before + after;
            } else {
                more += after.saturating_sub(before);
                fewer += before.saturating_sub(after);
            }
        }
        let top = self.top.with(&[]).0;
        if supply >= down + top + more + demand {
            return true;
        }
        if supply < down + top.saturating_sub(fewer) + demand {
            return false;
        }
        supply >= down + self.top.with(&self.replaced(others)).0 + demand
    }

    /// The nodes of that choice, in their order; `down` are those that are down already.
    pub(super) fn worst(
        &self,
        others: impl Iterator<Item = Other>,
        down: &BTreeSet<u32>,
    ) -> Vec<u32> {
        let replaced = self.replaced(others);
        let Some(least) = self.top.with(&replaced).1.map(key) else {
            return down.iter().copied().collect();
        };
        // Thousands of them: a look at all is quicker than a walk through the sets, and counting than
        // asking.
        let mut lost = vec![0; self.nodes.len()];
        let mut count = 0;
        for (number, (supply, load)) in (0_u32..).zip(&self.nodes) {
            lost[count] = number;
            count += usize::from(key((supply + load, number)) >= least);
        }
        lost.truncate(count);
        for ((_, number), new) in replaced {
            match (lost.binary_search(&number), key((new, number)) >= least) {
                (Ok(at), false) => drop(lost.remove(at)),
                (Err(at), true) => lost.insert(at, number),
                (Ok(_), true) | (Err(_), false) => {}
            }
        }
        if !down.is_empty() {
            lost.retain(|number| !down.contains(number));
            lost.extend(down);
            lost.sort_unstable();
        }
        lost
    }

    /// Those of `others` that are up: the entry in `top`, and the value instead.
    fn replaced(&self, others: impl Iterator<Item = Other>) -> Vec<((u64, u32), u64)> {
        let up = others.filter(|other| !other.down);
        let replaced = up.map(|Other { number, values, .. }| {
            let old = self.nodes[number as usize];
            ((old.0 + old.1, number), values.0 + values.1)
        });
        replaced.collect()
    }
}

/// An entry as one number, by which they are ordered.
fn key((value, number): (u64, u32)) -> u128 {
    u128::from(value) << 32 | u128::from(number)
}
