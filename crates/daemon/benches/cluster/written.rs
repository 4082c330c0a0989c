//! What was written to the store, seen by a watch of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use accelnet_store::{EtcdStore, Event, EventBatch, Page, Revision, Store, Watch};
use serde_json::Value;
use tokio::time::timeout;

use crate::shared::{AGAIN, LIMIT};

/// What all of it begins with.
const PREFIX: &str = "accelnet/v1/";

/// A part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Generation,
    Vms,
    Record,
    /// What is kept of nodes' reports.
    Reports,
    Other,
}

impl Part {
    fn of(key: &str) -> Self {
        match key.strip_prefix(PREFIX).unwrap_or(key).split('/').next() {
            Some("generation") => Self::Generation,
            Some("vms") => Self::Vms,
            Some("audit") => Self::Record,
            Some("nodes") => Self::Reports,
            _ => Self::Other,
        }
    }
}

/// Of one part.
#[derive(Debug, Clone, Copy, Default)]
pub struct Amount {
    pub puts: u64,
    pub deletes: u64,
    /// Keys and values of the puts.
    pub bytes: u64,
    /// The values alone.
    pub values: u64,
}

/// How long the values of one admission are.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub generation: usize,
    pub spec: usize,
    pub audit: usize,
}

/// Follows what is written.
pub struct Writes<'a> {
    store: &'a EtcdStore,
    watch: Watch,
    /// Transactions that wrote something else than reports.
    changes: u64,
    parts: BTreeMap<Part, Amount>,
    /// Nodes of whose reports something was kept.
    pub kept: BTreeSet<String>,
    /// How often each operation on each subject is in the record.
    pub recorded: BTreeMap<(String, String), u64>,
}

impl<'a> Writes<'a> {
    /// From now on.
    pub async fn follow(store: &'a EtcdStore) -> Self {
        let from = now(store).await.next();
        Self {
            store,
            watch: store.watch(PREFIX, from).await.expect("a watch"),
            changes: 0,
            parts: BTreeMap::new(),
            kept: BTreeSet::new(),
            recorded: BTreeMap::new(),
        }
    }

    /// Takes in what has been written until now.
    pub async fn read(&mut self) {
        let end = now(self.store).await;
        while self.watch.resume_from() <= end {
            // It arrives in a moment, or was something that is not followed.
            if let Ok(batch) = timeout(AGAIN, self.watch.recv()).await {
                self.take(&batch.expect("nothing is missed"));
            }
        }
    }

    /// Takes in what comes, until somebody else is done.
    pub async fn read_until<T>(&mut self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            tokio::select! {
                batch = self.watch.recv() => self.take(&batch.expect("nothing is missed")),
                done = &mut done => return done,
            }
        }
    }

    /// Waits until something has been kept of these nodes.
    pub async fn until_kept(&mut self, so: impl Fn(&BTreeSet<String>) -> bool) {
        let kept = async {
            while !so(&self.kept) {
                let batch = self.watch.recv().await.expect("nothing is missed");
                self.take(&batch);
            }
        };
        if timeout(LIMIT, kept).await.is_err() {
            panic!("within {LIMIT:?} something is kept of {:?}", self.kept);
        }
    }

    fn take(&mut self, batch: &EventBatch) {
        let mut of_reports = true;
        for event in &batch.events {
            let part = Part::of(event.key());
            of_reports &= part == Part::Reports;
            let amount = self.parts.entry(part).or_default();
            match event {
                Event::Put { kv, .. } => {
                    amount.puts += 1;
                    amount.bytes += (kv.key.len() + kv.value.len()) as u64;
                    amount.values += kv.value.len() as u64;
                    if let Some(node) = node_of(&kv.key) {
                        self.kept.insert(node.to_owned());
                    }
                    if part == Part::Record {
                        let text = |name: &str| {
                            let entry: Value = serde_json::from_slice(&kv.value).expect("JSON");
                            entry[name].as_str().unwrap_or_default().to_owned()
                        };
                        let entry = (text("operation"), text("subject"));
                        *self.recorded.entry(entry).or_default() += 1;
                    }
                }
                Event::Delete { .. } => amount.deletes += 1,
            }
        }
        self.changes += u64::from(!of_reports);
    }

    pub fn amount(&self, part: Part) -> Amount {
        self.parts.get(&part).copied().unwrap_or_default()
    }

    /// Of the changes that were made, the mean of each value.
    pub fn shape(&self) -> Shape {
        let mean = |part| {
            let Amount { puts, values, .. } = self.amount(part);
            values.checked_div(puts).unwrap_or_default() as usize
        };
        Shape {
            generation: mean(Part::Generation),
            spec: mean(Part::Vms),
            audit: mean(Part::Record),
        }
    }

    /// Transactions, writes and bytes of each of so many changes that have been made since the last time.
    pub fn of_each(&mut self, changes: u64) -> Each {
        let parts = [Part::Generation, Part::Vms, Part::Record];
        let all = parts.map(|part| self.parts.remove(&part).unwrap_or_default());
        let each = |number: u64| number as f64 / changes.max(1) as f64;
        let sum = |count: fn(&Amount) -> u64| each(all.iter().map(count).sum());
        Each {
            transactions: each(std::mem::take(&mut self.changes)),
            puts: sum(|amount| amount.puts),
            deletes: sum(|amount| amount.deletes),
            bytes: sum(|amount| amount.bytes),
        }
    }
}

/// What one change writes.
#[derive(Debug, Clone, Copy)]
pub struct Each {
    transactions: f64,
    puts: f64,
    deletes: f64,
    bytes: f64,
}

impl fmt::Display for Each {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            transactions,
            puts,
            deletes,
            bytes,
        } = self;
        write!(
            f,
            "{transactions:.2} transactions, {puts:.1} puts and {deletes:.1} deletes, {bytes:.0} bytes"
        )
    }
}

/// The node of whose report this is the first part.
fn node_of(key: &str) -> Option<&str> {
    let below = key.strip_prefix(PREFIX)?.strip_prefix("nodes/")?;
    below.strip_suffix("/status")
}

async fn now(store: &EtcdStore) -> Revision {
    let listing = store
        .list(&format!("{PREFIX}cluster"), Page::first(1))
        .await;
    listing.expect("a list").revision
}
