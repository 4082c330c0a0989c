//! VMs that come in, leave, are saved or dumped, and what goes wrong then.
//!
//! ```text
//!   comes in:  arrive ─▶ resume
//!   leaves:    unplug_primary ─▶ let_go ─▶ stop_to_leave ─▶ stop
//!                    └───────────────┴─────────┴──▶ migration_fails
//!   is saved:  freeze ─▶ (nothing, while its guest has a VF) ─▶ end_job
//! ```
//!
//! Orders are those that were measured (docs/reference/switch-over.md). libvirt's own events are sparse:
//! none at an unplug of QEMU's own, none when a migration fails before its last stop.

use accelnet_model::{HostdevFacts, PciAddress, VmJob, VmState};
use uuid::Uuid;

use super::{HypervisorTwin, Vm, Vms};
use crate::{HypervisorError, HypervisorEvent, MigrationPhase, Result};

impl Vm {
    /// A job has stopped it, and waits for ever: the guest can let go of its VF only while it runs.
    fn waits_for_guest(&self) -> bool {
        let stopped = matches!(
            self.facts.job,
            Some(VmJob::Saving | VmJob::Dumping | VmJob::Outgoing)
        );
        let forgotten = self.left.iter().any(|(_, pci)| pci.is_some());
        let has_vf = (forgotten || !self.facts.hostdevs.is_empty()) && !self.let_go;
        self.facts.state == VmState::Paused && stopped && has_vf
    }
}

impl HypervisorTwin {
    /// A VM that is off begins to come in, by a migration or from a file: its QEMU and its taps are there, its
    /// guest has not run, and libvirt tells nothing of it but its state.
    ///
    /// # Errors
    /// As [`HypervisorTwin::start`].
    pub fn arrive(&self, uuid: Uuid) -> Result<()> {
        self.come_in(uuid, None)
    }

    /// The same with a device in its definition, as what was saved or left with a VF has. Whether there is
    /// such a device or not, QEMU goes on.
    ///
    /// # Errors
    /// As [`HypervisorTwin::start`].
    pub fn arrive_with(&self, uuid: Uuid, device: PciAddress) -> Result<()> {
        self.come_in(uuid, Some(device))
    }

    fn come_in(&self, uuid: Uuid, device: Option<PciAddress>) -> Result<()> {
        let mut vms = self.lock();
        let Some(pid) = self.begin(&mut vms, uuid)? else {
            return Ok(());
        };
        let vm = vms.vm_mut(uuid).ok_or(HypervisorError::NoSuchVm(uuid))?;
        (vm.facts.state, vm.facts.job, vm.busy) = (VmState::Paused, Some(VmJob::Incoming), true);
        if let Some(pci) = device {
            // It has a driver of its own for it, or it has not; who asks finds out.
            let _ = self.hardware.plug_stray(pid, pci);
            let nic = vm.facts.nics.first();
            vm.facts.hostdevs.push(HostdevFacts {
                pci,
                mac: nic.map(|nic| nic.mac),
                alias: nic.map(|nic| HostdevFacts::alias_for(nic.mac)),
                teaming_with: nic.and_then(|nic| nic.alias.clone()),
            });
            vm.facts.free_root_ports_live = vm.facts.free_root_ports_live.saturating_sub(1);
        }
        self.hardware.set_running(pid, false);
        vms.tell(HypervisorEvent::Vm(uuid));
        Ok(())
    }

    /// A VM runs on: one that came in runs here for the first time, one that was stopped goes on.
    pub fn resume(&self, uuid: Uuid) {
        self.change(uuid, Some(HypervisorEvent::Vm(uuid)), |vm, pid| {
            (vm.facts.state, vm.facts.job, vm.busy) = (VmState::Running, None, false);
            self.hardware.set_running(pid, true);
        });
    }

    /// A live migration has come to where QEMU asks the guest to let go of its VF.
    pub fn unplug_primary(&self, uuid: Uuid) {
        let mut vms = self.lock();
        if let Some(vm) = vms.vm_mut(uuid) {
            vm.busy = true;
        }
        vms.ask_for_vf(uuid);
    }

    /// The guest has let go. Nobody tells of it.
    pub fn let_go(&self, uuid: Uuid) {
        self.change(uuid, None, |vm, pid| {
            vm.let_go = true;
            self.hardware.set_let_go(pid, true);
        });
    }

    /// The VM's last stop at this node.
    pub fn stop_to_leave(&self, uuid: Uuid) {
        self.change(uuid, Some(HypervisorEvent::Vm(uuid)), |vm, pid| {
            (vm.facts.state, vm.facts.job) = (VmState::Paused, Some(VmJob::Outgoing));
            self.hardware.set_running(pid, false);
        });
    }

    /// The migration comes to nothing: the VM runs on here, and QEMU plugs the VF back by itself. Only a VM
    /// that had been stopped has an event of libvirt's.
    pub fn migration_fails(&self, uuid: Uuid) {
        let stopped = self.with(|vms| {
            let vm = vms.vm(uuid);
            vm.is_some_and(|vm| vm.facts.state == VmState::Paused)
        });
        let event = HypervisorEvent::Migration(uuid, MigrationPhase::Failed);
        self.change(uuid, Some(event), |vm, pid| {
            let takes_back = vm.let_go;
            self.run_on(vm, pid, takes_back);
        });
        if stopped {
            self.with(|vms| vms.tell(HypervisorEvent::Vm(uuid)));
        }
    }

    /// A save, a dump, or a migration that is not live stops the VM's processors. With a VF in the guest's
    /// hands nothing follows.
    pub fn freeze(&self, uuid: Uuid, job: VmJob) {
        self.change(uuid, Some(HypervisorEvent::Vm(uuid)), |vm, pid| {
            (vm.facts.state, vm.facts.job, vm.busy) = (VmState::Paused, Some(job), true);
            self.hardware.set_running(pid, false);
        });
        self.with(|vms| {
            if vms.vm(uuid).is_some_and(Vm::waits_for_guest) {
                vms.ask_for_vf(uuid);
            }
        });
    }

    /// libvirt forgets a device that QEMU still has.
    pub fn forget_device(&self, uuid: Uuid) {
        self.change(uuid, None, |vm, _| {
            let mac = vm.facts.nics.first().map(|nic| nic.mac).unwrap_or_default();
            let devices = std::mem::take(&mut vm.facts.hostdevs);
            vm.facts.free_root_ports_live += devices.len() as u32;
            vm.left
                .extend(devices.iter().map(|had| (mac, Some(had.pci))));
        });
    }

    /// The guest restarts from inside.
    pub fn reboot(&self, uuid: Uuid) {
        self.with(|vms| vms.tell(HypervisorEvent::Rebooted(uuid)));
    }

    /// Ends a job that waits for the guest: the VM runs, the guest lets go of its VF, and QEMU plugs it back.
    pub(super) fn end_waiting(&self, uuid: Uuid) -> Result<()> {
        let mut vms = self.lock();
        let (vm, pid) = vms.running(uuid)?;
        if !vm.waits_for_guest() {
            return Ok(());
        }
        // It lets go in its first moment, and takes the VF back.
        self.run_on(vm, pid, true);
        vms.tell(HypervisorEvent::Vm(uuid));
        vms.tell(HypervisorEvent::Migration(uuid, MigrationPhase::Failed));
        Ok(())
    }

    fn run_on(&self, vm: &mut Vm, pid: u32, takes_back: bool) {
        vm.facts.state = VmState::Running;
        (vm.facts.job, vm.busy, vm.let_go) = (None, false, false);
        self.hardware.set_running(pid, true);
        if takes_back {
            self.hardware.set_let_go(pid, false);
        }
    }

    fn change(
        &self,
        uuid: Uuid,
        event: Option<HypervisorEvent>,
        change: impl FnOnce(&mut Vm, u32),
    ) {
        let mut vms = self.lock();
        let vm = vms.vm_mut(uuid);
        let Some((vm, pid)) = vm.and_then(|vm| vm.facts.pid.map(|pid| (vm, pid))) else {
            return;
        };
        change(vm, pid);
        if let Some(event) = event {
            vms.tell(event);
        }
    }
}

impl Vms {
    fn ask_for_vf(&mut self, uuid: Uuid) {
        self.tell(HypervisorEvent::UnplugPrimary(uuid));
        let waits = MigrationPhase::WaitsForUnplug;
        self.tell(HypervisorEvent::Migration(uuid, waits));
    }
}
