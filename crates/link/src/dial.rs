//! How a server is reached: over HTTPS, and in the simulator without a socket.

use std::time::Duration;

use accelnet_api::{
    ServerUrl,
    agents::{DOWN_AFTER, RenewRequest, Up},
};
use accelnet_model::Problem;
use futures::FutureExt;
use reqwest::{Client, Response};

use crate::{
    Credentials,
    http::{Ended, at, client, good, unreachable},
    line::Pending,
};

/// The way to servers.
pub trait Dial: Send + Sync + 'static {
    /// Begins a session with a server.
    fn dial<'a>(
        &'a self,
        server: &'a ServerUrl,
        credentials: &'a Credentials,
    ) -> Pending<'a, Result<Dialled, Ended>>;
}

/// A session that has begun.
pub struct Dialled {
    /// The server's long answer.
    pub answer: Box<dyn Answer>,
    /// What is said to it meanwhile.
    pub talk: Box<dyn Talk>,
    /// Whoever else asks this server something asks it by this, if there is a connection.
    pub http: Option<Client>,
}

/// A long answer, piece by piece.
pub trait Answer: Send {
    /// The next bytes; `None` at the end. May be dropped and called again: nothing is lost.
    fn next(&mut self) -> Pending<'_, Result<Option<Vec<u8>>, Problem>>;
}

/// Requests within a session.
pub trait Talk: Send + Sync {
    /// A report, which is not waited for longer than `limit`.
    fn report<'a>(&'a self, up: &'a Up, limit: Duration) -> Pending<'a, Result<(), Ended>>;

    /// A new certificate for the key of this request.
    fn renew<'a>(&'a self, request: &'a RenewRequest) -> Pending<'a, Result<String, Ended>>;
}

/// TLS with the node's certificate.
#[derive(Debug, Clone, Copy)]
pub struct Https;

impl Dial for Https {
    fn dial<'a>(
        &'a self,
        server: &'a ServerUrl,
        credentials: &'a Credentials,
    ) -> Pending<'a, Result<Dialled, Ended>> {
        async move {
            let http = client(&credentials.tls()?, DOWN_AFTER)?;
            let sent = http.get(at(server, "/follow")).send().await;
            let sent = sent.map_err(|error| unreachable(server, &error))?;
            let answer = good(server, sent).await?;
            Ok(Dialled {
                answer: Box::new(OverHttps {
                    server: server.clone(),
                    answer,
                }),
                talk: Box::new(Requests {
                    server: server.clone(),
                    http: http.clone(),
                }),
                http: Some(http),
            })
        }
        .boxed()
    }
}

struct OverHttps {
    server: ServerUrl,
    answer: Response,
}

impl Answer for OverHttps {
    fn next(&mut self) -> Pending<'_, Result<Option<Vec<u8>>, Problem>> {
        async move {
            let chunk = self.answer.chunk().await;
            let chunk = chunk.map_err(|error| unreachable(&self.server, &error))?;
            Ok(chunk.map(|bytes| bytes.to_vec()))
        }
        .boxed()
    }
}

struct Requests {
    server: ServerUrl,
    http: Client,
}

impl Talk for Requests {
    fn report<'a>(&'a self, up: &'a Up, limit: Duration) -> Pending<'a, Result<(), Ended>> {
        async move {
            let sent = self.http.post(at(&self.server, "/report")).json(up);
            let sent = sent.timeout(limit).send().await;
            let sent = sent.map_err(|error| unreachable(&self.server, &error))?;
            good(&self.server, sent).await.map(drop)
        }
        .boxed()
    }

    fn renew<'a>(&'a self, request: &'a RenewRequest) -> Pending<'a, Result<String, Ended>> {
        async move {
            let lost = |error| unreachable(&self.server, &error);
            let sent = self.http.post(at(&self.server, "/renew")).json(request);
            let answer = good(&self.server, sent.send().await.map_err(lost)?).await?;
            Ok(answer.text().await.map_err(lost)?)
        }
        .boxed()
    }
}
