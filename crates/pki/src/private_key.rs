//! A private key that does not show itself.

use std::fmt;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

use crate::PkiError;

/// A private key in its PEM form (PKCS #8).
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(String);

impl PrivateKey {
    /// The key in this text, which must hold one.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes());
        let wanted = "private key";
        let der = der.map_err(|_| PkiError::Pem { wanted })?;
        // What else stands there does not belong to it.
        let block = pem::Pem::new("PRIVATE KEY", der.secret_pkcs8_der());
        Ok(Self(pem::encode_config(&block, crate::pem_text::LINES)))
    }

    /// Its PEM form: to be written where only its owner can read it, and nowhere else.
    pub fn pem(&self) -> &str {
        &self.0
    }

    pub(crate) fn of(pair: &rcgen::KeyPair) -> Self {
        Self(pair.serialize_pem())
    }

    pub(crate) fn pair(&self) -> Result<rcgen::KeyPair, PkiError> {
        // The library's words are left out: nothing about a key's content belongs in an error.
        let wanted = "private key that this version can use";
        rcgen::KeyPair::from_pem(&self.0).map_err(|_| PkiError::Pem { wanted })
    }

    pub(crate) fn der(&self) -> Result<PrivateKeyDer<'static>, PkiError> {
        let wanted = "private key";
        PrivateKeyDer::from_pem_slice(self.0.as_bytes()).map_err(|_| PkiError::Pem { wanted })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}
