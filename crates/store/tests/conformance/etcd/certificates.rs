//! Client certificates: accepted with, refused without.

use std::{path::Path, process::Command, time::Duration};

use accelnet_store::{EtcdOptions, EtcdStore, EtcdTls, StoreError};
use tempfile::TempDir;

use super::{
    PATIENT,
    cluster::{Cluster, Secure},
};
use crate::backend::{get, put};

/// An authority with a certificate that it signed, for servers and clients alike.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        let key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        let ca = ["-x509", "-days", "2", "-subj", "/CN=authority"];
        let out = ["-keyout", "ca.key", "-out", "ca.pem"];
        authority.openssl(&[&["req"], &ca[..], &key, &out].concat());
        let subject = [
            "-subj",
            "/CN=member",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ];
        let out = ["-keyout", "key.pem", "-out", "request.pem"];
        authority.openssl(&[&["req", "-new"], &subject[..], &key, &out].concat());
        let sign = [
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
        ];
        let files = ["-in", "request.pem", "-out", "certificate.pem"];
        let kept = ["-copy_extensions", "copy"];
        authority.openssl(&[&["x509", "-req"], &sign[..], &files, &kept].concat());
        authority
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .expect("openssl is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(Path::new(self.0.path()).join(name)).unwrap()
    }

    fn secure(&self) -> Secure {
        Secure {
            ca: self.0.path().join("ca.pem"),
            certificate: self.0.path().join("certificate.pem"),
            key: self.0.path().join("key.pem"),
        }
    }

    fn client(&self) -> (Vec<u8>, Vec<u8>) {
        (self.file("certificate.pem"), self.file("key.pem"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e40_who_has_no_certificate_of_the_authority_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let cluster = Cluster::start_secure(&authority.secure()).await;
    let options = |tls, deadline| EtcdOptions {
        tls: Some(tls),
        deadline,
        ..cluster.options()
    };
    let tls = |ca: &Authority, client| EtcdTls {
        ca: ca.file("ca.pem"),
        client,
    };
    // The member has started once this answers.
    let good = tls(&authority, Some(authority.client()));
    let store = EtcdStore::connect(options(good, PATIENT)).await.unwrap();
    put(&store, "a", "secure").await;
    assert_eq!(get(&store, "a").await.unwrap().value, b"secure");
    let short = Duration::from_secs(2);
    let bad = [
        // It may close the connection before it was heard why.
        ("no certificate", tls(&authority, None), "none was named"),
        (
            "another authority's",
            tls(&authority, Some(stranger.client())),
            "refuse our certificate",
        ),
        (
            "a member that another authority vouches for",
            tls(&stranger, Some(authority.client())),
            "not one of the authority that was named",
        ),
    ];
    for (case, tls, reason) in bad {
        let error = EtcdStore::connect(options(tls, short)).await.unwrap_err();
        let unreachable = matches!(error, StoreError::Unreachable { .. });
        assert!(
            unreachable && error.to_string().contains(reason),
            "{case}: {error}"
        );
    }
    let plain = EtcdOptions {
        endpoints: cluster
            .endpoints()
            .iter()
            .map(|url| url.replace("https", "http"))
            .collect(),
        deadline: short,
        ..cluster.options()
    };
    let error = EtcdStore::connect(plain).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("to speak TLS"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn e41_an_etcd_without_tls_is_told_from_one_that_is_silent() {
    let (authority, cluster) = (Authority::new(), Cluster::start(1).await);
    let endpoints = cluster.endpoints();
    let options = EtcdOptions {
        endpoints: endpoints
            .iter()
            .map(|url| url.replace("http", "https"))
            .collect(),
        tls: Some(EtcdTls {
            ca: authority.file("ca.pem"),
            client: Some(authority.client()),
        }),
        deadline: Duration::from_secs(2),
        ..cluster.options()
    };
    let error = EtcdStore::connect(options).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains("it does not speak TLS"),
        "{error}"
    );
}
