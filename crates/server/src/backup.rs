//! A backup of the state: which keys it holds, and the lines of its file, page by page at one revision.

use accelnet_api::backup::{BackupHeader, BackupItem, BackupWriter, FORMAT};
use accelnet_model::{Code, Problem};
use accelnet_store::{KeyValue, Listing, Page, limits};
use axum::body::Bytes;
use futures::{Stream, stream};

use crate::{
    Server, nodes,
    state::{self, PREFIX, UNFINISHED},
};

/// What it holds, told in the file and to whoever takes it.
const HOLDS: [&str; 5] = [
    "the cluster's authority with its private key: whoever has this file can pass for any server or node",
    "hashes of the secrets of tokens; no token can be had from them",
    "the nodes that joined, without their last reports",
    "intents, where acceleration is enabled, what is wanted for each VM",
    "the record of who changed what",
];

/// Whether a key, without [`PREFIX`], is left out: it says what is so for the moment, and is said anew by itself; or,
/// of a token that one machine joins with, is for minutes only and must not be good twice.
pub fn is_of_the_moment(key: &str) -> bool {
    let below = |start: &str| key.starts_with(start);
    below("servers/")
        || below(state::health::FAULTS)
        || below(state::health::EVENTS)
        || below("join-tokens/")
        || key == UNFINISHED
        || (below("nodes/") && !nodes::is_spec(key))
}

/// A backup while it is taken.
struct Taking {
    server: Server,
    writer: BackupWriter,
    /// What comes next, if it was read already.
    read: Option<Listing>,
    /// What is to be read then; the end if there is neither.
    next: Option<Page>,
    ended: bool,
}

impl Server {
    /// The lines of a backup. What fails on the way ends them without the last one, by which whoever reads knows.
    ///
    /// # Errors
    /// If the state cannot be read to begin with.
    pub(crate) async fn backup(
        &self,
    ) -> Result<impl Stream<Item = Result<Bytes, Problem>> + use<>, Problem> {
        let first = Page::first(limits::PAGE_ITEMS_MAX);
        let read = self.shared.state.page(first).await?;
        let membership = self.membership().ok();
        let header = BackupHeader {
            accelnet_backup: FORMAT,
            cluster: membership.map(|membership| membership.cluster()),
            taken: self.now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: read.revision.get(),
            holds: HOLDS.map(str::to_owned).to_vec(),
        };
        let mut writer = BackupWriter::default();
        let header = line(writer.header(&header))?;
        let taking = Taking {
            server: self.clone(),
            writer,
            read: Some(read),
            next: None,
            ended: false,
        };
        let rest = stream::unfold(taking, async |mut taking: Taking| {
            if taking.ended {
                return None;
            }
            let lines = taking.lines().await;
            if let Err(problem) = &lines {
                tracing::warn!(%problem, "a backup was not taken to its end");
                taking.ended = true;
            }
            Some((lines, taking))
        });
        Ok(futures::StreamExt::chain(
            stream::once(std::future::ready(Ok(header))),
            rest,
        ))
    }
}

impl Taking {
    /// The next lines: those of a page, or the last.
    async fn lines(&mut self) -> Result<Bytes, Problem> {
        let listing = match (self.read.take(), self.next.take()) {
            (Some(read), _) => read,
            (None, Some(page)) => self.server.shared.state.page(page).await?,
            (None, None) => {
                self.ended = true;
                return line(std::mem::take(&mut self.writer).end());
            }
        };
        self.next = listing.next_page(limits::PAGE_ITEMS_MAX);
        let mut lines = Vec::new();
        for item in listing.items.iter().filter_map(|kv| item(kv)) {
            lines.extend(line(self.writer.item(&item))?);
        }
        Ok(lines.into())
    }
}

fn line(written: serde_json::Result<Vec<u8>>) -> Result<Bytes, Problem> {
    let written = written.map(Bytes::from);
    written.map_err(|error| Problem::new(Code::Internal, format!("A backup's line: {error}.")))
}

/// A key as it is written; nothing of one that is left out.
fn item(kv: &KeyValue) -> Option<BackupItem> {
    let key = kv.key.strip_prefix(PREFIX)?;
    if is_of_the_moment(key) {
        return None;
    }
    match serde_json::from_slice(&kv.value) {
        Ok(value) => Some(BackupItem {
            key: key.to_owned(),
            revision: kv.mod_revision.get(),
            value,
        }),
        // Whatever wrote it, no version of accelnet did.
        Err(error) => {
            tracing::warn!(key, %error, "it is not accelnet's, and left out of the backup");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_anew_by_itself_is_left_out() {
        for key in [
            "servers/a:1",
            "join-tokens/00",
            "nodes/n/status",
            "nodes/n/status/0001",
            "faults/0123456789abcdef",
            "events/00000000000000000007",
            UNFINISHED,
        ] {
            assert!(is_of_the_moment(key), "{key}");
        }
        for key in [
            "authority",
            "cluster",
            "generation",
            "intents/servers",
            "nodes/n/spec",
            "tokens/a",
            "audit/0",
            "something/new",
        ] {
            assert!(!is_of_the_moment(key), "{key}");
        }
    }
}
