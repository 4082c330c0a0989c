//! Who asks, and what they may do.
//!
//! ```text
//!   connection ─► Sender ─┐
//!   Authorization ────────┼─► Caller (Actor, role) ─► route     else 401: nobody who is known
//!   x-accelnet-caller ────┘           │
//!                                     └─ role too low ─► 403
//! ```
//! Whoever is let in at the local socket (root and its group) may do all, unless a token is shown there:
//! then it is the token that counts. Over the network it is always the token. A node that passes a request
//! on adds nothing but where, and by which user, it was asked.
//!
//! An answer that has no end ends with the token that it was given to.
//!
//! Whether a token's name exists is told to nobody who does not have its secret, neither by words nor by
//! the time that the answer takes.

mod attempts;
pub mod tokens;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use accelnet_api::{BASE, CALLER_HEADER, KnownBy, Role};
use accelnet_model::{Code, Name, Problem};
use accelnet_pki::{AccessToken, PkiError};
use axum::{
    body::Body,
    extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State},
    http::{
        HeaderMap, Method,
        header::{AUTHORIZATION, CONTENT_TYPE},
        request::Parts,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use jiff::Timestamp;
use uuid::Uuid;

pub use attempts::Attempts;

use crate::{
    Server,
    audit::{Actor, printable},
    failure::Failure,
    routes::NDJSON,
    state::TokenSpec,
};

/// A token that another server has revoked ends a watch within this; so does one whose time is over by a
/// clock that was set.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Who is at the other end of a connection. Whoever took the connection puts it into each request, as
/// [`ConnectInfo`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// A process on this machine, as the kernel says.
    Local(Actor),
    /// Somebody in the network.
    Remote {
        /// From where.
        address: SocketAddr,
        /// The node whose certificate was shown, and found good.
        node: Option<NodePeerInfo>,
    },
}

impl Sender {
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Local(_) => None,
            Self::Remote { address, .. } => Some(address.ip()),
        }
    }
}

/// The node at the other end of a connection, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePeerInfo {
    /// Its identity.
    pub id: Uuid,
    /// Its name.
    pub name: Name,
    /// The certificate's end. The handshake has looked at it; a connection may last longer.
    pub expires: Timestamp,
}

impl NodePeerInfo {
    /// The certificate has come to its end meanwhile: by the machine's clock, as the handshake judged it.
    pub(crate) fn is_over(&self) -> bool {
        self.expires <= Timestamp::now()
    }
}

/// Who asks, once that is known.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub actor: Actor,
    pub role: Role,
    pub by: KnownBy,
    /// The token that was shown.
    pub token: Option<TokenSpec>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| {
            let text = "A request came to a route past the check of who asks.";
            Problem::new(Code::Internal, text).into()
        })
    }
}

/// The least role that may do this. What nobody thought of is for operators if it changes something.
fn needed(method: &Method, route: &str) -> Role {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    let path = route.strip_prefix(BASE).unwrap_or_default();
    let below = |start: &str| {
        let rest = path.strip_prefix(start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // With what is in a backup one can pass for anybody.
    if below("/tokens") || below("/join-tokens") || below("/backup") {
        return Role::Admin;
    }
    if *method == Method::DELETE && below("/nodes") {
        return Role::Admin;
    }
    if reads { Role::Viewer } else { Role::Operator }
}

/// Lets requests pass of those who are known and may ask for that.
pub(crate) async fn authorized(
    State(server): State<Server>,
    mut request: Request,
    next: Next,
) -> Response {
    let extensions = request.extensions();
    let sender = extensions.get::<ConnectInfo<Sender>>().cloned();
    let route = extensions.get::<MatchedPath>().cloned();
    let caller = server
        .caller(
            sender.as_ref().map(|ConnectInfo(sender)| sender),
            request.headers(),
        )
        .await;
    let caller = match caller {
        Ok(caller) => caller,
        Err(problem) => return Failure::from(problem).into_response(),
    };
    // What is no route is answered by words only.
    let needed = match &route {
        Some(route) => needed(request.method(), route.as_str()),
        None => Role::Viewer,
    };
    if caller.role < needed {
        let Caller { actor, role, .. } = &caller;
        let (method, path) = (request.method(), printable(request.uri().path()));
        tracing::info!(target: "audit", by = %actor, %role, %needed, %method, path, "not permitted");
        let text = format!("It takes the role '{needed}'; {actor} has the role '{role}'.");
        return Failure::from(Problem::new(Code::NotPermitted, text)).into_response();
    }
    let token = caller.token.clone();
    request.extensions_mut().insert(caller);
    let answer = next.run(request).await;
    let kind = answer.headers().get(CONTENT_TYPE);
    match token {
        Some(token) if kind.is_some_and(|kind| kind == NDJSON) => {
            let (parts, body) = answer.into_parts();
            let good = Box::pin(while_good(server, token));
            let body = body.into_data_stream().take_until(good);
            Response::from_parts(parts, Body::from_stream(body))
        }
        _ => answer,
    }
}

/// Returns when a token is accepted no more.
async fn while_good(server: Server, token: TokenSpec) {
    let mut changes = server.shared.changes.subscribe();
    loop {
        let now = server.now();
        // What cannot be read now is read at the next look.
        let gone = match server.wish().await {
            Ok(wish) => wish.tokens.get(&token.name) != Some(&token),
            Err(_) => false,
        };
        if gone || token.is_over(now) {
            return;
        }
        let left = token
            .expires
            .map(|end| end.duration_since(now).unsigned_abs());
        let look_again = left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN));
        tokio::select! {
            () = tokio::time::sleep(look_again) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

impl Server {
    /// How many requests came without a good token since the server's start.
    pub fn refused_attempts(&self) -> u64 {
        self.shared.attempts.total()
    }

    async fn caller(
        &self,
        sender: Option<&Sender>,
        headers: &HeaderMap,
    ) -> Result<Caller, Problem> {
        let from = sender.and_then(Sender::address);
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let actor = match sender {
            // Without a user id the kernel has not vouched for anybody.
            Some(Sender::Local(actor)) if actor.uid.is_some() => {
                if headers.get(AUTHORIZATION).is_none() {
                    return Ok(Caller {
                        actor: actor.clone(),
                        role: Role::Admin,
                        by: KnownBy::Socket,
                        token: None,
                    });
                }
                actor.clone()
            }
            Some(Sender::Remote { node, .. }) => passed_on(node.as_ref(), headers),
            Some(Sender::Local(_)) | None => Actor::default(),
        };
        let refused = |why: &str, problem: Problem| {
            self.shared.attempts.failed(from, why);
            problem
        };
        let token = match (shown.next(), shown.next()) {
            (None, _) => {
                let problem = Problem::new(Code::NotAuthenticated, "No token was sent.");
                return Err(refused("no token", problem));
            }
            (Some(one), None) => bearer(one.to_str().unwrap_or_default()),
            (Some(_), Some(_)) => Err(no_token("two were sent")),
        };
        let token = token.map_err(|problem| refused("no token of ours", problem))?;
        let wish = self.wish().await?;
        let known = wish.tokens.get(&token.name);
        // Compared whether there is one or not: the time tells nothing.
        let hash = token.secret.hash();
        let same = known.map_or(hash, |known| known.hash) == hash;
        let now = self.now();
        let why = match known.filter(|_| same) {
            None => "no such token",
            Some(known) if known.is_over(now) => "a token whose time is over",
            Some(known) => {
                return Ok(Caller {
                    actor: Actor {
                        token: Some(token.name),
                        ..actor
                    },
                    role: known.role,
                    by: KnownBy::Token,
                    token: Some(known.clone()),
                });
            }
        };
        let text = "The token that was sent is not accepted.";
        Err(refused(why, Problem::new(Code::NotAuthenticated, text)))
    }
}

/// Something was sent, and it is none of our tokens; it is not repeated.
fn no_token(why: impl fmt::Display) -> Problem {
    let text = format!("What was sent is no access token: {why}.");
    Problem::new(Code::NotAuthenticated, text)
}

/// The token of an `Authorization` header.
fn bearer(header: &str) -> Result<AccessToken, Problem> {
    let (scheme, token) = header.split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(no_token(
            "the header 'Authorization' is not 'Bearer' and a token",
        ));
    }
    token.parse().map_err(|error: PkiError| no_token(error))
}

/// By whom a node was asked. What it says of another node counts for nothing.
fn passed_on(node: Option<&NodePeerInfo>, headers: &HeaderMap) -> Actor {
    let Some(node) = node else {
        return Actor::default();
    };
    let said = headers
        .get(CALLER_HEADER)
        .and_then(|said| said.to_str().ok());
    let said = said.and_then(|said| said.split_once(' '));
    let uid = said.filter(|(name, _)| *name == node.name.as_str());
    Actor {
        uid: uid.and_then(|(_, uid)| uid.parse().ok()),
        node: Some(node.name.clone()),
        ..Actor::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_role_may_is_decided_by_route_and_method() {
        for (method, path, role) in [
            (Method::GET, "/status", Role::Viewer),
            (Method::HEAD, "/vms", Role::Viewer),
            (Method::GET, "/audit", Role::Viewer),
            (Method::GET, "/nodes/{name}", Role::Viewer),
            (Method::PUT, "/vms/{vm}/acceleration", Role::Operator),
            (Method::POST, "/nodes/{name}/drain", Role::Operator),
            (Method::POST, "/something/new", Role::Operator),
            (Method::DELETE, "/intents/{name}", Role::Operator),
            (Method::DELETE, "/nodes/{name}", Role::Admin),
            (Method::GET, "/tokens", Role::Admin),
            (Method::POST, "/tokens", Role::Admin),
            (Method::DELETE, "/tokens/{name}", Role::Admin),
            (Method::POST, "/join-tokens", Role::Admin),
            (Method::GET, "/backup", Role::Admin),
        ] {
            assert_eq!(needed(&method, &format!("{BASE}{path}")), role, "{path}");
        }
    }

    #[test]
    fn a_header_that_is_no_token_is_not_repeated() {
        for header in [
            "",
            "Bearer",
            "Basic c2VjcmV0",
            "Bearer secret",
            "accelnet-1.a.secret",
        ] {
            let why = bearer(header).unwrap_err().to_string();
            assert!(!why.contains("secret") && !why.contains("c2Vj"), "{why}");
        }
    }

    #[test]
    fn whom_a_node_names_counts_only_with_its_own_certificate() {
        let node = NodePeerInfo {
            expires: Timestamp::MAX,
            id: Uuid::nil(),
            name: "node1".parse().unwrap(),
        };
        let headers = |said: &'static str| {
            HeaderMap::from_iter([(CALLER_HEADER.parse().unwrap(), said.parse().unwrap())])
        };
        let uid = |node, said| passed_on(node, &headers(said)).uid;
        assert_eq!(uid(Some(&node), "node1 1000"), Some(1000));
        assert_eq!(uid(Some(&node), "node2 1000"), None);
        assert_eq!(uid(Some(&node), "node1 root"), None);
        assert_eq!(passed_on(None, &headers("node1 0")), Actor::default());
        assert_eq!(
            passed_on(Some(&node), &HeaderMap::new()).node,
            Some(node.name)
        );
    }
}
