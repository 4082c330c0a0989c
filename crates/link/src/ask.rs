//! What a node asks its server besides: whether a VM may come to it, and that its VMs are parked as its host goes down.

use std::time::Duration;

use accelnet_api::{
    agents::DOWN_AFTER,
    draining::{self, Parked},
    incoming::{self, Admitted, IncomingVm},
};
use accelnet_model::Problem;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Connected, Credentials,
    http::{Ended, at, client, good, unreachable},
};

/// How each server is asked that the node knows, whether it has a line to one or not.
///
/// # Errors
/// If the credentials cannot be used.
pub fn any(credentials: &Credentials) -> Result<Vec<Connected>, Problem> {
    let http = client(&credentials.tls()?, DOWN_AFTER)?;
    let servers = credentials.servers.iter();
    let ways = servers.map(|server| Connected {
        server: server.clone(),
        http: http.clone(),
    });
    Ok(ways.collect())
}

/// Whether a VM may come to this node.
///
/// # Errors
/// Why it may not, or why there is no answer within `limit`.
pub async fn may_come(
    connected: &Connected,
    vm: &IncomingVm,
    limit: Duration,
) -> Result<Admitted, Problem> {
    ask(connected, incoming::NODE_PATH, vm, limit).await
}

/// This node's host goes down.
///
/// # Errors
/// Why its VMs are not parked, or why there is no answer within `limit`.
pub async fn goes_down(connected: &Connected, limit: Duration) -> Result<Parked, Problem> {
    ask(connected, draining::NODE_PATH, &(), limit).await
}

async fn ask<T: DeserializeOwned>(
    connected: &Connected,
    path: &str,
    body: &(impl Serialize + Sync),
    limit: Duration,
) -> Result<T, Problem> {
    let Connected { server, http } = connected;
    let lost = |error: reqwest::Error| unreachable(server, &error);
    let asked = http.post(at(server, path)).json(body).timeout(limit);
    let answer = asked.send().await.map_err(lost)?;
    let answer = good(server, answer).await.map_err(Ended::into_problem)?;
    answer.json().await.map_err(lost)
}
