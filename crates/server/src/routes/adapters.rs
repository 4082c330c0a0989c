//! Adapters.

use accelnet_api::{Adapter, Items};
use accelnet_model::{Code, Problem};
use axum::{Json, extract::State};

use super::{Answer, Path};
use crate::{Server, audit::printable, view};

/// All adapters of all nodes, with their VFs.
#[utoipa::path(get, path = "/adapters", tag = "adapters",
    responses((status = 200, description = "The adapters", body = Items<Adapter>)))]
pub async fn list_adapters(State(server): State<Server>) -> Answer<Items<Adapter>> {
    let items = view::adapters(&server.wish().await?, &server.seen());
    Ok(Json(Items { items }))
}

/// One adapter, by interface name.
#[utoipa::path(get, path = "/adapters/{node}/{name}", tag = "adapters",
    params(("node" = String, Path, description = "Its node"),
        ("name" = String, Path, description = "Its interface name")),
    responses((status = 200, description = "The adapter", body = Adapter)))]
pub async fn show_adapter(
    State(server): State<Server>,
    Path((node, name)): Path<(String, String)>,
) -> Answer<Adapter> {
    let adapters = view::adapters(&server.wish().await?, &server.seen());
    let mut adapters = adapters.into_iter();
    let found = adapters.find(|adapter| {
        adapter.node.as_str() == node && adapter.status.facts.ifname.as_str() == name
    });
    Ok(Json(found.ok_or_else(|| {
        let (shown_node, shown) = (printable(&node), printable(&name));
        let text = format!("Node '{shown_node}' has no adapter '{shown}'.");
        Problem::new(Code::AdapterNotFound, text).about("adapter", name)
    })?))
}
