//! A call that fails is told, what was done is undone, and it is tried again after a rest.

use accelnet_host::HoldQueue;
use accelnet_model::{NicPath, NodeStatus, Performance, Problem};

use crate::{
    process::Fault,
    world::{World, is_quiet, path, vfs, vm},
};

const LOW: Option<Performance> = Some(Performance::Low);

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
        let fulfilled = |status: &NodeStatus| is_quiet(status) && reached(status);
        world.wait(&format!("recovery from failures of call {at}"), fulfilled);
        let calls = world.process().calls();
        if calls.len() <= at {
            assert!(at > 0);
            break;
        }
        let injected = |problem: &Problem| problem.detail.contains("injected");
        assert!(
            world.told.iter().any(injected),
            "not told of '{}'",
            calls[at]
        );
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
    for times in [1, 2, 3, 12] {
        fail_at_every_call(
            times,
            World::before_attach,
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
    for times in [1, 2, 3, 12] {
        fail_at_every_call(
            times,
            World::before_detach,
            |status| path(status, 1) == NicPath::Synthetic && path(status, 2) == NicPath::Vf,
            |world| {
                world.assert_synthetic(1);
                world.assert_free_vfs_clean();
            },
        );
    }
}

/// Somebody changed the VF that VM 1 uses. Whatever fails meanwhile, the guest is not reset or cut off.
#[test]
fn while_a_vf_in_use_is_put_right() {
    for times in [1, 2, 12] {
        fail_at_every_call(
            times,
            World::changed_behind_its_back,
            |status| path(status, 1) == NicPath::Vf,
            |world| {
                world.assert_on_vf(1);
                world.assert_on_vf(2);
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
        assert!(vm(&status, 1).resting && status.resting && !status.converged);
        world.assert_synthetic(1);
        world.assert_free_vfs_clean();
    }
}

/// What a crash left waiting goes on, however often that fails at first.
#[test]
fn a_queue_that_holds_is_told_to_pass_until_it_does() {
    let mut world = World::settled(1);
    world.kill();
    let tap = world.tap_of(1);
    world.host.with(|machine| {
        machine.holds.insert(
            tap.clone(),
            HoldQueue::Hold {
                limit: std::time::Duration::from_secs(600),
            },
        )
    });
    world.start(Some(Fault::Fails { at: 0, times: 2 }));
    world.wait("in order", is_quiet);
    assert_eq!(world.process().calls().len(), 3);
    assert_eq!(
        world.host.with(|machine| machine.holds[&tap]),
        HoldQueue::Pass
    );
}
