//! The cluster at a glance, its nodes, and its prerequisites.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use std::collections::BTreeMap;

use accelnet_api::{ClusterStatus, Items, NodeSummary, WatchLine};
use accelnet_model::{CheckResult, Problem};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, Query, Watch, stream};
use crate::{Server, admission, apart::apart, failure::Failure, view};

async fn look(server: &Server) -> Result<ClusterStatus, Problem> {
    let (wish, seen) = (server.wish().await?, server.seen());
    Ok(apart(|| view::cluster(&wish, &seen)))
}

/// The cluster at a glance.
#[utoipa::path(get, path = "/status", tag = "cluster", params(Watch), responses((status = 200,
    description = "The cluster", content((ClusterStatus = "application/json"),
    (WatchLine<ClusterStatus> = "application/x-ndjson")))))]
pub async fn show_status(
    State(server): State<Server>,
    Query(watch): Query<Watch>,
) -> Result<Response, Failure> {
    if !watch.watch {
        return Ok(Json(look(&server).await?).into_response());
    }
    Ok(stream::follow(server, stream::Ends::Never, |server| {
        Box::pin(async move {
            let status = look(&server).await?;
            Ok(BTreeMap::from([("status".to_owned(), status)]))
        })
    }))
}

/// All nodes.
#[utoipa::path(get, path = "/nodes", tag = "cluster",
    responses((status = 200, description = "The nodes", body = Items<NodeSummary>)))]
pub async fn list_nodes(State(server): State<Server>) -> Answer<Items<NodeSummary>> {
    let items = look(&server).await?.nodes;
    Ok(Json(Items { items }))
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
    Ok(Json(Items { items }))
}
