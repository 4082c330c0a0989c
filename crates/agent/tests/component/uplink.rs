//! A guest that sends by its virtio NIC again is reached there at once: its uplink has no link, its driver
//! has gone, it restarts. Each beside a VM without VF.

use std::time::Duration;

use accelnet_host::twin::{Habits, Station};
use accelnet_model::NicPath;

use crate::world::{World, mac, name, uuid};

/// What is called "at once": some calls of a millisecond each, and no look that waits for events to be
/// gathered.
const AT_ONCE: Duration = Duration::from_millis(60);
const LIMIT: Duration = Duration::from_secs(15);

fn neighbours() -> Vec<Station> {
    let vms = [1, 2, 3].map(|vm| Station::Guest(mac(vm)));
    vms.into_iter().chain([Station::Host]).collect()
}

fn everybody() -> Vec<Station> {
    let all = neighbours().into_iter();
    all.chain([Station::Wire]).collect()
}

fn link(world: &World, carrier: bool) {
    world
        .host
        .with(|machine| machine.set_link(&name("pf0"), carrier));
}

#[test]
fn without_a_link_vms_are_reached_from_their_host_and_neighbours_at_once() {
    let mut world = World::beside();
    link(&world, false);
    let plain = world.until_reached(&[2], &[Station::Host], LIMIT);
    assert_eq!(plain, Duration::ZERO, "the VM without VF");
    let took = world.until_reached(&[1, 2, 3], &neighbours(), LIMIT);
    assert!(took <= AT_ONCE, "{took:?}");
    // And from then on.
    world.no_excuse();
    world.run_for(Duration::from_secs(30));
    link(&world, true);
    let took = world.until_reached(&[1, 2, 3], &everybody(), LIMIT);
    assert!(took <= AT_ONCE, "{took:?}");
    for vm in [1, 3] {
        world.wait_path(vm, NicPath::Vf);
        world.assert_on_vf(vm);
    }
    world.assert_synthetic(2);
}

#[test]
fn a_link_that_comes_and_goes_keeps_nobody_off() {
    let mut world = World::beside();
    for _ in 0..6 {
        link(&world, false);
        world.run_for(Duration::from_millis(400));
        link(&world, true);
        world.run_for(Duration::from_millis(300));
    }
    let took = world.until_reached(&[1, 2, 3], &everybody(), LIMIT);
    assert!(took <= AT_ONCE, "{took:?}");
    for vm in [1, 3] {
        world.wait_path(vm, NicPath::Vf);
    }
}

#[test]
fn a_guest_whose_driver_is_taken_away_is_reached_by_its_tap_at_once() {
    let mut world = World::beside();
    let pid = world.pid(1);
    world.host.with(|machine| machine.set_vf_driver(pid, false));
    // With its first frame.
    let took = world.until_reached(&[1, 2, 3], &everybody(), LIMIT);
    assert!(took <= AT_ONCE, "{took:?}");
    world.no_excuse();
    world.run_for(Duration::from_secs(10));
    world.host.with(|machine| machine.set_vf_driver(pid, true));
    world.no_excuse();
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
}

/// Nothing tells of one that says nothing: counters do, which are looked at every second.
#[test]
fn a_silent_one_is_reached_within_about_a_second() {
    let mut world = World::beside();
    world.hypervisor.stop(uuid(1));
    world.set_habits(
        1,
        Habits {
            sends: false,
            ..Habits::default()
        },
    );
    world.hypervisor.start(uuid(1)).unwrap();
    world.wait_path(1, NicPath::Vf);
    let pid = world.pid(1);
    world.host.with(|machine| machine.set_vf_driver(pid, false));
    let took = world.until_reached(&[1, 2, 3], &everybody(), LIMIT);
    assert!(took <= Duration::from_secs(1) + AT_ONCE, "{took:?}");
}

/// QEMU tells of it, so that both paths are open before the guest is up again.
#[test]
fn a_guest_that_restarts_is_reached_from_its_first_moment() {
    let mut world = World::beside();
    let pid = world.pid(1);
    world.host.with(|machine| machine.set_guest_up(pid, false));
    world.hypervisor.reboot(uuid(1));
    world.run_for(Duration::from_millis(500));
    world.host.with(|machine| machine.set_guest_up(pid, true));
    let took = world.until_reached(&[1, 2, 3], &everybody(), LIMIT);
    assert_eq!(took, Duration::ZERO);
    world.no_excuse();
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
}
