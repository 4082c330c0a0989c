//! What happened, as far as it is kept: the last of it, with numbers, and what of it is still to be written.

use std::collections::VecDeque;

use accelnet_api::{Event, EventKind};
use accelnet_model::{Fault, Problem};
use accelnet_rules::health::Changed;
use accelnet_store::Op;
use jiff::{SignedDuration, Timestamp};

use crate::state::health::{self as kept, EVENTS_KEPT};

/// Servers that took over longer ago do not count.
const LATELY: SignedDuration = SignedDuration::from_hours(1);
/// Written at once: with as many that become too old they fit into a transaction.
const AT_ONCE: usize = 32;

/// The last events.
#[derive(Debug, Default)]
pub struct Events {
    all: VecDeque<(u64, Event)>,
    next: u64,
    /// Those from this number on are to be written.
    unwritten: u64,
    /// Those from this number on were not announced when the server began.
    announced: u64,
}

impl Events {
    /// As a server before has left them.
    pub fn kept(events: Vec<(u64, Event)>, announced: Option<u64>) -> Self {
        let next = events.last().map_or(0, |(number, _)| number + 1);
        let mut kept = Self {
            all: VecDeque::new(),
            next,
            unwritten: next,
            // Nobody was told before: what is over is not told now.
            announced: announced.unwrap_or(next).min(next),
        };
        for (number, event) in events {
            kept.all.push_back((number, with_id(number, event)));
        }
        kept
    }

    /// Something happened.
    pub fn push(&mut self, event: Event) {
        self.all.push_back((self.next, with_id(self.next, event)));
        self.next += 1;
        while self.all.len() as u64 > EVENTS_KEPT {
            self.all.pop_front();
        }
    }

    /// All, in their order.
    pub fn all(&self) -> impl Iterator<Item = &Event> {
        self.all.iter().map(|(_, event)| event)
    }

    /// The first that was not announced when the server began.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// Those from this number on, and how many of them are no longer kept.
    pub fn from(&self, number: u64) -> (u64, Vec<(u64, Event)>) {
        let first = self.all.front().map_or(self.next, |(first, _)| *first);
        let new = self.all.iter().filter(|(at, _)| *at >= number);
        (first.saturating_sub(number), new.cloned().collect())
    }

    /// The number of the next one.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How often a server has begun to decide lately.
    pub fn took_over(&self, now: Timestamp) -> u32 {
        let lately = self.all().filter(|event| {
            event.kind == EventKind::ServerStarted && now.duration_since(event.at) < LATELY
        });
        lately.count() as u32
    }

    /// What writes some of those that are not written, and the last of these; `None` if all are.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn to_write(&self) -> Result<(Vec<Op>, Option<u64>), Problem> {
        let new = self
            .all
            .iter()
            .filter(|(number, _)| *number >= self.unwritten);
        let (mut ops, mut last) = (Vec::new(), None);
        for (number, event) in new.take(AT_ONCE) {
            ops.extend(kept::event(*number, event)?);
            last = Some(*number);
        }
        Ok((ops, last))
    }

    /// Those up to this one are written.
    pub fn written(&mut self, last: u64) {
        self.unwritten = self.unwritten.max(last + 1);
    }
}

fn with_id(number: u64, event: Event) -> Event {
    Event {
        id: format!("e{number}"),
        ..event
    }
}

/// An event with nothing but words.
pub fn of(kind: EventKind, at: Timestamp, text: String) -> Event {
    Event {
        id: String::new(),
        at,
        kind,
        by: None,
        object: None,
        text,
        fault: None,
        code: None,
        severity: None,
        since: None,
        muted: false,
    }
}

/// A fault has opened, changed, or closed.
pub fn of_fault(change: &Changed, at: Timestamp) -> Event {
    let (kind, fault) = match change {
        Changed::Opened(fault) => (EventKind::FaultOpened, fault),
        Changed::Updated(fault) => (EventKind::FaultChanged, fault),
        Changed::Closed(fault) => (EventKind::FaultClosed, fault),
    };
    let Fault {
        id,
        code,
        severity,
        object,
        since,
        evidence,
        ..
    } = fault;
    let closed = kind == EventKind::FaultClosed;
    Event {
        object: Some(object.clone()),
        fault: Some(id.clone()),
        code: Some(*code),
        severity: Some(*severity),
        since: closed.then_some(*since),
        muted: fault.muted.is_some(),
        ..of(kind, at, evidence.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(second: i64) -> Event {
        let at = Timestamp::from_second(second).unwrap();
        of(EventKind::ServerStarted, at, "It decides.".into())
    }

    #[test]
    fn events_have_numbers_that_go_on_after_a_restart() {
        let mut events = Events::default();
        (0..EVENTS_KEPT + 10).for_each(|number| events.push(started(number as i64)));
        assert_eq!(events.all().count() as u64, EVENTS_KEPT);
        assert_eq!(events.all().next().unwrap().id, "e10");
        let mut written = 0;
        while let (ops, Some(last)) = events.to_write().unwrap() {
            assert!(ops.len() <= 2 * AT_ONCE);
            written += ops.iter().filter(|op| matches!(op, Op::Put { .. })).count();
            events.written(last);
        }
        assert_eq!(written as u64, EVENTS_KEPT);
        let kept = events.all.iter().cloned().collect();
        let mut again = Events::kept(kept, Some(EVENTS_KEPT));
        assert_eq!(again.to_write().unwrap().1, None);
        again.push(started(0));
        assert_eq!(again.to_write().unwrap().1, Some(EVENTS_KEPT + 10));
        // Whoever is told goes on where he was; of what is no longer kept he is told how much it was.
        assert_eq!(again.announced(), EVENTS_KEPT);
        assert_eq!(again.from(EVENTS_KEPT).1.len(), 11);
        assert_eq!(again.from(3).0, 8);
    }

    #[test]
    fn servers_that_took_over_lately_are_counted() {
        let mut events = Events::default();
        for second in [0, 4000, 5000, 6000] {
            events.push(started(second));
        }
        let now = Timestamp::from_second(7000).unwrap();
        assert_eq!(events.took_over(now), 3);
    }
}
