//! Why a VM's packets go the way they go: the chain from the wish to the traffic, link by link.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ids::{MacAddr, Name},
    problem::Code,
};

/// How a link of the chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// As it shall be.
    Holds,
    /// Not yet; it comes by itself.
    Waits,
    /// In the way of what is wanted.
    Broken,
    /// Nobody could look.
    NotSeen,
    /// Not there and not missed: nothing is wanted of it, or what comes before it is not there.
    Idle,
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainLink {
    /// `wish`, `admission`, `node`; of each NIC `switch`, `policy`, `adapter`, `vf`, `iommu_group`, `vfio`, `device`,
    /// `guest`, `change`, `traffic`.
    pub link: String,
    /// How it is.
    pub state: LinkState,
    /// What was found, with names and numbers.
    pub text: String,
    /// What was counted there, and what nobody counts; of `traffic` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The catalogue's entry, if it is broken by something that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub code: Option<Code>,
    /// What helps, if it is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// A NIC's part of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NicChain {
    /// The NIC.
    pub mac: MacAddr,
    /// Its links, from the switch to the traffic.
    pub links: Vec<ChainLink>,
}

/// The whole chain of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmExplanation {
    /// Name on its node.
    pub name: String,
    /// Identity.
    pub uuid: Uuid,
    /// Where it is; `None` if no node has it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// All of it in one sentence: the way the packets go, and the first link that is broken.
    pub summary: String,
    /// Links of the VM as a whole.
    pub links: Vec<ChainLink>,
    /// Those of each NIC on the enabled intent's bridge.
    pub nics: Vec<NicChain>,
}
