//! A host that goes down: its VMs are brought off their VFs first. What is asked of the agent there, on its socket, and
//! by the agent of the cluster's server.
//!
//! ```text
//!   accelnetd drain ── DrainRequest ──► agent ──────────► server
//!                  ◄──── Drained ─────        ◄─ Parked ─
//! ```

use accelnet_model::Problem;
use serde::{Deserialize, Serialize};

/// Where the agent is asked, on its socket; by root alone.
pub const HOST_PATH: &str = "/host/v1/drain";
/// Where the server is asked, under the node's certificate ([`crate::agents::BASE`] before it).
pub const NODE_PATH: &str = "/drain";

/// A host goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    /// How long to wait until its VMs are off their VFs, in seconds.
    pub timeout_s: u64,
}

/// What the server says to it: the node's VMs are parked until its next boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Generation of the wish from which on that is so.
    pub generation: u64,
    /// What keeps a VM from being parked.
    pub problems: Vec<Problem>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// VMs that are on their VFs still.
    pub left: Vec<Left>,
    /// What went wrong on the way.
    pub problems: Vec<Problem>,
}

/// A VM that is on its VF still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its name.
    pub vm: String,
    /// What is wrong with it, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Problem>,
}
