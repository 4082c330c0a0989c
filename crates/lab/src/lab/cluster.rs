//! A cluster of the lab's nodes: servers on the first of them, all of them joined.
//!
//! It is formed as an administrator does it, by the units that are shipped and the same commands: a server needs no
//! right on its host, so its first command runs as its own user too. Units are enabled: a node that loses its power
//! is in the cluster again by itself.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Lab, Network, Node, Options};
use crate::{progress::Progress, shell};

/// Where servers listen for nodes and people.
const PORT: u16 = 7643;
/// Where the unit has it.
const STATE: &str = "/var/lib/accelnet-server";
/// How the text of an access token begins.
const TOKEN: &str = "accelnet-1.";
/// Of the package `etcd-server`. Nodes are of this machine's release, so that its program runs there.
const ETCD: &str = "/usr/bin/etcd";

/// Where the servers of a cluster keep what they know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// A file of the only server.
    Sqlite,
    /// An etcd with a member beside each server.
    Etcd,
}

/// How the product runs as a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Where its servers keep what they know.
    pub store: Store,
    /// Number of servers, on the first nodes.
    pub servers: u8,
}

impl Cluster {
    /// Whether a lab can have it.
    pub(super) fn check(&self, options: &Options) -> Result<()> {
        ensure!(options.nodes > 1, "a cluster needs --nodes 2 or more");
        ensure!(
            options.bin_dir.is_some(),
            "a cluster needs the product's programs"
        );
        ensure!(
            (1..=options.nodes).contains(&self.servers),
            "--servers must be 1 to the number of nodes, {}",
            options.nodes
        );
        ensure!(
            self.servers == 1 || self.store == Store::Etcd,
            "several servers need --store etcd: a file has one"
        );
        ensure!(
            self.store != Store::Etcd || PathBuf::from(ETCD).exists(),
            "{ETCD} is missing; 'make deps' installs it"
        );
        Ok(())
    }
}

/// Who made a cluster, as its servers know him.
struct Founder {
    /// Of the cluster's authority.
    fingerprint: String,
    token: String,
}

impl Founder {
    /// Has `accelnet` ask whichever server decides, by way of a node's: that one may stand by.
    fn asks(&self, server: &Node) -> String {
        format!(
            "export ACCELNET_SERVER=https://{} ACCELNET_FINGERPRINT={} ACCELNET_TOKEN={}",
            address_of(server),
            self.fingerprint,
            shell::quote(&self.token)
        )
    }
}

impl Lab {
    /// The first administrator's token of a cluster, in the lab's private directory.
    pub fn admin_token(&self) -> Result<String> {
        let path = self.admin_token_file();
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Nodes with a server.
    pub fn servers(&self) -> &[Node] {
        let count = self.options.cluster.map_or(0, |cluster| cluster.servers);
        &self.nodes[..usize::from(count)]
    }

    fn admin_token_file(&self) -> PathBuf {
        self.directory().join("admin-token")
    }

    /// Puts etcd where nodes read their programs, if they need it.
    pub(super) fn share_etcd(&self) -> Result<()> {
        if self.store() == Some(Store::Etcd) {
            let to = self.directory().join("share/bin/etcd");
            fs::copy(ETCD, to).with_context(|| format!("cannot copy {ETCD}"))?;
        }
        Ok(())
    }

    fn store(&self) -> Option<Store> {
        self.options.cluster.map(|cluster| cluster.store)
    }

    /// Forms the cluster on nodes that are up.
    pub(super) fn form_cluster(&self, cluster: Cluster, progress: Progress) -> Result<()> {
        if cluster.store == Store::Etcd {
            progress.step("starting etcd");
            // A member is ready with the majority of the others.
            at_once(self.servers(), |node| self.start_etcd(node))?;
        }
        progress.step("making the cluster");
        let founder = self.init_cluster()?;
        progress.step("starting its servers");
        at_once(self.servers(), |node| self.start_server(node))?;
        progress.step("its nodes join");
        at_once(&self.nodes, |node| self.join(node, &founder))?;
        let first = &self.nodes[0];
        let intent = self.compute_intent();
        let asked = format!("{}\n{intent} > /dev/null", founder.asks(first));
        self.script(&first.name, &asked)
            .context("the cluster takes no intent")
            .map(drop)
    }

    /// One member of the servers' etcd. Its heartbeats are slow, as its machine may be.
    fn start_etcd(&self, node: &Node) -> Result<()> {
        let address = Network::Management.address(node.number);
        let name = &node.name;
        let members = self.servers().iter().map(|server| {
            let address = Network::Management.address(server.number);
            format!("{}=http://{address}:2380", server.name)
        });
        let members = members.collect::<Vec<_>>().join(",");
        let script = format!(
            "cat > /etc/lab-etcd.env <<'END_OF_SETTINGS'\n\
             ETCD_NAME={name}\n\
             ETCD_DATA_DIR=/var/lib/lab-etcd\n\
             ETCD_LISTEN_PEER_URLS=http://{address}:2380\n\
             ETCD_INITIAL_ADVERTISE_PEER_URLS=http://{address}:2380\n\
             ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379\n\
             ETCD_ADVERTISE_CLIENT_URLS=http://{address}:2379\n\
             ETCD_INITIAL_CLUSTER={members}\n\
             ETCD_INITIAL_CLUSTER_TOKEN={lab}\n\
             ETCD_HEARTBEAT_INTERVAL=300\n\
             ETCD_ELECTION_TIMEOUT=3000\n\
             ETCD_LOGGER=zap\n\
             END_OF_SETTINGS\n\
             systemctl -q enable --now lab-etcd\n",
            lab = self.name
        );
        self.script(name, &script)
            .with_context(|| format!("etcd does not start on {name}"))
            .map(drop)
    }

    /// Makes cluster and authority on the first node, as the user that its server will be; the first
    /// administrator's token, which is kept.
    fn init_cluster(&self) -> Result<Founder> {
        let addresses: Vec<_> = self.servers().iter().map(address_of).collect();
        let script = format!(
            "systemd-run --quiet --pipe --wait -p DynamicUser=yes -p User=accelnet-server \
             -p StateDirectory=accelnet-server -p StateDirectoryMode=0700 \
             /usr/local/bin/accelnetd init --state-dir {STATE} --address {}{}\n",
            addresses.join(","),
            self.store_option()
        );
        let said = self
            .script(&self.nodes[0].name, &script)
            .context("the cluster cannot be made")?;
        let mut words = said.split_whitespace();
        let fingerprint = words
            .find(|word| word.len() == 64 && word.chars().all(|letter| letter.is_ascii_hexdigit()))
            .context("accelnetd init told no fingerprint of the cluster's authority")?
            .to_owned();
        let token = words
            .find(|word| word.starts_with(TOKEN))
            .context("accelnetd init told no token of an administrator")?
            .to_owned();
        let path = self.admin_token_file();
        fs::write(&path, &token).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Founder { fingerprint, token })
    }

    fn start_server(&self, node: &Node) -> Result<()> {
        let (name, address, store) = (&node.name, address_of(node), self.store_option());
        let script = format!(
            "echo 'ACCELNET_SERVER_OPTIONS=--listen 0.0.0.0:{PORT} --address {address}{store}' \
             > /etc/default/accelnet-server\n\
             systemctl -q enable --now accelnet-server\n"
        );
        self.script(name, &script)
            .with_context(|| format!("the server does not start on {name}"))
            .map(drop)
    }

    /// A node joins with a token that is its own, and root there speaks to the cluster as its administrator.
    fn join(&self, node: &Node, founder: &Founder) -> Result<()> {
        let (name, first) = (&node.name, &self.nodes[0]);
        let asks = founder.asks(first);
        let ask = format!("{asks}\naccelnet node join-token --node {name} -o json");
        let answer = self.script(&first.name, &ask)?;
        let answer: Value = serde_json::from_str(&answer).context("no token to join with")?;
        let join = answer["token"].as_str().context("no token to join with")?;
        let script = format!(
            "accelnetd join https://{} {} > /dev/null\n\
             echo 'ACCELNET_PEER_LIBVIRT=qemu+tcp://{{node}}/system\n\
             ACCELNET_PEER_MEMORY=tcp://{{node}}' > /etc/default/accelnet-agent\n\
             accelnetd hook install > /dev/null\n\
             systemctl restart libvirtd\n\
             systemctl -q enable --now accelnet-agent\n\
             echo {} | accelnet login --local > /dev/null\n",
            address_of(first),
            shell::quote(join),
            shell::quote(&founder.token),
        );
        self.script(name, &script)
            .with_context(|| format!("{name} does not join"))
            .map(drop)
    }

    /// The servers' option for the store; a file is where the state is.
    fn store_option(&self) -> String {
        match self.store() {
            Some(Store::Etcd) => {
                let members = self.servers().iter();
                let members: Vec<_> = members.map(|node| format!("{}:2379", node.name)).collect();
                format!(" --store etcd://{}", members.join(","))
            }
            Some(Store::Sqlite) | None => String::new(),
        }
    }
}

/// Where nodes and people reach the server of a node.
fn address_of(node: &Node) -> String {
    format!("{}:{PORT}", node.name)
}

/// Does something on each of these nodes, on all at the same time: they wait more than they work.
fn at_once(nodes: &[Node], work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| work(node)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread of the lab panicked"))?
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{image::Variant, lab::SecondAdapter};

    #[test]
    fn a_cluster_that_cannot_be_is_refused() {
        let options = |nodes| Options {
            nodes,
            guests: 0,
            smt: false,
            vfs: 0,
            iommu: true,
            second_adapter: SecondAdapter::None,
            memory_mib: 2048,
            bin_dir: Some("/bin".into()),
            variant: Variant::Plain,
            cluster: None,
        };
        let check = |store, servers, nodes| Cluster { store, servers }.check(&options(nodes));
        assert!(check(Store::Sqlite, 1, 3).is_ok());
        for (store, servers, nodes) in [
            (Store::Sqlite, 1, 1),
            (Store::Sqlite, 2, 3),
            (Store::Etcd, 0, 3),
            (Store::Etcd, 4, 3),
        ] {
            assert!(
                check(store, servers, nodes).is_err(),
                "{servers} of {nodes}"
            );
        }
    }
}
