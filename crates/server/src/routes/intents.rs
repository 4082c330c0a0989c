//! Intents.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use accelnet_api::{ChangeIntent, IntentStatus, Items, NewIntent, Outcome, WatchLine};
use accelnet_model::Intent;
use axum::{Json, extract::State, response::Response};

use super::{
    Answer, Body, Change, Condition, DryRun, Listing, Path, Query,
    list::{self, Listed},
};
use crate::{
    Server, admission,
    boards::{Boards, Slot},
    failure::Failure,
    reports::Seen,
    state::Wish,
    view,
};

impl Listed for IntentStatus {
    fn all(wish: &Wish, seen: &Seen) -> Vec<Self> {
        view::intents(wish, seen)
    }

    fn key(&self) -> String {
        self.intent.name.to_string()
    }

    fn slot(boards: &Boards) -> &Slot<Self> {
        &boards.intents
    }
}

/// All intents.
#[utoipa::path(get, path = "/intents", tag = "intents", params(Listing), responses((status = 200,
    description = "The intents, with their state on every node",
    content((Items<IntentStatus> = "application/json"),
    (WatchLine<IntentStatus> = "application/x-ndjson")))))]
pub async fn list_intents(
    State(server): State<Server>,
    condition: Condition,
    Query(listing): Query<Listing>,
) -> Result<Response, Failure> {
    list::answer::<IntentStatus>(&server, condition, listing).await
}

/// One intent.
#[utoipa::path(get, path = "/intents/{name}", tag = "intents",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "The intent, with its state on every node",
        body = IntentStatus)))]
pub async fn show_intent(
    State(server): State<Server>,
    condition: Condition,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let look = async {
        let wish = server.wish().await?;
        let intent = admission::find_intent(&wish, &name)?;
        Ok(view::intent(&wish, &server.seen(), intent))
    };
    condition.answer(look).await
}

/// Adds an intent that adopts an existing bridge. The same intent again changes nothing.
#[utoipa::path(post, path = "/intents", tag = "intents", params(DryRun), request_body = NewIntent,
    responses((status = 200, description = "What is done", body = Outcome<Intent>)))]
pub async fn add_intent(
    State(server): State<Server>,
    change: Change,
    Body(intent): Body<NewIntent>,
) -> Answer<Outcome<Intent>> {
    let intent = Intent::from(intent);
    let asked = change.asked("intent add", intent.name.as_str());
    let seen = server.refresh().await;
    let wanted = intent.clone();
    let decide = move |wish: &_| admission::add_intent(wish, &seen, &wanted);
    let changed = server.change(&asked, decide).await?;
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: changed.changed,
        plan: changed.plan,
        object: intent,
    }))
}

/// Changes an intent. Refused where VMs are accelerated on what would go away.
#[utoipa::path(patch, path = "/intents/{name}", tag = "intents", request_body = ChangeIntent,
    params(DryRun, ("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "What is done", body = Outcome<Intent>)))]
pub async fn change_intent(
    State(server): State<Server>,
    Path(name): Path<String>,
    change: Change,
    Body(changes): Body<ChangeIntent>,
) -> Answer<Outcome<Intent>> {
    let asked = change.asked("intent set", &name);
    let seen = server.refresh().await;
    let decide = move |wish: &_| admission::change_intent(wish, &seen, &name, &changes);
    let changed = server.change(&asked, decide).await?;
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: changed.changed,
        plan: changed.plan,
        object: changed.about,
    }))
}

/// Removes an intent. Its bridge stays as it is.
#[utoipa::path(delete, path = "/intents/{name}", tag = "intents",
    params(DryRun, ("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "What is done", body = Outcome<Intent>)))]
pub async fn remove_intent(
    State(server): State<Server>,
    Path(name): Path<String>,
    change: Change,
) -> Answer<Outcome<Intent>> {
    let asked = change.asked("intent remove", &name);
    let decide = move |wish: &_| admission::remove_intent(wish, &name);
    let changed = server.change(&asked, decide).await?;
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: changed.changed,
        plan: changed.plan,
        object: changed.about,
    }))
}
