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
#[cfg(feature = "etcd")]
use accelnet_server::{Pending, membership};
use accelnet_server::{Server, Settings};
#[cfg(feature = "etcd")]
use accelnet_store::{EtcdOptions, EtcdStore, EtcdTls, Leader, StoreError};
use accelnet_store::{SqliteOptions, SqliteStore, Store};
use anyhow::{Context, Result, bail, ensure};
use tokio::sync::watch;
#[cfg(feature = "etcd")]
use tokio::{net::TcpStream, time::timeout};

#[cfg(feature = "etcd")]
use crate::{
    copies::Copies,
    stage::{FromCopy, WhoDecides},
};
use crate::{
    etcd_files::EtcdFiles,
    stage::{Others, Own, Serving},
};

/// The file in the state directory, unless another is named.
const STATE_FILE: &str = "server.sqlite";
/// After a server that died nobody decides for so long. Agents and VMs do without meanwhile.
#[cfg(feature = "etcd")]
pub const LEASE: std::time::Duration = std::time::Duration::from_secs(5);
/// After a store that did not answer it is asked again.
#[cfg(feature = "etcd")]
const LEAD_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Whoever decides lets others connect within this.
#[cfg(feature = "etcd")]
const ANSWERS_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// A place for state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// A file.
    Sqlite(PathBuf),
    /// An etcd.
    Etcd {
        /// Its endpoints' URLs.
        endpoints: Vec<String>,
        /// With which certificates it is spoken to.
        files: EtcdFiles,
    },
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => file.display().fmt(f),
            Self::Etcd { endpoints, .. } => write!(f, "etcd at {}", endpoints.join(", ")),
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
    pub fn parse(said: Option<&str>, state_dir: &Path, files: &EtcdFiles) -> Result<Self> {
        files.belong_together()?;
        let file = match said {
            None => Some(state_dir.join(STATE_FILE)),
            Some(said) => said.strip_prefix("sqlite:").map(PathBuf::from),
        };
        if let Some(file) = file {
            ensure!(
                *files == EtcdFiles::default(),
                "--etcd-ca, --etcd-cert and --etcd-key are for an etcd, and the store is {}; name one: \
                 --store etcd://HOST:PORT",
                file.display()
            );
            return Ok(Self::Sqlite(file));
        }
        let said = said.unwrap_or_default();
        let Some(endpoints) = said.strip_prefix("etcd://") else {
            bail!("--store {said}: write it like sqlite:FILE or etcd://HOST:PORT,HOST:PORT");
        };
        let scheme = if files.with_tls() { "https" } else { "http" };
        let endpoints = endpoints
            .split(',')
            .map(|place| format!("{scheme}://{place}"));
        Ok(Self::Etcd {
            endpoints: endpoints.collect(),
            files: files.clone(),
        })
    }

    /// Opens it.
    pub async fn open(&self) -> Result<Open> {
        match self {
            Self::Sqlite(file) => {
                let store = SqliteStore::open(file, SqliteOptions::default()).await?;
                Ok(Open::Sqlite(Arc::new(store)))
            }
            #[cfg(feature = "etcd")]
            Self::Etcd { endpoints, files } => {
                let tls = files.read()?;
                let options = EtcdOptions {
                    tls: tls.map(|pem| EtcdTls {
                        ca: pem.ca,
                        client: pem.client,
                    }),
                    ..EtcdOptions::new(endpoints.clone())
                };
                let store = EtcdStore::connect(options)
                    .await
                    .with_context(|| format!("{self} cannot be used"))?;
                Ok(Open::Etcd(Arc::new(store)))
            }
            #[cfg(not(feature = "etcd"))]
            Self::Etcd { .. } => Err(anyhow::anyhow!("this accelnetd was built without etcd"))
                .context("build it with: cargo build --release -p accelnet-daemon --features etcd"),
        }
    }
}

impl Open {
    /// How far a server is that begins on it.
    pub fn begins(&self) -> Own {
        match self {
            Self::Sqlite(_) => Own::Reads,
            #[cfg(feature = "etcd")]
            Self::Etcd(_) => Own::StandsBy,
        }
    }

    /// What is behind a server's doors while it stands by, as it does until `own` says otherwise.
    #[cfg_attr(
        not(feature = "etcd"),
        expect(unused_variables, reason = "a file has one server")
    )]
    pub fn others(
        &self,
        cluster: &(Arc<Authority>, Vec<String>),
        settings: &Settings,
        own: &watch::Receiver<Own>,
    ) -> Others {
        match self {
            Self::Sqlite(_) => Others::default(),
            #[cfg(feature = "etcd")]
            Self::Etcd(store) => Others {
                who: Some(who_decides(Arc::clone(store), cluster.1.clone())),
                copy: from_copy(Arc::clone(store), cluster, settings.clone(), own.clone()),
            },
        }
    }

    /// Decides for the cluster, once this server may, until it is stopped; shows itself in `own` meanwhile. Calls
    /// `ready` when it decides, or stands by for another.
    ///
    /// # Errors
    /// If it may not, or cannot, decide any more.
    pub async fn decide(
        self,
        cluster: (Arc<Authority>, Vec<String>),
        settings: Settings,
        own: watch::Sender<Own>,
        stopped: watch::Receiver<bool>,
        ready: impl Fn(),
    ) -> Result<()> {
        match self {
            Self::Sqlite(store) => {
                let mut end = store.end();
                let ended = async move { format!("the store has stopped: {}", end.wait().await) };
                active(store, cluster, settings, own, stopped, (ended, ready)).await
            }
            #[cfg(feature = "etcd")]
            Self::Etcd(store) => {
                let addresses = &cluster.1;
                membership::announce(&*store, addresses)
                    .await
                    .context("this server cannot stand by")?;
                ready();
                let name = addresses.first().cloned().unwrap_or_default();
                let mut leader = tokio::select! {
                    leader = until_it_leads(&store, &name) => leader.context("this server cannot stand by")?,
                    () = crate::cluster::told(stopped.clone()) => return Ok(()),
                };
                tracing::info!("this server decides from now on");
                own.send_replace(Own::Reads);
                let fenced = Arc::new(leader.store().clone());
                let ended = async {
                    leader.deposed().await;
                    "another server may decide now".to_owned()
                };
                active(fenced, cluster, settings, own, stopped, (ended, || {})).await
            }
        }
    }
}

/// Waits until this server leads. As long as the store does not answer it stands by: what was kept can be read here.
#[cfg(feature = "etcd")]
async fn until_it_leads(store: &EtcdStore, name: &str) -> Result<Leader, StoreError> {
    loop {
        match store.lead(name, LEASE).await {
            Err(error @ StoreError::Unreachable { .. }) => {
                tracing::warn!(%error, "this server stands by, and cannot lead");
                tokio::time::sleep(LEAD_AGAIN).await;
            }
            other => return other,
        }
    }
}

/// Asks who decides at present, if it is another than the one at these addresses. One that has died is the store's
/// leader until its lease ends: whoever were sent to it would only come back.
#[cfg(feature = "etcd")]
fn who_decides(store: Arc<EtcdStore>, own: Vec<String>) -> WhoDecides {
    Arc::new(move || {
        let (store, own) = (Arc::clone(&store), own.clone());
        Box::pin(async move {
            let named = store.leading().await.unwrap_or_else(|error| {
                // Told as what it is: nobody knows.
                tracing::warn!(%error, "who decides cannot be asked");
                None
            })?;
            (!own.contains(&named) && answers(&named).await).then_some(named)
        })
    })
}

/// Answers from copies of what is kept, as long as this server stands by.
#[cfg(feature = "etcd")]
fn from_copy(
    store: Arc<EtcdStore>,
    (authority, addresses): &(Arc<Authority>, Vec<String>),
    settings: Settings,
    mut own: watch::Receiver<Own>,
) -> Option<FromCopy> {
    let of = addresses.first()?.parse().ok()?;
    let copies = Arc::new(Copies::of(store, Arc::clone(authority), settings));
    let ends = Arc::clone(&copies);
    tokio::spawn(async move {
        // An error means that the server has ended.
        let _ = own.wait_for(|own| !matches!(own, Own::StandsBy)).await;
        ends.end().await;
    });
    let answers = move || -> Pending<'static, _> {
        let copies = Arc::clone(&copies);
        Box::pin(async move { copies.answers().await })
    };
    Some(FromCopy {
        of,
        answers: Arc::new(answers),
    })
}

/// Somebody listens there.
#[cfg(feature = "etcd")]
async fn answers(address: &str) -> bool {
    let connected = timeout(ANSWERS_WITHIN, TcpStream::connect(address)).await;
    matches!(connected, Ok(Ok(_)))
}

async fn active<S: Store>(
    store: Arc<S>,
    (authority, addresses): (Arc<Authority>, Vec<String>),
    settings: Settings,
    own: watch::Sender<Own>,
    stopped: watch::Receiver<bool>,
    (ended, ready): (impl Future<Output = String>, impl Fn()),
) -> Result<()> {
    let server = Server::of_cluster(store, authority, addresses, settings).await;
    let server = server.context("the cluster's state cannot be used")?;
    own.send_replace(Own::Serves(Serving {
        all: server.router(),
        metrics: server.metrics_page(),
    }));
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
            own.send_replace(Own::StandsBy);
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
        let none = EtcdFiles::default();
        let parse = |said| Kept::parse(said, Path::new("/var/lib/x"), &none);
        assert_eq!(
            parse(None).unwrap(),
            Kept::Sqlite("/var/lib/x/server.sqlite".into())
        );
        assert_eq!(parse(Some("sqlite:/a")).unwrap(), Kept::Sqlite("/a".into()));
        let plain = parse(Some("etcd://a:2379,b:2379")).unwrap();
        assert_eq!(plain.to_string(), "etcd at http://a:2379, http://b:2379");
        let wrong = parse(Some("redis://a")).unwrap_err().to_string();
        assert!(wrong.contains("etcd://HOST:PORT"), "{wrong}");
    }

    #[test]
    fn with_an_authority_tls_is_spoken_and_a_file_needs_none() {
        let files = EtcdFiles {
            ca: Some("ca.pem".into()),
            ..EtcdFiles::default()
        };
        let parse = |said| Kept::parse(said, Path::new("/var/lib/x"), &files);
        let kept = parse(Some("etcd://a:2379")).unwrap();
        assert_eq!(kept.to_string(), "etcd at https://a:2379");
        for file in [None, Some("sqlite:/a")] {
            let wrong = parse(file).unwrap_err().to_string();
            assert!(wrong.contains("--store etcd://"), "{wrong}");
        }
    }
}
