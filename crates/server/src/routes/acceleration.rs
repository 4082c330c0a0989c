//! Acceleration of the cluster: enable, disable.

use accelnet_api::{ClusterStatus, EnableRequest, Outcome};
use axum::{Json, extract::State};

use super::{Answer, Body, Change, Query};
use crate::{
    Server, admission,
    state::{Wish, Write},
    view,
};

fn outcome(
    server: &Server,
    wish: &Wish,
    change: &Change,
    changed: bool,
    plan: Vec<String>,
) -> Outcome<ClusterStatus> {
    let object = view::cluster(wish, &server.shared.nodes.names(), &server.statuses());
    Outcome {
        dry_run: change.dry_run,
        changed,
        plan,
        object,
    }
}

/// Enables acceleration for an intent, if all prerequisites are met.
#[utoipa::path(put, path = "/acceleration", params(Change), request_body = EnableRequest,
    responses((status = 200, body = Outcome<ClusterStatus>)))]
pub async fn enable(
    State(server): State<Server>,
    Query(change): Query<Change>,
    Body(request): Body<EnableRequest>,
) -> Answer<Outcome<ClusterStatus>> {
    let statuses = server.refresh().await?;
    let (wish, (changed, plan)) = server
        .change(|wish| {
            let (writes, plan) = admission::enable(wish, &statuses, &request)?;
            let changed = !writes.is_empty();
            Ok((
                if change.dry_run { Vec::new() } else { writes },
                (changed, plan),
            ))
        })
        .await?;
    Ok(Json(outcome(&server, &wish, &change, changed, plan)))
}

/// Stops managing acceleration. VMs keep their VFs and settings.
#[utoipa::path(delete, path = "/acceleration", params(Change),
    responses((status = 200, body = Outcome<ClusterStatus>)))]
pub async fn disable(
    State(server): State<Server>,
    Query(change): Query<Change>,
) -> Answer<Outcome<ClusterStatus>> {
    let (wish, changed) = server
        .change(|wish| {
            let changed = wish.desired.enabled.is_some();
            let writes = if changed && !change.dry_run {
                vec![Write::Cluster(None)]
            } else {
                Vec::new()
            };
            Ok((writes, changed))
        })
        .await?;
    let plan = if changed {
        vec!["stop managing; VMs keep their VFs and settings".to_owned()]
    } else {
        Vec::new()
    };
    Ok(Json(outcome(&server, &wish, &change, changed, plan)))
}
