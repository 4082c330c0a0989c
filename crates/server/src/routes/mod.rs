//! HTTP: a file per noun.

mod acceleration;
mod adapters;
#[allow(unused_qualifications, reason = "utoipa's macro writes them")]
mod cluster;
mod intents;
mod stream;
mod vms;

use std::time::Duration;

use accelnet_model::{Code, Problem};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts},
    http::Uri,
    routing::get,
};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Server, failure::Failure};

/// No request of ours is larger than a few hundred bytes.
const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// A watch says that it lives this often.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

type Answer<T> = Result<Json<T>, Failure>;

/// A JSON body; what is wrong with it is a problem with its field.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(Failure))]
struct Body<T>(T);

/// Parameters after `?`.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Failure))]
struct Query<T>(T);

/// A part of the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Failure))]
struct Path<T>(T);

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
struct Change {
    /// Only show what would be done.
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
struct Watch {
    /// Keep the connection and send the object again whenever it changes (NDJSON).
    watch: bool,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "accelnet",
    description = "Accelerated networking for KVM clusters. Errors are application/problem+json.",
    license(name = "Apache-2.0 OR MIT")
))]
struct Document;

fn documented() -> OpenApiRouter<Server> {
    let api = OpenApiRouter::new()
        .routes(routes!(cluster::status))
        .routes(routes!(cluster::prereq))
        .routes(routes!(cluster::nodes))
        .routes(routes!(acceleration::enable, acceleration::disable))
        .routes(routes!(intents::list, intents::add))
        .routes(routes!(intents::show, intents::remove))
        .routes(routes!(vms::list))
        .routes(routes!(vms::show))
        .routes(routes!(vms::accelerate, vms::decelerate))
        .routes(routes!(vms::prepare))
        .routes(routes!(adapters::list))
        .routes(routes!(adapters::show));
    OpenApiRouter::with_openapi(Document::openapi()).nest(accelnet_api::BASE, api)
}

/// The OpenAPI document of what is served.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().split_for_parts().1
}

/// All routes.
pub fn router(server: Server) -> Router {
    let (router, document) = documented().split_for_parts();
    let path = format!("{}/openapi.json", accelnet_api::BASE);
    router
        .route(&path, get(move || std::future::ready(Json(document))))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(server)
}

async fn nothing_here(method: axum::http::Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(Code::NotFound, format!("{method} {path} is not served.")).into()
}
