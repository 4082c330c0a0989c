//! Adapters.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use accelnet_api::{Adapter, Items, WatchLine};
use accelnet_model::{Code, Name, Problem};
use axum::{extract::State, response::Response};

use super::{Asking, Condition, Listing, Path, Query, stream};
use crate::{Server, apart::apart, audit::printable, failure::Failure, page::Page, view};

fn key(adapter: &Adapter) -> String {
    // A space comes before whatever else a name may have.
    format!("{} {}", adapter.node, adapter.status.facts.ifname)
}

async fn look(server: &Server, page: Page) -> Result<Items<Adapter>, Problem> {
    let (wish, seen) = (server.wish().await?, server.seen());
    Ok(apart(|| page.of(view::adapters(&wish, &seen), key)))
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
    match listing.asking()? {
        Asking::Page(page) => condition.answer(look(&server, page)).await,
        Asking::Watch(from) => {
            let reader = server.read(
                |boards| &boards.adapters,
                |wish, seen| {
                    let adapters = view::adapters(wish, seen).into_iter();
                    adapters.map(|adapter| (key(&adapter), adapter)).collect()
                },
                from.as_deref(),
            );
            Ok(stream::read(reader?))
        }
    }
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
