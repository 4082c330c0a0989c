//! What was observed of a node as a whole.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{capabilities::DomainCapabilities, numa::NumaNode, support::Support};

/// Facts about one hypervisor host. Versions are as the components report them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeFacts {
    /// The host name.
    pub hostname: String,
    /// `uname -r`.
    pub kernel: String,
    /// `/sys/devices/system/cpu/smt/active`; `Unsupported` where the processor has no SMT.
    pub smt_active: Support<bool>,
    /// `/dev/kvm` exists.
    pub kvm: bool,
    /// IOMMU groups exist (`/sys/kernel/iommu_groups` is not empty).
    pub iommu: bool,
    /// Interrupt remapping is on; without it vfio refuses devices unless unsafe interrupts are
    /// allowed (kernel: drivers/vfio/vfio_iommu_type1.c).
    pub interrupt_remapping: Support<bool>,
    /// The vfio-pci driver is there or can be loaded.
    pub vfio: bool,
    /// libvirt's version (major, minor, release), if it answers.
    pub libvirt: Option<(u32, u32, u32)>,
    /// QEMU's version, if known.
    pub qemu: Option<(u32, u32, u32)>,
    /// What VMs can have, if libvirt says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_capabilities: Option<DomainCapabilities>,
    /// `MemAvailable` in MiB.
    pub memory_available_mib: u64,
    /// Network functions and interfaces that are no adapters, and what they are instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_adapters: Vec<NoAdapter>,
    /// libvirt's hook, by which it asks before a VM comes in on its VF (`accelnetd hook`).
    #[serde(default)]
    pub hook: Hook,
    /// Its NUMA nodes (`/sys/devices/system/node`); `Unsupported` where the kernel has no NUMA.
    #[serde(default)]
    pub numa: Support<Vec<NumaNode>>,
    /// Change of the machine's boot: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// How far libvirt's hook is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// It could not be told.
    #[default]
    Unknown,
    /// It is not there, or cannot be run.
    Missing,
    /// It is there, and libvirt's daemon was started when there was none: it looks for hooks at its start only
    /// (<https://libvirt.org/hooks.html>).
    NotLoaded,
    /// libvirt calls it.
    Loaded,
}

/// A network function or interface that looks like an adapter and is none that VFs could be had of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoAdapter {
    /// Its interface, or its PCI address where it has none. Domains of Intel VMD have more digits than
    /// other PCI addresses.
    pub name: String,
    /// What it is, in words.
    pub what: String,
}
