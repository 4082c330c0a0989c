//! Frames wait at a tap for a bounded time, whoever dies, and only those of guests that used their VF.

use std::time::Duration;

use accelnet_host::{HoldQueue, HostEvent, twin::Habits};
use accelnet_model::{Code, NicPath, Performance, PolicyFinding, PolicyKind};
use accelnet_rules::action::HOLD_LIMIT;

use crate::{
    process::Fault,
    world::{World, codes, is_quiet, path, uuid, vm},
};

const LOW: Option<Performance> = Some(Performance::Low);

fn holds(world: &World) -> usize {
    world.host.with(|machine| {
        let holds = machine.holds.values();
        holds
            .filter(|hold| matches!(hold, HoldQueue::Hold { .. }))
            .count()
    })
}

#[test]
fn an_agent_that_dies_in_the_middle_leaves_no_frame_waiting_for_longer_than_it_may() {
    let mut held = 0;
    for at in 0.. {
        let mut world = World::before_detach();
        world.start(Some(Fault::Dies {
            at,
            carried_out: true,
        }));
        world.tell();
        let ended = world
            .wait_or_death(&mut |status| path(status, 1) == NicPath::Synthetic && is_quiet(status));
        if ended.is_ok() {
            break;
        }
        held += holds(&world);
        world.advance(HOLD_LIMIT);
        assert_eq!(holds(&world), 0, "after call {at}");
        world.assert_nothing_lost();
    }
    assert!(held > 0, "it died while frames waited");
}

/// The guest takes longer than frames may wait. What comes meanwhile is lost then, but not all of it.
#[test]
fn an_unplug_that_does_not_come_back_lets_frames_pass() {
    let mut world = World::before_detach();
    let twin = &world.hypervisor;
    twin.with(|vms| vms.vm_mut(uuid(1)).unwrap().refuses_unplug = true);
    world.tell();
    world.wait_problem(1, Code::VfDetachFailed);
    assert_eq!(holds(&world), 0);
    world.assert_on_vf(1);
}

#[test]
fn a_guest_that_never_drove_its_vf_is_never_held() {
    let mut world = World::settled(2);
    world.set_habits(
        1,
        Habits {
            vf_driver: false,
            ..Habits::default()
        },
    );
    world.hypervisor.stop(uuid(1));
    world.hypervisor.start(uuid(1)).unwrap();
    world.wait("VM 1 runs", is_quiet);
    world.want(1, LOW);
    world.tell();
    world.wait_problem(1, Code::GuestWithoutFailover);
    let calls = world.process().calls();
    assert!(calls.iter().any(|call| call.starts_with("unplug")));
    assert!(
        !calls.iter().any(|call| call.contains("Hold")),
        "{calls:#?}"
    );
}

/// Policy first: the tap has no place for a queue of ours, and what is there is somebody's.
#[test]
fn a_vm_leaves_its_vf_for_a_policy_that_takes_the_queues_place() {
    let mut world = World::accelerated(2);
    let tap = world.tap_of(1);
    let finding = PolicyFinding {
        kind: PolicyKind::TrafficControl,
        place: tap.to_string(),
        rule: "tbf rate 100Mbit".into(),
        name: None,
    };
    world.host.with(|machine| {
        machine.foreign_qdiscs.insert(tap.clone());
        machine.holds.remove(&tap);
        machine.port_mut(&tap).unwrap().hold_queue = false;
        machine.policy.insert(tap.clone(), vec![finding]);
        machine.tell(&HostEvent::TrafficControl(tap.to_string()));
    });
    let status = world.wait("VM 1 on its tap", |status| {
        path(status, 1) == NicPath::Synthetic && vm(status, 1).progress.is_none()
    });
    assert!(codes(&status, 1).contains(&Code::PolicyNotOffloadable));
    assert_eq!(world.vf_of(1), None);
    world.host.with(|machine| {
        assert!(machine.foreign_qdiscs.contains(&tap));
        assert!(
            !machine.holds.contains_key(&tap),
            "nothing of ours is on it"
        );
    });
    world.assert_on_vf(2);
    world.host.with(|machine| {
        machine.foreign_qdiscs.clear();
        machine.policy.clear();
        machine.tell(&HostEvent::TrafficControl(tap.to_string()));
    });
    world.wait_path(1, NicPath::Vf);
}

/// Whatever was set on the old one is not on the new one, and its counter begins anew.
#[test]
fn a_tap_that_is_made_anew_during_a_switch_over_is_put_in_order() {
    for (after, goal) in [(1, LOW), (700, LOW), (2500, LOW), (1, None), (700, None)] {
        let mut world = match goal {
            Some(_) => World::before_attach(),
            None => World::before_detach(),
        };
        let path = match goal {
            Some(_) => NicPath::Vf,
            None => NicPath::Synthetic,
        };
        world.tell();
        world.run_for(Duration::from_millis(after));
        let tap = world.tap_of(1);
        world.host.with(|machine| machine.make_tap_anew(&tap));
        world.wait_path(1, path);
        match path {
            NicPath::Vf => world.assert_on_vf(1),
            _ => world.assert_synthetic(1),
        }
        assert!(world.host.with(|machine| machine.holds.contains_key(&tap)));
        world.assert_free_vfs_clean();
    }
}
