//! What a request carries: body, query, path and sender. Whatever is wrong with one of them is a
//! problem that names the field.

use std::{error::Error, num::NonZeroU32, time::Duration};

use accelnet_api::json;
use accelnet_model::{Code, Problem};
use axum::{
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use utoipa::IntoParams;

use crate::{
    audit::{Actor, Asked, printable},
    failure::Failure,
    page::Page,
    people::Caller,
};

/// No request of ours is larger than a few hundred bytes.
pub const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// Such a body is there at once, or it does not come.
const BODY_LIMIT: Duration = Duration::from_secs(30);

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
        let bytes = tokio::time::timeout(BODY_LIMIT, Bytes::from_request(request, state));
        let bytes = bytes.await.map_err(|_| {
            let seconds = BODY_LIMIT.as_secs();
            let problem = invalid(format!("The body did not come within {seconds} s."));
            Failure::with_status(StatusCode::REQUEST_TIMEOUT, problem)
        })?;
        let bytes = bytes.map_err(|error| {
            let problem = if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                invalid(format!("The body has more than {BODY_LIMIT_BYTES} bytes."))
            } else {
                invalid(format!("The body cannot be read: {}.", error.body_text()))
            };
            Failure::with_status(error.status(), problem)
        })?;
        parse(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    json::read(bytes).map_err(|refusal| {
        // The words of what was sent may be in it.
        let text = printable(&refusal.to_string());
        let problem = match refusal.field {
            Some(field) => invalid(format!("{text}.")).about("field", field),
            None => invalid(format!("The body cannot be understood: {text}.")),
        };
        if refusal.impossible {
            return problem.into();
        }
        Failure::with_status(StatusCode::BAD_REQUEST, problem)
    })
}

fn malformed(text: String) -> Failure {
    Failure::with_status(StatusCode::BAD_REQUEST, invalid(text))
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        // serde's words, which repeat what was sent, behind axum's.
        let mut cause: &dyn Error = &rejection;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let text = printable(&cause.to_string()).replace('`', "'");
        let text = text.replace("provided string was not", "it is not");
        malformed(format!("What follows '?' cannot be understood: {text}."))
    }
}

impl From<PathRejection> for Failure {
    fn from(_: PathRejection) -> Self {
        malformed("A part of the address is not UTF-8.".to_owned())
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
pub struct WatchFrom {
    /// Keep the connection and send what changes (NDJSON).
    #[param(required = false)]
    #[serde(deserialize_with = "flag")]
    watch: bool,
    /// Go on after this revision, which a line of a watch of the same list told, instead of sending
    /// everything first. 410 if that cannot be.
    from: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// Keep the connection and send what changes (NDJSON).
    #[param(required = false)]
    #[serde(deserialize_with = "flag")]
    watch: bool,
    /// Go on after this revision, which a line of a watch of the same list told, instead of sending
    /// everything first. 410 if that cannot be.
    from: Option<String>,
    /// So many elements at most.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4294967295_u32)]
    limit: Option<NonZeroU32>,
    /// Those after this: `next` of the page before.
    after: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// So many elements at most.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4294967295_u32)]
    limit: Option<NonZeroU32>,
    /// Those after this: `next` of the page before.
    after: Option<String>,
}

impl From<Paging> for Page {
    fn from(Paging { limit, after }: Paging) -> Self {
        Self { limit, after }
    }
}

/// What is on or off; people type 1 and 0, too.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match std::borrow::Cow::<str>::deserialize(deserializer)?.as_ref() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(D::Error::custom("it is 'true' or 'false'")),
    }
}

/// How a list is asked for.
pub enum Asking {
    /// A page of it, which may be all.
    Page(Page),
    /// What there is and what changes, or what has changed since a revision.
    Watch(Option<String>),
}

impl Listing {
    /// What is asked for.
    ///
    /// # Errors
    /// `invalid_argument` if these do not go together.
    pub fn asking(self) -> Result<Asking, Problem> {
        let page = Page {
            limit: self.limit,
            after: self.after,
        };
        asking(self.watch, self.from, page)
    }
}

impl WatchFrom {
    /// What is asked for.
    ///
    /// # Errors
    /// `invalid_argument` if these do not go together.
    pub fn asking(self) -> Result<Asking, Problem> {
        asking(self.watch, self.from, Page::default())
    }
}

/// What is asked for, if it goes together.
///
/// # Errors
/// `invalid_argument`.
pub fn asking(watch: bool, from: Option<String>, page: Page) -> Result<Asking, Problem> {
    match (watch, &from) {
        (false, Some(_)) => {
            Err(invalid("'from' is for a watch ('watch=true').").about("field", "from"))
        }
        (true, _) if page.limit.is_some() => {
            Err(invalid("A watch is of a whole list.").about("field", "limit"))
        }
        (true, _) if page.after.is_some() => {
            Err(invalid("A watch is of a whole list.").about("field", "after"))
        }
        (true, _) => Ok(Asking::Watch(from)),
        (false, None) => Ok(Asking::Page(page)),
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
            by: self.by.clone(),
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
        let Caller { actor: by, .. } = Caller::from_request_parts(parts, state).await?;
        Ok(Self { by, dry_run })
    }
}

#[cfg(test)]
mod tests {
    use accelnet_api::EnableRequest;

    use super::*;

    #[test]
    fn problems_repeat_no_control_characters() {
        let body = b"{\"intent\":\"a\",\"when\":\"\\u001b[31m\"}";
        let refused = |body: &[u8]| parse::<EnableRequest>(body).unwrap_err().into_problems();
        let problem = &refused(body)[0];
        assert!(!problem.detail.contains('\u{1b}'), "{problem:?}");
        // What programs compare is as it was sent.
        let body = b"{\"intent\":\"a\",\"\\u001b\":1}";
        let problem = &refused(body)[0];
        assert_eq!(problem.objects[0].name, "\u{1b}");
    }
}
