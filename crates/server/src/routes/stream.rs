//! The watch protocol: NDJSON, a line per change.
//!
//! A watch is led by state, not by events: at each sign of a change it looks at everything again and
//! sends what differs from what was sent last. So it misses nothing that lasts, and a slow reader
//! gets the newest state instead of a queue.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use accelnet_api::WatchLine;
use accelnet_model::Problem;
use axum::{
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use super::NDJSON;
use crate::Server;

/// A watch says that it lives this often.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

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
}

/// A stream of objects as they are now, and of each that differs from what was sent last.
pub fn follow<T>(
    server: Server,
    ends: Ends,
    look: impl Fn(Server) -> BoxFuture<'static, Result<Objects<T>, Problem>> + Send + 'static,
) -> Response
where
    T: Serialize + PartialEq + Send + 'static,
{
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
    };
    let lines = futures::stream::unfold(follow, |mut follow| async move {
        let lines = follow.next().await?;
        Some((Ok::<_, Infallible>(lines), follow))
    });
    let kind = [(CONTENT_TYPE, NDJSON)];
    (kind, Body::from_stream(lines)).into_response()
}

impl<T: Serialize + PartialEq + Send> Follow<T> {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let alive_at = Instant::now() + ALIVE_EVERY;
        while !self.ended {
            tokio::select! {
                _ = self.stopping.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep_until(alive_at) => {
                    return Some(line(&WatchLine::<T>::Alive));
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
                lines.extend(line(&WatchLine::Put(object)));
            }
        }
        for identity in sent.into_keys() {
            lines.extend(line(&WatchLine::<T>::Gone(identity)));
        }
        self.ended = self.ends == Ends::WhenGone && objects.is_empty();
        self.sent = Some(objects);
        if first {
            lines.extend(line(&WatchLine::<T>::Synced));
        }
        lines
    }
}

fn line<T: Serialize>(line: &WatchLine<T>) -> Vec<u8> {
    // Our own types have no map keys but text, so this cannot fail; an empty line says nothing.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}
