//! What stands behind a server's doors: itself once it decides, and until then a pointer to whoever does.
//!
//! The doors stay open meanwhile, so that agents and people are sent on instead of being turned away.

use std::{sync::Arc, time::Duration};

use accelnet_api::{agents::ACTIVE_HEADER, metrics::PATH};
use accelnet_model::{Code, Problem};
use accelnet_server::{Failure, Pending, metrics};
use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{sync::watch, time::timeout};
use tower::ServiceExt;

/// A server that decides has read its state within this, or requests are told that it has not.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);

/// Asks who decides at present: an address, `HOST:PORT`, if anybody does.
pub type WhoDecides = Arc<dyn Fn() -> Pending<'static, Option<String>> + Send + Sync>;

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

#[derive(Clone)]
struct Stage {
    own: watch::Receiver<Own>,
    who: Option<WhoDecides>,
}

/// What the doors lead to.
pub fn router(own: watch::Receiver<Own>, who: Option<WhoDecides>) -> Router {
    Router::new()
        .fallback(lead_on)
        .with_state(Stage { own, who })
}

async fn lead_on(State(mut stage): State<Stage>, request: Request) -> Response {
    let has_read = |own: &Own| !matches!(own, Own::Reads);
    // If it cannot read it the process ends.
    let _ = timeout(BEGIN_LIMIT, stage.own.wait_for(has_read)).await;
    let own = stage.own.borrow().clone();
    if let Own::Serves(serving) = own {
        return match serving.all.oneshot(request).await {
            Ok(answer) => answer,
            Err(impossible) => match impossible {},
        };
    }
    // Prometheus scrapes every server, and wants to know which one it is that decides.
    if request.uri().path() == PATH {
        return metrics::answer(metrics::standing_by());
    }
    let active = match &stage.who {
        Some(who) => who().await,
        None => None,
    };
    let text = match &active {
        Some(active) => format!("This server stands by; {active} decides at present."),
        None => "This server stands by, and no other decides at present.".to_owned(),
    };
    // Reads too: what nodes report is known where they report, and a standby's own word would be old.
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
            Own::Serves(serving) => match serving.metrics.oneshot(request).await {
                Ok(answer) => answer,
                Err(impossible) => match impossible {},
            },
            Own::Reads | Own::StandsBy => metrics::answer(metrics::standing_by()),
        }
    });
    Router::new().route(PATH, page)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode};

    use super::*;

    fn asked() -> Request {
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
        let front = router(stage, Some(who));
        for door in [&plain, &front] {
            let told = text(door, PATH).await;
            assert!(told.ends_with("accelnet_server_active 0\n"), "{told}");
        }
        let sent_on = front.clone().oneshot(asked()).await.unwrap();
        assert_eq!(sent_on.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(sent_on.headers()[ACTIVE_HEADER], "a:1");

        own.send_replace(Own::Reads);
        let waiting = front.clone().oneshot(asked());
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
        let sent_on = front.oneshot(asked()).await.unwrap();
        assert_eq!(sent_on.status(), StatusCode::MISDIRECTED_REQUEST);
    }
}
