//! Whom to dial next, and when.

use std::time::Duration;

use accelnet_api::ServerUrl;

/// The first pause after a server that could not be reached, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Below the time after which a node counts as down.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The servers, and how often none could be reached in a row.
#[derive(Debug)]
pub struct Servers {
    all: Vec<ServerUrl>,
    next: usize,
    failures: u32,
    /// Where the last one said that somebody decides.
    told: Option<ServerUrl>,
}

impl Servers {
    /// All that are known.
    pub fn new(all: Vec<ServerUrl>) -> Self {
        Self {
            all,
            next: 0,
            failures: 0,
            told: None,
        }
    }

    /// Others are known now.
    pub fn learn(&mut self, all: &[ServerUrl]) {
        if self.all != all {
            self.all = all.to_vec();
            self.next = 0;
        }
    }

    /// The one to dial.
    pub fn next(&mut self) -> Option<ServerUrl> {
        let told = self.told.take();
        told.or_else(|| self.all.get(self.next % self.all.len().max(1)).cloned())
    }

    /// It was one that answers.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// It does not decide, but another; that is asked at once, unless they send us round in circles.
    pub fn elsewhere(&mut self, active: Option<ServerUrl>) -> Duration {
        match active {
            Some(active) if self.failures == 0 => {
                self.failures = 1;
                self.told = Some(active);
                Duration::ZERO
            }
            _ => self.failed(),
        }
    }

    /// It was none; how long to wait before the next. Half of it is chance, so that a thousand agents whose server
    /// went away do not come back in the same moment.
    pub fn failed(&mut self) -> Duration {
        self.next = (self.next + 1) % self.all.len().max(1);
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        pause / 2 + pause.mul_f64(fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn servers_take_turns_and_pauses_grow_and_differ() {
        let (a, b) = (url("a"), url("b"));
        let mut servers = Servers::new(vec![a.clone(), b.clone()]);
        let mut pauses = Vec::new();
        for expected in [&a, &b, &a, &b, &a, &b, &a] {
            assert_eq!(servers.next().as_ref(), Some(expected));
            pauses.push(servers.failed());
        }
        assert!(pauses[0] <= FIRST_PAUSE && pauses[0] >= FIRST_PAUSE / 2);
        assert!(pauses[6] <= LONGEST_PAUSE && pauses[6] >= LONGEST_PAUSE / 2);
        servers.worked();
        assert!(servers.failed() <= FIRST_PAUSE);
        let many: std::collections::BTreeSet<Duration> = (0..100)
            .map(|_| Servers::new(vec![a.clone()]).failed())
            .collect();
        assert!(many.len() > 90);
    }

    #[test]
    fn the_active_server_is_asked_at_once_and_circles_are_left() {
        let (a, b) = (url("a"), url("b"));
        let mut servers = Servers::new(vec![a.clone(), b.clone()]);
        assert_eq!(servers.next(), Some(a.clone()));
        assert_eq!(servers.elsewhere(Some(b.clone())), Duration::ZERO);
        assert_eq!(servers.next(), Some(b));
        assert!(servers.elsewhere(Some(a)) > Duration::ZERO);
    }
}
