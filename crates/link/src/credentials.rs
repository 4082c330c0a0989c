//! What makes a machine a node, in a directory of its own that only root may read.
//!
//! | file | holds |
//! |---|---|
//! | `node.json` | [`Credentials`]: identity, certificate and key, the cluster's authority, where servers are |
//!
//! One file, so that no two of these can ever be of different times; it is replaced as a whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use accelnet_api::{ServerUrl, agents::Joined};
use accelnet_model::{Code, Name, Problem};
use accelnet_pki::{NodePeer, PrivateKey, tls};
use jiff::Timestamp;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const FILE: &str = "node.json";
/// A newer layout is refused rather than misread.
const SCHEMA: u32 = 1;

/// A node's identity in its cluster.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    schema: u32,
    /// The cluster.
    pub cluster: Uuid,
    /// The node's identity.
    pub node: Uuid,
    /// Its name in the cluster.
    pub name: Name,
    /// Where servers are.
    pub servers: Vec<ServerUrl>,
    authority_pem: String,
    certificate_pem: String,
    key_pem: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .field("name", &self.name)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those that a server gave, for a key that never left this machine.
    ///
    /// # Errors
    /// If what it gave is of no use.
    pub fn given(joined: Joined, key: &PrivateKey, asked: &ServerUrl) -> Result<Self, Problem> {
        let mut credentials = Self {
            schema: SCHEMA,
            cluster: joined.cluster,
            node: joined.node,
            name: joined.name,
            servers: vec![asked.clone()],
            authority_pem: joined.authority_pem,
            certificate_pem: joined.certificate_pem,
            key_pem: key.pem().to_owned(),
        };
        credentials.learn(&joined.servers);
        credentials.tls()?;
        Ok(credentials)
    }

    /// Reads them.
    ///
    /// # Errors
    /// `not_found` if this machine has not joined; `store_failed` if the file cannot be used.
    pub fn read(directory: &Path) -> Result<Self, Problem> {
        let file = directory.join(FILE);
        let shown = file.display();
        let text = fs::read(&file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Problem::new(Code::NotFound, "This machine is no node of a cluster.").with_cure(
                    "Make a token on a server ('accelnet node join-token') and run here: \
                     accelnetd join https://SERVER:PORT TOKEN",
                )
            }
            _ => broken(&shown.to_string(), &error),
        })?;
        let read: Self =
            serde_json::from_slice(&text).map_err(|error| broken(&shown.to_string(), &error))?;
        if read.schema > SCHEMA {
            let text = format!("{shown} is of a newer version of accelnetd.");
            return Err(Problem::new(Code::StoreFailed, text)
                .with_cure("Use the version of accelnetd that wrote it."));
        }
        Ok(read)
    }

    /// Replaces the file, so that after a loss of power there is the old or the new one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), Problem> {
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec_pretty(self)?;
            accelnet_files::replace(&directory.join(FILE), &text)
        };
        write().map_err(|error| {
            let text = format!(
                "The node's identity cannot be kept in {}: {error}.",
                directory.display()
            );
            Problem::new(Code::StoreFailed, text)
        })
    }

    /// How servers are spoken to.
    ///
    /// # Errors
    /// If certificate or key cannot be used.
    pub fn tls(&self) -> Result<Arc<ClientConfig>, Problem> {
        let key = PrivateKey::from_pem(&self.key_pem);
        key.and_then(|key| tls::node(&self.authority_pem, &self.certificate_pem, &key))
            .map_err(|error| Problem::new(Code::StoreFailed, format!("{error}.")))
    }

    /// When its certificate is worth nothing any more.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn expires(&self) -> Result<Timestamp, Problem> {
        let peer = NodePeer::from_pem(&self.certificate_pem);
        peer.map(|peer| peer.expires)
            .map_err(|error| Problem::new(Code::StoreFailed, format!("{error}.")))
    }

    /// True once less than half of a certificate's time is left.
    pub fn shall_renew(&self, now: Timestamp, lifetime: Duration) -> bool {
        let left = self.expires().map(|expires| expires.duration_since(now));
        // One that cannot be read is made anew.
        left.map_or(true, |left| {
            left.as_secs_f64() < lifetime.as_secs_f64() / 2.0
        })
    }

    /// The same with a new certificate for a new key.
    ///
    /// # Errors
    /// If it is of no use.
    pub fn renewed(&self, certificate_pem: String, key: &PrivateKey) -> Result<Self, Problem> {
        let new = Self {
            certificate_pem,
            key_pem: key.pem().to_owned(),
            ..self.clone()
        };
        new.tls()?;
        Ok(new)
    }

    /// Takes note of where servers are; true if that is news. What cannot be understood is left out.
    pub fn learn(&mut self, servers: &[String]) -> bool {
        let known: Vec<ServerUrl> = servers
            .iter()
            .filter_map(|server| match server.parse() {
                Ok(server) => Some(server),
                Err(error) => {
                    tracing::warn!(server, %error, "a server's address");
                    None
                }
            })
            .collect();
        let news = !known.is_empty() && known != self.servers;
        if news {
            self.servers = known;
        }
        news
    }

    /// Where the directory is below a state directory.
    pub fn directory(state_dir: &Path) -> PathBuf {
        state_dir.join("node")
    }
}

fn broken(file: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::new(Code::StoreFailed, format!("{file} cannot be used: {error}."))
        .with_cure("Restore the file, or join again with a new token for this node: 'accelnet node join-token --node NAME'.")
}
