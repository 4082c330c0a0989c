//! Certificates of servers: for the names under which they are reached, and good for nothing else.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::pki_types::DnsName;

use crate::{Authority, PkiError, PrivateKey};

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, then the authority's: whoever knows only the authority's fingerprint finds it
    /// there.
    pub chain_pem: String,
    /// Its key.
    pub key: PrivateKey,
}

impl Authority {
    /// A certificate and key for a server that is reached under these DNS names and IP addresses.
    pub fn issue_server(
        &self,
        names: &[String],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        let making = "the server's certificate";
        let names: Vec<_> = names
            .iter()
            .map(|name| alternative(name))
            .collect::<Result<_, _>>()?;
        if names.is_empty() {
            return Err(PkiError::NoServerName);
        }
        let mut params = self.template("accelnet server", lifetime, now)?;
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(PkiError::make(making))?;
        let certificate = self.sign(&params, &key, making)?;
        Ok(Identity {
            chain_pem: certificate + &self.certificate_pem(),
            key: PrivateKey::of(&key),
        })
    }
}

fn alternative(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let valid = DnsName::try_from(name).ok();
    let text = valid.and_then(|name| name.as_ref().to_owned().try_into().ok());
    text.map(SanType::DnsName)
        .ok_or_else(|| PkiError::ServerName {
            name: name
                .chars()
                .take(80)
                .flat_map(char::escape_default)
                .collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_no_server_is_called_by_is_refused() {
        let now = Timestamp::now();
        let authority = Authority::create(Uuid::from_u128(1), now).unwrap();
        let issue = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            authority.issue_server(&names, Duration::from_secs(60), now)
        };
        issue(&["node1", "node1.example.org", "10.0.0.1", "fd00::1"]).unwrap();
        assert!(matches!(issue(&[]), Err(PkiError::NoServerName)));
        for name in [
            "",
            "node1:7643",
            "[fd00::1]",
            "*.example.org",
            "knoten ü",
            "a\nb",
        ] {
            let refused = issue(&["node1", name]).unwrap_err();
            assert!(matches!(refused, PkiError::ServerName { .. }), "{name}");
            assert!(!refused.to_string().contains('\n'));
        }
    }
}
