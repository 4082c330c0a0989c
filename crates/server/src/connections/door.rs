//! Where connections come from: the local socket, the network over TLS, or a place where nobody is asked who he is.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use accelnet_pki::NodePeer;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    audit::Actor,
    people::{NodePeerInfo, Sender},
};

/// So many local connections at a time; more wait until one ends. A watch holds one as long as it lasts, and systemd
/// gives a service 1,024 descriptors (systemd.exec(5), `DefaultLimitNOFILE=`).
const LOCAL_MAX: u32 = 256;
/// The same over the network: two for each agent. Half of the 65,536 descriptors that the unit asks for.
const NETWORK_MAX: u32 = 32_768;
/// The same where only metrics are: there are few who want them.
const OPEN_MAX: u32 = 64;
/// Hands are shaken within this, or the other side is none that speaks TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// A door.
pub enum Door {
    /// The local administrator's socket.
    Local(UnixListener),
    /// The network. What it takes to be let in may change while it is open: certificates are renewed.
    Network(TcpListener, tokio::sync::watch::Receiver<Arc<ServerConfig>>),
    /// The network without TLS, for what anybody may read.
    Open(TcpListener),
}

/// Somebody has come.
pub enum Taken {
    /// By the local socket.
    Local(UnixStream),
    /// By the network, and has not yet said who that is.
    Network {
        /// The connection.
        stream: TcpStream,
        /// From where.
        address: SocketAddr,
        /// How hands are shaken.
        tls: Arc<ServerConfig>,
    },
    /// By the network, and says nothing of himself.
    Anybody {
        /// The connection.
        stream: TcpStream,
        /// From where.
        address: SocketAddr,
    },
}

impl Door {
    /// How many may be in at once.
    pub fn connections_max(&self) -> u32 {
        match self {
            Self::Local(_) => LOCAL_MAX,
            Self::Network(..) => NETWORK_MAX,
            Self::Open(_) => OPEN_MAX,
        }
    }

    /// The next one who comes.
    pub async fn accept(&self) -> io::Result<Taken> {
        match self {
            Self::Local(listener) => Ok(Taken::Local(listener.accept().await?.0)),
            Self::Network(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                // What is said is said at once: lines are small, and somebody waits for each.
                stream.set_nodelay(true)?;
                let tls = Arc::clone(&tls.borrow());
                Ok(Taken::Network {
                    stream,
                    address,
                    tls,
                })
            }
            Self::Open(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Taken::Anybody { stream, address })
            }
        }
    }
}

/// The process at the other end, as the kernel says.
pub fn local_sender(stream: &UnixStream) -> Sender {
    let actor = stream.peer_cred().map_or_else(
        |_| Actor::default(),
        |peer| Actor {
            uid: Some(peer.uid()),
            gid: Some(peer.gid()),
            pid: peer.pid(),
            ..Actor::default()
        },
    );
    Sender::Local(actor)
}

/// Shakes hands with whoever came by the network; nothing is told to one that does not know how.
pub async fn shake_hands(
    stream: TcpStream,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
) -> Option<(TlsStream<TcpStream>, Sender)> {
    let shaking = TlsAcceptor::from(tls).accept(stream);
    let shaken = tokio::time::timeout(HANDSHAKE_LIMIT, shaking).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "no TLS");
            return None;
        }
        Err(_) => {
            tracing::debug!(%address, "hands were not shaken in time");
            return None;
        }
    };
    let shown = stream.get_ref().1.peer_certificates();
    let node = match shown.and_then(|chain| chain.first()) {
        None => None,
        Some(certificate) => match NodePeer::from_der(certificate) {
            Ok(peer) => Some(NodePeerInfo {
                id: peer.node,
                name: peer.name,
                expires: peer.expires,
            }),
            // Of this authority, and no node's: nothing that this version gives out.
            Err(error) => {
                tracing::warn!(%address, %error, "a certificate");
                return None;
            }
        },
    };
    Some((stream, Sender::Remote { address, node }))
}
