//! Accelerations through the API at 1,000 and 10,000 nodes with 20 accelerated VMs each, by 8 clients on
//! the unix socket, on SQLite; and how long lists of that size take.
//!
//! `make bench`. The nodes are simulated ([`nodes`]), and neither TLS nor etcd is in the way (those are in the
//! benchmark of the daemon, `cluster`): they answer and report at once, so what is measured
//! is the server with its store. Beside it, in the same run, the bare commits that no design can do
//! without: the same store, durable, as many bytes, 8 writers at once and one alone. Ratios to them are
//! what compares between machines.

mod nodes;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use accelnet_api::{AccelerateRequest, Client};
use accelnet_model::Performance;
use accelnet_server::{
    Door, Nodes, Server,
    fake::simulated::{Size, fill, vm_name, vm_spec},
};
use accelnet_store::{Op, SqliteOptions, SqliteStore, Store};
use nodes::SimulatedNodes;
use tokio::{net::UnixListener, runtime::Runtime, task::JoinSet};
use uuid::Uuid;

const CLIENTS: u64 = 8;
/// VMs of each node that are accelerated from the beginning, and those that are not.
const ACCELERATED: u32 = 20;
const OTHERS: u32 = 4;
/// How long each part is measured.
const MEASURED: Duration = Duration::from_secs(8);

/// As the daemon's.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// How long each of many things took.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn at(&mut self, thousandths: usize) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0
            .get((self.0.len() * thousandths / 1000).min(last))
            .copied()
            .unwrap_or_default()
    }

    fn say(&mut self, what: &str) -> f64 {
        let rate = self.0.len() as f64 / MEASURED.as_secs_f64();
        let [p50, p99, most] = [500, 990, 1000].map(|share| self.at(share));
        println!("  {what}: {rate:.0} a second, p50 {p50:.1?}, p99 {p99:.1?}, max {most:.1?}");
        rate
    }
}

async fn open(file: &Path) -> SqliteStore {
    let store = SqliteStore::open(file, SqliteOptions::default()).await;
    store.expect("a store")
}

/// Commits as an acceleration writes them, without anybody deciding.
async fn bare(file: &Path, writers: u64) -> Times {
    let store = Arc::new(open(file).await);
    let begin = Instant::now();
    let mut all = JoinSet::new();
    for writer in 0..writers {
        let store = Arc::clone(&store);
        all.spawn(async move {
            let mut times = Vec::new();
            for number in 0_u64.. {
                if begin.elapsed() > MEASURED {
                    break;
                }
                let spec = format!("accelnet/v1/vms/{}/spec", Uuid::from_u128(number.into()));
                let ops = vec![
                    Op::put(format!("accelnet/v1/generation{writer}"), "{\"schema\":1}"),
                    Op::put(
                        format!("{spec}{writer}"),
                        vm_spec(number, writer as u32).to_string(),
                    ),
                    Op::put(
                        format!("accelnet/v1/audit/{writer}{number:019}"),
                        "e".repeat(180),
                    ),
                ];
                let begin = Instant::now();
                store.txn(Vec::new(), ops).await.expect("a commit");
                times.push(begin.elapsed());
            }
            times
        });
    }
    Times(all.join_all().await.concat())
}

/// Accelerates VMs and brings them back, over and over; one client.
async fn client(socket: Arc<Path>, own: u64, count: u64, begin: Instant) -> [Vec<Duration>; 2] {
    let client = Client::on_socket(&socket).expect("a client");
    let request = AccelerateRequest {
        performance: Performance::Medium,
        must_be_accelerated: None,
        add_adapter: false,
        waive: Vec::new(),
        because: None,
    };
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for number in 0_u64.. {
        if begin.elapsed() > MEASURED {
            break;
        }
        // Each client has nodes of its own, far from each other.
        let node = (number * 7919 * CLIENTS + own) % count;
        let vm = vm_name(node, ACCELERATED + (number % u64::from(OTHERS)) as u32);
        let asked = Instant::now();
        let done = client.accelerate(&vm, &request, false).await.expect("room");
        there.push(asked.elapsed());
        assert!(done.changed && done.object.level == Some(Performance::Medium));
        let asked = Instant::now();
        let done = client.decelerate(&vm, false).await.expect("a way back");
        back.push(asked.elapsed());
        assert!(done.changed);
    }
    [there, back]
}

async fn measure(socket: &Path, count: u64) -> (Times, Times) {
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for own in 0..CLIENTS {
        clients.spawn(client(socket.into(), own, count, begin));
    }
    let (mut there, mut back) = (Times::default(), Times::default());
    for [one, other] in clients.join_all().await {
        there.0.extend(one);
        back.0.extend(other);
    }
    (there, back)
}

async fn timed<T, E: std::fmt::Debug>(what: &str, work: impl Future<Output = Result<T, E>>) -> T {
    let begin = Instant::now();
    let answer = work.await.expect(what);
    println!("  {what}: {:.1?}", begin.elapsed());
    answer
}

fn run(directory: &Path, count: u64) {
    println!(
        "{count} nodes, {} accelerated VMs, {CLIENTS} clients:",
        count * u64::from(ACCELERATED)
    );
    let file = directory.join(format!("state{count}.sqlite"));
    let (serving, asking) = (runtime(), runtime());
    let size = Size {
        nodes: count,
        accelerated: ACCELERATED,
        others: OTHERS,
    };
    asking.block_on(async {
        let store = open(&file).await;
        fill(&store, size).await;
        store.close().await;
    });
    let simulated = Arc::new(SimulatedNodes::new(size));
    let socket = directory.join(format!("socket{count}"));
    let begin = Instant::now();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (server, listener) = serving.block_on(async {
        let store = open(&file).await;
        let port = Arc::clone(&simulated) as Arc<dyn Nodes>;
        let server = Server::new(store, port).await.expect("a server");
        (server, UnixListener::bind(&socket).expect("a socket"))
    });
    simulated.report_to(&server);
    let server = serving.spawn(async move {
        let until = async move { drop(stopped.await) };
        server.serve(vec![Door::Local(listener)], until).await;
    });
    println!("  ready after {:.1?}", begin.elapsed());
    asking.block_on(async {
        let client = Client::on_socket(&socket).expect("a client");
        let first = vm_name(0, 0);
        // Capacity is made at the first question.
        timed("first GET /capacity", client.capacity(&[])).await;
        let (mut there, mut back) = measure(&socket, count).await;
        let rate = there.say("accelerate") + back.say("decelerate");
        for (writers, what) in [(CLIENTS, "8 writers"), (1, "1 writer")] {
            let bare_file = directory.join(format!("bare{count}-{writers}.sqlite"));
            let bare = bare(&bare_file, writers)
                .await
                .say(&format!("bare commits, {what}"));
            println!(
                "  changes through the API: {:.2} of the bare commits of {what}",
                rate / bare
            );
        }
        let capacity = timed("GET /capacity", client.capacity(&[])).await;
        assert_eq!(capacity.total.vfs_used, count * u64::from(ACCELERATED));
        let vms = timed("GET /vms", client.vms()).await;
        assert_eq!(
            vms.items.len() as u64,
            count * u64::from(ACCELERATED + OTHERS)
        );
        timed("GET /vms/NAME", client.vm(&first)).await;
        timed("GET /vms/NAME/where", client.places(&first, None)).await;
        timed("GET /status", client.status()).await;
    });
    drop(stop);
    serving.block_on(server).expect("served");
    let asked = simulated.asked.load(Relaxed);
    println!("  nodes were asked {asked} times");
}

fn main() {
    // On the disk that is built on, not in memory: a commit waits for it.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    // Or other sizes: cargo bench … -- 100
    let asked: Vec<u64> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    let counts = if asked.is_empty() {
        vec![1_000, 10_000]
    } else {
        asked
    };
    for count in counts {
        run(directory.path(), count);
    }
}
