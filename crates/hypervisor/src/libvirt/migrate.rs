//! Migrations to other nodes.
//!
//! The daemons talk to each other (`VIR_MIGRATE_PEER2PEER`): a migration goes on when the agent that asked for
//! it has gone. Each has a connection of its own, since a call that takes minutes would be one of the five
//! that libvirtd serves a client at once (libvirtd.conf, `max_client_requests`).

use std::str::FromStr;

use accelnet_model::Name;
use uuid::Uuid;
use virt::{
    connect::Connect,
    domain::{Domain, MigrateParameters},
    sys,
};

use super::{
    calls,
    connection::KEEPALIVE,
    refusal::{about_to, refused, refused_by, refused_on},
};
use crate::{HypervisorError, Result};

/// What stands for the name of a node.
const NODE: &str = "{node}";

/// How a node's libvirt is reached from others: a URI with `{node}` where the node's name belongs, for
/// instance `qemu+tls://{node}/system` (<https://libvirt.org/uri.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUri(String);

impl PeerUri {
    /// That of a node.
    pub fn of(&self, node: &Name) -> String {
        self.0.replace(NODE, node.as_str())
    }
}

impl FromStr for PeerUri {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if !text.contains(NODE) {
            return Err(format!(
                "the place of the node's name is missing in it: {NODE}"
            ));
        }
        let fits = text
            .split_once("://")
            .is_some_and(|(scheme, _)| !scheme.is_empty());
        let fits = fits && text.chars().all(|c| c.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| "it is no URI".to_owned())
    }
}

/// How VMs are migrated to other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// Where their libvirt is.
    pub libvirt: PeerUri,
    /// Where QEMU sends a VM's memory, e.g. `tcp://{node}`; where libvirt chooses if `None`.
    pub memory: Option<PeerUri>,
}

impl Default for Peers {
    /// libvirt's own default for daemons of several hosts: TLS with certificates.
    fn default() -> Self {
        Self {
            libvirt: PeerUri(format!("qemu+tls://{NODE}/system")),
            memory: None,
        }
    }
}

/// Migrates a VM of the libvirt behind `uri`, live, and waits until it runs there.
pub fn migrate(uri: &str, vm: Uuid, to: &Name, peers: &Peers) -> Result<()> {
    let unavailable =
        |error: virt::error::Error| HypervisorError::Unavailable(error.message().to_owned());
    let connection = Connect::open(Some(uri)).map_err(unavailable)?;
    connection
        .set_keep_alive(KEEPALIVE.0, KEEPALIVE.1)
        .map_err(refused("keep a connection"))?;
    let domain = connection.lookup_domain_by_uuid(vm);
    send(
        &domain.map_err(refused_by(vm, "look for the VM"))?,
        to,
        peers,
    )
}

fn send(domain: &Domain, to: &Name, peers: &Peers) -> Result<()> {
    let asked = format!("migrate to '{to}'");
    let persistent = domain.is_persistent().map_err(refused_on(domain, &asked))?;
    let mut flags = sys::VIR_MIGRATE_LIVE | sys::VIR_MIGRATE_PEER2PEER;
    if persistent {
        flags |= sys::VIR_MIGRATE_PERSIST_DEST | sys::VIR_MIGRATE_UNDEFINE_SOURCE;
    }
    let parameters = MigrateParameters {
        uri: peers.memory.as_ref().map(|memory| memory.of(to)),
        ..MigrateParameters::default()
    };
    let peer = peers.libvirt.of(to);
    about_to(&asked)?;
    domain
        .migrate_to_uri3(Some(&peer), parameters, flags)
        .map_err(|error| HypervisorError::Refused {
            operation: format!("{asked} ({peer})"),
            message: error.message().to_owned(),
        })
}

/// Ends the VM's migration to another node, if there is one.
pub fn end(domain: &Domain) -> Result<()> {
    let asked = "end the VM's migration";
    match calls::job(domain).map_err(refused_on(domain, asked))? {
        Some(sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT) => {
            about_to(asked)?;
            calls::abort_job(domain).map_err(refused_on(domain, asked))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_s_uri_has_a_place_for_its_name() {
        let uri: PeerUri = "qemu+tcp://{node}.lab:16509/system".parse().unwrap();
        let node: Name = "node2".parse().unwrap();
        assert_eq!(uri.of(&node), "qemu+tcp://node2.lab:16509/system");
        for wrong in [
            "qemu+tls://node2/system",
            "{node}",
            "://{node}",
            "tcp://{node} x",
            "",
        ] {
            assert!(wrong.parse::<PeerUri>().is_err(), "{wrong}");
        }
        let usual = Peers::default().libvirt;
        assert_eq!(usual.0.parse(), Ok(usual));
    }
}
