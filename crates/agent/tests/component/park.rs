//! A VM that is parked is on its tap, whatever it is wanted on, until it is unparked.

use std::time::Duration;

use accelnet_model::{Code, NicPath, NodeStatus, VmJob};

use crate::world::{World, codes, path, uuid, vm};

fn park(world: &mut World, number: u8, parked: bool) {
    let mut wishes = world.desired.vms.iter_mut();
    let wish = wishes.find(|wish| wish.uuid == uuid(number)).unwrap();
    wish.parked = parked;
    world.tell();
}

#[test]
fn it_leaves_its_vf_and_says_so_and_comes_back() {
    let mut world = World::beside();
    let vf = world.vf_of(1);
    park(&mut world, 1, true);
    let status = world.wait("parked", |status| {
        path(status, 1) == NicPath::Synthetic && vm(status, 1).progress.is_none()
    });
    assert_eq!(codes(&status, 1), [Code::VmParked]);
    assert!(
        vm(&status, 1).level.is_some(),
        "it is wanted on a VF as before"
    );
    world.assert_synthetic(1);
    world.assert_free_vfs_clean();
    world.assert_on_vf(3);
    // It stays so, over a start of it and of the agent.
    world.hypervisor.stop(uuid(1));
    world.hypervisor.start(uuid(1)).unwrap();
    world.start(None);
    world.repeat();
    world.run_for(Duration::from_secs(60));
    world.assert_synthetic(1);
    park(&mut world, 1, false);
    world.wait_path(1, NicPath::Vf);
    assert!(vf.is_some());
    world.assert_on_vf(1);
}

/// What parking is for.
#[test]
fn it_is_saved_and_comes_back_like_one_without_vf() {
    let mut world = World::beside();
    park(&mut world, 1, true);
    world.wait("parked", |status| {
        path(status, 1) == NicPath::Synthetic && vm(status, 1).progress.is_none()
    });
    world.hypervisor.freeze(uuid(1), VmJob::Saving);
    world.run_for(Duration::from_secs(5));
    world.hypervisor.stop(uuid(1));
    world.run_for(Duration::from_secs(5));
    let calls = world.process().calls();
    assert!(!calls.contains(&"end job".to_owned()), "{calls:#?}");
    world.hypervisor.arrive(uuid(1)).unwrap();
    world.run_for(Duration::from_secs(2));
    world.hypervisor.resume(uuid(1));
    world.wait("it is back", |status| {
        path(status, 1) == NicPath::Synthetic && status.converged
    });
    world.assert_synthetic(1);
    park(&mut world, 1, false);
    world.wait_path(1, NicPath::Vf);
}

#[test]
fn one_that_is_parked_on_its_way_turns_back() {
    for after in [1, 500, 1500, 2500] {
        let mut world = World::before_attach();
        world.tell();
        world.run_for(Duration::from_millis(after));
        park(&mut world, 1, true);
        world.wait("parked", |status| {
            path(status, 1) == NicPath::Synthetic
                && vm(status, 1).progress.is_none()
                && codes(status, 1) == [Code::VmParked]
        });
        world.assert_synthetic(1);
        world.assert_free_vfs_clean();
    }
}

/// A host that goes down when all servers are gone: nothing is to be on a VF that nobody can save it on.
#[test]
fn a_host_that_goes_down_by_itself_brings_all_off_their_vfs_until_the_agents_next_start() {
    let mut world = World::beside();
    let told = |status: &NodeStatus| {
        let mut problems = status.problems.iter();
        problems.any(|problem| problem.code == Code::VmParked && problem.objects.is_empty())
    };
    world.goes_down();
    let status = world.wait("off", |status| {
        let mut vms = status.vms.iter();
        vms.all(|vm| vm.nics[0].path == NicPath::Synthetic && vm.progress.is_none())
    });
    assert!(told(&status), "{:?}", status.problems);
    for vm in [1, 3] {
        world.assert_synthetic(vm);
    }
    world.assert_free_vfs_clean();
    // A newer wish changes nothing about that.
    world.tell();
    world.run_for(Duration::from_secs(30));
    world.assert_synthetic(1);
    world.start(None);
    world.repeat();
    let status = world.wait_path(1, NicPath::Vf);
    assert!(!told(&status), "{:?}", status.problems);
    world.wait_path(3, NicPath::Vf);
}
