//! Reading: one key, a page, and where etcd stands.

use std::sync::Arc;

use etcd_client::{GetOptions, GetResponse, WatchOptions};
use tokio::time::{Instant, timeout_at};

use super::{Shared, fault::Fault, keys, keys::Keys, members::Members, revision_of};
use crate::{KeyValue, Listing, Result, Revision, StoreError, list::Filling, list::Range};

/// How many fewer items are asked for after an answer that was too large.
const SHRINK: usize = 4;

/// Where etcd stands.
pub(super) async fn current(
    members: &Members,
    keys: &Keys,
    end: Instant,
) -> Result<Revision, Fault> {
    let name = keys.state("");
    let answer = members
        .ask(end, |mut client| {
            let name = name.clone();
            let options = GetOptions::new().with_count_only();
            async move { client.get(name, Some(options)).await }
        })
        .await?;
    revision_of(answer.header())
}

impl Shared {
    /// What a key is or was.
    pub(super) async fn get(
        &self,
        end: Instant,
        key: &str,
        at: Option<Revision>,
    ) -> Result<Option<Arc<KeyValue>>> {
        self.settle(end).await?;
        match self
            .range(end, self.keys.state(key), GetOptions::new(), at)
            .await
        {
            Ok(answer) => Ok(answer.kvs().first().and_then(|kv| self.keys.key_value(kv))),
            Err(fault) => Err(self.read_error(end, at, fault).await),
        }
    }

    /// A page. It is read in as many parts as it takes for each to fit into a message.
    pub(super) async fn list(&self, end: Instant, range: Range) -> Result<Listing> {
        self.settle(end).await?;
        let (mut start, stop) = self.keys.page(&range);
        let mut filling = Filling::new(range.limit);
        let mut at = range.at;
        let mut part = usize::MAX;
        loop {
            // One more, to see whether there is more.
            part = part.min(filling.room() + 1);
            let limit = i64::try_from(part).unwrap_or(i64::MAX);
            let options = GetOptions::new().with_range(stop.clone()).with_limit(limit);
            let answer = match self.range(end, start.clone(), options, at).await {
                Ok(answer) => answer,
                Err(Fault::TooLarge) if part > 1 => {
                    part = (part / SHRINK).max(1);
                    continue;
                }
                Err(fault) => return Err(self.read_error(end, at, fault).await),
            };
            let revision = match at {
                Some(at) => at,
                None => revision_of(answer.header()).map_err(|fault| self.members.error(fault))?,
            };
            at = Some(revision);
            for kv in answer.kvs() {
                if let Some(kv) = self.keys.key_value(kv)
                    && !filling.add(kv)
                {
                    return Ok(filling.listing(revision, true));
                }
            }
            match answer.kvs().last() {
                Some(last) if answer.more() => {
                    start = last.key().to_vec();
                    start.push(0);
                }
                _ => return Ok(filling.listing(revision, false)),
            }
        }
    }

    /// Makes sure that what is read is final.
    async fn settle(&self, end: Instant) -> Result<()> {
        let settled = self.seals.settle(end, &self.members, &self.keys).await;
        settled.map(drop).map_err(|fault| self.members.error(fault))
    }

    async fn range(
        &self,
        end: Instant,
        start: impl Into<Vec<u8>>,
        options: GetOptions,
        at: Option<Revision>,
    ) -> Result<GetResponse, Fault> {
        if at == Some(Revision::ABSENT) {
            // No etcd was ever there; to etcd it means now.
            return Err(Fault::Compacted);
        }
        let start = start.into();
        let options = options.with_revision(at.map_or(0, keys::number));
        self.members
            .ask(end, |mut client| {
                let (start, options) = (start.clone(), options.clone());
                async move { client.get(start, Some(options)).await }
            })
            .await
    }

    async fn read_error(&self, end: Instant, at: Option<Revision>, fault: Fault) -> StoreError {
        let found = match (&fault, at) {
            (Fault::Compacted, Some(wanted @ Revision::ABSENT)) => Ok(StoreError::Compacted {
                wanted,
                oldest: Revision::FIRST,
            }),
            (Fault::Compacted, Some(wanted)) => self
                .compacted(end)
                .await
                .map(|oldest| StoreError::Compacted { wanted, oldest }),
            (Fault::Future, Some(wanted)) => current(&self.members, &self.keys, end)
                .await
                .map(|current| StoreError::Future { wanted, current }),
            _ => Err(fault),
        };
        found.unwrap_or_else(|fault| self.members.error(fault))
    }

    /// How far etcd is compacted, if it is. It says so only to who watches from before that.
    async fn compacted(&self, end: Instant) -> Result<Revision, Fault> {
        let (_, mut client) = self.members.current();
        let options = WatchOptions::new().with_start_revision(1);
        let told = async {
            let mut watch = client.watch(self.keys.leader(), Some(options)).await?;
            loop {
                match watch.message().await? {
                    Some(message) if message.canceled() => break Ok(message.compact_revision()),
                    // It was made, and not cancelled: an event means that the first is kept.
                    Some(message) if message.created() => {}
                    _ => break Ok::<_, etcd_client::Error>(0),
                }
            }
        };
        match timeout_at(end, told).await {
            Ok(Ok(number)) => Ok(keys::revision(number).max(Revision::FIRST)),
            Ok(Err(error)) => Err(Fault::from(error)),
            Err(_) => Err(Fault::Unknown("there is no answer in time".to_owned())),
        }
    }
}
