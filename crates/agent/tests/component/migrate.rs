//! A VM that is to be moved is taken off its VF, and migrated then.

use std::time::Duration;

use accelnet_model::{Code, Name, NicPath, Performance, VfCount};

use crate::world::{World, codes, path, uuid, vm};

fn node2() -> Name {
    "node2".parse().unwrap()
}

/// As a server says it: parked here until it is there.
fn send(world: &mut World, number: u8, to: Option<Name>) {
    let mut wishes = world.desired.vms.iter_mut();
    let wish = wishes.find(|wish| wish.uuid == uuid(number)).unwrap();
    (wish.parked, wish.migrate_to) = (to.is_some(), to);
    world.tell();
}

fn gone(world: &World) -> Vec<(u128, Name)> {
    world.hypervisor.with(|vms| {
        let migrated = vms.migrated.iter();
        let gone = migrated.map(|(vm, to)| (vm.facts.uuid.as_u128(), to.clone()));
        gone.collect()
    })
}

#[test]
fn it_goes_without_its_vf_which_is_clean_then() {
    let mut world = World::beside();
    send(&mut world, 1, Some(node2()));
    // The twin refuses a VM with a VF, as libvirt does.
    world.wait("it is gone", |status| {
        !status.vms.iter().any(|vm| vm.facts.uuid == uuid(1)) && status.converged
    });
    assert_eq!(gone(&world), [(uuid(1).as_u128(), node2())]);
    world.assert_free_vfs_clean();
    world.assert_on_vf(3);
}

#[test]
fn one_that_cannot_go_says_why_is_tried_again_and_comes_back_when_nobody_asks_any_more() {
    let mut world = World::beside();
    let why = "unable to connect to server at 'node2:16514': Connection refused";
    let refuses = |why: Option<&str>| why.map(str::to_owned);
    world
        .hypervisor
        .with(|vms| vms.refuses_migration = refuses(Some(why)));
    send(&mut world, 1, Some(node2()));
    let status = world.wait("it is told", |status| {
        codes(status, 1).contains(&Code::VmMoveFailed)
    });
    let told = &vm(&status, 1).problems;
    assert!(
        told.iter().any(|problem| problem.detail.contains(why)),
        "{told:?}"
    );
    assert_eq!(path(&status, 1), NicPath::Synthetic);
    assert!(vm(&status, 1).resting);
    let tries = |world: &World| {
        let calls = world.process().calls();
        let tries = calls.iter().filter(|call| *call == "migrate to node2");
        tries.count()
    };
    let once = tries(&world);
    world.run_for(Duration::from_secs(60));
    let often = tries(&world);
    // With rests that grow: 5, 10, 20, 40 s.
    assert!(often > once && often <= once + 4, "{once}, then {often}");
    send(&mut world, 1, None);
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);

    send(&mut world, 1, Some(node2()));
    world.wait("it is told", |status| {
        codes(status, 1).contains(&Code::VmMoveFailed)
    });
    world
        .hypervisor
        .with(|vms| vms.refuses_migration = refuses(None));
    world.wait("it is gone", |status| {
        !status.vms.iter().any(|vm| vm.facts.uuid == uuid(1))
    });
}

#[test]
fn one_that_stands_still_or_is_busy_with_a_job_waits() {
    let mut world = World::beside();
    world
        .hypervisor
        .with(|vms| vms.vm_mut(uuid(1)).unwrap().facts.state = accelnet_model::VmState::Paused);
    // Nobody told of it: it is seen by a look.
    world.run_for(Duration::from_secs(15));
    send(&mut world, 1, Some(node2()));
    world.run_for(Duration::from_secs(60));
    assert_eq!(gone(&world), []);
    world.hypervisor.resume(uuid(1));
    world.wait("it is gone", |status| {
        !status.vms.iter().any(|vm| vm.facts.uuid == uuid(1))
    });
}

#[test]
fn ten_that_are_sent_at_once_all_go_and_leave_clean_vfs() {
    const VMS: u8 = 10;
    let mut world = World::bonded(VMS);
    world.desired.intents[0].vfs = VfCount::Exactly(u16::from(VMS));
    world.host.with(|machine| {
        for adapter in &mut machine.adapters {
            adapter.total_vfs = 63;
        }
    });
    world.start(None);
    for vm in 1..=VMS {
        world.want(vm, Some(Performance::Low));
    }
    world.tell();
    world.wait("all on VFs", |status| {
        status.converged && (1..=VMS).all(|vm| path(status, vm) == NicPath::Vf)
    });
    world.no_excuse();
    for wish in &mut world.desired.vms {
        (wish.parked, wish.migrate_to) = (true, Some(node2()));
    }
    world.tell();
    world.wait("all are gone", |status| {
        status.vms.is_empty() && status.converged
    });
    let mut went: Vec<_> = gone(&world).into_iter().map(|(vm, _)| vm).collect();
    went.sort_unstable();
    let all: Vec<_> = (1..=VMS).map(|vm| uuid(vm).as_u128()).collect();
    assert_eq!(went, all, "each once");
    world.assert_free_vfs_clean();
}
