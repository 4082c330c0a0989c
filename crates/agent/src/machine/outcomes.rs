//! What became of actions is taken in: what was seen is kept true by what was done since.
//!
//! An `ensure` reads back what it did, so its success is as good as a look. Work on an adapter's idle
//! VFs, and on definitions, brings more than can be told from the action: it is looked at before the
//! lane is used again.

use std::time::Duration;

use accelnet_model::{
    Code, FdbEntry, FdbKey, HostdevFacts, IfName, MacAddr, PciAddress, Problem, Support,
    VfAttributes, VfFacts, VfUser,
};
use accelnet_rules::{
    action::{Action, Hold, Lane},
    moves::{Goal, NicId},
    phase::Going,
};
use uuid::Uuid;

use super::{Machine, TELL_FROZEN};
use crate::{
    event::{Done, Effect, Failure, FailureKind, Outcome},
    repairs,
};

impl Machine {
    /// A lane's work is over.
    pub(super) fn done(
        &mut self,
        now: Duration,
        lane: &Lane,
        done: Vec<Done>,
        effects: &mut Vec<Effect>,
    ) {
        self.lanes.remove(lane);
        self.action_problems.retain(|(of, _)| of != lane);
        let before = self.ledger.clone();
        for Done {
            nic,
            action,
            result,
            ..
        } in done
        {
            match result {
                None => {}
                Some(Ok(outcome)) => {
                    let drifted = nic.is_none_or(|nic| self.settled.contains_key(&nic));
                    if drifted && repairs::counts(&action) {
                        self.repairs.note(&action, now, None);
                        // Filters and entries follow VMs and neighbours, whoever they are.
                        if nic.is_some() && matches!(action, Action::Dress { .. }) {
                            self.repairs.drifted();
                        }
                    }
                    self.succeeded(now, nic, &action, outcome);
                }
                Some(Err(failure)) => self.failed(now, nic, &action, failure),
            }
        }
        match lane {
            Lane::Frames => {}
            Lane::Adapter(pf) => {
                self.unseen_work.insert(lane.clone(), self.number);
                self.looks.touch_adapter(*pf, now);
                self.looks.want_host_soon(now);
            }
            Lane::Vm(vm) => self.looks.touch_vm(*vm, now),
            Lane::Migration(_) => self.looks.want_vms_soon(now),
        }
        if self.ledger != before {
            self.save(effects);
        }
        self.changed = true;
    }

    /// What was done on a VM is seen before anything else is done with it.
    fn look_at_vm(&mut self, now: Duration, vm: Uuid) {
        self.unseen_work.insert(Lane::Vm(vm), self.number);
        self.looks.want_vms_soon(now);
    }

    fn succeeded(&mut self, now: Duration, nic: Option<NicId>, action: &Action, outcome: Outcome) {
        match action {
            // More came of it than can be told: bridges and VFs are looked at.
            Action::MakeBridge { .. } | Action::AddUplink { .. } => {
                self.unseen_work.insert(Lane::Frames, self.number);
                self.looks.want_host_soon(now);
            }
            Action::CreateVfs { .. } | Action::BindVf { .. } => {}
            Action::CleanVf { vf, .. } => self.failures.is_clean(*vf),
            Action::VfVectors { vf, vectors, .. } => {
                let boot_id = self.observed.node.boot_id.clone();
                self.ledger.vectors.note(&boot_id, *vf, Some(*vectors));
                self.with_vf(*vf, |vf| vf.msix_vectors = Support::Supported(*vectors));
                if let Some(going) = nic.and_then(|nic| self.memory.moves.get_mut(&nic)) {
                    going.has_vectors = true;
                }
            }
            Action::Dress { pf, vf, .. } => self.dressed(nic, *pf, *vf, outcome.attributes),
            Action::ReserveVf { vf, reserved } => self.with_vf(*vf, |vf| {
                vf.user = match reserved {
                    true => VfUser::Reserved,
                    false => VfUser::Nobody,
                }
            }),
            Action::PinBridge { bridge } => {
                let mut bridges = self.observed.bridges.iter_mut();
                if let Some(found) = bridges.find(|found| found.ifname == *bridge) {
                    found.mac_pinned = true;
                }
            }
            Action::PortLearning { port, on } => self.with_port(port, |port| port.learning = *on),
            Action::PortFlood { port, on } => self.with_port(port, |port| port.flood = *on),
            Action::Filter { pf, mac, present } => self.filtered(pf, *mac, *present),
            Action::BridgeEntry {
                port,
                mac,
                vlan,
                present,
            } => {
                self.entry(port, *mac, *vlan, *present);
                if let Some(nic) = nic.filter(|_| !present) {
                    let forgotten = self.memory.forgotten.entry(nic).or_default();
                    forgotten.insert(port.clone());
                }
            }
            Action::HoldQueue { tap, hold } => {
                self.with_port(tap, |port| port.hold_queue = true);
                self.memory.told.insert(tap.clone(), *hold);
                if let (Some(going), Hold::Wait) =
                    (nic.and_then(|nic| self.memory.moves.get_mut(&nic)), hold)
                {
                    going.held.get_or_insert(now);
                }
            }
            Action::TapRoom { tap } => {
                self.memory.roomy.insert(tap.clone());
            }
            Action::Prepare { vm, staging } => {
                self.staged.entry(*vm).or_default().extend(outcome.staged);
                if !staging.standby.is_empty() {
                    self.failures.succeeded(*vm);
                }
                self.look_at_vm(now, *vm);
            }
            Action::AddNic { vm, .. } => {
                self.failures.succeeded(*vm);
                self.look_at_vm(now, *vm);
            }
            Action::Plug { vm, mac, alias, vf } => self.plugged(now, *vm, *mac, alias, *vf),
            Action::Unplug { vm, device } if outcome.nothing_left => {
                self.forgotten_by_libvirt(now, *vm, *device);
            }
            Action::Unplug { vm, device } => self.unplugged(now, *vm, *device),
            Action::Release { vm, mac } if outcome.nothing_left => {
                self.nothing_left(now, NicId { vm: *vm, mac: *mac });
            }
            Action::Release { vm, mac } => self.released(now, *vm, *mac),
            Action::EndJob { vm } => {
                self.ended_job(now, *vm);
                self.look_at_vm(now, *vm);
            }
            Action::Migrate { vm, .. } => {
                self.failures.succeeded(*vm);
                self.looks.want_vms_soon(now);
            }
            Action::EndMigration { vm } => self.look_at_vm(now, *vm),
        }
    }

    fn ended_job(&mut self, now: Duration, vm: Uuid) {
        let Some(facts) = self.observed.vm(vm) else {
            return;
        };
        let text = format!(
            "VM '{}' was stopped by a save, a dump or a migration that is not live while it was on its VF; \
             that was ended, and the VM runs on.",
            facts.name
        );
        let problem = Problem::new(Code::VmFrozen, text).about("vm", &facts.name);
        self.frozen.insert(vm, (now + TELL_FROZEN, problem));
    }

    fn with_port(&mut self, name: &IfName, change: impl FnOnce(&mut accelnet_model::BridgePort)) {
        let mut ports = self
            .observed
            .bridges
            .iter_mut()
            .flat_map(|bridge| &mut bridge.ports);
        if let Some(port) = ports.find(|port| port.ifname == *name) {
            change(port);
        }
    }

    fn with_vf(&mut self, vf: PciAddress, change: impl FnOnce(&mut VfFacts)) {
        let mut vfs = self
            .observed
            .adapters
            .iter_mut()
            .flat_map(|its| &mut its.vfs);
        if let Some(found) = vfs.find(|found| found.pci == vf) {
            change(found);
        }
    }

    fn filtered(&mut self, pf: &IfName, mac: MacAddr, present: bool) {
        let mut adapters = self.observed.adapters.iter_mut();
        let Some(adapter) = adapters.find(|adapter| adapter.ifname == *pf) else {
            return;
        };
        adapter.filter.retain(|other| *other != mac);
        if present {
            adapter.filter.push(mac);
            adapter.filter.sort_unstable();
        }
    }

    fn entry(&mut self, port: &IfName, mac: MacAddr, vlan: Option<u16>, present: bool) {
        let mut bridges = self.observed.bridges.iter_mut();
        let Some(bridge) = bridges.find(|bridge| bridge.port(port).is_some()) else {
            return;
        };
        for its in &mut bridge.ports {
            if present || its.ifname == *port {
                its.fdb.retain(|entry| !entry.is_of(FdbKey { mac, vlan }));
            }
            if present && its.ifname == *port {
                its.fdb.push(FdbEntry {
                    mac,
                    vlan,
                    local: false,
                    fixed: true,
                    sticky: false,
                });
            }
        }
    }

    fn dressed(
        &mut self,
        nic: Option<NicId>,
        pf: PciAddress,
        vf: PciAddress,
        found: Option<VfAttributes>,
    ) {
        let Some(found) = found else { return };
        self.failures.is_clean(vf);
        if found.link == Support::Unsupported {
            self.memory.no_vf_link.insert(pf);
        }
        if let Some(nic) = nic {
            match found.mac.is_zero() {
                true => self.memory.undressed.insert(nic),
                false => self.memory.undressed.remove(&nic),
            };
        }
        self.with_vf(vf, |vf| vf.attributes = found);
    }

    fn plugged(&mut self, now: Duration, vm: Uuid, mac: MacAddr, alias: &str, vf: PciAddress) {
        let mut pid = 0;
        let mut vms = self.observed.vms.iter_mut();
        if let Some(facts) = vms.find(|facts| facts.uuid == vm) {
            pid = facts.pid.unwrap_or(0);
            if !facts.hostdevs.iter().any(|has| has.pci == vf) {
                facts.free_root_ports_live = facts.free_root_ports_live.saturating_sub(1);
                facts.hostdevs.push(HostdevFacts {
                    pci: vf,
                    mac: None,
                    alias: None,
                    teaming_with: Some(alias.to_owned()),
                });
            }
        }
        let command = "qemu".to_owned();
        self.with_vf(vf, |found| {
            found.user = VfUser::Process { pid, command };
            found.vm = Some(vm);
        });
        self.touch_vf(now, vf);
        let going = self.memory.moves.get_mut(&NicId { vm, mac });
        if let Some(going) = going {
            going.plugged = Some(now);
        }
    }

    fn unplugged(&mut self, now: Duration, vm: Uuid, device: PciAddress) {
        self.not_in_definition(vm, device);
        let pid = self.observed.vm(vm).and_then(|facts| facts.pid);
        self.with_vf(device, |found| closed(found, pid));
        self.touch_vf(now, device);
    }

    /// libvirt has no such device, but QEMU may: its frames wait until somebody has looked.
    fn forgotten_by_libvirt(&mut self, now: Duration, vm: Uuid, device: PciAddress) {
        self.not_in_definition(vm, device);
        self.look_at_vm(now, vm);
        self.looks.want_host_soon(now);
    }

    fn not_in_definition(&mut self, vm: Uuid, device: PciAddress) {
        let mut vms = self.observed.vms.iter_mut();
        if let Some(facts) = vms.find(|facts| facts.uuid == vm) {
            let before = facts.hostdevs.len();
            facts.hostdevs.retain(|has| has.pci != device);
            facts.free_root_ports_live += (before - facts.hostdevs.len()) as u32;
        }
    }

    /// What libvirt had forgotten of a NIC's VF is ended.
    fn released(&mut self, now: Duration, vm: Uuid, mac: MacAddr) {
        self.memory.left.remove(&NicId { vm, mac });
        let pid = self.observed.vm(vm).and_then(|facts| facts.pid);
        let adapters = self.observed.adapters.iter_mut();
        let vfs = adapters.flat_map(|adapter| &mut adapter.vfs);
        vfs.filter(|vf| vf.attributes.mac == mac)
            .for_each(|vf| closed(vf, pid));
        self.look_at_vm(now, vm);
        self.looks.want_host_soon(now);
    }

    /// QEMU has nothing of a NIC that libvirt had forgotten. A VF that its process has open all the same is
    /// somebody else's doing, or a fault, and not asked for again and again.
    fn nothing_left(&mut self, now: Duration, nic: NicId) {
        self.memory.left.remove(&nic);
        self.look_at_vm(now, nic.vm);
        self.looks.want_host_soon(now);
        let Some(vm) = self.observed.vm(nic.vm) else {
            return;
        };
        let adapters = self.observed.adapters.iter();
        let mut vfs = adapters.flat_map(|adapter| &adapter.vfs);
        let open =
            |vf: &&VfFacts| matches!(vf.user, VfUser::Process { pid, .. } if Some(pid) == vm.pid);
        if let Some(vf) = vfs.find(|vf| open(vf) && !self.observed.is_assigned(vf.pci)) {
            let text = format!(
                "QEMU of VM '{}' has VF {} open without a device.",
                vm.name, vf.pci
            );
            let problem = Problem::new(Code::VfDetachFailed, text).about("vm", &vm.name);
            self.failures.failed(nic.vm, now, vec![problem]);
        }
    }

    fn touch_vf(&mut self, now: Duration, vf: PciAddress) {
        if let Some((adapter, _)) = self.observed.vf(vf) {
            let pf = adapter.pci;
            self.looks.touch_adapter(pf, now);
        }
    }

    fn failed(&mut self, now: Duration, nic: Option<NicId>, action: &Action, failure: Failure) {
        let Failure { problem, kind } = failure;
        match (action, kind) {
            (Action::HoldQueue { tap, .. }, FailureKind::PlaceTaken) => {
                self.memory.without_hold.insert(tap.clone());
                return;
            }
            (Action::HoldQueue { tap, .. }, FailureKind::NoPlaceForHold) => {
                self.memory.without_hold.insert(tap.clone());
                self.action_problems.push((Lane::Frames, problem));
                return;
            }
            (Action::Plug { vm, mac, .. }, FailureKind::DeviceLeft) => {
                self.memory.left.insert(NicId { vm: *vm, mac: *mac });
                return;
            }
            // Somebody is about to use it, or does: the next look shows that. Where it never does, that is told.
            (Action::CleanVf { vf, .. }, FailureKind::DeviceTaken)
                if !self.failures.note_taken(*vf, now) =>
            {
                tracing::info!(%vf, %problem, "it is left alone");
                self.looks.want_host_soon(now);
                return;
            }
            // Nothing has failed: the next pass chooses another.
            (Action::Plug { vm, mac, vf, .. }, FailureKind::DeviceTaken) => {
                tracing::info!(%vf, %problem, "another VF is tried");
                self.failures.note_taken(*vf, now);
                self.memory.moves.remove(&NicId { vm: *vm, mac: *mac });
                self.look_at_vm(now, *vm);
                self.looks.want_host_soon(now);
                return;
            }
            _ => {}
        }
        match action.lane() {
            Lane::Vm(vm) => {
                self.look_at_vm(now, vm);
                self.looks.want_host_soon(now);
            }
            Lane::Migration(_) => {}
            // Nothing is planned for a VF that is kept back: it rests, and is told, as that.
            Lane::Adapter(_) if matches!(action, Action::CleanVf { .. }) => {}
            Lane::Frames | Lane::Adapter(_) => self.repairs.note(action, now, Some(&problem)),
        }
        match nic.and_then(|nic| Some((nic, self.memory.moves.get(&nic)?.going()))) {
            // What its frames wait for is tried again in a moment, and told; nothing is won by waiting for
            // longer on a VF that must be left.
            Some((_, Going::Back)) if action.lane() == Lane::Frames => {}
            Some((nic, _)) => self.move_failed(now, nic, problem),
            None => self.failed_alone(now, nic, action, problem),
        }
    }

    fn move_failed(&mut self, now: Duration, nic: NicId, problem: Problem) {
        let Some(mut going) = self.memory.moves.remove(&nic) else {
            return;
        };
        // What failed is the change; what the kernel said is why.
        let code = match going.goal {
            Goal::ToVf { .. } => Code::VfAttachFailed,
            Goal::Back { .. } => Code::VfDetachFailed,
        };
        let problem = match problem.code {
            Code::HostOperationFailed => Problem::new(code, problem.detail),
            _ => problem,
        };
        if let Goal::ToVf { .. } = going.goal
            && going.plugged.is_some()
        {
            self.go_back(now, going, problem);
            return;
        }
        let problem = problem.about("vm", &going.vm_name);
        going.because.push(problem);
        self.failures.failed(nic.vm, now, going.because);
    }

    fn is_wanted_elsewhere(&self, vm: Uuid) -> bool {
        let wish = self.ledger.desired.vm(vm);
        wish.is_some_and(|wish| wish.migrate_to.is_some())
    }

    fn failed_alone(
        &mut self,
        now: Duration,
        nic: Option<NicId>,
        action: &Action,
        problem: Problem,
    ) {
        let name = |vm: Uuid| {
            let facts = self.observed.vm(vm);
            facts.map_or(vm.to_string(), |facts| facts.name.clone())
        };
        match action {
            // It is given up, with the VM that has it: policy might not be in force on it.
            Action::Dress { vf, .. } => {
                if let Some(nic) = nic {
                    let problem = problem.clone().about("vm", name(nic.vm));
                    self.failures.failed(nic.vm, now, vec![problem]);
                }
                self.failures.quarantine(*vf, now, problem);
            }
            Action::CleanVf { vf, .. } => self.failures.quarantine(*vf, now, problem),
            Action::ReserveVf { vf, .. } => self.not_kept(*vf, &problem),
            Action::VfVectors { vf, .. } => self.ledger.vectors.forget(*vf),
            // Queues alone keep nothing back: such a repair rests, not the VM.
            Action::Prepare { staging, .. } if staging.standby.is_empty() => {
                self.repairs.note(action, now, Some(&problem));
            }
            Action::EndJob { vm } => {
                self.repairs.note(action, now, Some(&problem));
                let problem = problem.about("vm", name(*vm));
                self.frozen.insert(*vm, (now + TELL_FROZEN, problem));
            }
            // It was ended because nobody wants it any more.
            Action::Migrate { vm, .. } if !self.is_wanted_elsewhere(*vm) => {}
            Action::Migrate { vm, .. }
            | Action::EndMigration { vm }
            | Action::Prepare { vm, .. }
            | Action::AddNic { vm, .. }
            | Action::Release { vm, .. }
            | Action::Plug { vm, .. }
            | Action::Unplug { vm, .. } => {
                let problem = problem.about("vm", name(*vm));
                self.failures.failed(*vm, now, vec![problem]);
            }
            _ => {}
        }
    }
}

/// The VM's process has a VF no more. One that another process has stays as it is.
fn closed(vf: &mut VfFacts, of: Option<u32>) {
    let its = |user: u32| of.is_none_or(|pid| pid == user);
    if matches!(vf.user, VfUser::Process { pid, .. } if its(pid)) {
        (vf.user, vf.vm, vf.active_vectors) = (VfUser::Nobody, None, 0);
    }
}
