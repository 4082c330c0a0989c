//! The little of a node's report that is kept: what a server needs that has not heard the node yet. Which VMs it has,
//! on what, and which VFs it could give; not what they are made of, what they do, and what is wrong with them, which
//! the node says anew. Of a node with 20 VMs and 7 VFs that is 6 KiB, a third of the shortest report.

use accelnet_model::{
    AdapterFacts, AdapterStatus, Bound, BridgeFacts, IfName, MacAddr, Name, NicFacts, NicPath,
    NodeFacts, NodeStatus, PciAddress, Performance, Problem, Support, UnseenVm, VfAttributes,
    VfFacts, VfUser, VmFacts, VmState, VmStatus,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// The node.
    pub name: Name,
    /// All but its VMs.
    pub rest: Rest,
    /// Its VMs.
    pub vms: Vec<Vm>,
    /// Those that it could not look at.
    pub unseen_vms: Vec<UnseenVm>,
}

/// A node without its VMs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    hostname: String,
    boot_id: String,
    /// Its hypervisor answered: the VMs are all that it has.
    libvirt: Option<(u32, u32, u32)>,
    adapters: Vec<Adapter>,
    bridges: Vec<BridgeFacts>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Adapter {
    facts: AdapterFacts,
    vfs: Vec<Vf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    quarantined: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Vf {
    index: u32,
    pci: PciAddress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vm: Option<Uuid>,
    /// Somebody else has it or needs it, or it cannot be given to a VM: who or why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_ours: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    msix_vectors: Option<u32>,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vm {
    uuid: Uuid,
    name: String,
    state: VmState,
    vcpus: u32,
    memory_mib: u64,
    machine: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<Performance>,
    nics: Vec<Nic>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Nic {
    mac: MacAddr,
    model: String,
    bridge: Option<IfName>,
    path: NicPath,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapter: Option<IfName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vf: Option<PciAddress>,
}

impl Remembered {
    /// What is worth keeping of a report.
    pub fn of(name: Name, status: &NodeStatus) -> Self {
        // Ports, and entries there, come and go with VMs and traffic.
        let bridges = status.bridges.iter().map(|bridge| BridgeFacts {
            ports: Vec::new(),
            ..bridge.clone()
        });
        Self {
            name,
            rest: Rest {
                hostname: status.node.hostname.clone(),
                boot_id: status.node.boot_id.clone(),
                libvirt: status.node.libvirt,
                adapters: status.adapters.iter().map(Adapter::of).collect(),
                bridges: bridges.collect(),
            },
            vms: status.vms.iter().map(Vm::of).collect(),
            unseen_vms: status.unseen_vms.clone(),
        }
    }

    /// The report as far as it is remembered. It is none of now: nothing is decided on the rest of it.
    pub fn status(self) -> NodeStatus {
        let Rest {
            hostname,
            boot_id,
            libvirt,
            adapters,
            bridges,
        } = self.rest;
        NodeStatus {
            node: NodeFacts {
                hostname,
                boot_id,
                libvirt,
                ..NodeFacts::default()
            },
            adapters: adapters.into_iter().map(Adapter::status).collect(),
            bridges,
            vms: self.vms.into_iter().map(Vm::status).collect(),
            unseen_vms: self.unseen_vms,
            ..NodeStatus::default()
        }
    }
}

impl Adapter {
    fn of(status: &AdapterStatus) -> Self {
        let AdapterStatus {
            facts, quarantined, ..
        } = status;
        Self {
            vfs: facts.vfs.iter().map(Vf::of).collect(),
            facts: AdapterFacts {
                vfs: Vec::new(),
                // It follows the VMs.
                filter: Vec::new(),
                // What is counted says nothing of where VMs are.
                link_losses: Support::Unknown,
                pcie_errors: Support::Unknown,
                ..facts.clone()
            },
            quarantined: quarantined.clone(),
        }
    }

    fn status(self) -> AdapterStatus {
        AdapterStatus {
            facts: AdapterFacts {
                vfs: self.vfs.into_iter().map(Vf::facts).collect(),
                ..self.facts
            },
            quarantined: self.quarantined,
            problems: Vec::new(),
        }
    }
}

impl Vf {
    fn of(facts: &VfFacts) -> Self {
        let user = match (&facts.user, facts.vm, facts.promised) {
            // The VM has it.
            (_, Some(_), _) => None,
            (VfUser::Nobody, None, None) if facts.group_peers.is_empty() => None,
            (VfUser::Nobody, None, None) => Some("it shares its IOMMU group".to_owned()),
            (VfUser::Reserved, None, _) => Some("it is kept for a VM that comes in".to_owned()),
            (VfUser::Nobody, None, Some(vm)) => Some(format!("VM {vm} needs it at its start")),
            (VfUser::Process { command, .. }, None, _) => Some(command.clone()),
            (VfUser::HostDriver { driver }, None, _) => Some(driver.clone()),
            (VfUser::Others { why }, None, _) => Some(why.clone()),
        };
        Self {
            index: facts.index,
            pci: facts.pci,
            vm: facts.vm,
            not_ours: user,
            msix_vectors: facts.msix_vectors.value().copied(),
        }
    }

    fn facts(self) -> VfFacts {
        VfFacts {
            index: self.index,
            pci: self.pci,
            driver: None,
            iommu_group: None,
            group_peers: Vec::new(),
            attributes: VfAttributes::baseline(),
            user: match self.not_ours {
                None => VfUser::Nobody,
                Some(why) => VfUser::Others { why },
            },
            active_vectors: 0,
            msix_vectors: match self.msix_vectors {
                None => Support::Unsupported,
                Some(vectors) => Support::Supported(vectors),
            },
            vm: self.vm,
            promised: None,
        }
    }
}

impl Vm {
    fn of(status: &VmStatus) -> Self {
        let facts = &status.facts;
        let nics = facts.nics.iter().map(|nic| {
            let seen = status.nics.iter().find(|seen| seen.mac == nic.mac);
            Nic {
                mac: nic.mac,
                model: nic.model.clone(),
                bridge: nic.bridge.clone(),
                path: seen.map_or(NicPath::None, |seen| seen.path),
                adapter: seen.and_then(|seen| seen.adapter.clone()),
                vf: seen.and_then(|seen| seen.vf),
            }
        });
        Self {
            uuid: facts.uuid,
            name: facts.name.clone(),
            state: facts.state,
            vcpus: facts.vcpus,
            memory_mib: facts.memory_mib,
            machine: facts.machine.clone(),
            level: status.level,
            nics: nics.collect(),
        }
    }

    fn status(self) -> VmStatus {
        let paths = self.nics.iter();
        let paths: Vec<_> = paths
            .map(|nic| (nic.path, nic.adapter.clone(), nic.vf))
            .collect();
        let mut status = VmStatus::of(VmFacts {
            uuid: self.uuid,
            name: self.name,
            state: self.state,
            job: None,
            pid: None,
            persistent: true,
            managed_by: None,
            machine: self.machine,
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            memory_held_mib: 0,
            memory_unpinnable: None,
            memory_on: Bound::Unknown,
            cpus_on: Bound::Unknown,
            free_root_ports_live: 0,
            free_root_ports_config: 0,
            nics: self.nics.into_iter().map(Nic::facts).collect(),
            nics_staged: Vec::new(),
            hostdevs: Vec::new(),
            hostdevs_config: Vec::new(),
        });
        status.level = self.level;
        for (nic, path) in status.nics.iter_mut().zip(paths) {
            (nic.path, nic.adapter, nic.vf) = path;
        }
        status
    }
}

impl Nic {
    fn facts(self) -> NicFacts {
        NicFacts {
            mac: self.mac,
            alias: None,
            model: self.model,
            mtu: None,
            bridge: self.bridge,
            direct: None,
            tap: None,
            standby_live: false,
            standby_config: false,
            queues_live: 1,
            queues_config: 1,
            queues_can_be_raised: false,
            link_up: true,
            policy: Vec::new(),
        }
    }
}
