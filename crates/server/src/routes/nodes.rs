//! Nodes as members of the cluster, and its servers.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use std::time::Duration;

use accelnet_api::{Items, JoinToken, JoinTokenRequest, NodeDetail, Outcome, ServerSummary};
use accelnet_model::{Code, Name, Problem};
use axum::{Json, extract::State};

use super::{Answer, Body, Change, Path};
use crate::{Server, apart::apart, audit, view};

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
    Path(name): Path<String>,
) -> Answer<NodeDetail> {
    let name = name_of(&name)?;
    let (wish, seen) = (server.wish().await?, server.seen());
    let known = seen.node(&name).ok_or_else(|| not_found(name.as_str()))?;
    let summary = apart(|| view::node(&wish, known));
    let membership = server.membership().ok();
    let member = membership.and_then(|membership| membership.hub.member(&name));
    Ok(Json(NodeDetail {
        summary,
        id: member.as_ref().map(|member| member.id),
        joined: member.map(|member| member.joined),
        certificate_expires: None,
        cordoned: false,
        draining: None,
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
    let Json(detail) = show_node(State(server.clone()), Path(name.clone())).await?;
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
        let removed = server.remove_node(&detail.summary.name).await;
        removed.inspect_err(|problem| audit::refused(&asked, std::slice::from_ref(problem)))?;
        server.record(&asked).await?;
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
    let server = membership
        .servers
        .first()
        .map_or("SERVER:PORT", String::as_str);
    let command = format!("accelnetd join https://{server} {token}");
    Ok(Json(JoinToken {
        token,
        expires,
        command,
    }))
}

/// The cluster's servers.
#[utoipa::path(get, path = "/servers", tag = "cluster",
    responses((status = 200, description = "The servers", body = Items<ServerSummary>)))]
pub async fn list_servers(State(server): State<Server>) -> Answer<Items<ServerSummary>> {
    Ok(Json(Items {
        items: server.servers(),
    }))
}
