//! VMs.

use accelnet_api::{AccelerateRequest, Items, Outcome, Vm};
use accelnet_model::Problem;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{Answer, Body, Change, Path, Query, Watch, stream};
use crate::{
    Server,
    admission::{self, Decision},
    failure::Failure,
    state::Wish,
    view::{self, Statuses},
};

async fn look_at_all(server: &Server) -> Result<Vec<Vm>, Problem> {
    Ok(view::vms(&server.wish().await?, &server.statuses()))
}

async fn look(server: Server, word: String) -> Result<Vm, Problem> {
    let vms = look_at_all(&server).await?;
    view::find(&vms, &word).cloned()
}

/// All VMs: what is wanted and what is in effect.
#[utoipa::path(get, path = "/vms", responses((status = 200, body = Items<Vm>)))]
pub async fn list(State(server): State<Server>) -> Answer<Items<Vm>> {
    Ok(Json(Items {
        items: look_at_all(&server).await?,
    }))
}

/// One VM, by name or UUID.
#[utoipa::path(get, path = "/vms/{vm}", params(Watch), responses((status = 200, body = Vm)))]
pub async fn show(
    State(server): State<Server>,
    Path(vm): Path<String>,
    Query(watch): Query<Watch>,
) -> Result<Response, Failure> {
    let found = look(server.clone(), vm).await?;
    if watch.watch {
        // By UUID from here on: a name can change its owner.
        let uuid = found.uuid.to_string();
        let word = uuid.clone();
        return Ok(stream::follow(
            &server,
            uuid,
            Box::new(move |server| Box::pin(look(server, word.clone()))),
        ));
    }
    Ok(Json(found).into_response())
}

/// Decides over a fresh look, writes unless it is a dry run, and answers with the VM.
async fn decide(
    server: Server,
    word: &str,
    change: &Change,
    decide: impl Fn(&Wish, &Statuses, &Vm) -> Decision + Send + Sync,
) -> Answer<Outcome<Vm>> {
    let statuses = server.refresh().await?;
    let (_, (uuid, changed, plan)) = server
        .change(|wish| {
            let vms = view::vms(wish, &statuses);
            let vm = view::find(&vms, word).map_err(|problem| vec![problem])?;
            let (writes, plan) = decide(wish, &statuses, vm)?;
            let changed = !writes.is_empty();
            let writes = if change.dry_run { Vec::new() } else { writes };
            Ok((writes, (vm.uuid, changed, plan)))
        })
        .await?;
    let object = look(server, uuid.to_string()).await?;
    Ok(Json(Outcome {
        dry_run: change.dry_run,
        changed,
        plan,
        object,
    }))
}

/// Accelerates a VM, or changes its level.
#[utoipa::path(put, path = "/vms/{vm}/acceleration", params(Change), request_body = AccelerateRequest,
    responses((status = 200, body = Outcome<Vm>)))]
pub async fn accelerate(
    State(server): State<Server>,
    Path(vm): Path<String>,
    Query(change): Query<Change>,
    Body(request): Body<AccelerateRequest>,
) -> Answer<Outcome<Vm>> {
    decide(server, &vm, &change, |wish, statuses, vm| {
        admission::accelerate(wish, statuses, vm, &request)
    })
    .await
}

/// Brings a VM back to the software path.
#[utoipa::path(delete, path = "/vms/{vm}/acceleration", params(Change),
    responses((status = 200, body = Outcome<Vm>)))]
pub async fn decelerate(
    State(server): State<Server>,
    Path(vm): Path<String>,
    Query(change): Query<Change>,
) -> Answer<Outcome<Vm>> {
    decide(server, &vm, &change, |wish, _, vm| {
        admission::decelerate(wish, vm)
    })
    .await
}

/// Stages on a VM's definition what acceleration needs, for its next cold start.
#[utoipa::path(post, path = "/vms/{vm}/prepare", params(Change),
    responses((status = 200, body = Outcome<Vm>)))]
pub async fn prepare(
    State(server): State<Server>,
    Path(vm): Path<String>,
    Query(change): Query<Change>,
) -> Answer<Outcome<Vm>> {
    decide(server, &vm, &change, admission::prepare).await
}
