//! One look at a node, as the rules take it.

use std::collections::{BTreeMap, BTreeSet};

use accelnet_model::{
    AdapterFacts, BridgeFacts, BridgePort, IfName, Intent, MacAddr, Name, NicFacts, NodeFacts,
    NodeStatus, PciAddress, PolicyFinding, UnseenVm, VfFacts, VmFacts, VmState,
};
use uuid::Uuid;

/// Everything that was seen of a node at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The node as a whole.
    pub node: NodeFacts,
    /// Its adapters.
    pub adapters: Vec<AdapterFacts>,
    /// Bridges that intents name, as far as they exist.
    pub bridges: Vec<BridgeFacts>,
    /// Its VMs; those that could not be seen (`stale`) as they were seen last.
    pub vms: Vec<VmFacts>,
    /// VMs that are there and could not be looked at.
    pub unseen_vms: Vec<UnseenVm>,
    /// VMs among `vms` of which nobody knows how they are now: nothing new is begun with them.
    pub stale: BTreeSet<Uuid>,
    /// Adapters that could not be looked at, and why.
    pub unseen_adapters: Vec<(IfName, String)>,
    /// Policy on the host path of each vNIC.
    pub policy: BTreeMap<(Uuid, MacAddr), Vec<PolicyFinding>>,
    /// False if VMs could not be asked for: then nothing may be concluded from their absence.
    pub hypervisor_answers: bool,
}

/// A node's name and what was seen of it.
pub type Node = (Name, Observed);

impl Observed {
    /// What a node's report says, as an observation.
    pub fn from_status(status: &NodeStatus) -> Self {
        let mut policy = BTreeMap::new();
        for vm in &status.vms {
            for nic in &vm.facts.nics {
                policy.insert((vm.facts.uuid, nic.mac), vm.policy.clone());
            }
        }
        Self {
            node: status.node.clone(),
            adapters: status
                .adapters
                .iter()
                .map(|adapter| adapter.facts.clone())
                .collect(),
            bridges: status.bridges.clone(),
            vms: status.vms.iter().map(|vm| vm.facts.clone()).collect(),
            unseen_vms: status.unseen_vms.clone(),
            stale: BTreeSet::new(),
            unseen_adapters: Vec::new(),
            policy,
            hypervisor_answers: status.node.libvirt.is_some(),
        }
    }

    /// True if policy on the NIC's path was looked at. What was not seen is not "none": that is read once the VM
    /// is known, so not yet with the first look after a start.
    pub fn knows_policy(&self, vm: Uuid, mac: MacAddr) -> bool {
        self.policy.contains_key(&(vm, mac))
    }

    /// The bridge with this name.
    pub fn bridge(&self, name: &IfName) -> Option<&BridgeFacts> {
        self.bridges.iter().find(|bridge| &bridge.ifname == name)
    }

    /// The adapter with this interface name.
    pub fn adapter(&self, name: &IfName) -> Option<&AdapterFacts> {
        self.adapters.iter().find(|adapter| &adapter.ifname == name)
    }

    /// The intent's adapters, by name or by rule.
    pub fn covered<'a>(&'a self, intent: &'a Intent) -> impl Iterator<Item = &'a AdapterFacts> {
        let adapters = self.adapters.iter();
        adapters.filter(|adapter| intent.covers(adapter))
    }

    /// The intent's adapters by which its bridge leads out: ports of it, or members of an
    /// active-backup bond that is.
    pub fn uplinks<'a>(&'a self, intent: &'a Intent) -> impl Iterator<Item = &'a AdapterFacts> {
        self.covered(intent)
            .filter(|adapter| self.port_of(adapter, &intent.bridge).is_some())
    }

    /// Those of them that frames go by now: not the backups of a bond.
    pub fn active_uplinks<'a>(
        &'a self,
        intent: &'a Intent,
    ) -> impl Iterator<Item = &'a AdapterFacts> {
        self.uplinks(intent)
            .filter(|adapter| self.is_active(adapter))
    }

    /// Those of these whose VFs are given out: all that are not taken out of the pool.
    pub fn giving_uplinks<'a>(
        &'a self,
        intent: &'a Intent,
    ) -> impl Iterator<Item = &'a AdapterFacts> {
        self.active_uplinks(intent)
            .filter(|adapter| adapter.isolated.is_none())
    }

    /// The bridge's port by which the adapter's frames come: itself, or its active-backup bond.
    pub fn port_of<'a>(&'a self, adapter: &'a AdapterFacts, bridge: &IfName) -> Option<&'a IfName> {
        port_of(&self.bridges, adapter, bridge)
    }

    /// False for the backup in an active-backup bond. Where no member can be used nothing is better
    /// than what is.
    pub fn is_active(&self, adapter: &AdapterFacts) -> bool {
        let master = adapter.master.as_ref();
        let bond = master.and_then(|master| self.bridge(master)?.backup_bond());
        let active = bond.and_then(|bond| bond.active.as_ref());
        active.is_none_or(|active| *active == adapter.ifname)
    }

    /// The VF with this address and its adapter.
    pub fn vf(&self, pci: PciAddress) -> Option<(&AdapterFacts, &VfFacts)> {
        self.adapters.iter().find_map(|adapter| {
            adapter
                .vfs
                .iter()
                .find(|vf| vf.pci == pci)
                .map(|vf| (adapter, vf))
        })
    }

    /// The VM with this identity.
    pub fn vm(&self, uuid: Uuid) -> Option<&VmFacts> {
        self.vms.iter().find(|vm| vm.uuid == uuid)
    }

    /// VMs that run (or are suspended) with a NIC on the bridge.
    pub fn vms_on<'a>(&'a self, bridge: &'a IfName) -> impl Iterator<Item = &'a VmFacts> {
        self.vms
            .iter()
            .filter(|vm| vm.state != VmState::Off && nics_on(vm, bridge).next().is_some())
    }

    /// The VF that is the fast half of a NIC, with its adapter.
    pub fn vf_of(&self, vm: &VmFacts, nic: &NicFacts) -> Option<(&AdapterFacts, &VfFacts)> {
        let alias = nic.alias.as_ref()?;
        let mut with_it = vm
            .hostdevs
            .iter()
            .filter(|hostdev| hostdev.teaming_with.as_ref() == Some(alias));
        with_it.find_map(|hostdev| self.vf(hostdev.pci))
    }

    /// All VMs were seen, and so all devices that VMs have.
    pub fn all_vms_seen(&self) -> bool {
        self.hypervisor_answers && self.unseen_vms.is_empty() && self.stale.is_empty()
    }

    /// A VM that needs the PCI function at its next start: its persistent definition names it.
    pub fn promised(&self, pci: PciAddress) -> Option<&VmFacts> {
        self.vms.iter().find(|vm| vm.hostdevs_config.contains(&pci))
    }

    /// True if any VM has the PCI function in its live definition.
    pub fn is_assigned(&self, pci: PciAddress) -> bool {
        self.vms
            .iter()
            .any(|vm| vm.hostdevs.iter().any(|hostdev| hostdev.pci == pci))
    }
}

/// The port of `bridge` by which the adapter's frames come: itself, or its active-backup bond.
pub fn port_of<'a>(
    bridges: &'a [BridgeFacts],
    adapter: &'a AdapterFacts,
    bridge: &IfName,
) -> Option<&'a IfName> {
    let master = adapter.master.as_ref()?;
    if master == bridge {
        return Some(&adapter.ifname);
    }
    let bond = bridges.iter().find(|found| &found.ifname == master)?;
    bond.backup_bond()?;
    (bond.master.as_ref() == Some(bridge)).then_some(&bond.ifname)
}

/// The bridge's port that is the NIC's tap.
pub fn tap_port<'a>(bridge: &'a BridgeFacts, nic: &NicFacts) -> Option<&'a BridgePort> {
    bridge.port(nic.tap.as_ref()?)
}

/// A VM's NICs on a bridge.
pub fn nics_on<'a>(vm: &'a VmFacts, bridge: &'a IfName) -> impl Iterator<Item = &'a NicFacts> {
    vm.nics
        .iter()
        .filter(move |nic| nic.bridge.as_ref() == Some(bridge))
}
