//! What a request carries: body, query, path and sender. Whatever is wrong with one of them is a
//! problem that names the field.

use accelnet_model::{Code, Problem};
use axum::{
    body::Bytes,
    extract::{
        ConnectInfo, FromRequest, FromRequestParts, Request,
        connect_info::Connected,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
    serve::IncomingStream,
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::net::UnixListener;
use utoipa::IntoParams;

use crate::{
    audit::{Actor, Asked, printable},
    failure::Failure,
};

/// No request of ours is larger than a few hundred bytes.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidArgument, text)
}

/// A JSON body.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if !is_json(request.headers()) {
            let problem = invalid("The body is not said to be application/json.")
                .with_cure("Send the header 'Content-Type: application/json'.");
            return Err(Failure::with_status(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                problem,
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            let problem = if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                invalid(format!("The body has more than {BODY_LIMIT_BYTES} bytes."))
            } else {
                invalid(format!("The body cannot be read: {}.", error.body_text()))
            };
            Failure::with_status(error.status(), problem)
        })?;
        parse(&bytes).map(Self).map_err(Failure::from)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let reason = printable(&error.inner().to_string());
        if error.inner().is_data() && field != "." {
            let field = printable(&field);
            return invalid(format!("{field}: {reason}.")).about("field", field);
        }
        invalid(format!("The body cannot be understood: {reason}."))
    })?;
    json.end()
        .map_err(|_| invalid("The body goes on after its end."))?;
    Ok(value)
}

fn invalid_parts(text: &str) -> Failure {
    // serde's words, which repeat what was sent.
    let text = printable(text);
    invalid(format!("{}.", text.trim_end_matches('.'))).into()
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        invalid_parts(&rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        invalid_parts(&rejection.body_text())
    }
}

/// Parameters after `?`.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Failure))]
pub struct Query<T>(pub T);

/// A part of the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Failure))]
pub struct Path<T>(pub T);

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DryRun {
    /// Only show what would be done.
    #[param(required = false)]
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Watch {
    /// Keep the connection and send what changes (NDJSON).
    #[param(required = false)]
    pub watch: bool,
}

impl Connected<IncomingStream<'_, UnixListener>> for Actor {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let Ok(peer) = stream.io().peer_cred() else {
            return Self::default();
        };
        Self {
            uid: Some(peer.uid()),
            gid: Some(peer.gid()),
            pid: peer.pid(),
        }
    }
}

/// Who asks for a change, and whether for its plan only.
pub struct Change {
    by: Actor,
    dry_run: bool,
}

impl Change {
    /// This change, for the record.
    pub fn asked(&self, operation: &'static str, subject: &str) -> Asked {
        Asked {
            by: self.by,
            operation,
            subject: printable(subject),
            dry_run: self.dry_run,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Change {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(DryRun { dry_run }) = Query::from_request_parts(parts, state).await?;
        let sender = ConnectInfo::<Actor>::from_request_parts(parts, state).await;
        let by = sender.map_or_else(|_| Actor::default(), |ConnectInfo(by)| by);
        Ok(Self { by, dry_run })
    }
}

#[cfg(test)]
mod tests {
    use accelnet_api::EnableRequest;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_body_is_named_with_its_field() {
        for (body, words) in [
            (
                r#"{"intent":"a","node_reserve_percentage":3.5}"#,
                "node_reserve_percentage: ",
            ),
            (
                r#"{"intent":"a","node_reserve_percentage":"abc"}"#,
                "node_reserve_percentage: ",
            ),
            (r#"{"intent":"a","when":"soon"}"#, "when: unknown variant"),
            (r#"{"intent":"a","wen":"now"}"#, "unknown field `wen`"),
            (r#"{"intent":7}"#, "intent: "),
            ("{}", "missing field `intent`"),
            (r#"{"intent":"a"} x"#, "goes on after its end"),
            ("", "cannot be understood"),
            ("[", "cannot be understood"),
            ("\u{fffd}", "cannot be understood"),
        ] {
            let problem = parse::<EnableRequest>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code, Code::InvalidArgument, "{body}");
            assert!(problem.detail.contains(words), "{body}: {}", problem.detail);
        }
    }

    #[test]
    fn problems_repeat_no_control_characters() {
        let body = b"{\"intent\":\"a\",\"when\":\"\\u001b[31m\"}";
        let problem = parse::<EnableRequest>(body).unwrap_err();
        assert!(!problem.detail.contains('\u{1b}'), "{problem:?}");
    }
}
