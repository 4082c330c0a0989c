//! Real handshakes over loopback sockets: who is let in, who is not, and what was said by then.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use accelnet_pki::{
    Authority, Fingerprint, Identity, NodePeer, PkiError, PrivateKey, Refusal, node_request, tls,
};
use jiff::Timestamp;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(86_400);
const CLUSTER: Uuid = Uuid::from_u128(1);
const NODE: Uuid = Uuid::from_u128(7);
const SECRET: &[u8] = b"the secret of a join token";

/// Nothing here takes as long; without it a fault would hang the test.
const DEADLINE: Duration = Duration::from_secs(20);

fn authority() -> Authority {
    Authority::create(CLUSTER, Timestamp::now()).unwrap()
}

fn identity(authority: &Authority, now: Timestamp) -> Identity {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    authority.issue_server(&names, DAY, now).unwrap()
}

fn server_of(authority: &Authority) -> Arc<ServerConfig> {
    tls::server(authority, &identity(authority, Timestamp::now())).unwrap()
}

/// A node's certificate and key, made `now`.
fn node_of(authority: &Authority, now: Timestamp) -> (String, PrivateKey) {
    let request = node_request().unwrap();
    let name = "node1".parse().unwrap();
    let chain = authority.issue_node(&request.request_pem, NODE, &name, DAY, now);
    (chain.unwrap(), request.key)
}

fn days_ago(days: u32) -> Timestamp {
    Timestamp::now().checked_sub(DAY * days).unwrap()
}

/// What the server saw: what it read, and whose certificate it was shown; or why there was nothing.
type Served = Result<(Vec<u8>, Option<NodePeer>), io::Error>;
/// What the client read, in which version, and after which kind of handshake.
type Asked = Result<(Vec<u8>, ProtocolVersion, HandshakeKind), io::Error>;

struct Met {
    server: Served,
    client: Asked,
    /// How many bytes came out of the client's TLS before the end, whether the server took them or not.
    plain: usize,
}

impl Met {
    fn client_refused(&self) -> Refusal {
        let error = self.client.as_ref().expect_err("the client was content");
        Refusal::of(error).unwrap_or_else(|| panic!("no reason in: {error:?}"))
    }

    fn server_refused(&self) -> Refusal {
        let error = self.server.as_ref().expect_err("the server was content");
        Refusal::of(error).unwrap_or_else(|| panic!("no reason in: {error:?}"))
    }
}

/// The client says the secret, the server says it back.
fn meet(server: Arc<ServerConfig>, client: Arc<ClientConfig>, name: &str) -> Met {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let tls = ServerConnection::new(server).unwrap();
        let mut stream = StreamOwned::new(tls, socket);
        let mut plain = Vec::new();
        let served = serve(&mut stream, &mut plain);
        // Closing with something unread would be a reset, which can overtake the alert on its way.
        let _ = stream.sock.shutdown(Shutdown::Write);
        let _ = io::copy(&mut stream.sock, &mut io::sink());
        (served, plain.len())
    });
    let client = ask(client, name, TcpStream::connect(address).unwrap());
    let (server, plain) = serving.join().unwrap();
    Met {
        server,
        client,
        plain,
    }
}

fn serve(stream: &mut StreamOwned<ServerConnection, TcpStream>, plain: &mut Vec<u8>) -> Served {
    let mut buffer = [0; 100];
    while plain.len() < SECRET.len() {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => plain.extend_from_slice(&buffer[..read]),
        }
    }
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let node = stream.conn.peer_certificates().map(|chain| &chain[0]);
    let node = node.map(|certificate| NodePeer::from_der(certificate).unwrap());
    stream.write_all(plain)?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok((plain.clone(), node))
}

fn ask(config: Arc<ClientConfig>, name: &str, socket: TcpStream) -> Asked {
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tls = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(tls, socket);
    stream.write_all(SECRET)?;
    stream.flush()?;
    let mut answer = vec![0; SECRET.len()];
    stream.read_exact(&mut answer)?;
    // Whatever else the server sends, tickets for instance, is seen too.
    stream.read_to_end(&mut answer)?;
    let tls = &stream.conn;
    Ok((
        answer,
        tls.protocol_version().unwrap(),
        tls.handshake_kind().unwrap(),
    ))
}

#[test]
fn a_node_is_known_by_its_certificate() {
    let authority = authority();
    let (chain, key) = node_of(&authority, Timestamp::now());
    let client = tls::node(&authority.certificate_pem(), &chain, &key).unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let met = meet(server_of(&authority), Arc::clone(&client), name);
        let (said, node) = met.server.unwrap();
        let (answer, version, _) = met.client.unwrap();
        assert_eq!((said.as_slice(), answer.as_slice()), (SECRET, SECRET));
        assert_eq!(version, ProtocolVersion::TLSv1_3);
        let node = node.unwrap();
        assert_eq!((node.cluster, node.node), (CLUSTER, NODE));
        assert_eq!(node.name.as_str(), "node1");
    }
}

#[test]
fn without_a_certificate_one_is_let_in_and_is_no_node() {
    let authority = authority();
    let client = tls::client(&authority.certificate_pem()).unwrap();
    let (said, node) = meet(server_of(&authority), client, "localhost")
        .server
        .unwrap();
    assert_eq!((said.as_slice(), node), (SECRET, None));
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    let (ours, theirs) = (authority(), authority());
    // By the same cluster id, which anybody may use; then by another.
    let elsewhere = Authority::create(Uuid::from_u128(2), Timestamp::now()).unwrap();
    for theirs in [theirs, elsewhere] {
        let (chain, key) = node_of(&theirs, Timestamp::now());
        let client = tls::node(&ours.certificate_pem(), &chain, &key).unwrap();
        let met = meet(server_of(&ours), client, "localhost");
        assert_eq!(met.server_refused(), Refusal::UnknownAuthority);
        assert!(matches!(met.client_refused(), Refusal::Ours { .. }));
        assert_eq!(met.plain, 0, "nothing of a refused client is read");
    }
}

#[test]
fn an_expired_node_is_refused_and_one_of_tomorrow_too() {
    let authority = authority();
    let tomorrow = Timestamp::now().checked_add(DAY).unwrap();
    for (now, refusal) in [
        (days_ago(2), Refusal::Expired),
        (tomorrow, Refusal::NotYetValid),
    ] {
        let (chain, key) = node_of(&authority, now);
        let client = tls::node(&authority.certificate_pem(), &chain, &key).unwrap();
        let met = meet(server_of(&authority), client, "localhost");
        assert_eq!(met.server_refused(), refusal);
        assert_eq!(met.plain, 0);
    }
}

/// A resumed session would not look at the certificate again.
#[test]
fn sessions_are_not_resumed() {
    let authority = authority();
    let (chain, key) = node_of(&authority, Timestamp::now());
    let client = tls::node(&authority.certificate_pem(), &chain, &key).unwrap();
    // One that would.
    let mut client = ClientConfig::clone(&client);
    client.resumption = Resumption::default();
    let (client, server) = (Arc::new(client), server_of(&authority));
    for _ in 0..2 {
        let met = meet(Arc::clone(&server), Arc::clone(&client), "localhost");
        let (_, _, kind) = met.client.unwrap();
        assert_eq!(kind, HandshakeKind::Full);
    }
}

#[test]
fn clocks_may_be_almost_an_hour_apart() {
    let authority = authority();
    let ahead = Timestamp::now()
        .checked_add(Duration::from_secs(59 * 60))
        .unwrap();
    let (chain, key) = node_of(&authority, ahead);
    let client = tls::node(&authority.certificate_pem(), &chain, &key).unwrap();
    let server = tls::server(&authority, &identity(&authority, ahead)).unwrap();
    meet(server, client, "localhost").client.unwrap();
}

#[test]
fn an_expired_server_is_refused() {
    let authority = authority();
    let server = || tls::server(&authority, &identity(&authority, days_ago(2))).unwrap();
    for client in [
        tls::client(&authority.certificate_pem()).unwrap(),
        tls::pinned(authority.fingerprint()).unwrap(),
    ] {
        let met = meet(server(), client, "localhost");
        assert_eq!(met.client_refused(), Refusal::Expired);
        assert_eq!(met.plain, 0);
    }
}

#[test]
fn a_node_does_not_pass_for_a_server() {
    let authority = authority();
    let (chain, key) = node_of(&authority, Timestamp::now());
    // With the authority's certificate, as a server shows it.
    let chain_pem = chain + &authority.certificate_pem();
    let server = tls::server(&authority, &Identity { chain_pem, key }).unwrap();
    for client in [
        tls::client(&authority.certificate_pem()).unwrap(),
        tls::pinned(authority.fingerprint()).unwrap(),
    ] {
        let met = meet(Arc::clone(&server), client, "localhost");
        assert_eq!(met.client_refused(), Refusal::OtherPurpose);
        assert_eq!(met.plain, 0);
    }
}

#[test]
fn a_server_does_not_pass_for_a_node() {
    let authority = authority();
    let server = identity(&authority, Timestamp::now());
    let client = tls::node(&authority.certificate_pem(), &server.chain_pem, &server.key).unwrap();
    let met = meet(server_of(&authority), client, "localhost");
    assert_eq!(met.server_refused(), Refusal::OtherPurpose);
}

#[test]
fn a_server_is_refused_under_a_name_that_is_not_its_own() {
    let authority = authority();
    for client in [
        tls::client(&authority.certificate_pem()).unwrap(),
        tls::pinned(authority.fingerprint()).unwrap(),
    ] {
        for name in ["elsewhere.example.org", "127.0.0.2"] {
            let met = meet(server_of(&authority), Arc::clone(&client), name);
            assert_eq!(met.client_refused(), Refusal::OtherName);
            assert_eq!(met.plain, 0);
        }
    }
}

#[test]
fn by_the_right_fingerprint_the_server_is_known() {
    let authority = authority();
    let client = tls::pinned(authority.fingerprint()).unwrap();
    let (said, node) = meet(server_of(&authority), client, "localhost")
        .server
        .unwrap();
    assert_eq!((said.as_slice(), node), (SECRET, None));
}

#[test]
fn with_the_wrong_fingerprint_nothing_is_said() {
    let (ours, theirs) = (authority(), authority());
    let server = identity(&ours, Timestamp::now());
    let leaf = CertificateDer::from_pem_slice(server.chain_pem.as_bytes()).unwrap();
    // Another authority's, and the server's own certificate's, which is no authority's.
    for wanted in [theirs.fingerprint(), Fingerprint::of_der(&leaf)] {
        let config = tls::server(&ours, &server).unwrap();
        let met = meet(config, tls::pinned(wanted).unwrap(), "localhost");
        assert_eq!(met.client_refused(), Refusal::OtherAuthority { wanted });
        assert!(
            met.client_refused()
                .to_string()
                .contains("Nothing was sent")
        );
        assert!(met.server.is_err());
        assert_eq!(
            met.plain, 0,
            "the client spoke to a server that it did not know"
        );
    }
}

/// Somebody between shows the right authority's certificate, which is public, behind one of his own.
#[test]
fn an_authority_that_did_not_sign_the_server_does_not_help() {
    let (ours, theirs) = (authority(), authority());
    let foreign = identity(&theirs, Timestamp::now());
    let shown = Identity {
        chain_pem: foreign.chain_pem + &ours.certificate_pem(),
        key: foreign.key,
    };
    let server = tls::server(&theirs, &shown).unwrap();
    let met = meet(
        server,
        tls::pinned(ours.fingerprint()).unwrap(),
        "localhost",
    );
    assert_eq!(met.client_refused(), Refusal::UnknownAuthority);
    assert_eq!(met.plain, 0);
}

#[test]
fn tls_1_2_is_refused_on_both_sides() {
    let authority = authority();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let pem = authority.certificate_pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let old = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let met = meet(server_of(&authority), Arc::new(old), "localhost");
    assert_eq!(met.server_refused(), Refusal::Version);
    assert_eq!(met.client_refused(), Refusal::Version);

    let server = identity(&authority, Timestamp::now());
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(server.chain_pem.as_bytes()).collect();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(server.key.pem().as_bytes());
    let old = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key.unwrap())
        .unwrap();
    let client = tls::pinned(authority.fingerprint()).unwrap();
    let met = meet(Arc::new(old), client, "localhost");
    assert_eq!(met.client_refused(), Refusal::Version);
    assert_eq!(met.plain, 0);
}

#[test]
fn a_port_on_which_something_else_answers_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let other = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut hello = [0; 5];
        socket.read_exact(&mut hello).unwrap();
        socket
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    let client = tls::pinned(authority().fingerprint()).unwrap();
    let error = ask(client, "localhost", TcpStream::connect(address).unwrap()).unwrap_err();
    assert_eq!(Refusal::of(&error), Some(Refusal::NotTls), "{error:?}");
    other.join().unwrap();
}

#[test]
fn a_key_of_another_certificate_is_said_before_anything_is_dialled() {
    let authority = authority();
    let (chain, _) = node_of(&authority, Timestamp::now());
    let (_, key) = node_of(&authority, Timestamp::now());
    let refused = tls::node(&authority.certificate_pem(), &chain, &key).unwrap_err();
    assert!(matches!(refused, PkiError::KeyOfAnother), "{refused}");
    let refused: &dyn Error = &tls::client("not a certificate").unwrap_err();
    assert!(refused.to_string().contains("no certificate in this text"));
}
