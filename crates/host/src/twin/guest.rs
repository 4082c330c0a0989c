//! Guests behind taps and VFs, and what they do of their own accord.

use std::time::Duration;

use accelnet_model::{BridgePort, FdbEntry, FdbKey, IfName, MacAddr, PciAddress, VfUser};

use super::{Machine, new_port};
use crate::{HostError, HostEvent};

/// What is in a guest's kernel, and how it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habits {
    /// It has a driver for the VF.
    pub vf_driver: bool,
    /// It pairs NIC and VF (net_failover).
    pub failover: bool,
    /// From plugging a VF to driving it.
    pub takes: Duration,
    /// It sends something whenever time passes.
    pub sends: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            vf_driver: true,
            failover: true,
            takes: Duration::from_secs(2),
            sends: true,
        }
    }
}

/// One NIC of a guest that runs.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Process id of its QEMU.
    pub pid: u32,
    /// Its address.
    pub mac: MacAddr,
    /// Its tap.
    pub tap: IfName,
    /// Its operating system is up, with the driver of the virtio NIC.
    pub up: bool,
    /// Its processors do not run.
    pub paused: bool,
    /// How it behaves.
    pub habits: Habits,
    /// Its driver has let go of its VF because QEMU asked for that; the VF is the process's still.
    pub let_go: bool,
    /// Its VF and when it began to see it.
    pub vf: Option<(PciAddress, Duration)>,
    /// Its VF has a link, as its adapter has.
    pub vf_link: bool,
    /// It may be unreachable until it has been reached once more: something happened to it that is
    /// not for accelnet to prevent (it restarts, somebody changed its VF).
    pub excused: bool,
}

impl Guest {
    /// A driver in the guest drives its VF.
    pub fn drives_vf(&self, now: Duration) -> bool {
        let seen = |since: Duration| now.saturating_sub(since) >= self.habits.takes;
        self.up
            && !self.let_go
            && self.habits.vf_driver
            && self.vf.is_some_and(|(_, since)| seen(since))
    }

    /// It sends and takes by the VF. Without failover its VF is a NIC that nobody uses; without link it sends
    /// by the other.
    pub fn is_on_vf(&self, now: Duration) -> bool {
        self.vf_link && self.discards_by_tap(now)
    }

    /// It discards what comes by the tap: with a primary, whether that has a link or not
    /// (drivers/net/net_failover.c, `net_failover_handle_frame`).
    pub fn discards_by_tap(&self, now: Duration) -> bool {
        self.habits.failover && self.drives_vf(now)
    }
}

impl Machine {
    /// A VM starts: its tap becomes a port of the bridge.
    ///
    /// # Errors
    /// If there is no such bridge.
    pub fn start_guest(
        &mut self,
        pid: u32,
        mac: MacAddr,
        bridge: &IfName,
        tap: &IfName,
        habits: Habits,
    ) -> Result<(), HostError> {
        let pvid = self.pvid_for(bridge, mac);
        let found = self
            .bridges
            .iter_mut()
            .find(|found| &found.ifname == bridge);
        let found = found.ok_or_else(|| HostError::Gone(bridge.to_string()))?;
        // A tap's own address differs from its guest's in the first byte (libvirt: fe).
        let MacAddr([_, rest @ ..]) = mac;
        let mut own = [0xfe; 6];
        own[1..].copy_from_slice(&rest);
        found.ports.push(BridgePort {
            pvid,
            ..new_port(tap, MacAddr(own))
        });
        self.guests.push(Guest {
            pid,
            mac,
            tap: tap.clone(),
            up: true,
            paused: false,
            habits,
            let_go: false,
            vf: None,
            vf_link: true,
            excused: true,
        });
        self.tell(&HostEvent::Link(tap.to_string()));
        Ok(())
    }

    /// A VM stops: its taps go, its VFs have no user any more and keep what they carry.
    pub fn stop_guest(&mut self, pid: u32) {
        let (gone, stay) = std::mem::take(&mut self.guests)
            .into_iter()
            .partition::<Vec<_>, _>(|guest| guest.pid == pid);
        self.guests = stay;
        self.strays.retain(|(its, _)| *its != pid);
        for guest in gone {
            for bridge in &mut self.bridges {
                bridge.ports.retain(|port| port.ifname != guest.tap);
            }
            self.holds.remove(&guest.tap);
            self.foreign_qdiscs.remove(&guest.tap);
            self.policy.remove(&guest.tap);
            self.free(pid);
            self.tell(&HostEvent::Link(guest.tap.to_string()));
        }
    }

    fn free(&mut self, pid: u32) {
        for vf in self
            .adapters
            .iter_mut()
            .flat_map(|adapter| &mut adapter.vfs)
        {
            if matches!(vf.user, VfUser::Process { pid: user, .. } if user == pid) {
                vf.user = VfUser::Nobody;
            }
        }
    }

    /// A VF is plugged into a VM as the fast half of the NIC with this address.
    ///
    /// # Errors
    /// In words, as QEMU would refuse it.
    pub fn plug(&mut self, pid: u32, mac: MacAddr, pci: PciAddress) -> Result<(), String> {
        let now = self.now;
        let vf = self
            .vf(pci)
            .ok_or_else(|| format!("vfio {pci}: no such device"))?;
        if !vf.is_on_vfio() {
            return Err(format!("vfio {pci}: not bound to vfio-pci"));
        }
        if vf.user != VfUser::Nobody {
            let text = format!("VF {pci} is given out a second time, to {mac}");
            self.violations.push(text);
            return Err(format!("vfio {pci}: group is busy"));
        }
        let mut adapters = self.adapters.iter();
        let its = adapters.find(|adapter| adapter.vfs.iter().any(|vf| vf.pci == pci));
        let link = its.is_some_and(|adapter| adapter.carrier);
        let guest = self
            .guests
            .iter_mut()
            .find(|guest| guest.pid == pid && guest.mac == mac)
            .ok_or_else(|| format!("no NIC {mac} in process {pid}"))?;
        (guest.vf, guest.vf_link, guest.let_go) = (Some((pci, now)), link, false);
        if let Some(vf) = self.vf_mut(pci) {
            vf.user = VfUser::Process {
                pid,
                command: "qemu-system-x86".into(),
            };
            // libvirt sets the address itself, too.
            vf.attributes.mac = mac;
        }
        Ok(())
    }

    /// QEMU opens a VF that came with the VM's definition, and that nobody gave an address: the guest has it
    /// as a NIC of its own (igbvf: "Assigning random MAC address").
    ///
    /// # Errors
    /// In words; QEMU itself only warns.
    pub fn plug_stray(&mut self, pid: u32, pci: PciAddress) -> Result<(), String> {
        let vf = self.vf_mut(pci);
        let vf = vf.ok_or_else(|| format!("vfio {pci}: no such host device"))?;
        if vf.user != VfUser::Nobody {
            return Err(format!("vfio {pci}: group is busy"));
        }
        vf.user = VfUser::Process {
            pid,
            command: "qemu-system-x86".into(),
        };
        self.strays.push((pid, pci));
        Ok(())
    }

    /// A VM has let go of a VF.
    pub fn unplug(&mut self, pid: u32, pci: PciAddress) {
        let mut adapters = self.adapters.iter();
        let its = adapters.find(|adapter| adapter.vfs.iter().any(|vf| vf.pci == pci));
        if let Some(mac) = self.vf(pci).map(|vf| vf.attributes.mac)
            && its.is_some_and(|adapter| self.exclusive.contains(&adapter.pci))
        {
            self.loses_from_outside(mac);
        }
        self.strays.retain(|stray| *stray != (pid, pci));
        for guest in self.guests.iter_mut().filter(|guest| guest.pid == pid) {
            if guest.vf.is_some_and(|(vf, _)| vf == pci) {
                guest.vf = None;
            }
        }
        if let Some(vf) = self.vf_mut(pci)
            && matches!(vf.user, VfUser::Process { pid: user, .. } if user == pid)
        {
            vf.user = VfUser::Nobody;
        }
    }

    /// Processors of a VM stop or run.
    pub fn set_running(&mut self, pid: u32, runs: bool) {
        for guest in self.guests.iter_mut().filter(|guest| guest.pid == pid) {
            guest.paused = !runs;
        }
    }

    /// A guest lets go of its VF because QEMU asks for that (a migration, a save), or takes it back. QEMU keeps
    /// the device all the time.
    pub fn set_let_go(&mut self, pid: u32, let_go: bool) {
        let now = self.now;
        for guest in self.guests.iter_mut().filter(|guest| guest.pid == pid) {
            guest.let_go = let_go;
            guest.vf = guest.vf.map(|(pci, _)| (pci, now));
        }
    }

    /// The VF's driver is taken away in a guest, or loaded again.
    pub fn set_vf_driver(&mut self, pid: u32, there: bool) {
        let now = self.now;
        for guest in self.guests.iter_mut().filter(|guest| guest.pid == pid) {
            guest.habits.vf_driver = there;
            guest.vf = guest.vf.map(|(pci, _)| (pci, now));
            // That it sends by the other NIC is seen by its first frame.
            guest.excused = true;
        }
    }

    /// The operating system of a guest goes down or comes up again; after that it sees its VF anew.
    pub fn set_guest_up(&mut self, pid: u32, up: bool) {
        let now = self.now;
        for guest in self.guests.iter_mut().filter(|guest| guest.pid == pid) {
            guest.up = up;
            guest.vf = guest.vf.map(|(pci, _)| (pci, now));
            // The VF stops receiving without a word; the other path opens at the agent's next look.
            guest.excused = true;
        }
    }

    /// Every guest that sends by habit sends a broadcast; taps count and bridges learn.
    pub fn chatter(&mut self) {
        let now = self.now;
        let sending: Vec<Guest> = self
            .guests
            .iter()
            .filter(|guest| guest.up && !guest.paused && guest.habits.sends)
            .cloned()
            .collect();
        for guest in sending {
            if guest.is_on_vf(now) {
                // The card gives broadcasts of a VF to the PF as well.
                for uplink in self.uplinks() {
                    self.learn(&uplink, guest.mac);
                }
                continue;
            }
            if let Some(port) = self.port_mut(&guest.tap) {
                port.rx_packets += 1;
            }
            self.learn(&guest.tap, guest.mac);
        }
    }

    /// Ports of uplinks with VFs; a bond's as long as frames go by one.
    fn uplinks(&self) -> Vec<IfName> {
        let adapters = self.adapters.iter();
        let with_vfs = adapters.filter(|adapter| !adapter.vfs.is_empty());
        with_vfs
            .filter_map(|adapter| Some(self.way_in(adapter)?.1.clone()))
            .collect()
    }

    /// A bridge saw `mac` as a source at `port`. An entry that somebody set moves too, unless it is
    /// sticky or the port's own (net/bridge/br_fdb.c, `br_fdb_update`).
    pub fn learn(&mut self, port: &IfName, mac: MacAddr) {
        let mut bridges = self.bridges.iter();
        let its = bridges.find(|bridge| bridge.port(port).is_some());
        let vlan = its.and_then(|bridge| self.vlan_of(bridge, port, mac));
        let key = FdbKey { mac, vlan };
        let Some(bridge) = self
            .bridges
            .iter_mut()
            .find(|bridge| bridge.port(port).is_some())
        else {
            return;
        };
        if !bridge.port(port).is_some_and(|port| port.learning) {
            return;
        }
        let mut entry = FdbEntry {
            mac,
            vlan,
            local: false,
            fixed: false,
            sticky: false,
        };
        let known = |other: &BridgePort| {
            let mut fdb = other.fdb.iter();
            fdb.position(|known| known.is_of(key))
        };
        for other in &mut bridge.ports {
            let Some(at) = known(other) else { continue };
            if other.ifname == *port || other.fdb[at].sticky {
                return;
            }
            entry = other.fdb.remove(at);
        }
        if let Some(port) = bridge.ports.iter_mut().find(|found| &found.ifname == port) {
            port.fdb.push(entry);
        }
        self.tell(&HostEvent::Fdb {
            port: port.to_string(),
            mac,
            vlan,
            gone: false,
        });
    }
}
