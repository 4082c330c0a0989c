//! The agent's line to the cluster's servers.
//!
//! ```text
//!   join.rs         a token becomes an identity, once ──► credentials.rs   the node's directory
//!   dial.rs         how a server is reached
//!   line.rs         dials, follows, reports, dials again ◄──┘
//!   servers.rs      whom to dial next, and when
//!   ask.rs          what a node asks besides
//! ```
//!
//! An agent dials, so that nothing has to be let in to a node. Cut off from all servers it goes on with the last
//! wish that it accepted; what is said here is only ever what has changed.

pub mod ask;
mod credentials;
mod dial;
#[cfg(feature = "fuzz")]
pub mod fuzzed;
mod http;
mod join;
mod line;
mod servers;

pub use credentials::Credentials;
pub use dial::{Answer, Dial, Dialled, Talk};
pub use http::Ended;
pub use join::join;
pub use line::{Connected, Line, Node, Pending};
