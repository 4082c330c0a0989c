//! Requests without a good token: counted, and told to the log, which nobody can fill with them.
//!
//! They are not part of the record of changes: anybody can make as many as he likes.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Addresses are told anew after this.
const ROUND: Duration = Duration::from_secs(60);
/// So many addresses are told in one round.
const ADDRESSES_MAX: usize = 16;

/// Attempts so far.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<Round>);

#[derive(Debug, Default)]
struct Round {
    began: Option<Instant>,
    /// Attempts in this round.
    count: u64,
    /// Those that were told.
    addresses: BTreeSet<Option<IpAddr>>,
    /// Attempts since the server's start.
    total: u64,
}

impl Attempts {
    fn lock(&self) -> MutexGuard<'_, Round> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one from an address, or from this machine. Told are the first one of an address in each
    /// round, for some addresses, and the tenth, hundredth, … of all.
    pub fn failed(&self, from: Option<IpAddr>, why: &str) -> bool {
        let mut round = self.lock();
        let now = Instant::now();
        if round.began.is_none_or(|began| now - began >= ROUND) {
            *round = Round {
                began: Some(now),
                total: round.total,
                ..Round::default()
            };
        }
        round.count += 1;
        round.total += 1;
        let first = round.addresses.len() < ADDRESSES_MAX && round.addresses.insert(from);
        let many = round.count >= 10 && 10_u64.pow(round.count.ilog10()) == round.count;
        if first || many {
            let address = from.map_or_else(|| "this machine".to_owned(), |from| from.to_string());
            let (in_a_minute, total) = (round.count, round.total);
            tracing::warn!(
                address,
                why,
                in_a_minute,
                total,
                "requests without a good token"
            );
        }
        first || many
    }

    /// How many there were since the server's start.
    pub fn total(&self) -> u64 {
        self.lock().total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_fills_no_log() {
        let attempts = Attempts::default();
        let mut told = 0;
        for number in 0..100_000_u32 {
            let from = IpAddr::from((number % 1000).to_be_bytes());
            told += usize::from(attempts.failed(Some(from), "no token"));
        }
        assert!((ADDRESSES_MAX..ADDRESSES_MAX + 6).contains(&told), "{told}");
        assert_eq!(attempts.total(), 100_000);
        tokio::time::advance(ROUND).await;
        assert!(
            attempts.failed(None, "no token"),
            "a minute later it is told"
        );
        assert!(!attempts.failed(None, "no token"));
    }
}
