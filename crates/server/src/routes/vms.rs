//! VMs.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use std::collections::BTreeMap;

use accelnet_api::{AccelerateRequest, Items, Outcome, Vm, WatchLine};
use accelnet_model::Problem;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{Answer, Body, Change, DryRun, Path, Query, Watch, stream};
use crate::{
    Server,
    admission::{self, Decision},
    audit::Asked,
    failure::Failure,
    reports::Known,
    state::Wish,
    view,
};

async fn look_at_all(server: &Server) -> Result<Vec<Vm>, Problem> {
    Ok(view::vms(&server.wish().await?, &server.nodes()))
}

async fn look(server: &Server, word: &str) -> Result<Vm, Problem> {
    let vms = look_at_all(server).await?;
    let found = view::find(&vms, &server.nodes(), word).cloned();
    if found.is_ok() {
        return found;
    }
    // It may have been defined a moment ago.
    let nodes = server.refresh().await;
    let vms = look_at_all(server).await?;
    view::find(&vms, &nodes, word).cloned()
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// Keep the connection and send what changes (NDJSON).
    #[param(required = false)]
    watch: bool,
    /// Look at all nodes afresh before answering.
    #[param(required = false)]
    fresh: bool,
}

fn follow(server: Server, ends: stream::Ends, only: Option<Uuid>) -> Response {
    stream::follow(server, ends, move |server| {
        Box::pin(async move {
            let vms = look_at_all(&server).await?.into_iter();
            let wanted = vms.filter(|vm| only.is_none_or(|uuid| vm.uuid == uuid));
            let named = wanted.map(|vm| (vm.uuid.to_string(), vm));
            Ok(BTreeMap::from_iter(named))
        })
    })
}

/// All VMs: what is wanted and what is in effect.
#[utoipa::path(get, path = "/vms", tag = "vms", params(Listing), responses((status = 200,
    description = "The VMs", content((Items<Vm> = "application/json"),
    (WatchLine<Vm> = "application/x-ndjson")))))]
pub async fn list_vms(
    State(server): State<Server>,
    Query(listing): Query<Listing>,
) -> Result<Response, Failure> {
    if listing.fresh {
        server.refresh().await;
    }
    if listing.watch {
        return Ok(follow(server, stream::Ends::Never, None));
    }
    // An empty list would say that there are none.
    if let Some(problem) = view::nobody_sees(&server.nodes()) {
        return Err(problem.into());
    }
    let items = look_at_all(&server).await?;
    Ok(Json(Items { items }).into_response())
}

/// One VM, by name or UUID.
#[utoipa::path(get, path = "/vms/{vm}", tag = "vms",
    params(Watch, ("vm" = String, Path, description = "Its name or UUID")),
    responses((status = 200, description = "The VM", content((Vm = "application/json"),
    (WatchLine<Vm> = "application/x-ndjson")))))]
pub async fn show_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
    Query(watch): Query<Watch>,
) -> Result<Response, Failure> {
    let found = look(&server, &vm).await?;
    Ok(if watch.watch {
        // By UUID from here on: a name can change its owner.
        follow(server, stream::Ends::WhenGone, Some(found.uuid))
    } else {
        Json(found).into_response()
    })
}

/// Decides over these nodes, writes unless it is a dry run, and answers with the VM.
async fn decide(
    server: &Server,
    word: &str,
    asked: &Asked,
    nodes: &[Known],
    decide: impl Fn(&Wish, &Vm) -> Decision + Send + Sync,
) -> Answer<Outcome<Vm>> {
    let changed = server
        .change(asked, |wish| {
            let vms = view::vms(wish, nodes);
            let vm = view::find(&vms, nodes, word).map_err(|problem| vec![problem])?;
            Ok(decide(wish, vm)?.about(vm.clone()))
        })
        .await?;
    let before = changed.about;
    let after = view::vms(&changed.wish, &server.nodes());
    let found = after.into_iter().find(|vm| vm.uuid == before.uuid);
    // One that no node has and nobody wishes for any more.
    let object = found.unwrap_or_else(|| Vm {
        level: None,
        problems: Vec::new(),
        ..before
    });
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: changed.changed,
        plan: changed.plan,
        object,
    }))
}

/// Accelerates a VM, or changes its level.
#[utoipa::path(put, path = "/vms/{vm}/acceleration", tag = "vms",
    params(DryRun, ("vm" = String, Path, description = "Its name or UUID")),
    request_body = AccelerateRequest,
    responses((status = 200, description = "What is done", body = Outcome<Vm>)))]
pub async fn accelerate_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
    change: Change,
    Body(request): Body<AccelerateRequest>,
) -> Answer<Outcome<Vm>> {
    let asked = change.asked("vm accelerate", &format!("{vm} {}", request.performance));
    let nodes = server.refresh().await;
    decide(&server, &vm, &asked, &nodes, |wish, vm| {
        admission::accelerate(wish, &nodes, vm, &request)
    })
    .await
}

/// Brings a VM back to the software path.
#[utoipa::path(delete, path = "/vms/{vm}/acceleration", tag = "vms",
    params(DryRun, ("vm" = String, Path, description = "Its name or UUID")),
    responses((status = 200, description = "What is done", body = Outcome<Vm>)))]
pub async fn decelerate_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
    change: Change,
) -> Answer<Outcome<Vm>> {
    let asked = change.asked("vm decelerate", &vm);
    // Nothing is judged, so what is known is enough: giving back must not wait for anybody.
    let nodes = server.nodes();
    decide(&server, &vm, &asked, &nodes, admission::decelerate).await
}

/// Stages on a VM's definition what acceleration needs, for its next cold start.
#[utoipa::path(post, path = "/vms/{vm}/prepare", tag = "vms",
    params(DryRun, ("vm" = String, Path, description = "Its name or UUID")),
    responses((status = 200, description = "What is done", body = Outcome<Vm>)))]
pub async fn prepare_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
    change: Change,
) -> Answer<Outcome<Vm>> {
    let asked = change.asked("vm prepare", &vm);
    let nodes = server.refresh().await;
    decide(&server, &vm, &asked, &nodes, |wish, vm| {
        admission::prepare(wish, &nodes, vm)
    })
    .await
}
