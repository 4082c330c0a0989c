//! A backup of the cluster's state.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use axum::{
    body::Body,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};

use super::{NDJSON, Query, people::NoParameters};
use crate::{Server, audit::Asked, failure::Failure, people::Caller};

/// All of the state at one revision, as a file to be kept where nobody else can read it: the authority's private key
/// is in it. One JSON object a line; the last one is a checksum, without which the file is not whole.
#[utoipa::path(get, path = "/backup", tag = "cluster",
    responses((status = 200, description = "The file", body = String, content_type = "application/x-ndjson")))]
pub async fn take_backup(
    State(server): State<Server>,
    caller: Caller,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, Failure> {
    let lines = server.backup().await?;
    // Nothing was changed; but who has the keys is worth knowing.
    let asked = Asked {
        by: caller.actor,
        operation: "backup",
        subject: String::new(),
        dry_run: false,
    };
    server.record(&asked).await?;
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
}
