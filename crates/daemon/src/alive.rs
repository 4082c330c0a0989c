//! Whether the daemon still does what it is there for.
//!
//! A process that answers is not enough: an agent whose loop hangs leaves VMs as they are, and one without
//! a store answers errors for ever. systemd's watchdog is fed only while the loop goes round, so that one
//! that hangs is killed and started again; and where one of the two has ended, the daemon ends with an
//! error by itself, watchdog or not.

use std::{fmt, future::Future, time::Duration};

use accelnet_agent::Agent;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::service::tell_systemd;

/// A loop that has not gone round for so long is not alive: it waits for nothing itself, and all that it
/// calls has a deadline below this.
const BEAT_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked at, at least.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Signs of life of the agent's loop.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    /// Since it went round last.
    beat: Duration,
    /// It has ended.
    ended: bool,
}

impl Pulse {
    /// That of a process without an agent.
    pub const NONE: Self = Self {
        beat: Duration::ZERO,
        ended: false,
    };

    /// That of an agent.
    pub fn of(agent: &Agent) -> Self {
        Self {
            beat: agent.beat(),
            ended: agent.has_ended(),
        }
    }
}

/// What the daemon cannot do without.
#[derive(Debug, PartialEq, Eq)]
pub enum Dead {
    /// The agent's loop.
    Agent,
    /// The store, with why.
    Store(String),
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("the agent's loop has ended by itself"),
            Self::Store(reason) => write!(f, "the store has stopped: {reason}"),
        }
    }
}

impl std::error::Error for Dead {}

/// Says why the daemon ends, and tells systemd that it does.
pub fn tell_end(dead: Option<&Dead>) {
    match dead {
        None => tracing::info!("stopping"),
        Some(dead) => tracing::error!("stopping: {dead}"),
    }
    tell_systemd(NotifyState::Stopping);
}

/// Feeds the watchdog, if there is one, twice in each of its intervals (sd_watchdog_enabled(3) advises
/// half) as long as the loop goes round. Returns what has ended by itself.
pub async fn until_dead(
    agent: impl Fn() -> Pulse,
    store: impl Future<Output = String>,
    watchdog: Option<Duration>,
    feed: impl Fn(),
) -> Dead {
    let half = watchdog.map(|interval| (interval / 2).max(Duration::from_millis(1)));
    let mut times = interval(half.map_or(LOOK_EVERY, |half| half.min(LOOK_EVERY)));
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(store);
    let mut hung = false;
    loop {
        tokio::select! {
            reason = &mut store => return Dead::Store(reason),
            _ = times.tick() => {}
        }
        let pulse = agent();
        if pulse.ended {
            return Dead::Agent;
        }
        let hangs = pulse.beat >= BEAT_LIMIT;
        if hangs && !hung {
            tracing::error!(since = ?pulse.beat, "the agent's loop does not go round");
        }
        hung = hangs;
        if watchdog.is_some() && !hangs {
            feed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        future::{pending, ready},
    };

    use super::*;

    const ALIVE: Pulse = Pulse::NONE;
    /// Short, so that many intervals pass quickly.
    const WATCHDOG: Option<Duration> = Some(Duration::from_millis(4));

    #[tokio::test]
    async fn the_watchdog_is_fed_only_while_the_loop_goes_round() {
        // Goes round, hangs, goes round again, ends.
        let hangs = Pulse {
            beat: BEAT_LIMIT,
            ..ALIVE
        };
        let ended = Pulse {
            ended: true,
            ..ALIVE
        };
        let script = RefCell::new(vec![ended, ALIVE, hangs, hangs, ALIVE, ALIVE]);
        let (looks, fed) = (Cell::new(0), RefCell::new(Vec::new()));
        let look = || {
            looks.set(looks.get() + 1);
            script.borrow_mut().pop().unwrap()
        };
        let feed = || fed.borrow_mut().push(looks.get());
        let dead = until_dead(look, pending(), WATCHDOG, feed).await;
        assert_eq!(dead, Dead::Agent);
        assert_eq!(*fed.borrow(), [1, 2, 5]);
    }

    #[tokio::test]
    async fn without_a_watchdog_the_end_is_seen_too() {
        let look = || Pulse {
            ended: true,
            ..ALIVE
        };
        let feed = || panic!("nobody is to be fed");
        assert_eq!(until_dead(look, pending(), None, feed).await, Dead::Agent);
        let dead = until_dead(|| ALIVE, ready("the disk failed".to_owned()), None, || {}).await;
        assert_eq!(dead.to_string(), "the store has stopped: the disk failed");
    }
}
