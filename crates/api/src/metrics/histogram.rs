//! How often something took how long.

use std::time::Duration;

/// Upper bounds, in seconds: from what a map in memory takes to the longest that anybody waits for.
pub const BOUNDS_S: [f64; 11] = [
    0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0,
];

/// Durations that were counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// By the first bound that is not below; the last is of those above all.
    counts: [u64; BOUNDS_S.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// Something took so long.
    pub fn note(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS_S.iter().position(|bound| seconds <= *bound);
        self.counts[bucket.unwrap_or(BOUNDS_S.len())] += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// How many took no longer than each bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut total = 0;
        BOUNDS_S.iter().zip(self.counts).map(move |(bound, count)| {
            total += count;
            (*bound, total)
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all took together.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_counts_what_is_not_longer() {
        let mut histogram = Histogram::default();
        for took in [0, 1, 2, 100, 100_000] {
            histogram.note(Duration::from_millis(took));
        }
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]);
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.sum(), Duration::from_millis(100_103));
        assert!(BOUNDS_S.is_sorted());
    }
}
