//! Secrets: 256 random bits that do not show themselves, kept by the other side as their hash.
//!
//! Nobody can try all of 256 bits, so a quick hash is enough, and a leaked store gives no secret away.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{PkiError, hex, random};

/// 32 random bytes. Compared in constant time, shown by [`Secret::reveal`] only.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new one.
    pub fn generate() -> Result<Self, PkiError> {
        Ok(Self(random::bytes()?))
    }

    /// What is kept of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0).into())
    }

    /// The secret itself in base64url, for the one place where it is handed out.
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What is wrong with it, if anything is; without repeating it.
    pub(crate) fn read(text: &str) -> Result<Self, &'static str> {
        bytes(text).map(Self)
    }
}

/// 32 bytes of base64url.
pub(crate) fn bytes(text: &str) -> Result<[u8; 32], &'static str> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !text.bytes().all(letter) {
        return Err("there are characters in it that no token has");
    }
    match text.len() {
        43 => (),
        ..43 => return Err("a part of it is missing"),
        _ => return Err("there is more than a token"),
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or("its last characters are wrong")
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The SHA-256 of a [`Secret`]. Compared in constant time.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// This secret is the one.
    pub fn is_of(&self, secret: &Secret) -> bool {
        *self == secret.hash()
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&self.0))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SecretHash {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        Ok(Self(hex::decode(text).ok_or(PkiError::NotAHash)?))
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for SecretHash {
    type Error = PkiError;

    fn try_from(text: String) -> Result<Self, PkiError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash_and_does_not_show() {
        let (secret, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let hash = secret.hash();
        assert!(hash.is_of(&secret) && !hash.is_of(&other));
        assert!(secret == secret.clone() && secret != other);
        let shown = format!("{secret:?} {secret} {:?}", hash);
        assert!(!shown.contains(&secret.reveal()));
        let kept = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<SecretHash>(&kept).unwrap(), hash);
        assert!(serde_json::from_str::<SecretHash>("\"x\"").is_err());
    }
}
