//! What stands behind a server's doors: itself once it decides, and until then a pointer to whoever does.
//!
//! The doors stay open meanwhile, so that agents and people are sent on instead of being turned away. Who reads, and
//! takes what may be old, is answered from a copy of what is kept.

use std::{sync::Arc, time::Duration};

use accelnet_api::{BASE, COPY_HEADER, MAY_BE_OLD, agents::ACTIVE_HEADER, metrics::PATH};
use accelnet_model::{Code, Problem};
use accelnet_server::{Failure, Pending, metrics};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, timeout},
};
use tower::ServiceExt;

/// A server that decides has read its state within this, or requests are told that it has not.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);

/// Where nobody decides somebody will soon, who has to wait for a lease to end first. Who asks meanwhile waits so long,
/// below what agents and people wait for an answer, and knows at once; an agent that is sent away dials again after a
/// pause that grows.
const NOBODY_LIMIT: Duration = Duration::from_secs(8);
/// So often it is asked who decides, however many wait for it.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Asks who decides at present: an address, `HOST:PORT`, if anybody does.
pub type WhoDecides = Arc<dyn Fn() -> Pending<'static, Option<String>> + Send + Sync>;

/// What is behind a server's doors while it stands by.
#[derive(Clone, Default)]
pub struct Others {
    /// Asks who decides; on a store that has one server nobody else does.
    pub who: Option<WhoDecides>,
    /// What answers from a copy.
    pub copy: Option<FromCopy>,
}

/// What answers from a copy, if there is one.
#[derive(Clone)]
pub struct FromCopy {
    /// The server that has it, `HOST:PORT`.
    pub of: HeaderValue,
    /// From the newest.
    pub answers: Arc<dyn Fn() -> Pending<'static, Result<Router, Problem>> + Send + Sync>,
}

impl FromCopy {
    async fn answer(&self, request: Request) -> Response {
        let answers = match (self.answers)().await {
            Ok(answers) => answers,
            Err(problem) => return Failure::from(problem).into_response(),
        };
        let mut answer = asked(answers, request).await;
        // To ask again in a moment would change nothing: a copy hears no node.
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            let text = "The copy of a server that stands by does not tell.";
            answer = Failure::from(Problem::new(Code::ServerNotActive, text)).into_response();
        }
        answer.headers_mut().insert(COPY_HEADER, self.of.clone());
        answer
    }
}

/// What an administrator reads is for the server that decides: where the store does not answer a copy does not hear
/// that his token was revoked.
const OF_ADMINISTRATORS: [&str; 2] = ["/backup", "/tokens"];

/// Whoever asks only reads, and takes what may be old. A watch goes on, which a copy does not.
pub fn may_be_old(request: &Request) -> bool {
    let said = request.headers().get_all(CACHE_CONTROL).iter();
    let mut directives = said
        .filter_map(|said| said.to_str().ok())
        .flat_map(|said| said.split(','))
        .filter_map(|directive| directive.split('=').next());
    let watches = |query: &str| query.split('&').any(|pair| pair.starts_with("watch"));
    let of_all = |path: &str| !OF_ADMINISTRATORS.iter().any(|its| path.starts_with(its));
    matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().path().strip_prefix(BASE).is_some_and(of_all)
        && !request.uri().query().is_some_and(watches)
        && directives.any(|directive| directive.trim().eq_ignore_ascii_case(MAY_BE_OLD))
}

async fn asked(router: Router, request: Request) -> Response {
    match router.oneshot(request).await {
        Ok(answer) => answer,
        Err(impossible) => match impossible {},
    }
}

/// How far this server is.
#[derive(Debug, Clone)]
pub enum Own {
    /// Another may decide.
    StandsBy,
    /// It decides, and reads its state: whoever asks waits. Sent away, a thousand agents would only dial again,
    /// after ever longer pauses.
    Reads,
    /// It can be asked.
    Serves(Serving),
}

/// A server that can be asked.
#[derive(Debug, Clone)]
pub struct Serving {
    /// All that it answers, to those who say who they are.
    pub all: Router,
    /// What Prometheus is told, for a door of its own.
    pub metrics: Router,
}

/// Who decided, when that was asked last.
type Answered = (Instant, Option<String>);

#[derive(Clone)]
struct Stage {
    own: watch::Receiver<Own>,
    others: Others,
    last: Arc<Mutex<Option<Answered>>>,
}

impl Stage {
    /// Who decides, as it was known a moment ago: one asks for all that wait.
    async fn active(&self) -> Option<String> {
        let who = self.others.who.as_ref()?;
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, active)) if at.elapsed() < ASK_EVERY => active.clone(),
            _ => {
                let active = who().await;
                *last = Some((Instant::now(), active.clone()));
                active
            }
        }
    }

    /// The same, once somebody does, or this server is on its way to it; `None` if that takes too long.
    async fn until_active(&self) -> Option<String> {
        let mut own = self.own.clone();
        let somebody = async {
            loop {
                let active = self.active().await;
                if active.is_some() || self.others.who.is_none() {
                    return active;
                }
                sleep(ASK_EVERY).await;
            }
        };
        let this = own.wait_for(|own| !matches!(own, Own::StandsBy));
        let known = async {
            tokio::select! {
                active = somebody => active,
                _ = this => None,
            }
        };
        timeout(NOBODY_LIMIT, known).await.ok()?
    }
}

/// What the doors lead to.
pub fn router(own: watch::Receiver<Own>, others: Others) -> Router {
    Router::new().fallback(lead_on).with_state(Stage {
        own,
        others,
        last: Arc::default(),
    })
}

async fn lead_on(State(mut stage): State<Stage>, request: Request) -> Response {
    let stands_by = matches!(*stage.own.borrow(), Own::StandsBy);
    // Prometheus scrapes every server, and wants to know which one it is that decides.
    if stands_by && request.uri().path() == PATH {
        return metrics::answer(metrics::standing_by());
    }
    if stands_by
        && may_be_old(&request)
        && let Some(copy) = &stage.others.copy
    {
        return copy.answer(request).await;
    }
    let active = match stands_by {
        true => stage.until_active().await,
        false => None,
    };
    let has_read = |own: &Own| !matches!(own, Own::Reads);
    // If it cannot read it the process ends.
    let _ = timeout(BEGIN_LIMIT, stage.own.wait_for(has_read)).await;
    let own = stage.own.borrow().clone();
    if let Own::Serves(serving) = own {
        return asked(serving.all, request).await;
    }
    let text = match &active {
        Some(active) => format!("This server stands by; {active} decides at present."),
        None => "This server stands by, and no other is known to decide at present.".to_owned(),
    };
    // Reads too, unless that was accepted: what nodes report is known where they report, and a copy would be old.
    let problem = Problem::new(Code::ServerNotActive, text);
    let mut answer = Failure::from(problem).into_response();
    if let Some(active) = active.and_then(|active| active.parse().ok()) {
        answer.headers_mut().insert(ACTIVE_HEADER, active);
    }
    answer
}

/// What the door for Prometheus leads to.
pub fn metrics_router(own: watch::Receiver<Own>) -> Router {
    let page = get(async move |request: Request| {
        let own = own.borrow().clone();
        match own {
            Own::Serves(serving) => asked(serving.metrics, request).await,
            Own::Reads | Own::StandsBy => metrics::answer(metrics::standing_by()),
        }
    });
    Router::new().route(PATH, page)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::{body::Body, http::StatusCode};

    use super::*;

    fn request() -> Request {
        Request::builder().uri("/").body(Body::empty()).unwrap()
    }

    async fn text(door: &Router, path: &str) -> String {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let answer = door.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20)
            .await
            .unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn who_asks_a_server_that_stands_by_is_sent_on_and_one_that_reads_its_state_is_waited_for()
     {
        let who: WhoDecides = Arc::new(|| Box::pin(async { Some("a:1".to_owned()) }));
        let (own, stage) = watch::channel(Own::StandsBy);
        let plain = metrics_router(stage.clone());
        let others = Others {
            who: Some(who),
            copy: None,
        };
        let front = router(stage, others);
        for door in [&plain, &front] {
            let told = text(door, PATH).await;
            assert!(told.ends_with("accelnet_server_active 0\n"), "{told}");
        }
        let sent_on = front.clone().oneshot(request()).await.unwrap();
        assert_eq!(sent_on.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(sent_on.headers()[ACTIVE_HEADER], "a:1");

        own.send_replace(Own::Reads);
        let waiting = front.clone().oneshot(request());
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        let route = |path, words: &'static str| Router::new().route(path, get(async move || words));
        own.send_replace(Own::Serves(Serving {
            all: route("/", "it"),
            metrics: route(PATH, "numbers"),
        }));
        assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
        assert_eq!(text(&plain, PATH).await, "numbers");

        own.send_replace(Own::StandsBy);
        let sent_on = front.oneshot(request()).await.unwrap();
        assert_eq!(sent_on.status(), StatusCode::MISDIRECTED_REQUEST);
    }

    #[tokio::test]
    async fn who_takes_what_may_be_old_is_answered_by_a_server_that_stands_by() {
        let who: WhoDecides = Arc::new(|| Box::pin(async { Some("a:1".to_owned()) }));
        let route = |path: &str| format!("{BASE}{path}");
        let kept = Router::new()
            .route(&route("/vms"), get(async || "kept"))
            .route(
                &route("/busy"),
                get(async || StatusCode::SERVICE_UNAVAILABLE),
            );
        let copy = FromCopy {
            of: HeaderValue::from_static("b:1"),
            answers: Arc::new(move || {
                let kept = kept.clone();
                Box::pin(async move { Ok(kept) })
            }),
        };
        let (own, stage) = watch::channel(Own::StandsBy);
        let others = Others {
            who: Some(who),
            copy: Some(copy),
        };
        let front = router(stage, others);
        let ask = async |method: Method, path: &str, cache: &'static str| {
            let request = Request::builder().method(method).uri(route(path));
            let request = request.header(CACHE_CONTROL, cache);
            let request = request.body(Body::empty()).unwrap();
            let answer = front.clone().oneshot(request).await.unwrap();
            let copy = answer.headers().get(COPY_HEADER);
            let copy = copy.map(|of| of.to_str().unwrap().to_owned());
            (answer.status(), copy)
        };
        let sent_on = (StatusCode::MISDIRECTED_REQUEST, None);
        let of = Some("b:1".to_owned());
        let kept = (StatusCode::OK, of.clone());
        assert_eq!(ask(Method::GET, "/vms", "max-stale").await, kept);
        let both = "no-transform, Max-Stale=60";
        assert_eq!(ask(Method::GET, "/vms?limit=1", both).await, kept);
        let told = (StatusCode::MISDIRECTED_REQUEST, of);
        assert_eq!(ask(Method::GET, "/busy", "max-stale").await, told);
        // Not asked for, no end, an administrator's, or a change.
        assert_eq!(ask(Method::GET, "/vms", "no-cache").await, sent_on);
        let watch = "/vms?limit=1&watch=true";
        assert_eq!(ask(Method::GET, watch, "max-stale").await, sent_on);
        assert_eq!(ask(Method::GET, "/backup", "max-stale").await, sent_on);
        assert_eq!(ask(Method::PUT, "/vms", "max-stale").await, sent_on);
        // It decides.
        own.send_replace(Own::Serves(Serving {
            all: Router::new().fallback(async || "it"),
            metrics: Router::new(),
        }));
        let itself = (StatusCode::OK, None);
        assert_eq!(ask(Method::GET, "/vms", "max-stale").await, itself);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_decides_who_asks_waits_until_somebody_does() {
        let (leads, leading) = watch::channel(None::<String>);
        let asked_of_etcd = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked_of_etcd);
        let who: WhoDecides = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            let leading = leading.borrow().clone();
            Box::pin(async move { leading })
        });
        let (own, stage) = watch::channel(Own::StandsBy);
        let others = Others {
            who: Some(who),
            copy: None,
        };
        let front = router(stage, others);

        let begun = Instant::now();
        let sent_away = front.clone().oneshot(request()).await.unwrap();
        assert_eq!(sent_away.status(), StatusCode::MISDIRECTED_REQUEST);
        assert!(!sent_away.headers().contains_key(ACTIVE_HEADER));
        assert_eq!(begun.elapsed(), NOBODY_LIMIT);

        asked_of_etcd.store(0, Ordering::Relaxed);
        let many = (0..1000).map(|_| front.clone().oneshot(request()));
        let many = tokio::spawn(futures::future::join_all(many));
        sleep(Duration::from_secs(5)).await;
        leads.send_replace(Some("b:1".to_owned()));
        for answer in many.await.unwrap() {
            assert_eq!(answer.unwrap().headers()[ACTIVE_HEADER], "b:1");
        }
        assert!(begun.elapsed() < NOBODY_LIMIT + Duration::from_secs(6));
        let times = asked_of_etcd.load(Ordering::Relaxed);
        assert!(times <= 5 * 4 + 2, "{times}");

        // It is this one, in the end.
        leads.send_replace(None);
        sleep(ASK_EVERY).await;
        let waits = tokio::spawn(front.oneshot(request()));
        sleep(Duration::from_secs(2)).await;
        own.send_replace(Own::Reads);
        sleep(Duration::from_secs(2)).await;
        own.send_replace(Own::Serves(Serving {
            all: Router::new().route("/", get(async || "it")),
            metrics: Router::new(),
        }));
        let answer = waits.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
