//! The server: what the cluster allows.
//!
//! It keeps the wishes (intents, where acceleration is enabled, VMs' levels) in a [`Store`], admits
//! or refuses changes by the rules over fresh observations, hands every node its part of the wish,
//! and shows what the nodes report.
//!
//! ```text
//!   request ─► fresh look at the nodes ─► admission (pure) ─► compare-and-swap ─► nodes are told
//!                                            │ refused            │ lost: decide again
//!                                            ▼                    ▼
//!                                      all reasons at once   conflict, after some tries
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | the wish, in the store: read whole, changed by compare-and-swap |
//! | [`audit`] | who asked for what, and what became of it |
//! | [`nodes`] | the port to the agents |
//! | [`reports`] | what the nodes said last |
//! | [`admission`] | is this change allowed, and what would it do |
//! | [`apart`] | computing that takes its time |
//! | [`view`] | what users see, from wish and reports |
//! | [`routes`] | HTTP |
//! | `fake` | for tests: nodes that are told what to see |

mod admission;
mod apart;
mod audit;
mod failure;
#[cfg(feature = "fake")]
pub mod fake;
mod nodes;
mod reports;
mod routes;
mod state;
mod view;

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use accelnet_model::{Code, Name, NodeDesired, NodeStatus, Problem};
use accelnet_store::Store;
use futures::future::{BoxFuture, join_all};
pub use nodes::Nodes;
pub use routes::openapi;
use tokio::{net::UnixListener, sync::watch};

use crate::{
    admission::{Decided, Room},
    apart::apart,
    audit::{Asked, Entry},
    reports::{Known, Reports, worth_keeping},
    state::{NodeReport, Wish},
};

/// A future that can be in a trait object.
pub type Pending<'a, T> = BoxFuture<'a, T>;

/// Fresh looks are waited for so long: less than clients wait for an answer (60 s).
const LOOK_LIMIT: Duration = Duration::from_secs(45);
/// Requests under way may take so long once the server shall stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How often a change that lost a race is decided anew. Whoever lost waits for their turn, and can then
/// only be overtaken by requests that try for the first time.
const ATTEMPTS: u32 = 20;
/// Changed reports are kept at most this often.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    state: Box<dyn state::State>,
    nodes: Arc<dyn Nodes>,
    reports: Reports,
    /// Capacity, kept from one decision to the next.
    room: Arc<Room>,
    handed: Mutex<Handed>,
    /// Counts changes of wish or reports, to wake those who watch.
    changes: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    /// The turn of a change that lost a race.
    turn: tokio::sync::Mutex<()>,
}

/// What nodes were told.
#[derive(Default)]
struct Handed {
    desired: NodeDesired,
    nodes: BTreeSet<Name>,
}

impl Handed {
    /// These nodes are about to be told this; false if it is older than what they were told.
    fn begin(&mut self, desired: &NodeDesired, nodes: &[Name]) -> bool {
        if desired.generation < self.desired.generation {
            return false;
        }
        self.desired = desired.clone();
        self.nodes = nodes.iter().cloned().collect();
        true
    }

    /// What a node that was not told anything shall be; it counts as told from now on.
    fn wish_for(&mut self, node: &Name) -> Option<NodeDesired> {
        let new = self.nodes.insert(node.clone());
        new.then(|| self.desired.clone())
    }
}

/// A change of the wish that was decided on.
struct Changed<T> {
    /// The wish after it.
    wish: Wish,
    /// It differs from before.
    changed: bool,
    /// What it does, in words.
    plan: Vec<String>,
    /// What the decision was about.
    about: T,
}

impl Server {
    /// A server on a store, with a way to its nodes. Hands every node its wish.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn new<S: Store>(store: S, nodes: Arc<dyn Nodes>) -> Result<Self, Problem> {
        let shared = Shared {
            state: Box::new(state::Stored::open(store).await?),
            nodes,
            reports: Reports::default(),
            room: Arc::default(),
            handed: Mutex::default(),
            changes: watch::channel(0).0,
            stopping: watch::channel(false).0,
            turn: tokio::sync::Mutex::default(),
        };
        shared.reports.remember(shared.state.kept_reports().await?);
        let server = Self {
            shared: Arc::new(shared),
        };
        let wish = server.wish().await?;
        server.hand_out(&wish);
        Ok(server)
    }

    /// Takes in a node's report. A node that is new gets what is wanted.
    pub fn report(&self, node: Name, status: NodeStatus) {
        let unknown = self.handed().wish_for(&node);
        let Some(desired) = unknown else {
            self.shared.reports.put(node, status);
            return self.changed();
        };
        tracing::info!(%node, "a node that was not told yet what is wanted");
        self.shared.reports.put(node.clone(), status);
        self.shared.nodes.set_desired(&node, desired);
        self.changed();
    }

    fn handed(&self) -> MutexGuard<'_, Handed> {
        let handed = self.shared.handed.lock();
        handed.unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves the API until `stop` is done. Watches end then; requests under way come to their end,
    /// within some seconds.
    ///
    /// # Errors
    /// If the socket fails.
    pub async fn serve(
        &self,
        listener: UnixListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let stopping = self.shared.stopping.clone();
        let stop = async move {
            stop.await;
            stopping.send_replace(true);
        };
        let serving = async {
            axum::serve(listener, routes::service(self.clone()))
                .with_graceful_shutdown(stop)
                .await
        };
        let too_long = async {
            self.stopping().await;
            tokio::time::sleep(STOP_LIMIT).await;
        };
        let served = async {
            tokio::select! {
                served = serving => served,
                () = too_long => {
                    tracing::warn!("requests under way are cut off");
                    Ok(())
                }
            }
        };
        tokio::join!(served, self.keep_reports()).0
    }

    /// Waits until the server shall stop.
    async fn stopping(&self) {
        // An error means that nobody can say so any more.
        let _ = self
            .shared
            .stopping
            .subscribe()
            .wait_for(|stop| *stop)
            .await;
    }

    async fn wish(&self) -> Result<Wish, Problem> {
        let mut wish = self.shared.state.load().await?;
        wish.room = self.shared.room.clone();
        Ok(wish)
    }

    /// All nodes as they are known.
    fn nodes(&self) -> Vec<Known> {
        self.shared.reports.of(self.shared.nodes.names())
    }

    /// Looks at all nodes afresh. Those that give no answer say so in what is returned.
    async fn refresh(&self) -> Vec<Known> {
        let names = self.shared.nodes.names();
        let looks = names.iter().map(|name| async move {
            let look = tokio::time::timeout(LOOK_LIMIT, self.shared.nodes.refresh(name));
            look.await.unwrap_or_else(|_| {
                let text = format!("Node '{name}' gave no answer within {LOOK_LIMIT:?}.");
                Err(Problem::new(Code::AgentUnreachable, text).about("node", name))
            })
        });
        for (name, look) in names.iter().zip(join_all(looks).await) {
            match look {
                Ok(status) => self.shared.reports.put_answer(name.clone(), status),
                Err(problem) => self.shared.reports.silence(name, problem),
            }
        }
        self.changed();
        self.nodes()
    }

    fn hand_out(&self, wish: &Wish) {
        let names = self.shared.nodes.names();
        // Else somebody's later change was faster.
        if self.handed().begin(&wish.desired, &names) {
            for name in names {
                self.shared.nodes.set_desired(&name, wish.desired.clone());
            }
        }
        self.changed();
    }

    fn changed(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Changes the wish: `decide` looks at the present one and says what to write. If somebody else
    /// was faster it decides again.
    async fn change<T: Send>(
        &self,
        asked: &Asked,
        mut decide: impl FnMut(&Wish) -> Result<Decided<T>, Vec<Problem>> + Send,
    ) -> Result<Changed<T>, Vec<Problem>> {
        let changed = self.try_change(asked, &mut decide).await;
        if let Err(problems) = &changed
            && !asked.dry_run
        {
            let entry = Entry::new(asked, problems);
            if let Err(problem) = self.shared.state.note(entry).await {
                tracing::warn!(%problem, "a refused request could not be noted");
            }
        }
        changed
    }

    async fn try_change<T: Send>(
        &self,
        asked: &Asked,
        decide: &mut (impl FnMut(&Wish) -> Result<Decided<T>, Vec<Problem>> + Send),
    ) -> Result<Changed<T>, Vec<Problem>> {
        let mut turn = None;
        for _ in 0..ATTEMPTS {
            let wish = self.wish().await.map_err(one)?;
            let Decided {
                writes,
                plan,
                about,
            } = apart(|| decide(&wish))?;
            let changed = !writes.is_empty();
            let mut after = Changed {
                wish,
                changed,
                plan,
                about,
            };
            if !changed || asked.dry_run {
                return Ok(after);
            }
            let entry = Entry::new(asked, &[]);
            let commit = self.shared.state.commit(&after.wish, writes, entry);
            if commit.await.map_err(one)? {
                after.wish = self.wish().await.map_err(one)?;
                self.hand_out(&after.wish);
                return Ok(after);
            }
            // Many at a time would lose against each other for ever.
            if turn.is_none() {
                turn = Some(self.shared.turn.lock().await);
            }
        }
        let text = "Others kept changing the cluster's state.";
        Err(one(Problem::new(Code::Conflict, text)))
    }

    /// Keeps reports that changed, until the server stops.
    async fn keep_reports(&self) {
        let mut changes = self.shared.changes.subscribe();
        let mut kept: Vec<NodeReport> = Vec::new();
        let stopping = self.stopping();
        tokio::pin!(stopping);
        loop {
            for node in self.nodes() {
                let Some(status) = node.current() else {
                    continue;
                };
                let (name, status) = (node.name.clone(), worth_keeping(status));
                let report = NodeReport { name, status };
                if kept.contains(&report) {
                    continue;
                }
                match self.shared.state.keep_report(&report).await {
                    Ok(()) => {
                        kept.retain(|old| old.name != report.name);
                        kept.push(report);
                    }
                    Err(problem) => tracing::warn!(%problem, "a report could not be kept"),
                }
            }
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(KEEP_EVERY) => {}
            }
            tokio::select! {
                () = &mut stopping => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}
