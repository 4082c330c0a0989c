//! A VM that is on its way to a node with VFs in its definition: what libvirt's hook there asks its agent, on the local
//! socket, and the agent the cluster's server.
//!
//! ```text
//!   libvirt ──► hook ── IncomingVm ──► agent ── IncomingVm ──► server
//!                 ▲                     │  ▲                     │
//!                 └────── KeptVfs ──────┘  └──── Admitted ───────┘
//! ```

use accelnet_model::{MacAddr, PciAddress, Performance};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the agent is asked, on its socket; by root alone.
pub const HOST_PATH: &str = "/host/v1/incoming";
/// Where the server is asked, under the node's certificate ([`crate::agents::BASE`] before it).
pub const NODE_PATH: &str = "/incoming";

/// A VM that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingVm {
    /// The VM.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Its NICs for which its definition has a VF that accelnet gave it.
    pub nics: Vec<MacAddr>,
}

/// What the server says to it: it may come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// Its level; without one nobody wants it accelerated any more, and what it comes with is taken off it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Performance>,
}

/// VFs that are kept for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVfs {
    /// One for each NIC.
    pub vfs: Vec<KeptVf>,
}

/// A VF that is kept for a NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVf {
    /// The NIC.
    pub nic: MacAddr,
    /// The VF that its definition shall name.
    pub vf: PciAddress,
}
