//! A VM that is on its way to this node: the server is asked whether it may come.

use std::time::Duration;

use accelnet_api::incoming::{Admitted, IncomingVm, NODE_PATH};
use accelnet_model::Problem;

use crate::{
    Connected,
    http::{Ended, at, good, unreachable},
};

/// Asks the server that is connected.
///
/// # Errors
/// Why the VM may not come, or why there is no answer within `limit`.
pub async fn ask(
    connected: &Connected,
    vm: &IncomingVm,
    limit: Duration,
) -> Result<Admitted, Problem> {
    let Connected { server, http } = connected;
    let lost = |error: reqwest::Error| unreachable(server, &error);
    let asked = http.post(at(server, NODE_PATH)).json(vm).timeout(limit);
    let answer = asked.send().await.map_err(lost)?;
    let answer = good(server, answer).await.map_err(Ended::into_problem)?;
    answer.json().await.map_err(lost)
}
