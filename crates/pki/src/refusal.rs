//! Why a TLS connection did not come about, in words for people.
//!
//! Libraries wrap the reason several times on its way to whoever asked for the connection;
//! [`Refusal::of`] digs it out.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::Fingerprint;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server's chain does not end in the authority with the wanted fingerprint.
    #[error(
        "the server is not of the cluster whose authority has the fingerprint {wanted}: check address and \
         token; if both are right, somebody stands between. Nothing was sent"
    )]
    OtherAuthority {
        /// Which one was wanted.
        wanted: Fingerprint,
    },
    /// Signed by nobody whom we trust.
    #[error("the other side's certificate is not of this cluster's authority: check the address")]
    UnknownAuthority,
    /// Its time is over.
    #[error("the other side's certificate has expired: check the clocks of both machines")]
    Expired,
    /// Its time has not come.
    #[error("the other side's certificate is not valid yet: check the clocks of both machines")]
    NotYetValid,
    /// For other names than the one that was asked for.
    #[error(
        "the server's certificate is not for this name or address: use one that the server was given with \
         --address"
    )]
    OtherName,
    /// A node's certificate where a server's is needed, or the other way round.
    #[error("the other side's certificate is for another purpose: check the address")]
    OtherPurpose,
    /// A certificate that is wrong in another way.
    #[error("the other side's certificate is not accepted: {reason}")]
    Certificate {
        /// The library's word for it.
        reason: String,
    },
    /// The other side does not take our certificate.
    #[error(
        "the other side does not accept this machine's certificate ({reason}): it may have expired, or be \
         of another cluster; let the node join again"
    )]
    Ours {
        /// The alert that it sent.
        reason: String,
    },
    /// No common version.
    #[error("the other side does not speak TLS 1.3, which is needed here")]
    Version,
    /// Something else answers.
    #[error("what answers there does not speak TLS: check address and port")]
    NotTls,
}

impl Refusal {
    /// The reason within an error of a connection, if there is one.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self::of_tls(error);
            }
            // An I/O error's source is its content's source, not its content.
            let inner = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            next = match inner {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }

    fn of_tls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(error) => Some(Self::of_certificate(error)),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::PeerIncompatible(_) => Some(Self::Version),
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Some(Self::NotTls),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Other(other) => match other.0.downcast_ref::<Self>() {
                Some(refusal) => refusal.clone(),
                None => Self::Certificate {
                    reason: other.to_string(),
                },
            },
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::OtherPurpose
            }
            other => Self::Certificate {
                reason: other.to_string(),
            },
        }
    }

    fn of_alert(alert: AlertDescription) -> Option<Self> {
        match alert {
            AlertDescription::ProtocolVersion => Some(Self::Version),
            AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::BadCertificate
            // A signature that is wrong: of an authority that has another key.
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Some(Self::Ours {
                reason: format!("{alert:?}"),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a client's error")]
    struct Wrapped(#[source] io::Error);

    #[test]
    fn the_reason_is_found_however_deep_it_is() {
        let tls = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = Wrapped(io::Error::other(io::Error::other(tls)));
        assert_eq!(Refusal::of(&wrapped), Some(Refusal::UnknownAuthority));
        let plain = Wrapped(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(Refusal::of(&plain), None);
    }
}
