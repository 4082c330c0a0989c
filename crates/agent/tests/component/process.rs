//! One agent process: the ports as it sees them, which may fail, and its death.
//!
//! A dead process calls nothing any more: whichever of its threads tries panics, and ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError, RwLock, mpsc},
    time::Duration,
};

use accelnet_host::{
    AdaptersSeen, Entry, HoldQueue, Host, HostError, HostEvent, IdleVf, LinkSeen, PolicyPath,
    Result as HostResult, twin::HostTwin,
};
use accelnet_hypervisor::{
    Hypervisor, HypervisorError, HypervisorEvent, NewNic, Result as VmResult, Staged, Versions,
    VfAttachment, VmSeen, twin::HypervisorTwin,
};
use accelnet_model::{
    BridgeFacts, DomainCapabilities, DriverName, FdbKey, IfName, MacAddr, Name, NodeFacts,
    PciAddress, PolicyFinding, Staging, Traffic, VfAttributes,
};
use uuid::Uuid;

/// What happens to a changing call. They are counted from 0, over both ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Calls from `at` on fail, `times` of them.
    Fails { at: usize, times: usize },
    /// Calls of this name fail, always.
    Refuses { call: &'static str },
    /// The process dies at call `at`, before or after it was carried out.
    Dies { at: usize, carried_out: bool },
}

#[derive(Debug, Default)]
struct Life {
    dead: bool,
    fault: Option<Fault>,
    calls: Vec<String>,
    looks: usize,
}

/// An agent's process. It is both of its ports.
#[derive(Debug)]
pub struct Process {
    host: HostTwin,
    hypervisor: HypervisorTwin,
    life: Mutex<Life>,
    /// How long each changing call takes.
    call_time: Duration,
    /// Read while a call is carried out: one that has begun comes to its end, as in a kernel.
    under_way: RwLock<()>,
}

impl Process {
    pub fn new(
        host: HostTwin,
        hypervisor: HypervisorTwin,
        fault: Option<Fault>,
        call_time: Duration,
    ) -> Self {
        let life = Life {
            fault,
            ..Life::default()
        };
        Self {
            host,
            hypervisor,
            life: Mutex::new(life),
            call_time,
            under_way: RwLock::new(()),
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Life) -> R) -> R {
        f(&mut self.life.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changing calls so far.
    pub fn calls(&self) -> Vec<String> {
        self.with(|life| life.calls.clone())
    }

    /// Looks at the machine so far.
    pub fn looks(&self) -> usize {
        self.with(|life| life.looks)
    }

    /// It dies at the changing call after `more` others.
    pub fn dies_after(&self, more: usize, carried_out: bool) {
        self.with(|life| {
            let at = life.calls.len() + more;
            life.fault = Some(Fault::Dies { at, carried_out });
        });
    }

    pub fn is_dead(&self) -> bool {
        self.with(|life| life.dead)
    }

    /// SIGKILL; returns when nothing of it is under way.
    pub fn kill(&self) {
        self.with(|life| life.dead = true);
        drop(self.under_way.write());
    }

    fn alive(&self) {
        assert!(!self.is_dead(), "the process is dead");
    }

    fn die(&self, call: &str) -> ! {
        self.with(|life| life.dead = true);
        panic!("the process dies at {call}");
    }

    fn change<T, E>(
        &self,
        call: &str,
        error: impl FnOnce() -> E,
        carry_out: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let _under_way = self.under_way.read();
        self.alive();
        let (number, fault) = self.with(|life| {
            life.calls.push(call.to_owned());
            (life.calls.len() - 1, life.fault)
        });
        match fault {
            Some(Fault::Fails { at, times })
                if (at..at.saturating_add(times)).contains(&number) =>
            {
                return Err(error());
            }
            Some(Fault::Refuses { call: refused }) if refused == call => return Err(error()),
            Some(Fault::Dies {
                at,
                carried_out: false,
            }) if at == number => self.die(call),
            _ => {}
        }
        let result = carry_out();
        if !self.call_time.is_zero() {
            self.host.advance(self.call_time);
        }
        check(&self.host, call);
        if let Some(Fault::Dies { at, .. }) = fault
            && at == number
        {
            self.die(call);
        }
        result
    }

    fn on_host<T>(
        &self,
        call: &str,
        carry_out: impl FnOnce(&HostTwin) -> HostResult<T>,
    ) -> HostResult<T> {
        // EIO
        let error = || HostError::kernel(call, 5, Some("injected".into()));
        self.change(call, error, || carry_out(&self.host))
    }

    fn on_vms<T>(
        &self,
        call: &str,
        carry_out: impl FnOnce(&HypervisorTwin) -> VmResult<T>,
    ) -> VmResult<T> {
        let error = || HypervisorError::Refused {
            operation: call.to_owned(),
            message: "injected".into(),
        };
        self.change(call, error, || carry_out(&self.hypervisor))
    }
}

/// Guests send, and none is out of reach. What was lost is noted; the test looks when it waits and
/// when it ends.
pub fn check(host: &HostTwin, moment: &str) {
    host.with(|machine| {
        machine.chatter();
        let lost = machine.unreachable().into_iter();
        let lost: Vec<String> = lost.map(|way| format!("after '{moment}': {way}")).collect();
        machine.violations.extend(lost);
    });
}

impl Host for Process {
    fn observe_node(&self) -> HostResult<NodeFacts> {
        self.alive();
        self.host.observe_node()
    }

    fn observe_adapters(&self, busy: &BTreeSet<PciAddress>) -> HostResult<AdaptersSeen> {
        self.alive();
        self.with(|life| life.looks += 1);
        self.host.observe_adapters(busy)
    }

    fn observe_bridges(&self, named: &BTreeSet<IfName>) -> HostResult<Vec<BridgeFacts>> {
        self.alive();
        self.host.observe_bridges(named)
    }

    fn observe_policy(&self, paths: &[PolicyPath]) -> Vec<HostResult<Vec<PolicyFinding>>> {
        self.alive();
        self.host.observe_policy(paths)
    }

    fn watch(&self, events: mpsc::Sender<HostEvent>) -> HostResult<()> {
        self.alive();
        Host::watch(&self.host, events)
    }

    fn ensure_vf_count(&self, pf: PciAddress, count: u32) -> HostResult<()> {
        self.on_host(&format!("{count} VFs"), |host| {
            host.ensure_vf_count(pf, count)
        })
    }

    fn ensure_vf_vfio(&self, vf: PciAddress, driver: Option<&DriverName>) -> HostResult<()> {
        self.on_host(&format!("bind {vf}"), |host| {
            host.ensure_vf_vfio(vf, driver)
        })
    }

    fn ensure_vf_vectors(
        &self,
        vf: PciAddress,
        vectors: u32,
        driver: Option<&DriverName>,
    ) -> HostResult<()> {
        self.on_host(&format!("{vf} has {vectors} vectors"), |host| {
            host.ensure_vf_vectors(vf, vectors, driver)
        })
    }

    fn ensure_vf_reserved(&self, vf: PciAddress, reserved: bool) -> HostResult<()> {
        self.on_host(&format!("{vf}: reserved {reserved}"), |host| {
            host.ensure_vf_reserved(vf, reserved)
        })
    }

    fn reset_vf(&self, vf: &IdleVf) -> HostResult<()> {
        self.on_host(&format!("reset {}", vf.vf), |host| host.reset_vf(vf))
    }

    fn ensure_vf_baseline(&self, vf: &IdleVf) -> HostResult<VfAttributes> {
        self.on_host(
            &format!("VF {} carries {}", vf.index, MacAddr::default()),
            |host| host.ensure_vf_baseline(vf),
        )
    }

    fn ensure_vf_attributes(
        &self,
        pf: PciAddress,
        index: u32,
        wanted: &VfAttributes,
    ) -> HostResult<VfAttributes> {
        self.on_host(&format!("VF {index} carries {}", wanted.mac), |host| {
            host.ensure_vf_attributes(pf, index, wanted)
        })
    }

    fn ensure_port_learning(&self, port: &IfName, on: bool) -> HostResult<()> {
        self.on_host(&format!("{port} learns: {on}"), |host| {
            host.ensure_port_learning(port, on)
        })
    }

    fn ensure_port_flood(&self, port: &IfName, on: bool) -> HostResult<()> {
        self.on_host(&format!("{port} floods: {on}"), |host| {
            host.ensure_port_flood(port, on)
        })
    }

    fn ensure_bridge_mac_pinned(&self, bridge: &IfName) -> HostResult<()> {
        self.on_host(&format!("pin {bridge}"), |host| {
            host.ensure_bridge_mac_pinned(bridge)
        })
    }

    fn ensure_bridge(&self, bridge: &IfName, mark: &str) -> HostResult<()> {
        self.on_host(&format!("make {bridge}"), |host| {
            host.ensure_bridge(bridge, mark)
        })
    }

    fn ensure_bridge_port(&self, bridge: &IfName, port: &IfName) -> HostResult<()> {
        self.on_host(&format!("{port} into {bridge}"), |host| {
            host.ensure_bridge_port(bridge, port)
        })
    }

    fn ensure_pf_filter(&self, pf: &IfName, mac: MacAddr, present: bool) -> HostResult<()> {
        self.on_host(&format!("{pf} filters {mac}: {present}"), |host| {
            host.ensure_pf_filter(pf, mac, present)
        })
    }

    fn ensure_bridge_entry(&self, port: &IfName, key: FdbKey, wanted: Entry) -> HostResult<()> {
        let operation = format!("entry {} at {port}: {wanted:?}", key.mac);
        self.on_host(&operation, |host| {
            host.ensure_bridge_entry(port, key, wanted)
        })
    }

    fn ensure_hold_queue(&self, tap: &IfName, wanted: HoldQueue) -> HostResult<()> {
        self.on_host(&format!("{tap}: {wanted:?}"), |host| {
            host.ensure_hold_queue(tap, wanted)
        })
    }

    fn ensure_tap_room(&self, tap: &IfName) -> HostResult<()> {
        self.on_host(&format!("{tap}: room"), |host| host.ensure_tap_room(tap))
    }

    fn observe_traffic(&self, pfs: &[IfName]) -> HostResult<Traffic> {
        self.alive();
        self.host.observe_traffic(pfs)
    }

    fn observe_adapter_traffic(&self, pf: &IfName) -> HostResult<Traffic> {
        self.alive();
        self.host.observe_adapter_traffic(pf)
    }

    fn rx_packets(&self, port: &IfName) -> HostResult<u64> {
        self.alive();
        self.host.rx_packets(port)
    }

    fn observe_vectors(&self) -> HostResult<BTreeMap<PciAddress, u32>> {
        self.alive();
        self.host.observe_vectors()
    }

    fn observe_link(&self, name: &IfName) -> HostResult<LinkSeen> {
        self.alive();
        self.host.observe_link(name)
    }

    fn pause(&self, time: Duration) {
        self.alive();
        self.host.pause(time);
        check(&self.host, "a pause");
    }

    fn now(&self) -> Duration {
        self.alive();
        self.host.now()
    }
}

impl Hypervisor for Process {
    fn observe_versions(&self) -> VmResult<Versions> {
        self.alive();
        self.hypervisor.observe_versions()
    }

    fn observe_capabilities(&self) -> VmResult<DomainCapabilities> {
        self.alive();
        self.hypervisor.observe_capabilities()
    }

    fn observe_vms(&self) -> VmResult<Vec<VmSeen>> {
        self.alive();
        self.hypervisor.observe_vms()
    }

    fn watch(&self, events: mpsc::Sender<HypervisorEvent>) -> VmResult<()> {
        self.alive();
        Hypervisor::watch(&self.hypervisor, events)
    }

    fn attach_vf(&self, vm: Uuid, vf: &VfAttachment) -> VmResult<()> {
        self.on_vms(&format!("plug {} for {}", vf.pci, vf.mac), |twin| {
            twin.attach_vf(vm, vf)
        })
    }

    fn detach_vf(&self, vm: Uuid, pci: PciAddress, deadline: Duration) -> VmResult<bool> {
        self.on_vms(&format!("unplug {pci}"), |twin| {
            twin.detach_vf(vm, pci, deadline)
        })
    }

    fn ensure_released(&self, vm: Uuid, mac: MacAddr, deadline: Duration) -> VmResult<bool> {
        self.on_vms(&format!("release {mac}"), |twin| {
            twin.ensure_released(vm, mac, deadline)
        })
    }

    fn end_job(&self, vm: Uuid) -> VmResult<()> {
        self.on_vms("end job", |twin| twin.end_job(vm))
    }

    fn migrate(&self, vm: Uuid, to: &Name) -> VmResult<()> {
        self.on_vms(&format!("migrate to {to}"), |twin| twin.migrate(vm, to))
    }

    fn end_migration(&self, vm: Uuid) -> VmResult<()> {
        self.on_vms("end migration", |twin| twin.end_migration(vm))
    }

    fn prepare(&self, vm: Uuid, staging: &Staging) -> VmResult<Staged> {
        self.on_vms("prepare", |twin| twin.prepare(vm, staging))
    }

    fn ensure_nic(&self, vm: Uuid, nic: &NewNic, live: bool) -> VmResult<Staged> {
        self.on_vms(&format!("NIC {}, live: {live}", nic.mac), |twin| {
            twin.ensure_nic(vm, nic, live)
        })
    }
}
