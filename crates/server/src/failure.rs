//! Problems as HTTP answers (RFC 9457).

use accelnet_api::ProblemDocument;
use accelnet_model::{Code, Problem};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};

/// Why a request was refused: at least one problem.
#[derive(Debug)]
pub struct Failure {
    problems: Vec<Problem>,
    /// HTTP's own status, where it has one for the case.
    status: Option<StatusCode>,
}

impl Failure {
    /// Something that HTTP has a status for.
    pub fn with_status(status: StatusCode, problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            status: Some(status),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        vec![problem].into()
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self {
            problems,
            status: None,
        }
    }
}

fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut problems = self.problems;
        if problems.is_empty() {
            let text = "A request was refused without a reason.";
            problems.push(Problem::new(Code::Internal, text));
        }
        let first = problems[0].clone();
        let status = self.status.unwrap_or_else(|| status(first.code));
        if status.is_server_error() {
            tracing::warn!(%first, %status, "a request failed");
        }
        let document = ProblemDocument {
            kind: format!("urn:accelnet:problem:{}", first.code),
            status: status.as_u16(),
            problem: first,
            problems: if problems.len() > 1 {
                problems
            } else {
                Vec::new()
            },
        };
        let mut response = (status, Json(document)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}
