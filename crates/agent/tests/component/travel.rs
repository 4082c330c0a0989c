//! VMs that come from another node and go there, beside one that stays.

use std::time::Duration;

use accelnet_host::{
    HoldQueue,
    twin::{Habits, Station},
};
use accelnet_model::{MacAddr, NicPath, Performance};

use crate::world::{World, is_quiet, is_vms_look, mac, name, path, uuid};

const LOW: Option<Performance> = Some(Performance::Low);
const AT_ONCE: Duration = Duration::from_millis(60);
/// Events of VMs are gathered for 150 ms.
const SOON: Duration = Duration::from_millis(250);
const LIMIT: Duration = Duration::from_secs(10);

/// Nothing on this node would take frames for the VM.
fn owns_nothing(world: &World, vm: u8) -> bool {
    let tap = world.hypervisor.with(|vms| {
        let facts = &vms.vm(uuid(vm)).unwrap().facts;
        facts.nics[0].tap.clone()
    });
    world.host.with(|machine| {
        let carries = |its: &MacAddr| *its == mac(vm);
        let adapters = || machine.adapters.iter();
        let filter = adapters().any(|its| its.filter.iter().any(carries));
        let mut vfs = adapters().flat_map(|its| &its.vfs);
        let vf = vfs.any(|vf| carries(&vf.attributes.mac));
        let ports = || machine.bridges.iter().flat_map(|its| &its.ports);
        let set = ports().any(|port| {
            let mut fdb = port.fdb.iter();
            fdb.any(|entry| entry.fixed && !entry.local && carries(&entry.mac))
        });
        let floods = ports().any(|port| Some(&port.ifname) == tap.as_ref() && port.flood);
        !filter && !vf && !set && !floods
    })
}

/// VM 4 runs on another node, and is wanted on a VF here as there.
fn before_arrival(wanted: bool) -> World {
    let mut world = World::beside();
    world.add_vm(4);
    world.hypervisor.stop(uuid(4));
    if wanted {
        world.want(4, LOW);
        world.tell();
    }
    world.wait("in order", |status| status.converged);
    world
        .host
        .with(|machine| machine.learn(&name("pf0"), mac(4)));
    world
}

fn everybody() -> Vec<Station> {
    let vms = [1, 2, 3].map(|vm| Station::Guest(mac(vm)));
    let all = vms.into_iter().chain([Station::Host, Station::Wire]);
    all.collect()
}

#[test]
fn a_vm_that_comes_in_owns_nothing_until_it_runs() {
    for wanted in [false, true] {
        let mut world = before_arrival(wanted);
        world.hypervisor.arrive(uuid(4)).unwrap();
        world.until("it owns nothing", SOON, |world| owns_nothing(world, 4));
        // Half a minute, as in the lab. Others are served meanwhile.
        for round in 0..30 {
            world.run_for(Duration::from_secs(1));
            assert!(owns_nothing(&world, 4), "after {round} s");
            let leaves = |from| {
                world
                    .host
                    .with(|machine| machine.frame_leaves(mac(4), from))
            };
            let mut all = everybody();
            all.retain(|from| *from != Station::Wire);
            for from in all {
                assert!(leaves(from), "{from:?} reaches it where it runs");
            }
        }
        world.wait("nothing is wrong", |status| {
            status.unseen_vms.len() == 1 && status.problems.is_empty()
        });
        world.hypervisor.resume(uuid(4));
        let begun = world.now();
        let took = world.until_reached(&[4], &everybody(), LIMIT);
        assert!(took <= SOON, "{took:?}");
        world.no_excuse();
        if !wanted {
            world.wait_path(4, NicPath::Synthetic);
            world.assert_synthetic(4);
            continue;
        }
        // It is not stopped again at once.
        world.until("it is given a VF", LIMIT, |world| world.vf_of(4).is_some());
        let time = world.now() - begun;
        assert!(time >= Duration::from_secs(2), "{time:?}");
        assert!(time <= Duration::from_secs(4), "{time:?}");
        world.wait_path(4, NicPath::Vf);
        world.assert_on_vf(4);
    }
}

/// libvirt is not asked for more than the state of one that comes in; the others' wishes are fulfilled.
#[test]
fn nobody_waits_for_a_vm_that_comes_in() {
    let mut world = before_arrival(true);
    world.hypervisor.arrive(uuid(4)).unwrap();
    world.run_for(Duration::from_secs(1));
    world.want(1, None);
    world.tell();
    world.wait_path(1, NicPath::Synthetic);
    world.want(2, LOW);
    world.tell();
    world.wait_path(2, NicPath::Vf);
    assert!(owns_nothing(&world, 4));
}

#[test]
fn a_migration_that_does_not_arrive_leaves_nothing() {
    let mut world = before_arrival(true);
    world.hypervisor.arrive(uuid(4)).unwrap();
    world.run_for(Duration::from_secs(5));
    world.hypervisor.stop(uuid(4));
    world.run_for(Duration::from_secs(5));
    assert!(owns_nothing(&world, 4));
    for vm in [1, 3] {
        world.assert_on_vf(vm);
    }
    world.assert_synthetic(2);
}

fn hold(world: &World, vm: u8) -> Option<HoldQueue> {
    let tap = world.tap_of(vm);
    world.host.with(|machine| machine.holds.get(&tap).copied())
}

fn is_held(world: &World, vm: u8) -> bool {
    matches!(hold(world, vm), Some(HoldQueue::Hold { .. }))
}

/// VM 1 leaves, and its guest has let go of its VF.
fn let_go() -> World {
    let mut world = World::beside();
    world.hypervisor.unplug_primary(uuid(1));
    let limit = Duration::from_millis(200);
    world.until("frames wait", limit, |world| is_held(world, 1));
    world.until("both paths are open", limit, |world| {
        let tap = world.tap_of(1);
        world.host.with(|machine| {
            machine.port(&tap).unwrap().flood && machine.adapters[0].filter.contains(&mac(1))
        })
    });
    // No guest was faster in the lab.
    world.run_for(Duration::from_millis(200));
    assert!(is_held(&world, 1));
    world.no_excuse();
    world.hypervisor.let_go(uuid(1));
    world.run_for(Duration::from_millis(1));
    world
}

#[test]
fn nothing_is_lost_when_qemu_takes_the_vf_away() {
    let mut world = let_go();
    let begun = world.now();
    world.until("what waits is let go", LIMIT, |world| {
        !is_held(world, 1) && world.frame(1, Station::Wire).by_tap
    });
    assert!(world.now() - begun <= 2 * AT_ONCE);
    let calls = world.process().calls().len();
    world.run_for(Duration::from_secs(40));
    let vf = world.vf_of(1).unwrap();
    let carries = world
        .host
        .with(|machine| machine.vf(vf).unwrap().attributes.mac);
    assert_eq!(carries, mac(1), "it may come back");
    let calls = world.process().calls().split_off(calls);
    let plugs = |call: &&String| call.contains("plug");
    assert_eq!(calls.iter().filter(plugs).count(), 0, "{calls:#?}");
}

/// A guest that takes long gets its frames late, and not never.
#[test]
fn a_guest_that_does_not_let_go_is_not_held_for_ever() {
    let mut world = World::beside();
    world.hypervisor.unplug_primary(uuid(1));
    world.run_for(Duration::from_secs(3));
    assert!(!is_held(&world, 1));
    world.run_for(Duration::from_secs(60));
    assert!(!is_held(&world, 1));
    world.hypervisor.migration_fails(uuid(1));
    world.wait_path(1, NicPath::Vf);
}

/// Who was to leave was another process: the VM was started anew before anybody could see it off.
#[test]
fn one_that_starts_anew_meanwhile_does_not_leave_any_more() {
    let mut world = World::beside();
    world.hypervisor.unplug_primary(uuid(1));
    world.run_for(Duration::from_millis(200));
    world.hypervisor.stop(uuid(1));
    world.hypervisor.start(uuid(1)).unwrap();
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
    world.assert_free_vfs_clean();
}

#[test]
fn at_its_last_stop_its_address_is_given_up_at_once() {
    let mut world = let_go();
    world.run_for(Duration::from_secs(5));
    world.hypervisor.stop_to_leave(uuid(1));
    let begun = world.now();
    world.until("it owns nothing", LIMIT, |world| owns_nothing(world, 1));
    assert!(world.now() - begun <= SOON, "{:?}", world.now() - begun);
    // It runs at its new node, and is reached there.
    world
        .host
        .with(|machine| machine.learn(&name("pf0"), mac(1)));
    for from in [
        Station::Host,
        Station::Guest(mac(2)),
        Station::Guest(mac(3)),
    ] {
        let leaves = world
            .host
            .with(|machine| machine.frame_leaves(mac(1), from));
        assert!(leaves, "{from:?}");
    }
    world.run_for(Duration::from_secs(3));
    world.hypervisor.stop(uuid(1));
    world.wait("it is off", |status| {
        path(status, 1) == NicPath::None && status.problems.is_empty() && status.converged
    });
    assert!(owns_nothing(&world, 1));
    world.assert_free_vfs_clean();
}

#[test]
fn a_migration_that_fails_leaves_it_where_it_was() {
    for stopped in [false, true] {
        for later in [0, 5] {
            let mut world = let_go();
            let vf = world.vf_of(1);
            world.run_for(Duration::from_secs(later));
            if stopped {
                world.hypervisor.stop_to_leave(uuid(1));
                world.run_for(Duration::from_secs(later));
            }
            world.hypervisor.migration_fails(uuid(1));
            // One that had been stopped runs before anybody can know.
            world.host.with(|machine| {
                let guests = machine.guests.iter_mut();
                guests.for_each(|guest| guest.excused = stopped);
            });
            let took = world.until_reached(&[1], &everybody()[1..], LIMIT);
            assert!(took <= SOON, "{took:?}");
            world.no_excuse();
            world.wait_path(1, NicPath::Vf);
            assert_eq!(world.vf_of(1), vf);
            world.assert_on_vf(1);
        }
    }
}

/// libvirt's answer may be older than what QEMU has told since.
#[test]
fn one_whose_migration_fails_while_libvirt_is_asked_is_here() {
    let mut world = let_go();
    world.take_long(is_vms_look, Duration::from_secs(2));
    world.hypervisor.stop_to_leave(uuid(1));
    // The look that its stop called for sees it on its way, and is under way still.
    world.run_for(Duration::from_secs(1));
    world.hypervisor.migration_fails(uuid(1));
    world.host.with(|machine| {
        let guests = machine.guests.iter_mut();
        guests.for_each(|guest| guest.excused = true);
    });
    world.until_reached(&[1], &everybody()[1..], SOON);
    world.no_excuse();
    world.run_for(Duration::from_secs(10));
    world.take_no_time();
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
}

/// One without VF leaves and comes as if we were not there.
#[test]
fn one_without_vf_is_left_alone_on_its_way() {
    let mut world = World::beside();
    let calls = world.process().calls().len();
    world.hypervisor.with(|vms| {
        vms.tell(accelnet_hypervisor::HypervisorEvent::Migration(
            uuid(2),
            accelnet_hypervisor::MigrationPhase::Other,
        ));
    });
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.process().calls().len(), calls);
    world.hypervisor.stop_to_leave(uuid(2));
    world.until("it owns nothing", SOON, |world| owns_nothing(world, 2));
    world.hypervisor.stop(uuid(2));
    world.wait("in order", |status| {
        path(status, 2) == NicPath::None && status.converged
    });
}

/// A guest that came in and drives no VF is no failure before it was given one.
#[test]
fn one_that_comes_without_a_driver_stays_on_its_tap() {
    let mut world = before_arrival(false);
    world.set_habits(
        4,
        Habits {
            vf_driver: false,
            ..Habits::default()
        },
    );
    world.hypervisor.arrive(uuid(4)).unwrap();
    world.run_for(Duration::from_secs(3));
    world.hypervisor.resume(uuid(4));
    world.wait("in order", |status| {
        is_quiet(status) && path(status, 4) == NicPath::Synthetic
    });
    world.assert_synthetic(4);
}
