//! An etcd that speaks TLS, and only with those who show a certificate.

use std::path::Path;

use crate::{
    certificates::Certificates,
    rig::{Place, active, etcd, found, secure_etcd},
};

/// What a server says that does not start.
fn refused(place: &Place) -> String {
    let output = place.accelnetd("init").output().unwrap();
    assert!(!output.status.success(), "it starts");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_its_certificate_to_etcd_and_says_what_is_wrong_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let good = Certificates::new(directory.path(), "good");
    let other = Certificates::new(directory.path(), "other");
    let (_etcd, store) = secure_etcd(directory.path(), &good);
    let place = Place::new(directory.path(), "a", &store).with_files(&good);
    found(&place).await;
    let places = [
        place,
        Place::new(directory.path(), "b", &store).with_files(&good),
    ];
    let _running = [places[0].start(), places[1].start()];
    active(&places).await;

    let with = |ca: &Path, cert: &Path, key: &Path| {
        let files = Certificates {
            ca: ca.to_owned(),
            cert: cert.to_owned(),
            key: key.to_owned(),
        };
        refused(&Place::new(directory.path(), "c", &store).with_files(&files))
    };
    let missing = directory.path().join("missing.pem");
    for (said, words) in [
        (with(&missing, &good.cert, &good.key), "--etcd-ca"),
        (
            with(&good.key, &good.cert, &good.key),
            "holds no certificate",
        ),
        (
            with(&good.ca, &good.cert, &other.key),
            "is not the key of the certificate",
        ),
        (with(&good.ca, &good.cert, &good.cert), "no private key"),
        (
            with(&other.ca, &good.cert, &good.key),
            "not one of the authority",
        ),
        (
            with(&good.ca, &other.cert, &other.key),
            "refuse our certificate",
        ),
        (
            refused(&Place::new(directory.path(), "c", &store)),
            "to speak TLS",
        ),
    ] {
        assert!(said.contains(words), "'{words}' is not in: {said}");
    }
    let (_plain, plain) = etcd(directory.path());
    let place = Place::new(directory.path(), "d", &plain);
    found(&place).await;
    let said = refused(&place.with_files(&good));
    assert!(said.contains("does not speak TLS"), "{said}");
    let alone = Place::new(directory.path(), "e", "sqlite:/nowhere/x").with_files(&good);
    let said = refused(&alone);
    assert!(said.contains("are for an etcd"), "{said}");
}
