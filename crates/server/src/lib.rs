//! The server: what the cluster allows.
//!
//! It keeps the wishes (intents, where acceleration is enabled, VMs' levels) in a [`Store`], admits
//! or refuses changes by the rules over fresh observations, hands every node its part of the wish,
//! and shows what the nodes report.
//!
//! ```text
//!   request ─► fresh look at its node ─► admission (pure) ─► compare-and-swap ─► nodes are told
//!                                            │ refused            │ lost: decide again
//!                                            ▼                    ▼
//!                                      all reasons at once   conflict, after some tries
//! ```
//!
//! A VM's own node is asked afresh before it is accelerated. The other nodes are taken as they reported
//! last, which is as safe: what holds capacity is what is wished, and that is compared when it is
//! written. A node that fell silent and is not known to be down yet is one of those that the reserve
//! lets be down at any time; one whose adapters failed a moment ago might as well have failed a moment
//! later, and is told by the next report.
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | the wish, in the store, changed by compare-and-swap; a copy in memory |
//! | [`line`] | the task that decides on changes, one after the other, several with one write |
//! | [`told`] | what each node was told |
//! | [`sharded`] | maps of which copies cost nothing |
//! | [`audit`] | who asked for what, and what became of it |
//! | [`people`] | who asks, and what they may do; their tokens |
//! | [`clock`] | the time of day |
//! | [`connections`] | who is connected, and for how long |
//! | [`nodes`] | which machines belong to the cluster, and the port to their agents |
//! | [`reports`] | what the nodes said last |
//! | [`whereabouts`] | where VMs are, and what is known of those that could not be looked at |
//! | [`parks`] | VMs that are parked no longer |
//! | [`health`] | what is wrong and lasts, and what happened |
//! | [`admission`] | is this change allowed, and what would it do |
//! | [`backup`], [`restore`] | the state as a file, and back |
//! | [`apart`] | computing that takes its time |
//! | [`view`] | what users see, from wish and reports |
//! | [`boards`] | what is watched, once for all who watch it |
//! | [`metrics`] | what Prometheus is told |
//! | [`traffic`] | what was counted of a VM's packets |
//! | [`page`] | a list, page by page |
//! | [`settling`] | a server that has just started asks for patience |
//! | [`routes`] | HTTP |
//! | `fake` | for tests: nodes that are told what to see |

mod admission;
mod apart;
mod audit;
mod backup;
mod boards;
mod clock;
pub mod connections;
mod endings;
mod explained;
mod failure;
#[cfg(feature = "fake")]
pub mod fake;
mod health;
mod line;
pub mod metrics;
mod nodes;
mod page;
mod people;
mod reports;
pub mod restore;
mod routes;
mod settling;
mod sharded;
mod state;
mod told;
mod traffic;
mod view;
mod whereabouts;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use accelnet_api::{
    draining::Parked,
    incoming::{Admitted, IncomingVm},
};
use accelnet_model::{Code, Name, NodeStatus, Problem};
use accelnet_pki::Authority;
use accelnet_store::{Snapshot, Store};
pub use audit::Actor;
use axum::Router;
pub use clock::Clock;
pub use connections::Door;
pub use failure::Failure;
use futures::future::{BoxFuture, join_all};
pub use health::{Acts, Announce, Announcer, NotTaken, Settings, Tuning};
use jiff::Timestamp;
pub use nodes::{Nodes, membership};
pub use people::{NodePeerInfo, Sender};
pub use routes::openapi;
pub use state::PREFIX as KEPT_BELOW;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use crate::{
    admission::{Decided, Room},
    audit::{Asked, Entry},
    boards::Boards,
    health::Health,
    line::Line,
    metrics::Measures,
    nodes::membership::Membership,
    people::Attempts,
    reports::{Known, Reports, Seen},
    state::{Remembered, State as _, Wish},
    told::Told,
};

/// A future that can be in a trait object.
pub type Pending<'a, T> = BoxFuture<'a, T>;

/// Fresh looks are waited for so long: less than clients wait for an answer (60 s).
const LOOK_LIMIT: Duration = Duration::from_secs(45);
/// A look for something that nobody knows, and the rest after it, are no longer than this. A look took up
/// to 4 s in the lab's software emulation.
const SEARCH_LIMIT: Duration = Duration::from_secs(10);
/// After such a look there is none for so many times as long as it took: a fifth of the time at most.
const SEARCH_REST: u32 = 4;
/// What is remembered of nodes is written at most this often, and of so many at once. It matters only where a node is
/// silent when a server starts, so it need not be the newest, and must not hold up those who wait for a change of the
/// wish.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const KEPT_AT_ONCE: usize = 32;

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    state: Box<dyn state::State>,
    nodes: Arc<dyn Nodes>,
    /// Who belongs to the cluster, if it is one.
    membership: Option<Membership>,
    reports: Reports,
    /// Capacity, kept from one decision to the next.
    room: Arc<Room>,
    /// What is remembered of nodes, as the store has it.
    kept: tokio::sync::Mutex<BTreeMap<Name, Remembered>>,
    told: Told,
    line: Line,
    /// Requests of nobody who is known.
    attempts: Attempts,
    /// When there may be a look for something unknown again.
    next_search: tokio::sync::Mutex<Option<Instant>>,
    /// Counts changes of wish or reports, to wake those who watch.
    changes: watch::Sender<u64>,
    /// What no other start of a server has.
    start: u64,
    boards: Boards,
    health: Health,
    measures: Measures,
    stopping: watch::Sender<bool>,
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
        Self::with(store, nodes, Settings::default()).await
    }

    /// The same, which looks after its nodes in this way.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn with<S: Store>(
        store: S,
        nodes: Arc<dyn Nodes>,
        settings: Settings,
    ) -> Result<Self, Problem> {
        Self::open(store, nodes, None, settings).await
    }

    /// A cluster's server: nodes join it, and dial.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn of_cluster<S: Store>(
        store: Arc<S>,
        authority: Arc<Authority>,
        servers: Vec<String>,
        settings: Settings,
    ) -> Result<Self, Problem> {
        let membership = Membership::open(
            Arc::clone(&store),
            authority,
            servers,
            settings.clock.clone(),
        )
        .await?;
        let nodes = Arc::clone(&membership.hub) as Arc<dyn Nodes>;
        Self::open(store, nodes, Some(membership), settings).await
    }

    /// A server that knows what a store's copy holds, and no node: for reading. It writes nothing, and is not to
    /// [`work`](Self::work).
    ///
    /// # Errors
    /// If the copy cannot be understood.
    pub async fn of_copy(
        copy: Snapshot,
        authority: Arc<Authority>,
        settings: Settings,
    ) -> Result<Self, Problem> {
        // Which one decides is nothing that is kept: none of them is this one.
        let servers = Vec::new();
        let server = Self::of_cluster(Arc::new(copy), authority, servers, settings).await?;
        for name in server.shared.nodes.names().iter() {
            let text = format!("What node '{name}' said last is what was kept of it.");
            let cure = "The server that decides knows it as it is now.";
            let problem = Problem::new(Code::AgentUnreachable, text).with_cure(cure);
            let problem = problem.about("node", name);
            server.shared.reports.silence(name, problem);
        }
        server.membership()?.look_at_standbys().await?;
        Ok(server)
    }

    async fn open<S: Store>(
        store: S,
        nodes: Arc<dyn Nodes>,
        membership: Option<Membership>,
        settings: Settings,
    ) -> Result<Self, Problem> {
        let (line, front) = Line::new();
        let state = state::Stored::open(store).await?;
        let kept_health = state.kept_health().await?;
        let shared = Shared {
            clock: settings.clock.clone(),
            state: Box::new(state),
            health: Health::new(kept_health, settings),
            nodes,
            membership,
            reports: Reports::default(),
            room: Arc::default(),
            kept: tokio::sync::Mutex::default(),
            told: Told::default(),
            line,
            attempts: Attempts::default(),
            next_search: tokio::sync::Mutex::default(),
            changes: watch::channel(0).0,
            start: Uuid::new_v4().as_u64_pair().0,
            boards: Boards::default(),
            measures: Measures::default(),
            stopping: watch::channel(false).0,
        };
        let kept = shared.state.kept_reports().await?;
        let by_node = kept.iter().cloned();
        *shared.kept.lock().await = by_node.map(|kept| (kept.name.clone(), kept)).collect();
        shared.reports.remember(kept);
        let server = Self {
            shared: Arc::new(shared),
        };
        let wish = server.wish().await?;
        server.hand_out(&wish);
        tokio::spawn(line::decide_in_turn(Arc::downgrade(&server.shared), front));
        Ok(server)
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Takes in a node's report. A node that is new, or has VMs that it had not before, is told what is
    /// wanted.
    pub fn report(&self, node: &Name, status: NodeStatus) {
        self.shared.reports.put(node.clone(), status);
        self.tell(node);
        self.changed();
    }

    /// A node cannot be reached any more, until it reports again. It counts as down.
    pub fn lost(&self, node: &Name, problem: Problem) {
        self.shared.reports.silence(node, problem);
        self.changed();
    }

    /// Whether a VM that some tool moves to a node, on its VF, may come there.
    ///
    /// # Errors
    /// Why not: it goes on where it is then.
    pub async fn incoming(&self, node: &Name, vm: &IncomingVm) -> Result<Admitted, Problem> {
        let wish = self.wish().await?;
        let allowed = admission::incoming(&wish, &self.seen(), node, vm);
        tracing::info!(%node, vm = vm.name, ?allowed, "a VM is on its way");
        allowed
    }

    /// A node's host goes down, as the node says itself: its VMs are parked until its next boot.
    ///
    /// # Errors
    /// If the wish cannot be read, or the node is none. What keeps a single VM is in the answer.
    pub async fn goes_down(&self, node: &Name) -> Result<Parked, Problem> {
        routes::goes_down(self, node).await
    }

    /// Serves at these doors until `stop` is done. Watches end then; requests under way come to their end,
    /// within some seconds.
    pub async fn serve(&self, doors: Vec<Door>, stop: impl Future<Output = ()> + Send + 'static) {
        self.serve_beside(doors, Router::new(), stop).await;
    }

    /// The same with what else can be asked there.
    pub async fn serve_beside(
        &self,
        doors: Vec<Door>,
        beside: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let router = self.router().merge(beside);
        let served = connections::serve_all(doors, router, self.stopping());
        tokio::join!(served, self.work(stop));
    }

    /// All that it can be asked, for whoever has the doors; they are shut after [`Self::work`] was told to stop.
    pub fn router(&self) -> Router {
        routes::service(self.clone())
    }

    /// Does what a server does without being asked, until `stop` is done; watches and agents' sessions end then.
    pub async fn work(&self, stop: impl Future<Output = ()> + Send) {
        let stop = async {
            stop.await;
            self.shared.stopping.send_replace(true);
        };
        tokio::join!(
            stop,
            self.keep_reports(),
            self.look_after_health(),
            self.announce_faults(),
            self.end_what_is_over(),
            self.wait_for_first_signs(),
            self.watch_signs(),
            self.watch_standbys()
        );
    }

    /// Waits until the server shall stop.
    pub(crate) async fn stopping(&self) {
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
    fn seen(&self) -> Seen {
        let mut seen = self.shared.reports.of(self.shared.nodes.names());
        seen.faults = self.shared.health.shown();
        seen
    }

    /// Looks at all nodes afresh. Those that give no answer say so in what is returned.
    async fn refresh(&self) -> Seen {
        let names = self.shared.nodes.names();
        self.refresh_these(&names, Instant::now() + LOOK_LIMIT)
            .await;
        self.seen()
    }

    /// Looks at some nodes afresh; whoever looks twice for one request has one limit for both.
    async fn refresh_these(&self, names: &[Name], until: Instant) {
        join_all(names.iter().map(|name| self.look_at(name, until))).await;
        self.changed();
    }

    /// Looks at all nodes for the sake of something that nobody knows: it may have been made a moment
    /// ago, or be a slip. Of those that ask together one looks; and not so often that nodes do little
    /// else. Nothing is concluded from a node that gives no answer.
    async fn look_for_unknown(&self, until: Instant) {
        let mut next = self.shared.next_search.lock().await;
        let begun = Instant::now();
        if next.is_some_and(|next| begun < next) {
            return;
        }
        let until = until.min(begun + SEARCH_LIMIT);
        let names = self.shared.nodes.names();
        let looks = names.iter().map(|name| async move {
            let look = tokio::time::timeout_at(until, self.shared.nodes.refresh(name));
            if let Ok(Ok(status)) = look.await {
                self.shared.reports.put_answer(name.clone(), status);
                self.tell(name);
            }
        });
        join_all(looks).await;
        self.changed();
        let ended = Instant::now();
        *next = Some(ended + ((ended - begun) * SEARCH_REST).min(SEARCH_LIMIT));
    }

    async fn look_at(&self, name: &Name, until: Instant) {
        let look = tokio::time::timeout_at(until, self.shared.nodes.refresh(name));
        let look = look.await.unwrap_or_else(|_| {
            let text = format!("Node '{name}' gave no answer within {LOOK_LIMIT:?}.");
            Err(Problem::new(Code::AgentUnreachable, text).about("node", name))
        });
        match look {
            Ok(status) => {
                self.shared.reports.put_answer(name.clone(), status);
                self.tell(name);
            }
            Err(problem) => self.shared.reports.silence(name, problem),
        }
    }

    fn changed(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Changes the wish: `decide` looks at the present one and says what to write. If somebody else
    /// was faster it decides again.
    async fn change<T: Send + 'static>(
        &self,
        asked: &Asked,
        decide: impl FnMut(&Wish) -> Result<Decided<T>, Vec<Problem>> + Send + 'static,
    ) -> Result<Changed<T>, Vec<Problem>> {
        let changed = self.in_turn(asked, decide).await;
        if !asked.dry_run {
            self.shared.measures.note_change(&changed);
        }
        if let Err(problems) = &changed
            && !asked.dry_run
        {
            audit::refused(asked, problems);
        }
        changed
    }

    /// Records what was done beside the wish.
    pub(crate) async fn record(&self, asked: &Asked) -> Result<(), Problem> {
        let entry = Entry::new(asked, self.now());
        self.shared.state.record(&entry).await?;
        // For those who follow the record.
        self.changed();
        Ok(())
    }

    /// Keeps reports that changed, until the server stops.
    async fn keep_reports(&self) {
        let mut changes = self.shared.changes.subscribe();
        let (mut seen, mut waiting, mut last) = (Seen::default(), BTreeSet::new(), None);
        let stopping = self.stopping();
        tokio::pin!(stopping);
        loop {
            let now = self.seen();
            waiting.extend(now.differing(&seen).cloned());
            seen = now;
            if let Err(problem) = self.keep_some(&mut waiting, &mut last).await {
                tracing::warn!(%problem, "reports could not be kept");
            }
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(KEEP_EVERY) => {}
            }
            if waiting.is_empty() {
                tokio::select! {
                    () = &mut stopping => return,
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        }
    }

    /// Keeps some of the reports that are waiting for it: those after the last one, so that each has its
    /// turn.
    async fn keep_some(
        &self,
        waiting: &mut BTreeSet<Name>,
        last: &mut Option<Name>,
    ) -> Result<(), Problem> {
        let mut kept = self.shared.kept.lock().await;
        let (seen, mut worth) = (self.seen(), Vec::new());
        // Who has left meanwhile leaves nothing behind.
        let members = self
            .shared
            .membership
            .as_ref()
            .map(|membership| &membership.hub);
        let is_one = |name: &Name| members.is_none_or(|hub| hub.member(name).is_some());
        while worth.len() < KEPT_AT_ONCE
            && let Some(name) = after(waiting, last.as_ref()).cloned()
        {
            waiting.remove(&name);
            *last = Some(name.clone());
            let current = seen.node(&name).and_then(Known::current);
            let Some(status) = current.filter(|_| is_one(&name)) else {
                continue;
            };
            let node = Remembered::of(name, status);
            if kept.get(&node.name) != Some(&node) {
                worth.push(node);
            }
        }
        if worth.is_empty() {
            return Ok(());
        }
        let written = self.shared.state.keep_reports(&worth).await;
        match &written {
            Ok(()) => kept.extend(worth.into_iter().map(|node| (node.name.clone(), node))),
            Err(_) => waiting.extend(worth.into_iter().map(|node| node.name)),
        }
        written
    }
}

/// The first after a name, all around.
fn after<'a>(names: &'a BTreeSet<Name>, last: Option<&Name>) -> Option<&'a Name> {
    let start = last.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = names.range((start, Bound::Unbounded));
    rest.next().or_else(|| names.first())
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}
