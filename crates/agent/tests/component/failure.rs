//! A call that fails is told, what was done is undone, and it is tried again after a rest.

use accelnet_model::{NicPath, NodeStatus, Performance};

use crate::{
    process::Fault,
    world::{World, is_quiet, path, vfs, vm},
};

const LOW: Option<Performance> = Some(Performance::Low);

fn something_is_wrong(status: &NodeStatus) -> bool {
    !status.problems.is_empty() || status.vms.iter().any(|vm| !vm.problems.is_empty())
}

/// Lets call after call fail, `times` in a row, until the wish is fulfilled without reaching it.
fn fail_at_every_call(
    times: usize,
    begin: impl Fn() -> World,
    reached: impl Fn(&NodeStatus) -> bool,
    assert_end: impl Fn(&World),
) {
    for at in 0.. {
        let mut world = begin();
        world.start(Some(Fault::Fails { at, times }));
        world.tell();
        let mut told = false;
        let fulfilled = |status: &NodeStatus| {
            told |= something_is_wrong(status);
            is_quiet(status) && reached(status)
        };
        world.wait(&format!("recovery from failures of call {at}"), fulfilled);
        let calls = world.process().calls();
        if calls.len() <= at {
            assert!(at > 0);
            break;
        }
        assert!(told, "nobody was told that '{}' failed", calls[at]);
        assert_end(&world);
    }
}

#[test]
fn while_enabling() {
    for times in [1, 4] {
        fail_at_every_call(
            times,
            || World::new(2),
            |status| vfs(status) == 7,
            |world| {
                world.assert_free_vfs_clean();
                world.assert_synthetic(1);
            },
        );
    }
}

#[test]
fn while_a_vm_goes_to_a_vf() {
    let begin = || {
        let mut world = World::settled(2);
        world.want(1, LOW);
        world
    };
    for times in [1, 2, 3, 12] {
        fail_at_every_call(
            times,
            begin,
            |status| path(status, 1) == NicPath::Vf,
            |world| {
                world.assert_on_vf(1);
                world.assert_free_vfs_clean();
            },
        );
    }
}

#[test]
fn while_a_vm_comes_back() {
    let begin = || {
        let mut world = World::accelerated(2);
        world.want(1, None);
        world
    };
    for times in [1, 2, 3, 12] {
        fail_at_every_call(
            times,
            begin,
            |status| path(status, 1) == NicPath::Synthetic && path(status, 2) == NicPath::Vf,
            |world| {
                world.assert_synthetic(1);
                world.assert_free_vfs_clean();
            },
        );
    }
}

/// Whatever fails, the VM is on one whole path while it rests.
#[test]
fn a_vm_that_rests_is_where_it_was() {
    for at in 1..9 {
        let mut world = World::settled(1);
        world.want(1, LOW);
        world.start(Some(Fault::Fails { at, times: 1 }));
        world.tell();
        let resting = |status: &NodeStatus| {
            vm(status, 1).progress.is_none() && !vm(status, 1).problems.is_empty()
        };
        let status = world.wait("the failure", resting);
        assert_eq!(path(&status, 1), NicPath::Synthetic);
        world.assert_synthetic(1);
        world.assert_free_vfs_clean();
    }
}
