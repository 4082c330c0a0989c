//! The HTTP contract: paths, types and a typed client.
//!
//! JSON over HTTP/1.1 below `/api/v1`; lists are `{"items": […]}`; every error is
//! `application/problem+json` (RFC 9457) in the shape of [`ProblemDocument`]. The served OpenAPI
//! document is generated from these types and from the server's routes.

pub mod agents;
pub mod backup;
pub mod capacity;
pub mod client;
pub mod draining;
pub mod health;
pub mod incoming;
pub mod json;
pub mod metrics;
pub mod node;
pub mod people;
mod place;
pub mod types;

pub use capacity::*;
pub use client::{Client, ClientError};
pub use health::*;
pub use node::*;
pub use people::*;
pub use place::ServerUrl;
pub use types::*;

/// Where the API begins.
pub const BASE: &str = "/api/v1";

/// Where servers listen for nodes, people and programs, unless they are told otherwise.
pub const DEFAULT_PORT: u16 = 7643;

/// Header in which a node that passes a request on says by whom it was asked: `NODE UID`. It counts only on
/// a connection with that node's certificate.
pub const CALLER_HEADER: &str = "x-accelnet-caller";

/// With this in `cache-control` (RFC 9111, 5.2.1.2) whoever reads takes what may be old: a server that stands by
/// answers from its copy of what is kept.
pub const MAY_BE_OLD: &str = "max-stale";
/// Header of such an answer: the server whose copy it is from, as `HOST:PORT`.
pub const COPY_HEADER: &str = "x-accelnet-copy";

/// The local administrator's socket: root and group `accelnet` may connect.
pub const DEFAULT_SOCKET: &str = "/run/accelnet/accelnet.sock";
