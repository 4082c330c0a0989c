//! VMs that a tool of somebody else's moves here on their VFs, after libvirt's hook has asked.

use std::time::Duration;

use accelnet_agent::by_hand;
use accelnet_model::{Code, NicPath, PciAddress, Performance, VfUser};
use accelnet_rules::action::Action;

use crate::world::{World, path, uuid};

const LOW: Option<Performance> = Some(Performance::Low);
/// libvirt has a VM within this of its hook's answer.
const COMES_WITHIN: Duration = Duration::from_secs(60);

fn user(world: &World, vf: PciAddress) -> VfUser {
    world
        .host
        .with(|machine| machine.vf(vf).unwrap().user.clone())
}

/// VM 4 runs on another node.
fn elsewhere() -> World {
    let mut world = World::beside();
    world.add_vm(4);
    world.hypervisor.stop(uuid(4));
    world.want(4, LOW);
    world.tell();
    world.wait("in order", |status| status.converged);
    world
}

/// QEMU plugs nothing while the VM stands still; when it runs here it is given a VF as any other.
#[test]
fn the_vf_that_is_kept_is_not_plugged_while_it_comes() {
    let mut world = elsewhere();
    let kept = world.expect(4).unwrap();
    assert_eq!(user(&world, kept), VfUser::Reserved);
    world.hypervisor.arrive_with(uuid(4), kept).unwrap();
    world.run_for(Duration::from_secs(30));
    assert_eq!(user(&world, kept), VfUser::Reserved, "QEMU found it taken");
    // Others are given others meanwhile.
    world.want(2, LOW);
    world.tell();
    world.wait_path(2, NicPath::Vf);
    assert_ne!(world.vf_of(2), Some(kept));
    world.hypervisor.resume(uuid(4));
    world.until(
        "what it came with is off it",
        Duration::from_secs(5),
        |world| world.vfs_of(4).is_empty(),
    );
    world.wait_path(4, NicPath::Vf);
    world.assert_on_vf(4);
    assert_eq!(world.vfs_of(4).len(), 1);
    world.wait("in order", |status| status.converged);
    for vf in world.host.with(|machine| machine.adapters[0].vfs.clone()) {
        assert_ne!(vf.user, VfUser::Reserved, "{}", vf.pci);
    }
    world.assert_free_vfs_clean();
    world.no_excuse();
}

#[test]
fn one_that_nobody_wants_accelerated_runs_by_its_tap() {
    let mut world = World::beside();
    world.add_vm(4);
    world.hypervisor.stop(uuid(4));
    world.wait("in order", |status| status.converged);
    let kept = world.expect(4).unwrap();
    world.hypervisor.arrive_with(uuid(4), kept).unwrap();
    world.run_for(Duration::from_secs(5));
    world.hypervisor.resume(uuid(4));
    world.until("it has no device", Duration::from_secs(40), |world| {
        world.vfs_of(4).is_empty()
    });
    world.wait_path(4, NicPath::Synthetic);
    world.assert_synthetic(4);
    world.until("it is free", Duration::from_secs(40), |world| {
        user(world, kept) == VfUser::Nobody
    });
    world.assert_free_vfs_clean();
}

/// Nothing is kept for one that does not come, or that goes back while it does.
#[test]
fn what_is_kept_in_vain_is_let_go() {
    let mut world = elsewhere();
    let kept = world.expect(4).unwrap();
    world.run_for(COMES_WITHIN - Duration::from_secs(11));
    assert_eq!(user(&world, kept), VfUser::Reserved);
    // It is tried once more, and the same is kept for it.
    assert_eq!(world.expect(4), Ok(kept));
    world.hypervisor.arrive_with(uuid(4), kept).unwrap();
    world.run_for(2 * COMES_WITHIN);
    assert_eq!(user(&world, kept), VfUser::Reserved, "it is still coming");
    world.hypervisor.stop(uuid(4));
    let soon = Duration::from_secs(1);
    world.until("it is let go", soon, |world| {
        user(world, kept) == VfUser::Nobody
    });
    let again = world.expect(4).unwrap();
    world.until(
        "nobody came",
        COMES_WITHIN + Duration::from_secs(11),
        |world| user(world, again) == VfUser::Nobody,
    );
    world.assert_free_vfs_clean();
    for vm in [1, 3] {
        world.assert_on_vf(vm);
    }
}

/// Killed at any moment it keeps what it promised, as soon as it is back.
#[test]
fn what_was_promised_is_kept_after_a_start_of_the_agent() {
    let mut world = elsewhere();
    let kept = world.expect(4).unwrap();
    world.hypervisor.arrive_with(uuid(4), kept).unwrap();
    world.start(None);
    world.until("it is kept", Duration::from_secs(2), |world| {
        user(world, kept) == VfUser::Reserved
    });
    world.hypervisor.resume(uuid(4));
    world.wait_path(4, NicPath::Vf);
    world.assert_on_vf(4);
    world.start(None);
    world.wait("in order", |status| status.converged);
    assert_eq!(path(&world.look().unwrap(), 4), NicPath::Vf);
}

/// Five VFs are free: ten VMs ask at once, and five may come.
#[test]
fn each_vf_is_promised_once() {
    let mut world = elsewhere();
    let mut kept = Vec::new();
    for vm in 4..14 {
        match world.expect(vm) {
            Ok(vf) => kept.push(vf),
            Err(problem) => assert_eq!(problem.code, Code::NoFreeVf),
        }
    }
    assert_eq!(kept.len(), 5);
    kept.sort();
    kept.dedup();
    assert_eq!(kept.len(), 5, "{kept:?}");
    // Whoever is here finds none until they are let go.
    world.want(2, LOW);
    world.tell();
    world.run_for(Duration::from_secs(20));
    assert_eq!(path(&world.look().unwrap(), 2), NicPath::Synthetic);
    world.run_for(COMES_WITHIN);
    world.wait_path(2, NicPath::Vf);
}

#[test]
fn without_an_intent_nothing_is_promised() {
    let mut world = World::new(1);
    world.desired.enabled = None;
    world.start(None);
    world.tell();
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.expect(4).unwrap_err().code, Code::AccelNetNotEnabled);
}

/// Somebody opened it in that moment.
#[test]
fn a_vf_that_cannot_be_kept_is_not_promised() {
    let mut world = elsewhere();
    world.host.with(|machine| {
        for vf in &mut machine.adapters[0].vfs {
            if vf.user == VfUser::Nobody {
                vf.user = VfUser::Process {
                    pid: 9999,
                    command: "somebody".into(),
                };
            }
        }
    });
    let problem = world.expect(4).unwrap_err();
    assert!(problem.detail.contains("VF"), "{problem:?}");
}

/// Elsewhere what is gone needs nothing; here somebody would be promised what nobody can give.
#[test]
fn a_vf_that_is_gone_is_kept_for_nobody() {
    let world = World::new(1);
    let vf = "0000:01:1f.0".parse().unwrap();
    let keep = |reserved| {
        let action = Action::ReserveVf { vf, reserved };
        let done = by_hand::carry_out(vec![(None, action)], &world.host, &world.hypervisor);
        done[0].result.clone().unwrap()
    };
    assert!(keep(true).is_err());
    assert!(keep(false).is_ok());
}
