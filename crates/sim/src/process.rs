//! An agent's process: kernel and libvirt as it sees them. Each call waits for its turn before and after it is carried
//! out, takes its time, may fail, and may be the process's last, whether it was carried out or not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError, mpsc},
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

use crate::{scene::Scene, turns};

/// How long a call takes: usually, and if it takes long.
#[derive(Debug, Clone, Copy)]
struct Pace {
    usual: Duration,
    slow: Duration,
}

const fn pace(usual_ms: u64, slow_ms: u64) -> Pace {
    Pace {
        usual: Duration::from_millis(usual_ms),
        slow: Duration::from_millis(slow_ms),
    }
}

/// Netlink and sysfs.
const KERNEL: Pace = pace(1, 40);
/// Drivers of VFs: binding, resets.
const DRIVER: Pace = pace(100, 1500);
/// Making VFs (some cards take a minute for a hundred).
const MAKING: Pace = pace(2000, 20_000);
/// libvirt, and QEMU behind it.
const LIBVIRT: Pace = pace(60, 3000);

#[derive(Debug, Default)]
struct Life {
    dead: bool,
    /// Adapters whose VFs are being made: the kernel answers nothing of them before that is over.
    making: BTreeSet<PciAddress>,
}

/// An agent's process. It is both of its ports.
#[derive(Debug)]
pub struct Process {
    node: String,
    host: HostTwin,
    hypervisor: HypervisorTwin,
    scene: Scene,
    life: Mutex<Life>,
}

impl Process {
    /// One that lives.
    pub fn new(node: &str, host: HostTwin, hypervisor: HypervisorTwin, scene: Scene) -> Self {
        Self {
            node: node.to_owned(),
            host,
            hypervisor,
            scene,
            life: Mutex::default(),
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Life) -> R) -> R {
        f(&mut self.life.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True once a call was its last.
    pub fn is_dead(&self) -> bool {
        self.with(|life| life.dead)
    }

    /// It is over.
    pub fn kill(&self) {
        self.with(|life| life.dead = true);
    }

    /// It may be over at any moment. Whoever holds its threads ends them where they wait.
    pub fn may_die(&self, before: &str) -> bool {
        let dies = self.scene.one_in(self.scene.dangers().agent_dies);
        if dies && !self.is_dead() {
            self.scene.note(&format!("{} dies {before}", self.node));
            self.kill();
        }
        self.is_dead()
    }

    fn takes(&self, pace: Pace) {
        let slow = self.scene.one_in(self.scene.dangers().call_is_slow);
        let most = if slow { pace.slow } else { pace.usual };
        let time = self.scene.time(Duration::ZERO, most);
        turns::wait(time);
        if time > pace.usual {
            self.scene.trouble();
        }
    }

    /// Whoever is dead waits for ever: it is ended there.
    fn alive(&self, before: &str) {
        while self.may_die(before) {
            turns::wait(Duration::MAX);
        }
    }

    fn look<T>(&self, pace: Pace, look: impl FnOnce() -> T) -> T {
        self.takes(pace);
        look()
    }

    fn change<T, E: std::fmt::Display>(
        &self,
        (kind, about): (&str, String),
        pace: Pace,
        error: impl FnOnce() -> E,
        carry_out: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let scene = &self.scene;
        self.alive(&format!("before {kind}"));
        self.takes(pace);
        if self.may_die(&format!("before {kind}")) {
            scene.reached(&format!("dies before {kind}"));
            turns::wait(Duration::MAX);
        }
        if scene.one_in(scene.dangers().call_fails) {
            scene.trouble();
            scene.reached(&format!("{kind} fails"));
            scene.step(&format!("{} {kind} {about}: fails", self.node));
            return Err(error());
        }
        let result = carry_out();
        let became = match &result {
            Ok(_) => String::new(),
            Err(error) => format!(": {error}"),
        };
        scene.step(&format!("{} {kind} {about}{became}", self.node));
        if self.may_die(&format!("after {kind}")) {
            scene.reached(&format!("dies after {kind}"));
            turns::wait(Duration::MAX);
        }
        self.takes(pace);
        result
    }

    fn on_host<T>(
        &self,
        kind: &str,
        about: String,
        pace: Pace,
        carry_out: impl FnOnce(&HostTwin) -> HostResult<T>,
    ) -> HostResult<T> {
        // EIO
        let error = || HostError::kernel(kind, 5, Some("simulated".into()));
        self.change((kind, about), pace, error, || carry_out(&self.host))
    }

    fn on_vms<T>(
        &self,
        kind: &str,
        about: String,
        carry_out: impl FnOnce(&HypervisorTwin) -> VmResult<T>,
    ) -> VmResult<T> {
        let error = || HypervisorError::Refused {
            operation: kind.to_owned(),
            message: "simulated".into(),
        };
        self.change((kind, about), LIBVIRT, error, || {
            carry_out(&self.hypervisor)
        })
    }
}

impl Host for Process {
    fn observe_node(&self) -> HostResult<NodeFacts> {
        self.look(KERNEL, || self.host.observe_node())
    }

    fn observe_adapters(&self, busy: &BTreeSet<PciAddress>) -> HostResult<AdaptersSeen> {
        self.takes(KERNEL);
        // The kernel holds the lock of the function (drivers/pci/iov.c).
        while self.with(|life| life.making.difference(busy).next().is_some()) {
            turns::wait(Duration::from_millis(100));
        }
        self.host.observe_adapters(busy)
    }

    fn observe_bridges(&self, named: &BTreeSet<IfName>) -> HostResult<Vec<BridgeFacts>> {
        self.look(KERNEL, || self.host.observe_bridges(named))
    }

    fn observe_policy(&self, paths: &[PolicyPath]) -> Vec<HostResult<Vec<PolicyFinding>>> {
        self.look(KERNEL, || self.host.observe_policy(paths))
    }

    fn watch(&self, events: mpsc::Sender<HostEvent>) -> HostResult<()> {
        Host::watch(&self.host, events)
    }

    fn ensure_vf_count(&self, pf: PciAddress, count: u32) -> HostResult<()> {
        self.with(|life| life.making.insert(pf));
        let made = self.on_host("make VFs", format!("{pf} {count}"), MAKING, |host| {
            host.ensure_vf_count(pf, count)
        });
        self.with(|life| life.making.remove(&pf));
        made
    }

    fn ensure_vf_vfio(&self, vf: PciAddress, driver: Option<&DriverName>) -> HostResult<()> {
        self.on_host("bind", vf.to_string(), DRIVER, |host| {
            host.ensure_vf_vfio(vf, driver)
        })
    }

    fn ensure_vf_vectors(
        &self,
        vf: PciAddress,
        vectors: u32,
        driver: Option<&DriverName>,
    ) -> HostResult<()> {
        self.on_host("vectors", format!("{vf} {vectors}"), DRIVER, |host| {
            host.ensure_vf_vectors(vf, vectors, driver)
        })
    }

    fn ensure_vf_reserved(&self, vf: PciAddress, reserved: bool) -> HostResult<()> {
        self.on_host("reserve", format!("{vf} {reserved}"), KERNEL, |host| {
            host.ensure_vf_reserved(vf, reserved)
        })
    }

    fn reset_vf(&self, vf: &IdleVf) -> HostResult<()> {
        // Users are looked for first; one that comes after that is run over, which the twin tells.
        let used = |machine: &mut accelnet_host::twin::Machine| {
            let found = machine.vf(vf.vf);
            found.is_some_and(|vf| vf.user != accelnet_model::VfUser::Nobody)
        };
        if self.host.with(used) {
            let users = vec![format!("VF {}", vf.vf)];
            return Err(HostError::VfsInUse { pf: vf.pf, users });
        }
        self.on_host("reset", vf.vf.to_string(), DRIVER, |host| host.reset_vf(vf))
    }

    fn ensure_vf_baseline(&self, vf: &IdleVf) -> HostResult<VfAttributes> {
        self.on_host("baseline", format!("VF {}", vf.index), KERNEL, |host| {
            host.ensure_vf_baseline(vf)
        })
    }

    fn ensure_vf_attributes(
        &self,
        pf: PciAddress,
        index: u32,
        wanted: &VfAttributes,
    ) -> HostResult<VfAttributes> {
        self.on_host(
            "attributes",
            format!("VF {index} {}", wanted.mac),
            KERNEL,
            |host| host.ensure_vf_attributes(pf, index, wanted),
        )
    }

    fn ensure_port_learning(&self, port: &IfName, on: bool) -> HostResult<()> {
        self.on_host("learning", format!("{port} {on}"), KERNEL, |host| {
            host.ensure_port_learning(port, on)
        })
    }

    fn ensure_port_flood(&self, port: &IfName, on: bool) -> HostResult<()> {
        self.on_host("flood", format!("{port} {on}"), KERNEL, |host| {
            host.ensure_port_flood(port, on)
        })
    }

    fn ensure_bridge_mac_pinned(&self, bridge: &IfName) -> HostResult<()> {
        self.on_host("pin bridge", bridge.to_string(), KERNEL, |host| {
            host.ensure_bridge_mac_pinned(bridge)
        })
    }

    fn ensure_bridge(&self, bridge: &IfName, mark: &str) -> HostResult<()> {
        self.on_host("make bridge", bridge.to_string(), KERNEL, |host| {
            host.ensure_bridge(bridge, mark)
        })
    }

    fn ensure_bridge_port(&self, bridge: &IfName, port: &IfName) -> HostResult<()> {
        self.on_host("add uplink", format!("{port} {bridge}"), KERNEL, |host| {
            host.ensure_bridge_port(bridge, port)
        })
    }

    fn ensure_pf_filter(&self, pf: &IfName, mac: MacAddr, present: bool) -> HostResult<()> {
        self.on_host("filter", format!("{pf} {mac} {present}"), KERNEL, |host| {
            host.ensure_pf_filter(pf, mac, present)
        })
    }

    fn ensure_bridge_entry(&self, port: &IfName, key: FdbKey, wanted: Entry) -> HostResult<()> {
        let about = format!("{port} {} {wanted:?}", key.mac);
        self.on_host("entry", about, KERNEL, |host| {
            host.ensure_bridge_entry(port, key, wanted)
        })
    }

    fn ensure_hold_queue(&self, tap: &IfName, wanted: HoldQueue) -> HostResult<()> {
        self.on_host("hold", format!("{tap} {wanted:?}"), KERNEL, |host| {
            host.ensure_hold_queue(tap, wanted)
        })
    }

    fn ensure_tap_room(&self, tap: &IfName) -> HostResult<()> {
        self.on_host("tap room", tap.to_string(), KERNEL, |host| {
            host.ensure_tap_room(tap)
        })
    }

    fn observe_traffic(&self, pfs: &[IfName]) -> HostResult<Traffic> {
        self.look(KERNEL, || self.host.observe_traffic(pfs))
    }

    fn observe_adapter_traffic(&self, pf: &IfName) -> HostResult<Traffic> {
        self.look(KERNEL, || self.host.observe_adapter_traffic(pf))
    }

    fn rx_packets(&self, port: &IfName) -> HostResult<u64> {
        self.look(KERNEL, || self.host.rx_packets(port))
    }

    fn observe_vectors(&self) -> HostResult<BTreeMap<PciAddress, u32>> {
        self.look(KERNEL, || self.host.observe_vectors())
    }

    fn observe_link(&self, name: &IfName) -> HostResult<LinkSeen> {
        self.look(KERNEL, || self.host.observe_link(name))
    }

    fn pause(&self, time: Duration) {
        turns::wait(time);
    }

    fn now(&self) -> Duration {
        self.host.now()
    }
}

impl Hypervisor for Process {
    fn observe_versions(&self) -> VmResult<Versions> {
        self.look(LIBVIRT, || self.hypervisor.observe_versions())
    }

    fn observe_capabilities(&self) -> VmResult<DomainCapabilities> {
        self.look(KERNEL, || self.hypervisor.observe_capabilities())
    }

    fn observe_vms(&self) -> VmResult<Vec<VmSeen>> {
        let seen = self.look(LIBVIRT, || self.hypervisor.observe_vms());
        // What was seen is told later than it was so.
        self.takes(LIBVIRT);
        seen
    }

    fn watch(&self, events: mpsc::Sender<HypervisorEvent>) -> VmResult<()> {
        Hypervisor::watch(&self.hypervisor, events)
    }

    fn attach_vf(&self, vm: Uuid, vf: &VfAttachment) -> VmResult<()> {
        self.on_vms("plug", format!("{} {}", vf.pci, vf.mac), |twin| {
            twin.attach_vf(vm, vf)
        })
    }

    fn detach_vf(&self, vm: Uuid, pci: PciAddress, deadline: Duration) -> VmResult<bool> {
        self.on_vms("unplug", pci.to_string(), |twin| {
            twin.detach_vf(vm, pci, deadline)
        })
    }

    fn ensure_released(&self, vm: Uuid, mac: MacAddr, deadline: Duration) -> VmResult<bool> {
        self.on_vms("release", mac.to_string(), |twin| {
            twin.ensure_released(vm, mac, deadline)
        })
    }

    fn end_job(&self, vm: Uuid) -> VmResult<()> {
        self.on_vms("end job", vm.to_string(), |twin| twin.end_job(vm))
    }

    fn migrate(&self, vm: Uuid, to: &Name) -> VmResult<()> {
        self.on_vms("migrate", format!("{vm} {to}"), |twin| twin.migrate(vm, to))
    }

    fn end_migration(&self, vm: Uuid) -> VmResult<()> {
        self.on_vms("end migration", vm.to_string(), |twin| {
            twin.end_migration(vm)
        })
    }

    fn prepare(&self, vm: Uuid, staging: &Staging) -> VmResult<Staged> {
        self.on_vms("prepare", vm.to_string(), |twin| twin.prepare(vm, staging))
    }

    fn ensure_nic(&self, vm: Uuid, nic: &NewNic, live: bool) -> VmResult<Staged> {
        self.on_vms("add NIC", format!("{vm} {}", nic.mac), |twin| {
            twin.ensure_nic(vm, nic, live)
        })
    }
}
