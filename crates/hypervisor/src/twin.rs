//! A simulated hypervisor: VMs that start, stop, take VFs and give them back.
//!
//! What lies below the VMs (taps, VFs, what guests do with them) is another's: [`Hardware`] is the
//! way there, so that this twin and that of the host can be one world.

mod jobs;
mod port;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use accelnet_model::{Bound, IfName, MacAddr, Name, NicFacts, PciAddress, VmFacts, VmState};
use uuid::Uuid;

use crate::{HypervisorError, HypervisorEvent, Result};

/// The machine below the VMs.
pub trait Hardware: Send + Sync + 'static {
    /// A NIC of a VM that starts: its tap becomes a port of the bridge.
    ///
    /// # Errors
    /// In words.
    fn start_nic(
        &self,
        pid: u32,
        mac: MacAddr,
        bridge: &IfName,
        tap: &IfName,
    ) -> std::result::Result<(), String>;

    /// A VM stopped: its taps and VFs are free.
    fn stopped(&self, pid: u32);

    /// Plugs a VF as the fast half of the NIC with this address.
    ///
    /// # Errors
    /// In words, as QEMU would refuse it.
    fn plug(&self, pid: u32, mac: MacAddr, vf: PciAddress) -> std::result::Result<(), String>;

    /// libvirt has given the VF to a VM that opens it in a moment.
    fn is_being_opened(&self, _vf: PciAddress) -> bool {
        false
    }

    /// The guest has let go of a VF.
    fn unplugged(&self, pid: u32, vf: PciAddress);

    /// Lets time pass.
    fn pause(&self, time: Duration);

    /// The VM's processors stop, or run.
    fn set_running(&self, _pid: u32, _runs: bool) {}

    /// QEMU asked the guest to let go of its VF, and it has; or it takes it back. QEMU keeps it.
    fn set_let_go(&self, _pid: u32, _let_go: bool) {}

    /// A device of the definition that the VM came with is opened as it is.
    ///
    /// # Errors
    /// In words; QEMU itself goes on without.
    fn plug_stray(&self, _pid: u32, _device: PciAddress) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// A VM and how it behaves.
#[derive(Debug, Clone)]
pub struct Vm {
    /// What can be seen of it.
    pub facts: VmFacts,
    /// The guest does not release a device.
    pub refuses_unplug: bool,
    /// Why libvirt tells nothing of it but its state.
    pub unreadable: Option<String>,
    /// A job goes on for which libvirt changes no device, whether the VM runs or not.
    pub busy: bool,
    /// The guest has let go of its VF because QEMU asked, and may take it back.
    pub let_go: bool,
    /// What QEMU still has for a NIC although libvirt has forgotten it: perhaps a VF, perhaps but the name.
    pub left: Vec<(MacAddr, Option<PciAddress>)>,
}

impl Vm {
    /// It is as `facts` say.
    fn new(facts: VmFacts) -> Self {
        Self {
            facts,
            refuses_unplug: false,
            unreadable: None,
            busy: false,
            let_go: false,
            left: Vec::new(),
        }
    }

    /// A start and an end make it one with nothing left of before.
    fn forget(&mut self) {
        (self.facts.job, self.busy, self.let_go) = (None, false, false);
        self.left.clear();
    }
}

/// A virtio NIC that stands by, as a definition has it.
fn standby(mac: MacAddr, bridge: &IfName) -> NicFacts {
    NicFacts {
        mac,
        alias: None,
        model: "virtio".into(),
        mtu: None,
        bridge: Some(bridge.clone()),
        direct: None,
        tap: None,
        standby_live: false,
        standby_config: true,
        queues_live: 1,
        queues_config: 1,
        queues_can_be_raised: true,
        link_up: true,
        policy: Vec::new(),
    }
}

/// The definition of a VM that can be accelerated: PCI Express, two free root ports, one virtio NIC
/// that stands by.
pub fn definition(uuid: Uuid, name: &str, mac: MacAddr, bridge: &IfName) -> VmFacts {
    VmFacts {
        uuid,
        name: name.to_owned(),
        state: VmState::Off,
        job: None,
        pid: None,
        persistent: true,
        managed_by: None,
        machine: "pc-q35-10.0".into(),
        vcpus: 2,
        memory_mib: 192,
        memory_held_mib: 0,
        memory_unpinnable: None,
        memory_on: Bound::Unknown,
        cpus_on: Bound::Unknown,
        free_root_ports_live: 0,
        free_root_ports_config: 2,
        nics: vec![standby(mac, bridge)],
        nics_staged: Vec::new(),
        hostdevs: Vec::new(),
        hostdevs_config: Vec::new(),
    }
}

/// State of the simulated hypervisor.
#[derive(Debug)]
pub struct Vms {
    /// All VMs.
    pub vms: Vec<Vm>,
    /// libvirt does not answer.
    pub down: bool,
    /// Why no VM can be migrated to another node.
    pub refuses_migration: Option<String>,
    /// VMs that have gone to other nodes.
    pub migrated: Vec<(Vm, Name)>,
    next_pid: u32,
    watchers: Vec<mpsc::Sender<HypervisorEvent>>,
}

impl Vms {
    /// The VM with this identity.
    pub fn vm(&self, uuid: Uuid) -> Option<&Vm> {
        self.vms.iter().find(|vm| vm.facts.uuid == uuid)
    }

    /// The VM with this identity, to change how it behaves.
    pub fn vm_mut(&mut self, uuid: Uuid) -> Option<&mut Vm> {
        self.vms.iter_mut().find(|vm| vm.facts.uuid == uuid)
    }

    /// Tells whoever watches.
    pub fn tell(&mut self, event: HypervisorEvent) {
        self.watchers.retain(|watcher| watcher.send(event).is_ok());
    }

    /// Ends all watches: their process is gone.
    pub fn end_watches(&mut self) {
        self.watchers.clear();
    }
}

/// The simulated hypervisor. Clones are the same one.
#[derive(Clone)]
pub struct HypervisorTwin {
    state: Arc<Mutex<Vms>>,
    hardware: Arc<dyn Hardware>,
}

impl std::fmt::Debug for HypervisorTwin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HypervisorTwin").field(&self.state).finish()
    }
}

impl HypervisorTwin {
    /// A hypervisor without VMs.
    pub fn new(hardware: Arc<dyn Hardware>) -> Self {
        let vms = Vms {
            vms: Vec::new(),
            down: false,
            refuses_migration: None,
            migrated: Vec::new(),
            next_pid: 100,
            watchers: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(vms)),
            hardware,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vms> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or changes the VMs.
    pub fn with<R>(&self, f: impl FnOnce(&mut Vms) -> R) -> R {
        f(&mut self.lock())
    }

    /// Defines a VM that is off. `facts` of a VM that runs are those of its next start.
    pub fn define(&self, mut facts: VmFacts) {
        facts.state = VmState::Off;
        facts.pid = None;
        facts.hostdevs.clear();
        facts.free_root_ports_live = 0;
        for nic in &mut facts.nics {
            (nic.alias, nic.tap, nic.standby_live) = (None, None, false);
        }
        self.with(|vms| {
            vms.vms.push(Vm::new(facts));
        });
    }

    /// A cold start; what was staged on the definition takes effect.
    ///
    /// # Errors
    /// If there is no such VM, or its bridge is not there.
    pub fn start(&self, uuid: Uuid) -> Result<()> {
        let mut vms = self.lock();
        if self.begin(&mut vms, uuid)?.is_some() {
            vms.tell(HypervisorEvent::Vm(uuid));
        }
        Ok(())
    }

    /// A QEMU with taps, and its process id; `None` if the VM has one already.
    fn begin(&self, vms: &mut Vms, uuid: Uuid) -> Result<Option<u32>> {
        let pid = vms.next_pid;
        vms.next_pid += 1;
        let vm = vms.vm_mut(uuid).ok_or(HypervisorError::NoSuchVm(uuid))?;
        if vm.facts.state != VmState::Off {
            return Ok(None);
        }
        vm.forget();
        for (number, nic) in vm.facts.nics.iter_mut().enumerate() {
            self.start_nic(pid, number, nic)?;
        }
        vm.facts.free_root_ports_live = vm.facts.free_root_ports_config;
        (vm.facts.state, vm.facts.pid) = (VmState::Running, Some(pid));
        Ok(Some(pid))
    }

    fn start_nic(&self, pid: u32, number: usize, nic: &mut NicFacts) -> Result<()> {
        let refused = |message: String| HypervisorError::Refused {
            operation: "start".into(),
            message,
        };
        nic.alias = Some(format!("net{number}"));
        nic.standby_live = nic.standby_config;
        nic.queues_live = nic.queues_config;
        let Some(bridge) = &nic.bridge else {
            return Ok(());
        };
        let tap: IfName = format!("vnet{pid}-{number}")
            .parse()
            .map_err(|error| refused(format!("{error}")))?;
        self.hardware
            .start_nic(pid, nic.mac, bridge, &tap)
            .map_err(refused)?;
        nic.tap = Some(tap);
        Ok(())
    }

    /// The VM stops: by itself or not, it looks the same.
    pub fn stop(&self, uuid: Uuid) {
        let mut vms = self.lock();
        let Some(vm) = vms.vm_mut(uuid) else { return };
        let Some(pid) = vm.facts.pid.take() else {
            return;
        };
        vm.forget();
        vm.facts.state = VmState::Off;
        vm.facts.hostdevs.clear();
        vm.facts.free_root_ports_live = 0;
        // A VM that is off is what its definition says.
        let staged = std::mem::take(&mut vm.facts.nics_staged);
        vm.facts.nics.extend(staged);
        for nic in &mut vm.facts.nics {
            (nic.alias, nic.tap, nic.standby_live) = (None, None, false);
        }
        self.hardware.stopped(pid);
        vms.tell(HypervisorEvent::Vm(uuid));
    }

    /// Process id of a VM that runs.
    pub fn pid(&self, uuid: Uuid) -> Option<u32> {
        self.with(|vms| vms.vm(uuid).and_then(|vm| vm.facts.pid))
    }
}

#[cfg(test)]
mod tests;
