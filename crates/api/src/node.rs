//! Nodes of a cluster and its servers: what is known of each, and how a node joins.

use std::fmt;

use accelnet_model::{Isolated, Name, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::types::NodeSummary;

/// One node: what is seen at a glance, and its membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeDetail {
    /// The node at a glance.
    #[serde(flatten)]
    pub summary: NodeSummary,
    /// Its identity, made when it joined; none where server and agent are one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// When it joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub joined: Option<Timestamp>,
    /// The end of the certificate that it is connected with; nodes renew theirs when half of its time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub certificate_expires: Option<Timestamp>,
    /// Its VMs are kept on their software paths until it starts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainProgress>,
    /// Its adapters that are taken out of the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub isolated: Vec<Isolated>,
}

/// How far a node is with giving up its VFs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainProgress {
    /// VMs of these that still have a VF.
    pub vms_left: u32,
    /// Why some of them keep theirs; it is tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Problem>,
}

/// Body of `POST /join-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// Only a node of this name may join with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// So many seconds it can be used: a day at most.
    #[schema(minimum = 1, maximum = 86400)]
    pub ttl_s: u64,
}

/// What a node joins with, once. It is shown this one time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinToken {
    /// The secret.
    pub token: String,
    /// It cannot be used after this.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// What to type on the node.
    pub command: String,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("JoinToken");
        shown
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// One of the cluster's servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerSummary {
    /// Its name: that of its machine.
    pub name: String,
    /// Where it can be reached, like `server1.example:7643`.
    pub address: String,
    /// It is the one that decides; the others serve what only reads.
    pub active: bool,
    /// It answers there, as the active one has seen it within the last seconds.
    #[serde(default = "answers")]
    pub reachable: bool,
    /// Since when it is that, or has been there.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Its version.
    pub version: String,
}

/// Servers that do not say so are of a version that did not look.
fn answers() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_token_is_not_in_what_is_logged() {
        let token = JoinToken {
            token: "accelnet-join-1.secret".to_owned(),
            expires: Timestamp::UNIX_EPOCH,
            command: "accelnetd join https://server1:7643 accelnet-join-1.secret".to_owned(),
        };
        assert!(!format!("{token:?}").contains("secret"));
    }
}
