//! Problems as HTTP answers (RFC 9457).

use accelnet_api::ProblemDocument;
use accelnet_model::{Code, Problem, problem::exit};
use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};

/// Why a request was refused: at least one problem.
#[derive(Debug)]
pub struct Failure(Vec<Problem>);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

macro_rules! from_rejection {
    ($($rejection:ty),+) => {$(
        impl From<$rejection> for Failure {
            fn from(rejection: $rejection) -> Self {
                let text = rejection.body_text();
                Problem::new(Code::InvalidArgument, format!("{}.", text.trim_end_matches('.'))).into()
            }
        }
    )+};
}
from_rejection!(JsonRejection, PathRejection, QueryRejection);

fn status(code: Code) -> StatusCode {
    match (code, code.exit_code()) {
        (Code::Conflict, _) => StatusCode::CONFLICT,
        (_, exit::USAGE) => StatusCode::BAD_REQUEST,
        (_, exit::NOT_FOUND) => StatusCode::NOT_FOUND,
        (_, exit::PERMISSION) => StatusCode::FORBIDDEN,
        (_, exit::UNREACHABLE) => StatusCode::SERVICE_UNAVAILABLE,
        (_, exit::REFUSED) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut problems = self.0;
        if problems.is_empty() {
            problems.push(Problem::new(
                Code::Internal,
                "A request was refused without a reason.",
            ));
        }
        let first = problems[0].clone();
        let status = status(first.code);
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
        let kind = axum::http::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}
