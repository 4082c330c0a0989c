//! The machine below the VMs: the hypervisor's twin on the host's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use accelnet_host::twin::{Habits, HostTwin};
use accelnet_hypervisor::twin::Hardware;
use accelnet_model::{IfName, MacAddr, PciAddress};

use crate::turns;

/// How guests behave from their next start on; guests that are not here behave as most do.
pub type AllHabits = Arc<Mutex<BTreeMap<MacAddr, Habits>>>;

/// The machine below the VMs.
#[derive(Debug)]
pub struct Below {
    host: HostTwin,
    habits: AllHabits,
}

impl Below {
    /// The machine below its VMs.
    pub fn new(host: HostTwin, habits: AllHabits) -> Self {
        Self { host, habits }
    }
}

impl Hardware for Below {
    fn start_nic(
        &self,
        pid: u32,
        mac: MacAddr,
        bridge: &IfName,
        tap: &IfName,
    ) -> Result<(), String> {
        let habits = self.habits.lock().unwrap_or_else(PoisonError::into_inner);
        let habits = habits.get(&mac).copied().unwrap_or_default();
        self.host
            .with(|machine| machine.start_guest(pid, mac, bridge, tap, habits))
            .map_err(|error| error.to_string())
    }

    fn stopped(&self, pid: u32) {
        self.host.with(|machine| machine.stop_guest(pid));
    }

    fn plug(&self, pid: u32, mac: MacAddr, vf: PciAddress) -> Result<(), String> {
        self.host.with(|machine| machine.plug(pid, mac, vf))
    }

    fn is_being_opened(&self, vf: PciAddress) -> bool {
        self.host.with(|machine| machine.opening.contains_key(&vf))
    }

    fn unplugged(&self, pid: u32, vf: PciAddress) {
        self.host.with(|machine| machine.unplug(pid, vf));
    }

    fn pause(&self, time: Duration) {
        // Whoever drives the agent by hand has time pass for everybody.
        if !turns::wait(time) {
            self.host.advance(time);
        }
    }

    fn set_running(&self, pid: u32, runs: bool) {
        self.host.with(|machine| machine.set_running(pid, runs));
    }

    fn set_let_go(&self, pid: u32, let_go: bool) {
        self.host.with(|machine| machine.set_let_go(pid, let_go));
    }

    fn plug_stray(&self, pid: u32, device: PciAddress) -> Result<(), String> {
        self.host.with(|machine| machine.plug_stray(pid, device))
    }
}
