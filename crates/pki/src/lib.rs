//! Who is who on the wire.
//!
//! A cluster has one [`Authority`]. Servers have certificates of it for their names, nodes for their
//! identity ([`NodePeer`]), and neither passes for the other. People, programs and nodes that are about
//! to join show tokens ([`AccessToken`], [`JoinToken`]); a join token carries the authority's
//! [`Fingerprint`], so that the server is known before any secret is sent to it. [`tls`] says what a
//! connection must be: TLS 1.3, always.
//!
//! No I/O here, and the time is a parameter wherever a certificate is made. Private keys and secrets are
//! never part of an error or of debug output.

mod authority;
mod error;
mod fingerprint;
mod hex;
mod identity_uri;
mod node_certificate;
mod pem_text;
mod private_key;
mod random;
mod read;
mod refusal;
mod secret;
mod server_certificate;
mod template;
pub mod tls;
mod token;

pub use authority::{Authority, AuthorityPem};
pub use error::PkiError;
pub use fingerprint::Fingerprint;
pub use node_certificate::{NodePeer, NodeRequest, node_request};
pub use private_key::PrivateKey;
pub use refusal::Refusal;
pub use secret::{Secret, SecretHash};
pub use server_certificate::Identity;
pub use token::{AccessToken, JoinToken};
