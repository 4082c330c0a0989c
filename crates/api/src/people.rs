//! People and programs: who they are, what they may do, and what they did.

use std::{fmt, str::FromStr};

use accelnet_model::Name;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do; each may do what those before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything but tokens, and changes nothing.
    Viewer,
    /// Changes everything but tokens and which nodes there are.
    Operator,
    /// May do all.
    Admin,
}

impl Role {
    /// All, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a word is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are the roles viewer, operator and admin")]
pub struct NoRole;

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|role| role.as_str().eq_ignore_ascii_case(text));
        found.ok_or(NoRole)
    }
}

/// By what the server knows somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// The kernel vouches for who is at the local socket.
    Socket,
    /// A token.
    Token,
}

/// Answer of `GET /whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The token's name, or the local user.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// By what the server knows that.
    pub by: KnownBy,
    /// When the token ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// The longest that a token can be good for if it is said how long: ten years.
pub const TOKEN_TTL_MAX_S: u64 = 10 * 365 * 24 * 3600;

/// Body of `POST /tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Whose it is: a person or a program. Records call its bearer so.
    pub name: Name,
    /// What its bearer may do.
    pub role: Role,
    /// So many seconds it can be used, ten years at most; for ever if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 315360000)]
    pub ttl_s: Option<u64>,
}

/// A token, as it can be shown: nothing in it helps anybody to use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Whose it is.
    pub name: Name,
    /// What its bearer may do.
    pub role: Role,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
    /// Its time is over: it is refused.
    #[serde(default)]
    pub expired: bool,
}

/// A token that was just made, with its secret, which is shown this one time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuedToken {
    /// What can be shown of it later.
    #[serde(flatten)]
    pub about: Token,
    /// What its bearer sends.
    pub token: String,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("IssuedToken");
        shown.field("about", &self.about).finish_non_exhaustive()
    }
}

/// Who asked for something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Who {
    /// The same in words.
    pub name: String,
    /// Name of the token that was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Name>,
    /// User id on the machine where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The node where it was asked, if it came by a node's socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
}

/// What became of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was written. What was refused changed nothing, and is not recorded.
    Done,
}

/// One entry of the record of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Grows with each entry; some are missing.
    pub number: u64,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who asked.
    pub by: Who,
    /// The operation, e.g. `vm enable`.
    pub operation: String,
    /// What it was about and how, e.g. `web1 High`.
    pub subject: String,
    /// What became of it.
    pub outcome: AuditOutcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_is_more_than_those_before_it() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert_eq!("root".parse::<Role>(), Err(NoRole));
    }

    #[test]
    fn a_token_is_not_in_what_is_logged() {
        let issued = IssuedToken {
            about: Token {
                name: "alice".parse().unwrap(),
                role: Role::Admin,
                created: Timestamp::UNIX_EPOCH,
                created_by: "uid 0".to_owned(),
                expires: None,
                expired: false,
            },
            token: "accelnet-1.alice.secret".to_owned(),
        };
        assert!(!format!("{issued:?}").contains("secret"));
    }
}
