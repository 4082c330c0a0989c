//! The cluster at a glance, and its prerequisites.

use accelnet_api::{ClusterStatus, Items, NodeSummary};
use accelnet_model::{CheckResult, Problem};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, Query, Watch, stream};
use crate::{Server, admission, failure::Failure, view};

async fn look(server: Server) -> Result<ClusterStatus, Problem> {
    let wish = server.wish().await?;
    Ok(view::cluster(
        &wish,
        &server.shared.nodes.names(),
        &server.statuses(),
    ))
}

/// The cluster at a glance.
#[utoipa::path(get, path = "/status", params(Watch), responses((status = 200, body = ClusterStatus)))]
pub async fn status(
    State(server): State<Server>,
    Query(watch): Query<Watch>,
) -> Result<Response, Failure> {
    if watch.watch {
        return Ok(stream::follow(
            &server,
            "status".into(),
            Box::new(|server| Box::pin(look(server))),
        ));
    }
    Ok(Json(look(server).await?).into_response())
}

/// All nodes.
#[utoipa::path(get, path = "/nodes", responses((status = 200, body = Items<NodeSummary>)))]
pub async fn nodes(State(server): State<Server>) -> Answer<Items<NodeSummary>> {
    Ok(Json(Items {
        items: look(server).await?.nodes,
    }))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
pub struct Prereq {
    /// Also check this intent, its bridge and its adapters.
    intent: Option<String>,
}

/// Prerequisite checks, on a fresh look at the nodes.
#[utoipa::path(get, path = "/prereq", params(Prereq), responses((status = 200, body = Items<CheckResult>)))]
pub async fn prereq(
    State(server): State<Server>,
    Query(query): Query<Prereq>,
) -> Answer<Items<CheckResult>> {
    let statuses = server.refresh().await?;
    let wish = server.wish().await?;
    let intent = query
        .intent
        .as_deref()
        .map(|name| admission::find_intent(&wish, name))
        .transpose()?;
    Ok(Json(Items {
        items: admission::checks(&statuses, intent),
    }))
}
