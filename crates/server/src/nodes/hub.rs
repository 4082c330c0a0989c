//! Agents that are connected.
//!
//! ```text
//!   told.rs ──set_desired──► wish ─┐                        ┌─► reports.rs
//!   a request ──refresh────► look ─┤► follow (one answer)   │
//!                                  │        ...             │
//!                        agent ────┴──► report ──take_in────┘
//! ```
//!
//! A node has one session at a time: the last that began. What comes by an earlier one is refused, so that neither
//! a late report nor a copy of the machine can pass for it. Nothing here does I/O; time is a parameter.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use accelnet_api::agents::{DOWN_AFTER, Up, VmCounted};
use accelnet_model::{Code, Name, NicCounted, NodeDesired, NodeStatus, Problem};
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::{
    Nodes, not_member,
    questions::{Asked, Questions},
    registry::Member,
};
use crate::{NodePeerInfo, Pending};

/// What a session's long answer is made of.
#[derive(Debug)]
pub struct Following {
    /// The session's number.
    pub session: u64,
    /// What the node shall be; nothing yet if `None`.
    pub wish: watch::Receiver<Option<Arc<NodeDesired>>>,
    /// What it is asked for. The sender is gone when the session is over.
    pub questions: watch::Receiver<Questions>,
}

/// What comes of a report.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// The node has said something.
    Status(Box<NodeStatus>),
    /// It lives, and nothing has changed.
    Sign,
}

/// One connection to an agent, from one `follow` to the next.
#[derive(Debug)]
struct Session {
    number: u64,
    sequence: u64,
    last_sign: Instant,
    asked: Asked,
    /// What it said last in this session.
    said: Option<NodeStatus>,
    /// The end of the certificate that it began with, or was given since.
    certified_until: Option<Timestamp>,
    /// Its clock less ours, as its last sign told.
    clock_ahead: Option<SignedDuration>,
}

impl Session {
    /// When its node counts as down, if it gives no other sign.
    fn ends(&self) -> Instant {
        self.last_sign + DOWN_AFTER
    }
}

#[derive(Debug)]
struct Seat {
    member: Member,
    wish: watch::Sender<Option<Arc<NodeDesired>>>,
    session: Option<Session>,
}

impl Seat {
    fn of(member: Member) -> Self {
        Self {
            member,
            wish: watch::Sender::new(None),
            session: None,
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    names: Arc<[Name]>,
    seats: BTreeMap<Name, Seat>,
    /// Of sessions and questions: no two are the same.
    last_number: u64,
}

impl Inner {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn names_anew(&mut self) {
        self.names = self.seats.keys().cloned().collect();
    }

    fn seat(&mut self, name: &Name, id: Uuid) -> Result<&mut Seat, Problem> {
        let seat = self.seats.get_mut(name);
        seat.filter(|seat| seat.member.id == id)
            .ok_or_else(|| not_member(name))
    }
}

fn not_connected(name: &Name) -> Problem {
    let text = format!("The agent of node '{name}' is not connected.");
    let cure = format!(
        "On {name}: 'systemctl status accelnet-agent', and whether it reaches the server's address."
    );
    Problem::new(Code::AgentUnreachable, text)
        .about("node", name)
        .with_cure(cure)
}

/// All nodes' connections.
#[derive(Debug)]
pub struct Hub(Mutex<Inner>);

impl Hub {
    /// The cluster's nodes; none is connected yet. Numbers of sessions begin after `first`, which a server started
    /// earlier on the same state must not have reached.
    pub fn new(members: impl IntoIterator<Item = Member>, first: u64) -> Self {
        let seats = members.into_iter();
        let seats = seats.map(|member| (member.name.clone(), Seat::of(member)));
        let mut inner = Inner {
            seats: seats.collect(),
            last_number: first,
            ..Inner::default()
        };
        inner.names_anew();
        Self(Mutex::new(inner))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine has become a node, or has taken the place of one.
    pub fn add(&self, member: Member) {
        let mut inner = self.lock();
        let same = |seat: &Seat| seat.member == member;
        if inner.seats.get(&member.name).is_some_and(same) {
            return;
        }
        inner.seats.insert(member.name.clone(), Seat::of(member));
        inner.names_anew();
    }

    /// A node is none any more; what it is told ends. False if it was none.
    pub fn remove(&self, name: &Name) -> bool {
        let mut inner = self.lock();
        let was = inner.seats.remove(name).is_some();
        if was {
            inner.names_anew();
        }
        was
    }

    /// The member of this name.
    pub fn member(&self, name: &Name) -> Option<Member> {
        self.lock().seats.get(name).map(|seat| seat.member.clone())
    }

    /// True while the node gives signs of life.
    pub fn is_up(&self, name: &Name) -> bool {
        let inner = self.lock();
        inner
            .seats
            .get(name)
            .is_some_and(|seat| seat.session.is_some())
    }

    /// How many nodes give signs of life.
    pub fn connected(&self) -> usize {
        let inner = self.lock();
        let seats = inner.seats.values();
        seats.filter(|seat| seat.session.is_some()).count()
    }

    /// An agent begins a session; the one before is over.
    ///
    /// # Errors
    /// `node_not_member` if this identity is not the node's of this name.
    pub fn follow(&self, name: &Name, id: Uuid, now: Instant) -> Result<Following, Problem> {
        let mut inner = self.lock();
        let number = inner.next_number();
        let seat = inner.seat(name, id)?;
        let (asked, questions) = Asked::new();
        let following = Following {
            session: number,
            wish: seat.wish.subscribe(),
            questions,
        };
        seat.session = Some(Session {
            number,
            sequence: 0,
            last_sign: now,
            asked,
            said: None,
            certified_until: None,
            clock_ahead: None,
        });
        Ok(following)
    }

    /// A session has begun with this certificate.
    pub fn note_certificate(&self, peer: &NodePeerInfo, session: u64) {
        let mut inner = self.lock();
        let seat = inner.seats.get_mut(&peer.name);
        let its = seat.and_then(|seat| seat.session.as_mut());
        if let Some(its) = its.filter(|its| its.number == session) {
            its.certified_until = Some(peer.expires);
        }
    }

    /// A node was given a new certificate, for its next session.
    pub fn note_renewal(&self, name: &Name, until: Timestamp) {
        self.with_session(name, |session| session.certified_until = Some(until));
    }

    /// What a node's clock says less what ours does, if it said so.
    pub fn note_clock(&self, name: &Name, ahead: Option<SignedDuration>) {
        self.with_session(name, |session| session.clock_ahead = ahead);
    }

    fn with_session(&self, name: &Name, change: impl FnOnce(&mut Session)) {
        let mut inner = self.lock();
        let seat = inner.seats.get_mut(name);
        if let Some(session) = seat.and_then(|seat| seat.session.as_mut()) {
            change(session);
        }
    }

    /// How far a node's clock is ahead of ours, and the end of the newest certificate that it has, for all that are
    /// connected.
    pub fn clocks_and_certificates(
        &self,
    ) -> BTreeMap<Name, (Option<SignedDuration>, Option<Timestamp>)> {
        let inner = self.lock();
        let seats = inner.seats.iter();
        let known = seats.filter_map(|(name, seat)| {
            let session = seat.session.as_ref()?;
            Some((name.clone(), (session.clock_ahead, session.certified_until)))
        });
        known.collect()
    }

    /// The end of the newest certificate that a node has.
    pub fn certified_until(&self, name: &Name) -> Option<Timestamp> {
        let inner = self.lock();
        let session = inner.seats.get(name)?.session.as_ref()?;
        session.certified_until
    }

    /// The node is one of the cluster.
    ///
    /// # Errors
    /// `node_not_member`.
    pub fn must_be_member(&self, name: &Name, id: Uuid) -> Result<(), Problem> {
        self.lock().seat(name, id).map(drop)
    }

    /// An agent has said something.
    ///
    /// # Errors
    /// `node_not_member`; `conflict` if its session is over or it has said something newer.
    pub fn take_in(&self, name: &Name, id: Uuid, up: Up, now: Instant) -> Result<Taken, Problem> {
        let mut inner = self.lock();
        let seat = inner.seat(name, id)?;
        let session = seat.session.as_mut();
        let over = || {
            let text = format!("Session {} of node '{name}' is over.", up.session);
            Problem::new(Code::Conflict, text).about("node", name)
        };
        let session = session
            .filter(|session| session.number == up.session)
            .ok_or_else(over)?;
        if up.sequence <= session.sequence {
            let text = format!("Report {} of node '{name}' came late.", up.sequence);
            return Err(Problem::new(Code::Conflict, text).about("node", name));
        }
        (session.sequence, session.last_sign) = (up.sequence, now);
        let news = up.status.map(|status| *status);
        if let Some(status) = &news {
            session.said = Some(status.clone());
        }
        for number in up.answers {
            session.asked.looked(number, session.said.as_ref());
        }
        if let Some(VmCounted { number, nics }) = up.traffic {
            session.asked.counted(number, nics);
        }
        Ok(match news {
            Some(status) => Taken::Status(Box::new(status)),
            None => Taken::Sign,
        })
    }

    /// Ends sessions of nodes that have given no sign for too long, and says of which.
    pub fn end_silent(&self, now: Instant) -> Vec<(Name, Problem)> {
        let mut inner = self.lock();
        let mut ended = Vec::new();
        for (name, seat) in &mut inner.seats {
            let silent = |session: &mut Session| now >= session.ends();
            if seat.session.take_if(silent).is_some() {
                let seconds = DOWN_AFTER.as_secs();
                let text = format!("Node '{name}' has given no sign of life for {seconds} s.");
                ended.push((
                    name.clone(),
                    Problem::new(Code::AgentUnreachable, text).about("node", name),
                ));
            }
        }
        ended
    }

    /// How long it is until [`Self::end_silent`] may find one.
    pub fn next_end(&self, now: Instant) -> Duration {
        let inner = self.lock();
        let sessions = inner
            .seats
            .values()
            .filter_map(|seat| seat.session.as_ref());
        let ends = sessions.map(Session::ends);
        ends.min()
            .map_or(DOWN_AFTER, |end| end.saturating_duration_since(now))
    }

    /// Asks a node that is connected, under this number.
    fn ask<T>(
        &self,
        name: &Name,
        ask: impl FnOnce(&mut Asked, u64) -> T,
    ) -> Result<(u64, T), Problem> {
        let mut inner = self.lock();
        let number = inner.next_number();
        let seat = inner.seats.get_mut(name).ok_or_else(|| not_member(name))?;
        let session = seat.session.as_mut().ok_or_else(|| not_connected(name))?;
        Ok((number, ask(&mut session.asked, number)))
    }
}

/// A question that somebody waits for. An agent that does not know it never answers: it is forgotten with whoever
/// asked.
struct Waiting<'a> {
    hub: &'a Hub,
    name: &'a Name,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let number = self.number;
        self.hub
            .with_session(self.name, |session| session.asked.forget_traffic(number));
    }
}

impl Nodes for Hub {
    fn names(&self) -> Arc<[Name]> {
        Arc::clone(&self.lock().names)
    }

    fn refresh<'a>(&'a self, node: &'a Name) -> Pending<'a, Result<NodeStatus, Problem>> {
        Box::pin(async move {
            let (_, answer) = self.ask(node, Asked::look)?;
            // The session has ended, with all who wait.
            answer.await.map_err(|_| not_connected(node))
        })
    }

    fn traffic<'a>(
        &'a self,
        node: &'a Name,
        vm: Uuid,
    ) -> Pending<'a, Result<Vec<NicCounted>, Problem>> {
        Box::pin(async move {
            let (number, answer) = self.ask(node, |asked, number| asked.traffic(number, vm))?;
            let _waiting = Waiting {
                hub: self,
                name: node,
                number,
            };
            // The session has ended, with all who wait.
            answer.await.map_err(|_| not_connected(node))
        })
    }

    fn set_desired(&self, node: &Name, desired: NodeDesired) {
        if let Some(seat) = self.lock().seats.get(node) {
            seat.wish.send_replace(Some(Arc::new(desired)));
        }
    }
}

#[cfg(test)]
mod tests;
