//! A token as it is kept: what its bearer may do, and the hash by which it is known.

use accelnet_api::{Role, Token};
use accelnet_model::Name;
use accelnet_pki::SecretHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::Actor;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSpec {
    /// Whose it is.
    pub name: Name,
    /// What its bearer may do.
    pub role: Role,
    /// Of its secret, which is kept nowhere.
    pub hash: SecretHash,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub by: Actor,
    /// When it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl TokenSpec {
    /// Its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// What can be shown of it.
    pub fn shown(&self, now: Timestamp) -> Token {
        Token {
            name: self.name.clone(),
            role: self.role,
            created: self.created,
            created_by: self.by.to_string(),
            expires: self.expires,
            expired: self.is_over(now),
        }
    }
}
