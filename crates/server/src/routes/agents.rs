//! What agents say and are told ([`accelnet_api::agents`]): under their certificates, and no part of the API for
//! people and programs. A node reads its own part and writes its own report; whose that is its certificate says,
//! and nothing that it sends.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use accelnet_api::{
    agents::{
        BASE, Down, JoinRequest, Joined, REPORT_BYTES_MAX, RenewRequest, SIGN_EVERY, Up, change,
    },
    draining::{self, Parked},
    incoming::{self, Admitted, IncomingVm},
};
use accelnet_model::{Code, NodeDesired, Problem};
use axum::{
    Json, Router,
    body::{Body as HttpBody, Bytes},
    extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, State},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use super::extract::{BODY_LIMIT_BYTES, Body};
use crate::{
    NodePeerInfo, Sender, Server,
    failure::Failure,
    nodes::{Following, Question, Taken},
};

/// The routes.
pub fn router() -> Router<Server> {
    Router::new()
        .route(&format!("{BASE}/join"), post(join))
        .route(&format!("{BASE}/follow"), get(follow))
        .route(&format!("{BASE}/renew"), post(renew))
        .route(&format!("{BASE}{}", incoming::NODE_PATH), post(expect))
        .route(&format!("{BASE}{}", draining::NODE_PATH), post(drain))
        .route(
            &format!("{BASE}/report"),
            post(report).layer(DefaultBodyLimit::max(REPORT_BYTES_MAX)),
        )
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
}

/// A node, as its certificate says.
struct Peer(NodePeerInfo);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        match parts.extensions.get::<ConnectInfo<Sender>>() {
            Some(ConnectInfo(Sender::Remote {
                node: Some(node), ..
            })) if node.is_over() => {
                let text = format!("The certificate of node '{}' has expired.", node.name);
                Err(Problem::new(Code::NotAuthenticated, text).into())
            }
            Some(ConnectInfo(Sender::Remote {
                node: Some(node), ..
            })) => Ok(Self(node.clone())),
            _ => {
                let text = "This is for nodes, and no node's certificate was shown.";
                Err(Problem::new(Code::NotAuthenticated, text).into())
            }
        }
    }
}

async fn join(
    State(server): State<Server>,
    ConnectInfo(sender): ConnectInfo<Sender>,
    Body(request): Body<JoinRequest>,
) -> Result<Json<Joined>, Failure> {
    let joined = server.join(request).await;
    if matches!(&joined, Err(problem) if problem.code == Code::JoinRefused)
        && let Sender::Remote { address, .. } = sender
    {
        server
            .shared
            .attempts
            .failed(Some(address.ip()), "no join token");
    }
    Ok(Json(joined?))
}

async fn renew(
    State(server): State<Server>,
    Peer(peer): Peer,
    Body(request): Body<RenewRequest>,
) -> Result<String, Failure> {
    Ok(server.membership()?.renew(&peer, &request.request_pem)?)
}

async fn expect(
    State(server): State<Server>,
    Peer(peer): Peer,
    Body(vm): Body<IncomingVm>,
) -> Result<Json<Admitted>, Failure> {
    server
        .membership()?
        .hub
        .must_be_member(&peer.name, peer.id)?;
    Ok(Json(server.incoming(&peer.name, &vm).await?))
}

async fn drain(State(server): State<Server>, Peer(peer): Peer) -> Result<Json<Parked>, Failure> {
    server
        .membership()?
        .hub
        .must_be_member(&peer.name, peer.id)?;
    Ok(Json(server.goes_down(&peer.name).await?))
}

async fn report(
    State(server): State<Server>,
    Peer(peer): Peer,
    body: Bytes,
) -> Result<StatusCode, Failure> {
    let up: Up = serde_json::from_slice(&body).map_err(|error| {
        let text = format!("The report cannot be understood: {error}.");
        Problem::new(Code::InvalidArgument, text)
    })?;
    let hub = &server.membership()?.hub;
    let ahead = up.at.map(|at| at.duration_since(server.now()));
    if let Taken::Status(status) = hub.take_in(&peer.name, peer.id, up, Instant::now())? {
        server.report(&peer.name, *status);
    }
    hub.note_clock(&peer.name, ahead);
    Ok(StatusCode::NO_CONTENT)
}

async fn follow(State(server): State<Server>, Peer(peer): Peer) -> Result<Response, Failure> {
    let membership = server.membership()?;
    let following = membership.hub.follow(&peer.name, peer.id, Instant::now())?;
    membership.hub.note_certificate(&peer, following.session);
    tracing::info!(node = %peer.name, session = following.session, "connected");
    let mut alive = interval(SIGN_EVERY);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let welcome = Down::Welcome {
        session: following.session,
        servers: membership.servers().await,
    };
    let told = Telling {
        peer,
        following,
        stopping: server.shared.stopping.subscribe(),
        alive,
        welcome: Some(welcome),
        said: None,
        asked: BTreeSet::new(),
    };
    let lines = futures::stream::unfold(told, |mut told| async move {
        let lines = told.next().await?;
        Some((Ok::<_, Infallible>(lines), told))
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, HttpBody::from_stream(lines)).into_response())
}

/// A session's long answer.
struct Telling {
    peer: NodePeerInfo,
    following: Following,
    stopping: watch::Receiver<bool>,
    alive: Interval,
    welcome: Option<Down>,
    /// What it was told that it shall be.
    said: Option<Arc<NodeDesired>>,
    /// Questions that it was asked.
    asked: BTreeSet<u64>,
}

impl Telling {
    /// The next lines; `None` at the end: the server stops, another session has begun, the node is none, or its
    /// certificate is over: it dials again, with a newer one if it has one.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut lines: Vec<Down> = self.welcome.take().into_iter().collect();
            let wish = self.following.wish.borrow_and_update().clone();
            if let Some(wish) = wish.filter(|wish| self.said.as_ref() != Some(wish)) {
                lines.push(change(self.said.as_deref(), &wish));
                self.said = Some(wish);
            }
            let questions = self.following.questions.borrow_and_update().clone();
            let new = questions
                .iter()
                .filter(|(number, _)| !self.asked.contains(number));
            lines.extend(new.map(|(number, question)| asks(*number, *question)));
            self.asked = questions.into_keys().collect();
            if !lines.is_empty() {
                return Some(lines.iter().flat_map(line).collect());
            }
            tokio::select! {
                _ = self.stopping.wait_for(|stop| *stop) => return None,
                changed = self.following.wish.changed() => changed.ok()?,
                changed = self.following.questions.changed() => changed.ok()?,
                _ = self.alive.tick() => {
                    return (!self.peer.is_over()).then(|| line(&Down::Alive));
                }
            }
        }
    }
}

fn asks(number: u64, question: Question) -> Down {
    match question {
        Question::Look => Down::Look { number },
        Question::Traffic(vm) => Down::Traffic { number, vm },
    }
}

fn line(said: &Down) -> Vec<u8> {
    // Our own types have no map keys but text, so this cannot fail; an empty line says nothing.
    let mut text = serde_json::to_vec(said).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    async fn peer(expires: Timestamp) -> Result<Peer, Failure> {
        let node = NodePeerInfo {
            id: uuid::Uuid::from_u128(1),
            name: "node1".parse().unwrap(),
            expires,
        };
        let sender = Sender::Remote {
            address: ([192, 0, 2, 1], 7643).into(),
            node: Some(node),
        };
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        parts.extensions.insert(ConnectInfo(sender));
        Peer::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn a_certificate_that_ended_while_the_connection_lasted_is_nobody_s() {
        let second = SignedDuration::from_secs(1);
        let now = Timestamp::now();
        assert!(peer(now - second).await.is_err());
        assert!(peer(now + SignedDuration::from_hours(1)).await.is_ok());
    }
}
