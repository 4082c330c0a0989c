//! A node: a machine, its VMs, its disk, and the agent that may run on it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use accelnet_agent::event::Event;
use accelnet_host::twin::{Guest, HostTwin, Machine};
use accelnet_hypervisor::twin::{HypervisorTwin, definition};
use accelnet_model::{IfName, MacAddr, NodeStatus, PciAddress, VmFacts};
use uuid::Uuid;

use crate::{
    agent::{Agent, Ready},
    below::{AllHabits, Below},
    process::Process,
    scene::Scene,
    turns::Idle,
};

/// A VM: its number, from 1, is in all its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmId(pub u8);

impl VmId {
    /// Its identity.
    pub fn uuid(self) -> Uuid {
        Uuid::from_u128(u128::from(self.0))
    }

    /// The address of its NIC.
    pub fn mac(self) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0x77, self.0])
    }

    /// Its name.
    pub fn name(self) -> String {
        format!("vm{}", self.0)
    }
}

/// The bridge that VMs are on.
///
/// # Panics
/// Never: it is a name.
pub fn bridge() -> IfName {
    "br0".parse().expect("a name")
}

/// The adapter that is its uplink.
///
/// # Panics
/// Never: it is a name.
pub fn uplink() -> IfName {
    "pf0".parse().expect("a name")
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    scene: Scene,
    /// Its machine.
    pub host: HostTwin,
    /// Its libvirt.
    pub vms: HypervisorTwin,
    /// How its guests behave.
    pub habits: AllHabits,
    /// The ledger's file.
    disk: Option<Vec<u8>>,
    /// The agent, while one runs.
    pub agent: Option<Agent>,
    /// That agent was told that the host goes down: it keeps its VMs off their VFs.
    pub goes_down: bool,
}

impl Node {
    /// A node without VMs, on which nothing runs.
    pub fn new(name: &str, scene: &Scene, machine: Machine) -> Self {
        let host = HostTwin::new(machine);
        let habits = AllHabits::new(std::sync::Mutex::new(BTreeMap::new()));
        let below = Below::new(host.clone(), Arc::clone(&habits));
        Self {
            name: name.to_owned(),
            scene: scene.clone(),
            vms: HypervisorTwin::new(Arc::new(below)),
            host,
            habits,
            disk: None,
            agent: None,
            goes_down: false,
        }
    }

    /// Its definition can be read.
    pub fn is_readable(&self, vm: VmId) -> bool {
        self.vms
            .with(|vms| vms.vm(vm.uuid()).is_none_or(|vm| vm.unreadable.is_none()))
    }

    /// One more VM that is defined here, and off.
    pub fn define(&self, vm: VmId) {
        let facts = definition(vm.uuid(), &vm.name(), vm.mac(), &bridge());
        self.vms.define(facts);
    }

    /// A VM as libvirt has it.
    pub fn vm(&self, vm: VmId) -> Option<VmFacts> {
        self.vms
            .with(|vms| vms.vm(vm.uuid()).map(|vm| vm.facts.clone()))
    }

    /// The process of a VM that runs.
    pub fn pid(&self, vm: VmId) -> Option<u32> {
        self.vms.pid(vm.uuid())
    }

    /// The tap of a VM that runs.
    pub fn tap(&self, vm: VmId) -> Option<IfName> {
        self.vm(vm)?.nics.first()?.tap.clone()
    }

    /// VFs in the definition of a VM that runs.
    pub fn vfs_of(&self, vm: VmId) -> Vec<PciAddress> {
        let devices = self.vm(vm).map(|facts| facts.hostdevs).unwrap_or_default();
        devices.iter().map(|device| device.pci).collect()
    }

    /// Changes the guest of a VM that runs.
    pub fn on_guest(&self, vm: VmId, change: impl FnOnce(&mut Guest)) {
        self.host.with(|machine| {
            let mut guests = machine.guests.iter_mut();
            if let Some(guest) = guests.find(|guest| guest.mac == vm.mac()) {
                change(guest);
            }
        });
    }

    /// What happens now may put it out of reach until it has been reached once.
    pub fn excuse(&self, vm: VmId) {
        self.on_guest(vm, |guest| guest.excused = true);
    }

    /// Its clock, which is that of its host.
    pub fn now(&self) -> Duration {
        self.host.with(|machine| machine.now())
    }

    /// An agent starts, unless one runs.
    pub fn start(&mut self) {
        if self.agent.is_none() {
            self.scene.step(&format!("{} starts", self.name));
            let process = Process::new(
                &self.name,
                self.host.clone(),
                self.vms.clone(),
                self.scene.clone(),
            );
            let disk = self.disk.as_deref();
            self.agent = Some(Agent::start(process, &self.name, &self.scene, disk));
            self.goes_down = false;
        }
    }

    /// The agent is killed, if one runs.
    pub fn kill(&mut self, idle: &mut Idle) {
        if let Some(agent) = self.agent.take() {
            self.scene.step(&format!("{} is killed", self.name));
            agent.die(idle);
            self.host.with(Machine::end_watches);
            self.vms.with(accelnet_hypervisor::twin::Vms::end_watches);
        }
    }

    /// The machine has started: what accelnet's unit does before networks and guests.
    ///
    /// # Panics
    /// If there is no room for a file.
    pub fn boot(&mut self) {
        let Some(bytes) = &self.disk else { return };
        let directory = tempfile::tempdir().expect("a directory for the ledger");
        let file = directory.path().join(accelnet_agent::ledger::FILE);
        std::fs::write(&file, bytes).expect("the ledger");
        let outcome = accelnet_agent::boot(&self.host, directory.path());
        for words in outcome.failed {
            self.scene.note(&format!("{} boot: {words}", self.name));
        }
        self.disk = Some(std::fs::read(&file).expect("the ledger"));
    }

    /// Tells the agent something, if one runs.
    pub fn tell(&mut self, event: Event) {
        if let Some(agent) = &mut self.agent {
            agent.tell(event);
        }
    }

    /// The host was to go down, and stays up.
    pub fn goes_down(&mut self) {
        self.goes_down = self.agent.is_some();
        self.tell(Event::GoesDown);
    }

    /// What may be done now.
    pub fn ready(&mut self) -> Vec<Ready> {
        let now = self.now();
        self.agent
            .as_mut()
            .map(|agent| agent.ready(now))
            .unwrap_or_default()
    }

    /// When something is to be done next, if nothing is now.
    pub fn wakes_at(&self) -> Duration {
        self.agent.as_ref().map_or(Duration::MAX, Agent::wakes_at)
    }

    /// Does one thing that is ready.
    pub fn go_on(&mut self, ready: Ready, idle: &mut Idle) {
        let now = self.now();
        let Some(agent) = &mut self.agent else { return };
        let written = agent.go_on(ready, now, idle);
        if let Some(bytes) = written {
            self.disk = Some(bytes);
        }
        if self
            .agent
            .as_ref()
            .is_some_and(|agent| agent.process.is_dead())
        {
            self.kill(idle);
        }
    }

    /// What the agent reported last.
    pub fn reported(&self) -> Option<&NodeStatus> {
        self.agent.as_ref()?.reported.as_ref()
    }
}
