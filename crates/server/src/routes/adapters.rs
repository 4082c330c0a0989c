//! Adapters.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use accelnet_api::{Adapter, IsolateRequest, Items, Outcome, WatchLine};
use accelnet_model::{Code, Isolated, Name, Problem};
use axum::{Json, extract::State, response::Response};
use tokio::time::Instant;

use super::{
    Answer, Body, Change, Condition, Listing, Path, Query,
    list::{self, Listed},
};
use crate::{
    LOOK_LIMIT, Server,
    admission::{self, Why},
    audit::printable,
    boards::{Boards, Slot},
    failure::Failure,
    reports::Seen,
    state::Wish,
    view,
};

impl Listed for Adapter {
    fn all(wish: &Wish, seen: &Seen) -> Vec<Self> {
        view::adapters(wish, seen)
    }

    fn key(&self) -> String {
        // A space comes before whatever else a name may have.
        format!("{} {}", self.node, self.status.facts.ifname)
    }

    fn slot(boards: &Boards) -> &Slot<Self> {
        &boards.adapters
    }
}

/// All adapters of all nodes, with their VFs.
#[utoipa::path(get, path = "/adapters", tag = "adapters", params(Listing), responses((status = 200,
    description = "The adapters", content((Items<Adapter> = "application/json"),
    (WatchLine<Adapter> = "application/x-ndjson")))))]
pub async fn list_adapters(
    State(server): State<Server>,
    condition: Condition,
    Query(listing): Query<Listing>,
) -> Result<Response, Failure> {
    list::answer::<Adapter>(&server, condition, listing).await
}

/// One adapter, by interface name.
#[utoipa::path(get, path = "/adapters/{node}/{name}", tag = "adapters",
    params(("node" = String, Path, description = "Its node"),
        ("name" = String, Path, description = "Its interface name")),
    responses((status = 200, description = "The adapter", body = Adapter)))]
pub async fn show_adapter(
    State(server): State<Server>,
    condition: Condition,
    Path((node, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    condition.answer(look(&server, &node, &name)).await
}

async fn look(server: &Server, node: &str, name: &str) -> Result<Adapter, Problem> {
    let (wish, seen) = (server.wish().await?, server.seen());
    one(&wish, &seen, node, name)
}

fn one(wish: &Wish, seen: &Seen, node: &str, name: &str) -> Result<Adapter, Problem> {
    // What is no name is no node's.
    let known = node.parse().ok().and_then(|node: Name| seen.node(&node));
    let adapters = known.map(|node| view::adapters_of(wish, node));
    let mut adapters = adapters.into_iter().flatten();
    let found = adapters.find(|adapter| adapter.status.facts.ifname.as_str() == name);
    found.ok_or_else(|| not_found(node, name))
}

fn not_found(node: &str, name: &str) -> Problem {
    let (shown_node, shown) = (printable(node), printable(name));
    let text = format!("Node '{shown_node}' has no adapter '{shown}'.");
    Problem::new(Code::AdapterNotFound, text).about("adapter", name)
}

/// Takes an adapter out of the pool: none of its VFs is given out until it is let back. VMs that have one go to another
/// adapter of the node, one after the other.
#[utoipa::path(post, path = "/adapters/{node}/{name}/isolate", tag = "adapters",
    params(super::DryRun, ("node" = String, Path, description = "Its node"),
        ("name" = String, Path, description = "Its interface name")),
    request_body = IsolateRequest,
    responses((status = 200, description = "What is done", body = Outcome<Adapter>)))]
pub async fn isolate_adapter(
    State(server): State<Server>,
    Path((node, name)): Path<(String, String)>,
    change: Change,
    Body(request): Body<IsolateRequest>,
) -> Answer<Outcome<Adapter>> {
    let on: Name = node.parse().map_err(|_| not_found(&node, &name))?;
    let asked = change.asked("adapter isolate", &format!("{node}/{name}"));
    // Whether another adapter can take its place is judged by what is now.
    let known = server.seen().node(&on).is_some();
    if known {
        let until = Instant::now() + LOOK_LIMIT;
        server.refresh_these(std::slice::from_ref(&on), until).await;
    }
    let because = request.because.filter(|words| !words.trim().is_empty());
    let why = Why {
        detection: None,
        because: match because {
            Some(because) => format!("{because} ({})", asked.by),
            None => format!("{} asked for it", asked.by),
        },
    };
    let (looking, adapter, by) = (server.clone(), name.clone(), asked.clone());
    let changed = server
        .change(&asked, move |wish| {
            let (seen, now) = (looking.seen(), looking.now());
            admission::isolate(wish, &seen, (&on, &adapter), &why, (&by, now))
        })
        .await?;
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: changed.changed,
        plan: changed.plan,
        object: one(&changed.wish, &server.seen(), &node, &name)?,
    }))
}

/// Lets an adapter back into the pool. The fault that it was taken out for closes, and what led to it counts anew.
#[utoipa::path(post, path = "/adapters/{node}/{name}/release", tag = "adapters",
    params(super::DryRun, ("node" = String, Path, description = "Its node"),
        ("name" = String, Path, description = "Its interface name, now or when it was taken out")),
    responses((status = 200, description = "What was taken back", body = Outcome<Isolated>)))]
pub async fn release_adapter(
    State(server): State<Server>,
    Path((node, name)): Path<(String, String)>,
    change: Change,
) -> Answer<Outcome<Isolated>> {
    let on: Name = node.parse().map_err(|_| not_found(&node, &name))?;
    let asked = change.asked("adapter release", &format!("{node}/{name}"));
    if !asked.dry_run {
        // First: a fault that is open would have it taken out again.
        let (wish, seen) = (server.wish().await?, server.seen());
        if let Ok(decided) = admission::release(&wish, &seen, (&on, &name)) {
            server.adapter_is_cured(&decided.about).await;
        }
    }
    let (looking, adapter) = (server.clone(), name);
    let changed = server
        .change(&asked, move |wish| {
            admission::release(wish, &looking.seen(), (&on, &adapter))
        })
        .await?;
    Ok(Json(Outcome {
        dry_run: asked.dry_run,
        changed: changed.changed,
        plan: changed.plan,
        object: changed.about,
    }))
}
