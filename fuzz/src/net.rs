//! Requests as they come over a socket: to the server's own router, with made-up nodes behind it.

use accelnet_server::{Actor, NodePeerInfo, Nodes, Sender, Server, fake::FakeNodes};
use accelnet_store::MemoryStore;
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, StatusCode, header::CONTENT_TYPE},
};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use tower::ServiceExt;
use uuid::Uuid;

/// So many requests one after the other.
const REQUESTS_MAX: usize = 8;
/// What stands between two.
const BETWEEN: &str = "\n---\n";

/// Requests, one after the other: `WHO METHOD PATH`, headers, an empty line, the body. `WHO` is `local` (root's
/// socket), `node` (with a node's certificate) or anything else: somebody in the network.
pub fn api(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let requests: Vec<Request<Body>> = text
        .split(BETWEEN)
        .take(REQUESTS_MAX)
        .filter_map(request)
        .collect();
    if requests.is_empty() {
        return;
    }
    alone(async {
        let server = Server::new(
            MemoryStore::new(),
            FakeNodes::one() as std::sync::Arc<dyn Nodes>,
        );
        let server = server.await.expect("an empty store can be read");
        let router = server.router();
        for request in requests {
            ask(&router, request).await;
        }
    });
}

/// Runs it to its end, with all that it has begun.
pub fn alone<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(work)
}

fn request(text: &str) -> Option<Request<Body>> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (who, method, path) = (first.next()?, first.next()?, first.next()?);
    let mut built = Request::builder().method(method).uri(path);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        built = built.header(name, value);
    }
    let request = built.extension(ConnectInfo(sender(who)));
    request.body(Body::from(body.to_owned())).ok()
}

fn sender(who: &str) -> Sender {
    let address = ([192, 0, 2, 1], 4242).into();
    match who {
        "local" => Sender::Local(Actor {
            uid: Some(0),
            gid: Some(0),
            pid: Some(1),
            ..Actor::default()
        }),
        "node" => Sender::Remote {
            address,
            node: Some(NodePeerInfo {
                id: Uuid::from_u128(1),
                name: "node1".parse().expect("a name"),
                expires: Timestamp::now() + SignedDuration::from_hours(1),
            }),
        },
        _ => Sender::Remote {
            address,
            node: None,
        },
    }
}

/// Whatever is asked is answered: with what was asked for, or with a problem that is the asker's, in the form that all
/// problems have. Nobody without a token is told more than that he needs one.
///
/// # Panics
/// If it is not.
pub async fn ask(router: &Router, request: Request<Body>) {
    let asked = format!("{} {}", request.method(), request.uri());
    let stranger = matches!(
        request.extensions().get(),
        Some(ConnectInfo(Sender::Remote { node: None, .. }))
    );
    let Ok(answer) = router.clone().oneshot(request).await;
    let status = answer.status();
    assert!(
        !status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE,
        "{asked}: {status}"
    );
    assert!(!stranger || !status.is_success(), "{asked}: {status}");
    let kind = answer.headers().get(CONTENT_TYPE).cloned();
    let kind = kind.as_ref().and_then(|kind| kind.to_str().ok());
    // What has no end is not waited for.
    if kind.is_some_and(|kind| kind.contains("ndjson")) {
        return;
    }
    let body = answer.into_body().collect().await;
    let body = body.expect("it comes to its end").to_bytes();
    if status.is_client_error() && !body.is_empty() {
        let problem: serde_json::Value = serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{asked}: {status}, and no problem: {error}"));
        for field in ["code", "detail"] {
            let said = problem[field].as_str();
            let said = said.unwrap_or_else(|| panic!("{asked}: no {field}: {problem}"));
            assert!(!said.chars().any(char::is_control), "{asked}: {said:?}");
        }
    }
}
