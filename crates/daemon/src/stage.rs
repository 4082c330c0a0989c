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

/// A server on a file has read its state within this, or requests are told that it has not.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);

/// Asks who decides at present: an address, `HOST:PORT`, if anybody does.
pub type WhoDecides = Arc<dyn Fn() -> Pending<'static, Option<String>> + Send + Sync>;

#[derive(Clone)]
struct Stage {
    own: watch::Receiver<Option<Router>>,
    who: Option<WhoDecides>,
}

/// What the doors lead to. Without anybody else who could decide, requests wait until this server does.
pub fn router(own: watch::Receiver<Option<Router>>, who: Option<WhoDecides>) -> Router {
    Router::new()
        .fallback(lead_on)
        .with_state(Stage { own, who })
}

async fn lead_on(State(mut stage): State<Stage>, request: Request) -> Response {
    if stage.who.is_none() {
        // It reads its state, or cannot: then the process ends.
        let _ = timeout(BEGIN_LIMIT, stage.own.wait_for(Option::is_some)).await;
    }
    let own = stage.own.borrow().clone();
    if let Some(router) = own {
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
