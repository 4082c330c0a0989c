//! The store on a real etcd, which each test starts for itself.
//!
//! For the common cases a neighbour writes outside of the prefix all the time: revisions grow by
//! more than one there, as on any etcd that is shared.

mod certificates;
mod cluster;
mod full;
mod late;
mod leader;
mod members;
mod outage;
mod past;

use std::{sync::Arc, time::Duration};

use accelnet_store::{EtcdOptions, EtcdStore, HistoryLimits, Revision, StoreError};
use tokio::task::JoinHandle;

use self::cluster::Cluster;
use crate::backend::Backend;

/// A store that shares one member with a neighbour.
pub struct Etcd {
    store: Arc<EtcdStore>,
    neighbour: Neighbour,
    cluster: Cluster,
}

impl Backend for Etcd {
    type Store = EtcdStore;

    async fn open(history: HistoryLimits) -> Self {
        let cluster = Cluster::start(1).await;
        let neighbour = Neighbour::start(cluster.client().await);
        let options = EtcdOptions {
            history,
            deadline: PATIENT,
            ..cluster.options()
        };
        let store = Arc::new(EtcdStore::connect(options).await.unwrap());
        Self {
            store,
            neighbour,
            cluster,
        }
    }

    fn store(&self) -> &Arc<EtcdStore> {
        &self.store
    }

    async fn forget_before(&self, revision: Revision) {
        self.cluster.compact(revision).await;
    }

    async fn close(self) {
        let Self {
            store,
            neighbour,
            cluster,
        } = self;
        let store = Arc::into_inner(store).expect("only the test has it");
        store.close().await;
        drop((neighbour, cluster));
    }
}

/// A deadline for tests that are not about it, on a machine that does other things as well.
const PATIENT: Duration = Duration::from_secs(30);

/// Somebody else on the same etcd.
struct Neighbour(JoinHandle<()>);

impl Neighbour {
    fn start(mut client: etcd_client::Client) -> Self {
        Self(tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(2));
            for number in 0_u64.. {
                tick.tick().await;
                client
                    .put("neighbour", number.to_string(), None)
                    .await
                    .unwrap();
            }
        }))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether etcd was not reached or did not answer, and nothing was written.
fn is_unreachable(error: &StoreError) -> bool {
    matches!(error, StoreError::Unreachable { .. })
}

/// Whether a write may have happened.
fn is_open(error: &StoreError) -> bool {
    matches!(error, StoreError::OutcomeUnknown { .. })
}
