//! The simulated hypervisor as the agent sees and changes it.

use std::{sync::mpsc, time::Duration};

use accelnet_model::{
    DomainCapabilities, HostdevFacts, MacAddr, Name, PciAddress, Staging, VmJob, VmState,
};
use uuid::Uuid;

use super::{HypervisorTwin, Vm, Vms, standby};
use crate::{
    Hypervisor, HypervisorError, HypervisorEvent, NewNic, Result, Staged, Versions, VfAttachment,
    VmSeen,
};

impl Vms {
    fn answers(&self) -> Result<()> {
        if self.down {
            let text = "the connection was refused".into();
            return Err(HypervisorError::Unavailable(text));
        }
        Ok(())
    }

    /// A VM and its process id, if it runs.
    pub(super) fn running(&mut self, uuid: Uuid) -> Result<(&mut Vm, u32)> {
        self.answers()?;
        let vm = self.vm_mut(uuid).ok_or(HypervisorError::NoSuchVm(uuid))?;
        let pid = vm.facts.pid.ok_or(HypervisorError::NotRunning)?;
        Ok((vm, pid))
    }
}

impl Vm {
    /// What the hypervisor tells of it.
    fn seen(&self) -> VmSeen {
        let facts = &self.facts;
        VmSeen {
            uuid: facts.uuid,
            name: facts.name.clone(),
            state: facts.state,
            job: facts.job,
            facts: match (facts.job, &self.unreadable) {
                (Some(VmJob::Incoming), _) => Err("it comes in".to_owned()),
                (_, Some(why)) => Err(why.clone()),
                _ => Ok(facts.clone()),
            },
        }
    }

    /// libvirt would wait for the job's end.
    fn refuse_while_busy(&self) -> Result<()> {
        match self.busy {
            true => Err(HypervisorError::Busy("a job is under way".into())),
            false => Ok(()),
        }
    }
}

fn refused(operation: &str, message: String) -> HypervisorError {
    HypervisorError::Refused {
        operation: operation.to_owned(),
        message,
    }
}

impl Hypervisor for HypervisorTwin {
    fn observe_versions(&self) -> Result<Versions> {
        self.lock().answers()?;
        Ok(Versions {
            libvirt: (11, 3, 0),
            qemu: (10, 0, 2),
        })
    }

    fn observe_capabilities(&self) -> Result<DomainCapabilities> {
        self.lock().answers()?;
        Ok(DomainCapabilities {
            pcie_machine: Some("pc-q35-10.0".into()),
            pci_passthrough: true,
        })
    }

    fn observe_vms(&self) -> Result<Vec<VmSeen>> {
        let vms = self.lock();
        vms.answers()?;
        Ok(vms.vms.iter().map(Vm::seen).collect())
    }

    fn watch(&self, events: mpsc::Sender<HypervisorEvent>) -> Result<()> {
        self.lock().watchers.push(events);
        Ok(())
    }

    fn attach_vf(&self, uuid: Uuid, vf: &VfAttachment) -> Result<()> {
        let mut vms = self.lock();
        let mut others = vms.vms.iter().filter(|other| other.facts.uuid != uuid);
        let taken = others.any(|other| other.facts.hostdevs.iter().any(|has| has.pci == vf.pci));
        let (vm, pid) = vms.running(uuid)?;
        if vm.facts.hostdevs.iter().any(|has| has.pci == vf.pci) {
            return Ok(());
        }
        vm.refuse_while_busy()?;
        if taken || self.hardware.is_being_opened(vf.pci) {
            let text = format!("PCI device {} is in use by driver QEMU", vf.pci);
            return Err(HypervisorError::DeviceTaken(text));
        }
        if vm.left.iter().any(|(mac, _)| *mac == vf.mac) {
            let text = format!("Duplicate device ID 'ua-accelnet-{}'", vf.mac);
            return Err(HypervisorError::DeviceLeft(text));
        }
        let alias = Some(&vf.persistent_alias);
        let nic = vm.facts.nics.iter().find(|nic| nic.alias.as_ref() == alias);
        if !nic.is_some_and(|nic| nic.standby_live && nic.mac == vf.mac) {
            let text = format!("no standby NIC {} to team with", vf.persistent_alias);
            return Err(refused("attach", text));
        }
        if vm.facts.free_root_ports_live == 0 {
            return Err(refused("attach", "no more available PCI slots".into()));
        }
        self.hardware
            .plug(pid, vf.mac, vf.pci)
            .map_err(|text| refused("attach", text))?;
        vm.facts.free_root_ports_live -= 1;
        vm.facts.hostdevs.push(HostdevFacts {
            pci: vf.pci,
            mac: Some(vf.mac),
            alias: Some(HostdevFacts::alias_for(vf.mac)),
            teaming_with: Some(vf.persistent_alias.clone()),
        });
        Ok(())
    }

    fn detach_vf(&self, uuid: Uuid, pci: PciAddress, deadline: Duration) -> Result<bool> {
        let mut vms = self.lock();
        let (vm, pid) = vms.running(uuid)?;
        let Some(at) = vm.facts.hostdevs.iter().position(|has| has.pci == pci) else {
            return Ok(false);
        };
        vm.refuse_while_busy()?;
        if vm.refuses_unplug {
            drop(vms);
            self.hardware.pause(deadline);
            return Err(HypervisorError::GuestRefused {
                seconds: deadline.as_secs(),
            });
        }
        vm.facts.hostdevs.remove(at);
        vm.facts.free_root_ports_live += 1;
        self.hardware.unplugged(pid, pci);
        Ok(true)
    }

    fn ensure_released(&self, uuid: Uuid, mac: MacAddr, deadline: Duration) -> Result<bool> {
        let mut vms = self.lock();
        let (vm, pid) = vms.running(uuid)?;
        if vm.refuses_unplug && vm.left.iter().any(|(its, _)| *its == mac) {
            drop(vms);
            self.hardware.pause(deadline);
            return Err(HypervisorError::GuestRefused {
                seconds: deadline.as_secs(),
            });
        }
        let (gone, left) = std::mem::take(&mut vm.left)
            .into_iter()
            .partition(|(its, _)| *its == mac);
        let gone: Vec<(MacAddr, Option<PciAddress>)> = gone;
        vm.left = left;
        let found = !gone.is_empty();
        for pci in gone.into_iter().filter_map(|(_, pci)| pci) {
            self.hardware.unplugged(pid, pci);
        }
        Ok(found)
    }

    fn end_job(&self, uuid: Uuid) -> Result<()> {
        self.end_waiting(uuid)
    }

    fn migrate(&self, uuid: Uuid, to: &Name) -> Result<()> {
        let pid = {
            let mut vms = self.lock();
            let refused_by = vms.refuses_migration.clone();
            let (vm, pid) = vms.running(uuid)?;
            vm.refuse_while_busy()?;
            if !vm.facts.hostdevs.is_empty() {
                let text = "cannot migrate a domain with <hostdev mode='subsystem' type='pci'>";
                return Err(refused("migrate", text.into()));
            }
            if let Some(why) = refused_by {
                return Err(refused("migrate", why));
            }
            let at = vms.vms.iter().position(|vm| vm.facts.uuid == uuid);
            let gone = at.map(|at| vms.vms.remove(at));
            vms.migrated.extend(gone.map(|vm| (vm, to.clone())));
            pid
        };
        self.hardware.stopped(pid);
        self.with(|vms| vms.tell(HypervisorEvent::Vm(uuid)));
        Ok(())
    }

    /// A migration of the twin is over at once.
    fn end_migration(&self, uuid: Uuid) -> Result<()> {
        self.lock().running(uuid).map(drop)
    }

    fn prepare(&self, uuid: Uuid, staging: &Staging) -> Result<Staged> {
        let mut vms = self.lock();
        vms.answers()?;
        let vm = vms.vm_mut(uuid).ok_or(HypervisorError::NoSuchVm(uuid))?;
        let mut staged = Staged::default();
        for nic in &mut vm.facts.nics {
            let mac = nic.mac;
            if staging.standby.contains(&mac) && !nic.standby_config {
                nic.standby_config = true;
                staged.changes.push(format!("NIC {mac} stands by"));
            }
            let queues = staging.queues.iter().find(|(other, _)| *other == mac);
            if let Some((_, queues)) = queues.filter(|(_, queues)| *queues > nic.queues_config) {
                nic.queues_config = *queues;
                staged
                    .changes
                    .push(format!("NIC {mac} has {queues} queues"));
            }
        }
        while (vm.facts.free_root_ports_config as usize) < staging.standby.len() {
            vm.facts.free_root_ports_config += 1;
            staged.changes.push("a PCIe root port".into());
        }
        Ok(staged)
    }

    fn ensure_nic(&self, uuid: Uuid, nic: &NewNic, live: bool) -> Result<Staged> {
        let mut vms = self.lock();
        vms.answers()?;
        let vm = vms.vm_mut(uuid).ok_or(HypervisorError::NoSuchVm(uuid))?;
        let mut staged = Staged::default();
        let facts = &mut vm.facts;
        let mut all = facts.nics.iter().chain(&facts.nics_staged);
        if !all.any(|has| has.mac == nic.mac) {
            let new = standby(nic.mac, &nic.bridge);
            match facts.state {
                VmState::Off => facts.nics.push(new),
                _ => facts.nics_staged.push(new),
            }
            let text = format!("NIC {} on {}", nic.mac, nic.bridge);
            staged.changes.push(text);
            // libvirt adds a root port if none is free.
            facts.free_root_ports_config = facts.free_root_ports_config.saturating_sub(1);
        }
        if facts.free_root_ports_config == 0 {
            facts.free_root_ports_config = 1;
            staged.changes.push("a PCIe root port".into());
        }
        let waits = facts.nics_staged.iter().position(|has| has.mac == nic.mac);
        if let (true, Some(pid), Some(place)) = (live, facts.pid, waits) {
            if facts.free_root_ports_live == 0 {
                return Err(refused("add", "no more available PCI slots".into()));
            }
            facts.free_root_ports_live -= 1;
            let mut new = facts.nics_staged.remove(place);
            self.start_nic(pid, facts.nics.len(), &mut new)?;
            facts.nics.push(new);
        }
        Ok(staged)
    }
}
