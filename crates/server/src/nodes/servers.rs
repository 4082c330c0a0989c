//! The cluster's servers: where they are, and whether those that stand by answer, as the one that decides sees it.
//!
//! Where a server is it has announced once, and that stays when it ends: agents look for it there. Whether it is there is
//! seen by connecting to it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use accelnet_api::ServerSummary;
use accelnet_model::{Code, Problem};
use futures::future::join_all;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::registry::Announced;
use crate::Server;

/// They are looked at so often; a fault opens after minutes.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A machine that has lost its power refuses nothing.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// What was seen of them last.
#[derive(Debug, Default)]
pub struct Standbys(Mutex<BTreeMap<String, Option<String>>>);

impl Standbys {
    /// Looks at these, and at no others from now on.
    pub async fn look(&self, addresses: impl Iterator<Item = &str>) {
        let looks = addresses.map(async |address| (address.to_owned(), silence(address).await));
        let seen = join_all(looks).await.into_iter().collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Why one gave no answer; `None` if it gave one, or was not looked at yet.
    pub fn silence(&self, address: &str) -> Option<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(address).cloned().flatten()
    }

    /// Those that gave no answer, and why.
    pub fn silent(&self) -> Vec<(String, String)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = seen
            .iter()
            .filter_map(|(address, why)| Some((address.clone(), why.clone()?)));
        silent.collect()
    }
}

/// Why nobody answers there, if nobody does.
async fn silence(address: &str) -> Option<String> {
    match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", CONNECT_LIMIT.as_secs())),
    }
}

impl Server {
    /// The servers that there are.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn servers(&self) -> Result<Vec<ServerSummary>, Problem> {
        let Ok(membership) = self.membership() else {
            return Ok(Vec::new());
        };
        let own = membership.own.iter().map(|address| Announced {
            address: address.clone(),
            since: membership.since,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let summary = |active: bool, server: Announced| ServerSummary {
            name: server
                .address
                .rsplit_once(':')
                .map_or(server.address.as_str(), |(host, _)| host)
                .to_owned(),
            reachable: membership.standbys.silence(&server.address).is_none(),
            address: server.address,
            active,
            since: server.since,
            version: server.version,
        };
        let own: Vec<ServerSummary> = own.map(|server| summary(true, server)).collect();
        let others = membership.others().await?.into_iter();
        let others = others.map(|server| summary(false, server));
        Ok(own.into_iter().chain(others).collect())
    }

    /// Forgets a server that is gone for good: agents and people do not look for it any more.
    ///
    /// # Errors
    /// `conflict` if it is there; if it cannot be written.
    pub(crate) async fn remove_server(&self, summary: &ServerSummary) -> Result<(), Problem> {
        let membership = self.membership()?;
        membership.look_at_standbys().await?;
        let address = &summary.address;
        let is_there = summary.active || membership.standbys.silence(address).is_none();
        if is_there {
            let text =
                format!("The server at {address} answers: it would be back with its next start.");
            let cure = "Stop it first, and see to it that it does not start again: 'systemctl disable --now accelnet-server'.";
            return Err(Problem::new(Code::Conflict, text).with_cure(cure));
        }
        membership.withdraw(address).await?;
        membership.look_at_standbys().await?;
        self.changed();
        Ok(())
    }

    /// Looks whether servers that stand by answer, until the server stops.
    pub(crate) async fn watch_standbys(&self) {
        let Ok(membership) = self.membership() else {
            return;
        };
        let watch = async {
            loop {
                // Who cannot be read stays as it was seen last.
                if let Err(problem) = membership.look_at_standbys().await {
                    tracing::warn!(%problem, "servers that stand by");
                }
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = self.stopping() => {}
            () = watch => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn one_that_ends_is_silent_and_one_that_is_forgotten_is_not_told_of() {
        let open = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            (listener.local_addr().unwrap().to_string(), listener)
        };
        let ((one, _stays), (other, ends)) = (open().await, open().await);
        let standbys = Standbys::default();
        let both = || [one.as_str(), other.as_str()].into_iter();
        assert_eq!(standbys.silence(&one), None);
        standbys.look(both()).await;
        assert_eq!(standbys.silent(), []);
        drop(ends);
        standbys.look(both()).await;
        assert_eq!(standbys.silence(&one), None);
        let silent = standbys.silent();
        assert_eq!(silent.len(), 1);
        assert!(
            silent[0].0 == other && silent[0].1.contains("refused"),
            "{silent:?}"
        );
        standbys.look([one.as_str()].into_iter()).await;
        assert_eq!(standbys.silent(), []);
    }
}
