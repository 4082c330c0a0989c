//! What a VM has and we did not give it, and what QEMU has and libvirt has forgotten.

use std::time::Duration;

use accelnet_hypervisor::twin::Vms;
use accelnet_model::{NicPath, PciAddress, Performance};

use crate::world::{World, codes, mac, path, uuid, vm};

const LOW: Option<Performance> = Some(Performance::Low);

/// VM 4 comes in with this device as the fast half of its NIC, and is wanted on a VF, or not.
fn came_with(device: impl Fn(&World) -> PciAddress, level: Option<Performance>) -> World {
    came(device, |world| world.want(4, level))
}

fn came(device: impl Fn(&World) -> PciAddress, wish: impl Fn(&mut World)) -> World {
    let mut world = World::beside();
    world.add_vm(4);
    world.hypervisor.stop(uuid(4));
    wish(&mut world);
    world.tell();
    world.wait("in order", |status| status.converged);
    let device = device(&world);
    world.hypervisor.arrive_with(uuid(4), device).unwrap();
    world.run_for(Duration::from_secs(5));
    world.hypervisor.resume(uuid(4));
    world
}

fn a_free_vf(world: &World) -> PciAddress {
    let free = accelnet_model::VfUser::Nobody;
    world.host.with(|machine| {
        let mut vfs = machine.adapters[0].vfs.iter();
        vfs.find(|vf| vf.user == free).unwrap().pci
    })
}

fn one_that_is_gone(_: &World) -> PciAddress {
    "0000:01:1f.6".parse().unwrap()
}

fn one_that_is_no_vf(_: &World) -> PciAddress {
    "0000:00:05.0".parse().unwrap()
}

#[test]
fn a_vm_that_came_with_a_device_that_is_not_ours_is_put_right_by_itself() {
    for device in [a_free_vf, one_that_is_gone, one_that_is_no_vf] {
        let mut world = came_with(device, LOW);
        world.wait_path(4, NicPath::Vf);
        world.assert_on_vf(4);
        assert_eq!(world.vfs_of(4).len(), 1);
        world.assert_free_vfs_clean();
        let mut world = came_with(device, None);
        world.wait_path(4, NicPath::Synthetic);
        world.assert_synthetic(4);
        assert_eq!(world.vfs_of(4), []);
        world.assert_free_vfs_clean();
    }
}

/// It came from a node where it was accelerated, and nobody said anything of it here.
#[test]
fn a_vm_that_nobody_asked_for_comes_off_the_vf_that_it_brought() {
    for device in [a_free_vf, one_that_is_gone] {
        let mut world = came(device, |_| {});
        world.until("it has no device", Duration::from_secs(40), |world| {
            world.vfs_of(4).is_empty()
        });
        world.wait_path(4, NicPath::Synthetic);
        world.assert_synthetic(4);
        world.assert_free_vfs_clean();
    }
}

/// Its user gave it that, who may have reasons.
#[test]
fn a_device_of_its_users_stays() {
    let mut world = came(a_free_vf, |_| {});
    world.hypervisor.with(|vms| {
        let vm = vms.vm_mut(uuid(4)).unwrap();
        vm.facts.hostdevs[0].alias = Some("ua-mine".to_owned());
    });
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.vfs_of(4).len(), 1);
}

/// It was somebody else's where it came in, so QEMU has not got it.
#[test]
fn one_that_came_with_another_vms_vf_leaves_that_where_it_is() {
    let mut world = came_with(|world| world.vf_of(3).unwrap(), LOW);
    let vf = world.vf_of(3);
    world.wait_path(4, NicPath::Vf);
    world.assert_on_vf(4);
    world.assert_on_vf(3);
    assert_eq!(world.vf_of(3), vf);
    assert_ne!(world.vf_of(4), vf);
}

/// The guest goes on using a VF of which nobody knows that it has it.
fn forget(world: &World) {
    world.hypervisor.forget_device(uuid(1));
    let pid = world.pid(1);
    world.host.with(|machine| {
        let mut guests = machine.guests.iter_mut();
        let guest = guests.find(|guest| guest.pid == pid).unwrap();
        guest.excused = true;
    });
}

#[test]
fn a_device_that_libvirt_has_forgotten_is_ended_before_the_next_is_plugged() {
    let mut world = World::beside();
    forget(&world);
    world.wait("it was seen", |status| {
        path(status, 1) == NicPath::Synthetic
    });
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
    world.assert_free_vfs_clean();
    let calls = world.process().calls();
    let release = format!("release {}", mac(1));
    let refused = calls.iter().filter(|call| **call == release).count();
    assert_eq!(refused, 1, "{calls:#?}");
}

#[test]
fn one_that_is_not_wanted_any_more_is_ended_too() {
    let mut world = World::beside();
    forget(&world);
    world.look();
    world.want(1, None);
    world.tell();
    world.wait_path(1, NicPath::Synthetic);
    world.assert_synthetic(1);
    world.assert_free_vfs_clean();
}

/// QEMU plugs the primary that it knew by itself when the guest of a standby starts anew, and libvirt is not told
/// (seen in the lab).
#[test]
fn what_qemu_plugs_by_itself_is_ended() {
    for level in [LOW, None] {
        let mut world = World::beside();
        world.want(1, None);
        world.tell();
        world.wait_path(1, NicPath::Synthetic);
        let (vf, pid) = (a_free_vf(&world), world.pid(1));
        world
            .host
            .with(|machine| machine.plug_stray(pid, vf))
            .unwrap();
        world.hypervisor.with(|vms| {
            let left = &mut vms.vm_mut(uuid(1)).unwrap().left;
            left.push((mac(1), Some(vf)));
        });
        world.hypervisor.reboot(uuid(1));
        world.want(1, level);
        world.tell();
        let path = level.map_or(NicPath::Synthetic, |_| NicPath::Vf);
        world.until("QEMU has it no more", Duration::from_secs(40), |world| {
            let left = |vms: &mut Vms| vms.vm(uuid(1)).map(|vm| vm.left.len());
            world.hypervisor.with(left) == Some(0)
        });
        world.wait_path(1, path);
        world.assert_free_vfs_clean();
    }
}

/// A VF that is open in QEMU and none of its devices is asked for with rests, not all the time.
#[test]
fn one_that_qemu_has_open_and_does_not_name_makes_no_work() {
    let mut world = World::beside();
    let (vf, pid) = (a_free_vf(&world), world.pid(2));
    world
        .host
        .with(|machine| machine.plug_stray(pid, vf))
        .unwrap();
    world.run_for(Duration::from_secs(120));
    let calls = world.process().calls();
    let release = format!("release {}", mac(2));
    let count = calls.iter().filter(|call| **call == release).count();
    assert!((1..=13).contains(&count), "{count} times: {calls:#?}");
}

/// QEMU has no VF, but the name.
#[test]
fn a_name_that_is_left_is_no_failure() {
    let mut world = World::before_attach();
    world.hypervisor.with(|vms| {
        let left = &mut vms.vm_mut(uuid(1)).unwrap().left;
        left.push((mac(1), None));
    });
    world.tell();
    world.wait("on its VF, and nothing failed", |status| {
        assert_eq!(codes(status, 1), []);
        path(status, 1) == NicPath::Vf
    });
    world.assert_on_vf(1);
}

/// A guest that does not let go of it keeps its VF from nobody else, and is reached meanwhile.
#[test]
fn what_a_guest_does_not_let_go_of_is_told_and_tried_on() {
    let mut world = World::beside();
    world
        .hypervisor
        .with(|vms| vms.vm_mut(uuid(1)).unwrap().refuses_unplug = true);
    forget(&world);
    world.wait("it is told", |status| {
        let codes = codes(status, 1);
        codes.contains(&accelnet_model::Code::VfDetachFailed)
    });
    world.run_for(Duration::from_secs(60));
    world
        .hypervisor
        .with(|vms| vms.vm_mut(uuid(1)).unwrap().refuses_unplug = false);
    world.wait("it is given one anew", |status| {
        vm(status, 1).facts.hostdevs.len() == 1 && path(status, 1) == NicPath::Vf
    });
    world.assert_on_vf(1);
}
