//! The line itself: dial, follow, report, and dial again.
//!
//! ```text
//!             ┌────────────── one session ───────────────┐
//!   dial ──►  │ lines down: wish, look, alive            │ ──► nothing for too long, or refused ─┐
//!    ▲        │ reports up: at each change, or as a sign │                                       │
//!    └────────┴──────────────── pause, with chance ◄─────┴───────────────────────────────────────┘
//! ```

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use accelnet_api::{
    ServerUrl,
    agents::{DOWN_AFTER, Down, RenewRequest, SIGN_EVERY, Up, VmCounted, after},
};
use accelnet_model::{Code, NicCounted, NodeDesired, NodeStatus, Problem};
use accelnet_pki::node_request;
use futures::{
    FutureExt,
    future::{BoxFuture, OptionFuture},
};
use jiff::Timestamp;
use reqwest::Client;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

use crate::{
    Credentials,
    dial::{Answer, Dial, Https, Talk},
    http::Ended,
    servers::Servers,
};

/// A future that can be in a trait object.
pub type Pending<'a, T> = BoxFuture<'a, T>;

/// A node that was removed asks so often whether it is one again.
const REMOVED_PAUSE: Duration = Duration::from_secs(60);
/// A certificate is renewed when half of this is left. What servers give; one that gives shorter ones has agents renew at
/// each session.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// A line that is longer is none of a server's: a wish for 10,000 VMs has 3 MiB.
const LINE_BYTES_MAX: usize = 64 << 20;

/// What became of a look, and the questions that it answers.
type Looked = (Vec<u64>, Result<NodeStatus, Problem>);

/// The node at this end.
pub trait Node: Send + Sync + 'static {
    /// What it shall be. Returns at once.
    fn set_desired(&self, desired: NodeDesired);

    /// A fresh look at it.
    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>>;

    /// What was counted of a VM's packets; nothing if the node does not see the VM.
    fn traffic(&self, _vm: Uuid) -> Pending<'static, Vec<NicCounted>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// The line of one agent.
pub struct Line {
    dial: Arc<dyn Dial>,
    credentials: Credentials,
    directory: PathBuf,
    node: Arc<dyn Node>,
    reports: watch::Receiver<Option<NodeStatus>>,
    /// The server that is connected, for whoever has something to ask it.
    connected: watch::Sender<Option<Connected>>,
}

/// A server that answers.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Where it is.
    pub server: ServerUrl,
    /// How it is asked.
    pub http: Client,
}

impl Line {
    /// A line for a node, whose reports come by `reports`; it has not looked yet if `None`.
    pub fn new(
        credentials: Credentials,
        directory: PathBuf,
        node: Arc<dyn Node>,
        reports: watch::Receiver<Option<NodeStatus>>,
    ) -> Self {
        Self {
            dial: Arc::new(Https),
            credentials,
            directory,
            node,
            reports,
            connected: watch::Sender::new(None),
        }
    }

    /// The same by another way.
    #[must_use]
    pub fn by(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = dial;
        self
    }

    /// The server that is connected at any time.
    pub fn connected(&self) -> watch::Receiver<Option<Connected>> {
        self.connected.subscribe()
    }

    /// Keeps the line until this is dropped.
    pub async fn run(mut self) {
        let mut servers = Servers::new(self.credentials.servers.clone());
        let mut last: Option<String> = None;
        loop {
            let Some(server) = servers.next() else {
                // Credentials name one at least.
                tracing::error!("no server is known");
                return;
            };
            let ended = self.session(&server, &mut servers).await;
            let was_connected = self.connected.send_replace(None).is_some();
            let pause = match ended {
                Ended::Elsewhere(active) => servers.elsewhere(active),
                Ended::Because(problem) => {
                    // The same words once, not at each try.
                    let words = problem.to_string();
                    if was_connected || last.as_ref() != Some(&words) {
                        tracing::warn!(%server, %problem, "no line to the server");
                        last = Some(words);
                    }
                    match problem.code {
                        Code::NodeNotMember => REMOVED_PAUSE,
                        _ => servers.failed(),
                    }
                }
            };
            sleep(pause).await;
        }
    }

    /// One session, until it ends.
    async fn session(&mut self, server: &ServerUrl, servers: &mut Servers) -> Ended {
        match self.follow(server, servers).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn follow(
        &mut self,
        server: &ServerUrl,
        servers: &mut Servers,
    ) -> Result<std::convert::Infallible, Ended> {
        let dialled = self.dial.dial(server, &self.credentials).await?;
        let mut lines = Lines::of(server, dialled.answer);
        let Down::Welcome {
            session,
            servers: known,
        } = lines.next().await?
        else {
            let text = format!("{server} did not begin with a welcome.");
            return Err(Problem::new(Code::ServerNotRunning, text).into());
        };
        servers.worked();
        if self.credentials.learn(&known) {
            servers.learn(&self.credentials.servers);
            self.credentials.write(&self.directory)?;
        }
        tracing::info!(%server, session, "connected");
        self.connected
            .send_replace(dialled.http.map(|http| Connected {
                server: server.clone(),
                http,
            }));
        let mut talk = Session {
            talk: &*dialled.talk,
            number: session,
            sequence: 0,
        };
        let mut wish: Option<NodeDesired> = None;
        let mut look: OptionFuture<BoxFuture<'static, Looked>> = None.into();
        let mut looks = false;
        let mut asked: Vec<u64> = Vec::new();
        // One after the other: each is a dump of the kernel's.
        let mut count: OptionFuture<BoxFuture<'static, VmCounted>> = None.into();
        let mut counts = false;
        let mut asked_for_traffic: VecDeque<(u64, Uuid)> = VecDeque::new();
        // What it said to another server is news to this one.
        self.reports.mark_changed();
        let mut sign_at = Instant::now() + SIGN_EVERY;
        loop {
            if !looks && !asked.is_empty() {
                let numbers = std::mem::take(&mut asked);
                let looking = self.node.refresh();
                look = Some(looking.map(|looked| (numbers, looked)).boxed()).into();
                looks = true;
            }
            if !counts && let Some((number, vm)) = asked_for_traffic.pop_front() {
                let counting = self.node.traffic(vm);
                count = Some(counting.map(move |nics| VmCounted { number, nics }).boxed()).into();
                counts = true;
            }
            tokio::select! {
                said = lines.next() => match said? {
                    Down::Look { number } => asked.push(number),
                    Down::Traffic { number, vm } => asked_for_traffic.push_back((number, vm)),
                    said => {
                        if let Some(new) = after(wish.as_ref(), &said) {
                            self.node.set_desired(new.clone());
                            wish = Some(new);
                        }
                    }
                },
                changed = self.reports.changed() => {
                    if changed.is_err() {
                        let text = "The agent's loop has ended.";
                        return Err(Problem::new(Code::AgentUnreachable, text).into());
                    }
                    // Nothing is said of a node that has not been looked at: it would seem empty.
                    let status = self.reports.borrow_and_update().clone();
                    talk.report(Vec::new(), status).await?;
                    sign_at = Instant::now() + SIGN_EVERY;
                }
                Some((numbers, looked)) = &mut look, if looks => {
                    (look, looks) = (None.into(), false);
                    match looked {
                        Ok(status) => talk.report(numbers, Some(status)).await?,
                        // Whoever asked waits until his time is over; the node is not well, and says so.
                        Err(problem) => tracing::warn!(%problem, "a look that the server asked for"),
                    }
                }
                Some(counted) = &mut count, if counts => {
                    (count, counts) = (None.into(), false);
                    talk.counted(counted).await?;
                }
                () = sleep_until(sign_at) => {
                    talk.report(Vec::new(), None).await?;
                    sign_at = Instant::now() + SIGN_EVERY;
                    if self.credentials.shall_renew(Timestamp::now(), LIFETIME) {
                        self.renew(&*dialled.talk).await?;
                    }
                }
            }
        }
    }

    /// A new certificate, for the next connection.
    async fn renew(&mut self, talk: &dyn Talk) -> Result<(), Ended> {
        let own =
            node_request().map_err(|error| Problem::new(Code::Internal, format!("{error}.")))?;
        let request = RenewRequest {
            request_pem: own.request_pem,
        };
        let certificate = talk.renew(&request).await?;
        let renewed = self.credentials.renewed(certificate, &own.key)?;
        renewed.write(&self.directory)?;
        self.credentials = renewed;
        let expires = self.credentials.expires()?;
        tracing::info!(%expires, "the node's certificate was renewed");
        Ok(())
    }
}

/// What is said up, in order.
struct Session<'a> {
    talk: &'a dyn Talk,
    number: u64,
    sequence: u64,
}

impl Session<'_> {
    async fn report(&mut self, answers: Vec<u64>, status: Option<NodeStatus>) -> Result<(), Ended> {
        self.say(answers, None, status).await
    }

    async fn counted(&mut self, counted: VmCounted) -> Result<(), Ended> {
        self.say(Vec::new(), Some(counted), None).await
    }

    async fn say(
        &mut self,
        answers: Vec<u64>,
        traffic: Option<VmCounted>,
        status: Option<NodeStatus>,
    ) -> Result<(), Ended> {
        self.sequence += 1;
        let up = Up {
            session: self.number,
            sequence: self.sequence,
            at: Some(Timestamp::now()),
            answers,
            traffic,
            status: status.map(Box::new),
        };
        // A report that is not taken in within the time after which the node is down anyway is not waited for.
        self.talk.report(&up, DOWN_AFTER).await
    }
}

/// An answer's lines as they come.
pub(crate) struct Lines<'a> {
    server: &'a ServerUrl,
    answer: Box<dyn Answer>,
    /// What has come.
    bytes: Vec<u8>,
    /// So much of it was read.
    read: usize,
    /// No line ends before this: each byte is looked at once, however long a line is and in whatever pieces it comes.
    searched: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(server: &'a ServerUrl, answer: Box<dyn Answer>) -> Self {
        Self {
            server,
            answer,
            bytes: Vec::new(),
            read: 0,
            searched: 0,
        }
    }

    /// The next line. May be dropped and called again: what has come is kept.
    pub(crate) async fn next(&mut self) -> Result<Down, Ended> {
        let wrong = |text: String| Ended::from(Problem::new(Code::ServerNotRunning, text));
        loop {
            let rest = &self.bytes[self.searched..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + length;
                let said = serde_json::from_slice(&self.bytes[self.read..end]);
                (self.read, self.searched) = (end + 1, end + 1);
                return said.map_err(|error| {
                    wrong(format!(
                        "{} said what cannot be understood: {error}.",
                        self.server
                    ))
                });
            }
            self.bytes.drain(..self.read);
            (self.read, self.searched) = (0, self.bytes.len());
            if self.bytes.len() > LINE_BYTES_MAX {
                return Err(wrong(format!(
                    "{} says more than a line holds.",
                    self.server
                )));
            }
            match self.answer.next().await? {
                Some(bytes) => self.bytes.extend_from_slice(&bytes),
                None => {
                    return Err(wrong(format!("{} has ended the session.", self.server)));
                }
            }
        }
    }
}
