//! The cluster at a glance, its nodes, and its prerequisites.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use accelnet_api::{ClusterStatus, Items, NodeSummary, WatchLine};
use accelnet_model::{CheckResult, Problem};
use axum::{Json, extract::State, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Answer, Asking, Condition, Listing, Query, WatchFrom,
    list::{self, Listed},
    stream,
};
use crate::{
    Server, admission,
    apart::apart,
    boards::{Boards, Objects, Slot},
    failure::Failure,
    reports::Seen,
    state::Wish,
    view,
};

async fn look(server: &Server) -> Result<ClusterStatus, Problem> {
    let (wish, seen) = (server.wish().await?, server.seen());
    Ok(apart(|| view::cluster(&wish, &seen)))
}

impl Listed for NodeSummary {
    fn all(wish: &Wish, seen: &Seen) -> Vec<Self> {
        view::nodes(wish, seen)
    }

    fn key(&self) -> String {
        self.name.to_string()
    }

    fn slot(boards: &Boards) -> &Slot<Self> {
        &boards.nodes
    }
}

/// The cluster at a glance.
#[utoipa::path(get, path = "/status", tag = "cluster", params(WatchFrom), responses((status = 200,
    description = "The cluster", content((ClusterStatus = "application/json"),
    (WatchLine<ClusterStatus> = "application/x-ndjson")))))]
pub async fn show_status(
    State(server): State<Server>,
    condition: Condition,
    Query(query): Query<WatchFrom>,
) -> Result<Response, Failure> {
    match query.asking()? {
        Asking::Page(_) => condition.answer(look(&server)).await,
        Asking::Watch(from) => {
            let reader = server.read(
                |boards| &boards.status,
                |wish, seen| Objects::from([("status".to_owned(), view::cluster(wish, seen))]),
                from.as_deref(),
            );
            Ok(stream::read(reader?))
        }
    }
}

/// All nodes.
#[utoipa::path(get, path = "/nodes", tag = "cluster", params(Listing), responses((status = 200,
    description = "The nodes", content((Items<NodeSummary> = "application/json"),
    (WatchLine<NodeSummary> = "application/x-ndjson")))))]
pub async fn list_nodes(
    State(server): State<Server>,
    condition: Condition,
    Query(listing): Query<Listing>,
) -> Result<Response, Failure> {
    list::answer::<NodeSummary>(&server, condition, listing).await
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Prereq {
    /// Also check this intent, its bridge and its adapters.
    intent: Option<String>,
}

/// Prerequisite checks, on a fresh look at the nodes.
#[utoipa::path(get, path = "/prereq", tag = "cluster", params(Prereq),
    responses((status = 200, description = "Every check", body = Items<CheckResult>)))]
pub async fn check_prerequisites(
    State(server): State<Server>,
    Query(query): Query<Prereq>,
) -> Answer<Items<CheckResult>> {
    let wish = server.wish().await?;
    let name = query.intent.as_deref();
    let intent = name
        .map(|name| admission::find_intent(&wish, name))
        .transpose()?;
    let items = admission::checks(&server.refresh().await.all(), intent);
    Ok(Json(Items::from(items)))
}
