//! Certificates for an etcd and its clients.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// An authority with a certificate that it signed, for servers and clients alike, as files.
pub struct Certificates {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, name);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_key = KeyPair::generate().unwrap();
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let mut member = CertificateParams::default();
        member.distinguished_name.push(DnType::CommonName, "member");
        member.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        member.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let certificate = member.signed_by(&key, &issuer).unwrap();
        let write = |kind: &str, text: String| {
            let file = directory.join(format!("{name}-{kind}.pem"));
            fs::write(&file, text).unwrap();
            file
        };
        Self {
            ca: write("ca", ca_certificate.pem()),
            cert: write("cert", certificate.pem()),
            key: write("key", key.serialize_pem()),
        }
    }
}
