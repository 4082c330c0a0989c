//! Faults that open, change and close are announced to somebody outside, each at least once, in their order.
//!
//! How far that is stands in the store, so that a server that is started anew, or takes over, goes on there. Whoever does
//! not answer is asked several times; then that one is given up, with a line in the log, so that the next have their turn.

use std::{fmt, sync::Arc, time::Duration};

use accelnet_api::{Announcement, Event};
use tokio::time::{sleep, timeout};

use crate::{Pending, Server, state::health as kept};

/// An answer takes no longer than this.
const LIMIT: Duration = Duration::from_secs(10);
/// So long after one try comes the next: a receiver that is started anew misses nothing, and one that is gone holds up
/// the others for three minutes.
const RESTS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(25),
    Duration::from_secs(100),
];

/// Why an announcement was not taken, in words for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken(pub String);

/// Whoever wants to be told of faults.
pub trait Announce: Send + Sync {
    /// Tells of one.
    ///
    /// # Errors
    /// If it was not taken.
    fn announce<'a>(&'a self, announcement: &'a Announcement) -> Pending<'a, Result<(), NotTaken>>;
}

/// Whom faults are announced to, if to anybody.
#[derive(Clone, Default)]
pub struct Announcer(pub Option<Arc<dyn Announce>>);

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Announcer").field(&self.0.is_some()).finish()
    }
}

impl Server {
    /// Announces until the server stops.
    pub(crate) async fn announce_faults(&self) {
        let health = &self.shared.health;
        let Some(announcer) = health.settings.announcer.0.clone() else {
            return;
        };
        let mut changes = self.shared.changes.subscribe();
        let stopping = self.stopping();
        tokio::pin!(stopping);
        let mut next = health.with_events(|events| events.announced());
        let mut written = next;
        loop {
            changes.borrow_and_update();
            let (lost, new) = health.with_events(|events| events.from(next));
            if lost > 0 {
                tracing::warn!(lost, "events that are no longer kept are not announced");
            }
            for (number, event) in new {
                if let Some(announcement) = self.announcement(event) {
                    tokio::select! {
                        () = &mut stopping => return,
                        () = told(&*announcer, &announcement) => {}
                    }
                }
                next = number + 1;
            }
            if next != written {
                match self.keep_announced(next).await {
                    Ok(()) => written = next,
                    // It is written with the next one; a server that takes over before says it twice.
                    Err(problem) => tracing::warn!(%problem, "how far faults were announced"),
                }
            }
            tokio::select! {
                () = &mut stopping => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// What is said of an event, if it is of a fault that is not muted.
    fn announcement(&self, event: Event) -> Option<Announcement> {
        let (id, code) = (event.fault.as_ref()?, event.code?);
        // One that has closed is not in the list any more, and may have been muted all the same.
        if event.muted {
            return None;
        }
        let open = self.shared.health.shown();
        let fault = open.iter().find(|fault| fault.id == *id);
        if fault.is_some_and(|fault| fault.muted.is_some()) {
            return None;
        }
        Some(Announcement {
            title: code.title().to_owned(),
            cure: fault.map_or(code.cure(), |fault| &fault.cure).to_owned(),
            event,
        })
    }

    async fn keep_announced(&self, next: u64) -> Result<(), accelnet_model::Problem> {
        let op = kept::announced(next)?;
        self.shared.state.keep_health(vec![op], None).await
    }
}

/// Returns when it was taken, or given up.
async fn told(announcer: &dyn Announce, announcement: &Announcement) {
    let mut rests = RESTS.iter();
    loop {
        let tried = timeout(LIMIT, announcer.announce(announcement)).await;
        let error = match tried {
            Ok(Ok(())) => return,
            Ok(Err(NotTaken(error))) => error,
            Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
        };
        let event = &announcement.event.id;
        match rests.next() {
            Some(rest) => {
                tracing::debug!(event, error, "a fault is announced again");
                sleep(*rest).await;
            }
            None => {
                tracing::warn!(event, error, "a fault could not be announced; given up");
                return;
            }
        }
    }
}
