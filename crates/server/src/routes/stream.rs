//! The watch protocol: NDJSON, a line per change.

use accelnet_api::WatchLine;
use accelnet_model::Problem;
use axum::{
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::sync::watch;

use super::ALIVE_EVERY;
use crate::Server;

/// Looks at the object; `Err` if it is not there (any more).
type Look<T> = Box<dyn Fn(Server) -> BoxFuture<'static, Result<T, Problem>> + Send>;

struct Follow<T> {
    server: Server,
    changes: watch::Receiver<u64>,
    last: Option<T>,
    look: Look<T>,
    identity: String,
    ended: bool,
}

/// A stream of the object as it is now and whenever it differs from what was sent last.
pub fn follow<T>(server: &Server, identity: String, look: Look<T>) -> Response
where
    T: Serialize + PartialEq + Clone + Send + 'static,
{
    let mut changes = server.shared.changes.subscribe();
    changes.mark_changed();
    let follow = Follow {
        server: server.clone(),
        changes,
        last: None,
        look,
        identity,
        ended: false,
    };
    let lines = futures::stream::unfold(follow, |mut follow| async move {
        let line = follow.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), follow))
    });
    (
        [(CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(lines),
    )
        .into_response()
}

impl<T: Serialize + PartialEq + Clone + Send> Follow<T> {
    async fn next(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        loop {
            match tokio::time::timeout(ALIVE_EVERY, self.changes.changed()).await {
                Err(_) => return line(&WatchLine::<T>::Alive),
                // The server is going down.
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {}
            }
            match (self.look)(self.server.clone()).await {
                Ok(object) if self.last.as_ref() == Some(&object) => {}
                Ok(object) => {
                    self.last = Some(object.clone());
                    return line(&WatchLine::Put(object));
                }
                Err(_) => {
                    self.ended = true;
                    return line(&WatchLine::<T>::Gone(self.identity.clone()));
                }
            }
        }
    }
}

fn line<T: Serialize>(line: &WatchLine<T>) -> Option<Vec<u8>> {
    let mut text = serde_json::to_vec(line).ok()?;
    text.push(b'\n');
    Some(text)
}
