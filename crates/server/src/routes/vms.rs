//! VMs.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use std::{num::NonZeroU32, time::Duration};

use accelnet_api::{AccelerateRequest, Items, MoveRequest, Outcome, ParkRequest, Vm, WatchLine};
use accelnet_model::{Code, Problem, VmExplanation};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{Answer, Asking, Body, Change, Condition, DryRun, Path, Query, extract, stream};
use crate::{
    LOOK_LIMIT, Server,
    admission::{self, Decision},
    apart::apart,
    audit::{self, Asked},
    boards::Objects,
    explained,
    failure::Failure,
    page::Page,
    reports::Seen,
    state::Wish,
    view,
};

async fn look_at_all(server: &Server, page: Page) -> Result<Items<Vm>, Problem> {
    let (wish, seen) = (server.wish().await?, server.seen());
    Ok(apart(|| view::vms(&wish, &seen, &page)))
}

async fn find(server: &Server, word: &str) -> Result<Vm, Problem> {
    view::find(&server.wish().await?, &server.seen(), word)
}

async fn look(server: &Server, word: &str) -> Result<Vm, Problem> {
    let found = find(server, word).await;
    if found.is_ok() {
        return found;
    }
    server.look_for_unknown(Instant::now() + LOOK_LIMIT).await;
    find(server, word).await
}

/// A VM that cannot be looked at is waited for so long: it is being started, or libvirt is busy with others.
const SIGHT_LIMIT: Duration = Duration::from_secs(10);

/// Looks afresh at the node that has the VM; at all of them if it is not where it was, or is not known.
async fn look_at_its_node(server: &Server, word: &str) -> Result<(), Problem> {
    // Which VM it is hardly depends on what is wanted: the store, which is asked by whoever decides, need not be
    // asked for that.
    let wish = match server.shared.told.newest() {
        Some(wish) => wish,
        None => server.wish().await?,
    };
    let node = || view::find(&wish, &server.seen(), word).ok()?.node;
    let until = Instant::now() + LOOK_LIMIT;
    match node() {
        Some(before) => {
            let one = std::slice::from_ref(&before);
            server.refresh_these(one, until).await;
            if node() != Some(before) {
                let all = server.shared.nodes.names();
                server.refresh_these(&all, until).await;
            }
        }
        None => server.look_for_unknown(until).await,
    }
    wait_for_sight(server, &wish, word).await;
    Ok(())
}

/// One that is there and could not be looked at: its node looks again by itself, and reports.
async fn wait_for_sight(server: &Server, wish: &Wish, word: &str) {
    let mut changes = server.shared.changes.subscribe();
    let settled = |_: &u64| {
        let found = view::find(wish, &server.seen(), word);
        !found.is_ok_and(|vm| not_seen(&vm).is_some())
    };
    // Whoever decides says what is not seen then.
    let _ = tokio::time::timeout(SIGHT_LIMIT, changes.wait_for(settled)).await;
}

fn not_seen(vm: &Vm) -> Option<&Problem> {
    let mut problems = vm.problems.iter();
    problems.find(|problem| problem.code == Code::VmNotSeen)
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// Keep the connection and send what changes (NDJSON).
    #[param(required = false)]
    #[serde(deserialize_with = "extract::flag")]
    watch: bool,
    /// Look at all nodes afresh before answering.
    #[param(required = false)]
    fresh: bool,
    /// Go on after this revision, which a line of a watch of the same list told, instead of sending
    /// everything first. 410 if that cannot be.
    from: Option<String>,
    /// So many elements at most.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4294967295_u32)]
    limit: Option<NonZeroU32>,
    /// Those after this: `next` of the page before.
    after: Option<String>,
}

/// By UUID: a name can change its owner.
fn follow(server: Server, uuid: Uuid) -> Result<Response, Failure> {
    stream::follow(server, stream::Ends::WhenGone, move |server| {
        Box::pin(async move {
            let found = view::one(&server.wish().await?, &server.seen(), uuid);
            let named = found.into_iter().map(|vm| (vm.uuid.to_string(), vm));
            Ok(Objects::from_iter(named))
        })
    })
}

/// All VMs: what is wanted and what is in effect.
#[utoipa::path(get, path = "/vms", tag = "vms", params(Listing), responses((status = 200,
    description = "The VMs", content((Items<Vm> = "application/json"),
    (WatchLine<Vm> = "application/x-ndjson")))))]
pub async fn list_vms(
    State(server): State<Server>,
    condition: Condition,
    Query(listing): Query<Listing>,
) -> Result<Response, Failure> {
    let page = Page {
        limit: listing.limit,
        after: listing.after,
    };
    let asking = extract::asking(listing.watch, listing.from, page)?;
    if listing.fresh {
        server.refresh().await;
    }
    // An empty list would say that there are none, and so would a watch that begins with nothing. Of a copy it is known
    // that nobody sees, and what is asked for is what was seen last.
    let is_copy = server
        .membership()
        .is_ok_and(|membership| membership.is_copy());
    if !is_copy && let Some(problem) = view::nobody_sees(&server.seen()) {
        return Err(problem.into());
    }
    match asking {
        // What was looked at afresh is not what anybody has.
        Asking::Page(page) if listing.fresh => {
            Ok(Json(look_at_all(&server, page).await?).into_response())
        }
        Asking::Page(page) => condition.answer(look_at_all(&server, page)).await,
        Asking::Watch(from) => {
            let reader = server.read(
                |boards| &boards.vms,
                |wish, seen| {
                    let vms = view::vms(wish, seen, &Page::default()).items.into_iter();
                    vms.map(|vm| (vm.uuid.to_string(), vm)).collect()
                },
                from.as_deref(),
            );
            Ok(stream::read(reader?))
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Showing {
    /// Keep the connection and send what changes (NDJSON).
    #[param(required = false)]
    #[serde(deserialize_with = "extract::flag")]
    watch: bool,
    /// Ask the VM's node what was counted of its packets. Not of a watch.
    #[param(required = false)]
    traffic: bool,
}

/// One VM, by name or UUID.
#[utoipa::path(get, path = "/vms/{vm}", tag = "vms",
    params(Showing, ("vm" = String, Path, description = "Its name or UUID")),
    responses((status = 200, description = "The VM", content((Vm = "application/json"),
    (WatchLine<Vm> = "application/x-ndjson")))))]
pub async fn show_vm(
    State(server): State<Server>,
    condition: Condition,
    Path(vm): Path<String>,
    Query(showing): Query<Showing>,
) -> Result<Response, Failure> {
    match (showing.watch, showing.traffic) {
        (false, false) => return condition.answer(look(&server, &vm)).await,
        // What is counted is another a moment later: nobody has it already.
        (false, true) => {
            let found = look(&server, &vm).await?;
            return Ok(Json(server.with_traffic(found).await).into_response());
        }
        (true, true) => {
            let text = "What is counted changes all the time, and is not watched.";
            let problem = Problem::new(Code::InvalidArgument, text).about("field", "traffic");
            return Err(problem.into());
        }
        (true, false) => {}
    }
    let found = look(&server, &vm).await?;
    follow(server, found.uuid)
}

/// Why a VM's packets go the way they go: each link from the wish to the traffic, and which one is broken. Its node is
/// looked at afresh.
#[utoipa::path(get, path = "/vms/{vm}/explanation", tag = "vms",
    params(("vm" = String, Path, description = "Its name or UUID")),
    responses((status = 200, description = "The chain", body = VmExplanation)))]
pub async fn explain_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
) -> Answer<VmExplanation> {
    look_at_its_node(&server, &vm).await?;
    let found = look(&server, &vm).await?;
    let counted = server.counted(&found).await;
    let (wish, seen) = (server.wish().await?, server.seen());
    Ok(Json(apart(|| {
        explained::of(&wish, &seen, &found, &counted)
    })))
}

/// Decides, writes unless it is a dry run, and answers with the VM.
pub async fn decide(
    server: &Server,
    word: &str,
    asked: &Asked,
    decide: impl Fn(&Wish, &Seen, &Vm) -> Decision + Send + 'static,
) -> Answer<Outcome<Vm>> {
    let (looking, word) = (server.clone(), word.to_owned());
    let changed = server
        .change(asked, move |wish| {
            let seen = looking.seen();
            let vm = view::find(wish, &seen, &word).map_err(|problem| vec![problem])?;
            if let Some(problem) = not_seen(&vm) {
                return Err(vec![problem.clone()]);
            }
            Ok(decide(wish, &seen, &vm)?.about(vm))
        })
        .await?;
    let before = changed.about;
    let found = view::one(&changed.wish, &server.seen(), before.uuid);
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
pub async fn enable_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
    change: Change,
    Body(request): Body<AccelerateRequest>,
) -> Answer<Outcome<Vm>> {
    let asked = change.asked("vm enable", &format!("{vm} {}", request.performance));
    look_at_its_node(&server, &vm).await?;
    let (who, now) = (asked.by.to_string(), server.now());
    decide(&server, &vm, &asked, move |wish, seen, vm| {
        admission::accelerate(wish, seen, vm, &request, (&who, now))
    })
    .await
}

/// Brings a VM back to the software path.
#[utoipa::path(delete, path = "/vms/{vm}/acceleration", tag = "vms",
    params(DryRun, ("vm" = String, Path, description = "Its name or UUID")),
    responses((status = 200, description = "What is done", body = Outcome<Vm>)))]
pub async fn disable_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
    change: Change,
) -> Answer<Outcome<Vm>> {
    let asked = change.asked("vm disable", &vm);
    // Nothing is judged, so what is known is enough: giving back must not wait for anybody.
    decide(&server, &vm, &asked, move |wish, _, vm| {
        admission::decelerate(wish, vm)
    })
    .await
}

/// Keeps a VM on its software path for a while, its level and its capacity held.
#[utoipa::path(put, path = "/vms/{vm}/park", tag = "vms",
    params(DryRun, ("vm" = String, Path, description = "Its name or UUID")),
    request_body = ParkRequest,
    responses((status = 200, description = "What is done", body = Outcome<Vm>)))]
pub async fn park_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
    change: Change,
    Body(request): Body<ParkRequest>,
) -> Answer<Outcome<Vm>> {
    let how = match (request.for_seconds, request.until_boot) {
        (Some(seconds), _) => format!("{vm} for {seconds} s"),
        (None, true) => format!("{vm} until its node's next boot"),
        (None, false) => vm.clone(),
    };
    let asked = change.asked("vm park", &how);
    let now = server.now();
    // Nothing is judged: it must not wait for a node that is going down.
    decide(&server, &vm, &asked, move |wish, seen, vm| {
        admission::park(wish, seen, vm, &request, now)
    })
    .await
}

/// Lets a VM that is parked go to its VF again.
#[utoipa::path(delete, path = "/vms/{vm}/park", tag = "vms",
    params(DryRun, ("vm" = String, Path, description = "Its name or UUID")),
    responses((status = 200, description = "What is done", body = Outcome<Vm>)))]
pub async fn unpark_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
    change: Change,
) -> Answer<Outcome<Vm>> {
    let asked = change.asked("vm unpark", &vm);
    if !asked.dry_run
        && let Ok(known) = look(&server, &vm).await
    {
        // First: a fault that is open would have it parked again.
        server.vm_is_cured(known.uuid).await;
    }
    decide(&server, &vm, &asked, admission::unpark).await
}

/// Moves a VM to another node: off its VFs, live migration by its node's libvirt, VFs there.
#[utoipa::path(put, path = "/vms/{vm}/move", tag = "vms",
    params(DryRun, ("vm" = String, Path, description = "Its name or UUID")),
    request_body = MoveRequest,
    responses((status = 200, description = "What is done", body = Outcome<Vm>)))]
pub async fn move_vm(
    State(server): State<Server>,
    Path(vm): Path<String>,
    change: Change,
    Body(request): Body<MoveRequest>,
) -> Answer<Outcome<Vm>> {
    let to = audit::printable(&request.to);
    let asked = change.asked("vm move", &format!("{vm} to {to}"));
    look_at_its_node(&server, &vm).await?;
    let now = server.now();
    decide(&server, &vm, &asked, move |wish, seen, vm| {
        admission::travel(wish, seen, vm, &request, now)
    })
    .await
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
    look_at_its_node(&server, &vm).await?;
    decide(&server, &vm, &asked, admission::prepare).await
}
