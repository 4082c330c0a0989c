//! The real machine: sysfs, PCI config space, rtnetlink, traffic control.
//!
//! [`Linux`] only delegates; each module holds one subject.

mod adapters;
mod addresses;
mod attributes;
mod bridge;
mod claims;
mod deadline;
mod devlink;
mod ethtool;
mod fdb;
#[cfg(test)]
mod fixture;
#[cfg(feature = "fuzz")]
pub mod fuzzed;
mod genl;
mod glob;
mod guard;
pub mod hold_guard;
mod hold_queue;
pub mod hook;
mod interfaces;
mod kernel_log;
mod link;
mod links;
pub mod netlink;
mod new_bridge;
mod node;
#[cfg(test)]
mod own_network;
mod pci;
mod pcie_link;
mod policy;
mod port_counters;
mod qdisc;
mod reserved;
mod routes;
mod sriov;
pub mod sysfs;
mod traffic;
mod uapi;
mod vf;
mod vf_owners;
mod vfio;
mod vfio_driver;
mod vlans;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use accelnet_model::{
    BridgeFacts, DriverName, FdbKey, IfName, MacAddr, NodeFacts, PciAddress, PolicyFinding,
    Traffic, VfAttributes,
};
use sysfs::Root;

use crate::{
    AdaptersSeen, Entry, HoldQueue, Host, HostError, HostEvent, IdleVf, LinkSeen, PolicyPath,
    Result,
};

/// The machine this process runs on.
#[derive(Debug, Clone)]
pub struct Linux {
    root: Root,
    log: kernel_log::KernelLog,
    devlink: Arc<devlink::Devlink>,
    guard: Arc<guard::Guard>,
    reserved: Arc<reserved::Reserved>,
    started: Instant,
}

impl Linux {
    /// The interface by which a VF that is there is asked for.
    fn interface_of_vf(&self, pf: PciAddress, index: u32) -> Result<IfName> {
        if !self.root.pci(pf).join(format!("virtfn{index}")).exists() {
            return Err(HostError::Gone(format!("VF {index} of {pf}")));
        }
        adapters::interface_of(&self.root, pf)?
            .ok_or_else(|| HostError::Gone(format!("interface of {pf}")))
    }

    /// The machine as it is.
    pub fn new() -> Self {
        Self::at(Root::default())
    }

    /// A machine whose `/sys`, `/proc`, `/dev` and `/etc` are below another directory. Netlink is
    /// always that of this process's network namespace.
    pub fn at(root: Root) -> Self {
        Self {
            root,
            log: kernel_log::KernelLog::default(),
            devlink: Arc::default(),
            guard: Arc::default(),
            reserved: Arc::default(),
            started: Instant::now(),
        }
    }

    /// With a program that runs [`hold_guard::serve`], started before frames are held for the first time.
    /// Without one no frames are held ([`HostError::Unguarded`]).
    #[must_use]
    pub fn with_guard(mut self, program: PathBuf, arguments: Vec<String>) -> Self {
        self.guard = Arc::new(guard::Guard::new(program, arguments));
        self
    }
}

impl Default for Linux {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for Linux {
    fn observe_node(&self) -> Result<NodeFacts> {
        node::observe(&self.root)
    }

    fn observe_adapters(&self, busy: &BTreeSet<PciAddress>) -> Result<AdaptersSeen> {
        let mut seen = adapters::observe(&self.root, &self.log, &adapters::ask, busy)?;
        self.devlink.fill(&self.root, &mut seen.adapters);
        self.reserved.fill(&mut seen.adapters);
        Ok(seen)
    }

    fn observe_bridges(&self, named: &BTreeSet<IfName>) -> Result<Vec<BridgeFacts>> {
        bridge::observe(&self.root, named)
    }

    fn observe_policy(&self, paths: &[PolicyPath]) -> Vec<Result<Vec<PolicyFinding>>> {
        policy::observe(&self.root, paths)
    }

    fn watch(&self, events: mpsc::Sender<HostEvent>) -> Result<()> {
        watch::watch(events)
    }

    fn ensure_vf_count(&self, pf: PciAddress, count: u32) -> Result<()> {
        vf::count::ensure(&self.root, pf, count, &link::set_up)
    }

    fn ensure_vf_vfio(&self, vf: PciAddress, driver: Option<&DriverName>) -> Result<()> {
        vfio::ensure_bound(&self.root, vf, driver)
    }

    fn ensure_vf_vectors(
        &self,
        vf: PciAddress,
        vectors: u32,
        driver: Option<&DriverName>,
    ) -> Result<()> {
        vf::vectors::ensure(&self.root, vf, vectors, driver)
    }

    fn ensure_vf_reserved(&self, vf: PciAddress, reserved: bool) -> Result<()> {
        self.reserved.ensure(&self.root, vf, reserved)
    }

    fn reset_vf(&self, vf: &IdleVf) -> Result<()> {
        vf::attributes::still_idle(&self.interface_of_vf(vf.pf, vf.index)?, vf)?;
        vfio::reset(&self.root, vf.vf)
    }

    fn ensure_vf_baseline(&self, vf: &IdleVf) -> Result<VfAttributes> {
        let interface = self.interface_of_vf(vf.pf, vf.index)?;
        vf::attributes::still_idle(&interface, vf)?;
        vf::attributes::ensure(&interface, vf.index, &VfAttributes::baseline())
    }

    fn ensure_vf_attributes(
        &self,
        pf: PciAddress,
        index: u32,
        wanted: &VfAttributes,
    ) -> Result<VfAttributes> {
        vf::attributes::ensure(&self.interface_of_vf(pf, index)?, index, wanted)
    }

    fn ensure_port_learning(&self, port: &IfName, on: bool) -> Result<()> {
        bridge::ensure_port_flag(&self.root, port, "learning", on)
    }

    fn ensure_port_flood(&self, port: &IfName, on: bool) -> Result<()> {
        bridge::ensure_port_flag(&self.root, port, "unicast_flood", on)
    }

    fn ensure_bridge_mac_pinned(&self, bridge: &IfName) -> Result<()> {
        bridge::ensure_mac_pinned(&self.root, bridge)
    }

    fn ensure_bridge(&self, bridge: &IfName, mark: &str) -> Result<()> {
        new_bridge::ensure(&self.root, bridge, mark)
    }

    fn ensure_bridge_port(&self, bridge: &IfName, port: &IfName) -> Result<()> {
        new_bridge::ensure_port(&self.root, bridge, port)
    }

    fn ensure_pf_filter(&self, pf: &IfName, mac: MacAddr, present: bool) -> Result<()> {
        fdb::filter::ensure(pf, mac, present)
    }

    fn ensure_bridge_entry(&self, port: &IfName, key: FdbKey, wanted: Entry) -> Result<()> {
        let (bridge, by_vlan) = bridge::master_of(&self.root, port)?;
        fdb::ensure_entry(port, bridge, by_vlan, key, wanted)
    }

    fn ensure_hold_queue(&self, tap: &IfName, wanted: HoldQueue) -> Result<()> {
        hold_queue::ensure(tap, wanted, &self.guard)
    }

    fn ensure_tap_room(&self, tap: &IfName) -> Result<()> {
        hold_queue::ensure_room(tap)
    }

    fn observe_traffic(&self, pfs: &[IfName]) -> Result<Traffic> {
        traffic::observe(&self.root, pfs)
    }

    fn observe_adapter_traffic(&self, pf: &IfName) -> Result<Traffic> {
        traffic::observe_adapter(&self.root, &self.log, pf)
    }

    fn rx_packets(&self, port: &IfName) -> Result<u64> {
        bridge::rx_packets(&self.root, port)
    }

    fn observe_vectors(&self) -> Result<BTreeMap<PciAddress, u32>> {
        vfio::observe_vectors(&self.root)
    }

    fn observe_link(&self, name: &IfName) -> Result<LinkSeen> {
        bridge::observe_link(&self.root, name)
    }

    fn pause(&self, time: Duration) {
        deadline::pause(time);
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
