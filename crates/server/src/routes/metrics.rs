//! What Prometheus is told, for those who may read.

use axum::{extract::State, response::Response};

use crate::{Server, metrics::answer};

/// Beside the API: Prometheus looks for it at this path, and its text is none of the API's.
pub async fn show_metrics(State(server): State<Server>) -> Response {
    answer(server.metrics().await)
}
