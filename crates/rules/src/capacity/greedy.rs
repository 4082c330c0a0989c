//! Every set of nodes to lose, each with a placement NIC by NIC, where a node is too large for a search.
//!
//! The inequalities take all pools of a cluster in the same way and give up what may be left over on
//! every node; tables of what fits on a node ([`super::region`]) end at some thousands of entries. In
//! between, small clusters of large cards, a placement is simply made: each VM by level and NICs, each
//! NIC on the adapter whose rest it suits best. What is found so fits; what is not found says nothing.

use super::{
    Capacity, PerLevel,
    budget::Budget,
    criteria::Counts,
    exact::{MOST_NODES, sets},
    levels::LevelCosts,
    position,
    state::AdapterState,
    supply::Rest,
};

/// An adapter's rest that does not suit; better ones are lower.
type Misfit = u64;

/// Queue pairs a VF are compared in parts of a hundred.
const PARTS: u64 = 100;

impl Capacity {
    /// True if a placement was found whichever nodes go down. Adapters that are not known are those that
    /// are assumed. `None` if none was found, or not all was tried.
    pub(super) fn place_everywhere(&self, budget: &mut Budget) -> Option<()> {
        if self.nodes.len() > MOST_NODES || self.may_be_overdrawn() {
            return None;
        }
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| !self.nodes[*node].down)
            .collect();
        // Each node is of a kind of its own: those that are alike are few where cards are large.
        for lost in sets(&vec![1; up.len()], self.further(), budget)? {
            let survivors = up.iter().zip(&lost).filter(|(_, lost)| **lost == 0);
            let survivors: Vec<usize> = survivors.map(|(node, _)| *node).collect();
            let mut demand = self.off.clone();
            let stays = |node: &usize| survivors.binary_search(node).is_ok();
            for number in (0..self.nodes.len()).filter(|node| !stays(node)) {
                for (key, count) in &self.nodes[number].counts {
                    *demand.entry(*key).or_default() += count;
                }
            }
            self.place_on(&survivors, &demand, budget)?;
        }
        Some(())
    }

    fn place_on(&self, survivors: &[usize], demand: &Counts, budget: &mut Budget) -> Option<()> {
        let rests = |node: &usize| -> Vec<Rest> {
            let adapters = self.nodes[*node].adapters.iter();
            adapters.map(AdapterState::rest).collect()
        };
        let mut nodes: Vec<Vec<Rest>> = survivors.iter().map(rests).collect();
        budget.spend(nodes.iter().map(Vec::len).sum())?;
        // High first, and in each level those with many NICs.
        for ((level, nics), count) in demand.iter().rev() {
            let level = position(*level);
            for _ in 0..*count {
                place(&mut nodes, level, *nics, self.costs, budget)?;
            }
        }
        Some(())
    }
}

/// Puts a VM on the node where its NICs suit best.
fn place(
    nodes: &mut [Vec<Rest>],
    level: usize,
    nics: u32,
    costs: LevelCosts,
    budget: &mut Budget,
) -> Option<()> {
    let mut best: Option<(Misfit, usize, Vec<Rest>)> = None;
    for (number, rests) in nodes.iter().enumerate() {
        budget.spend(rests.len() * (1 + nics as usize))?;
        let places: u64 = rests.iter().map(|rest| rest.places(level, costs)).sum();
        if places < u64::from(nics) {
            continue;
        }
        let mut after = rests.clone();
        let mut misfit = 0;
        for _ in 0..nics {
            let suits = |rest: &Rest| suits(*rest, level, costs);
            let adapters = after.iter().enumerate();
            let found = adapters.filter_map(|(at, rest)| Some((suits(rest)?, at)));
            let (worse, at) = found.min()?;
            after[at] = without(after[at], level, costs);
            misfit += worse;
        }
        if best.as_ref().is_none_or(|(least, ..)| misfit < *least) {
            best = Some((misfit, number, after));
        }
    }
    let (_, number, after) = best?;
    nodes[number] = after;
    Some(())
}

/// How ill a NIC suits what is left: a VF that could do more is spoilt by it, and so are the queue pairs
/// of a pool that has not as many for each of its VFs as the NIC takes, or more.
fn suits(rest: Rest, level: usize, costs: LevelCosts) -> Option<Misfit> {
    if rest.places(level, costs) == 0 {
        return None;
    }
    let cost: PerLevel<u64> = costs.units();
    Some(match rest {
        Rest::Nothing => return None,
        Rest::Slots { level: most, .. } => PARTS * (cost[most] - cost[level]),
        Rest::Pool { vfs, units, most } => {
            let each = (units * PARTS / vfs).min(cost[most] * PARTS);
            1 + each.abs_diff(cost[level] * PARTS)
        }
    })
}

fn without(rest: Rest, level: usize, costs: LevelCosts) -> Rest {
    match rest {
        Rest::Slots { vfs, level } => Rest::Slots {
            vfs: vfs - 1,
            level,
        },
        Rest::Pool { vfs, units, most } => Rest::Pool {
            vfs: vfs - 1,
            units: units - costs.units()[level],
            most,
        },
        Rest::Nothing => Rest::Nothing,
    }
}
