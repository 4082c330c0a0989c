//! The wish, in the store.
//!
//! | key | value |
//! |---|---|
//! | `accelnet/v1/generation` | written with every change: its revision is the wish's generation |
//! | `accelnet/v1/cluster` | [`ClusterEnable`], if acceleration is enabled |
//! | `accelnet/v1/intents/NAME` | [`Intent`] |
//! | `accelnet/v1/vms/UUID` | [`VmDesired`] |
//!
//! Every change compares the generation, so that no decision rests on a wish that has changed since.

use accelnet_model::{ClusterEnable, Code, Intent, Name, NodeDesired, Problem, VmDesired};
use accelnet_store::{Compare, Op, Revision, Store, StoreError};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::Pending;

const PREFIX: &str = "accelnet/v1/";
/// How often a change that lost a race is decided anew.
pub const ATTEMPTS: u32 = 5;

/// The wish as it was read.
#[derive(Debug, Clone)]
pub struct Wish {
    revision: Revision,
    /// What is wanted.
    pub desired: NodeDesired,
}

impl Wish {
    /// The wish for a VM.
    pub fn vm(&self, uuid: Uuid) -> Option<&VmDesired> {
        self.desired.vm(uuid)
    }

    /// The intent with this name.
    pub fn intent(&self, name: &str) -> Option<&Intent> {
        self.desired
            .intents
            .iter()
            .find(|intent| intent.name.as_str() == name)
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
    /// Put the wish for a VM.
    Vm(VmDesired),
}

/// Reads and writes the wish.
pub trait State: Send + Sync {
    /// Reads it.
    fn load(&self) -> Pending<'_, Result<Wish, Problem>>;

    /// Writes, if nothing has changed since `seen`; false if something has.
    fn commit<'a>(
        &'a self,
        seen: &'a Wish,
        writes: Vec<Write>,
    ) -> Pending<'a, Result<bool, Problem>>;
}

/// The wish in a store.
pub struct Stored<S>(S);

impl<S: Store> Stored<S> {
    /// In this store.
    pub fn new(store: S) -> Self {
        Self(store)
    }

    async fn read(&self) -> Result<Wish, Problem> {
        let listing = self.0.list_all(PREFIX).await.map_err(failed)?;
        let mut wish = Wish {
            revision: Revision::ABSENT,
            desired: NodeDesired::default(),
        };
        for item in &listing.items {
            let key = item.key.strip_prefix(PREFIX).unwrap_or_default();
            let desired = &mut wish.desired;
            match key.split_once('/').unwrap_or((key, "")) {
                ("generation", _) => {
                    wish.revision = item.mod_revision;
                    desired.generation = item.mod_revision.get();
                }
                ("cluster", _) => desired.enabled = Some(decode(key, &item.value)?),
                ("intents", _) => desired.intents.push(decode(key, &item.value)?),
                ("vms", _) => desired.vms.push(decode(key, &item.value)?),
                // A newer version's: kept, not understood.
                _ => tracing::warn!(key, "an unknown key in the store"),
            }
        }
        Ok(wish)
    }

    async fn write(&self, seen: &Wish, writes: Vec<Write>) -> Result<bool, Problem> {
        let generation = format!("{PREFIX}generation");
        let compare = if seen.revision == Revision::ABSENT {
            Compare::absent(&generation)
        } else {
            Compare::unchanged(&generation, seen.revision)
        };
        // The value says nothing; that it is written counts.
        let mut ops = vec![Op::put(generation, seen.desired.generation.to_string())];
        for write in writes {
            ops.push(match write {
                Write::Cluster(Some(cluster)) => put("cluster", &cluster)?,
                Write::Cluster(None) => Op::delete(format!("{PREFIX}cluster")),
                Write::Intent(intent) => put(&format!("intents/{}", intent.name), &intent)?,
                Write::NoIntent(name) => Op::delete(format!("{PREFIX}intents/{name}")),
                Write::Vm(vm) => put(&format!("vms/{}", vm.uuid), &vm)?,
            });
        }
        let outcome = self.0.txn(vec![compare], ops).await.map_err(failed)?;
        Ok(outcome.committed().is_some())
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
    ) -> Pending<'a, Result<bool, Problem>> {
        Box::pin(self.write(seen, writes))
    }
}

fn put(key: &str, value: &impl Serialize) -> Result<Op, Problem> {
    let bytes = serde_json::to_vec(value).map_err(|error| {
        Problem::new(Code::Internal, format!("{key} cannot be written: {error}."))
    })?;
    Ok(Op::put(format!("{PREFIX}{key}"), bytes))
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(
            Code::StoreFailed,
            format!("{key} in the store cannot be read: {error}."),
        )
    })
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn failed(error: StoreError) -> Problem {
    Problem::new(Code::StoreFailed, format!("{error}."))
}
