//! Reading what a certificate says.

use jiff::Timestamp;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use crate::PkiError;

/// A certificate that was read, and whose it should be.
pub struct Certificate<'a> {
    pub x509: X509Certificate<'a>,
    wanted: &'static str,
}

impl<'a> Certificate<'a> {
    /// Reads one that should be the certificate of `wanted`.
    pub fn read(der: &'a [u8], wanted: &'static str) -> Result<Self, PkiError> {
        let reason = "it cannot be read";
        match X509Certificate::from_der(der) {
            Ok(([], x509)) => Ok(Self { x509, wanted }),
            _ => Err(PkiError::NotACertificateOf { wanted, reason }),
        }
    }

    /// A refusal of this certificate.
    pub fn is_not(&self, reason: &'static str) -> PkiError {
        let wanted = self.wanted;
        PkiError::NotACertificateOf { wanted, reason }
    }

    /// The only URI among its names.
    pub fn uri(&self) -> Result<&str, PkiError> {
        let names = self.x509.subject_alternative_name();
        let names = names.map_err(|_| self.is_not("its names cannot be read"))?;
        let mut uris = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        match (uris.next(), uris.next()) {
            (Some(uri), None) => Ok(uri),
            (None, _) => Err(self.is_not("it names no cluster")),
            _ => Err(self.is_not("it has several identities")),
        }
    }

    /// The only common name of its subject.
    pub fn common_name(&self) -> Result<&str, PkiError> {
        let mut names = self.x509.subject().iter_common_name();
        match (names.next().map(|name| name.as_str()), names.next()) {
            (Some(Ok(name)), None) => Ok(name),
            _ => Err(self.is_not("it has no name")),
        }
    }

    /// The last second of its life.
    pub fn expires(&self) -> Result<Timestamp, PkiError> {
        Timestamp::from_second(self.x509.validity().not_after.timestamp())
            .map_err(|_| self.is_not("its time cannot be read"))
    }
}
