//! Nodes as members of the cluster, and its servers.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use std::{collections::BTreeSet, time::Duration};

use accelnet_api::{
    DrainProgress, Items, JoinToken, JoinTokenRequest, NodeDetail, Outcome, ParkRequest,
    ServerSummary, Vm, draining::Parked,
};
use accelnet_model::{Code, Isolated, Name, Problem, VmState};
use axum::{Json, extract::State, response::Response};
use uuid::Uuid;

use super::{Answer, Body, Change, Condition, Paging, Path, Query};
use crate::{
    Server, admission,
    apart::apart,
    audit::{self, Actor, Asked},
    failure::Failure,
    page::Page,
    reports::{Known, Seen},
    state::{Park, Wish},
    view, whereabouts,
};

/// The longest that a token for joining may last.
const TOKEN_LIMIT: Duration = Duration::from_secs(24 * 3600);

fn name_of(text: &str) -> Result<Name, Problem> {
    text.parse().map_err(|_| not_found(text))
}

fn not_found(text: &str) -> Problem {
    let text = format!("There is no node '{}'.", audit::printable(text));
    Problem::new(Code::NodeNotFound, text)
}

/// One node.
#[utoipa::path(get, path = "/nodes/{name}", tag = "cluster", params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "The node", body = NodeDetail)))]
pub async fn show_node(
    State(server): State<Server>,
    condition: Condition,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    condition.answer(detail(&server, &name)).await
}

async fn detail(server: &Server, name: &str) -> Result<NodeDetail, Problem> {
    let name = name_of(name)?;
    let (wish, seen) = (server.wish().await?, server.seen());
    let known = seen.node(&name).ok_or_else(|| not_found(name.as_str()))?;
    let summary = apart(|| view::node(&wish, known));
    let membership = server.membership().ok();
    let member = membership.and_then(|membership| membership.hub.member(&name));
    Ok(NodeDetail {
        summary,
        id: member.as_ref().map(|member| member.id),
        joined: member.map(|member| member.joined),
        certificate_expires: membership
            .and_then(|membership| membership.hub.certified_until(&name)),
        draining: progress(&wish, &seen, known),
        isolated: of_node(&wish, &name),
    })
}

/// A node's adapters that are taken out of the pool.
fn of_node(wish: &Wish, node: &Name) -> Vec<Isolated> {
    let isolated = wish.desired.isolated.iter();
    isolated.filter(|its| its.node == *node).cloned().collect()
}

/// VMs of a node that are accelerated, or shall be. What a silent node said last is not where they are, if another one
/// has them by now.
fn accelerated(wish: &Wish, seen: &Seen, known: &Known) -> Vec<Uuid> {
    let status = known.status.as_deref();
    let there = status.into_iter().flat_map(whereabouts::there);
    let there: BTreeSet<Uuid> = there.map(|(uuid, _)| uuid).collect();
    let wanted = |vm: &Uuid| wish.level_of(*vm).is_some() && is_on(&known.name, seen, *vm);
    there.into_iter().filter(wanted).collect()
}

fn is_on(node: &Name, seen: &Seen, vm: Uuid) -> bool {
    whereabouts::of(seen, vm).is_some_and(|place| place.node.name == *node)
}

/// How far a node is, if any of its VMs is kept off its VFs until it starts again.
fn progress(wish: &Wish, seen: &Seen, known: &Known) -> Option<DrainProgress> {
    let parked = accelerated(wish, seen, known).into_iter();
    let parked: Vec<Uuid> = parked
        .filter(|vm| wish.park_of(*vm).is_some_and(Park::is_until_boot))
        .collect();
    let vms: Vec<Vm> = parked
        .iter()
        .filter_map(|vm| view::one(wish, seen, *vm))
        .collect();
    let on_vf = |vm: &&Vm| vm.nics.iter().any(|nic| nic.managed && nic.vf.is_some());
    let left = vms.iter().filter(on_vf);
    // Whatever rests is tried again, and says why it has not come about yet.
    let blocked = left
        .clone()
        .filter(|vm| vm.resting && vm.progress.is_none());
    let blocked = blocked.filter_map(|vm| vm.problems.first().cloned());
    (!parked.is_empty()).then(|| DrainProgress {
        vms_left: left.count() as u32,
        blocked: blocked.collect(),
    })
}

/// Empties a node of VFs, for maintenance: its VMs are parked until it has started again, or are let go before.
/// One that moves to another node is accelerated there.
#[utoipa::path(post, path = "/nodes/{name}/drain", tag = "cluster", params(("name" = String, Path, description = "Its name"), super::DryRun),
    responses((status = 200, description = "What is done", body = Outcome<NodeDetail>)))]
pub async fn drain_node(
    State(server): State<Server>,
    Path(name): Path<String>,
    change: Change,
) -> Answer<Outcome<NodeDetail>> {
    let asked = change.asked("node drain", &name);
    for_each_vm(&server, &name, &asked, until_boot(&server)).await
}

/// Parks a VM until its node has started again.
fn until_boot(
    server: &Server,
) -> impl Fn(&Wish, &Seen, &Vm) -> admission::Decision + Clone + Send + 'static {
    let (now, park) = (
        server.now(),
        ParkRequest {
            until_boot: true,
            ..ParkRequest::default()
        },
    );
    move |wish, seen, vm| admission::park(wish, seen, vm, &park, now)
}

/// A node drains itself: its host goes down.
pub async fn goes_down(server: &Server, node: &Name) -> Result<Parked, Problem> {
    let by = Actor {
        node: Some(node.clone()),
        ..Actor::default()
    };
    let asked = Asked {
        by,
        operation: "node drain",
        subject: node.to_string(),
        dry_run: false,
    };
    // Which VMs it has only its report of now says; without one it parks them by itself.
    let seen = server.seen();
    let known = seen.node(node).ok_or_else(|| not_found(node.as_str()))?;
    if let Some(silent) = &known.silent {
        return Err(silent.clone());
    }
    // What is not enabled is on no VF, or on its way off it.
    let enabled = server.wish().await?.desired.enabled.is_some();
    let (park, own) = (until_boot(server), node.clone());
    let park = move |wish: &Wish, seen: &Seen, vm: &Vm| match is_only_on(&own, seen, vm.uuid) {
        true => park(wish, seen, vm),
        false => Ok(admission::Decided::nothing()),
    };
    let problems = match enabled {
        true => each_vm(server, node, &asked, park).await?.problems,
        false => Vec::new(),
    };
    let (wish, seen) = (server.wish().await?, server.seen());
    let status = seen.node(node).and_then(|known| known.status.as_deref());
    Ok(Parked {
        generation: status.map_or(0, |status| wish.changed_for_node(status)),
        problems,
    })
}

/// No other node says that the VM runs there: whoever claims to have another node's VM takes it off no VF.
fn is_only_on(node: &Name, seen: &Seen, vm: Uuid) -> bool {
    let mut places = whereabouts::all_of(seen, vm);
    places.all(|place| place.node.name == *node || place.state() == VmState::Off)
}

/// Lets a node's VMs go to their VFs again.
#[utoipa::path(post, path = "/nodes/{name}/uncordon", tag = "cluster", params(("name" = String, Path, description = "Its name"), super::DryRun),
    responses((status = 200, description = "What is done", body = Outcome<NodeDetail>)))]
pub async fn uncordon_node(
    State(server): State<Server>,
    Path(name): Path<String>,
    change: Change,
) -> Answer<Outcome<NodeDetail>> {
    let asked = change.asked("node uncordon", &name);
    for_each_vm(&server, &name, &asked, |wish, seen, vm| {
        match wish.park_of(vm.uuid).is_some_and(Park::is_until_boot) {
            true => admission::unpark(wish, seen, vm),
            false => Ok(admission::Decided::nothing()),
        }
    })
    .await
}

/// What came of deciding for each VM of a node.
#[derive(Default)]
struct Each {
    changed: bool,
    plan: Vec<String>,
    /// What kept VMs from it.
    problems: Vec<Problem>,
}

/// Decides for each VM of a node that is accelerated, one after the other: none of them waits for another's guest, and
/// none stays because another cannot be decided on.
async fn each_vm(
    server: &Server,
    node: &Name,
    asked: &Asked,
    decide: impl Fn(&Wish, &Seen, &Vm) -> admission::Decision + Clone + Send + 'static,
) -> Result<Each, Problem> {
    let wish = server.wish().await?;
    let seen = server.seen();
    let known = seen.node(node).ok_or_else(|| not_found(node.as_str()))?;
    let mut each = Each::default();
    for vm in accelerated(&wish, &seen, known) {
        let (word, node, decide) = (vm.to_string(), node.clone(), decide.clone());
        // It may have left meanwhile.
        let decide = move |wish: &Wish, seen: &Seen, vm: &Vm| match is_on(&node, seen, vm.uuid) {
            true => decide(wish, seen, vm),
            false => Ok(admission::Decided::nothing()),
        };
        match super::vms::decide(server, &word, asked, decide).await {
            Ok(Json(outcome)) => {
                each.changed |= outcome.changed;
                let vm = &outcome.object.name;
                let plan = outcome.plan.into_iter();
                each.plan.extend(plan.map(|step| format!("{vm}: {step}")));
            }
            Err(failure) => each.problems.extend(failure.into_problems()),
        }
    }
    Ok(each)
}

/// The same, for whoever asked; refused if any VM was kept from it.
async fn for_each_vm(
    server: &Server,
    name: &str,
    asked: &Asked,
    decide: impl Fn(&Wish, &Seen, &Vm) -> admission::Decision + Clone + Send + 'static,
) -> Answer<Outcome<NodeDetail>> {
    let each = each_vm(server, &name_of(name)?, asked, decide).await?;
    if !each.problems.is_empty() {
        return Err(each.problems.into());
    }
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: each.changed,
        plan: each.plan,
        object: detail(server, name).await?,
    }))
}

/// Forgets a node. Its certificate is worth nothing any more; its VMs keep what they have.
#[utoipa::path(delete, path = "/nodes/{name}", tag = "cluster", params(("name" = String, Path, description = "Its name"), super::DryRun),
    responses((status = 200, description = "What was done", body = Outcome<NodeDetail>)))]
pub async fn remove_node(
    State(server): State<Server>,
    Path(name): Path<String>,
    change: Change,
) -> Answer<Outcome<NodeDetail>> {
    let detail = detail(&server, &name).await?;
    let asked = change.asked("node remove", &name);
    let mut plan = vec![format!(
        "'{name}' leaves the cluster; its certificate is worth nothing any more"
    )];
    if detail.summary.vms_accelerated > 0 {
        plan.push(format!(
            "{} of its VMs stay on their VFs, which nobody looks after any more",
            detail.summary.vms_accelerated
        ));
    }
    if !asked.dry_run {
        let removed = server.remove_node(detail.summary.name.clone()).await;
        removed.inspect_err(|problem| audit::refused(&asked, std::slice::from_ref(problem)))?;
        match detail.isolated.is_empty() {
            true => server.record(&asked).await?,
            // Whatever takes its name is another machine.
            false => {
                let node = detail.summary.name.clone();
                let forget = move |wish: &Wish| Ok(admission::forget_isolated(wish, &node));
                drop(server.change(&asked, forget).await?);
            }
        }
    }
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: true,
        plan,
        object: detail,
    }))
}

/// Makes a token with which one machine can join.
#[utoipa::path(post, path = "/join-tokens", tag = "cluster", request_body = JoinTokenRequest,
    responses((status = 200, description = "The token, this one time", body = JoinToken)))]
pub async fn create_join_token(
    State(server): State<Server>,
    change: Change,
    Body(request): Body<JoinTokenRequest>,
) -> Answer<JoinToken> {
    let lasts = Duration::from_secs(request.ttl_s);
    if lasts.is_zero() || lasts > TOKEN_LIMIT {
        let text = "A token for joining lasts between a second and a day.";
        return Err(Problem::new(Code::InvalidArgument, text)
            .about("field", "ttl_s")
            .into());
    }
    let membership = server.membership()?;
    let subject = request.node.as_ref().map_or("any", Name::as_str).to_owned();
    let (token, expires) = membership.invite(request.node, lasts).await?;
    server
        .record(&change.asked("node join-token", &subject))
        .await?;
    let token = token.reveal();
    // There is one at least: a server that nobody could reach does not start.
    let server = membership.own.first().map_or("SERVER:PORT", String::as_str);
    let command = format!("accelnetd join https://{server} {token}");
    Ok(Json(JoinToken {
        token,
        expires,
        command,
    }))
}

/// The cluster's servers.
#[utoipa::path(get, path = "/servers", tag = "cluster", params(Paging),
    responses((status = 200, description = "The servers", body = Items<ServerSummary>)))]
pub async fn list_servers(
    State(server): State<Server>,
    Query(paging): Query<Paging>,
) -> Answer<Items<ServerSummary>> {
    let key = |server: &ServerSummary| server.address.clone();
    Ok(Json(Page::from(paging).of(server.servers().await?, key)))
}

/// Forgets a server that is gone for good. It must not be running.
#[utoipa::path(delete, path = "/servers/{server}", tag = "cluster",
    params(("server" = String, Path, description = "Its address, or its name"), super::DryRun),
    responses((status = 200, description = "What is done", body = Outcome<ServerSummary>)))]
pub async fn remove_server(
    State(server): State<Server>,
    Path(which): Path<String>,
    change: Change,
) -> Answer<Outcome<ServerSummary>> {
    let servers = server.servers().await?;
    let by_address = servers.iter().find(|its| its.address == which);
    let by_name = || servers.iter().find(|its| its.name == which);
    let Some(found) = by_address.or_else(by_name) else {
        let text = format!("There is no server '{}'.", audit::printable(&which));
        return Err(Problem::new(Code::ServerNotFound, text).into());
    };
    let asked = change.asked("server remove", &found.address);
    if !asked.dry_run {
        let removed = server.remove_server(found).await;
        removed.inspect_err(|problem| audit::refused(&asked, std::slice::from_ref(problem)))?;
        server.record(&asked).await?;
    }
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: true,
        plan: vec![format!(
            "nobody looks for a server at {} any more",
            found.address
        )],
        object: found.clone(),
    }))
}
