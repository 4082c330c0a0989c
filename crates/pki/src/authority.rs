//! A cluster's certificate authority.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use rustls::pki_types::CertificateDer;
use uuid::Uuid;

use crate::{
    Fingerprint, PkiError, PrivateKey, identity_uri, pem_text, read::Certificate, template,
};

/// How long an authority lives: 20 years of 365 days. Nodes and clients know it by its fingerprint, so
/// its end protects nobody, and would be the end of a cluster whose certificates renew themselves.
const LIFETIME: Duration = Duration::from_secs(20 * 365 * 86_400);

const WHOSE: &str = "a cluster's authority";

/// The authority of one cluster. Whoever has it can be any server and any node of the cluster.
pub struct Authority {
    cluster: Uuid,
    expires: Timestamp,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// An authority as text, to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityPem {
    /// Its certificate, which may be shown to everybody.
    pub certificate: String,
    /// Its key, which only servers may see.
    pub key: PrivateKey,
}

impl Authority {
    /// A new one.
    pub fn create(cluster: Uuid, now: Timestamp) -> Result<Self, PkiError> {
        let making = "the cluster's authority";
        let expires = now.checked_add(LIFETIME);
        let expires = expires.map_err(|_| PkiError::Clock { now })?;
        let mut params = template::certificate(&format!("accelnet {cluster}"), now, expires)?;
        // It signs what servers and nodes show, and no other authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let uri = identity_uri::cluster(cluster).try_into();
        let uri = uri.map_err(PkiError::make(making))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let key = KeyPair::generate().map_err(PkiError::make(making))?;
        let certificate = params.self_signed(&key).map_err(PkiError::make(making))?;
        Self::from_pem(&AuthorityPem {
            certificate: pem_text::certificate(certificate.der()),
            key: PrivateKey::of(&key),
        })
    }

    /// One that was kept. Certificate and key must belong together, and be an authority's.
    pub fn from_pem(kept: &AuthorityPem) -> Result<Self, PkiError> {
        let mut certificates = pem_text::certificates(&kept.certificate)?;
        let key = kept.key.pair()?;
        let der = certificates.swap_remove(0);
        let read = Certificate::read(&der, WHOSE)?;
        if !certificates.is_empty() {
            return Err(read.is_not("there are several in the text"));
        }
        let uri = read.uri()?;
        let cluster = identity_uri::parse_cluster(uri);
        let cluster = cluster.ok_or_else(|| read.is_not("it names no cluster"))?;
        if !read.x509.is_ca() {
            return Err(read.is_not("it may not sign others"));
        }
        if read.x509.public_key().raw != key.subject_public_key_info() {
            return Err(PkiError::KeyOfAnother);
        }
        if read.x509.verify_signature(None).is_err() {
            return Err(read.is_not("its signature is wrong"));
        }
        let expires = read.expires()?;
        let issuer = Issuer::from_ca_cert_der(&der, key);
        let issuer = issuer.map_err(PkiError::make("the cluster's authority"))?;
        Ok(Self {
            cluster,
            expires,
            certificate: der,
            issuer,
        })
    }

    /// As text, to be kept where only servers can read it.
    pub fn to_pem(&self) -> AuthorityPem {
        AuthorityPem {
            certificate: self.certificate_pem(),
            key: PrivateKey::of(self.issuer.key()),
        }
    }

    /// Its certificate as text: what nodes and clients trust.
    pub fn certificate_pem(&self) -> String {
        pem_text::certificate(&self.certificate)
    }

    /// By which it is recognized.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_der(&self.certificate)
    }

    /// Whose authority it is.
    pub fn cluster(&self) -> Uuid {
        self.cluster
    }

    /// When everything that it signed ends.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for `name` to be filled in and [signed](Self::sign), which ends with the authority at
    /// the latest.
    pub(crate) fn template(
        &self,
        name: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<CertificateParams, PkiError> {
        if now >= self.expires {
            return Err(PkiError::AuthorityExpired { at: self.expires });
        }
        let wanted = now.checked_add(lifetime).unwrap_or(Timestamp::MAX);
        let mut params = template::certificate(name, now, wanted.min(self.expires))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok(params)
    }

    /// Signs it, as text.
    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
        what: &'static str,
    ) -> Result<String, PkiError> {
        let signed = params.signed_by(key, &self.issuer);
        let signed = signed.map_err(PkiError::make(what))?;
        Ok(pem_text::certificate(signed.der()))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("cluster", &self.cluster)
            .field("fingerprint", &self.fingerprint())
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(cluster: u128) -> Authority {
        Authority::create(Uuid::from_u128(cluster), Timestamp::now()).unwrap()
    }

    #[test]
    fn what_was_kept_is_the_same_authority() {
        let first = authority(1);
        let kept = first.to_pem();
        let second = Authority::from_pem(&kept).unwrap();
        assert_eq!(second.cluster(), Uuid::from_u128(1));
        assert_eq!(second.fingerprint(), first.fingerprint());
        assert_eq!(second.expires(), first.expires());
        assert_eq!(second.to_pem(), kept);
        assert_eq!(
            Fingerprint::of_pem(&kept.certificate).unwrap(),
            first.fingerprint()
        );
        let text = first.fingerprint().to_string();
        assert_eq!(text.parse::<Fingerprint>().unwrap(), first.fingerprint());
    }

    #[test]
    fn its_key_does_not_show() {
        let authority = authority(1);
        let kept = authority.to_pem();
        let key = kept.key.pem().lines().nth(1).unwrap();
        for shown in [format!("{authority:?}"), format!("{kept:?}")] {
            assert!(!shown.contains(key), "{shown}");
        }
    }

    #[test]
    fn certificate_and_key_of_two_authorities_are_refused() {
        let mixed = AuthorityPem {
            certificate: authority(1).to_pem().certificate,
            key: authority(1).to_pem().key,
        };
        let refused = Authority::from_pem(&mixed).unwrap_err();
        assert!(matches!(refused, PkiError::KeyOfAnother), "{refused}");
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        let authority = authority(1);
        let now = Timestamp::now();
        let server = authority
            .issue_server(&["localhost".to_owned()], LIFETIME, now)
            .unwrap();
        let kept = authority.to_pem();
        for (certificate, words) in [
            (String::new(), "no certificate"),
            (
                kept.certificate.replace("CERTIFICATE", "X"),
                "no certificate",
            ),
            (kept.certificate[..200].to_owned(), "no certificate"),
            (kept.certificate.repeat(2), "several"),
            (server.chain_pem, "several"),
        ] {
            let key = kept.key.clone();
            let refused = Authority::from_pem(&AuthorityPem { certificate, key }).unwrap_err();
            assert!(refused.to_string().contains(words), "{refused}");
        }
        // What begins with a certificate of a server, with its own key.
        let end = "-----END CERTIFICATE-----";
        let server = authority
            .issue_server(&["localhost".to_owned()], LIFETIME, now)
            .unwrap();
        let leaf = AuthorityPem {
            certificate: format!("{}{end}\n", server.chain_pem.split(end).next().unwrap()),
            key: server.key,
        };
        let refused = Authority::from_pem(&leaf).unwrap_err();
        assert!(
            refused.to_string().contains("names no cluster"),
            "{refused}"
        );
    }

    #[test]
    fn one_whose_time_is_over_signs_nothing_and_nothing_outlives_it() {
        let authority = authority(1);
        let name = ["localhost".to_owned()];
        let over = authority.expires();
        let refused = authority.issue_server(&name, LIFETIME, over).unwrap_err();
        assert!(
            matches!(refused, PkiError::AuthorityExpired { at } if at == over),
            "{refused}"
        );
        let before = over.checked_sub(Duration::from_secs(60)).unwrap();
        let server = authority.issue_server(&name, LIFETIME, before).unwrap();
        let leaf = pem_text::certificates(&server.chain_pem).unwrap().remove(0);
        let read = Certificate::read(&leaf, "a server").unwrap();
        assert_eq!(read.expires().unwrap(), over);
    }

    #[test]
    fn a_clock_before_1970_is_said() {
        let refused = Authority::create(Uuid::from_u128(1), Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(matches!(refused, PkiError::Clock { .. }), "{refused}");
    }
}
