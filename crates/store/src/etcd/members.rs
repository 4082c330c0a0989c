//! The members of etcd, one of which is asked.
//!
//! One that answers is kept to. If it cannot be reached or is silent, everybody goes on to the
//! next one: balancing would send part of all requests to a member that is known not to answer.

use std::{fmt, time::Duration};

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{fault::Fault, options::EtcdOptions};
use crate::{InvalidRequest, Result, StoreError};

/// Between attempts: long enough not to burden a machine on which etcd is just starting, short
/// beside an election, which takes a second or two.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may be silent before it is tried. etcd refuses to be asked more often
/// than every 5 s (`--grpc-keepalive-min-time`).
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Connections to all members.
pub(super) struct Members {
    clients: Vec<Client>,
    /// Which is asked.
    current: watch::Sender<usize>,
    endpoints: String,
    deadline: Duration,
}

impl Members {
    /// Connections are made when they are first used.
    pub(super) async fn new(options: &EtcdOptions) -> Result<Self> {
        let mut settings = ConnectOptions::new()
            .with_connect_timeout(options.deadline / 4)
            .with_keep_alive(PROBE_INTERVAL, options.deadline)
            // A member that is cut off from the others says so instead of letting wait.
            .with_require_leader(true);
        if let Some(tls) = &options.tls {
            let mut with = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca));
            if let Some((certificate, key)) = &tls.client {
                with = with.identity(Identity::from_pem(certificate, key));
            }
            settings = settings.with_tls(with);
        }
        let mut clients = Vec::with_capacity(options.endpoints.len());
        for endpoint in &options.endpoints {
            let client = Client::connect([endpoint], Some(settings.clone())).await;
            clients.push(client.map_err(|error| InvalidRequest::EtcdOptions {
                reason: format!("{endpoint} cannot be used: {error}"),
            })?);
        }
        Ok(Self {
            clients,
            current: watch::Sender::new(0),
            endpoints: options.endpoints.join(", "),
            deadline: options.deadline,
        })
    }

    /// When an operation that starts now has to be over.
    pub(super) fn end(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// The client of the member that is asked, and which one that is.
    pub(super) fn current(&self) -> (usize, Client) {
        let current = *self.current.borrow();
        (current, self.clients[current].clone())
    }

    /// Tells when another member is asked.
    pub(super) fn changes(&self) -> watch::Receiver<usize> {
        self.current.subscribe()
    }

    /// Asks the next member from now on, if this one is still asked.
    pub(super) fn leave(&self, member: usize) {
        self.current.send_if_modified(|current| {
            let leaves = *current == member && self.clients.len() > 1;
            if leaves {
                *current = (member + 1) % self.clients.len();
            }
            leaves
        });
    }

    /// A call that may be repeated: every member has its turn until one answers.
    pub(super) async fn ask<T: Send, F>(
        &self,
        end: Instant,
        work: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        let turn = self.deadline / u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        let again = |fault: &Fault| matches!(fault, Fault::NotDone(_) | Fault::Unknown(_));
        self.call(end, turn, again, work).await
    }

    /// A call that is made again only if it is known that it did nothing.
    pub(super) async fn ask_once<T: Send, F>(
        &self,
        end: Instant,
        work: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        let again = |fault: &Fault| matches!(fault, Fault::NotDone(_));
        self.call(end, self.deadline, again, work).await
    }

    async fn call<T: Send, F>(
        &self,
        end: Instant,
        turn: Duration,
        again: fn(&Fault) -> bool,
        work: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        let mut said = Vec::new();
        loop {
            let (member, client) = self.current();
            let until = end.min(Instant::now() + turn);
            let fault = match timeout_at(until, work(client)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Fault::from(error),
                Err(_) => Fault::Unknown("there is no answer in time".to_owned()),
            };
            if matches!(fault, Fault::NotDone(_) | Fault::Unknown(_)) {
                tracing::debug!(?fault, member, "a member of etcd does not answer");
                self.leave(member);
            }
            let fault = fault.after(&mut said);
            let next = Instant::now() + RETRY_PAUSE;
            if !again(&fault) || next >= end {
                return Err(fault);
            }
            sleep_until(next).await;
        }
    }

    /// What a fault means where nothing was to be written, or nothing was.
    pub(super) fn error(&self, fault: Fault) -> StoreError {
        let endpoints = self.endpoints.clone();
        match fault {
            Fault::NotDone(detail) | Fault::Unknown(detail) => {
                StoreError::Unreachable { endpoints, detail }
            }
            refused => StoreError::Refused {
                endpoints,
                detail: refused.detail(),
            },
        }
    }

    /// What a fault of a write means.
    pub(super) fn write_error(&self, fault: Fault) -> StoreError {
        match fault {
            Fault::Unknown(detail) => StoreError::OutcomeUnknown {
                place: format!("etcd ({})", self.endpoints),
                detail,
                cure: "Read again: what is there then is final",
            },
            other => self.error(other),
        }
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("endpoints", &self.endpoints)
            .field("current", &*self.current.borrow())
            .finish_non_exhaustive()
    }
}
