//! Adapters.

use accelnet_api::{Adapter, Items};
use accelnet_model::{Code, Problem};
use axum::{Json, extract::State};

use super::{Answer, Path};
use crate::{Server, view};

/// All adapters of all nodes, with their VFs.
#[utoipa::path(get, path = "/adapters", responses((status = 200, body = Items<Adapter>)))]
pub async fn list(State(server): State<Server>) -> Answer<Items<Adapter>> {
    Ok(Json(Items {
        items: view::adapters(&server.wish().await?, &server.statuses()),
    }))
}

/// One adapter, by interface name.
#[utoipa::path(get, path = "/adapters/{node}/{name}", responses((status = 200, body = Adapter)))]
pub async fn show(
    State(server): State<Server>,
    Path((node, name)): Path<(String, String)>,
) -> Answer<Adapter> {
    let adapters = view::adapters(&server.wish().await?, &server.statuses());
    let found = adapters.into_iter().find(|adapter| {
        adapter.node.as_str() == node && adapter.status.facts.ifname.as_str() == name
    });
    let text = || {
        format!(
            "Node '{}' has no adapter '{}'.",
            node.escape_debug(),
            name.escape_debug()
        )
    };
    Ok(Json(found.ok_or_else(|| {
        Problem::new(Code::AdapterNotFound, text())
    })?))
}
