//! What a node is asked to be. The server decides it, the agent makes it so, and keeps the last one
//! it accepted on disk.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    adapter::AdapterId,
    ids::{IfName, MacAddr, Name},
    intent::{Intent, WhenToCreateVfs},
    performance::Performance,
};

/// Accelerated networking turned on for an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterEnable {
    /// The intent.
    pub intent: Name,
    /// Percentage of nodes that may be down at once, 0..=99.
    pub node_reserve_percentage: u8,
    /// The reserve as a number of nodes, if it was given as one; it counts then, and the percentage
    /// is what it was of the nodes that there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_down: Option<u32>,
    /// When VFs that are missing may be created.
    #[serde(default)]
    pub when: WhenToCreateVfs,
}

/// What is wanted for one VM on the intent that acceleration is enabled on. A VM that is not listed is
/// left alone; so are its NICs on other intents' bridges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmDesired {
    /// The VM.
    pub uuid: Uuid,
    /// Its wanted level; `None` means back to the software path.
    pub level: Option<Performance>,
    /// Stage standby NIC and root port on its definition.
    #[serde(default)]
    pub prepare: bool,
    /// Address of the NIC that is added on the intent's bridge if the VM has none there. It is part of
    /// the wish, so that nothing that is interrupted can add two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_nic: Option<MacAddr>,
    /// Kept on the software path for a while on purpose; its capacity stays held.
    #[serde(default)]
    pub parked: bool,
    /// Node that it shall be migrated to, live, as soon as it is on its software path; it is parked until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate_to: Option<Name>,
    /// Names of rules of its ports that need not hold on a VF, as somebody decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived: Vec<String>,
}

/// An adapter that is taken out of the pool: none of its VFs is given out until a person lets it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Isolated {
    /// Its node.
    pub node: Name,
    /// What its interface was called then.
    pub adapter: IfName,
    /// What it is known by for good.
    pub id: AdapterId,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The code of the fault that the server did it for; none if somebody asked for it. Text, since a newer server
    /// may have codes that a node does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<String>,
    /// Why, in words.
    pub because: String,
}

/// Everything one node shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeDesired {
    /// Grows with every change; the agent never goes back.
    pub generation: u64,
    /// All intents.
    pub intents: Vec<Intent>,
    /// Where acceleration is enabled.
    pub enabled: Option<ClusterEnable>,
    /// VMs with a wish.
    pub vms: Vec<VmDesired>,
    /// Adapters that are taken out of the pool; a node is told of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub isolated: Vec<Isolated>,
}

impl NodeDesired {
    /// The intent that acceleration is enabled on.
    pub fn enabled_intent(&self) -> Option<&Intent> {
        let enabled = self.enabled.as_ref()?;
        self.intents
            .iter()
            .find(|intent| intent.name == enabled.intent)
    }

    /// How an adapter of a node is taken out of the pool, if it is.
    pub fn isolation(&self, node: &Name, id: &AdapterId) -> Option<&Isolated> {
        let mut all = self.isolated.iter();
        all.find(|isolated| isolated.node == *node && isolated.id == *id)
    }

    /// The wish for a VM.
    pub fn vm(&self, uuid: Uuid) -> Option<&VmDesired> {
        self.vms.iter().find(|vm| vm.uuid == uuid)
    }
}
