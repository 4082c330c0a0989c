//! What became of an intent on each node, in the reference's words.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ids::Name, problem::Problem};

/// How far a node is with an intent.
///
/// ```text
///   Validating ─► Pending ─► Provisioning ─► Success
///        │           ▲            │    ▲        │ drift, or a refusal of the kernel
///        ▼           └────────────┤    └────────┤
///      Failed ◄─────────────── Retrying ◄───────┘
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum IntentState {
    /// The node has not yet looked at the intent as it is wanted now.
    Validating,
    /// It waits for something: the node's answer, or a moment at which VFs may be created.
    Pending,
    /// It is being made so.
    Provisioning,
    /// Something did not succeed or does not last; it is tried again, after longer and longer rests.
    Retrying,
    /// All is as it is wanted.
    Success,
    /// It cannot be so, or was given up after several tries.
    Failed,
}

impl std::fmt::Display for IntentState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Validating => "Validating",
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Retrying => "Retrying",
            Self::Success => "Success",
            Self::Failed => "Failed",
        })
    }
}

/// An intent on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IntentOnNode {
    /// The node.
    pub node: Name,
    /// How far it is.
    pub state: IntentState,
    /// Why it is no further: what decided its state first, then all else that is wrong with it there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}
