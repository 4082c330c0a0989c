//! A cluster's server with all its parts that are real: `accelnetd server` as a process, etcd as another, TLS,
//! tokens, the agents' lines with nodes' certificates. Only the nodes' machines are simulated: they do what they are
//! told at once.
//!
//! ```text
//!   clients ── HTTPS, token ──► accelnetd server ──► etcd
//!   lines of 1,000 simulated nodes ── TLS, certificates ──┘
//! ```
//!
//! | module | measures |
//! |---|---|
//! | `admissions` | durable admissions a second by 1, 8 and 64 clients, beside bare transactions of that size |
//! | `amounts` | what an admission and a report write to the store |
//! | `restarted` | the server is started again: until all nodes are connected and have been told their part |
//! | `died` | the active of two servers is killed: until the next write; whether all that was acknowledged is there |
//!
//! `make bench`; another number of nodes: `cargo bench -p accelnet-daemon --features etcd --bench cluster -- 100`.
//! All of it is on one machine, which is said to be how busy it was: figures of one without a processor to spare
//! are that machine's. It fails on wrong answers alone.

mod admissions;
mod amounts;
mod busy;
mod died;
mod fleet;
mod load;
mod restarted;
mod running;
#[path = "../../tests/shared/servers.rs"]
mod shared;
mod written;

use std::{collections::BTreeMap, path::Path, time::Instant};

use accelnet_api::Client;
use accelnet_server::fake::simulated::{Size, fill};
use accelnet_store::{EtcdOptions, EtcdStore};
use busy::{Meter, Processes};
use fleet::Fleet;
use load::{Acknowledged, What};
use running::Running;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shared::{Founded, Place, Process, etcd, found, until};
use written::Writes;

const NODES: u64 = 1000;
/// VMs of each node that are accelerated from the beginning, and those that are not.
const ACCELERATED: u32 = 20;
const OTHERS: u32 = 8;
/// Of these, so many are for `admissions` and `died`, the last for `amounts`.
const FOR_ADMISSIONS: u32 = 7;
/// Descriptors of each node's line, at either end, while it dials anew.
const DESCRIPTORS: u64 = 4;
/// How long a cluster is looked at in which nothing happens.
const AT_REST: std::time::Duration = std::time::Duration::from_secs(6);

/// What is measured.
struct Cluster<'a> {
    directory: &'a Path,
    server: Running,
    etcd: Process,
    founded: Founded,
    /// Beside the server's.
    store: EtcdStore,
    size: Size,
    fleet: Fleet,
}

impl Cluster<'_> {
    fn place(&self) -> &Place {
        &self.server.place
    }

    fn processes(&self) -> Processes {
        Processes {
            server: self.server.pid(),
            etcd: self.etcd.0.id(),
        }
    }

    /// What is wanted for each VM, as the server at this place says: true if it is to be accelerated.
    async fn wanted(&self, admin: &Client) -> BTreeMap<String, bool> {
        let listed = until("a list of VMs", async || admin.vms().await.ok());
        let vms = listed.await.0.items.into_iter();
        let all: BTreeMap<String, bool> = vms.map(|vm| (vm.name, vm.level.is_some())).collect();
        let every = self.size.nodes * u64::from(ACCELERATED + OTHERS);
        assert_eq!(all.len() as u64, every, "VMs of all nodes");
        all
    }

    /// Fails if something that was acknowledged is not there.
    async fn holds(&self, admin: &Client, acknowledged: &[Acknowledged]) {
        let wanted = self.wanted(admin).await;
        for done in acknowledged {
            let admitted = done.what == What::Admission;
            assert_eq!(
                wanted[&done.vm], admitted,
                "{:?} of {} was acknowledged, and is not there",
                done.what, done.vm
            );
        }
    }
}

/// As many nodes as there are descriptors for.
fn nodes(asked: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let all = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // The server, which this starts, has the same.
    setrlimit(Resource::Nofile, raised).expect("as many as are allowed");
    let can = all.saturating_sub(200) / DESCRIPTORS;
    if can < asked {
        println!("{can} nodes, not {asked}: a process may have {all} descriptors here");
    }
    asked.min(can)
}

async fn begin(directory: &Path, nodes: u64) -> Cluster<'_> {
    let size = Size {
        nodes,
        accelerated: ACCELERATED,
        others: OTHERS,
    };
    let (etcd, url) = etcd(directory);
    let place = Place::new(directory, "a", &url);
    let founded = found(&place).await;
    let endpoint = url.replace("etcd://", "http://");
    let store = EtcdStore::connect(EtcdOptions::new([endpoint])).await;
    let store = store.expect("an etcd");
    fill(&store, size).await;
    let server = Running::start(place);
    let place = &server.place;
    let (_, ready) = until("it decides", async || place.decides().await.then_some(())).await;
    println!("the server decides {ready:.1?} after its start");
    let begun = Instant::now();
    let after = |what: &str| println!("{what} after {:.1?}", begun.elapsed());
    let mut writes = Writes::follow(&store).await;
    let fleet = writes.read_until(Fleet::join(place, size)).await;
    after(&format!("{nodes} nodes have joined"));
    writes.read_until(fleet.all_told()).await;
    after("all are connected and have been told their part");
    writes.until_kept(|kept| kept.len() as u64 == nodes).await;
    after("what is kept of their reports is in the store");
    drop(writes);
    Cluster {
        directory,
        server,
        etcd,
        founded,
        store,
        size,
        fleet,
    }
}

async fn at_rest(cluster: &Cluster<'_>) {
    let meter = Meter::new(cluster.processes());
    tokio::time::sleep(AT_REST).await;
    let busy = meter.read();
    let (now, most) = busy::memory(cluster.processes().server);
    println!(
        "at rest: the server uses {:.3} of a processor, and has {now} MiB (at most {most} until now)",
        busy.share(busy.server)
    );
    busy.say("  ");
}

/// How long a question takes that is about all of it, in the middle of three times.
async fn ask<T>(what: &str, question: impl AsyncFn() -> accelnet_api::client::Result<T>) {
    let mut times = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        if question().await.is_err() {
            return println!("  {what}: no answer");
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("  {what}: {:.1?}", times[1]);
}

async fn lists(cluster: &Cluster<'_>) {
    println!("questions about all of it, HTTPS and a token:");
    let person = cluster.founded.person(cluster.place());
    ask("GET /status", async || person.status().await).await;
    ask("GET /capacity", async || person.capacity(&[]).await).await;
    ask("GET /vms", async || person.vms().await).await;
}

async fn run(directory: &Path, nodes: u64) {
    let accelerated = nodes * u64::from(ACCELERATED);
    println!(
        "{nodes} simulated nodes, {accelerated} accelerated VMs, one server, one etcd, {} processors; load before: {}",
        busy::processors(),
        std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .trim()
    );
    let mut cluster = begin(directory, nodes).await;
    at_rest(&cluster).await;
    lists(&cluster).await;
    let shape = amounts::measure(&cluster).await;
    admissions::measure(&cluster, shape).await;
    restarted::measure(&cluster).await;
    cluster.server.say();
    died::measure(&mut cluster).await;
}

fn main() {
    // Or another number: cargo bench … -- 100
    let asked = std::env::args().find_map(|word| word.parse().ok());
    let nodes = nodes(asked.unwrap_or(NODES));
    // On the disk that is built on, not in memory: a commit waits for it.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let begun = Instant::now();
    runtime.block_on(run(directory.path(), nodes));
    println!("measured in {:.0?}", begun.elapsed());
}
