//! The simulated machine as the agent sees and changes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc,
    time::Duration,
};

use accelnet_model::{
    AdapterFacts, BridgeFacts, BridgePort, Counters, DriverName, FdbEntry, FdbKey, IfName,
    Interrupts, MacAddr, NodeFacts, PciAddress, PolicyFinding, Support, Traffic, VfAttributes,
    VfFacts, VfUser,
};

use super::{HostTwin, Machine};
use crate::{
    AdaptersSeen, Entry, HoldQueue, Host, HostError, HostEvent, IdleVf, LinkSeen, PolicyPath,
    Result,
};

fn gone(what: impl std::fmt::Display) -> HostError {
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

    fn ensure_count(&mut self, pf: PciAddress, count: u32) -> Result<()> {
        let adapter = self.adapter_mut(pf).ok_or_else(|| gone(pf))?;
        let total = adapter.total_vfs;
        if count > total {
            return Err(HostError::TooManyVfs {
                pf,
                total,
                wanted: count,
            });
        }
        adapter.drivers_autoprobe = Support::Supported(count == 0);
        let ifname = adapter.ifname.to_string();
        if adapter.vfs.len() == count as usize {
            return Ok(());
        }
        let used = adapter.vfs.iter().filter(|vf| vf.user != VfUser::Nobody);
        let users: Vec<String> = used.map(|vf| format!("VF {}", vf.index)).collect();
        let refuses = self.refuses_vfs.contains(&pf);
        if !users.is_empty() {
            return Err(HostError::VfsInUse { pf, users });
        }
        if refuses {
            let operation = format!("make {count} VFs on {pf}");
            return Err(HostError::kernel(operation, libc::ENOMEM, None));
        }
        self.make_vfs(pf, count);
        // Its link bounces.
        self.tell(&HostEvent::Link(ifname));
        Ok(())
    }

    fn ensure_vfio(&mut self, pci: PciAddress, wanted: Option<&DriverName>) -> Result<()> {
        self.not_anothers(pci, "bound to a vfio driver");
        let meant = self.vfio_driver.clone();
        let vf = self.vf_mut(pci).ok_or_else(|| gone(pci))?;
        match wanted {
            Some(wanted) => vf.driver = Some(wanted.to_string()),
            None if vf.is_on_vfio() => {}
            None => vf.driver = Some(meant),
        }
        Ok(())
    }

    /// Unbinds, sets, reads back, binds, as one step: a process that dies in the middle leaves a VF
    /// without driver, which `ensure_vfio` and this put right.
    fn ensure_vectors(
        &mut self,
        pci: PciAddress,
        vectors: u32,
        wanted: Option<&DriverName>,
    ) -> Result<()> {
        let of_vf = |adapter: &&AdapterFacts| adapter.vfs.iter().any(|vf| vf.pci == pci);
        let adapter = self.adapters.iter().find(of_vf).ok_or_else(|| gone(pci))?;
        let operation = format!("give VF {pci} {vectors} MSI-X vectors");
        let total = adapter.vf_total_msix.value().copied().unwrap_or(0);
        if total == 0 {
            return Err(HostError::kernel(operation, libc::EOPNOTSUPP, None));
        }
        let others = adapter.vfs.iter().filter(|vf| vf.pci != pci);
        let taken: u32 = others.filter_map(|vf| vf.msix_vectors.value()).sum();
        let vf = self.vf_mut(pci).ok_or_else(|| gone(pci))?;
        if vf.msix_vectors.is(&vectors) {
            return self.ensure_vfio(pci, wanted);
        }
        if vf.user != VfUser::Nobody {
            let users = vec![format!("VF {pci}")];
            self.violations
                .push(format!("vectors of VF {pci} are changed while it is used"));
            return Err(HostError::VfsInUse { pf: pci, users });
        }
        if taken + vectors > total {
            return Err(HostError::NeedsLink(operation));
        }
        vf.msix_vectors = Support::Supported(vectors);
        self.ensure_vfio(pci, wanted)
    }

    fn ensure_reserved(&mut self, pci: PciAddress, reserved: bool) -> Result<()> {
        let vf = self.vf_mut(pci).ok_or_else(|| gone(pci))?;
        match (&vf.user, reserved) {
            (VfUser::Nobody, true) => vf.user = VfUser::Reserved,
            (VfUser::Reserved, false) => vf.user = VfUser::Nobody,
            (VfUser::Reserved, true) | (_, false) => {}
            (_, true) => {
                let users = vec![format!("VF {pci}")];
                return Err(HostError::VfsInUse { pf: pci, users });
            }
        }
        Ok(())
    }

    fn reset(&mut self, idle: &IdleVf) -> Result<()> {
        self.still_idle(idle)?;
        let pci = idle.vf;
        let vf = self.vf(pci).ok_or_else(|| gone(pci))?;
        if vf.user != VfUser::Nobody {
            self.violations
                .push(format!("VF {pci} is reset while it is used"));
            let users = vec![format!("VF {pci}")];
            return Err(HostError::VfsInUse { pf: pci, users });
        }
        self.resets.insert(pci, self.now);
        Ok(())
    }

    fn still_idle(&self, idle: &IdleVf) -> Result<()> {
        let carries = self.vf(idle.vf).map(|vf| vf.attributes.mac);
        if carries.is_none_or(|mac| mac == idle.mac || mac.is_zero()) {
            return Ok(());
        }
        let users = vec![format!("VF {}", idle.vf)];
        Err(HostError::VfsInUse { pf: idle.pf, users })
    }

    fn ensure_attributes(
        &mut self,
        pf: PciAddress,
        index: u32,
        wanted: &VfAttributes,
    ) -> Result<VfAttributes> {
        let missing = || gone(format!("VF {index} of {pf}"));
        let adapter = self.adapter_mut(pf).ok_or_else(missing)?;
        let vf = adapter.vfs.iter().find(|vf| vf.index == index);
        let pci = vf.ok_or_else(missing)?.pci;
        let (carrier, ifname) = (adapter.carrier, adapter.ifname.to_string());
        self.not_anothers(pci, "changed");
        let exclusive = self.exclusive.contains(&pf);
        let adapter = self.adapter_mut(pf).ok_or_else(missing)?;
        let has = |adapter: &AdapterFacts| adapter.filter.contains(&wanted.mac);
        if exclusive && !wanted.mac.is_zero() && has(adapter) {
            // ice: "Unicast MAC … already exists on this PF."
            let operation = format!("set address {} on VF {index}", wanted.mac);
            return Err(HostError::kernel(operation, libc::EINVAL, None));
        }
        let stubborn = self.stubborn.contains(&pci);
        let vf = self.vf_mut(pci).ok_or_else(missing)?;
        if stubborn && &vf.attributes != wanted {
            return Err(HostError::NotAsAsked {
                operation: format!("set attributes of VF {index}"),
                wanted: format!("{wanted:?}"),
                found: format!("{:?}", vf.attributes),
            });
        }
        let before = std::mem::replace(&mut vf.attributes, wanted.clone());
        if exclusive && before.mac != wanted.mac {
            self.loses_from_outside(wanted.mac);
        }
        if before != *wanted {
            // rtnetlink tells of every IFLA_VFINFO_LIST (net/core/rtnetlink.c, `do_setlink`).
            self.tell(&HostEvent::Link(ifname));
        }
        let vf = self.vf_mut(pci).ok_or_else(missing)?;
        let rates = |of: &VfAttributes| (of.min_tx_rate_mbps, of.max_tx_rate_mbps);
        if carrier || rates(&before) == rates(wanted) {
            return Ok(vf.attributes.clone());
        }
        // As igb: without link it changes everything but the rates.
        (
            vf.attributes.min_tx_rate_mbps,
            vf.attributes.max_tx_rate_mbps,
        ) = rates(&before);
        let operation = format!("set transmit rates on VF {index}");
        Err(HostError::NeedsLink(operation))
    }

    /// The card, and not who uses it, loses what comes from outside for this address from now on.
    pub(super) fn loses_from_outside(&mut self, mac: MacAddr) {
        let mut guests = self.guests.iter_mut();
        if let Some(guest) = guests.find(|guest| guest.mac == mac) {
            guest.excused = true;
        }
    }

    /// A VF whose user is not one of the VMs is somebody's own.
    fn not_anothers(&mut self, pci: PciAddress, what: &str) {
        let user = self.vf(pci).map(|vf| vf.user.clone()).unwrap_or_default();
        let ours = match &user {
            VfUser::Nobody => true,
            VfUser::Process { pid, .. } => self.guests.iter().any(|guest| guest.pid == *pid),
            VfUser::Reserved | VfUser::HostDriver { .. } | VfUser::Others { .. } => false,
        };
        if !ours {
            self.violations
                .push(format!("VF {pci} of {user:?} is {what}"));
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
