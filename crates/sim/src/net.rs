//! The network between agents and servers: an agent's line dials over it, and a server's router answers, without a
//! socket. It delays, loses, cuts either way, and doubles what is asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use accelnet_api::{
    ProblemDocument, ServerUrl,
    agents::{BASE, DOWN_AFTER, RenewRequest, Up},
    incoming::{Admitted, IncomingVm, NODE_PATH},
};
use accelnet_link::{Answer, Credentials, Dial, Dialled, Ended, Pending, Talk};
use accelnet_model::{Code, Problem};
use accelnet_server::{NodePeerInfo, Sender};
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response, StatusCode, header::CONTENT_TYPE},
};
use futures::FutureExt;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::ServiceExt;

use crate::scene::Scene;

/// A connection that cannot be made is given up after this.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A server's process that answers.
#[derive(Clone)]
pub struct Serving {
    /// What it can be asked.
    pub router: Router,
    /// False once it is dead.
    pub lives: watch::Receiver<bool>,
}

impl Serving {
    /// Asks it something.
    ///
    /// # Errors
    /// If it dies before it has answered.
    pub async fn ask(&self, request: Request<Body>) -> Result<Response<Body>, Problem> {
        let mut lives = self.lives.clone();
        tokio::select! {
            biased;
            _ = lives.wait_for(|lives| !lives) => Err(lost("the connection was reset")),
            answer = self.router.clone().oneshot(request) => match answer {
                Ok(answer) => Ok(answer),
                Err(impossible) => match impossible {},
            },
        }
    }
}

fn lost(text: &str) -> Problem {
    Problem::new(Code::ServerNotRunning, format!("{text}."))
}

/// Nodes whose requests do not get through, and those that nothing gets through to.
type Deaf = BTreeMap<String, (bool, bool)>;

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct Net {
    scene: Scene,
    serving: Arc<Mutex<Option<Serving>>>,
    deaf: Arc<watch::Sender<Deaf>>,
}

impl Net {
    /// One in which nobody serves.
    pub fn new(scene: &Scene) -> Self {
        Self {
            scene: scene.clone(),
            serving: Arc::default(),
            deaf: Arc::new(watch::Sender::new(Deaf::new())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who serves from now on.
    pub fn set_serving(&self, serving: Option<Serving>) {
        *self.lock() = serving;
    }

    /// Who serves.
    pub fn serving(&self) -> Option<Serving> {
        self.lock().clone()
    }

    /// From now on what the node says is lost, and what it is told.
    pub fn cut(&self, node: &str, up: bool, down: bool) {
        self.deaf
            .send_modify(|deaf| deaf.extend([(node.to_owned(), (up, down))]));
    }

    /// Everything gets through again.
    pub fn heal(&self, node: &str) {
        self.deaf
            .send_modify(|deaf| deaf.retain(|its, _| its != node));
    }

    /// What is on its way waits for as long as its way is cut.
    async fn uncut(&self, node: &str, is_cut: fn(&(bool, bool)) -> bool) {
        let mut deaf = self.deaf.subscribe();
        // The sender is this network's.
        let _ = deaf
            .wait_for(|deaf| !deaf.get(node).is_some_and(is_cut))
            .await;
    }

    async fn way(&self) {
        let slow = self.scene.one_in(self.scene.dangers().net_is_slow);
        let most = Duration::from_millis(if slow { 2500 } else { 6 });
        sleep(self.scene.time(Duration::ZERO, most)).await;
    }

    /// Asks whoever serves whether a VM may come to a node, as its daemon does when libvirt's hook asks there.
    ///
    /// # Errors
    /// Why it may not, or why there is no answer within `limit`.
    pub async fn may_come(
        &self,
        credentials: &Credentials,
        vm: &IncomingVm,
        limit: Duration,
    ) -> Result<Admitted, Problem> {
        let peer = peer(credentials);
        let serving = self.serving().ok_or_else(|| lost("connection refused"))?;
        let body = serde_json::to_vec(vm).unwrap_or_default();
        let request = from(&peer, "POST", NODE_PATH, body);
        let asked = timeout(limit, self.request(&peer, &serving, request)).await;
        let answer = asked.map_err(|_| lost("no answer"))??;
        let answer = good(answer).await.map_err(Ended::into_problem)?;
        let bytes = answer.into_body().collect().await;
        let bytes = bytes.map_err(|error| lost(&error.to_string()))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| lost(&error.to_string()))
    }

    /// Asks a server, as a node.
    async fn request(
        &self,
        peer: &NodePeerInfo,
        serving: &Serving,
        request: Request<Body>,
    ) -> Result<Response<Body>, Problem> {
        let node = peer.name.to_string();
        self.way().await;
        self.uncut(&node, |(up, _)| *up).await;
        let answer = serving.ask(request).await?;
        self.way().await;
        self.uncut(&node, |(_, down)| *down).await;
        Ok(answer)
    }
}

/// As its certificate says.
fn peer(credentials: &Credentials) -> NodePeerInfo {
    NodePeerInfo {
        id: credentials.node,
        name: credentials.name.clone(),
        expires: Timestamp::now() + SignedDuration::from_hours(24),
    }
}

fn from(peer: &NodePeerInfo, method: &str, path: &str, body: Vec<u8>) -> Request<Body> {
    let sender = Sender::Remote {
        address: ([192, 0, 2, 1], 7643).into(),
        node: Some(peer.clone()),
    };
    Request::builder()
        .method(method)
        .uri(format!("{BASE}{path}"))
        .header(CONTENT_TYPE, "application/json")
        .extension(ConnectInfo(sender))
        .body(Body::from(body))
        .unwrap_or_default()
}

async fn good(answer: Response<Body>) -> Result<Response<Body>, Ended> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    if answer.status() == StatusCode::MISDIRECTED_REQUEST {
        return Err(Ended::Elsewhere(None));
    }
    let bytes = answer.into_body().collect().await;
    let bytes = bytes.map(http_body_util::Collected::to_bytes);
    let document = bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice::<ProblemDocument>(&bytes).ok());
    Err(Ended::Because(document.map_or_else(
        || lost("the answer cannot be understood"),
        |document| document.problem,
    )))
}

impl Dial for Net {
    fn dial<'a>(
        &'a self,
        _server: &'a ServerUrl,
        credentials: &'a Credentials,
    ) -> Pending<'a, Result<Dialled, Ended>> {
        async move {
            let peer = peer(credentials);
            let request = from(&peer, "GET", "/follow", Vec::new());
            // A session is with whom it began, also if another serves by now.
            let serving = self.serving().ok_or_else(|| lost("connection refused"))?;
            let asked = timeout(CONNECT_LIMIT, self.request(&peer, &serving, request)).await;
            let answer = asked.map_err(|_| lost("no connection"))??;
            let answer = good(answer).await?;
            Ok(Dialled {
                answer: Box::new(LongAnswer {
                    net: self.clone(),
                    node: peer.name.to_string(),
                    body: answer.into_body(),
                    lives: serving.lives.clone(),
                    on_its_way: None,
                    last: Instant::now(),
                }),
                talk: Box::new(Requests {
                    net: self.clone(),
                    peer,
                    serving,
                }),
                http: None,
            })
        }
        .boxed()
    }
}

struct LongAnswer {
    net: Net,
    node: String,
    body: Body,
    lives: watch::Receiver<bool>,
    /// What the server has said, and when it arrives.
    on_its_way: Option<(Instant, Option<Vec<u8>>)>,
    last: Instant,
}

impl LongAnswer {
    async fn said(&mut self) -> Result<(), Problem> {
        if self.on_its_way.is_some() {
            return Ok(());
        }
        let frame = tokio::select! {
            biased;
            _ = self.lives.wait_for(|lives| !lives) => return Err(lost("the connection was reset")),
            frame = self.body.frame() => frame,
        };
        let bytes = match frame {
            None => None,
            Some(Ok(frame)) => Some(frame.into_data().map(Vec::from).unwrap_or_default()),
            Some(Err(error)) => return Err(lost(&error.to_string())),
        };
        let slow = self.net.scene.one_in(self.net.scene.dangers().net_is_slow);
        let most = Duration::from_millis(if slow { 2500 } else { 6 });
        let time = self.net.scene.time(Duration::ZERO, most);
        self.on_its_way = Some((Instant::now() + time, bytes));
        Ok(())
    }

    async fn arrives(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        self.said().await?;
        let at = self.on_its_way.as_ref().map(|(at, _)| *at);
        sleep_until(at.unwrap_or_else(Instant::now)).await;
        self.net.uncut(&self.node, |(_, down)| *down).await;
        self.last = Instant::now();
        Ok(self.on_its_way.take().and_then(|(_, bytes)| bytes))
    }
}

impl Answer for LongAnswer {
    fn next(&mut self) -> Pending<'_, Result<Option<Vec<u8>>, Problem>> {
        async move {
            let until = self.last + DOWN_AFTER;
            tokio::time::timeout_at(until, self.arrives())
                .await
                .unwrap_or_else(|_| Err(lost("nothing came for too long")))
        }
        .boxed()
    }
}

struct Requests {
    net: Net,
    peer: NodePeerInfo,
    serving: Serving,
}

impl Talk for Requests {
    fn report<'a>(&'a self, up: &'a Up, limit: Duration) -> Pending<'a, Result<(), Ended>> {
        async move {
            let body = serde_json::to_vec(up).unwrap_or_default();
            let request = |body| from(&self.peer, "POST", "/report", body);
            let send = |body| {
                let sent = self.net.request(&self.peer, &self.serving, request(body));
                timeout(limit, sent)
            };
            let answer = send(body.clone()).await;
            let answer = answer.map_err(|_| lost("no answer"))??;
            if self.net.scene.one_in(self.net.scene.dangers().net_doubles) {
                self.net.scene.reached("a report comes twice");
                // Whatever it is told this time: nobody hears it.
                let _ = send(body).await;
            }
            good(answer).await.map(drop)
        }
        .boxed()
    }

    fn renew<'a>(&'a self, _request: &'a RenewRequest) -> Pending<'a, Result<String, Ended>> {
        async move { Err(Ended::Because(lost("certificates last in the simulator"))) }.boxed()
    }
}
