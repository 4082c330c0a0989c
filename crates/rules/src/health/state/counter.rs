//! What is counted from one look to the next, within a time.

use std::{collections::VecDeque, time::Duration};

/// How often something has happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counter {
    total: u64,
    /// How often, and when that was noticed.
    lately: VecDeque<(Duration, u64)>,
}

impl Counter {
    /// What had happened before it was looked at for the first time does not count.
    pub fn at(total: u64) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    /// Takes in a new count; how often it has happened since the one before. One that is smaller has begun anew.
    pub fn takes(&mut self, total: u64, up: Duration, within: Duration) -> u64 {
        let new = match total.checked_sub(self.total) {
            Some(new) => new,
            None => total,
        };
        self.total = total;
        if new > 0 {
            self.lately.push_back((up, new));
        }
        while self
            .lately
            .front()
            .is_some_and(|(when, _)| *when + within < up)
        {
            self.lately.pop_front();
        }
        new
    }

    /// How often it has happened within the time.
    pub fn sum(&self) -> u64 {
        let each = self.lately.iter().map(|(_, new)| *new);
        each.fold(0, u64::saturating_add)
    }
}
