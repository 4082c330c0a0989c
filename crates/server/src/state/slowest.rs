//! How long the store took at most, lately.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What was longer ago does not count.
const LATELY: Duration = Duration::from_secs(60);

/// The slowest answers of this minute and of the one before, so that none is forgotten too soon: when this one began,
/// and the slowest of both.
#[derive(Debug, Default)]
pub struct Slowest(Mutex<Option<(Instant, Duration, Duration)>>);

impl Slowest {
    /// Waits for an answer, and notes how long that took.
    pub async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        // Noted when it is dropped: one that is given up took that long, too.
        let _noted = Noted {
            slowest: self,
            begun: Instant::now(),
        };
        work.await
    }

    /// The slowest of the last minute, or of up to a minute more.
    pub fn lately(&self) -> Duration {
        let now = Instant::now();
        self.at(now)
            .map_or(Duration::ZERO, |(_, one, other)| one.max(other))
    }

    fn at(&self, now: Instant) -> Option<(Instant, Duration, Duration)> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((began, one, _)) = *held {
            let age = now - began;
            if age >= LATELY * 2 {
                *held = None;
            } else if age >= LATELY {
                *held = Some((began + LATELY, Duration::ZERO, one));
            }
        }
        *held
    }

    fn note(&self, took: Duration, now: Instant) {
        let (began, one, other) = self
            .at(now)
            .unwrap_or((now, Duration::ZERO, Duration::ZERO));
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some((began, one.max(took), other));
    }
}

/// An answer that is waited for.
struct Noted<'a> {
    slowest: &'a Slowest,
    begun: Instant,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        self.slowest.note(now - self.begun, now);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_slowest_of_a_minute_is_known_also_of_what_was_given_up() {
        let slowest = Slowest::default();
        assert_eq!(slowest.lately(), Duration::ZERO);
        slowest.of(sleep(Duration::from_secs(2))).await;
        slowest.of(sleep(Duration::from_millis(5))).await;
        assert_eq!(slowest.lately(), Duration::from_secs(2));
        sleep(LATELY).await;
        assert_eq!(slowest.lately(), Duration::from_secs(2), "not too soon");
        sleep(LATELY).await;
        assert_eq!(slowest.lately(), Duration::ZERO);
        let never = slowest.of(std::future::pending::<()>());
        let given_up = timeout(Duration::from_secs(10), never).await;
        assert!(given_up.is_err());
        assert_eq!(slowest.lately(), Duration::from_secs(10));
    }
}
