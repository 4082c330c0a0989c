//! People and programs: who they are, their tokens, what they did.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use std::{collections::BTreeMap, sync::Arc};

use accelnet_api::{
    AuditEntry, IssuedToken, Items, KnownBy, Outcome, Token, TokenRequest, WatchLine, WhoAmI,
};
use accelnet_model::{Code, Problem};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex;
use utoipa::IntoParams;

use super::{Answer, Body, Change, DryRun, Paging, Path, Query, stream};
use crate::{
    Server,
    audit::KEPT,
    failure::Failure,
    page::Page,
    people::{Caller, tokens},
};

/// Entries of the record that are shown if it is not said how many.
const SHOWN: u64 = 100;

/// Who the server takes the caller for, and what the caller may do.
#[utoipa::path(get, path = "/whoami", tag = "people",
    responses((status = 200, description = "The caller", body = WhoAmI)))]
pub async fn whoami(caller: Caller) -> Json<WhoAmI> {
    let name = match (&caller.actor.token, caller.by) {
        (Some(token), KnownBy::Token) => token.to_string(),
        _ => caller.actor.to_string(),
    };
    Json(WhoAmI {
        name,
        role: caller.role,
        by: caller.by,
        expires: caller.token.and_then(|token| token.expires),
    })
}

/// All tokens; their secrets are kept nowhere.
#[utoipa::path(get, path = "/tokens", tag = "people", params(Paging),
    responses((status = 200, description = "The tokens", body = Items<Token>)))]
pub async fn list_tokens(
    State(server): State<Server>,
    Query(paging): Query<Paging>,
) -> Answer<Items<Token>> {
    let items = tokens::list(&server.wish().await?, server.now());
    let key = |token: &Token| token.name.to_string();
    Ok(Json(Page::from(paging).of(items, key)))
}

/// There are none: what is meant as one (`dry_run`) must not be overlooked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

/// Makes a token. Its secret is in this answer, and can never be had again.
#[utoipa::path(post, path = "/tokens", tag = "people", request_body = TokenRequest,
    responses((status = 200, description = "The token", body = IssuedToken)))]
pub async fn create_token(
    State(server): State<Server>,
    caller: Caller,
    Query(NoParameters {}): Query<NoParameters>,
    Body(request): Body<TokenRequest>,
) -> Answer<IssuedToken> {
    Ok(Json(server.issue_token(caller.actor, &request).await?))
}

/// Revokes a token: it is refused from now on.
#[utoipa::path(delete, path = "/tokens/{name}", tag = "people",
    params(DryRun, ("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "What is done", body = Outcome<Token>)))]
pub async fn revoke_token(
    State(server): State<Server>,
    Path(name): Path<String>,
    change: Change,
) -> Answer<Outcome<Token>> {
    let asked = change.asked("token revoke", &name);
    let now = server.now();
    let decide = move |wish: &_| tokens::revoke(wish, &name, now);
    let changed = server.change(&asked, decide).await?;
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: changed.changed,
        plan: changed.plan,
        object: changed.about,
    }))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Audit {
    /// Only what was decided at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only so many, the newest.
    #[param(required = false, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u64>,
    /// Keep the connection and send what comes (NDJSON).
    #[param(required = false)]
    #[serde(deserialize_with = "super::extract::flag")]
    watch: bool,
}

/// The record of changes: the newest entries, the oldest of them first.
#[utoipa::path(get, path = "/audit", tag = "people", params(Audit), responses((status = 200,
    description = "Changes that were made", content((Items<AuditEntry> = "application/json"),
    (WatchLine<AuditEntry> = "application/x-ndjson")))))]
pub async fn list_audit(
    State(server): State<Server>,
    Query(query): Query<Audit>,
) -> Result<Response, Failure> {
    let limit = query.limit.unwrap_or(SHOWN);
    let limit = Some(limit).filter(|limit| (1..=KEPT).contains(limit));
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.ok_or_else(|| {
        let text = format!("'limit' is 1 to {KEPT}: so many entries are kept.");
        Problem::new(Code::InvalidArgument, text).about("field", "limit")
    })?;
    let all = server.shared.state.entries().await?;
    let mut items: Vec<AuditEntry> = all
        .into_iter()
        .map(|(number, entry)| entry.shown(number))
        .filter(|entry| query.since.is_none_or(|since| entry.at >= since))
        .collect();
    items.drain(..items.len().saturating_sub(limit));
    if !query.watch {
        return Ok(Json(Items::from(items)).into_response());
    }
    follow(server, items, query.since)
}

/// What is sent, and how much had been recorded when it was looked at.
struct Looked {
    recorded: Option<u64>,
    entries: BTreeMap<String, AuditEntry>,
}

/// These entries, then each that comes. The record is read again only when something was written.
fn follow(
    server: Server,
    first: Vec<AuditEntry>,
    since: Option<Timestamp>,
) -> Result<Response, Failure> {
    let key = |entry: &AuditEntry| format!("{:020}", entry.number);
    // An entry that came while the others were read has a later number than all of them; without any,
    // all are new.
    let from = first.last().map(|entry| entry.number + 1);
    let entries = first.into_iter().map(|entry| (key(&entry), entry));
    let looked = Arc::new(Mutex::new(Looked {
        recorded: None,
        entries: entries.collect(),
    }));
    let begun = server.now();
    stream::follow(server, stream::Ends::Never, move |server| {
        let looked = Arc::clone(&looked);
        Box::pin(async move {
            let mut looked = looked.lock().await;
            let recorded = Some(server.shared.state.recorded());
            if recorded != looked.recorded {
                let all = server.shared.state.entries().await?;
                let oldest = all.first().map(|(number, _)| *number);
                let new = |(number, entry)| {
                    let entry: AuditEntry = crate::audit::Entry::shown(&entry, number);
                    let new = match from {
                        Some(from) => number >= from,
                        None => entry.at >= begun,
                    };
                    let new = new && since.is_none_or(|since| entry.at >= since);
                    new.then(|| (key(&entry), entry))
                };
                looked.entries.extend(all.into_iter().filter_map(new));
                // Those that are no longer kept are forgotten here too.
                looked
                    .entries
                    .retain(|_, entry| oldest.is_none_or(|oldest| entry.number >= oldest));
                looked.recorded = recorded;
            }
            Ok(looked.entries.clone())
        })
    })
}
