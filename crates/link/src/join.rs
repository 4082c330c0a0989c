//! A machine becomes a node, with a token.

use std::time::Duration;

use accelnet_api::{
    ServerUrl,
    agents::{JoinRequest, Joined},
};
use accelnet_model::{Code, Name, Problem};
use accelnet_pki::{JoinToken, node_request, tls};

use crate::{
    Credentials,
    http::{Ended, at, client, good, unreachable},
};

/// A server that answers does so within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// An answer that was lost is asked for again: the same request is done once.
const ATTEMPTS: u32 = 3;

/// Joins the cluster whose server this is. The server must show the authority that the token names before it is
/// shown the token.
///
/// # Errors
/// `join_refused`; `server_not_trusted`, `server_not_running`.
pub async fn join(server: &ServerUrl, token: &str, name: &Name) -> Result<Credentials, Problem> {
    let parsed: JoinToken = token.parse().map_err(|error: accelnet_pki::PkiError| {
        Problem::new(Code::JoinRefused, format!("{error}."))
    })?;
    let failed = |error: accelnet_pki::PkiError| Problem::new(Code::Internal, format!("{error}."));
    let http = client(&tls::pinned(parsed.ca).map_err(failed)?, ANSWER_LIMIT)?;
    let own = node_request().map_err(failed)?;
    let request = JoinRequest {
        token: token.to_owned(),
        request_pem: own.request_pem.clone(),
        name: name.clone(),
    };
    let (mut lost, mut server) = (None, server.clone());
    for _ in 0..ATTEMPTS {
        let sent = http.post(at(&server, "/join")).json(&request).send().await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                let connected = !error.is_connect();
                lost = Some(unreachable(&server, &error));
                if connected {
                    continue;
                }
                break;
            }
        };
        let answer = match good(&server, answer).await {
            Ok(answer) => answer,
            // It shows the same authority, or is told nothing.
            Err(Ended::Elsewhere(Some(active))) => {
                lost = Some(Ended::Elsewhere(None).into_problem());
                server = active;
                continue;
            }
            // Done, or not, or soon: the same request finds it out.
            Err(Ended::Because(problem)) if problem.code == Code::StoreFailed => {
                lost = Some(problem);
                continue;
            }
            Err(ended) => return Err(ended.into_problem()),
        };
        match answer.json::<Joined>().await {
            Ok(joined) => return Credentials::given(joined, &own.key, &server),
            Err(error) => lost = Some(unreachable(&server, &error)),
        }
    }
    Err(lost.unwrap_or_else(|| Problem::new(Code::Internal, "Nothing was asked.")))
}
