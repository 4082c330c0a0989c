//! The real machine: sysfs, PCI config space, rtnetlink, traffic control.
//!
//! [`Linux`] only delegates; each module holds one subject.

mod adapters;
mod deadline;
mod ethtool;
#[cfg(test)]
mod fixture;
mod link;
pub mod netlink;
mod node;
mod pci;
mod sriov;
pub mod sysfs;
mod vf;
mod vfio;

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use accelnet_model::{
    AdapterFacts, BridgeFacts, IfName, MacAddr, NodeFacts, PciAddress, PolicyFinding, VfAttributes,
};
use sysfs::Root;

use crate::{DelayLine, Host, HostError, HostEvent, Result};

/// The machine this process runs on.
#[derive(Debug, Clone)]
pub struct Linux {
    root: Root,
    started: Instant,
}

impl Linux {
    /// The machine as it is.
    pub fn new() -> Self {
        Self::at(Root::default())
    }

    /// A machine whose `/sys`, `/proc`, `/dev` and `/etc` are below another directory. Netlink is
    /// always that of this process's network namespace.
    pub fn at(root: Root) -> Self {
        Self {
            root,
            started: Instant::now(),
        }
    }
}

impl Default for Linux {
    fn default() -> Self {
        Self::new()
    }
}

fn absent<T>() -> Result<T> {
    Err(HostError::Malformed("not built yet".into()))
}

impl Host for Linux {
    fn observe_node(&self) -> Result<NodeFacts> {
        node::observe(&self.root)
    }

    fn observe_adapters(&self) -> Result<Vec<AdapterFacts>> {
        adapters::observe(&self.root, &adapters::ask)
    }

    fn observe_bridge(&self, _name: &IfName) -> Result<Option<BridgeFacts>> {
        absent()
    }

    fn observe_policy(
        &self,
        _bridge: &IfName,
        _tap: &IfName,
        _uplink: &IfName,
        _mac: MacAddr,
    ) -> Result<Vec<PolicyFinding>> {
        absent()
    }

    fn watch(&self) -> Result<mpsc::Receiver<HostEvent>> {
        absent()
    }

    fn ensure_vf_count(&self, pf: PciAddress, count: u32) -> Result<()> {
        vf::ensure_count(&self.root, pf, count, &link::set_up)
    }

    fn ensure_vf_vfio(&self, vf: PciAddress) -> Result<()> {
        vfio::ensure_bound(&self.root, vf)
    }

    fn reset_vf(&self, vf: PciAddress) -> Result<()> {
        vfio::reset(&self.root, vf)
    }

    fn ensure_vf_attributes(
        &self,
        pf: PciAddress,
        index: u32,
        wanted: &VfAttributes,
    ) -> Result<VfAttributes> {
        let interface = adapters::interface_of(&self.root, pf)
            .ok_or_else(|| HostError::Gone(format!("interface of {pf}")))?;
        vf::ensure_attributes(&interface, index, wanted)
    }

    fn ensure_port_learning(&self, _port: &IfName, _on: bool) -> Result<()> {
        absent()
    }

    fn ensure_port_flood(&self, _port: &IfName, _on: bool) -> Result<()> {
        absent()
    }

    fn ensure_bridge_mac_pinned(&self, _bridge: &IfName) -> Result<()> {
        absent()
    }

    fn ensure_pf_filter(&self, _pf: &IfName, _mac: MacAddr, _present: bool) -> Result<()> {
        absent()
    }

    fn ensure_bridge_entry(&self, _port: &IfName, _mac: MacAddr, _present: bool) -> Result<()> {
        absent()
    }

    fn ensure_delay_line(&self, _tap: &IfName, _wanted: DelayLine) -> Result<()> {
        absent()
    }

    fn rx_packets(&self, _port: &IfName) -> Result<u64> {
        absent()
    }

    fn active_vectors(&self, vf: PciAddress) -> Result<u32> {
        let vectors = vfio::observe_vectors(&self.root)?;
        Ok(vectors.get(&vf).copied().unwrap_or(0))
    }

    fn pause(&self, time: Duration) {
        deadline::pause(time);
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
