//! Answers that whoever asks may have already (RFC 9110, If-None-Match).
//!
//! An answer's tag is how often wish or reports had changed before it was made, with a number of this start of the
//! server. So nothing is computed to find that nothing has changed, and a tag that changed says no more than that
//! the answer may have.

use accelnet_model::Problem;
use axum::{
    Json,
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ETAG, IF_NONE_MATCH},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{Server, failure::Failure};

/// What an answer would be tagged with, and whether it is known already.
pub struct Condition {
    tag: HeaderValue,
    known: bool,
}

impl FromRequestParts<Server> for Condition {
    type Rejection = Failure;

    // Before anything is looked at: what changes meanwhile makes the tag too old, never too new.
    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Failure> {
        let (start, changes) = (server.shared.start, *server.shared.changes.borrow());
        let tag = format!("\"{start:x}.{changes}\"");
        let known = names(&parts.headers, &tag);
        let tag = HeaderValue::from_str(&tag).map_err(|error| {
            let text = format!("{error}.");
            Problem::new(accelnet_model::Code::Internal, text)
        })?;
        Ok(Self { tag, known })
    }
}

/// A condition names this tag, or any.
fn names(headers: &HeaderMap, tag: &str) -> bool {
    let conditions = headers.get_all(IF_NONE_MATCH).iter();
    let texts = conditions.filter_map(|condition| condition.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

impl Condition {
    /// The answer that this comes to, or that it is known already.
    pub async fn answer<T: Serialize>(
        self,
        look: impl Future<Output = Result<T, Problem>>,
    ) -> Result<Response, Failure> {
        let tag = [(ETAG, self.tag)];
        if self.known {
            return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
        }
        Ok((tag, Json(look.await?)).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_can_name_several_tags() {
        let named = |condition: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, condition.parse().unwrap());
            names(&headers, "\"a.1\"")
        };
        assert!(named("\"a.1\"") && named("W/\"a.1\"") && named("*"));
        assert!(named("\"b\", \"a.1\""));
        assert!(!named("\"a.11\"") && !named("a.1") && !named(""));
        assert!(!names(&HeaderMap::new(), "\"a.1\""));
    }
}
