//! The server: what the cluster allows.
//!
//! It keeps the wishes (intents, where acceleration is enabled, VMs' levels) in a [`Store`], admits
//! or refuses changes by the rules over fresh observations, hands every node its part of the wish,
//! and shows what the nodes report.
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | the wish, in the store: read whole, changed by compare-and-swap |
//! | [`nodes`] | the port to the agents |
//! | [`admission`] | is this change allowed, and what would it do |
//! | [`view`] | what users see, from wish and reports |
//! | [`routes`] | HTTP |

mod admission;
mod failure;
mod nodes;
mod routes;
mod state;
mod view;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, PoisonError, RwLock},
};

use accelnet_model::{Name, NodeStatus, Problem};
use accelnet_store::Store;
use futures::future::BoxFuture;
pub use nodes::Nodes;
pub use routes::openapi;
use state::Wish;
use tokio::{net::UnixListener, sync::watch};

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    state: Box<dyn state::State>,
    nodes: Arc<dyn Nodes>,
    statuses: RwLock<BTreeMap<Name, NodeStatus>>,
    /// Counts changes of wish or reports, to wake those who watch.
    changes: watch::Sender<u64>,
}

impl Server {
    /// A server on a store, with a way to its nodes. Hands every node its wish.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn new<S: Store>(store: S, nodes: Arc<dyn Nodes>) -> Result<Self, Problem> {
        let shared = Shared {
            state: Box::new(state::Stored::new(store)),
            nodes,
            statuses: RwLock::default(),
            changes: watch::channel(0).0,
        };
        let server = Self {
            shared: Arc::new(shared),
        };
        let wish = server.wish().await?;
        server.hand_out(&wish);
        Ok(server)
    }

    /// Takes in a node's report.
    pub fn report(&self, node: Name, status: NodeStatus) {
        let mut statuses = self
            .shared
            .statuses
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        statuses.insert(node, status);
        drop(statuses);
        self.changed();
    }

    /// Serves the API until `stop` is done; requests under way come to their end.
    ///
    /// # Errors
    /// If the socket fails.
    pub async fn serve(
        &self,
        listener: UnixListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        axum::serve(listener, routes::router(self.clone()))
            .with_graceful_shutdown(stop)
            .await
    }

    async fn wish(&self) -> Result<Wish, Problem> {
        self.shared.state.load().await
    }

    fn statuses(&self) -> BTreeMap<Name, NodeStatus> {
        self.shared
            .statuses
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at all nodes afresh.
    async fn refresh(&self) -> Result<BTreeMap<Name, NodeStatus>, Problem> {
        for name in self.shared.nodes.names() {
            let status = self.shared.nodes.refresh(&name).await?;
            self.report(name, status);
        }
        Ok(self.statuses())
    }

    fn hand_out(&self, wish: &Wish) {
        for name in self.shared.nodes.names() {
            self.shared.nodes.set_desired(&name, wish.desired.clone());
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
        mut decide: impl FnMut(&Wish) -> Result<(Vec<state::Write>, T), Vec<Problem>> + Send,
    ) -> Result<(Wish, T), Vec<Problem>> {
        for _ in 0..state::ATTEMPTS {
            let wish = self.wish().await.map_err(|problem| vec![problem])?;
            let (writes, result) = decide(&wish)?;
            if writes.is_empty() {
                return Ok((wish, result));
            }
            if self
                .shared
                .state
                .commit(&wish, writes)
                .await
                .map_err(|problem| vec![problem])?
            {
                let wish = self.wish().await.map_err(|problem| vec![problem])?;
                self.hand_out(&wish);
                return Ok((wish, result));
            }
        }
        let text = "Others kept changing the cluster's state.";
        Err(vec![Problem::new(accelnet_model::Code::Conflict, text)])
    }
}

/// A future that can be in a trait object.
pub type Pending<'a, T> = BoxFuture<'a, T>;

#[cfg(test)]
mod tests;
