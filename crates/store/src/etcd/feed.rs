//! The feed: one watch of etcd that tells the history what happens below the prefix.
//!
//! ```text
//!          ┌────────── broken: pause, the next member ◄─┐
//!          ▼                                            │
//!   watch from the history's head ──► batches ──► history
//!          ▲                                            │
//!          └─── compacted: the history forgets ◄────────┘
//! ```
//!
//! Invariants:
//!
//! * The watch starts *at* the revision that was seen last, not after it, and what is known is left
//!   out. Some versions of etcd, Debian 12's 3.4.23 among them, take a watch from exactly the
//!   revision they are compacted at, and have lost the deletions of that revision (etcd's issue
//!   18089): asked for one revision earlier, they have to say that it is compacted.
//! * A transaction is never split: etcd sends a revision in one message, as long as fragments are
//!   not asked for.
//! * Progress is believed only where etcd sends it by itself. Asked for, it may overtake events in
//!   the same versions (issue 15220). Should an event come after all that the history is past, then
//!   all watches end: who has gone on believes what is not so.

use std::{sync::Arc, time::Duration};

use etcd_client::{EventType, WatchOptions, WatchResponse};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    fault::Fault,
    keys::{self, Keys},
    members::Members,
    read, revision_of,
};
use crate::{Event, EventBatch, Revision, history::Follower, history::Publisher, limits};

/// Before a broken watch is begun anew: short enough to be there when a member has been started,
/// long enough not to burden one that is starting.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long watchers of a store that was closed wait for what was written last.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// The task that follows etcd.
#[derive(Debug)]
pub(super) struct Feed {
    members: Arc<Members>,
    keys: Keys,
    publisher: Publisher,
    history: Follower,
    written: watch::Receiver<Revision>,
    /// When it ends at the latest, once the store is closed.
    closing: Option<Instant>,
}

/// Why a watch of etcd ended.
#[derive(Debug)]
enum End {
    /// The store is closed, and all that was written has arrived or has had its time; or etcd is
    /// not the one it was.
    Closed,
    /// What comes next is lost up to this revision.
    Lost(Revision),
    Broken(String),
}

impl Feed {
    pub(super) fn new(
        members: Arc<Members>,
        keys: Keys,
        publisher: Publisher,
        written: watch::Receiver<Revision>,
    ) -> Self {
        let history = publisher.follower();
        Self {
            members,
            keys,
            publisher,
            history,
            written,
            closing: None,
        }
    }

    /// Runs until the store is closed.
    pub(super) async fn run(mut self) {
        loop {
            match self.follow().await {
                End::Closed => return,
                End::Lost(revision) => {
                    tracing::warn!(%revision, "what happened was lost to watchers, who list again");
                    self.publisher.forget(revision);
                }
                End::Broken(detail) => {
                    tracing::warn!(detail, "the watch of etcd is broken; it is begun anew");
                    let until = Instant::now() + RETRY_PAUSE;
                    tokio::select! {
                        () = sleep_until(until) => {}
                        () = closed(&mut self.written), if self.closing.is_none() => self.close(),
                    }
                }
            }
            if self.is_over() {
                return;
            }
        }
    }

    /// One watch of etcd, from its beginning to its end.
    async fn follow(&mut self) -> End {
        let mut changes = self.members.changes();
        changes.mark_unchanged();
        let (member, client) = self.members.current();
        let (start, stop) = self.keys.whole_state();
        let from = self.history.head();
        let options = WatchOptions::new()
            .with_range(stop)
            .with_start_revision(keys::number(from))
            .with_prev_key()
            .with_progress_notify();
        let mut calls = client
            .watch_client()
            .max_decoding_message_size(limits::ETCD_WATCH_BYTES_MAX);
        let mut stream =
            match timeout_at(self.members.end(), calls.watch(start, Some(options))).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return self.broken(member, Fault::from(error)).await,
                Err(_) => {
                    let silence = Fault::Unknown("there is no answer in time".to_owned());
                    return self.broken(member, silence).await;
                }
            };
        drop(client);
        loop {
            if self.is_over() {
                return End::Closed;
            }
            let latest = self.closing.unwrap_or_else(|| Instant::now() + CLOSE_MAX);
            tokio::select! {
                message = stream.message() => match message {
                    Ok(Some(message)) => {
                        if self.has_gone_back(&message).await {
                            return End::Closed;
                        }
                        if let Some(end) = self.take(member, from, &message) {
                            return end;
                        }
                    }
                    Ok(None) => {
                        let ended = Fault::Unknown("it ended".to_owned());
                        return self.broken(member, ended).await;
                    }
                    Err(error) => return self.broken(member, Fault::from(error)).await,
                },
                // Who asks another member has a reason not to believe that this one goes on.
                Ok(()) = changes.changed() => {
                    return End::Broken("another member is asked now".to_owned());
                }
                () = closed(&mut self.written), if self.closing.is_none() => self.close(),
                () = sleep_until(latest), if self.closing.is_some() => {}
            }
        }
    }

    /// Whether etcd is not what it was: restored from a backup, or another. Then nothing that was
    /// told is sure to hold. A member that begins a watch may only be behind the others.
    async fn has_gone_back(&self, message: &WatchResponse) -> bool {
        let head = self.history.head();
        let ahead = |current: Revision| current >= head;
        if !message.created() || revision_of(message.header()).is_ok_and(ahead) {
            return false;
        }
        match read::current(&self.members, &self.keys, self.members.end()).await {
            Ok(current) if current < head => {
                tracing::error!(%current, %head, "etcd has gone back; watches end, start the server anew");
                true
            }
            _ => false,
        }
    }

    /// Tells the history what a message says; an end if there will be no other.
    fn take(&self, member: usize, from: Revision, message: &WatchResponse) -> Option<End> {
        if message.canceled() {
            if message.compact_revision() > 0 {
                return Some(End::Lost(keys::revision(message.compact_revision())));
            }
            self.members.leave(member);
            return Some(End::Broken(message.cancel_reason().to_owned()));
        }
        let head = self.history.head();
        let mut revisions = message.events().iter().filter_map(revision);
        if revisions.any(|revision| from < revision && revision <= head) {
            tracing::error!(%head, "etcd told of a change too late; watches end, start the server anew");
            return Some(End::Closed);
        }
        let (batches, seen) = self.batches(message);
        self.publisher.publish(batches);
        if let Some(seen) = seen {
            self.publisher.advance(seen);
        } else if !message.created()
            && let Ok(progress) = revision_of(message.header())
        {
            self.publisher.advance(progress);
        }
        None
    }

    /// The transactions of a message that are not known yet, and how far it goes.
    fn batches(&self, message: &WatchResponse) -> (Vec<EventBatch>, Option<Revision>) {
        let head = self.history.head();
        let mut batches: Vec<EventBatch> = Vec::new();
        let mut seen = None;
        for event in message.events() {
            let (Some(kv), Some(revision)) = (event.kv(), revision(event)) else {
                continue;
            };
            seen = Some(revision);
            if revision <= head {
                continue;
            }
            let prev = event.prev_kv().and_then(|kv| self.keys.key_value(kv));
            let event = match event.event_type() {
                EventType::Put => self.keys.key_value(kv).map(|kv| Event::Put { kv, prev }),
                EventType::Delete => self
                    .keys
                    .key(kv.key())
                    .map(|key| Event::Delete { key, prev }),
            };
            let Some(event) = event else { continue };
            match batches.last_mut() {
                Some(batch) if batch.revision == revision => batch.events.push(event),
                _ => batches.push(EventBatch {
                    revision,
                    events: vec![event],
                }),
            }
        }
        (batches, seen)
    }

    async fn broken(&self, member: usize, fault: Fault) -> End {
        if fault == Fault::TooLarge {
            // It would be as large again.
            match read::current(&self.members, &self.keys, self.members.end()).await {
                Ok(current) => return End::Lost(current),
                Err(fault) => return End::Broken(fault.detail()),
            }
        }
        self.members.leave(member);
        End::Broken(fault.detail())
    }

    fn close(&mut self) {
        self.closing = Some(Instant::now() + CLOSE_MAX);
    }

    fn is_over(&self) -> bool {
        self.closing.is_some_and(|latest| {
            self.history.head() >= *self.written.borrow() || Instant::now() >= latest
        })
    }
}

/// Of the transaction that did it.
fn revision(event: &etcd_client::Event) -> Option<Revision> {
    Some(keys::revision(event.kv()?.mod_revision()))
}

/// Waits until the store is closed.
async fn closed(written: &mut watch::Receiver<Revision>) {
    while written.changed().await.is_ok() {}
}
