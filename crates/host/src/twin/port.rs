//! The simulated machine as the agent sees and changes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc,
    time::Duration,
};

use accelnet_model::{
    AdapterFacts, BridgeFacts, BridgePort, Counters, DriverName, FdbEntry, FdbKey, IfName,
    Interrupts, MacAddr, NodeFacts, PciAddress, PolicyFinding, Support, Traffic, VfAttributes,
    VfFacts,
};

use super::{HostTwin, Machine};
use crate::{
    AdaptersSeen, Entry, HoldQueue, Host, HostError, HostEvent, IdleVf, LinkSeen, PolicyPath,
    Result,
};

pub(super) fn gone(what: impl std::fmt::Display) -> HostError {
    HostError::Gone(what.to_string())
}

fn unreadable(what: impl std::fmt::Display) -> HostError {
    HostError::kernel(format!("read {what}"), libc::EIO, None)
}

impl Machine {
    fn ensure_bridge(&mut self, bridge: &IfName, mark: &str) -> Result<()> {
        let mut bridges = self.bridges.iter_mut();
        let Some(found) = bridges.find(|found| &found.ifname == bridge) else {
            self.bridges.push(super::new_bridge(bridge, mark));
            return Ok(());
        };
        if found.alias.as_deref() != Some(mark) {
            return Err(HostError::NotAsAsked {
                operation: format!("make bridge {bridge}"),
                wanted: mark.to_owned(),
                found: format!("{:?}", found.alias),
            });
        }
        found.up = true;
        Ok(())
    }

    fn ensure_bridge_port(&mut self, bridge: &IfName, port: &IfName) -> Result<()> {
        let mut adapters = self.adapters.iter_mut();
        let adapter = adapters.find(|adapter| &adapter.ifname == port);
        let adapter = adapter.ok_or_else(|| gone(port))?;
        let mut bridges = self.bridges.iter_mut();
        let found = bridges.find(|found| &found.ifname == bridge);
        let found = found.ok_or_else(|| gone(bridge))?;
        match &adapter.master {
            Some(master) if master == bridge => {}
            Some(master) => {
                return Err(HostError::NotAsAsked {
                    operation: format!("make {port} a port of {bridge}"),
                    wanted: bridge.to_string(),
                    found: master.to_string(),
                });
            }
            None => {
                if !adapter.claims.is_empty() {
                    let text = format!("{port} is taken although {:?}", adapter.claims);
                    self.violations.push(text);
                }
                adapter.master = Some(bridge.clone());
                found.ports.push(super::new_port(port, adapter.mac));
                if !found.mac_pinned {
                    found.mac = adapter.mac;
                }
            }
        }
        adapter.up = true;
        // The other end has a link, too.
        adapter.carrier = true;
        Ok(())
    }

    fn count(&self, adapter: &AdapterFacts, traffic: &mut Traffic) {
        let count = |vf: &VfFacts| {
            let counted = self.vf_counters.get(&vf.pci);
            (vf.index, counted.copied().unwrap_or_default())
        };
        let vfs = adapter.vfs.iter().map(count).collect();
        let own = traffic.interfaces.entry(adapter.ifname.clone());
        own.or_default().rx_missed = Some(self.missed.get(&adapter.ifname).copied().unwrap_or(0));
        traffic.vfs.insert(adapter.ifname.clone(), vfs);
    }

    fn interrupts(&self) -> BTreeMap<PciAddress, Interrupts> {
        let vfs = self.adapters.iter().flat_map(|adapter| &adapter.vfs);
        let of = |pci| Interrupts {
            vectors: self.vectors(pci),
            fired: self.fired.get(&pci).copied().unwrap_or(0),
        };
        let all = vfs.map(|vf| (vf.pci, of(vf.pci)));
        all.filter(|(_, of)| of.vectors > 0).collect()
    }

    fn vectors(&self, pci: PciAddress) -> u32 {
        let drives = |guest: &super::Guest| {
            guest.drives_vf(self.now()) && guest.vf.is_some_and(|(vf, _)| vf == pci)
        };
        let stray = self.strays.iter().any(|(_, stray)| *stray == pci);
        let driven = stray || self.guests.iter().any(drives);
        let has = self.vf(pci).and_then(|vf| vf.msix_vectors.value().copied());
        // A driver takes all that a pool gave its VF, but no more than its vCPUs need; igbvf takes TX,
        // RX, mailbox.
        if driven {
            has.map_or(3, |has| has.min(3))
        } else {
            0
        }
    }

    fn ensure_filter(&mut self, pf: &IfName, mac: MacAddr, present: bool) -> Result<()> {
        let room = self.filter_room;
        let adapter = self.adapters.iter_mut().find(|found| &found.ifname == pf);
        let adapter = adapter.ok_or_else(|| gone(pf))?;
        // The driver takes it and the card does not: ice tells nobody.
        if present
            && self.exclusive.contains(&adapter.pci)
            && adapter.vfs.iter().any(|vf| vf.attributes.mac == mac)
        {
            let text = format!("{pf} is to receive for {mac}, which a VF of it carries");
            self.violations.push(text);
        }
        match (adapter.filter.contains(&mac), present) {
            (false, true) if adapter.filter.len() >= room => {
                return Err(HostError::FilterFull(pf.clone()));
            }
            (false, true) => adapter.filter.push(mac),
            (true, false) => adapter.filter.retain(|other| *other != mac),
            _ => return Ok(()),
        }
        self.tell(&HostEvent::Filter {
            port: pf.to_string(),
            mac,
            gone: !present,
        });
        Ok(())
    }

    fn tell_entry(&mut self, port: &IfName, key: FdbKey, gone: bool) {
        self.tell(&HostEvent::Fdb {
            port: port.to_string(),
            mac: key.mac,
            vlan: key.vlan,
            gone,
        });
    }

    fn ensure_entry(&mut self, port: &IfName, key: FdbKey, wanted: Entry) -> Result<()> {
        let FdbKey { mac, vlan } = key;
        let present = wanted != Entry::Absent;
        let bridge = self
            .bridges
            .iter_mut()
            .find(|bridge| bridge.port(port).is_some())
            .ok_or_else(|| gone(port))?;
        let before = bridge.clone();
        for found in &mut bridge.ports {
            if present || &found.ifname == port {
                found.fdb.retain(|entry| !entry.is_of(key));
            }
            if present && &found.ifname == port {
                found.fdb.push(FdbEntry {
                    mac,
                    vlan,
                    local: false,
                    fixed: true,
                    sticky: wanted == Entry::Sticky,
                });
            }
        }
        if before != *bridge {
            self.tell_entry(port, key, !present);
        }
        Ok(())
    }

    fn ensure_room(&mut self, tap: &IfName) -> Result<()> {
        self.port(tap).ok_or_else(|| gone(tap))?;
        // One that is down, or out of reach, loses what comes to it anyway.
        let on_it = |guest: &&super::Guest| {
            let there = guest.up && !guest.excused;
            &guest.tap == tap && there && !guest.is_on_vf(self.now)
        };
        if let Some(guest) = self.guests.iter().find(on_it) {
            let text = format!("{tap} was restarted while guest {} was on it", guest.mac);
            self.violations.push(text);
        }
        Ok(())
    }
}

impl Host for HostTwin {
    fn observe_node(&self) -> Result<NodeFacts> {
        self.with(|machine| match machine.unreadable.node {
            true => Err(unreadable("the machine")),
            false => Ok(machine.node.clone()),
        })
    }

    fn observe_adapters(&self, busy: &BTreeSet<PciAddress>) -> Result<AdaptersSeen> {
        self.with(|machine| {
            if machine.unreadable.adapters {
                return Err(unreadable("the adapters"));
            }
            for pf in machine.making.difference(busy) {
                let text = format!("a look at {pf} waits until its VFs are made");
                machine.violations.push(text);
            }
            let mut adapters = machine.adapters.clone();
            let why_not = |adapter: &AdapterFacts| {
                let odd = machine.unreadable.adapter.contains(&adapter.ifname);
                let busy = busy.contains(&adapter.pci).then_some(HostError::WorkedOn);
                busy.or_else(|| odd.then(|| unreadable(&adapter.ifname)))
            };
            let unseen: Vec<_> = adapters
                .iter()
                .filter_map(|adapter| Some((adapter.ifname.clone(), why_not(adapter)?)))
                .collect();
            adapters.retain(|adapter| why_not(adapter).is_none());
            for adapter in &mut adapters {
                adapter.filter_room = Support::Supported(machine.filter_room as u32);
            }
            for vf in adapters.iter_mut().flat_map(|adapter| &mut adapter.vfs) {
                vf.active_vectors = machine.vectors(vf.pci);
                if machine.vectors_hidden {
                    vf.msix_vectors = Support::Unknown;
                }
            }
            Ok(AdaptersSeen { adapters, unseen })
        })
    }

    fn observe_bridges(&self, _named: &BTreeSet<IfName>) -> Result<Vec<BridgeFacts>> {
        self.with(|machine| match machine.unreadable.bridges {
            true => Err(unreadable("the bridges")),
            false => Ok(machine.bridges.clone()),
        })
    }

    fn observe_policy(&self, paths: &[PolicyPath]) -> Vec<Result<Vec<PolicyFinding>>> {
        self.with(|machine| {
            let on = |path: &PolicyPath| match machine.unreadable.policy {
                true => Err(unreadable(format!("policy on {}", path.tap))),
                false => {
                    let set = machine.policy.get(&path.tap).into_iter().flatten();
                    Ok(set.cloned().chain(machine.vlan_policy(&path.tap)).collect())
                }
            };
            paths.iter().map(on).collect()
        })
    }

    fn watch(&self, events: mpsc::Sender<HostEvent>) -> Result<()> {
        self.with(|machine| machine.watchers.push(events));
        Ok(())
    }

    fn ensure_vf_count(&self, pf: PciAddress, count: u32) -> Result<()> {
        self.with(|machine| machine.ensure_count(pf, count))
    }

    fn ensure_vf_vfio(&self, vf: PciAddress, driver: Option<&DriverName>) -> Result<()> {
        self.with(|machine| machine.ensure_vfio(vf, driver))
    }

    fn ensure_vf_vectors(
        &self,
        vf: PciAddress,
        vectors: u32,
        driver: Option<&DriverName>,
    ) -> Result<()> {
        self.with(|machine| machine.ensure_vectors(vf, vectors, driver))
    }

    fn ensure_vf_reserved(&self, vf: PciAddress, reserved: bool) -> Result<()> {
        self.with(|machine| machine.ensure_reserved(vf, reserved))
    }

    fn reset_vf(&self, vf: &IdleVf) -> Result<()> {
        self.with(|machine| machine.reset(vf))
    }

    fn ensure_vf_baseline(&self, vf: &IdleVf) -> Result<VfAttributes> {
        self.with(|machine| {
            machine.still_idle(vf)?;
            machine.ensure_attributes(vf.pf, vf.index, &VfAttributes::baseline())
        })
    }

    fn ensure_vf_attributes(
        &self,
        pf: PciAddress,
        index: u32,
        wanted: &VfAttributes,
    ) -> Result<VfAttributes> {
        self.with(|machine| machine.ensure_attributes(pf, index, wanted))
    }

    fn ensure_port_learning(&self, port: &IfName, on: bool) -> Result<()> {
        self.with(|machine| {
            let found = machine.port_mut(port).ok_or_else(|| gone(port))?;
            if std::mem::replace(&mut found.learning, on) != on {
                machine.tell(&HostEvent::Link(port.to_string()));
            }
            Ok(())
        })
    }

    fn ensure_port_flood(&self, port: &IfName, on: bool) -> Result<()> {
        self.with(|machine| {
            let found = machine.port_mut(port).ok_or_else(|| gone(port))?;
            if std::mem::replace(&mut found.flood, on) != on {
                machine.tell(&HostEvent::Link(port.to_string()));
            }
            Ok(())
        })
    }

    fn ensure_bridge_mac_pinned(&self, bridge: &IfName) -> Result<()> {
        self.with(|machine| {
            let mut bridges = machine.bridges.iter_mut();
            let found = bridges.find(|found| &found.ifname == bridge);
            found.ok_or_else(|| gone(bridge))?.mac_pinned = true;
            Ok(())
        })
    }

    fn ensure_bridge(&self, bridge: &IfName, mark: &str) -> Result<()> {
        self.with(|machine| machine.ensure_bridge(bridge, mark))
    }

    fn ensure_bridge_port(&self, bridge: &IfName, port: &IfName) -> Result<()> {
        self.with(|machine| machine.ensure_bridge_port(bridge, port))
    }

    fn ensure_pf_filter(&self, pf: &IfName, mac: MacAddr, present: bool) -> Result<()> {
        self.with(|machine| machine.ensure_filter(pf, mac, present))
    }

    fn ensure_bridge_entry(&self, port: &IfName, key: FdbKey, wanted: Entry) -> Result<()> {
        self.with(|machine| machine.ensure_entry(port, key, wanted))
    }

    fn ensure_hold_queue(&self, tap: &IfName, wanted: HoldQueue) -> Result<()> {
        self.with(|machine| machine.ensure_hold(tap, wanted))
    }

    fn ensure_tap_room(&self, tap: &IfName) -> Result<()> {
        self.with(|machine| machine.ensure_room(tap))
    }

    fn observe_traffic(&self, _pfs: &[IfName]) -> Result<Traffic> {
        self.with(|machine| {
            if machine.unreadable.traffic {
                return Err(unreadable("counters"));
            }
            let ports = machine.bridges.iter().flat_map(|bridge| &bridge.ports);
            let of_port = |port: &BridgePort| Counters {
                rx_packets: port.rx_packets,
                ..Counters::default()
            };
            let mut traffic = Traffic {
                interfaces: ports
                    .map(|port| (port.ifname.clone(), of_port(port)))
                    .collect(),
                interrupts: Some(machine.interrupts()),
                ..Traffic::default()
            };
            for adapter in &machine.adapters {
                machine.count(adapter, &mut traffic);
            }
            Ok(traffic)
        })
    }

    fn observe_adapter_traffic(&self, pf: &IfName) -> Result<Traffic> {
        self.with(|machine| {
            if machine.unreadable.traffic {
                return Err(unreadable("counters"));
            }
            let mut adapters = machine.adapters.iter();
            let adapter = adapters.find(|adapter| adapter.ifname == *pf);
            let mut traffic = Traffic::default();
            machine.count(adapter.ok_or_else(|| gone(pf))?, &mut traffic);
            Ok(traffic)
        })
    }

    fn rx_packets(&self, port: &IfName) -> Result<u64> {
        self.with(|machine| {
            let port = machine.port(port).ok_or_else(|| gone(port))?;
            Ok(port.rx_packets)
        })
    }

    fn observe_vectors(&self) -> Result<BTreeMap<PciAddress, u32>> {
        Ok(self.with(|machine| {
            let vfs = machine.adapters.iter().flat_map(|adapter| &adapter.vfs);
            vfs.map(|vf| (vf.pci, machine.vectors(vf.pci))).collect()
        }))
    }

    fn observe_link(&self, name: &IfName) -> Result<LinkSeen> {
        self.with(|machine| {
            let mut adapters = machine.adapters.iter();
            let adapter = adapters.find(|adapter| adapter.ifname == *name);
            let mut bridges = machine.bridges.iter();
            let bond = bridges.find(|bridge| bridge.ifname == *name);
            if adapter.is_none() && bond.is_none() {
                return Err(gone(name));
            }
            let active = bond.and_then(|bond| bond.bond.as_ref()?.active.clone());
            Ok(LinkSeen {
                carrier: adapter.is_none_or(|adapter| adapter.carrier),
                active,
            })
        })
    }

    fn pause(&self, time: Duration) {
        self.advance(time);
    }

    fn now(&self) -> Duration {
        self.with(|machine| machine.now())
    }
}
