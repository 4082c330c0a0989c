//! What stands behind a server's doors: itself once it decides, and until then a pointer to whoever does.
//!
//! The doors stay open meanwhile, so that agents and people are sent on instead of being turned away.

use std::{sync::Arc, time::Duration};

use accelnet_api::agents::ACTIVE_HEADER;
use accelnet_model::{Code, Problem};
use accelnet_server::{Failure, Pending};
use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
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
    Serves(Router),
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
    if let Own::Serves(router) = own {
        return match router.oneshot(request).await {
            Ok(answer) => answer,
            Err(impossible) => match impossible {},
        };
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

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode, routing::get};

    use super::*;

    fn asked() -> Request {
        Request::builder().uri("/").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn who_asks_a_server_that_stands_by_is_sent_on_and_one_that_reads_its_state_is_waited_for()
     {
        let who: WhoDecides = Arc::new(|| Box::pin(async { Some("a:1".to_owned()) }));
        let (own, stage) = watch::channel(Own::StandsBy);
        let front = router(stage, Some(who));
        let sent_on = front.clone().oneshot(asked()).await.unwrap();
        assert_eq!(sent_on.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(sent_on.headers()[ACTIVE_HEADER], "a:1");

        own.send_replace(Own::Reads);
        let waiting = front.clone().oneshot(asked());
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        own.send_replace(Own::Serves(
            Router::new().route("/", get(|| async { "it" })),
        ));
        assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);

        own.send_replace(Own::StandsBy);
        let sent_on = front.oneshot(asked()).await.unwrap();
        assert_eq!(sent_on.status(), StatusCode::MISDIRECTED_REQUEST);
    }
}
