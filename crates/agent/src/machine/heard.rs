//! What the kernel tells of changes: what concerns a NIC of ours is known at once, the rest is looked at when there is
//! time.

use std::{collections::BTreeSet, time::Duration};

use accelnet_host::HostEvent;
use accelnet_model::{BridgeFacts, FdbEntry, FdbKey, IfName, MacAddr};
use accelnet_rules::{
    observed::{nics_on, tap_port},
    phase::Phase,
};

use super::Machine;

impl Machine {
    /// The machine tells of a change. What concerns nothing of ours costs nothing.
    pub(super) fn heard(&mut self, now: Duration, event: &HostEvent) {
        match event {
            HostEvent::Fdb {
                port,
                mac,
                vlan,
                gone,
            } => self.heard_of_entry(now, port, *mac, *vlan, *gone),
            HostEvent::Filter { port, mac, gone } => self.heard_of_filter(now, port, *mac, *gone),
            HostEvent::Link(name) if self.carries(name) => {
                // That frames go by it, or not, is known in a moment; the rest can wait.
                self.looks.links.extend(name.parse());
                self.looks.links.extend(self.bonds());
                self.looks.want_host(now);
            }
            HostEvent::Link(name) if self.has_port(name) => self.looks.want_host(now),
            // It may be a port of ours in a moment.
            HostEvent::Link(_) => self.looks.want_host_lazily(now),
            HostEvent::TrafficControl(name) if self.has_port(name) || self.carries(name) => {
                self.looks.want_host(now);
            }
            HostEvent::TrafficControl(_) | HostEvent::Idle => {}
            HostEvent::Firewall => self.looks.want_host(now),
            HostEvent::Overrun => self.looks.want_host_soon(now),
        }
    }

    /// Frames of VMs go by it: an adapter, a bond, or an intent's bridge.
    fn carries(&self, name: &str) -> bool {
        let mut adapters = self.observed.adapters.iter();
        let mut bridges = self.observed.bridges.iter();
        adapters.any(|adapter| adapter.ifname.as_str() == name)
            || bridges.any(|bridge| bridge.ifname.as_str() == name)
    }

    /// Bonds that adapters are in: one may use another member now.
    fn bonds(&self) -> BTreeSet<IfName> {
        let bonds = self.observed.bridges.iter();
        let bonds = bonds.filter(|bridge| bridge.bond.is_some());
        bonds.map(|bond| bond.ifname.clone()).collect()
    }

    fn has_port(&self, name: &str) -> bool {
        let mut ports = self
            .observed
            .bridges
            .iter()
            .flat_map(|bridge| &bridge.ports);
        ports.any(|port| port.ifname.as_str() == name)
    }

    /// A filter changed. What we did ourselves is known, and other addresses than ours are nobody's here.
    fn heard_of_filter(&mut self, now: Duration, port: &str, mac: MacAddr, gone: bool) {
        let of_nic = self.memory.pasts.keys().any(|nic| nic.mac == mac);
        if !of_nic && !self.memory.filtered.contains(&mac) {
            return;
        }
        let mut adapters = self.observed.adapters.iter();
        let adapter = adapters.find(|adapter| adapter.ifname.as_str() == port);
        if adapter.is_some_and(|adapter| adapter.filter.contains(&mac) == gone) {
            self.looks.want_host(now);
        }
    }

    /// An entry moved. That of a NIC on its VF to its tap means that the guest sends there: it is reached
    /// there by the bridge already, and by its adapter as soon as both paths are open, which waits for no
    /// look. Addresses that guests may make up are looked at when there is time.
    fn heard_of_entry(
        &mut self,
        now: Duration,
        port: &str,
        mac: MacAddr,
        vlan: Option<u16>,
        gone: bool,
    ) {
        let Some(intent) = self.ledger.desired.enabled_intent() else {
            return;
        };
        let name = intent.bridge.clone();
        let nic = self.memory.pasts.iter().find(|(nic, _)| nic.mac == mac);
        if let Some((nic, past)) = nic {
            let (nic, on_vf) = (*nic, past.phase == Phase::Vf);
            let Some(bridge) = self
                .observed
                .bridges
                .iter_mut()
                .find(|its| its.ifname == name)
            else {
                return;
            };
            let vm = self.observed.vms.iter().find(|vm| vm.uuid == nic.vm);
            let mut nics = vm.into_iter().flat_map(|vm| nics_on(vm, &name));
            let tap = nics
                .find(|its| its.mac == mac)
                .and_then(|its| tap_port(bridge, its))
                .filter(|tap| tap.ifname.as_str() == port)
                .filter(|tap| tap.pvid.is_none() || tap.pvid == vlan)
                .map(|tap| tap.pvid);
            if let Some(vlan) = tap.filter(|_| on_vf && !gone) {
                move_entry(bridge, mac, vlan, port);
            } else {
                self.looks.want_host(now);
            }
            return;
        }
        let here = self.observed.bridge(&name).is_some_and(|bridge| {
            let mut ports = bridge.ports.iter();
            ports.any(|its| its.ifname.as_str() == port)
        });
        let is_uplink = self.observed.adapters.iter().any(|adapter| {
            let way = self.observed.port_of(adapter, &name);
            way.is_some_and(|way| way.as_str() == port)
        });
        if here && (!is_uplink || self.memory.filtered.contains(&mac)) {
            match self.memory.filtered.contains(&mac) && is_uplink {
                // It was reached behind a tap so far, and is on the wire now.
                true => self.looks.want_host(now),
                false => self.looks.want_host_lazily(now),
            }
        }
    }
}

fn move_entry(bridge: &mut BridgeFacts, mac: MacAddr, vlan: Option<u16>, port: &str) {
    let its = |entry: &FdbEntry| entry.is_of(FdbKey { mac, vlan });
    let mut moved = None;
    for other in &mut bridge.ports {
        if let Some(at) = other.fdb.iter().position(its) {
            moved = Some(other.fdb.remove(at));
        }
    }
    let to = bridge
        .ports
        .iter_mut()
        .find(|its| its.ifname.as_str() == port);
    if let (Some(entry), Some(to)) = (moved, to) {
        to.fdb.push(entry);
    }
}
