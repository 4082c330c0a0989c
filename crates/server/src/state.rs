//! What the server must not forget, in the store.
//!
//! | key | value |
//! |---|---|
//! | `accelnet/v1/generation` | written with every change of the wish: its revision is the wish's generation |
//! | `accelnet/v1/cluster` | [`ClusterEnable`], if acceleration is enabled |
//! | `accelnet/v1/intents/NAME` | [`Intent`] |
//! | `accelnet/v1/vms/UUID/spec` | [`VmSpec`] |
//! | `accelnet/v1/nodes/NAME/status` | the node's last report, without what changes by itself |
//! | `accelnet/v1/audit/NUMBER` | [`Entry`]; the last [`KEPT`] |
//!
//! Values are JSON objects with the number of their `schema`. The first four are the *wish*. Every
//! change of it compares the generation, so that no decision rests on a wish that has changed since,
//! and is written together with its audit entry.

mod spec;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use accelnet_model::{
    ClusterEnable, Code, Intent, Name, NodeDesired, NodeStatus, Performance, Problem, VmDesired,
};
use accelnet_store::{Compare, KeyValue, Listing, Op, Page, Revision, Store, StoreError, limits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    Pending,
    admission::Room,
    audit::{Entry, KEPT},
};
pub use spec::{OnIntent, VmSpec};

const PREFIX: &str = "accelnet/v1/";
/// Version of the values' layout. A newer one is refused rather than misread.
const SCHEMA: u32 = 1;
/// How often a read that was overtaken begins again.
const ATTEMPTS: u32 = 5;
/// A commit waits for one or two syncs of the disk; one that takes this long will not come.
const LIMIT: Duration = Duration::from_secs(10);

/// The wish as it was read.
#[derive(Debug, Clone)]
pub struct Wish {
    revision: Revision,
    /// What is wanted, as nodes are told.
    pub desired: NodeDesired,
    /// Everything that is wanted for VMs, also on intents that are not enabled.
    pub specs: BTreeMap<Uuid, VmSpec>,
    /// The capacity that follows from it, kept from one reading to the next.
    pub room: Arc<Room>,
}

impl Wish {
    /// The wish for a VM on the enabled intent.
    pub fn vm(&self, uuid: Uuid) -> Option<&VmDesired> {
        self.desired.vm(uuid)
    }

    /// The wish for a VM on an intent, enabled or not.
    pub fn on(&self, uuid: Uuid, intent: &Name) -> Option<&OnIntent> {
        self.specs.get(&uuid)?.intents.get(intent)
    }

    /// VMs that are wanted accelerated on an intent, with their levels.
    pub fn levels_on(&self, intent: &Name) -> impl Iterator<Item = (Uuid, Performance)> {
        let all = self.specs.iter();
        all.filter_map(move |(uuid, spec)| Some((*uuid, spec.intents.get(intent)?.level?)))
    }

    /// A VM's level as it is shown: that on the enabled intent. While none is enabled all are kept
    /// alike; the highest stands for them.
    pub fn level_of(&self, uuid: Uuid) -> Option<Performance> {
        match &self.desired.enabled {
            Some(enabled) => self.on(uuid, &enabled.intent)?.level,
            None => self.specs.get(&uuid)?.highest_level(),
        }
    }

    /// The VM's name when something was asked for it last.
    pub fn name_of(&self, uuid: Uuid) -> &str {
        self.specs.get(&uuid).map_or("", |spec| &spec.name)
    }

    /// The intent with this name.
    pub fn intent(&self, name: &str) -> Option<&Intent> {
        let mut intents = self.desired.intents.iter();
        intents.find(|intent| intent.name.as_str() == name)
    }
}

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
        /// What is wanted, by intent.
        intents: BTreeMap<Name, OnIntent>,
        /// The VM's name.
        name: String,
    },
    /// Forget the wishes for a VM.
    NoVm(Uuid),
}

/// Reads and writes the state; a store whose kind does not matter.
pub trait State: Send + Sync {
    /// Reads the wish.
    fn load(&self) -> Pending<'_, Result<Wish, Problem>>;

    /// Writes, if the wish has not changed since `seen`; false if it has.
    fn commit<'a>(
        &'a self,
        seen: &'a Wish,
        writes: Vec<Write>,
        entry: Entry,
    ) -> Pending<'a, Result<bool, Problem>>;

    /// Notes something that changed nothing.
    fn note(&self, entry: Entry) -> Pending<'_, Result<(), Problem>>;

    /// The nodes' reports as they were kept.
    fn kept_reports(&self) -> Pending<'_, Result<Vec<NodeReport>, Problem>>;

    /// Keeps a node's report.
    fn keep_report<'a>(&'a self, report: &'a NodeReport) -> Pending<'a, Result<(), Problem>>;
}

/// A node's report as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub name: Name,
    /// What it said.
    pub status: NodeStatus,
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
}

impl<S: Store> Stored<S> {
    /// Opens the state in a store.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn open(store: S) -> Result<Self, Problem> {
        let entries = within(store.list_all(&format!("{PREFIX}audit/"))).await?;
        let last = entries.items.last();
        let number = last.and_then(|entry| entry.key.rsplit('/').next()?.parse().ok());
        Ok(Self {
            store,
            next_entry: AtomicU64::new(number.map_or(0, |number: u64| number + 1)),
        })
    }

    /// Everything below the prefix at one revision. Unlike [`Store::list_all`] it reads only what
    /// belongs to the wish, so audit and reports cost nothing here.
    async fn read(&self) -> Result<Wish, Problem> {
        // Somebody writes so much that what was begun with is no longer kept: begin again.
        for _ in 0..ATTEMPTS {
            match within_store(self.read_at_once()).await? {
                Err(StoreError::Compacted { .. }) => {}
                Err(error) => return Err(failed(&error)),
                Ok(items) => return wish(&items),
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
        for part in ["cluster", "generation", "intents/", "vms/"] {
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

    async fn write(&self, seen: &Wish, writes: Vec<Write>, entry: Entry) -> Result<bool, Problem> {
        let generation = format!("{PREFIX}generation");
        let compare = if seen.revision == Revision::ABSENT {
            Compare::absent(&generation)
        } else {
            Compare::unchanged(&generation, seen.revision)
        };
        // The value says nothing; that it is written counts.
        let mut ops = vec![Op::put(generation, "{\"schema\":1}")];
        for write in writes {
            ops.push(match write {
                Write::Cluster(Some(cluster)) => put("cluster", &cluster)?,
                Write::Cluster(None) => Op::delete(format!("{PREFIX}cluster")),
                Write::Intent(intent) => put(&format!("intents/{}", intent.name), &intent)?,
                Write::NoIntent(name) => Op::delete(format!("{PREFIX}intents/{name}")),
                Write::NoVm(uuid) => Op::delete(format!("{PREFIX}vms/{uuid}/spec")),
                Write::Vm {
                    uuid,
                    intents,
                    name,
                } => {
                    let spec = VmSpec {
                        uuid,
                        intents,
                        of_enabled: OnIntent::default(),
                        name,
                        by: entry.by,
                        at: entry.at,
                    };
                    put(&format!("vms/{uuid}/spec"), &spec)?
                }
            });
        }
        ops.extend(self.entry_ops(&entry)?);
        let outcome = within(self.store.txn(vec![compare], ops)).await?;
        Ok(outcome.committed().is_some())
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
        Box::pin(self.read())
    }

    fn commit<'a>(
        &'a self,
        seen: &'a Wish,
        writes: Vec<Write>,
        entry: Entry,
    ) -> Pending<'a, Result<bool, Problem>> {
        Box::pin(self.write(seen, writes, entry))
    }

    fn note(&self, entry: Entry) -> Pending<'_, Result<(), Problem>> {
        Box::pin(async move {
            let ops = self.entry_ops(&entry)?;
            within(self.store.txn(Vec::new(), ops)).await.map(drop)
        })
    }

    fn kept_reports(&self) -> Pending<'_, Result<Vec<NodeReport>, Problem>> {
        Box::pin(async move {
            let listing = within(self.store.list_all(&format!("{PREFIX}nodes/"))).await?;
            let reports = listing.items.iter();
            Ok(reports
                .filter_map(|item| match decode(&item.key, &item.value) {
                    Ok(report) => Some(report),
                    // The node says it again; nothing is lost.
                    Err(problem) => {
                        tracing::warn!(%problem, "a kept report");
                        None
                    }
                })
                .collect())
        })
    }

    fn keep_report<'a>(&'a self, report: &'a NodeReport) -> Pending<'a, Result<(), Problem>> {
        Box::pin(async move {
            let op = put(&format!("nodes/{}/status", report.name), report)?;
            within(self.store.txn(Vec::new(), vec![op])).await.map(drop)
        })
    }
}

/// The wish that these keys make.
fn wish(items: &[Arc<KeyValue>]) -> Result<Wish, Problem> {
    let mut wish = Wish {
        revision: Revision::ABSENT,
        desired: NodeDesired::default(),
        specs: BTreeMap::new(),
        room: Arc::default(),
    };
    for item in items {
        let key = item.key.strip_prefix(PREFIX).unwrap_or_default();
        let desired = &mut wish.desired;
        match key.split('/').collect::<Vec<_>>().as_slice() {
            ["generation"] => {
                wish.revision = item.mod_revision;
                desired.generation = item.mod_revision.get();
            }
            ["cluster"] => desired.enabled = Some(decode(key, &item.value)?),
            ["intents", _] => desired.intents.push(decode(key, &item.value)?),
            ["vms", _, "spec"] => {
                let spec: VmSpec = decode(key, &item.value)?;
                wish.specs.insert(spec.uuid, spec);
            }
            // A newer version's: kept, not understood.
            _ => tracing::warn!(key, "an unknown key in the store"),
        }
    }
    let enabled = wish.desired.enabled.as_ref().map(|enabled| &enabled.intent);
    for spec in wish.specs.values_mut() {
        *spec = spec.clone().brought_up_to_date(enabled);
        wish.desired
            .vms
            .extend(enabled.and_then(|enabled| spec.desired(enabled)));
    }
    Ok(wish)
}

fn put(key: &str, value: &impl Serialize) -> Result<Op, Problem> {
    let versioned = Versioned {
        schema: SCHEMA,
        value,
    };
    let bytes = serde_json::to_vec(&versioned).map_err(|error| {
        Problem::new(Code::Internal, format!("{key} cannot be written: {error}."))
    })?;
    Ok(Op::put(format!("{PREFIX}{key}"), bytes))
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Problem> {
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

async fn within<T>(work: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, Problem> {
    within_store(work).await?.map_err(|error| failed(&error))
}

fn failed(error: &StoreError) -> Problem {
    Problem::new(Code::StoreFailed, format!("{error}."))
}
