//! Certificates for etcd: which files, and whether they can be what they are said to be.
//!
//! They are looked at before anything is dialled: a key that does not fit its certificate would else be told by
//! etcd as a connection that was closed.

#![cfg_attr(
    not(feature = "etcd"),
    allow(dead_code, reason = "without etcd the options are only refused")
)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

/// Files with certificates and a key, all PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct EtcdFiles {
    /// Speak TLS with etcd, whose certificates the authority in this file has signed; no other is trusted.
    #[arg(long = "etcd-ca", env = "ACCELNET_ETCD_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Certificate to show to etcd, for one that asks clients for it (--client-cert-auth).
    #[arg(long = "etcd-cert", env = "ACCELNET_ETCD_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// The private key of that certificate, unencrypted; readable by the server's user alone.
    #[arg(long = "etcd-key", env = "ACCELNET_ETCD_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// What is in them.
#[derive(PartialEq, Eq)]
pub struct EtcdPem {
    /// Certificates of the authority.
    pub ca: Vec<u8>,
    /// Our certificate and its key, if there are any.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

impl EtcdFiles {
    /// That none of them is missing beside another; they may come from the command line and from a file.
    ///
    /// # Errors
    /// Which one is.
    pub fn belong_together(&self) -> Result<()> {
        let missing = match (&self.ca, &self.cert, &self.key) {
            (_, Some(_), None) => "--etcd-key (its key) is missing",
            (_, None, Some(_)) => "--etcd-cert (its certificate) is missing",
            (None, Some(_), Some(_)) => "--etcd-ca (etcd's authority) is missing",
            _ => return Ok(()),
        };
        bail!("to show etcd a certificate takes --etcd-ca, --etcd-cert and --etcd-key: {missing}")
    }

    /// Whether TLS is spoken.
    pub fn with_tls(&self) -> bool {
        self.ca.is_some()
    }

    /// Reads the files; `None` if TLS is not spoken.
    ///
    /// # Errors
    /// If one cannot be read or is something else, or the key is not the certificate's.
    pub fn read(&self) -> Result<Option<EtcdPem>> {
        let Some(ca_file) = &self.ca else {
            return Ok(None);
        };
        let ca = read("--etcd-ca", ca_file)?;
        certificates("--etcd-ca", ca_file, &ca)?;
        let client = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(pair(cert, key)?),
            _ => None,
        };
        Ok(Some(EtcdPem { ca, client }))
    }
}

fn read(option: &str, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| {
        let file = file.display();
        format!("{option} {file} cannot be read; the server's user has to be allowed to")
    })
}

fn certificates(option: &str, file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let file = file.display();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.with_context(|| format!("{option} {file} is not PEM"))?;
    ensure!(
        !found.is_empty(),
        "{option} {file} holds no certificate; it has to be PEM, '-----BEGIN CERTIFICATE-----'"
    );
    Ok(found)
}

/// A certificate and its key.
fn pair(cert: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let (cert_pem, key_pem) = (read("--etcd-cert", cert)?, read("--etcd-key", key)?);
    let chain = certificates("--etcd-cert", cert, &cert_pem)?;
    let shown = key.display();
    let Ok(der) = PrivateKeyDer::from_pem_slice(&key_pem) else {
        bail!(
            "--etcd-key {shown} holds no private key that can be used; it has to be PEM, and not encrypted"
        );
    };
    let fits = CertifiedKey::from_der(chain, der, &ring::default_provider());
    fits.with_context(|| {
        format!(
            "--etcd-key {shown} is not the key of the certificate in --etcd-cert {}",
            cert.display()
        )
    })?;
    Ok((cert_pem, key_pem))
}
