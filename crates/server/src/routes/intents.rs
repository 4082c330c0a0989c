//! Intents.

use accelnet_api::{Items, Outcome};
use accelnet_model::Intent;
use axum::{Json, extract::State};

use super::{Answer, Body, Change, Path, Query};
use crate::{Server, admission};

/// All intents.
#[utoipa::path(get, path = "/intents", responses((status = 200, body = Items<Intent>)))]
pub async fn list(State(server): State<Server>) -> Answer<Items<Intent>> {
    Ok(Json(Items {
        items: server.wish().await?.desired.intents,
    }))
}

/// One intent.
#[utoipa::path(get, path = "/intents/{name}", responses((status = 200, body = Intent)))]
pub async fn show(State(server): State<Server>, Path(name): Path<String>) -> Answer<Intent> {
    let wish = server.wish().await?;
    Ok(Json(admission::find_intent(&wish, &name)?.clone()))
}

/// Adds an intent that adopts an existing bridge. The same intent again changes nothing.
#[utoipa::path(post, path = "/intents", params(Change), request_body = Intent,
    responses((status = 200, body = Outcome<Intent>)))]
pub async fn add(
    State(server): State<Server>,
    Query(change): Query<Change>,
    Body(intent): Body<Intent>,
) -> Answer<Outcome<Intent>> {
    let statuses = server.refresh().await?;
    let (_, (changed, plan)) = server
        .change(|wish| {
            let (writes, plan) = admission::add_intent(wish, &statuses, &intent)?;
            let changed = !writes.is_empty();
            Ok((
                if change.dry_run { Vec::new() } else { writes },
                (changed, plan),
            ))
        })
        .await?;
    Ok(Json(Outcome {
        dry_run: change.dry_run,
        changed,
        plan,
        object: intent,
    }))
}

/// Removes an intent. Its bridge stays as it is.
#[utoipa::path(delete, path = "/intents/{name}", params(Change),
    responses((status = 200, body = Outcome<Intent>)))]
pub async fn remove(
    State(server): State<Server>,
    Path(name): Path<String>,
    Query(change): Query<Change>,
) -> Answer<Outcome<Intent>> {
    let (_, (plan, object)) = server
        .change(|wish| {
            let (writes, plan, intent) = admission::remove_intent(wish, &name)?;
            Ok((
                if change.dry_run { Vec::new() } else { writes },
                (plan, intent),
            ))
        })
        .await?;
    Ok(Json(Outcome {
        dry_run: change.dry_run,
        changed: true,
        plan,
        object,
    }))
}
