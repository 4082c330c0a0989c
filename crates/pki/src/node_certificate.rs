//! Certificates of nodes: asked for with a request that brings a public key and nothing else that counts,
//! and read again on connections.

use std::time::Duration;

use accelnet_model::Name;
use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, KeyPair, PublicKeyData, SanType,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject};
use uuid::Uuid;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use crate::{Authority, PkiError, PrivateKey, identity_uri, read::Certificate};

/// Ours have some 400 bytes; nobody's time is spent on what is much longer.
const LONGEST_REQUEST: usize = 8 << 10;

/// What a node makes before it asks for a certificate.
#[derive(Debug, Clone)]
pub struct NodeRequest {
    /// Its new key, which never leaves the node.
    pub key: PrivateKey,
    /// The request, which goes to the server.
    pub request_pem: String,
}

/// A new key and the request for a certificate for it.
pub fn node_request() -> Result<NodeRequest, PkiError> {
    let making = "the request for a certificate";
    let key = KeyPair::generate().map_err(PkiError::make(making))?;
    let mut params = CertificateParams::default();
    // The server decides what the node is called.
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key);
    let request = request.map_err(PkiError::make(making))?;
    Ok(NodeRequest {
        key: PrivateKey::of(&key),
        request_pem: request.pem().map_err(PkiError::make(making))?,
    })
}

impl Authority {
    /// A node's certificate, for the key in its request. Who the node is, the caller says.
    pub fn issue_node(
        &self,
        request_pem: &str,
        node: Uuid,
        name: &Name,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let making = "the node's certificate";
        let key = requested_key(request_pem)?;
        let mut params = self.template(name.as_str(), lifetime, now)?;
        let uri = identity_uri::node(self.cluster(), node).try_into();
        params.subject_alt_names = vec![SanType::URI(uri.map_err(PkiError::make(making))?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, &key, making)
    }
}

/// The key of a request whose sender has shown by its signature that the key's other half is there.
fn requested_key(pem: &str) -> Result<SubjectPublicKeyInfo, PkiError> {
    let refuse = |reason| PkiError::Request { reason };
    if pem.len() > LONGEST_REQUEST {
        return Err(refuse("it is too long"));
    }
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes());
    let der = der.map_err(|_| PkiError::Pem {
        wanted: "request for a certificate",
    })?;
    let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
        return Err(refuse("it cannot be read"));
    };
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw);
    let key = key.map_err(|_| refuse("its key is of a kind that is not known"))?;
    // Short RSA keys exist; of these there are no weak ones.
    let strong = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    if !strong.contains(&key.algorithm()) {
        return Err(refuse("its key must be of ECDSA (P-256, P-384) or Ed25519"));
    }
    let signed = request.verify_signature();
    signed.map_err(|_| refuse("it is not signed with its key"))?;
    Ok(key)
}

/// Who a node is, by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePeer {
    /// Its cluster.
    pub cluster: Uuid,
    /// Its identity.
    pub node: Uuid,
    /// What it was called when the certificate was made.
    pub name: Name,
    /// The last second at which the certificate is worth something.
    pub expires: Timestamp,
}

impl NodePeer {
    /// Reads a certificate. It is not verified here: give what TLS has accepted (the first of the peer's
    /// certificates), or one's own.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let read = Certificate::read(der, "a node")?;
        let ids = identity_uri::parse_node(read.uri()?);
        let (cluster, node) = ids.ok_or_else(|| read.is_not("it names no node"))?;
        let name = read.common_name()?.parse();
        Ok(Self {
            cluster,
            node,
            name: name.map_err(|_| read.is_not("its name is none of a node"))?,
            expires: read.expires()?,
        })
    }

    /// Reads the first certificate of a PEM text, for instance the node's own.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        Self::from_der(&crate::pem_text::certificates(pem)?[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, DnType, IsCa};

    const DAY: Duration = Duration::from_secs(86_400);

    fn authority() -> Authority {
        Authority::create(Uuid::from_u128(1), Timestamp::now()).unwrap()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_node_is_who_the_server_says() {
        let (authority, node) = (authority(), Uuid::from_u128(7));
        let now = Timestamp::from_second(1_900_000_000).unwrap();
        let request = node_request().unwrap();
        let issue = || {
            authority
                .issue_node(&request.request_pem, node, &name("node1"), DAY, now)
                .unwrap()
        };
        let pem = issue();
        let peer = NodePeer::from_pem(&pem).unwrap();
        let expires = now.checked_add(DAY).unwrap();
        assert_eq!(
            peer,
            NodePeer {
                cluster: Uuid::from_u128(1),
                node,
                name: name("node1"),
                expires,
            }
        );
        let serial = |pem: &str| {
            let der = crate::pem_text::certificates(pem).unwrap().remove(0);
            let read = Certificate::read(&der, "a node").unwrap();
            read.x509.raw_serial().to_vec()
        };
        assert_ne!(serial(&pem), serial(&issue()));
        let longest = name(&"n".repeat(63));
        let pem = authority
            .issue_node(&request.request_pem, node, &longest, DAY, now)
            .unwrap();
        assert_eq!(NodePeer::from_pem(&pem).unwrap().name, longest);
    }

    #[test]
    fn of_a_request_only_the_key_is_taken() {
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["server.example.org".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "another");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let uri = identity_uri::node(Uuid::from_u128(1), Uuid::from_u128(8));
        let uri = SanType::URI(uri.try_into().unwrap());
        params.subject_alt_names.push(uri);
        let request = params.serialize_request(&key).unwrap().pem().unwrap();
        let (node, now) = (Uuid::from_u128(7), Timestamp::now());
        let pem = authority
            .issue_node(&request, node, &name("node1"), DAY, now)
            .unwrap();
        let peer = NodePeer::from_pem(&pem).unwrap();
        assert_eq!((peer.node, peer.name), (node, name("node1")));
        let der = crate::pem_text::certificates(&pem).unwrap().remove(0);
        let read = Certificate::read(&der, "a node").unwrap();
        assert!(!read.x509.is_ca());
        assert_eq!(read.x509.public_key().raw, key.subject_public_key_info());
        let usage = read.x509.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        let names = read.x509.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
    }

    #[test]
    fn requests_that_prove_nothing_are_refused() {
        let authority = authority();
        let refused = |request: &str| {
            let (node, now) = (Uuid::from_u128(7), Timestamp::now());
            authority
                .issue_node(request, node, &name("node1"), DAY, now)
                .unwrap_err()
                .to_string()
        };
        let good = node_request().unwrap().request_pem;
        let der = CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap();
        let text = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
        // Somebody else's key in a request that was signed with one's own.
        let other = KeyPair::generate().unwrap();
        let (mine, theirs) = (key_of(&der), other.subject_public_key_info());
        let at = der
            .windows(mine.len())
            .position(|part| part == mine)
            .unwrap();
        let mut swapped = der.to_vec();
        swapped[at..at + mine.len()].copy_from_slice(&theirs);
        assert!(refused(&text(&swapped)).contains("not signed with its key"));
        assert!(refused(&text(&der[..der.len() - 1])).contains("cannot be read"));
        assert!(refused(&text(&[&der[..], b"x"].concat())).contains("cannot be read"));
        assert!(refused("").contains("no request for a certificate"));
        assert!(refused(&authority.certificate_pem()).contains("no request for a certificate"));
        assert!(refused(&good.repeat(100)).contains("too long"));
    }

    fn key_of(der: &[u8]) -> Vec<u8> {
        let (_, request) = X509CertificationRequest::from_der(der).unwrap();
        request.certification_request_info.subject_pki.raw.to_vec()
    }

    #[test]
    fn an_authority_or_a_server_is_no_node() {
        let authority = authority();
        let server = authority
            .issue_server(&["node1".to_owned()], DAY, Timestamp::now())
            .unwrap();
        for pem in [authority.certificate_pem(), server.chain_pem] {
            let refused = NodePeer::from_pem(&pem).unwrap_err();
            let words = refused.to_string();
            assert!(words.contains("not the certificate of a node"), "{words}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_certificate_never_panics(at: prop::sample::Index, byte: u8, cut: bool) {
            let request = node_request().unwrap().request_pem;
            let (node, now) = (Uuid::from_u128(7), Timestamp::now());
            let pem = authority().issue_node(&request, node, &name("node1"), DAY, now).unwrap();
            let mut der = crate::pem_text::certificates(&pem).unwrap()[0].to_vec();
            let at = at.index(der.len());
            der[at] = byte;
            der.truncate(if cut { at } else { der.len() });
            let _ = NodePeer::from_der(&der);
        }
    }
}
