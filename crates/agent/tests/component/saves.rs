//! Saves, dumps and migrations that are not live stop a VM first, and would wait for ever for a guest that
//! is to give up its VF. Each beside a VM without VF.

use std::time::Duration;

use accelnet_model::{Code, NicPath, VmJob, VmState};

use crate::{
    process::Fault,
    world::{World, codes, path, uuid, vm},
};

const JOBS: [VmJob; 3] = [VmJob::Saving, VmJob::Dumping, VmJob::Outgoing];
/// The bar for a VM that was frozen.
const LIMIT: Duration = Duration::from_secs(2);

fn state(world: &World, vm: u8) -> VmState {
    let vms = &world.hypervisor;
    vms.with(|vms| vms.vm(uuid(vm)).unwrap().facts.state)
}

#[test]
fn a_vm_on_its_vf_runs_again_at_once_and_that_is_told() {
    for job in JOBS {
        let mut world = World::beside();
        let vf = world.vf_of(1);
        world.hypervisor.freeze(uuid(1), job);
        let begun = world.now();
        let runs = world.until("it runs", LIMIT, |world| {
            state(world, 1) == VmState::Running
        });
        assert!(runs - begun < LIMIT);
        // It gives up its VF in that moment: both paths are open already.
        let status = world.wait("it is told", |status| codes(status, 1) == [Code::VmFrozen]);
        assert_eq!(vm(&status, 1).facts.state, VmState::Running);
        world.wait("it is on its VF again", |status| {
            path(status, 1) == NicPath::Vf && status.converged
        });
        assert_eq!(world.vf_of(1), vf);
        world.assert_on_vf(1);
        world.assert_synthetic(2);
        // It is not told for ever.
        world.run_for(Duration::from_secs(700));
        world.wait_path(1, NicPath::Vf);
    }
}

#[test]
fn a_vm_without_vf_is_saved() {
    for job in JOBS {
        let mut world = World::beside();
        world.hypervisor.freeze(uuid(2), job);
        world.run_for(Duration::from_secs(20));
        assert_eq!(state(&world, 2), VmState::Paused);
        let calls = world.process().calls();
        assert!(!calls.contains(&"end job".to_owned()), "{calls:#?}");
        world.hypervisor.stop(uuid(2));
        world.wait("it is off", |status| {
            vm(status, 2).facts.state == VmState::Off
        });
        // And comes back.
        world.hypervisor.arrive(uuid(2)).unwrap();
        world.run_for(Duration::from_secs(3));
        world.hypervisor.resume(uuid(2));
        world.wait("it is back", |status| {
            status.converged && path(status, 2) == NicPath::Synthetic
        });
        world.assert_synthetic(2);
    }
}

#[test]
fn a_user_who_suspends_a_vm_is_left_alone() {
    let mut world = World::beside();
    let pid = world.pid(1);
    let pause = |world: &World, state: VmState| {
        let runs = state == VmState::Running;
        world.host.with(|machine| machine.set_running(pid, runs));
        world.hypervisor.with(|vms| {
            vms.vm_mut(uuid(1)).unwrap().facts.state = state;
            vms.tell(accelnet_hypervisor::HypervisorEvent::Vm(uuid(1)));
        });
    };
    pause(&world, VmState::Paused);
    world.run_for(Duration::from_secs(30));
    assert_eq!(state(&world, 1), VmState::Paused);
    pause(&world, VmState::Running);
    world.wait_path(1, NicPath::Vf);
    let calls = world.process().calls();
    assert!(!calls.contains(&"end job".to_owned()), "{calls:#?}");
}

/// One that was frozen while no agent ran.
#[test]
fn an_agent_that_starts_ends_what_it_finds() {
    let mut world = World::beside();
    world.kill();
    world.hypervisor.freeze(uuid(1), VmJob::Saving);
    world.advance(Duration::from_secs(100));
    world.start(None);
    world.repeat();
    world.until("it runs", LIMIT, |world| {
        state(world, 1) == VmState::Running
    });
    world.wait("it is on its VF again", |status| {
        path(status, 1) == NicPath::Vf && status.converged
    });
}

#[test]
fn what_cannot_be_ended_is_told_and_tried_on_without_haste() {
    let mut world = World::beside();
    world.start(Some(Fault::Refuses { call: "end job" }));
    world.repeat();
    world.wait_path(1, NicPath::Vf);
    world.hypervisor.freeze(uuid(1), VmJob::Saving);
    let told = world.wait("it is told", |status| {
        codes(status, 1).contains(&Code::VmFrozen)
    });
    assert!(vm(&told, 1).problems[0].detail.contains("injected"));
    world.run_for(Duration::from_secs(60));
    let calls = world.process().calls();
    let tries = calls.iter().filter(|call| *call == "end job").count();
    assert!((3..=60).contains(&tries), "{tries} tries in a minute");
    world.start(None);
    world.repeat();
    world.until("it runs", LIMIT, |world| {
        state(world, 1) == VmState::Running
    });
    world.wait_path(1, NicPath::Vf);
}
