//! What libvirt says that VMs on a node can have.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// As far as acceleration needs it, of libvirt's domain capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainCapabilities {
    /// The newest machine type with PCI Express (`pc-q35-10.0`), if QEMU has one.
    pub pcie_machine: Option<String>,
    /// PCI devices of the host can be given to VMs.
    pub pci_passthrough: bool,
}
