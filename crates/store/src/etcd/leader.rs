//! Which server leads: a lease, a key that lives as long as the lease, and a fence.
//!
//! ```text
//!   candidate ── key absent: put with lease ──► confirmed once ──► Leader ── any doubt ──► deposed
//!       ▲                │                                           │  keep-alive each third
//!       └─ wait for its deletion ◄─ another leads                    └─ of the lease, in time
//! ```
//!
//! Invariants:
//!
//! * Who writes as the leader compares in etcd, in the same transaction, that the key is the one it
//!   made ([`Fence`]). A leader that was stopped and does not know yet is refused there.
//! * It leads only until the lease ends, counted from when the last confirmed keep-alive was
//!   *sent*; a keep-alive that fails or is late ends it at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use etcd_client::{
    Compare, CompareOp, GetResponse, PutOptions, Txn, TxnOp, TxnOpResponse, WatchFilterType,
    WatchOptions,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{EtcdStore, Shared, fault::Fault, keys, members::Members, revision_of};
use crate::{Result, Revision};

/// A keep-alive is sent each such part of the lease, and has as long to be answered: one that is
/// late still leaves a third of the lease in which nobody leads, here or elsewhere.
const PARTS: u32 = 3;

/// This server leads, until it is told otherwise. Dropping it gives the lead up.
#[derive(Debug)]
pub struct Leader {
    store: EtcdStore,
    fence: Arc<Fence>,
    /// Closed when the keeper has ended.
    deposed: watch::Receiver<()>,
    /// Dropped to give the lead up.
    _stays: watch::Sender<()>,
}

impl Leader {
    /// The store, which writes only as long as this server leads: else [`crate::StoreError::Deposed`].
    pub fn store(&self) -> &EtcdStore {
        &self.store
    }

    /// Whether it leads, as far as is known here. Only a write tells for sure.
    pub fn leads(&self) -> bool {
        self.fence.stands()
    }

    /// Waits until it does not lead any more.
    pub async fn deposed(&mut self) {
        while self.deposed.changed().await.is_ok() {}
    }
}

impl EtcdStore {
    /// The name of the server that leads now, if one does.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn leading(&self) -> Result<Option<String>> {
        let (members, key) = (&self.shared.members, self.shared.keys.leader());
        let asked = members.ask(members.end(), |mut client| {
            let key = key.clone();
            async move { client.get(key, None).await }
        });
        let found = asked.await.map_err(|fault| members.error(fault))?;
        let kv = found.kvs().first();
        Ok(kv.map(|kv| String::from_utf8_lossy(kv.value()).into_owned()))
    }

    /// Waits until this server leads those that share the prefix.
    ///
    /// `name` is shown to the others. `lease` is how long after the end of a leader nobody leads, in
    /// whole seconds, at least 2 (etcd rounds up).
    ///
    /// Cancel safe: what was asked for ends with the lease.
    ///
    /// # Errors
    /// Those of reading: [`crate::StoreError::Unreachable`], [`crate::StoreError::Refused`].
    pub async fn lead(&self, name: &str, lease: Duration) -> Result<Leader> {
        let shared = &self.shared;
        loop {
            let candidate = Candidate::new(shared, lease)
                .await
                .map_err(|fault| shared.members.error(fault))?;
            match candidate.wait(shared, name).await {
                Ok(fence) => return Ok(candidate.leader(self, fence)),
                // Its lease has ended while it waited.
                Err(Fault::Refused(detail)) if detail.contains("lease not found") => {}
                Err(fault) => return Err(shared.members.error(fault)),
            }
        }
    }
}

/// What is compared with each write of the leader.
#[derive(Debug)]
pub(super) struct Fence {
    key: String,
    /// Of the key; nobody else's is the same.
    create_revision: Revision,
    /// When the lease ends at the earliest.
    until: Mutex<Instant>,
    fallen: AtomicBool,
}

impl Fence {
    /// Whether it is worth asking.
    pub(super) fn stands(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        !self.fallen.load(Ordering::SeqCst) && Instant::now() < until
    }

    /// The compare.
    pub(super) fn compare(&self) -> Compare {
        let number = keys::number(self.create_revision);
        Compare::create_revision(self.key.as_str(), CompareOp::Equal, number)
    }

    /// Reads what the compare compares with.
    pub(super) fn look(&self) -> TxnOp {
        TxnOp::get(self.key.as_str(), None)
    }

    /// Whether the compare held.
    pub(super) fn stands_in(&self, found: &GetResponse) -> bool {
        let kv = found.kvs().first();
        kv.is_some_and(|kv| keys::revision(kv.create_revision()) == self.create_revision)
    }

    fn extend(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// It is known, or feared, that another may lead.
    pub(super) fn fall(&self) {
        self.fallen.store(true, Ordering::SeqCst);
    }
}

/// A lease with which to lead.
struct Candidate {
    lease: i64,
    ttl: Duration,
}

/// Who leads, as far as it concerns a candidate.
enum Found {
    We(Revision),
    Another(Revision),
}

impl Candidate {
    async fn new(shared: &Shared, lease: Duration) -> Result<Self, Fault> {
        let seconds = i64::try_from(lease.as_secs()).unwrap_or(i64::MAX);
        let grant = shared
            .members
            .ask(shared.members.end(), |mut client| async move {
                client.lease_grant(seconds, None).await
            })
            .await?;
        Ok(Self {
            lease: grant.id(),
            ttl: Duration::from_secs(grant.ttl().unsigned_abs()),
        })
    }

    /// Waits until it leads, and the lease is confirmed after that.
    async fn wait(&self, shared: &Shared, name: &str) -> Result<Arc<Fence>, Fault> {
        loop {
            let sent = Instant::now();
            match self.ask(shared, name).await? {
                Found::We(create_revision) => {
                    keep(&shared.members, self.lease, sent + self.ttl / PARTS).await?;
                    return Ok(Arc::new(Fence {
                        key: shared.keys.leader(),
                        create_revision,
                        until: Mutex::new(sent + self.ttl),
                        fallen: AtomicBool::new(false),
                    }));
                }
                Found::Another(revision) => {
                    self.gone(shared, revision, sent + self.ttl / PARTS).await;
                    keep(&shared.members, self.lease, shared.members.end()).await?;
                }
            }
        }
    }

    /// Leads if nobody does. May be asked again: it finds its own key then.
    async fn ask(&self, shared: &Shared, name: &str) -> Result<Found, Fault> {
        let key = shared.keys.leader();
        let put = PutOptions::new().with_lease(self.lease);
        let txn = Txn::new()
            .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.as_str(), name, Some(put))])
            .or_else([TxnOp::get(key, None)]);
        let answer = shared
            .members
            .ask(shared.members.end(), |mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await?;
        let revision = revision_of(answer.header())?;
        if answer.succeeded() {
            return Ok(Found::We(revision));
        }
        let looks = answer.op_responses();
        let found = match looks.first() {
            Some(TxnOpResponse::Get(found)) => found.kvs().first(),
            _ => None,
        };
        Ok(match found {
            Some(kv) if kv.lease() == self.lease => Found::We(keys::revision(kv.create_revision())),
            _ => Found::Another(revision),
        })
    }

    /// Waits until the key is deleted after a revision, or it is worth looking anew.
    async fn gone(&self, shared: &Shared, after: Revision, until: Instant) {
        let (_, mut client) = shared.members.current();
        let options = WatchOptions::new()
            .with_start_revision(keys::number(after.next()))
            .with_filters([WatchFilterType::NoPut]);
        let deleted = async {
            let mut watch = client.watch(shared.keys.leader(), Some(options)).await?;
            while let Some(message) = watch.message().await? {
                if message.canceled() || !message.events().is_empty() {
                    return Ok(());
                }
            }
            Ok::<_, etcd_client::Error>(())
        };
        if !matches!(timeout_at(until, deleted).await, Ok(Ok(()))) {
            sleep_until(until).await;
        }
    }

    fn leader(self, store: &EtcdStore, fence: Arc<Fence>) -> Leader {
        let (stays, resigned) = watch::channel(());
        let (keeps, deposed) = watch::channel(());
        let members = Arc::clone(&store.shared.members);
        let keeper = Keeper {
            members,
            lease: self.lease,
            ttl: self.ttl,
            fence: Arc::clone(&fence),
        };
        tokio::spawn(async move {
            let _keeps = keeps;
            keeper.run(resigned).await;
        });
        Leader {
            store: store.behind(Arc::clone(&fence)),
            fence,
            deposed,
            _stays: stays,
        }
    }
}

/// Keeps the lease alive.
struct Keeper {
    members: Arc<Members>,
    lease: i64,
    ttl: Duration,
    fence: Arc<Fence>,
}

impl Keeper {
    /// Runs until the lead is given up or in doubt.
    async fn run(self, mut resigned: watch::Receiver<()>) {
        let mut next = Instant::now() + self.ttl / PARTS;
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                _ = resigned.changed() => break,
            }
            if !self.fence.stands() {
                tracing::warn!("another server may lead; the lead is given up");
                break;
            }
            let sent = Instant::now();
            next = sent + self.ttl / PARTS;
            if let Err(fault) = keep(&self.members, self.lease, next).await {
                tracing::warn!(?fault, "the lead is in doubt and given up");
                break;
            }
            self.fence.extend(sent + self.ttl);
        }
        self.fence.fall();
        // So that another need not wait for its end; if it cannot be reached, it will end.
        let end = Instant::now() + self.ttl;
        let lease = self.lease;
        let revoked =
            self.members.ask(
                end,
                |mut client| async move { client.lease_revoke(lease).await },
            );
        if let Err(fault) = revoked.await {
            tracing::debug!(?fault, "the lease ends by itself");
        }
    }
}

/// Keeps a lease alive once, confirmed.
async fn keep(members: &Members, lease: i64, end: Instant) -> Result<(), Fault> {
    let answer = members.ask(end, |mut client| async move {
        client.lease_keep_alive(lease).await
    });
    answer.await.map(drop)
}
