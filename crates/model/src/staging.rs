//! What is to be staged on a VM's persistent definition, for its next cold start.

use serde::{Deserialize, Serialize};

use crate::ids::MacAddr;

/// Changes of a definition. Nothing is ever lowered or taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// NICs that shall stand by for a VF; a free PCIe root port for each belongs to it.
    pub standby: Vec<MacAddr>,
    /// NICs that shall have at least so many queues.
    pub queues: Vec<(MacAddr, u32)>,
}

impl Staging {
    /// True if there is nothing to stage.
    pub fn is_empty(&self) -> bool {
        self.standby.is_empty() && self.queues.is_empty()
    }
}
