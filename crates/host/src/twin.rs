//! A simulated machine: adapters with VFs, a bridge, and the guests behind both.
//!
//! [`Machine`] is plain state that a test arranges and examines; [`HostTwin`] is the port to it. The
//! model keeps what decides where a frame goes ([`frames`]): the card's filters, the bridge's
//! forwarding table, the hold queue of a tap, and what a guest does with copies.
//!
//! Time is virtual: it stands still but for [`Host::pause`](crate::Host::pause) and
//! [`HostTwin::advance`]. Nothing here sleeps.

mod bond;
pub mod frames;
pub mod guest;
mod hold;
mod port;
mod strangers;
mod vfs;
mod vlan;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use accelnet_model::{
    AdapterFacts, AdapterId, BridgeFacts, BridgePort, Counters, FdbEntry, Hook, IfName, MacAddr,
    NodeFacts, PciAddress, PolicyFinding, SriovSupport, Support, VfAttributes, VfFacts, VfUser,
    intent::BRIDGE_MARK,
};
pub use frames::{Arrival, Station};
pub use guest::{Guest, Habits};

use crate::{HoldQueue, HostEvent};

/// State of the simulated machine. Everything may be changed by a test, as anybody with root can
/// change a real one.
#[derive(Debug)]
pub struct Machine {
    /// Facts about the machine as a whole.
    pub node: NodeFacts,
    /// Adapters with their VFs. `active_vectors` is not kept here but follows from the guests.
    pub adapters: Vec<AdapterFacts>,
    /// Bridges.
    pub bridges: Vec<BridgeFacts>,
    /// Hold queues, by tap.
    pub holds: BTreeMap<IfName, HoldQueue>,
    /// Policy on taps.
    pub policy: BTreeMap<IfName, Vec<PolicyFinding>>,
    /// VLANs of guests, by their addresses, on a bridge that filters by VLAN.
    vlans: BTreeMap<MacAddr, u16>,
    /// Taps with a queueing discipline of somebody else.
    pub foreign_qdiscs: BTreeSet<IfName>,
    /// Guests that run.
    pub guests: Vec<Guest>,
    /// VFs that a VM has and that no NIC of its guest stands by for: guest's process and VF.
    pub strays: Vec<(u32, PciAddress)>,
    /// What the kernel does not tell.
    pub unreadable: Unreadable,
    /// PFs whose VFs are being made: whoever looks at them waits until that is over.
    pub making: BTreeSet<PciAddress>,
    /// VFs that take no attributes, whatever is asked.
    pub stubborn: BTreeSet<PciAddress>,
    /// PFs whose driver makes no VFs.
    pub refuses_vfs: BTreeSet<PciAddress>,
    /// VFs do not show how many vectors they have, as ice's do not.
    pub vectors_hidden: bool,
    /// The driver that this kernel's modules name for VFs.
    pub vfio_driver: String,
    /// PFs that cannot have an address in their filter that a VF of theirs carries, and the other way
    /// round: as ice's before Linux 5.19.
    pub exclusive: BTreeSet<PciAddress>,
    /// What its card counts of VFs; of those that are not here nothing.
    pub vf_counters: BTreeMap<PciAddress, Counters>,
    /// How often interrupts of VFs have fired.
    pub fired: BTreeMap<PciAddress, u64>,
    /// Packets that adapters had no buffer for.
    pub missed: BTreeMap<IfName, u64>,
    /// How many addresses the filter of an adapter has room for.
    pub filter_room: usize,
    /// What should never happen and did, in words.
    pub violations: Vec<String>,
    /// VFs that somebody has given an address, and opens in a moment ([`Machine::open`]).
    pub opening: BTreeMap<PciAddress, MacAddr>,
    /// When VFs were reset last.
    resets: BTreeMap<PciAddress, Duration>,
    now: Duration,
    /// Since when a queue holds.
    held_since: BTreeMap<IfName, Duration>,
    watchers: Vec<mpsc::Sender<HostEvent>>,
}

/// What cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Facts about the machine as a whole.
    pub node: bool,
    /// The list of adapters.
    pub adapters: bool,
    /// These adapters.
    pub adapter: BTreeSet<IfName>,
    /// Bridges.
    pub bridges: bool,
    /// Policy on any path.
    pub policy: bool,
    /// Counters.
    pub traffic: bool,
}

impl Machine {
    /// A machine with one 82576-like adapter that offers seven VFs and is the uplink of a bridge.
    pub fn igb(hostname: &str, bridge: &IfName, uplink: &IfName) -> Self {
        let mut machine = Self {
            node: node(hostname),
            adapters: Vec::new(),
            bridges: Vec::new(),
            holds: BTreeMap::new(),
            policy: BTreeMap::new(),
            vlans: BTreeMap::new(),
            foreign_qdiscs: BTreeSet::new(),
            guests: Vec::new(),
            strays: Vec::new(),
            unreadable: Unreadable::default(),
            making: BTreeSet::new(),
            stubborn: BTreeSet::new(),
            refuses_vfs: BTreeSet::new(),
            vectors_hidden: false,
            vfio_driver: "vfio-pci".into(),
            exclusive: BTreeSet::new(),
            vf_counters: BTreeMap::new(),
            fired: BTreeMap::new(),
            missed: BTreeMap::new(),
            filter_room: 64,
            violations: Vec::new(),
            opening: BTreeMap::new(),
            resets: BTreeMap::new(),
            now: Duration::ZERO,
            held_since: BTreeMap::new(),
            watchers: Vec::new(),
        };
        machine.add_network(bridge, uplink);
        machine
    }

    /// One more such adapter, the uplink of a bridge of its own.
    pub fn add_network(&mut self, bridge: &IfName, uplink: &IfName) {
        let adapter = adapter(self.adapters.len() as u8 + 1, bridge, uplink);
        self.bridges.push(BridgeFacts {
            ifname: bridge.clone(),
            kind: "bridge".into(),
            bond_mode: None,
            bond: None,
            alias: None,
            master: None,
            mac: adapter.mac,
            mac_pinned: false,
            mtu: 1500,
            up: true,
            vlan_filtering: false,
            has_host_address: true,
            ports: vec![new_port(uplink, adapter.mac)],
        });
        self.adapters.push(adapter);
    }

    /// The same with a card like a ConnectX, whose seven VFs share so many vectors.
    pub fn mlx5(hostname: &str, bridge: &IfName, uplink: &IfName, vectors: u32) -> Self {
        let mut machine = Self::igb(hostname, bridge, uplink);
        for adapter in &mut machine.adapters {
            adapter.pci_id = "15b3:1017".into();
            adapter.driver = Some("mlx5_core".into());
            adapter.vf_pci_id = Some("15b3:1018".into());
            adapter.speed_mbps = Some(25_000);
            adapter.vf_total_msix = Support::Supported(vectors);
        }
        machine
    }

    /// The virtual time.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The VF with this address.
    pub fn vf(&self, pci: PciAddress) -> Option<&VfFacts> {
        let mut vfs = self.adapters.iter().flat_map(|adapter| &adapter.vfs);
        vfs.find(|vf| vf.pci == pci)
    }

    /// The VF with this address, to change it behind everybody's back.
    pub fn vf_mut(&mut self, pci: PciAddress) -> Option<&mut VfFacts> {
        let mut vfs = self
            .adapters
            .iter_mut()
            .flat_map(|adapter| &mut adapter.vfs);
        vfs.find(|vf| vf.pci == pci)
    }

    /// The bridge port with this name.
    pub fn port(&self, name: &IfName) -> Option<&BridgePort> {
        let mut ports = self.bridges.iter().flat_map(|bridge| &bridge.ports);
        ports.find(|port| &port.ifname == name)
    }

    /// A port of whichever bridge, to change it.
    pub fn port_mut(&mut self, name: &IfName) -> Option<&mut BridgePort> {
        let mut ports = self.bridges.iter_mut().flat_map(|bridge| &mut bridge.ports);
        ports.find(|port| &port.ifname == name)
    }

    fn adapter_mut(&mut self, pf: PciAddress) -> Option<&mut AdapterFacts> {
        self.adapters.iter_mut().find(|adapter| adapter.pci == pf)
    }

    /// Exactly `count` fresh VFs, as a driver makes them: a pool of vectors is divided among them
    /// (mlx5_get_default_msix_vec_count).
    fn make_vfs(&mut self, pf: PciAddress, count: u32) {
        if let Some(adapter) = self.adapter_mut(pf) {
            adapter.vfs = (0..count).map(|index| new_vf(pf, index)).collect();
            if let Some(total) = adapter.vf_total_msix.value().filter(|total| **total > 0) {
                let each = Support::Supported(total / count.max(1));
                adapter.vfs.iter_mut().for_each(|vf| vf.msix_vectors = each);
            }
        }
    }

    /// What a power cycle leaves: no guests, no VFs, none of the settings of ports and filters.
    pub fn reboot(&mut self) {
        self.node.boot_id.push('+');
        self.guests.clear();
        self.strays.clear();
        self.opening.clear();
        self.holds.clear();
        self.watchers.clear();
        for adapter in &mut self.adapters {
            adapter.vfs.clear();
            adapter.filter.clear();
            adapter.drivers_autoprobe = Support::Supported(true);
        }
        let uplinks: Vec<(IfName, MacAddr)> = self
            .adapters
            .iter()
            .map(|adapter| (adapter.ifname.clone(), adapter.mac))
            .chain(
                self.bridges
                    .iter()
                    .map(|bond| (bond.ifname.clone(), bond.mac)),
            )
            .collect();
        // Bridges that we made live no longer than their kernel; the others' managers make them again.
        let ours = |bridge: &BridgeFacts| {
            let alias = bridge.alias.as_deref().unwrap_or_default();
            alias.starts_with(BRIDGE_MARK)
        };
        for adapter in &mut self.adapters {
            let mut made = self.bridges.iter().filter(|bridge| ours(bridge));
            if made.any(|bridge| adapter.master.as_ref() == Some(&bridge.ifname)) {
                (adapter.master, adapter.up, adapter.carrier) = (None, false, false);
            }
        }
        self.bridges.retain(|bridge| !ours(bridge));
        for bridge in &mut self.bridges {
            bridge.mac_pinned = false;
            let here = |name: &IfName| bridge.ports.iter().any(|port| &port.ifname == name);
            let ports = uplinks.iter().filter(|(name, _)| here(name));
            bridge.ports = ports.map(|(name, mac)| new_port(name, *mac)).collect();
        }
    }

    /// Tells whoever watches.
    pub fn tell(&mut self, event: &HostEvent) {
        self.watchers
            .retain(|watcher| watcher.send(event.clone()).is_ok());
    }

    /// The process that watched is gone, and what it kept with it.
    pub fn end_watches(&mut self) {
        self.watchers.clear();
        let vfs = self
            .adapters
            .iter_mut()
            .flat_map(|adapter| &mut adapter.vfs);
        for vf in vfs.filter(|vf| vf.user == VfUser::Reserved) {
            vf.user = VfUser::Nobody;
        }
    }
}

/// The simulated machine as a [`Host`](crate::Host). Clones are the same machine.
#[derive(Debug, Clone)]
pub struct HostTwin(Arc<Mutex<Machine>>);

impl HostTwin {
    /// The port to this machine.
    pub fn new(machine: Machine) -> Self {
        Self(Arc::new(Mutex::new(machine)))
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or changes the machine.
    pub fn with<R>(&self, f: impl FnOnce(&mut Machine) -> R) -> R {
        f(&mut self.lock())
    }

    /// Lets time pass. Guests go on meanwhile.
    pub fn advance(&self, time: Duration) {
        self.with(|machine| {
            machine.note_holds();
            machine.now += time;
            machine.let_go_of_holds();
            machine.chatter();
        });
    }
}

/// A bridge as it is just after it was made.
fn new_bridge(name: &IfName, alias: &str) -> BridgeFacts {
    BridgeFacts {
        ifname: name.clone(),
        kind: "bridge".into(),
        bond_mode: None,
        bond: None,
        alias: Some(alias.to_owned()),
        master: None,
        mac: MacAddr([2, 0, 0, 0, 0xbb, 0xff]),
        mac_pinned: false,
        mtu: 1500,
        up: true,
        vlan_filtering: false,
        has_host_address: false,
        ports: Vec::new(),
    }
}

fn node(hostname: &str) -> NodeFacts {
    NodeFacts {
        hostname: hostname.to_owned(),
        kernel: "6.12.0".into(),
        smt_active: Support::Supported(false),
        kvm: true,
        iommu: true,
        interrupt_remapping: Support::Supported(true),
        vfio: true,
        memory_available_mib: 64 * 1024,
        hook: Hook::Loaded,
        boot_id: format!("first of {hostname}"),
        ..NodeFacts::default()
    }
}

/// Adapter with this number, from 1, which is its bus.
fn adapter(number: u8, bridge: &IfName, uplink: &IfName) -> AdapterFacts {
    let mac = MacAddr([2, 0, 0, 0, 0xbb, number]);
    AdapterFacts {
        id: AdapterId {
            pci_path: format!("pci0000:00/1{}.0/00.0", number - 1),
            permanent_mac: mac,
            port: 0,
        },
        ifname: uplink.clone(),
        altnames: Vec::new(),
        pci: PciAddress {
            domain: 0,
            bus: number,
            device: 0,
            function: 0,
        },
        pci_id: "8086:10c9".into(),
        driver: Some("igb".into()),
        driver_version: None,
        firmware: None,
        devlink: None,
        numa_node: None,
        pcie: Support::Unknown,
        pcie_errors: Support::Unknown,
        link_losses: Support::Unknown,
        up: true,
        carrier: true,
        speed_mbps: Some(1000),
        mtu: 1500,
        mac,
        master: Some(bridge.clone()),
        claims: Vec::new(),
        eswitch: Support::Unsupported,
        vf_owners: Vec::new(),
        isolated: None,
        sriov: SriovSupport::Supported,
        sriov_evidence: None,
        total_vfs: 7,
        drivers_autoprobe: Support::Supported(true),
        vf_total_msix: Support::Supported(0),
        vf_pci_id: Some("8086:10ca".into()),
        filter_room: Support::Unknown,
        filter: Vec::new(),
        vfs: Vec::new(),
    }
}

/// VFs follow their PF as on an 82576: from device 16 on, every second function.
fn new_vf(pf: PciAddress, index: u32) -> VfFacts {
    let pci = PciAddress {
        device: 16 + (index / 4) as u8,
        function: (index % 4 * 2) as u8,
        ..pf
    };
    VfFacts {
        index,
        pci,
        driver: None,
        iommu_group: Some(20 * u32::from(pf.bus) + index),
        group_peers: Vec::new(),
        attributes: VfAttributes::baseline(),
        user: VfUser::Nobody,
        active_vectors: 0,
        msix_vectors: Support::Unsupported,
        vm: None,
        promised: None,
    }
}

fn new_port(name: &IfName, mac: MacAddr) -> BridgePort {
    BridgePort {
        ifname: name.clone(),
        learning: true,
        flood: true,
        isolated: false,
        rx_packets: 0,
        fdb: vec![FdbEntry {
            mac,
            vlan: None,
            local: true,
            fixed: true,
            sticky: false,
        }],
        hold_queue: false,
        vlan_of: None,
        pvid: None,
    }
}

#[cfg(test)]
mod tests;
