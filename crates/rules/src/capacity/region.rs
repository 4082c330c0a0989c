//! Exactly what fits on one node: how many NICs of each level together.
//!
//! All NICs of a VM are on one node, each on any of its adapters, so for one node only the number of
//! NICs of each level matters. A region is a table of the most Low NICs beside so many High and Medium
//! ones; tables of adapters are combined by trying every split.

use super::{LEVELS, PerLevel, budget::Budget, levels::LevelCosts, supply::Rest};

/// Entries of a table beyond which a node is too large for an exact answer.
const MOST_ENTRIES: usize = 4096;

/// `low[high][medium]`: the most Low NICs beside so many others.
type Table = Vec<Vec<u64>>;

/// What fits on a node.
#[derive(Debug, Clone)]
pub(super) struct Region {
    /// Tables of the first adapters: one, two, … all.
    prefixes: Vec<Table>,
    /// Tables of the single adapters.
    singles: Vec<Table>,
}

impl Region {
    /// The region of adapters' rests; `None` if it is too large.
    pub(super) fn of(rests: &[Rest], costs: LevelCosts, budget: &mut Budget) -> Option<Self> {
        let mut prefixes: Vec<Table> = Vec::with_capacity(rests.len());
        let mut singles = Vec::with_capacity(rests.len());
        for rest in rests {
            let single = table(*rest, costs)?;
            budget.spend(entries(&single))?;
            let next = match prefixes.last() {
                None => single.clone(),
                Some(before) => combine(before, &single, budget)?,
            };
            prefixes.push(next);
            singles.push(single);
        }
        Some(Self { prefixes, singles })
    }

    /// True if so many NICs of each level fit together.
    pub(super) fn fits(&self, nics: PerLevel<u64>) -> bool {
        match self.prefixes.last() {
            Some(all) => within(all, nics),
            None => nics == [0; LEVELS],
        }
    }

    /// The largest Σ weight · NICs that fits.
    pub(super) fn most(&self, weights: PerLevel<u64>) -> u64 {
        let entries = self.prefixes.last().into_iter().flatten().enumerate();
        let values = entries.flat_map(|(high, row)| {
            row.iter().enumerate().map(move |(medium, low)| {
                weights[2] * high as u64 + weights[1] * medium as u64 + weights[0] * low
            })
        });
        values.max().unwrap_or(0)
    }

    /// How many NICs of each level go to each adapter, if they fit.
    pub(super) fn assign(&self, nics: PerLevel<u64>) -> Option<Vec<PerLevel<u64>>> {
        if !self.fits(nics) {
            return None;
        }
        let mut left = nics;
        let mut assigned = vec![[0; LEVELS]; self.singles.len()];
        for number in (1..self.singles.len()).rev() {
            let share = split(left, &self.singles[number], &self.prefixes[number - 1])?;
            assigned[number] = share;
            left = subtract(left, share);
        }
        if let Some(first) = assigned.first_mut() {
            *first = left;
        }
        Some(assigned)
    }
}

fn within(table: &Table, [low, medium, high]: PerLevel<u64>) -> bool {
    let row = usize::try_from(high).ok().and_then(|high| table.get(high));
    let most = row.and_then(|row| row.get(usize::try_from(medium).ok()?));
    most.is_some_and(|most| low <= *most)
}

fn subtract(from: PerLevel<u64>, share: PerLevel<u64>) -> PerLevel<u64> {
    std::array::from_fn(|level| from[level] - share[level])
}

/// A share of `nics` that fits in `single` while the others fit in `rest`.
fn split(nics: PerLevel<u64>, single: &Table, rest: &Table) -> Option<PerLevel<u64>> {
    for (high, row) in single.iter().enumerate().take(nics[2] as usize + 1) {
        for (medium, low) in row.iter().enumerate().take(nics[1] as usize + 1) {
            let share = [(*low).min(nics[0]), medium as u64, high as u64];
            if within(rest, subtract(nics, share)) {
                return Some(share);
            }
        }
    }
    None
}

fn table(rest: Rest, costs: LevelCosts) -> Option<Table> {
    let [_, medium_cost, high_cost] = costs.units();
    let (vfs, units) = match rest {
        Rest::Nothing => (0, 0),
        // A slot is a VF with what its highest level needs, which no other VF can use.
        Rest::Slots { vfs, level } => return slots(vfs, level),
        Rest::Pool { vfs, units, .. } => (vfs, units),
    };
    let highest = rest.places(2, costs);
    let mut table = Table::new();
    let mut entries = 0;
    for high in 0..=highest {
        let (vfs, units) = (vfs - high, units - high * high_cost);
        // A pool is for Medium at least.
        let most = vfs.min(units / medium_cost);
        if most > MOST_ENTRIES as u64 {
            return None;
        }
        let row: Vec<u64> = (0..=most)
            .map(|medium| (vfs - medium).min(units - medium * medium_cost))
            .collect();
        entries += row.len();
        if entries > MOST_ENTRIES {
            return None;
        }
        table.push(row);
    }
    Some(table)
}

fn slots(vfs: u64, level: usize) -> Option<Table> {
    if vfs.saturating_mul(vfs) > 2 * MOST_ENTRIES as u64 {
        return None;
    }
    let highest = if level == 2 { vfs } else { 0 };
    let row = |high: u64| -> Vec<u64> {
        let most = if level >= 1 { vfs - high } else { 0 };
        (0..=most).map(|medium| vfs - high - medium).collect()
    };
    Some((0..=highest).map(row).collect())
}

fn entries(table: &Table) -> usize {
    table.iter().map(Vec::len).sum()
}

fn combine(one: &Table, other: &Table, budget: &mut Budget) -> Option<Table> {
    let width = |table: &Table| table.iter().map(Vec::len).max().unwrap_or(1);
    budget.spend(entries(one) * entries(other))?;
    let height = one.len() + other.len() - 1;
    let width = width(one) + width(other) - 1;
    let mut best: Vec<Vec<Option<u64>>> = vec![vec![None; width]; height];
    for (high, row) in one.iter().enumerate() {
        for (medium, low) in row.iter().enumerate() {
            for (more_high, more_row) in other.iter().enumerate() {
                for (more_medium, more_low) in more_row.iter().enumerate() {
                    let entry = &mut best[high + more_high][medium + more_medium];
                    *entry = (*entry).max(Some(low + more_low));
                }
            }
        }
    }
    // What fits with more Medium NICs fits with fewer, so a row has no holes.
    let rows = best
        .into_iter()
        .map(|row| row.into_iter().map_while(|low| low).collect());
    let table: Table = rows.collect();
    (entries(&table) <= MOST_ENTRIES).then_some(table)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region_of(rests: &[Rest]) -> Option<Region> {
        Region::of(rests, LevelCosts::default(), &mut Budget::of_a_decision())
    }

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

    /// NIC by NIC on every adapter.
    fn fits_slowly(rests: &mut Vec<Rest>, nics: PerLevel<u64>) -> bool {
        let Some(level) = (0..LEVELS).rev().find(|level| nics[*level] > 0) else {
            return true;
        };
        let mut fewer = nics;
        fewer[level] -= 1;
        (0..rests.len()).any(|number| {
            let before = rests[number];
            if before.places(level, LevelCosts::default()) == 0 {
                return false;
            }
            rests[number] = match before {
                Rest::Slots { vfs, level } => Rest::Slots {
                    vfs: vfs - 1,
                    level,
                },
                Rest::Pool { vfs, units, most } => Rest::Pool {
                    vfs: vfs - 1,
                    units: units - LevelCosts::default().at(level),
                    most,
                },
                Rest::Nothing => Rest::Nothing,
            };
            let fits = fits_slowly(rests, fewer);
            rests[number] = before;
            fits
        })
    }

    proptest! {
        #[test]
        fn a_region_is_what_fits(
            mut rests in prop::collection::vec(any_rest(), 0..4),
            low in 0..5_u64,
            medium in 0..4_u64,
            high in 0..4_u64,
        ) {
            let region = region_of(&rests).unwrap();
            let nics = [low, medium, high];
            let fits = fits_slowly(&mut rests, nics);
            prop_assert_eq!(region.fits(nics), fits);
            let assigned = region.assign(nics);
            prop_assert_eq!(assigned.is_some(), fits);
            if let Some(assigned) = assigned {
                for level in 0..LEVELS {
                    prop_assert_eq!(assigned.iter().map(|share| share[level]).sum::<u64>(), nics[level]);
                }
                for (share, rest) in assigned.iter().zip(&rests) {
                    prop_assert!(region_of(&[*rest]).unwrap().fits(*share));
                }
                for weights in [[1, 1, 1], [0, 1, 2], [1, 2, 4]] {
                    let weight: u64 = (0..LEVELS).map(|level| weights[level] * nics[level]).sum();
                    prop_assert!(region.most(weights) >= weight);
                }
            }
        }
    }

    #[test]
    fn too_large_for_an_answer() {
        let pool = Rest::Pool {
            vfs: 1_000_000,
            units: 4_000_000,
            most: 2,
        };
        assert!(region_of(&[pool]).is_none());
        let slots = Rest::Slots {
            vfs: u64::MAX,
            level: 2,
        };
        assert!(region_of(&[slots]).is_none());
        // Each alone could be, but not all splits of forty of them.
        let pool = Rest::Pool {
            vfs: 60,
            units: 200,
            most: 2,
        };
        assert!(region_of(&[pool]).is_some());
        assert!(region_of(&[pool; 40]).is_none());
    }
}
