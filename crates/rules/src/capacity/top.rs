//! The sum of the k largest of many values, kept while values change.

use std::collections::BTreeSet;

/// Values by number; `top` holds the `k` largest, so that their sum is always at hand. Changing a
/// value takes O(log n).
#[derive(Debug, Clone, Default)]
pub(super) struct TopSum {
    k: usize,
    top: BTreeSet<(u64, u32)>,
    rest: BTreeSet<(u64, u32)>,
    sum: u64,
}

impl TopSum {
    pub(super) fn new(k: usize) -> Self {
        Self {
            k,
            ..Self::default()
        }
    }

    pub(super) fn insert(&mut self, value: u64, number: u32) {
        self.top.insert((value, number));
        self.sum += value;
        if self.top.len() > self.k
            && let Some(least) = self.top.pop_first()
        {
            self.sum -= least.0;
            self.rest.insert(least);
        }
    }

    pub(super) fn remove(&mut self, value: u64, number: u32) {
        if !self.top.remove(&(value, number)) {
            self.rest.remove(&(value, number));
            return;
        }
        self.sum -= value;
        if let Some(greatest) = self.rest.pop_last() {
            self.sum += greatest.0;
            self.top.insert(greatest);
        }
    }

    /// Sum of the `k` largest entries, or of all if there are fewer, and the least of them, if some
    /// entries had another value: `(entry, value)` each.
    pub(super) fn with(&self, replaced: &[((u64, u32), u64)]) -> (u64, Option<(u64, u32)>) {
        if replaced.is_empty() {
            return (self.sum, self.top.first().copied());
        }
        let staying = |entry: &&(u64, u32)| replaced.iter().all(|(old, _)| old != *entry);
        let (mut sum, mut open) = (self.sum, 0);
        let new = replaced.iter().map(|((_, number), new)| (*new, *number));
        let mut candidates: Vec<(u64, u32)> = new.collect();
        for (old, _) in replaced.iter().filter(|(old, _)| self.top.contains(old)) {
            sum -= old.0;
            open += 1;
        }
        // Of the others only so many can come or go; one more, so that the least is among them.
        for least in self.top.iter().filter(staying).take(replaced.len() + 1) {
            sum -= least.0;
            open += 1;
            candidates.push(*least);
        }
        let greatest = self.rest.iter().rev().filter(staying);
        candidates.extend(greatest.take(replaced.len()));
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        candidates.truncate(open);
        sum += candidates.iter().map(|(value, _)| value).sum::<u64>();
        (sum, candidates.last().copied())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_largest(
            k in 0..6_usize,
            changes in prop::collection::vec((0..8_u32, 0..20_u64), 0..60),
            other in prop::collection::vec((0..8_u32, 0..20_u64), 0..4),
        ) {
            let mut replaced = Vec::new();
            let mut values = [0_u64; 8];
            let mut top = TopSum::new(k);
            for number in 0..8 {
                top.insert(0, number);
            }
            for (number, value) in changes {
                top.remove(values[number as usize], number);
                top.insert(value, number);
                values[number as usize] = value;
                let mut sorted = values;
                sorted.sort_unstable_by(|a, b| b.cmp(a));
                prop_assert_eq!(top.with(&[]).0, sorted.iter().take(k).sum::<u64>());
            }
            for number in &other {
                replaced.push(((values[number.0 as usize], number.0), number.1));
            }
            replaced.sort_unstable_by_key(|((_, number), _)| *number);
            replaced.dedup_by_key(|((_, number), _)| *number);
            let mut with = values;
            for ((_, number), value) in &replaced {
                with[*number as usize] = *value;
            }
            let (sum, least) = top.with(&replaced);
            let entries = (0_u32..).zip(with).map(|(number, value)| (value, number));
            let mut largest: Vec<(u64, u32)> = entries.collect();
            largest.sort_unstable_by(|a, b| b.cmp(a));
            largest.truncate(k);
            prop_assert_eq!(sum, largest.iter().map(|(value, _)| value).sum::<u64>());
            prop_assert_eq!(least, largest.last().copied());
        }
    }
}
