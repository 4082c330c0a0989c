//! Where a cluster's state is kept, and which of its servers decides.
//!
//! On SQLite there is one server, and it decides. On etcd it is the one that holds the lease there; a server that
//! loses it ends, and stands by after its start.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use accelnet_pki::Authority;
use accelnet_server::Server;
#[cfg(feature = "etcd")]
use accelnet_server::membership;
#[cfg(feature = "etcd")]
use accelnet_store::{EtcdOptions, EtcdStore};
use accelnet_store::{SqliteOptions, SqliteStore, Store};
use anyhow::{Context, Result, bail};
use axum::Router;
use tokio::sync::watch;

use crate::stage::WhoDecides;

/// The file in the state directory, unless another is named.
const STATE_FILE: &str = "server.sqlite";
/// After a server that died nobody decides for so long. Agents and VMs do without meanwhile.
#[cfg(feature = "etcd")]
const LEASE: std::time::Duration = std::time::Duration::from_secs(5);

/// A place for state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// A file.
    Sqlite(PathBuf),
    /// An etcd's endpoints.
    Etcd(Vec<String>),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => file.display().fmt(f),
            Self::Etcd(endpoints) => write!(f, "etcd at {}", endpoints.join(", ")),
        }
    }
}

/// One that is open.
pub enum Open {
    /// A file.
    Sqlite(Arc<SqliteStore>),
    /// An etcd, for reading until this server leads.
    #[cfg(feature = "etcd")]
    Etcd(Arc<EtcdStore>),
}

impl Kept {
    /// From what was said on the command line.
    pub fn parse(said: Option<&str>, state_dir: &Path) -> Result<Self> {
        let Some(said) = said else {
            return Ok(Self::Sqlite(state_dir.join(STATE_FILE)));
        };
        if let Some(file) = said.strip_prefix("sqlite:") {
            return Ok(Self::Sqlite(file.into()));
        }
        let Some(endpoints) = said.strip_prefix("etcd://") else {
            bail!("--store {said}: write it like sqlite:FILE or etcd://HOST:PORT,HOST:PORT");
        };
        let endpoints = endpoints.split(',').map(|place| format!("http://{place}"));
        Ok(Self::Etcd(endpoints.collect()))
    }

    /// Opens it.
    pub async fn open(&self) -> Result<Open> {
        match self {
            Self::Sqlite(file) => {
                let store = SqliteStore::open(file, SqliteOptions::default()).await?;
                Ok(Open::Sqlite(Arc::new(store)))
            }
            #[cfg(feature = "etcd")]
            Self::Etcd(endpoints) => {
                let store = EtcdStore::connect(EtcdOptions::new(endpoints.clone()))
                    .await
                    .with_context(|| format!("{self} cannot be used"))?;
                Ok(Open::Etcd(Arc::new(store)))
            }
            #[cfg(not(feature = "etcd"))]
            Self::Etcd(_) => Err(anyhow::anyhow!("this accelnetd was built without etcd"))
                .context("build it with: cargo build --release -p accelnet-daemon --features etcd"),
        }
    }
}

impl Open {
    /// Asks who decides at present, if that can be another server.
    pub fn who_decides(&self) -> Option<WhoDecides> {
        match self {
            Self::Sqlite(_) => None,
            #[cfg(feature = "etcd")]
            Self::Etcd(store) => {
                let store = Arc::clone(store);
                Some(Arc::new(move || {
                    let store = Arc::clone(&store);
                    Box::pin(async move {
                        store.leading().await.unwrap_or_else(|error| {
                            // Told as what it is: nobody knows.
                            tracing::warn!(%error, "who decides cannot be asked");
                            None
                        })
                    })
                }))
            }
        }
    }

    /// Decides for the cluster, once this server may, until it is stopped; shows itself in `own` meanwhile. Calls
    /// `ready` when it decides, or stands by for another.
    ///
    /// # Errors
    /// If it may not, or cannot, decide any more.
    pub async fn decide(
        self,
        authority: Arc<Authority>,
        addresses: Vec<String>,
        own: watch::Sender<Option<Router>>,
        stopped: watch::Receiver<bool>,
        ready: impl Fn(),
    ) -> Result<()> {
        match self {
            Self::Sqlite(store) => {
                let mut end = store.end();
                let ended = async move { format!("the store has stopped: {}", end.wait().await) };
                active(store, authority, addresses, own, stopped, (ended, ready)).await
            }
            #[cfg(feature = "etcd")]
            Self::Etcd(store) => {
                membership::announce(&*store, &addresses)
                    .await
                    .context("this server cannot stand by")?;
                ready();
                let name = addresses.first().cloned().unwrap_or_default();
                let mut leader = tokio::select! {
                    leader = store.lead(&name, LEASE) => leader.context("this server cannot stand by")?,
                    () = crate::cluster::told(stopped.clone()) => return Ok(()),
                };
                tracing::info!("this server decides from now on");
                let fenced = Arc::new(leader.store().clone());
                let ended = async {
                    leader.deposed().await;
                    "another server may decide now".to_owned()
                };
                active(fenced, authority, addresses, own, stopped, (ended, || {})).await
            }
        }
    }
}

async fn active<S: Store>(
    store: Arc<S>,
    authority: Arc<Authority>,
    addresses: Vec<String>,
    own: watch::Sender<Option<Router>>,
    stopped: watch::Receiver<bool>,
    (ended, ready): (impl Future<Output = String>, impl Fn()),
) -> Result<()> {
    let server = Server::of_cluster(store, authority, addresses).await;
    let server = server.context("the cluster's state cannot be used")?;
    own.send_replace(Some(server.router()));
    ready();
    let (halt, halted) = watch::channel(false);
    let work = server.work(async move {
        tokio::select! {
            () = crate::cluster::told(stopped) => {}
            () = crate::cluster::told(halted) => {}
        }
    });
    tokio::pin!(work);
    tokio::select! {
        () = &mut work => Ok(()),
        why = ended => {
            own.send_replace(None);
            halt.send_replace(true);
            work.await;
            bail!("{why}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_state_is_kept_is_said_in_one_word() {
        let parse = |said| Kept::parse(said, Path::new("/var/lib/x"));
        assert_eq!(
            parse(None).unwrap(),
            Kept::Sqlite("/var/lib/x/server.sqlite".into())
        );
        assert_eq!(parse(Some("sqlite:/a")).unwrap(), Kept::Sqlite("/a".into()));
        let two = vec!["http://a:2379".to_owned(), "http://b:2379".to_owned()];
        assert_eq!(
            parse(Some("etcd://a:2379,b:2379")).unwrap(),
            Kept::Etcd(two)
        );
        let wrong = parse(Some("redis://a")).unwrap_err().to_string();
        assert!(wrong.contains("etcd://HOST:PORT"), "{wrong}");
    }
}
