//! A node's socket: requests are passed on to the cluster's server, under the caller's own token.
//!
//! Whoever may ask here (root and group `accelnet`) is nobody to the cluster without a token: root on one node
//! is not the cluster's administrator. Which user asked, on which node, goes with it for the record.

use std::time::Duration;

use accelnet_api::CALLER_HEADER;
use accelnet_link::Connected;
use accelnet_model::{Code, Name, Problem};
use accelnet_server::{Failure, Sender};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// What is passed on both ways. Everything else is between two ends of one connection.
const PASSED: [HeaderName; 6] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ETAG,
    header::IF_NONE_MATCH,
    header::RETRY_AFTER,
];

/// An agent that is no older has its first line to come: whoever starts it and asks waits for that, and for no other.
const YOUNG: Duration = Duration::from_secs(15);

#[derive(Clone)]
struct Way {
    node: Name,
    connected: watch::Receiver<Option<Connected>>,
    since: Instant,
}

impl Way {
    async fn line(mut self) -> Option<Connected> {
        let wait = YOUNG.saturating_sub(self.since.elapsed());
        let connected = timeout(wait, self.connected.wait_for(Option::is_some)).await;
        connected.ok()?.ok()?.clone()
    }
}

/// Passes everything on.
pub fn router(node: Name, connected: watch::Receiver<Option<Connected>>) -> Router {
    Router::new().fallback(pass_on).with_state(Way {
        node,
        connected,
        since: Instant::now(),
    })
}

async fn pass_on(
    State(way): State<Way>,
    ConnectInfo(sender): ConnectInfo<Sender>,
    request: Request,
) -> Response {
    let Some(Connected { server, http }) = way.clone().line().await else {
        let text = format!(
            "Node '{}' has no line to a server of its cluster.",
            way.node
        );
        let problem = Problem::new(Code::ServerNotRunning, text).with_cure(
            "Its VMs keep what they have. 'journalctl -u accelnet-agent' tells why there is none.",
        );
        return refused(problem);
    };
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = passed(&head.headers);
    // Whatever the caller says of himself does not count.
    if let Sender::Local(actor) = &sender
        && let Some(uid) = actor.uid
        && let Ok(said) = format!("{} {uid}", way.node).parse()
    {
        headers.insert(CALLER_HEADER, said);
    }
    let asked = http
        .request(head.method, format!("{server}{path}"))
        .headers(headers)
        .body(reqwest::Body::wrap_stream(body.into_data_stream()));
    match asked.send().await {
        Ok(answer) => {
            let (status, headers) = (answer.status(), passed(answer.headers()));
            let body = Body::from_stream(answer.bytes_stream());
            (status, headers, body).into_response()
        }
        Err(error) => {
            let text = format!("{server} did not answer: {error}.");
            refused(Problem::new(Code::ServerNotRunning, text))
        }
    }
}

fn passed(headers: &HeaderMap) -> HeaderMap {
    let pairs = PASSED.iter().filter_map(|name| {
        let value = headers.get(name)?;
        Some((name.clone(), value.clone()))
    });
    pairs.collect()
}

fn refused(problem: Problem) -> Response {
    Failure::from(problem).into_response()
}
