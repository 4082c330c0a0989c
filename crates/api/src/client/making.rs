//! A client is made: nothing is sent yet.

use std::{path::Path, sync::Arc, time::Duration};

use accelnet_model::{Code, Problem};
use reqwest::header::HeaderValue;
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{Client, Result, asking::DEADLINE};
use crate::place::{Place, ServerUrl};

/// How long a server over the network may take to take a connection: a packet that is lost is sent again
/// after 1, 3 and 7 s (RFC 6298), and more than that is a firewall that says nothing.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

fn cannot_be_made(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::Internal, format!("{error}."))
}

/// Trusts nobody: over a socket there is no TLS, and the certificates of the system need not be read.
fn no_tls() -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(cannot_be_made)?;
    let trusting = builder.with_root_certificates(RootCertStore::empty());
    Ok(trusting.with_no_client_auth())
}

/// HTTP on a unix socket; an answer that takes longer than `limit` is none.
pub fn http_on(socket: &Path, limit: Duration) -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(no_tls()?)
        .unix_socket(socket)
        .timeout(limit)
        .no_proxy();
    Ok(builder.build().map_err(cannot_be_made)?)
}

impl Client {
    /// A client of the server behind this unix socket. Nothing is sent yet.
    pub fn on_socket(socket: &Path) -> Result<Self> {
        Ok(Self {
            http: http_on(socket, DEADLINE)?,
            place: Place::Socket(socket.to_owned()),
            active: Arc::default(),
            authorization: None,
            may_be_old: false,
            copy: Arc::default(),
        })
    }

    /// A client of a server over TLS; who that has to be is in `tls`. Nothing is sent yet.
    pub fn over_tls(
        server: &ServerUrl,
        tls: &Arc<ClientConfig>,
        token: Option<&str>,
    ) -> Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(tls))
            .https_only(true)
            // A token is for servers of this cluster; who points to another is `asking`'s business.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .timeout(DEADLINE)
            .no_proxy()
            .build()
            .map_err(cannot_be_made)?;
        let client = Self {
            http,
            place: Place::Server(server.clone()),
            active: Arc::default(),
            authorization: None,
            may_be_old: false,
            copy: Arc::default(),
        };
        match token {
            Some(token) => client.with_token(token),
            None => Ok(client),
        }
    }

    /// The same, which takes answers that may be old: a server that stands by gives them from its copy, also when no
    /// server decides. Watches and changes are for the one that decides, as ever.
    pub fn taking_what_may_be_old(mut self) -> Self {
        self.may_be_old = true;
        self
    }

    /// The same, for whoever this token is of.
    pub fn with_token(mut self, token: &str) -> Result<Self> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            let text = "The token has characters that no token has.";
            Problem::new(Code::InvalidArgument, text)
        })?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }
}
