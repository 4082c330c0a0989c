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

    /// Sum of the `k` largest values, or of all if there are fewer.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// Numbers of the `k` largest.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.top.iter().map(|(_, number)| *number)
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
        ) {
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
                prop_assert_eq!(top.sum(), sorted.iter().take(k).sum::<u64>());
                prop_assert_eq!(top.numbers().count(), k);
            }
        }
    }
}
