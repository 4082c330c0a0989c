//! What a connection must be: TLS 1.3 with `ring`, HTTP/1.1 within.
//!
//! Sessions are never resumed: a resumed session does not look at certificates again, so an expired one
//! would go on being good.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, OtherError,
    RootCertStore, ServerConfig, SignatureScheme, WantsVerifier,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};

use crate::{Authority, Fingerprint, Identity, PkiError, PrivateKey, Refusal, pem_text};

/// What is spoken within.
const ALPN: &[u8] = b"http/1.1";

/// The only cryptography that is used.
pub(crate) fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// A server's side. Clients need no certificate, but one that is shown must be a node's of this authority,
/// and good now.
pub fn server(authority: &Authority, identity: &Identity) -> Result<Arc<ServerConfig>, PkiError> {
    let provider = Arc::new(provider());
    let roots = roots([authority.certificate().clone()])?;
    let nodes = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| PkiError::Tls {
            what: "the cluster's authority",
            source: rustls::Error::General(error.to_string()),
        })?;
    let what = "the server's certificate";
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(PkiError::tls(what))?
        .with_client_cert_verifier(nodes)
        .with_single_cert(
            pem_text::certificates(&identity.chain_pem)?,
            identity.key.der()?,
        )
        .map_err(PkiError::tls(what))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A node's side, which trusts the authority in `ca_pem` and shows its own certificate.
pub fn node(
    ca_pem: &str,
    chain_pem: &str,
    key: &PrivateKey,
) -> Result<Arc<ClientConfig>, PkiError> {
    let chain = pem_text::certificates(chain_pem)?;
    let config = client_builder()?
        .with_root_certificates(roots(pem_text::certificates(ca_pem)?)?)
        .with_client_auth_cert(chain, key.der()?)
        .map_err(PkiError::tls("the node's certificate"))?;
    Ok(finished(config))
}

/// The side of people and programs, which trusts the authority in `ca_pem` and shows no certificate.
pub fn client(ca_pem: &str) -> Result<Arc<ClientConfig>, PkiError> {
    let roots = roots(pem_text::certificates(ca_pem)?)?;
    let config = client_builder()?.with_root_certificates(roots);
    Ok(finished(config.with_no_client_auth()))
}

/// The side of somebody who knows nothing but the authority's fingerprint: the server must show the
/// authority's certificate with its own. Names, times and signatures count as always.
pub fn pinned(authority: Fingerprint) -> Result<Arc<ClientConfig>, PkiError> {
    let verifier = Pinned {
        authority,
        provider: Arc::new(provider()),
    };
    let config = client_builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(finished(config.with_no_client_auth()))
}

fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, PkiError> {
    ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(PkiError::tls("this version's cryptography"))
}

fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn roots(
    certificates: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate);
        added.map_err(PkiError::tls("the authority's certificate"))?;
    }
    Ok(roots)
}

/// Trusts the one authority that has the fingerprint, wherever in the chain it is shown.
#[derive(Debug)]
struct Pinned {
    authority: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let wanted = self.authority;
        // Not the server's own certificate: the fingerprint is an authority's.
        let authority = intermediates
            .iter()
            .find(|certificate| Fingerprint::of_der(certificate) == wanted)
            .ok_or_else(|| {
                let refusal = Refusal::OtherAuthority { wanted };
                CertificateError::Other(OtherError(Arc::new(refusal)))
            })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        // From here on as if the authority had been known.
        WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
