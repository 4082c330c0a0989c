//! A node's socket: requests are passed on to the cluster's server, under the caller's own token.
//!
//! Whoever may ask here (root and group `accelnet`) is nobody to the cluster without a token: root on one node
//! is not the cluster's administrator. Which user asked, on which node, goes with it for the record.

use std::{path::PathBuf, time::Duration};

use accelnet_api::{CALLER_HEADER, COPY_HEADER};
use accelnet_link::{Connected, Credentials, ask};
use accelnet_model::{Code, Name, Problem};
use accelnet_server::{Failure, Sender};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::stage::may_be_old;

/// What is passed on both ways. Everything else is between two ends of one connection.
static PASSED: [HeaderName; 8] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    header::ETAG,
    header::IF_NONE_MATCH,
    header::RETRY_AFTER,
    HeaderName::from_static(COPY_HEADER),
];

/// An agent that is no older has its first line to come: whoever starts it and asks waits for that, and for no other.
const YOUNG: Duration = Duration::from_secs(15);

#[derive(Clone)]
struct Way {
    node: Name,
    connected: watch::Receiver<Option<Connected>>,
    /// Where the node's credentials are.
    directory: PathBuf,
    since: Instant,
}

impl Way {
    async fn line(mut self) -> Option<Connected> {
        let wait = YOUNG.saturating_sub(self.since.elapsed());
        let connected = timeout(wait, self.connected.wait_for(Option::is_some)).await;
        connected.ok()?.ok()?.clone()
    }

    /// The answer of whichever server has a copy.
    async fn kept_elsewhere(&self, head: &Parts) -> Option<Response> {
        let known = Credentials::read(&self.directory).and_then(|known| ask::any(&known));
        let servers = known.unwrap_or_else(|problem| {
            tracing::warn!(%problem, "no server can be asked for its copy");
            Vec::new()
        });
        for server in servers {
            let asked = at(&server, head).headers(passed(&head.headers));
            match asked.send().await {
                Ok(answer) if answer.status() != StatusCode::MISDIRECTED_REQUEST => {
                    return Some(passed_back(answer));
                }
                // The next one may have a copy.
                Ok(_) | Err(_) => {}
            }
        }
        None
    }
}

/// Passes everything on. The node's credentials are in the directory.
pub fn router(
    node: Name,
    connected: watch::Receiver<Option<Connected>>,
    directory: PathBuf,
) -> Router {
    Router::new().fallback(pass_on).with_state(Way {
        node,
        connected,
        directory,
        since: Instant::now(),
    })
}

async fn pass_on(
    State(way): State<Way>,
    ConnectInfo(sender): ConnectInfo<Sender>,
    request: Request,
) -> Response {
    let may_be_old = may_be_old(&request);
    let (head, body) = request.into_parts();
    let answer = match way.clone().line().await {
        Some(line) => by_line(&line, &way.node, &sender, &head, body).await,
        None => Err(format!(
            "Node '{}' has no line to a server of its cluster.",
            way.node
        )),
    };
    let why = match answer {
        Ok(answer) => return answer,
        Err(why) => why,
    };
    if may_be_old && let Some(answer) = way.kept_elsewhere(&head).await {
        return answer;
    }
    let problem = Problem::new(Code::ServerNotRunning, why).with_cure(
        "Its VMs keep what they have. 'journalctl -u accelnet-agent' tells why; 'accelnet status --stale' shows what \
         another server has kept.",
    );
    Failure::from(problem).into_response()
}

/// What the server at the other end of the node's line answers, or why it does not.
async fn by_line(
    line: &Connected,
    node: &Name,
    sender: &Sender,
    head: &Parts,
    body: Body,
) -> Result<Response, String> {
    let mut headers = passed(&head.headers);
    // Whatever the caller says of himself does not count.
    if let Sender::Local(actor) = sender
        && let Some(uid) = actor.uid
        && let Ok(said) = format!("{node} {uid}").parse()
    {
        headers.insert(CALLER_HEADER, said);
    }
    let asked = at(line, head)
        .headers(headers)
        .body(reqwest::Body::wrap_stream(body.into_data_stream()));
    let answer = asked.send().await;
    answer
        .map(passed_back)
        .map_err(|error| format!("{} did not answer: {error}.", line.server))
}

/// The same request of a server.
fn at(Connected { server, http }: &Connected, head: &Parts) -> reqwest::RequestBuilder {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    http.request(head.method.clone(), format!("{server}{path}"))
}

fn passed_back(answer: reqwest::Response) -> Response {
    let (status, headers) = (answer.status(), passed(answer.headers()));
    let body = Body::from_stream(answer.bytes_stream());
    (status, headers, body).into_response()
}

fn passed(headers: &HeaderMap) -> HeaderMap {
    let pairs = PASSED.iter().filter_map(|name| {
        let value = headers.get(name)?;
        Some((name.clone(), value.clone()))
    });
    pairs.collect()
}
