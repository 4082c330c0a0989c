//! HTTP: a file per noun.

mod acceleration;
mod adapters;
mod agents;
mod backup;
mod capacity;
mod cluster;
mod conditional;
mod document;
mod extract;
mod health;
mod intents;
mod list;
mod metrics;
mod nodes;
mod people;
mod stream;
mod vms;

use accelnet_model::{Code, Problem};
use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode, Uri},
    middleware::from_fn_with_state,
    routing::get,
};
use conditional::Condition;
pub use document::openapi;
use extract::{
    Asking, BODY_LIMIT_BYTES, Body, Change, DryRun, Listing, Paging, Path, Query, WatchFrom,
};
pub use nodes::goes_down;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Server, audit::printable, failure::Failure, metrics::counted, people::authorized,
    settling::ask_again,
};

/// Lines of JSON, which a watch sends.
pub const NDJSON: &str = "application/x-ndjson";

type Answer<T> = Result<Json<T>, Failure>;

/// Every route that is documented: all but the document itself.
fn api() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .routes(routes!(cluster::show_status))
        .routes(routes!(cluster::check_prerequisites))
        .routes(routes!(cluster::list_nodes))
        .routes(routes!(
            acceleration::enable_acceleration,
            acceleration::set_acceleration,
            acceleration::disable_acceleration
        ))
        .routes(routes!(intents::list_intents, intents::add_intent))
        .routes(routes!(
            intents::show_intent,
            intents::change_intent,
            intents::remove_intent
        ))
        .routes(routes!(vms::list_vms))
        .routes(routes!(vms::show_vm))
        .routes(routes!(vms::explain_vm))
        .routes(routes!(vms::enable_vm, vms::disable_vm))
        .routes(routes!(vms::park_vm, vms::unpark_vm))
        .routes(routes!(vms::move_vm))
        .routes(routes!(vms::prepare_vm))
        .routes(routes!(capacity::show_capacity))
        .routes(routes!(capacity::show_places))
        .routes(routes!(adapters::list_adapters))
        .routes(routes!(adapters::show_adapter))
        .routes(routes!(adapters::isolate_adapter))
        .routes(routes!(adapters::release_adapter))
        .routes(routes!(nodes::show_node, nodes::remove_node))
        .routes(routes!(nodes::drain_node))
        .routes(routes!(nodes::uncordon_node))
        .routes(routes!(nodes::create_join_token))
        .routes(routes!(nodes::list_servers))
        .routes(routes!(nodes::remove_server))
        .routes(routes!(backup::take_backup))
        .routes(routes!(people::whoami))
        .routes(routes!(people::list_tokens, people::create_token))
        .routes(routes!(people::revoke_token))
        .routes(routes!(people::list_audit))
        .routes(routes!(health::list_faults))
        .routes(routes!(health::show_fault))
        .routes(routes!(health::acknowledge_fault))
        .routes(routes!(health::mute_fault, health::unmute_fault))
        .routes(routes!(health::list_events))
}

/// All routes, for requests that come with their [`Sender`](crate::Sender), of those who may ask.
pub fn service(server: Server) -> Router {
    let (router, document) = document::documented(api());
    let path = format!("{}/openapi.json", accelnet_api::BASE);
    router
        .route(&path, get(move || std::future::ready(Json(document))))
        .route(accelnet_api::metrics::PATH, get(metrics::show_metrics))
        .fallback(nothing_here)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(from_fn_with_state(server.clone(), ask_again))
        .layer(from_fn_with_state(server.clone(), authorized))
        // Nodes show certificates, not tokens.
        .merge(agents::router())
        .layer(from_fn_with_state(server.clone(), counted))
        .with_state(server)
}

async fn nothing_here(uri: Uri) -> Failure {
    let text = format!("Nothing is at {}.", printable(uri.path()));
    Problem::new(Code::NotFound, text).into()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    let (method, path) = (printable(method.as_str()), printable(uri.path()));
    let text = format!("{method} is not possible at {path}.");
    let problem = Problem::new(Code::InvalidArgument, text)
        .with_cure("See /api/v1/openapi.json for what is.");
    Failure::with_status(StatusCode::METHOD_NOT_ALLOWED, problem)
}
