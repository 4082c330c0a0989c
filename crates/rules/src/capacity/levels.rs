//! The levels, and what a NIC of each costs in queue pairs.
//!
//! Costs are data: an intent may have others than the defaults. What everything here rests on is that
//! each level's number divides the next one's, so that whatever one level leaves of a pool is in whole
//! pieces for those below.

use accelnet_model::{LevelQueuePairs, Performance};

/// Number of levels.
pub(super) const LEVELS: usize = Performance::ALL.len();

/// Something for each level, lowest first.
pub(super) type PerLevel<T> = [T; LEVELS];

/// Position of a level in a [`PerLevel`].
pub(super) fn position(level: Performance) -> usize {
    match level {
        Performance::Low => 0,
        Performance::Medium => 1,
        Performance::High => 2,
    }
}

/// Queue pairs of a NIC of each level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelCosts(PerLevel<u64>);

impl Default for LevelCosts {
    fn default() -> Self {
        Self(Performance::ALL.map(|level| u64::from(level.queue_pairs())))
    }
}

impl From<LevelQueuePairs> for LevelCosts {
    fn from(pairs: LevelQueuePairs) -> Self {
        Self(Performance::ALL.map(|level| u64::from(pairs.of(level))))
    }
}

impl LevelCosts {
    /// Costs of Low, Medium and High; `None` if one is 0 or does not divide the next.
    pub fn new(queue_pairs: [u32; 3]) -> Option<Self> {
        let [low, medium, high] = queue_pairs;
        let divide = low > 0 && medium > 0 && high > 0 && medium % low == 0 && high % medium == 0;
        divide.then(|| Self(queue_pairs.map(u64::from)))
    }

    /// Queue pairs of a NIC of this level.
    pub fn of(self, level: Performance) -> u64 {
        self.0[position(level)]
    }

    /// Queue pairs of a NIC of a level by its position.
    pub(super) fn at(self, level: usize) -> u64 {
        self.0[level]
    }

    /// The highest level that so many queue pairs are enough for.
    pub(super) fn highest(self, pairs: u64) -> Option<usize> {
        (0..LEVELS).rev().find(|level| self.0[*level] <= pairs)
    }

    /// The lowest level's cost, which all others are multiples of.
    pub(super) fn unit(self) -> u64 {
        self.0[0]
    }

    /// What each level costs in [`Self::unit`]s, in which pools are counted.
    pub(super) fn units(self) -> PerLevel<u64> {
        self.0.map(|cost| cost / self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_divides_the_next() {
        let default = LevelCosts::default();
        assert_eq!(LevelCosts::new([1, 2, 4]), Some(default));
        assert_eq!(default.of(Performance::High), 4);
        assert!(LevelCosts::new([2, 2, 6]).is_some());
        for wrong in [
            [0, 2, 4],
            [1, 0, 4],
            [1, 2, 0],
            [2, 3, 6],
            [4, 2, 1],
            [1, 2, 3],
        ] {
            assert!(LevelCosts::new(wrong).is_none(), "{wrong:?}");
        }
        let costs = LevelCosts::new([2, 4, 12]).unwrap();
        assert_eq!(costs.units(), [1, 2, 6]);
        let highest = [1, 2, 11, 12].map(|pairs| costs.highest(pairs));
        assert_eq!(highest, [None, Some(0), Some(1), Some(2)]);
    }
}
