//! The watch protocol: NDJSON, a line per change.
//!
//! A watch is led by state, not by events: after a change somebody looks again, and what differs from what was
//! there before is told. So it misses nothing that lasts. Lists are looked at once for all who watch them
//! ([`boards`](crate::boards)); what is of one VM, or of one reader's own choice, by each watch itself, which
//! gives a slow reader the newest state instead of a queue.

use std::{collections::BTreeMap, convert::Infallible};

use accelnet_api::{WatchEvent, WatchLine};
use accelnet_model::Problem;
use axum::{
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::NDJSON;
use crate::{
    Server,
    boards::{ALIVE_EVERY, Reader, line},
    failure::Failure,
};

/// When a watch ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// With the server.
    Never,
    /// Also when nothing is left to be watched.
    WhenGone,
}

type Objects<T> = BTreeMap<String, T>;
/// Looks at everything that is watched.
type Look<T> = dyn Fn(Server) -> BoxFuture<'static, Result<Objects<T>, Problem>> + Send;

struct Follow<T> {
    server: Server,
    changes: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    /// What was sent; nothing yet, not even that there is nothing, if `None`.
    sent: Option<Objects<T>>,
    look: Box<Look<T>>,
    ends: Ends,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// What there is to read on a board.
pub fn read<T: Serialize + Send + Sync + 'static>(reader: Reader<T>) -> Response {
    let lines = futures::stream::unfold(reader, |mut reader| async move {
        let lines = reader.next().await?;
        Some((Ok::<_, Infallible>(lines), reader))
    });
    let kind = [(CONTENT_TYPE, NDJSON)];
    (kind, Body::from_stream(lines)).into_response()
}

/// A stream of objects as they are now, and of each that differs from what was sent last.
pub fn follow<T>(
    server: Server,
    ends: Ends,
    look: impl Fn(Server) -> BoxFuture<'static, Result<Objects<T>, Problem>> + Send + 'static,
) -> Result<Response, Failure>
where
    T: Serialize + PartialEq + Send + 'static,
{
    let place = server.shared.boards.place()?;
    let mut changes = server.shared.changes.subscribe();
    changes.mark_changed();
    let follow = Follow {
        changes,
        stopping: server.shared.stopping.subscribe(),
        server,
        sent: None,
        look: Box::new(look),
        ends,
        ended: false,
        _place: place,
    };
    let lines = futures::stream::unfold(follow, |mut follow| async move {
        let lines = follow.next().await?;
        Some((Ok::<_, Infallible>(lines), follow))
    });
    let kind = [(CONTENT_TYPE, NDJSON)];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// A line after which nobody can go on.
fn event<T: Serialize>(event: WatchEvent<T>) -> Vec<u8> {
    line(&WatchLine::from(event))
}

impl<T: Serialize + PartialEq + Send> Follow<T> {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let alive_at = Instant::now() + ALIVE_EVERY;
        while !self.ended {
            tokio::select! {
                _ = self.stopping.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep_until(alive_at) => {
                    return Some(event(WatchEvent::<T>::Alive));
                }
                changed = self.changes.changed() => changed.ok()?,
            }
            match (self.look)(self.server.clone()).await {
                Ok(objects) => {
                    let lines = self.differences(objects);
                    if !lines.is_empty() {
                        return Some(lines);
                    }
                }
                // The next change is another try; the reader sees that it lives, and nothing new.
                Err(problem) => tracing::warn!(%problem, "a watch cannot look"),
            }
        }
        None
    }

    fn differences(&mut self, objects: Objects<T>) -> Vec<u8> {
        let first = self.sent.is_none();
        let mut sent = self.sent.take().unwrap_or_default();
        let mut lines = Vec::new();
        for (identity, object) in &objects {
            if sent.remove(identity).as_ref() != Some(object) {
                lines.extend(event(WatchEvent::Put(object)));
            }
        }
        for identity in sent.into_keys() {
            lines.extend(event(WatchEvent::<T>::Gone(identity)));
        }
        self.ended = self.ends == Ends::WhenGone && objects.is_empty();
        self.sent = Some(objects);
        if first {
            lines.extend(event(WatchEvent::<T>::Synced));
        }
        lines
    }
}
