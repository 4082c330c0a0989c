//! Adapters.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use accelnet_api::{Adapter, Items, WatchLine};
use accelnet_model::{Code, Name, Problem};
use axum::{extract::State, response::Response};

use super::{
    Condition, Listing, Path, Query,
    list::{self, Listed},
};
use crate::{
    Server,
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
    let look = async {
        let (wish, seen) = (server.wish().await?, server.seen());
        // What is no name is no node's.
        let known = node.parse().ok().and_then(|node: Name| seen.node(&node));
        let adapters = known.map(|node| view::adapters_of(&wish, node));
        let mut adapters = adapters.into_iter().flatten();
        let found = adapters.find(|adapter| adapter.status.facts.ifname.as_str() == name);
        found.ok_or_else(|| {
            let (shown_node, shown) = (printable(&node), printable(&name));
            let text = format!("Node '{shown_node}' has no adapter '{shown}'.");
            Problem::new(Code::AdapterNotFound, text).about("adapter", &name)
        })
    };
    condition.answer(look).await
}
