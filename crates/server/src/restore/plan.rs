//! What is written, from the state as it is and the copy. Nothing here does I/O; time is a parameter.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use accelnet_api::backup::Backup;
use accelnet_model::{Code, Name, Problem};
use accelnet_store::{KeyValue, Op, Revision, limits};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::differences::{self, Difference};
use crate::{
    backup::is_of_the_moment,
    nodes::{Founding, Member, is_spec},
    state::{self, Generation, PREFIX, VmSpec, Wish, decode, put},
};

/// The wish is given at least so many numbers for each second of the clock: more than a server can write. So one that
/// goes on after a copy is ahead of all that was written after the copy and is lost, unless the clock was set back by
/// the cluster's age. 2^53 seconds' worth are 272 years, which JSON's readers can tell apart.
const NUMBERS_A_SECOND: u64 = 1 << 20;

/// What is written, and what comes of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// To be told.
    pub report: Report,
    /// The store's revision of the wish that it rests on.
    pub(super) seen: Revision,
    /// In any order, in as many transactions as it takes.
    pub(super) ops: Vec<Op>,
    /// With the last transaction.
    pub(super) last: Vec<Op>,
    /// Number of its entry in the record.
    pub(super) entry: u64,
}

/// What a restore does, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The cluster; none of a host that stands alone.
    pub cluster: Option<Uuid>,
    /// When the copy was taken.
    pub taken: Timestamp,
    /// The copy's checksum.
    pub sha256: String,
    /// There was no cluster in the store: it takes authority, nodes and tokens from the copy too.
    pub into_empty: bool,
    /// Number of the wish as it is.
    pub generation_before: u64,
    /// Its number afterwards.
    pub generation: u64,
    /// In what the present state differs from the copy, and what becomes of it.
    pub differences: Vec<Difference>,
}

/// All that is known of a state.
pub(super) struct Known {
    pub(super) wish: Wish,
    pub(super) founding: Option<Founding>,
    pub(super) members: BTreeMap<Name, Member>,
}

impl Known {
    fn of(items: &[Arc<KeyValue>]) -> Result<Self, Problem> {
        let (mut founding, mut members, mut wish) = (None, BTreeMap::new(), Vec::new());
        for item in items {
            let key = item.key.strip_prefix(PREFIX).unwrap_or(&item.key);
            if key == "authority" {
                founding = Some(decode(key, &item.value)?);
            } else if key.starts_with("nodes/") {
                if is_spec(key) {
                    let member: Member = decode(key, &item.value)?;
                    members.insert(member.name.clone(), member);
                }
            } else if is_of_wish(key) {
                wish.push(Arc::clone(item));
            }
        }
        Ok(Self {
            wish: state::wish(&wish)?,
            founding,
            members,
        })
    }

    fn cluster(&self) -> Option<Uuid> {
        self.founding.as_ref().map(|founding| founding.cluster)
    }

    /// Nothing was ever wanted here, and nobody has founded a cluster.
    fn is_nothing(&self) -> bool {
        self.founding.is_none() && self.wish.revision() == Revision::ABSENT
    }
}

fn is_of_wish(key: &str) -> bool {
    state::WISH
        .iter()
        .any(|part| key == *part || (part.ends_with('/') && key.starts_with(part)))
}

/// Whether a key is as the copy says; `into_empty`: of a store without a cluster.
fn is_restored(key: &str, into_empty: bool) -> bool {
    // Of the machines and people that there are now; what a copy says of them is old.
    let present = ["audit/", "isolated/", "nodes/", "tokens/"];
    let stays = !into_empty && present.iter().any(|part| key.starts_with(part));
    !stays && !["authority", "generation"].contains(&key) && !is_of_the_moment(key)
}

/// The plan.
pub(super) fn of(
    present: &[Arc<KeyValue>],
    backup: &Backup,
    now: Timestamp,
) -> Result<Plan, Problem> {
    let items = key_values(backup)?;
    let unusable = |problem: Problem| {
        let text = format!("The backup cannot be used: {}", problem.detail);
        let cure = "Use the version of accelnetd that took it, or a newer one.";
        Problem::new(Code::InvalidArgument, text).with_cure(cure)
    };
    let copy = Known::of(&items).map_err(unusable)?;
    let here = Known::of(present)?;
    let into_empty = here.is_nothing();
    if !into_empty && here.cluster() != copy.cluster() {
        return Err(another(here.cluster(), copy.cluster()));
    }
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let before = here.wish.generation();
    let generation = before.max(copy.wish.generation()) + 1;
    let generation = generation.max(seconds * NUMBERS_A_SECOND);
    let settled = Settled::of(&copy.wish, &here.wish, generation);
    let mut target = BTreeMap::new();
    for item in &items {
        let Some(key) = item.key.strip_prefix(PREFIX) else {
            continue;
        };
        if is_restored(key, into_empty) && !settled.is_changed(key) {
            target.insert(item.key.clone(), item.value.clone());
        }
    }
    for spec in settled.changed.values().flatten() {
        if let Op::Put { key, value } = put(&format!("vms/{}/spec", spec.uuid), spec)? {
            target.insert(key, value);
        }
    }
    let last = {
        let number = Generation {
            number: Some(generation),
            write: Some(Uuid::new_v4()),
        };
        let mut last = vec![put("generation", &number)?];
        if let Some(founding) = copy.founding.as_ref().filter(|_| into_empty) {
            last.push(put("authority", founding)?);
        }
        last
    };
    let entries = if into_empty { &items[..] } else { present };
    Ok(Plan {
        report: Report {
            cluster: copy.cluster(),
            taken: backup.header.taken,
            sha256: backup.sha256.clone(),
            into_empty,
            generation_before: before,
            generation,
            differences: differences::between(&here, &copy, &settled, into_empty),
        },
        seen: here.wish.revision(),
        ops: ops(present, target, into_empty),
        last,
        entry: next_entry(entries),
    })
}

fn another(here: Option<Uuid>, copy: Option<Uuid>) -> Problem {
    let named = |cluster: Option<Uuid>| match cluster {
        Some(id) => format!("cluster {id}"),
        None => "a host that stands alone".to_owned(),
    };
    let text = format!(
        "The store holds the state of {}, the backup is of {}.",
        named(here),
        named(copy)
    );
    Problem::new(Code::Conflict, text).with_cure(
        "Name the store of that cluster ('--store'), or one that is empty: agents and tokens of one cluster are \
         strangers to another.",
    )
}

/// A backup's items as a store has them.
fn key_values(backup: &Backup) -> Result<Vec<Arc<KeyValue>>, Problem> {
    let items = backup.items.iter().map(|item| {
        let value = serde_json::to_vec(&item.value);
        let value = value.ok().filter(|value| {
            let key = PREFIX.len() + item.key.len();
            value.len() <= limits::VALUE_BYTES_MAX && key <= limits::KEY_BYTES_MAX
        });
        let value = value.ok_or_else(|| {
            let text = format!(
                "The backup cannot be used: {} is too large for a store.",
                item.key
            );
            Problem::new(Code::InvalidArgument, text)
        })?;
        let revision = Revision::new(item.revision);
        Ok(Arc::new(KeyValue {
            key: format!("{PREFIX}{}", item.key),
            value,
            create_revision: revision,
            mod_revision: revision,
            version: 1,
        }))
    });
    items.collect()
}

/// From what there is to what there shall be.
fn ops(present: &[Arc<KeyValue>], target: BTreeMap<String, Vec<u8>>, into_empty: bool) -> Vec<Op> {
    let known: BTreeMap<&str, &[u8]> = present
        .iter()
        .map(|item| (item.key.as_str(), item.value.as_slice()))
        .collect();
    let gone = known.keys().filter(|key| {
        let key = key.strip_prefix(PREFIX);
        key.is_some_and(|key| is_restored(key, into_empty))
    });
    let gone = gone.filter(|key| !target.contains_key(**key));
    let gone: Vec<Op> = gone.map(|key| Op::delete(*key)).collect();
    let new = target.into_iter().filter(|(key, value)| {
        let same = known.get(key.as_str()).copied() == Some(value.as_slice());
        !same
    });
    let new = new.map(|(key, value)| Op::put(key, value));
    gone.into_iter().chain(new).collect()
}

fn next_entry(items: &[Arc<KeyValue>]) -> u64 {
    let audit = format!("{PREFIX}audit/");
    let numbers = items.iter().filter_map(|item| {
        let number: u64 = item.key.strip_prefix(&audit)?.parse().ok()?;
        Some(number + 1)
    });
    numbers.max().unwrap_or_default()
}

/// What is wanted for VMs afterwards, where that is not what the copy says.
pub(super) struct Settled {
    /// Nothing is written for one if there is none.
    changed: BTreeMap<Uuid, Option<VmSpec>>,
    keys: BTreeSet<String>,
}

impl Settled {
    fn of(copy: &Wish, here: &Wish, generation: u64) -> Self {
        let mut changed = BTreeMap::new();
        for spec in copy.specs.iter() {
            let settled = settle(spec, here.specs.get(spec.uuid));
            if settled.as_ref() != Some(spec) {
                let settled = settled.map(|settled| VmSpec {
                    changed: generation,
                    ..settled
                });
                changed.insert(spec.uuid, settled);
            }
        }
        let keys = changed.keys().map(|vm| format!("vms/{vm}/spec"));
        Self {
            keys: keys.collect(),
            changed,
        }
    }

    fn is_changed(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// What is wanted for a VM of the copy afterwards.
    pub(super) fn after<'a>(&'a self, spec: &'a VmSpec) -> Option<&'a VmSpec> {
        self.changed
            .get(&spec.uuid)
            .map_or(Some(spec), Option::as_ref)
    }
}

/// What a copy says of a VM, without what would take it off a VF that it has: it brings a VM to the software path only
/// where that is wanted now too, and parks none. What is not wanted at all is left alone by nodes.
fn settle(copy: &VmSpec, here: Option<&VmSpec>) -> Option<VmSpec> {
    let mut settled = copy.clone();
    settled.intents.retain(|intent, wanted| {
        let now = here.and_then(|here| here.intents.get(intent));
        wanted.level.is_some() || now.is_some_and(|now| now.level.is_none())
    });
    settled.park = here.and_then(|here| here.park.clone());
    (!settled.intents.is_empty()).then_some(settled)
}
