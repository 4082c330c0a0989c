//! A watch: what there is, then what changes.
//!
//! A connection that is lost is made again, and goes on after the last revision that was told. A server that does
//! not know that revision (any more) says so, and the watch begins with everything again: whoever follows sees
//! some states twice, and misses none that lasts.

use std::time::Duration;

use accelnet_model::{Code, Problem};
use reqwest::Method;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Client, ClientError, Result, asking::decode, paths::encode};
use crate::types::{WatchEvent, WatchLine};

/// A lost connection is made again within this, or not at all: a server that died is replaced within its lease
/// of 5 s, and one that is started again reads 200,000 VMs in 3 s.
const AGAIN_LIMIT: Duration = Duration::from_secs(30);
/// Between two tries.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);

/// How one connection of a watch ended.
enum Ended {
    /// Whoever follows has seen enough.
    Enough,
    /// The server cannot tell what changed, and shall tell everything.
    StartOver,
    /// The connection is lost.
    Lost(Problem),
}

/// How far a watch has come, over all its connections.
#[derive(Default)]
struct Progress {
    /// What was told is the state at this revision.
    revision: Option<String>,
    /// When a line came last.
    heard: Option<Instant>,
}

impl Progress {
    fn path(&self, path: &str) -> String {
        match &self.revision {
            Some(revision) => format!("{path}&from={}", encode(revision)),
            None => path.to_owned(),
        }
    }
}

impl Client {
    pub(super) async fn follow<T: DeserializeOwned>(
        &self,
        path: &str,
        each: impl FnMut(&T) -> bool,
    ) -> Result<()> {
        self.follow_all(path, each, |identity| {
            let text = format!("'{identity}' is gone.");
            Err(Problem::new(Code::VmNotFound, text).into())
        })
        .await
    }

    /// Follows what is at `path`, which has parameters already, until `each` says no.
    pub(super) async fn follow_all<T: DeserializeOwned>(
        &self,
        path: &str,
        mut each: impl FnMut(&T) -> bool,
        gone: impl Fn(&str) -> Result<()>,
    ) -> Result<()> {
        let mut progress = Progress::default();
        loop {
            let ended = self.follow_once(path, &mut progress, &mut each, &gone);
            let problem = match ended.await {
                Ok(Ended::Enough) => return Ok(()),
                Ok(Ended::StartOver) => {
                    progress.revision = None;
                    continue;
                }
                Ok(Ended::Lost(problem)) => problem,
                Err(ClientError::Problems(problems)) => match problems.as_slice() {
                    [one] if one.code == Code::WatchTooOld && progress.revision.is_some() => {
                        progress.revision = None;
                        continue;
                    }
                    [one] if is_away(one.code) => one.clone(),
                    _ => return Err(ClientError::Problems(problems)),
                },
            };
            // Whoever was never there is not waited for.
            match progress.heard {
                Some(heard) if heard.elapsed() < AGAIN_LIMIT => {
                    tokio::time::sleep(AGAIN_PAUSE).await;
                }
                _ => return Err(problem.into()),
            }
        }
    }

    async fn follow_once<T: DeserializeOwned>(
        &self,
        path: &str,
        progress: &mut Progress,
        each: &mut impl FnMut(&T) -> bool,
        gone: &impl Fn(&str) -> Result<()>,
    ) -> Result<Ended> {
        let path = progress.path(path);
        let asked = self.request(Method::GET, &path, None::<&()>, None);
        let mut response = asked.await?;
        let mut buffer = Vec::new();
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(Ended::Lost(self.lost())),
                Err(error) => return Ok(Ended::Lost(self.unreachable(&error))),
            };
            progress.heard = Some(Instant::now());
            buffer.extend_from_slice(&chunk);
            let mut read = 0;
            while let Some(length) = buffer[read..].iter().position(|byte| *byte == b'\n') {
                let line = &buffer[read..read + length];
                read += length + 1;
                let WatchLine { event, revision } = decode(line)?;
                match event {
                    WatchEvent::Put(object) if !each(&object) => return Ok(Ended::Enough),
                    WatchEvent::Gone(identity) => gone(&identity)?,
                    WatchEvent::StartOver => return Ok(Ended::StartOver),
                    WatchEvent::Put(_) | WatchEvent::Synced | WatchEvent::Alive => {}
                }
                if revision.is_some() {
                    progress.revision = revision;
                }
            }
            buffer.drain(..read);
        }
    }
}

/// It may be there again in a moment, or another in its place.
fn is_away(code: Code) -> bool {
    matches!(code, Code::ServerNotRunning | Code::ServerNotActive)
}

#[cfg(test)]
mod tests;
