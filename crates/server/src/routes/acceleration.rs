//! Acceleration of the cluster: enable, set, disable.

use accelnet_api::{ClusterStatus, EnableRequest, Outcome, SetRequest};
use axum::{Json, extract::State};

use super::{Answer, Body, Change, DryRun};
use crate::{Changed, Server, admission, apart::apart, audit::Asked, view};

fn outcome<T>(server: &Server, asked: &Asked, changed: Changed<T>) -> Json<Outcome<ClusterStatus>> {
    Json(Outcome {
        dry_run: asked.dry_run,
        changed: changed.changed,
        plan: changed.plan,
        object: apart(|| view::cluster(&changed.wish, &server.seen())),
    })
}

/// Enables acceleration for an intent, if all prerequisites are met.
#[utoipa::path(put, path = "/acceleration", tag = "cluster", params(DryRun),
    request_body = EnableRequest,
    responses((status = 200, description = "What is done", body = Outcome<ClusterStatus>)))]
pub async fn enable_acceleration(
    State(server): State<Server>,
    change: Change,
    Body(request): Body<EnableRequest>,
) -> Answer<Outcome<ClusterStatus>> {
    let asked = change.asked("enable", &request.intent);
    let seen = server.refresh().await;
    let decide = move |wish: &_| admission::enable(wish, &seen, &request);
    let changed = server.change(&asked, decide).await?;
    Ok(outcome(&server, &asked, changed))
}

/// Changes reserve, intent, or when VFs are created. What is left out stays as it is.
#[utoipa::path(patch, path = "/acceleration", tag = "cluster", params(DryRun),
    request_body = SetRequest,
    responses((status = 200, description = "What is done", body = Outcome<ClusterStatus>)))]
pub async fn set_acceleration(
    State(server): State<Server>,
    change: Change,
    Body(request): Body<SetRequest>,
) -> Answer<Outcome<ClusterStatus>> {
    let asked = change.asked("set", request.intent.as_deref().unwrap_or_default());
    let seen = server.refresh().await;
    let decide = move |wish: &_| admission::set(wish, &seen, &request);
    let changed = server.change(&asked, decide).await?;
    Ok(outcome(&server, &asked, changed))
}

/// Stops managing acceleration. VMs keep their VFs and settings.
#[utoipa::path(delete, path = "/acceleration", tag = "cluster", params(DryRun),
    responses((status = 200, description = "What is done", body = Outcome<ClusterStatus>)))]
pub async fn disable_acceleration(
    State(server): State<Server>,
    change: Change,
) -> Answer<Outcome<ClusterStatus>> {
    let asked = change.asked("disable", "");
    let changed = server.change(&asked, admission::disable).await?;
    Ok(outcome(&server, &asked, changed))
}
