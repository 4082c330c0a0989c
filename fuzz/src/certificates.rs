//! Certificates, requests for them, keys.

use std::{sync::LazyLock, time::Duration};

use accelnet_model::Name;
use accelnet_pki::{Authority, Fingerprint, NodePeer, PrivateKey, tls};
use jiff::Timestamp;
use uuid::Uuid;

/// The authority is made at random; what is looked at does not depend on it.
static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::create(Uuid::from_u128(1), now()).expect("an authority"));

/// Some time; certificates begin an hour before.
fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

/// As DER, and as PEM. A certificate that names a node names it in its own words; a request that is granted has a
/// certificate for the node that was meant, whatever else it says.
pub fn certificates(bytes: &[u8]) {
    if let Ok(peer) = NodePeer::from_der(bytes) {
        let name: Result<Name, _> = peer.name.as_str().parse();
        assert!(name.is_ok_and(|name| name == peer.name));
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", bytes));
        assert!(NodePeer::from_pem(&pem).is_ok_and(|same| same == peer));
    }
    let _ = Fingerprint::of_der(bytes);
    requested(&pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", bytes)));
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = NodePeer::from_pem(text);
    let _ = Fingerprint::of_pem(text);
    let _ = tls::client(text);
    requested(text);
    if let Ok(key) = PrivateKey::from_pem(text) {
        let _ = tls::node(text, text, &key);
        assert!(!format!("{key:?}").contains(key.pem()));
    }
}

fn requested(pem: &str) {
    let node = Uuid::from_u128(7);
    let name: Name = "node7".parse().expect("a name");
    let hour = Duration::from_secs(3600);
    if let Ok(certificate) = AUTHORITY.issue_node(pem, node, &name, hour, now()) {
        let peer = NodePeer::from_pem(&certificate).expect("what was issued is read");
        let same = (peer.cluster, peer.node, peer.name) == (AUTHORITY.cluster(), node, name);
        assert!(same, "{certificate}");
    }
}
