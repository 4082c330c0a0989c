use accelnet_model::{Staging, VmJob};

use super::*;
use crate::{Hypervisor, VfAttachment};

/// Hardware that takes everything and notes it.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Hardware for Notes {
    fn start_nic(
        &self,
        pid: u32,
        _mac: MacAddr,
        bridge: &IfName,
        tap: &IfName,
    ) -> std::result::Result<(), String> {
        self.note(format!("{pid}: {tap} on {bridge}"));
        Ok(())
    }

    fn stopped(&self, pid: u32) {
        self.note(format!("{pid}: stopped"));
    }

    fn plug(&self, pid: u32, _mac: MacAddr, vf: PciAddress) -> std::result::Result<(), String> {
        self.note(format!("{pid}: plug {vf}"));
        Ok(())
    }

    fn unplugged(&self, pid: u32, vf: PciAddress) {
        self.note(format!("{pid}: unplug {vf}"));
    }

    fn pause(&self, time: Duration) {
        self.note(format!("pause {}", time.as_secs()));
    }
}

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0x77, 1]);

fn one_vm(standby: bool) -> (HypervisorTwin, Arc<Notes>, Uuid) {
    let notes = Arc::new(Notes::default());
    let twin = HypervisorTwin::new(notes.clone());
    let uuid = Uuid::from_u128(1);
    let mut facts = definition(uuid, "vm1", MAC, &"br0".parse().unwrap());
    facts.nics[0].standby_config = standby;
    twin.define(facts);
    twin.start(uuid).unwrap();
    (twin, notes, uuid)
}

fn vf() -> VfAttachment {
    VfAttachment {
        pci: "0000:01:10.0".parse().unwrap(),
        mac: MAC,
        persistent_alias: "net0".into(),
    }
}

#[test]
fn a_vf_is_plugged_once_and_unplugged_once() {
    let (twin, notes, uuid) = one_vm(true);
    for _ in 0..2 {
        twin.attach_vf(uuid, &vf()).unwrap();
    }
    let facts = &twin.observe_vms().unwrap()[0];
    let facts = facts.facts.as_ref().unwrap();
    assert_eq!((facts.hostdevs.len(), facts.free_root_ports_live), (1, 1));
    for known in [true, false] {
        let unplugged = twin.detach_vf(uuid, vf().pci, Duration::from_secs(1));
        assert_eq!(unplugged, Ok(known));
    }
    assert!(
        twin.observe_vms().unwrap()[0]
            .facts
            .as_ref()
            .unwrap()
            .hostdevs
            .is_empty()
    );
    let expected = [
        "100: vnet100-0 on br0",
        "100: plug 0000:01:10.0",
        "100: unplug 0000:01:10.0",
    ];
    assert_eq!(notes.taken(), expected);
}

#[test]
fn a_guest_that_refuses_keeps_the_vf() {
    let (twin, notes, uuid) = one_vm(true);
    twin.attach_vf(uuid, &vf()).unwrap();
    twin.with(|vms| vms.vm_mut(uuid).unwrap().refuses_unplug = true);
    notes.taken();
    let error = twin
        .detach_vf(uuid, vf().pci, Duration::from_secs(20))
        .unwrap_err();
    assert_eq!(error, HypervisorError::GuestRefused { seconds: 20 });
    assert_eq!(
        twin.observe_vms().unwrap()[0]
            .facts
            .as_ref()
            .unwrap()
            .hostdevs
            .len(),
        1
    );
    assert_eq!(notes.taken(), ["pause 20"]);
}

#[test]
fn what_is_staged_takes_effect_at_the_next_cold_start() {
    let (twin, _, uuid) = one_vm(false);
    assert!(twin.attach_vf(uuid, &vf()).is_err());
    let staging = Staging {
        standby: vec![MAC],
        queues: vec![(MAC, 4)],
    };
    assert_eq!(twin.prepare(uuid, &staging).unwrap().changes.len(), 2);
    assert!(twin.prepare(uuid, &staging).unwrap().changes.is_empty());
    assert!(twin.attach_vf(uuid, &vf()).is_err(), "not yet");
    twin.stop(uuid);
    let off = twin.attach_vf(uuid, &vf()).unwrap_err();
    assert_eq!(off, HypervisorError::NotRunning);
    twin.start(uuid).unwrap();
    twin.attach_vf(uuid, &vf()).unwrap();
}

#[test]
fn without_libvirt_nothing_is_answered() {
    let (twin, _, uuid) = one_vm(true);
    twin.with(|vms| vms.down = true);
    assert!(matches!(
        twin.observe_vms(),
        Err(HypervisorError::Unavailable(_))
    ));
    assert!(matches!(
        twin.attach_vf(uuid, &vf()),
        Err(HypervisorError::Unavailable(_))
    ));
}

fn seen(twin: &HypervisorTwin) -> crate::VmSeen {
    twin.observe_vms().unwrap().remove(0)
}

#[test]
fn of_a_vm_that_comes_in_nothing_is_told_but_its_state() {
    let (twin, notes, uuid) = one_vm(true);
    twin.stop(uuid);
    notes.taken();
    twin.arrive_with(uuid, vf().pci).unwrap();
    assert_eq!(notes.taken(), ["101: vnet101-0 on br0"]);
    let vm = seen(&twin);
    assert_eq!((vm.state, vm.job), (VmState::Paused, Some(VmJob::Incoming)));
    assert!(vm.facts.is_err());
    twin.resume(uuid);
    let facts = seen(&twin).facts.unwrap();
    assert_eq!((facts.state, facts.hostdevs.len()), (VmState::Running, 1));
    twin.detach_vf(uuid, vf().pci, Duration::from_secs(1))
        .unwrap();
}

#[test]
fn a_save_of_a_vm_with_a_vf_waits_until_it_is_ended() {
    let (twin, _, uuid) = one_vm(true);
    let (sender, events) = mpsc::channel();
    twin.watch(sender).unwrap();
    twin.attach_vf(uuid, &vf()).unwrap();
    twin.freeze(uuid, VmJob::Saving);
    let busy = twin.detach_vf(uuid, vf().pci, Duration::from_secs(1));
    assert!(matches!(busy, Err(HypervisorError::Busy(_))));
    twin.end_job(uuid).unwrap();
    let vm = seen(&twin);
    assert_eq!((vm.state, vm.job), (VmState::Running, None));
    let failed = HypervisorEvent::Migration(uuid, crate::MigrationPhase::Failed);
    let told: Vec<HypervisorEvent> = events.try_iter().collect();
    assert!(told.contains(&HypervisorEvent::UnplugPrimary(uuid)));
    assert_eq!(told.last(), Some(&failed));
    // One without is saved.
    twin.detach_vf(uuid, vf().pci, Duration::from_secs(1))
        .unwrap();
    twin.freeze(uuid, VmJob::Saving);
    twin.end_job(uuid).unwrap();
    assert_eq!(seen(&twin).job, Some(VmJob::Saving));
}

#[test]
fn a_device_that_libvirt_has_forgotten_is_in_the_way_until_it_is_released() {
    let (twin, notes, uuid) = one_vm(true);
    twin.attach_vf(uuid, &vf()).unwrap();
    twin.forget_device(uuid);
    assert!(seen(&twin).facts.unwrap().hostdevs.is_empty());
    let again = twin.attach_vf(uuid, &vf());
    assert!(matches!(again, Err(HypervisorError::DeviceLeft(_))));
    notes.taken();
    twin.ensure_released(uuid, MAC, Duration::from_secs(1))
        .unwrap();
    assert_eq!(notes.taken(), ["100: unplug 0000:01:10.0"]);
    twin.attach_vf(uuid, &vf()).unwrap();
}

#[test]
fn one_vm_that_cannot_be_read_costs_only_itself() {
    let (twin, _, uuid) = one_vm(true);
    let other = Uuid::from_u128(2);
    let mac = MacAddr([2, 0, 0, 0, 0x77, 2]);
    twin.define(definition(other, "vm2", mac, &"br0".parse().unwrap()));
    twin.with(|vms| vms.vm_mut(uuid).unwrap().unreadable = Some("no XML".into()));
    let all = twin.observe_vms().unwrap();
    assert_eq!(all[0].facts, Err("no XML".into()));
    assert!(all[1].facts.is_ok());
}
