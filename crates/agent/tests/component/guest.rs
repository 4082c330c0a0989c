//! Guests that do not as they are asked, or go away in the middle.

use std::time::Duration;

use accelnet_host::twin::Habits;
use accelnet_model::{Code, NicPath, NodeStatus, Performance, VmState};

use crate::world::{World, codes, is_quiet, path, uuid, vm};

const LOW: Option<Performance> = Some(Performance::Low);

/// A world in which VM 1 has these habits.
fn with_habits(habits: Habits) -> World {
    let mut world = World::settled(2);
    world.set_habits(1, habits);
    world.hypervisor.stop(uuid(1));
    world.hypervisor.start(uuid(1)).unwrap();
    world.wait("VM 1 runs", is_quiet);
    world
}

fn refuse(world: &World, refuses: bool) {
    world
        .hypervisor
        .with(|vms| vms.vm_mut(uuid(1)).unwrap().refuses_unplug = refuses);
}

#[test]
fn a_guest_that_refuses_stays_on_its_vf_until_it_gives_in() {
    let mut world = World::accelerated(2);
    refuse(&world, true);
    world.want(1, None);
    world.tell();
    world.wait_problem(1, Code::VfDetachFailed);
    // Both paths are open until its silence on the tap says that it is where it was.
    world.wait("VM 1 is on its VF", |status| path(status, 1) == NicPath::Vf);
    world.assert_on_vf(1);
    world.assert_on_vf(2);
    refuse(&world, false);
    world.wait_path(1, NicPath::Synthetic);
    world.assert_synthetic(1);
    world.assert_free_vfs_clean();
}

/// Guests that do not use a VF, and what is said of them.
fn unwilling() -> [(Habits, Code); 2] {
    let habits = Habits::default();
    let without_driver = Habits {
        vf_driver: false,
        ..habits
    };
    let without_failover = Habits {
        failover: false,
        ..habits
    };
    [
        (without_driver, Code::GuestWithoutFailover),
        (without_failover, Code::GuestVfNotPaired),
    ]
}

#[test]
fn a_guest_without_a_driver_or_failover_comes_back_to_the_tap() {
    for (habits, code) in unwilling() {
        let mut world = with_habits(habits);
        world.want(1, LOW);
        world.tell();
        let status = world.wait_problem(1, code);
        assert_eq!(path(&status, 1), NicPath::Synthetic);
        world.assert_synthetic(1);
        world.assert_free_vfs_clean();
        world.want(1, None);
        world.tell();
        world.wait_path(1, NicPath::Synthetic);
    }
}

/// It neither uses the VF nor lets go of it: nothing that it has may be reset under it, and it stays
/// in reach by the tap.
#[test]
fn a_guest_that_neither_uses_the_vf_nor_gives_it_back() {
    for (habits, code) in unwilling() {
        let mut world = with_habits(habits);
        refuse(&world, true);
        world.want(1, LOW);
        world.tell();
        world.wait_problem(1, code);
        world.wait_problem(1, Code::VfDetachFailed);
        world.want(1, None);
        world.tell();
        world.wait_problem(1, Code::VfDetachFailed);
        refuse(&world, false);
        world.wait_path(1, NicPath::Synthetic);
        world.assert_synthetic(1);
        world.assert_free_vfs_clean();
    }
}

#[test]
fn a_quiet_guest_that_takes_long_gets_there() {
    let takes = Duration::from_secs(20);
    let mut world = with_habits(Habits {
        takes,
        sends: false,
        ..Habits::default()
    });
    world.want(1, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
}

#[test]
fn a_vm_that_is_shut_down_leaves_a_clean_free_vf() {
    let mut world = World::accelerated(2);
    world.hypervisor.stop(uuid(1));
    // By the event alone.
    let off = |status: &NodeStatus| vm(status, 1).facts.state == VmState::Off && is_quiet(status);
    world.wait_report("VM 1 is off", off);
    world.assert_free_vfs_clean();
    world.hypervisor.start(uuid(1)).unwrap();
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
}

#[test]
fn a_guest_that_reboots_is_served_by_the_tap_until_its_driver_is_back() {
    let mut world = World::accelerated(2);
    let pid = world.hypervisor.pid(uuid(1)).unwrap();
    world.host.with(|machine| machine.set_guest_up(pid, false));
    world.wait("both paths are open", |status| {
        path(status, 1) == NicPath::Synthetic && status.converged
    });
    world.host.with(|machine| {
        machine.set_guest_up(pid, true);
        let mut guests = machine.guests.iter_mut();
        let guest = guests.find(|guest| guest.pid == pid).unwrap();
        guest.habits.takes = Duration::from_secs(8);
        // From here on there is no excuse.
        guest.excused = false;
    });
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
    world.assert_on_vf(2);
}

#[test]
fn a_vm_that_stops_in_the_middle_leaves_nothing_behind() {
    for takes in [0, 5, 600] {
        let habits = Habits {
            takes: Duration::from_secs(takes),
            ..Habits::default()
        };
        let mut world = with_habits(habits);
        world.want(1, LOW);
        world.tell();
        let under_way = |status: &NodeStatus| {
            vm(status, 1).facts.hostdevs.len() == 1 || vm(status, 1).progress.is_some()
        };
        world.wait("the switch-over begins", under_way);
        world.hypervisor.stop(uuid(1));
        let off =
            |status: &NodeStatus| vm(status, 1).facts.state == VmState::Off && status.converged;
        world.wait("VM 1 is off", off);
        world.wait("nothing is wrong", |status| {
            is_quiet(status) && !codes(status, 1).contains(&Code::VfAttachFailed)
        });
        world.assert_free_vfs_clean();
    }
}

/// Its driver may not have seen the link yet: that nothing comes by the tap is no sign of the contrary.
#[test]
fn it_takes_longer_to_be_sure_of_a_guest_that_sends_nothing() {
    let time_to_vf = |sends| {
        let mut world = with_habits(Habits {
            sends,
            ..Habits::default()
        });
        let now = |world: &World| world.host.with(|machine| machine.now());
        let begun = now(&world);
        world.want(1, LOW);
        world.tell();
        world.wait_path(1, NicPath::Vf);
        world.assert_on_vf(1);
        now(&world) - begun
    };
    let more = time_to_vf(false).saturating_sub(time_to_vf(true));
    assert!(more >= Duration::from_secs(1), "{more:?}");
}
