//! What the server must not forget, in the store.
//!
//! | key | value |
//! |---|---|
//! | `accelnet/v1/generation` | [`Generation`], written with every change of the wish |
//! | `accelnet/v1/cluster` | [`ClusterEnable`], if acceleration is enabled |
//! | `accelnet/v1/intents/NAME` | [`Intent`] |
//! | `accelnet/v1/vms/UUID/spec` | [`VmSpec`] |
//! | `accelnet/v1/isolated/NODE/ADAPTER` | [`Isolated`]: an adapter that is taken out of the pool |
//! | `accelnet/v1/nodes/NAME/spec` | a node that joined; see [`nodes`] |
//! | `accelnet/v1/tokens/NAME` | [`TokenSpec`]: a hash, never a token |
//! | `accelnet/v1/nodes/NAME/status` | what is [`Remembered`] of the node's last report: a [`Part`] of it |
//! | `accelnet/v1/nodes/NAME/status/NUMBER` | its further VMs, where one value cannot hold all |
//! | `accelnet/v1/audit/NUMBER` | [`Entry`]; the last [`KEPT`] |
//! | `accelnet/v1/faults/ID` | a fault that is open, waits for long, or is muted ([`health`]) |
//! | `accelnet/v1/events/NUMBER` | an event; the last [`health::EVENTS_KEPT`] |
//! | `accelnet/v1/restoring` | a restore has begun and not ended: nobody decides on what is there |
//!
//! Values are JSON objects with the number of their `schema`. The first six and the tokens are the *wish*. Every
//! change of it compares the generation, so that no decision rests on a wish that has changed since,
//! and is written together with its audit entry.
//!
//! The wish is kept in memory too, and used as long as the store's generation says that nobody has
//! changed it: nothing depends on that copy.

pub mod health;
mod kept;
#[cfg(test)]
pub mod odd;
mod park;
mod remembered;
mod settled;
mod slowest;
mod spec;
mod token;
mod wish;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use accelnet_model::{ClusterEnable, Code, IfName, Intent, Isolated, Name, NodeDesired, Problem};
use accelnet_store::{Compare, KeyValue, Listing, Op, Page, Revision, Store, StoreError, limits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    Pending,
    apart::apart,
    audit::{Entry, KEPT},
    nodes,
};
pub use park::Park;
pub use remembered::Remembered;
pub use settled::Generation;
use settled::settled;
pub use settled::{ANSWER_LIMIT, awaited, known, not_known_yet};
use slowest::Slowest;
pub use spec::{OnIntent, VmSpec, Wanted};
pub use token::TokenSpec;
pub use wish::{Specs, Wish};

/// How all keys begin of what a server keeps.
pub const PREFIX: &str = "accelnet/v1/";
/// The key that is there from the beginning of a restore to its end; see [`crate::restore`].
pub const UNFINISHED: &str = "restoring";
/// Version of the values' layout. A newer one is refused rather than misread.
const SCHEMA: u32 = 1;
/// How often a read that was overtaken begins again.
const ATTEMPTS: u32 = 5;
/// A commit waits for one or two syncs of the disk; one that takes this long will not come.
const LIMIT: Duration = Duration::from_secs(10);

/// Keys of the wish, or how they begin.
pub const WISH: [&str; 6] = [
    "cluster",
    "generation",
    "intents/",
    "isolated/",
    "tokens/",
    "vms/",
];

/// One change of the wish.
#[derive(Debug, Clone)]
pub enum Write {
    /// Enable acceleration, or disable it.
    Cluster(Option<ClusterEnable>),
    /// Put an intent.
    Intent(Intent),
    /// Remove an intent.
    NoIntent(Name),
    /// Put the wishes for a VM.
    Vm {
        /// The VM.
        uuid: Uuid,
        /// What is wanted for it.
        wanted: Wanted,
    },
    /// Forget the wishes for a VM.
    NoVm(Uuid),
    /// Take an adapter out of the pool.
    Isolated(Isolated),
    /// Let an adapter back into it.
    NotIsolated {
        /// Its node.
        node: Name,
        /// What it was called.
        adapter: IfName,
    },
    /// Put a token.
    Token(TokenSpec),
    /// Revoke a token.
    NoToken(Name),
}

impl Write {
    /// The VM that it is about, if it is about one.
    pub fn vm(&self) -> Option<Uuid> {
        match self {
            Self::Vm { uuid, .. } | Self::NoVm(uuid) => Some(*uuid),
            Self::Cluster(_)
            | Self::Intent(_)
            | Self::NoIntent(_)
            | Self::Isolated(_)
            | Self::NotIsolated { .. }
            | Self::Token(_)
            | Self::NoToken(_) => None,
        }
    }

    /// It is nothing that nodes are told.
    pub fn is_of_people(&self) -> bool {
        matches!(self, Self::Token(_) | Self::NoToken(_))
    }
}

/// What is written for one request, with its entry in the record.
pub type Change = (Vec<Write>, Entry);

/// Reads and writes the state; a store whose kind does not matter.
pub trait State: Send + Sync {
    /// The wish as it is now.
    fn load(&self) -> Pending<'_, Result<Wish, Problem>>;

    /// Makes changes, all or none, if the wish has not changed since `seen`; `None` if it has, else the
    /// wish after them.
    fn commit<'a>(
        &'a self,
        seen: &'a Wish,
        changes: Vec<Change>,
    ) -> Pending<'a, Result<Option<Wish>, Problem>>;

    /// Faults and events as they were kept.
    fn kept_health(&self) -> Pending<'_, Result<health::Health, Problem>>;

    /// Keeps faults and events, no more than fit into a transaction, with an entry of the record if somebody asked for
    /// it.
    fn keep_health<'a>(
        &'a self,
        ops: Vec<Op>,
        entry: Option<&'a Entry>,
    ) -> Pending<'a, Result<(), Problem>>;

    /// How long the store took at most for an answer, within the last minute.
    fn took(&self) -> Duration;

    /// Grows with each entry of the record, when it can be read.
    fn recorded(&self) -> u64;

    /// The record of changes with its numbers, in their order.
    fn entries(&self) -> Pending<'_, Result<Vec<(u64, Entry)>, Problem>>;

    /// Records what was done beside the wish.
    fn record<'a>(&'a self, entry: &'a Entry) -> Pending<'a, Result<(), Problem>>;

    /// A page of all that is kept, whatever it is.
    fn page(&self, page: Page) -> Pending<'_, Result<Listing, Problem>>;

    /// The nodes' reports as they were kept.
    fn kept_reports(&self) -> Pending<'_, Result<Vec<Remembered>, Problem>>;

    /// Keeps nodes' reports; no more than a transaction may hold.
    fn keep_reports<'a>(&'a self, reports: &'a [Remembered]) -> Pending<'a, Result<(), Problem>>;
}

/// A value with the version of its layout.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    schema: u32,
    #[serde(flatten)]
    value: T,
}

/// The state in a store.
pub struct Stored<S> {
    store: S,
    /// Number of the next audit entry.
    next_entry: AtomicU64,
    recorded: AtomicU64,
    /// The wish that was read or written last.
    held: Mutex<Option<Wish>>,
    /// Held while all of it is read, or a change is written: whoever finds a generation that is not in
    /// memory waits for it.
    busy: tokio::sync::Mutex<()>,
    slowest: Slowest,
}

impl<S: Store> Stored<S> {
    /// Opens the state in a store.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn open(store: S) -> Result<Self, Problem> {
        crate::restore::finished(&store).await?;
        let entries = within(store.list_all(&format!("{PREFIX}audit/"))).await?;
        let last = entries.items.last();
        let number = last.and_then(|entry| entry.key.rsplit('/').next()?.parse().ok());
        // There is always a next one, whatever somebody wrote there.
        let number = number.map(|number: u64| number.min(health::NUMBER_MAX));
        Ok(Self {
            store,
            next_entry: AtomicU64::new(number.map_or(0, |number| number + 1)),
            recorded: AtomicU64::default(),
            held: Mutex::default(),
            busy: tokio::sync::Mutex::default(),
            slowest: Slowest::default(),
        })
    }

    async fn load(&self) -> Result<Wish, Problem> {
        if let Some(held) = self.held_now().await? {
            return Ok(held);
        }
        let _busy = within_store(self.busy.lock()).await?;
        // Perhaps somebody has read it meanwhile, or it is what was just written.
        if let Some(held) = self.held_now().await? {
            return Ok(held);
        }
        let wish = self.read().await?;
        self.hold(&wish);
        Ok(wish)
    }

    /// The wish in memory, if it is the store's.
    async fn held_now(&self) -> Result<Option<Wish>, Problem> {
        let key = format!("{PREFIX}generation");
        let generation = within(self.slowest.of(self.store.get(&key, None))).await?;
        let revision = generation.map_or(Revision::ABSENT, |written| written.mod_revision);
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(held.clone().filter(|held| held.revision == revision))
    }

    fn hold(&self, wish: &Wish) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held
            .as_ref()
            .is_none_or(|held| held.revision <= wish.revision)
        {
            *held = Some(wish.clone());
        }
    }

    /// Everything below the prefix at one revision. Unlike [`Store::list_all`] it reads only what
    /// belongs to the wish, so audit and reports cost nothing here.
    async fn read(&self) -> Result<Wish, Problem> {
        // Somebody writes so much that what was begun with is no longer kept: begin again.
        for _ in 0..ATTEMPTS {
            match within_store(self.read_at_once()).await? {
                Err(StoreError::Compacted { .. }) => {}
                Err(error) => return Err(failed(&error)),
                Ok(items) => return apart(|| wish(&items)),
            }
        }
        Err(Problem::new(
            Code::StoreFailed,
            "The state changes faster than it can be read.",
        ))
    }

    async fn read_at_once(&self) -> Result<Vec<Arc<KeyValue>>, StoreError> {
        let mut items = Vec::new();
        let mut at = None;
        for part in WISH {
            let prefix = format!("{PREFIX}{part}");
            let mut page = Some(Page {
                at,
                ..Page::first(limits::PAGE_ITEMS_MAX)
            });
            while let Some(next) = page {
                let listing: Listing = self.store.list(&prefix, next).await?;
                at = Some(listing.revision);
                page = listing.next_page(limits::PAGE_ITEMS_MAX);
                items.extend(listing.items);
            }
        }
        Ok(items)
    }

    async fn write(&self, seen: &Wish, changes: Vec<Change>) -> Result<Option<Wish>, Problem> {
        let generation = format!("{PREFIX}generation");
        let (number, id) = (seen.generation() + 1, Uuid::new_v4());
        let compare = if seen.revision == Revision::ABSENT {
            Compare::absent(&generation)
        } else {
            Compare::unchanged(&generation, seen.revision)
        };
        // Of several changes of a key the last one counts.
        let mut ops = BTreeMap::new();
        let mut add = |op: Op| drop(ops.insert(op.key().to_owned(), op));
        let written = Generation {
            number: Some(number),
            write: Some(id),
        };
        add(put("generation", &written)?);
        for (writes, entry) in &changes {
            for write in writes {
                add(op(write, entry, number)?);
            }
            self.entry_ops(entry)?.into_iter().for_each(&mut add);
        }
        let ops = ops.into_values().collect();
        let _busy = self.busy.lock().await;
        let written = settled(&self.store, compare, ops, id);
        let Some(revision) = self.slowest.of(written).await? else {
            return Ok(None);
        };
        self.has_recorded();
        let writes = changes.iter();
        let writes =
            writes.flat_map(|(writes, entry)| writes.iter().map(move |write| (write, entry)));
        let wish = seen.after(writes, revision, number);
        self.hold(&wish);
        Ok(Some(wish))
    }

    /// Entries were written; or they may have been.
    fn has_recorded(&self) {
        self.recorded.fetch_add(1, Ordering::Relaxed);
    }

    /// A new entry, and the end of the one that is too old.
    fn entry_ops(&self, entry: &Entry) -> Result<Vec<Op>, Problem> {
        // Numbers of changes that lost their race are left out.
        let number = self.next_entry.fetch_add(1, Ordering::Relaxed);
        // Twenty digits hold any number, so that the order of keys is that of entries.
        let mut ops = vec![put(&format!("audit/{number:020}"), entry)?];
        if let Some(old) = number.checked_sub(KEPT) {
            ops.push(Op::delete(format!("{PREFIX}audit/{old:020}")));
        }
        Ok(ops)
    }
}

impl<S: Store> State for Stored<S> {
    fn load(&self) -> Pending<'_, Result<Wish, Problem>> {
        Box::pin(self.load())
    }

    fn commit<'a>(
        &'a self,
        seen: &'a Wish,
        changes: Vec<Change>,
    ) -> Pending<'a, Result<Option<Wish>, Problem>> {
        Box::pin(self.write(seen, changes))
    }

    fn kept_health(&self) -> Pending<'_, Result<health::Health, Problem>> {
        Box::pin(async move {
            let mut all = health::Health::default();
            for part in [health::FAULTS, health::EVENTS] {
                let listing = within(self.store.list_all(&format!("{PREFIX}{part}"))).await?;
                for item in &listing.items {
                    all.take(&item.key, &item.value);
                }
            }
            Ok(all)
        })
    }

    fn keep_health<'a>(
        &'a self,
        mut ops: Vec<Op>,
        entry: Option<&'a Entry>,
    ) -> Pending<'a, Result<(), Problem>> {
        Box::pin(async move {
            if let Some(entry) = entry {
                ops.extend(self.entry_ops(entry)?);
            }
            let written = self.store.txn(Vec::new(), ops);
            let written = within(self.slowest.of(written)).await.map(drop);
            if entry.is_some() {
                self.has_recorded();
            }
            written
        })
    }

    fn took(&self) -> Duration {
        self.slowest.lately()
    }

    fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    fn entries(&self) -> Pending<'_, Result<Vec<(u64, Entry)>, Problem>> {
        Box::pin(async move {
            let listing = within(self.store.list_all(&format!("{PREFIX}audit/"))).await?;
            let items = listing.items.iter();
            let entries = items.filter_map(|item| {
                let number = item.key.rsplit('/').next()?.parse().ok()?;
                // One that cannot be read is told of, and takes none of the others away.
                let entry = decode(&item.key, &item.value).unwrap_or_else(|problem| {
                    tracing::warn!(%problem, "an entry of the record");
                    Entry::unreadable(&item.key)
                });
                Some((number, entry))
            });
            Ok(entries.collect())
        })
    }

    fn record<'a>(&'a self, entry: &'a Entry) -> Pending<'a, Result<(), Problem>> {
        Box::pin(async move {
            let ops = self.entry_ops(entry)?;
            let written = within(self.store.txn(Vec::new(), ops)).await.map(drop);
            self.has_recorded();
            written
        })
    }

    fn page(&self, page: Page) -> Pending<'_, Result<Listing, Problem>> {
        Box::pin(within(self.store.list(PREFIX, page)))
    }

    fn kept_reports(&self) -> Pending<'_, Result<Vec<Remembered>, Problem>> {
        Box::pin(async move {
            let listing = within(self.store.list_all(&format!("{PREFIX}nodes/"))).await?;
            let parts = listing.items.iter();
            let parts = parts.filter(|item| !nodes::is_spec(&item.key));
            let parts = parts.filter_map(|item| match decode(&item.key, &item.value) {
                Ok(part) => Some(part),
                // The node says it again; nothing is lost.
                Err(problem) => {
                    tracing::warn!(%problem, "a kept report");
                    None
                }
            });
            Ok(kept::joined(parts))
        })
    }

    fn keep_reports<'a>(&'a self, reports: &'a [Remembered]) -> Pending<'a, Result<(), Problem>> {
        Box::pin(async move {
            let mut ops = Vec::new();
            let mut bytes = 0;
            for op in kept::ops(reports)? {
                let size = match &op {
                    Op::Put { value, .. } => value.len(),
                    Op::Delete { .. } => 0,
                };
                // A transaction holds so much, but one value always.
                let full =
                    bytes + size > limits::VALUE_BYTES_MAX || ops.len() == limits::TXN_OPS_MAX;
                if full && !ops.is_empty() {
                    within(self.store.txn(Vec::new(), std::mem::take(&mut ops))).await?;
                    bytes = 0;
                }
                bytes += size;
                ops.push(op);
            }
            within(self.store.txn(Vec::new(), ops)).await.map(drop)
        })
    }
}

/// The wish that these keys make; others are left out with a warning.
///
/// # Errors
/// If a value cannot be read.
pub fn wish(items: &[Arc<KeyValue>]) -> Result<Wish, Problem> {
    let mut wish = Wish::nothing();
    let mut desired = NodeDesired::default();
    let mut specs = Vec::new();
    for item in items {
        let key = item.key.strip_prefix(PREFIX).unwrap_or_default();
        match key.split('/').collect::<Vec<_>>().as_slice() {
            ["generation"] => {
                let number = Generation::read(item)?.number;
                wish.generation = number.unwrap_or(item.mod_revision.get());
                wish.revision = item.mod_revision;
            }
            ["cluster"] => desired.enabled = Some(decode(key, &item.value)?),
            ["intents", _] => desired.intents.push(decode(key, &item.value)?),
            ["isolated", _, _] => desired.isolated.push(decode(key, &item.value)?),
            ["vms", _, "spec"] => {
                let mut spec: VmSpec = decode(key, &item.value)?;
                if spec.changed == 0 {
                    spec.changed = item.mod_revision.get();
                }
                specs.push(spec);
            }
            ["tokens", _] => {
                let token: TokenSpec = decode(key, &item.value)?;
                Arc::make_mut(&mut wish.tokens).insert(token.name.clone(), token);
            }
            // A newer version's: kept, not understood.
            _ => tracing::warn!(key, "an unknown key in the store"),
        }
    }
    let enabled = desired.enabled.as_ref().map(|enabled| &enabled.intent);
    for spec in specs {
        wish.specs.put(spec.brought_up_to_date(enabled));
    }
    desired
        .isolated
        .sort_by(|one, other| wish::place_of(one).cmp(&wish::place_of(other)));
    // What was removed has left no trace of when; all nodes are told anew.
    desired.generation = wish.generation();
    wish.desired = Arc::new(desired);
    Ok(wish)
}

fn op(write: &Write, entry: &Entry, generation: u64) -> Result<Op, Problem> {
    Ok(match write {
        Write::Cluster(Some(cluster)) => put("cluster", &cluster)?,
        Write::Cluster(None) => Op::delete(format!("{PREFIX}cluster")),
        Write::Intent(intent) => put(&format!("intents/{}", intent.name), &intent)?,
        Write::NoIntent(name) => Op::delete(format!("{PREFIX}intents/{name}")),
        Write::NoVm(uuid) => Op::delete(format!("{PREFIX}vms/{uuid}/spec")),
        Write::Isolated(isolated) => {
            let Isolated { node, adapter, .. } = isolated;
            put(&format!("isolated/{node}/{adapter}"), isolated)?
        }
        Write::NotIsolated { node, adapter } => {
            Op::delete(format!("{PREFIX}isolated/{node}/{adapter}"))
        }
        Write::Token(token) => put(&format!("tokens/{}", token.name), token)?,
        Write::NoToken(name) => Op::delete(format!("{PREFIX}tokens/{name}")),
        Write::Vm { uuid, wanted } => {
            let spec = VmSpec::new(*uuid, wanted.clone(), entry, generation);
            put(&format!("vms/{uuid}/spec"), &spec)?
        }
    })
}

pub fn put(key: &str, value: &impl Serialize) -> Result<Op, Problem> {
    let versioned = Versioned {
        schema: SCHEMA,
        value,
    };
    let bytes = serde_json::to_vec(&versioned).map_err(|error| {
        Problem::new(Code::Internal, format!("{key} cannot be written: {error}."))
    })?;
    Ok(Op::put(format!("{PREFIX}{key}"), bytes))
}

pub fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Problem> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let wrong = |reason: String| {
        let text = format!("{key} in the store cannot be read: {reason}.");
        Problem::new(Code::StoreFailed, text)
    };
    let Schema { schema } =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if schema > SCHEMA {
        let reason = format!("its schema is {schema}, this version knows {SCHEMA}");
        return Err(wrong(reason).with_cure("Use the version of accelnetd that wrote it."));
    }
    let versioned: Versioned<T> =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    Ok(versioned.value)
}

async fn within_store<T>(work: impl Future<Output = T> + Send) -> Result<T, Problem> {
    tokio::time::timeout(LIMIT, work).await.map_err(|_| {
        let text = format!("The store gave no answer within {} s.", LIMIT.as_secs());
        Problem::new(Code::StoreFailed, text)
    })
}

pub async fn within<T>(
    work: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, Problem> {
    within_store(work).await?.map_err(|error| failed(&error))
}

fn failed(error: &StoreError) -> Problem {
    Problem::new(Code::StoreFailed, format!("{error}."))
}
