//! What commands of `accelnetd` ask the daemon that runs on this host.

use std::{fmt, path::Path, time::Duration};

use accelnet_api::{ProblemDocument, client::http_on};
use accelnet_model::{Code, Problem};
use serde::{Serialize, de::DeserializeOwned};

/// Asks on its socket.
///
/// # Errors
/// Why it refused; `agent_unreachable` if there is no answer within `limit`.
pub fn ask_host<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    body: &impl Serialize,
    limit: Duration,
) -> Result<T, Problem> {
    let silent = |error: &dyn fmt::Display| {
        let text = format!(
            "accelnetd does not answer on {}: {error}.",
            socket.display()
        );
        Problem::new(Code::AgentUnreachable, text)
    };
    let http = http_on(socket, limit).map_err(|error| silent(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| silent(&error))?;
    runtime.block_on(async {
        let sent = http.post(format!("http://localhost{path}")).json(body);
        let answer = sent.send().await.map_err(|error| silent(&error))?;
        if !answer.status().is_success() {
            let document = answer.json::<ProblemDocument>().await;
            return Err(document.map_or_else(|error| silent(&error), |document| document.problem));
        }
        answer.json().await.map_err(|error| silent(&error))
    })
}
