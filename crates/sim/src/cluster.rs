//! Three hosts, a server that may die, and people who want things: production code of agents, their lines and the
//! server over a store and a network that fail.
//!
//! Everything is in the time of a runtime that stands still: it goes on to the next thing that anybody waits for when
//! nobody has anything to do. Hosts are driven by hand as in [`alone`](crate::alone); what is async is the server, the
//! lines, and whoever asks.

mod befall;
mod carried;
mod hosts;
mod people;
mod servers;
mod standby;
mod verdict;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicI32},
    time::Duration,
};

use accelnet_model::Problem;
use accelnet_server::membership;
use accelnet_store::{HistoryLimits, MemoryStore};
use befall::Happening;
use carried::{Carried, Judgement};
use hosts::Host;
use jiff::Timestamp;
use people::Known;
use serde_json::json;
use servers::ServerProcess;
use standby::Standby;
use tokio::{
    runtime::Builder,
    sync::Notify,
    task::yield_now,
    time::{Instant, sleep_until},
};

use crate::{
    alone::Length,
    net::Net,
    node::VmId,
    os_random::by_seed,
    scene::{AtOnce, Dangers, Scene},
    turns::Idle,
};

const NODES: usize = 3;
/// VFs of each host.
const VFS: u32 = 3;
/// VMs, more than may be accelerated while one host may be down.
const VMS: u8 = 8;
/// VMs that may have a VF at most while one of the hosts may be down.
const ADMITTED_AT_MOST: usize = (NODES - 1) * VFS as usize;
/// A store forgets what was before: who is late is told so.
const HISTORY: HistoryLimits = HistoryLimits {
    revisions: 1,
    bytes: 1 << 20,
};
/// All is as wanted within this after the last thing that happened.
const PATIENCE: Duration = Duration::from_secs(1800);

struct Cluster {
    scene: Scene,
    idle: Idle,
    began: Instant,
    /// The time of day then.
    began_at: Timestamp,
    /// Seconds that the server's machine is ahead of it.
    clock_off: Arc<AtomicI32>,
    hosts: Vec<Host>,
    store: Arc<MemoryStore>,
    net: Net,
    server: Option<ServerProcess>,
    standby: Standby,
    /// Those that have lost the lead and do not know it yet.
    deposed: Vec<ServerProcess>,
    later: BTreeMap<(Duration, u64), Happening>,
    next: u64,
    known: Arc<Mutex<Known>>,
    /// VMs that are moved without a word to us.
    carried: Vec<Carried>,
    judged: Arc<Mutex<Vec<Judgement>>>,
    wake: Arc<Notify>,
    at_once: AtOnce,
}

/// Runs a seed.
///
/// # Errors
/// What must never be and was.
///
/// # Panics
/// If there is no runtime to be had.
pub fn run(seed: u64, length: Length) -> (Scene, Result<(), String>) {
    by_seed(seed, || run_here(seed, length))
}

fn run_here(seed: u64, length: Length) -> (Scene, Result<(), String>) {
    let scene = Scene::new(seed, length.aloud);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(async {
        let mut cluster = Cluster::found(&scene, seed).await?;
        let ended = cluster.all(length.happenings).await;
        for number in 0..NODES {
            cluster.kill_agent(number);
        }
        cluster.kill_server();
        ended
    });
    (scene, ended)
}

fn words(problem: &Problem) -> String {
    problem.to_string()
}

impl Cluster {
    async fn found(scene: &Scene, seed: u64) -> Result<Self, String> {
        let dangers = scene.dangers();
        scene.set_dangers(Dangers::NONE);
        let store = Arc::new(MemoryStore::with_history(HISTORY));
        let mut cluster = Self {
            scene: scene.clone(),
            idle: Idle::default(),
            began: Instant::now(),
            began_at: Timestamp::now(),
            clock_off: Arc::default(),
            hosts: Vec::new(),
            standby: Standby::new(!seed, Arc::clone(&store)),
            store,
            net: Net::new(scene),
            server: None,
            deposed: Vec::new(),
            later: BTreeMap::new(),
            next: 0,
            known: Arc::default(),
            carried: Vec::new(),
            judged: Arc::default(),
            wake: Arc::default(),
            at_once: AtOnce::default(),
        };
        membership::found(&*cluster.store)
            .await
            .map_err(|problem| words(&problem))?;
        cluster.start_server().await;
        cluster.pass(Duration::from_secs(5)).await?;
        for number in 0..NODES {
            let host = cluster.join(number).await?;
            cluster.hosts.push(host);
            cluster.revive(number);
        }
        for vm in (1..=VMS).map(VmId) {
            let host = &cluster.hosts[usize::from(vm.0) % NODES];
            host.node.define(vm);
            // Its bridge is there: it starts.
            let _ = host.node.vms.start(vm.uuid());
        }
        cluster.pass(Duration::from_secs(5)).await?;
        let intent =
            json!({"name": "compute", "types": ["compute"], "adapters": ["pf0"], "bridge": "br0"});
        cluster.done("POST", "/intents", intent).await?;
        let enabled = json!({"intent": "compute", "nodes_down": 1, "when": "now"});
        cluster.done("PUT", "/acceleration", enabled).await?;
        cluster.pass(Duration::from_secs(60)).await?;
        scene.set_dangers(dangers);
        Ok(cluster)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn all(&mut self, happenings: usize) -> Result<(), String> {
        for _ in 0..happenings {
            let happening = self.any();
            self.happen(happening).await;
            self.reads_copy().await?;
            let most = [5, 300, 4000, 30_000][self.scene.below(4)];
            let pause = self.scene.time(Duration::ZERO, Duration::from_millis(most));
            self.pass(pause).await?;
        }
        while let Some(((at, _), _)) = self.later.first_key_value() {
            let wait = at.saturating_sub(self.now());
            self.pass(wait + Duration::from_millis(1)).await?;
        }
        self.calm().await;
        let end = self.now() + PATIENCE;
        loop {
            let wrong = self.wrong().await?;
            if wrong.is_empty() {
                self.copy_is_of_now().await?;
                return self.heard_by_another().await;
            }
            if self.now() > end {
                return Err(format!("it does not come to rest: {wrong:#?}"));
            }
            self.pass(Duration::from_secs(2)).await?;
        }
    }

    fn after(&mut self, most: Duration, happening: Happening) {
        self.next += 1;
        let at = self.now() + self.scene.time(Duration::from_millis(1), most);
        self.later.insert((at, self.next), happening);
    }

    /// Lets so much time pass, and all that is due in it happen.
    async fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now() + time;
        loop {
            for _ in 0..=self.scene.below(4) {
                yield_now().await;
            }
            self.clocks();
            let now = self.now();
            self.at_once.count(now)?;
            self.hear();
            self.carry_on();
            self.notice_the_servers_end();
            let due = self
                .later
                .first_entry()
                .filter(|entry| entry.key().0 <= now)
                .map(std::collections::btree_map::OccupiedEntry::remove);
            if let Some(happening) = due {
                Box::pin(self.happen(happening)).await;
                continue;
            }
            let ready: Vec<_> = self
                .hosts
                .iter_mut()
                .enumerate()
                .flat_map(|(number, host)| {
                    let ready = host.node.ready();
                    ready.into_iter().map(move |ready| (number, ready))
                })
                .collect();
            if ready.is_empty() {
                if now >= end {
                    return Ok(());
                }
                self.sleep(end).await;
                continue;
            }
            let (number, chosen) = ready[self.scene.below(ready.len())];
            self.go_on(number, chosen);
            self.audit(number);
            let violations = self.scene.violations();
            if !violations.is_empty() {
                return Err(violations.join("\n"));
            }
        }
    }

    /// Until something is due, somebody is told something, or the end.
    async fn sleep(&self, end: Duration) {
        let later = self
            .later
            .keys()
            .next()
            .map_or(Duration::MAX, |(at, _)| *at);
        let hosts = self.hosts.iter().map(|host| host.node.wakes_at());
        let most = self.now() + Duration::from_millis(500);
        let next = hosts.fold(later, Duration::min).min(end).min(most);
        tokio::select! {
            biased;
            () = self.wake.notified() => {}
            () = sleep_until(self.began + next) => {}
        }
    }
}
