//! Killed at any call, before or after it was carried out, and started again: what was wanted is
//! reached, and meanwhile nobody is out of reach.

use std::time::Duration;

use accelnet_agent::boot;
use accelnet_model::{NicPath, NodeStatus, Performance};

use crate::{
    process::{Fault, Process},
    world::{World, is_quiet, name, path, uuid, vfs},
};

const LOW: Option<Performance> = Some(Performance::Low);

/// Lets the agent die at every changing call of what `begin` wishes for, until the wish is fulfilled
/// before it dies.
pub fn die_at_every_call(
    begin: impl Fn() -> World,
    reached: impl Fn(&NodeStatus) -> bool,
    assert_end: impl Fn(&World),
) {
    for carried_out in [false, true] {
        for at in 0.. {
            let mut world = begin();
            world.start(Some(Fault::Dies { at, carried_out }));
            world.tell();
            let mut fulfilled = |status: &NodeStatus| is_quiet(status) && reached(status);
            let ended = world.wait_or_death(&mut fulfilled);
            let died = match ended {
                Ok(_) => world.process().is_dead(),
                Err(None) => true,
                Err(Some(status)) => panic!("call {at}: not reached: {status:#?}"),
            };
            let calls = world.process().calls();
            if !died {
                assert!(at > 0 && calls.len() <= at, "{at}: {calls:?}");
                break;
            }
            world.start(None);
            world.repeat();
            let what = format!("recovery from death at {:?}", calls.last());
            world.wait(&what, fulfilled);
            assert_end(&world);
        }
    }
}

#[test]
fn while_enabling() {
    die_at_every_call(
        || World::new(2),
        |status| vfs(status) == 7,
        |world| {
            world.assert_free_vfs_clean();
            world.assert_synthetic(1);
        },
    );
}

#[test]
fn while_a_vm_goes_to_a_vf() {
    die_at_every_call(
        World::before_attach,
        |status| path(status, 1) == NicPath::Vf,
        |world| {
            world.assert_on_vf(1);
            world.assert_synthetic(2);
            world.assert_free_vfs_clean();
        },
    );
}

#[test]
fn while_a_vm_comes_back() {
    die_at_every_call(
        World::before_detach,
        |status| path(status, 1) == NicPath::Synthetic && path(status, 2) == NicPath::Vf,
        |world| {
            world.assert_synthetic(1);
            world.assert_on_vf(2);
            world.assert_free_vfs_clean();
        },
    );
}

#[test]
fn while_a_vf_in_use_is_put_right() {
    die_at_every_call(
        World::changed_behind_its_back,
        |status| path(status, 1) == NicPath::Vf,
        |world| {
            world.assert_on_vf(1);
            world.assert_on_vf(2);
            world.assert_free_vfs_clean();
        },
    );
}

#[test]
fn while_a_vm_that_stopped_is_cleaned_up_after() {
    let begin = || {
        let world = World::accelerated(2);
        world.hypervisor.stop(uuid(1));
        world
    };
    for carried_out in [false, true] {
        for at in 0..3 {
            let mut world = begin();
            world.start(Some(Fault::Dies { at, carried_out }));
            let clean = |status: &NodeStatus| {
                status.converged && status.adapters.iter().all(|pf| pf.quarantined.is_empty())
            };
            if world.wait_or_death(&mut |status| clean(status)).is_err() {
                world.start(None);
                world.wait("the end", clean);
            }
            world.assert_free_vfs_clean();
            world.assert_on_vf(2);
        }
    }
}

/// The wish changes while no agent runs.
#[test]
fn and_then_something_else_is_wanted() {
    for (carried_out, at) in [false, true]
        .into_iter()
        .flat_map(|done| (0..12).map(move |at| (done, at)))
    {
        let mut world = World::settled(2);
        world.want(1, LOW);
        world.start(Some(Fault::Dies { at, carried_out }));
        world.tell();
        let mut fulfilled =
            |status: &NodeStatus| is_quiet(status) && path(status, 1) == NicPath::Vf;
        if world.wait_or_death(&mut fulfilled).is_ok() && !world.process().is_dead() {
            continue;
        }
        world.start(None);
        world.want(1, None);
        world.tell();
        world.wait_path(1, NicPath::Synthetic);
        world.assert_synthetic(1);
        world.assert_free_vfs_clean();
    }
}

#[test]
fn a_node_that_starts_again_has_its_vfs_from_the_ledger_alone() {
    let mut world = World::accelerated(2);
    world.kill();
    for number in [1, 2] {
        world.hypervisor.stop(uuid(number));
    }
    world.host.with(accelnet_host::twin::Machine::reboot);
    world.hypervisor.with(|vms| vms.down = true);
    let outcome = boot(&world.host, world.state_dir());
    assert_eq!(outcome.failed, Vec::<String>::new());
    world.assert_free_vfs_clean();
    assert!(boot(&world.host, world.state_dir()).done.is_empty(), "once");

    world.hypervisor.with(|vms| vms.down = false);
    for number in [1, 2] {
        world.hypervisor.start(uuid(number)).unwrap();
    }
    world.start(None);
    for number in [1, 2] {
        world.wait_path(number, NicPath::Vf);
        world.assert_on_vf(number);
    }
}

/// Drivers are loaded and interfaces named while a machine starts: what fails once there, whatever it is, is done
/// nevertheless; what cannot be seen is not said to be gone.
#[test]
fn what_fails_while_a_node_starts_is_tried_again() {
    let mut world = World::accelerated(1);
    world.kill();
    world.hypervisor.stop(uuid(1));
    let mut calls = 1;
    let mut at = 0;
    while at < calls {
        world.host.with(accelnet_host::twin::Machine::reboot);
        let process = Process::new(
            world.host.clone(),
            world.hypervisor.clone(),
            Some(Fault::Fails { at, times: 1 }),
            Duration::ZERO,
        );
        let outcome = boot(&process, world.state_dir());
        assert_eq!(outcome.failed, [""; 0], "call {at}");
        world.assert_free_vfs_clean();
        calls = process.calls().len();
        at += 1;
    }
    assert!(calls > 14, "two for each VF: {calls}");

    world.host.with(|machine| {
        machine.reboot();
        machine.unreadable.adapter.insert(name("pf0"));
    });
    let outcome = boot(&world.host, world.state_dir());
    assert!(outcome.failed[0].contains("is not seen"), "{outcome:?}");
}
