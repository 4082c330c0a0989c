//! Problems as HTTP answers (RFC 9457).

use accelnet_api::ProblemDocument;
use accelnet_model::{Code, Problem};
use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
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

impl Failure {
    /// What was refused.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
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

/// Why an answer is a refusal, for what stands between the routes and the door.
#[derive(Debug, Clone)]
pub struct Why(pub Vec<Code>);

/// After so many seconds it is worth asking again; `None` where nothing changes by itself.
fn ask_again_after(code: Code) -> Option<u8> {
    match code {
        Code::ServerSettling | Code::ServerBusy => Some(1),
        Code::TooManyWatches => Some(5),
        _ => None,
    }
}

fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The body of an error.
pub fn document(status: StatusCode, mut problems: Vec<Problem>) -> ProblemDocument {
    if problems.is_empty() {
        let text = "A request was refused without a reason.";
        problems.push(Problem::new(Code::Internal, text));
    }
    let first = problems[0].clone();
    if problems.len() == 1 {
        problems.clear();
    }
    ProblemDocument {
        kind: format!("urn:accelnet:problem:{}", first.code),
        status: status.as_u16(),
        problem: first,
        problems,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problems = self.problems;
        let code = problems.first().map_or(Code::Internal, |first| first.code);
        let status = self.status.unwrap_or_else(|| status(code));
        let why = Why(problems.iter().map(|problem| problem.code).collect());
        let document = document(status, problems);
        if status.is_server_error() {
            tracing::warn!(first = %document.problem, %status, "a request failed");
        }
        let mut response = (status, Json(document)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        if let Some(seconds) = ask_again_after(code) {
            let seconds = HeaderValue::from(u16::from(seconds));
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response.extensions_mut().insert(why);
        if status == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer realm=\"accelnet\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, how);
        }
        response
    }
}
