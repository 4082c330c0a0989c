//! Faults and events.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use accelnet_api::{
    AcknowledgeRequest, Event, EventKind, Items, MUTE_MAX_S, MuteRequest, Outcome, WatchLine,
};
use accelnet_model::{Code, Fault, FaultSeverity, Problem};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{
    Answer, Body, Change, Condition, Listing, Path, Query,
    list::{self, Listed},
    stream,
};
use crate::{
    Server,
    audit::{self, Asked, KEPT, printable},
    boards::{Boards, Slot},
    failure::Failure,
    health,
    reports::Seen,
    state::{Wish, health::EVENTS_KEPT},
    whereabouts,
};

/// Events that are shown if nobody says how many.
const SHOWN: u64 = 100;
/// As many as there can be, with the record of changes.
const MOST: u64 = EVENTS_KEPT + KEPT;

impl Listed for Fault {
    fn all(_: &Wish, seen: &Seen) -> Vec<Self> {
        seen.faults.to_vec()
    }

    /// The worst first, of these the oldest.
    fn key(&self) -> String {
        let rank = match self.severity {
            FaultSeverity::Critical => 0,
            FaultSeverity::Warning => 1,
            FaultSeverity::Notice => 2,
        };
        format!("{rank} {:020} {}", self.since.as_millisecond(), self.id)
    }

    fn slot(boards: &Boards) -> &Slot<Self> {
        &boards.faults
    }
}

/// Open faults: the worst first, of these the oldest.
#[utoipa::path(get, path = "/faults", tag = "health", params(Listing), responses((status = 200,
    description = "The open faults", content((Items<Fault> = "application/json"),
    (WatchLine<Fault> = "application/x-ndjson")))))]
pub async fn list_faults(
    State(server): State<Server>,
    condition: Condition,
    Query(listing): Query<Listing>,
) -> Result<Response, Failure> {
    list::answer::<Fault>(&server, condition, listing).await
}

/// One open fault.
#[utoipa::path(get, path = "/faults/{id}", tag = "health", params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The fault", body = Fault)))]
pub async fn show_fault(
    State(server): State<Server>,
    condition: Condition,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let look = async {
        let seen = server.seen();
        let found = seen.faults.iter().find(|fault| fault.id == id);
        found.cloned().ok_or_else(|| {
            let text = format!("No open fault has the id '{}'.", printable(&id));
            Problem::new(Code::FaultNotFound, text)
        })
    };
    condition.answer(look).await
}

/// Says that somebody knows of a fault. It ends with the fault.
#[utoipa::path(post, path = "/faults/{id}/acknowledge", tag = "health", request_body = AcknowledgeRequest,
    params(("id" = String, Path, description = "Its id"), super::DryRun),
    responses((status = 200, description = "The fault after it", body = Outcome<Fault>)))]
pub async fn acknowledge_fault(
    State(server): State<Server>,
    Path(id): Path<String>,
    change: Change,
    Body(request): Body<AcknowledgeRequest>,
) -> Answer<Outcome<Fault>> {
    let asked = asked(&server, &change, "fault acknowledge", &id);
    let note = request.note;
    marked(
        &server,
        &id,
        &asked,
        "somebody knows of it",
        |fault, asked, now| {
            health::acknowledge(fault, asked, now, note.as_deref());
        },
    )
    .await
}

/// Mutes a fault for a while, also when it closes and opens again meanwhile.
#[utoipa::path(post, path = "/faults/{id}/mute", tag = "health", request_body = MuteRequest,
    params(("id" = String, Path, description = "Its id"), super::DryRun),
    responses((status = 200, description = "The fault after it", body = Outcome<Fault>)))]
pub async fn mute_fault(
    State(server): State<Server>,
    Path(id): Path<String>,
    change: Change,
    Body(request): Body<MuteRequest>,
) -> Answer<Outcome<Fault>> {
    if !(1..=MUTE_MAX_S).contains(&request.for_s) {
        let text = format!("A fault can be muted for 1 to {MUTE_MAX_S} s.");
        let problem = Problem::new(Code::InvalidArgument, text).about("field", "for_s");
        return Err(problem.into());
    }
    let length = Duration::from_secs(request.for_s);
    let asked = asked(&server, &change, "fault mute", &id);
    marked(
        &server,
        &id,
        &asked,
        "it is not told for a while",
        |fault, asked, now| {
            health::mute(fault, asked, now, length, request.note.as_deref());
        },
    )
    .await
}

/// Ends the mute of a fault.
#[utoipa::path(delete, path = "/faults/{id}/mute", tag = "health",
    params(("id" = String, Path, description = "Its id"), super::DryRun),
    responses((status = 200, description = "The fault after it", body = Outcome<Fault>)))]
pub async fn unmute_fault(
    State(server): State<Server>,
    Path(id): Path<String>,
    change: Change,
) -> Answer<Outcome<Fault>> {
    let asked = asked(&server, &change, "fault unmute", &id);
    marked(&server, &id, &asked, "it is told again", |fault, _, _| {
        fault.muted = None;
    })
    .await
}

/// For the record: the fault in words, as far as it is known.
fn asked(server: &Server, change: &Change, operation: &'static str, id: &str) -> Asked {
    let seen = server.seen();
    let known = seen.faults.iter().find(|fault| fault.id == id);
    let subject = known.map(|fault| format!("{id} {} {}", fault.code, fault.object.name));
    change.asked(operation, subject.as_deref().unwrap_or(id))
}

async fn marked(
    server: &Server,
    id: &str,
    asked: &Asked,
    plan: &str,
    mark: impl FnOnce(&mut Fault, &Asked, Timestamp),
) -> Answer<Outcome<Fault>> {
    let marked = server.mark_fault(id, asked, mark).await;
    let (object, changed) = marked.inspect_err(|problem| {
        audit::refused(asked, std::slice::from_ref(problem));
    })?;
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed,
        plan: vec![plan.to_owned()],
        object,
    }))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Asking {
    /// Only what was noticed at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only so many, the newest.
    #[param(required = false, minimum = 1, maximum = 2000, default = 100)]
    limit: Option<u64>,
    /// Keep the connection and send what comes (NDJSON).
    #[param(required = false)]
    #[serde(deserialize_with = "super::extract::flag")]
    watch: bool,
}

/// What happened: faults that opened and closed, VMs that changed their path or their node, servers that took over, and
/// what people asked for. The newest, the oldest of them first.
#[utoipa::path(get, path = "/events", tag = "health", params(Asking), responses((status = 200,
    description = "What happened", content((Items<Event> = "application/json"),
    (WatchLine<Event> = "application/x-ndjson")))))]
pub async fn list_events(
    State(server): State<Server>,
    Query(query): Query<Asking>,
) -> Result<Response, Failure> {
    let limit = query.limit.unwrap_or(SHOWN);
    let limit = Some(limit).filter(|limit| (1..=MOST).contains(limit));
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.ok_or_else(|| {
        let text = format!("'limit' is 1 to {MOST}: so many are kept.");
        Problem::new(Code::InvalidArgument, text).about("field", "limit")
    })?;
    // Looked at before: what comes meanwhile is in both, and told once.
    let next_event = server.shared.health.next_event();
    let mut items = events(&server).await?;
    let entries = items
        .iter()
        .filter_map(number)
        .filter(|(kind, _)| *kind != 'e');
    let from = (
        next_event,
        entries.map(|(_, number)| number + 1).max().unwrap_or(0),
    );
    items.retain(|event| query.since.is_none_or(|since| event.at >= since));
    items.drain(..items.len().saturating_sub(limit));
    if !query.watch {
        return Ok(Json(Items::from(items)).into_response());
    }
    follow(server, items, from)
}

/// All that are kept, with the record of changes, in the order of their times.
async fn events(server: &Server) -> Result<Vec<Event>, Problem> {
    let mut all = server.shared.health.events();
    let changes = server.shared.state.entries().await?;
    let (wish, seen) = (server.shared.told.newest(), server.seen());
    all.extend(changes.into_iter().map(|(number, entry)| Event {
        id: format!("a{number}"),
        at: entry.at,
        kind: EventKind::Asked,
        by: Some(entry.by.to_string()),
        object: None,
        text: format!(
            "{} {}",
            entry.operation,
            with_name(wish.as_ref(), &seen, &entry.subject)
        ),
        fault: None,
        code: None,
        severity: None,
        since: None,
        muted: false,
    }));
    // Those of one time stay as they are: each kind is in its order.
    all.sort_by_key(|event| event.at);
    Ok(all)
}

/// A VM that was asked for by its UUID, as the command line does, is told by its name.
fn with_name(wish: Option<&Wish>, seen: &Seen, subject: &str) -> String {
    let (word, rest) = subject.split_at(subject.find(' ').unwrap_or(subject.len()));
    let Ok(uuid) = Uuid::try_parse(word) else {
        return subject.to_owned();
    };
    let place = whereabouts::of(seen, uuid);
    let spec = || Some(wish?.specs.get(uuid)?.name.as_str());
    let name = place.as_ref().map(|place| place.name()).or_else(spec);
    format!("{}{rest}", name.unwrap_or(word))
}

/// Numbers of the next event, and of the next entry of the record.
type Next = (u64, u64);

/// What is sent, and how much there was when it was looked at.
struct Looked {
    /// The next event's number, and how much had been recorded.
    seen: Option<(u64, u64)>,
    sent: BTreeMap<String, Event>,
}

/// These events, then each that comes. The record is read again only when something was written to it.
fn follow(server: Server, first: Vec<Event>, from: Next) -> Result<Response, Failure> {
    let looked = Arc::new(Mutex::new(Looked {
        seen: None,
        sent: first.into_iter().map(keyed).collect(),
    }));
    stream::follow(server, stream::Ends::Never, move |server| {
        let looked = Arc::clone(&looked);
        Box::pin(async move {
            let mut looked = looked.lock().await;
            let shared = &server.shared;
            let now = Some((shared.health.next_event(), shared.state.recorded()));
            if now != looked.seen {
                let all = events(&server).await?.into_iter();
                let all: BTreeMap<String, Event> = all.map(keyed).collect();
                // Those that are no longer kept are forgotten here too.
                looked.sent.retain(|key, _| all.contains_key(key));
                // What came before the first look, and was not asked for, is not told.
                let (events, entries) = from;
                let new = all.into_iter().filter(|(_, event)| {
                    number(event).is_some_and(|(kind, number)| match kind {
                        'e' => number >= events,
                        _ => number >= entries,
                    })
                });
                // What was sent is not sent again when its VM has another name.
                for (key, event) in new {
                    looked.sent.entry(key).or_insert(event);
                }
                looked.seen = now;
            }
            Ok(looked.sent.clone())
        })
    })
}

/// What it is of, and its number there.
fn number(event: &Event) -> Option<(char, u64)> {
    let kind = event.id.chars().next()?;
    Some((kind, event.id.get(1..)?.parse().ok()?))
}

/// In the order of their times, and no two the same.
fn keyed(event: Event) -> (String, Event) {
    (
        format!("{:020} {}", event.at.as_microsecond(), event.id),
        event,
    )
}
