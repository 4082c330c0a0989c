//! Certificates as PEM text.

use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::PkiError;

/// Lines end the way they do on Linux.
pub const LINES: pem::EncodeConfig = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);

/// One certificate as text.
pub fn certificate(der: &[u8]) -> String {
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), LINES)
}

/// All certificates of a text, which must hold at least one.
pub fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let wanted = "certificate";
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    all.ok()
        .filter(|all| !all.is_empty())
        .ok_or(PkiError::Pem { wanted })
}
