//! The HTTP contract: paths, types and a typed client.
//!
//! JSON over HTTP/1.1 below `/api/v1`; lists are `{"items": […]}`; every error is
//! `application/problem+json` (RFC 9457) in the shape of [`ProblemDocument`]. The served OpenAPI
//! document is generated from these types and from the server's routes.

pub mod capacity;
pub mod client;
pub mod json;
pub mod node;
pub mod types;

pub use capacity::*;
pub use client::{Client, ClientError};
pub use node::*;
pub use types::*;

/// Where the API begins.
pub const BASE: &str = "/api/v1";

/// The local administrator's socket: root and group `accelnet` may connect.
pub const DEFAULT_SOCKET: &str = "/run/accelnet/accelnet.sock";
