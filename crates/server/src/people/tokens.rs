//! Tokens: made, shown, revoked. They are a part of what is wanted, so that each change is one of the line
//! and of the record, and holds at every server as soon as it is written.

use accelnet_api::{IssuedToken, TOKEN_TTL_MAX_S, Token, TokenRequest};
use accelnet_model::{Code, Name, Problem};
use accelnet_pki::AccessToken;
use jiff::{SignedDuration, Timestamp};

use crate::{
    Server,
    admission::Decided,
    audit::{Actor, Asked, printable},
    one,
    state::{TokenSpec, Wish, Write},
};

impl Server {
    /// Makes a token; its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// If it cannot be as asked for, or cannot be written.
    pub async fn issue_token(
        &self,
        by: Actor,
        request: &TokenRequest,
    ) -> Result<IssuedToken, Vec<Problem>> {
        let now = self.now();
        let expires = request.ttl_s.map(|seconds| end(now, seconds)).transpose();
        let expires = expires.map_err(one)?;
        let token = AccessToken::generate(request.name.clone())
            .map_err(|error| one(Problem::new(Code::Internal, format!("{error}."))))?;
        let spec = TokenSpec {
            name: request.name.clone(),
            role: request.role,
            hash: token.secret.hash(),
            created: now,
            by: by.clone(),
            expires,
        };
        let asked = Asked {
            by,
            operation: "token create",
            subject: format!("{} {}", request.name, request.role),
            dry_run: false,
        };
        let about = spec.shown(now);
        self.change(&asked, move |wish| create(wish, &spec, now))
            .await?;
        Ok(IssuedToken {
            about,
            token: token.reveal(),
        })
    }
}

/// When a token ends that is good for so long.
fn end(now: Timestamp, seconds: u64) -> Result<Timestamp, Problem> {
    let seconds = Some(seconds).filter(|seconds| (1..=TOKEN_TTL_MAX_S).contains(seconds));
    let seconds = seconds.and_then(|seconds| i64::try_from(seconds).ok());
    let end = seconds.and_then(|seconds| now.checked_add(SignedDuration::from_secs(seconds)).ok());
    end.ok_or_else(|| {
        let text = "A token is good for one second at least and ten years at most.";
        Problem::new(Code::InvalidArgument, text).about("field", "ttl_s")
    })
}

fn create(wish: &Wish, spec: &TokenSpec, now: Timestamp) -> Result<Decided, Vec<Problem>> {
    let name = &spec.name;
    let known = wish.tokens.get(name);
    if known.is_some_and(|known| !known.is_over(now)) {
        let text = format!("There is a token '{name}'.");
        return Err(one(
            Problem::new(Code::TokenExists, text).about("token", name)
        ));
    }
    let step = format!("make a token '{name}' with the role '{}'", spec.role);
    let write = Write::Token(spec.clone());
    Ok(Decided::one(write, vec![step]))
}

/// Revoking a token. The decision is about what it was.
pub fn revoke(wish: &Wish, name: &str, now: Timestamp) -> Result<Decided<Token>, Vec<Problem>> {
    let known = name
        .parse::<Name>()
        .ok()
        .and_then(|name| wish.tokens.get(&name));
    let Some(known) = known else {
        let text = format!("Nobody has a token '{}'.", printable(name));
        return Err(one(
            Problem::new(Code::TokenNotFound, text).about("token", name)
        ));
    };
    let step = format!("revoke token '{}'; it is refused from then on", known.name);
    let write = Write::NoToken(known.name.clone());
    Ok(Decided::one(write, vec![step]).about(known.shown(now)))
}

/// All tokens, without what is secret.
pub fn list(wish: &Wish, now: Timestamp) -> Vec<Token> {
    let all = wish.tokens.values();
    all.map(|known| known.shown(now)).collect()
}
