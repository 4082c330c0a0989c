//! Simulated nodes, each on a line of its own: the agent's real one, over TLS with a node's certificate.

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use accelnet_link::{Credentials, Line, Node, Pending, join};
use accelnet_model::{Name, NodeDesired, NodeStatus, Problem};
use accelnet_server::fake::simulated::{SimulatedNode, Size};
use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::shared::{LIMIT, Place};

/// So many join at a time.
const JOIN_AT_ONCE: usize = 8;

/// What the nodes were told since a moment.
struct Told {
    begun: Mutex<Instant>,
    round: AtomicU64,
    /// When each was told something first.
    times: watch::Sender<Vec<Duration>>,
}

/// One node's machine.
struct Machine {
    node: Mutex<SimulatedNode>,
    reports: watch::Sender<Option<NodeStatus>>,
    told: Arc<Told>,
    /// The last in which it was told something.
    round: AtomicU64,
}

impl Machine {
    fn after(&self, change: impl FnOnce(&mut SimulatedNode)) -> NodeStatus {
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut node);
        node.report()
    }

    fn changes(&self, change: impl FnOnce(&mut SimulatedNode)) {
        let status = self.after(change);
        self.reports.send_replace(Some(status));
    }
}

/// The line's end.
struct End(Arc<Machine>);

impl Node for End {
    fn set_desired(&self, desired: NodeDesired) {
        let machine = &self.0;
        machine.changes(|node| node.follow(&desired));
        let told = &machine.told;
        let round = told.round.load(SeqCst);
        if machine.round.swap(round, SeqCst) != round {
            let begun = *told.begun.lock().unwrap_or_else(PoisonError::into_inner);
            told.times.send_modify(|times| times.push(begun.elapsed()));
        }
    }

    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>> {
        Box::pin(std::future::ready(Ok(self.0.after(|_| ()))))
    }
}

/// All nodes.
pub struct Fleet {
    nodes: Vec<(Credentials, Arc<Machine>)>,
    home: TempDir,
    told: Arc<Told>,
    lines: JoinSet<()>,
}

impl Fleet {
    /// The nodes join, with a token each, and their agents start.
    pub async fn join(place: &Place, size: Size) -> Self {
        let told = Arc::new(Told {
            begun: Mutex::new(Instant::now()),
            round: AtomicU64::new(1),
            times: watch::Sender::new(Vec::new()),
        });
        // What real nodes keep is on their own disks.
        let memory = Path::new("/dev/shm");
        let home = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let mut fleet = Self {
            nodes: Vec::new(),
            home: home.expect("a directory"),
            told: Arc::clone(&told),
            lines: JoinSet::new(),
        };
        let joining = SimulatedNode::all(size).map(|(name, node)| {
            let machine = Machine {
                node: Mutex::new(node),
                reports: watch::Sender::new(None),
                told: Arc::clone(&told),
                round: AtomicU64::new(0),
            };
            async move { (joined(place, &name).await, Arc::new(machine)) }
        });
        let mut joining = stream::iter(joining).buffered(JOIN_AT_ONCE);
        while let Some((credentials, machine)) = joining.next().await {
            let line = line(&credentials, &machine, fleet.home.path());
            fleet.lines.spawn(line.run());
            fleet.nodes.push((credentials, machine));
        }
        drop(joining);
        fleet
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What the node with this number is called.
    pub fn name(&self, number: u64) -> String {
        self.nodes[number as usize].0.name.to_string()
    }

    /// All agents start anew, and know of servers there.
    pub async fn start_again(&mut self, servers: &[&Place]) {
        self.lines.shutdown().await;
        let servers: Vec<String> = servers.iter().map(|place| place.address.clone()).collect();
        for (credentials, machine) in &mut self.nodes {
            credentials.learn(&servers);
            let line = line(credentials, machine, self.home.path());
            self.lines.spawn(line.run());
        }
    }

    /// From now on it counts who is told something.
    pub fn listen(&self) {
        let mut begun = self
            .told
            .begun
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *begun = Instant::now();
        self.told.times.send_replace(Vec::new());
        self.told.round.fetch_add(1, SeqCst);
    }

    /// Waits until all have been told something since then; how long that took for each, the shortest first.
    pub async fn all_told(&self) -> Vec<Duration> {
        let mut times = self.told.times.subscribe();
        while times.borrow_and_update().len() < self.len() {
            let another = timeout(LIMIT, times.changed()).await;
            let told = times.borrow().len();
            let all = self.len();
            assert!(
                another.is_ok(),
                "for {LIMIT:?} none of those was told its part that are left: {told} of {all} were"
            );
        }
        let mut all = times.borrow().clone();
        all.sort_unstable();
        all
    }

    /// These nodes have a little to say, which nobody keeps.
    pub fn breathe(&self, nodes: Range<u64>) {
        for (_, machine) in &self.nodes[nodes.start as usize..nodes.end as usize] {
            machine.changes(SimulatedNode::breathe);
        }
    }

    /// How long a report of a node is, in bytes.
    pub fn report_bytes(&self) -> usize {
        let status = self.nodes[0].1.after(|_| ());
        serde_json::to_vec(&status).expect("JSON").len()
    }
}

fn line(credentials: &Credentials, machine: &Arc<Machine>, home: &Path) -> Line {
    let home = home.join(credentials.name.as_str());
    std::fs::create_dir_all(&home).expect("a node's directory");
    machine.changes(|_| ());
    let end = Arc::new(End(Arc::clone(machine))) as Arc<dyn Node>;
    Line::new(credentials.clone(), home, end, machine.reports.subscribe())
}

async fn joined(place: &Place, name: &Name) -> Credentials {
    let token = place.join_token().await;
    let joined = join(&place.url(), &token, name).await;
    joined.expect("it joins")
}
