//! Bridges that the agent makes: once, whole, again after a start, and never on what is somebody's.

use accelnet_agent::boot;
use accelnet_host::twin::Machine;
use accelnet_model::{Code, NicPath, NodeStatus, Performance};

use crate::{
    process::Fault,
    world::{World, is_quiet, name, uuid, vfs},
};

const LOW: Option<Performance> = Some(Performance::Low);

fn is_made(world: &World) -> bool {
    world.host.with(|machine| {
        let mut bridges = machine.bridges.iter();
        let found = bridges.find(|bridge| bridge.ifname == name("br0"));
        found.is_some_and(|bridge| {
            bridge.alias.as_deref() == Some("accelnet:compute")
                && bridge.port(&name("pf0")).is_some()
        })
    })
}

fn in_order(status: &NodeStatus) -> bool {
    status.converged && vfs(status) == 7
}

/// The bridge is there, and a VM on it is on a VF.
fn made_with_a_vm() -> World {
    let mut world = World::without_bridge();
    world.start(None);
    world.tell();
    world.wait("the bridge is made", in_order);
    world.add_vm(1);
    world.want(1, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    world
}

#[test]
fn it_is_made_and_carries_accelerated_vms() {
    let mut world = made_with_a_vm();
    assert!(is_made(&world));
    world.assert_on_vf(1);
    let calls = world.process().calls();
    assert_eq!(calls[..2], ["make br0", "pf0 into br0"]);
    world.wait("another look", is_quiet);
    assert_eq!(
        world.process().calls(),
        calls,
        "a second look changes nothing"
    );
}

#[test]
fn it_is_made_before_acceleration_is_enabled() {
    let mut world = World::without_bridge();
    world.desired.enabled = None;
    world.start(None);
    world.tell();
    world.wait("made", |status| {
        status.converged && !status.bridges.is_empty()
    });
    assert_eq!(world.process().calls(), ["make br0", "pf0 into br0"]);
}

#[test]
fn an_agent_that_dies_at_any_step_leaves_nothing_half_made() {
    for at in 0..3 {
        for carried_out in [false, true] {
            let mut world = World::without_bridge();
            world.start(Some(Fault::Dies { at, carried_out }));
            world.tell();
            let died = world.wait_or_death(&mut |status| in_order(status) && is_quiet(status));
            assert!(died.is_err(), "{at}");
            world.start(None);
            world.repeat();
            world.wait("made", in_order);
            assert!(is_made(&world), "{at} {carried_out}");
            assert_eq!(world.host.with(|machine| machine.bridges.len()), 1);
        }
    }
}

#[test]
fn a_kernel_that_refuses_is_asked_again_and_named() {
    let mut world = World::without_bridge();
    world.start(Some(Fault::Fails { at: 0, times: 5 }));
    world.tell();
    world.wait("told", |status| {
        let mut problems = status.problems.iter();
        problems.any(|problem| problem.objects.iter().any(|object| object.name == "br0"))
    });
    world.wait("made", in_order);
    assert!(is_made(&world));
}

#[test]
fn after_a_start_it_is_there_before_guests_look_for_it() {
    let mut world = made_with_a_vm();
    world.kill();
    world.hypervisor.stop(uuid(1));
    world.host.with(Machine::reboot);
    assert!(!is_made(&world));
    let outcome = boot(&world.host, world.state_dir());
    assert_eq!(outcome.failed, Vec::<String>::new());
    assert!(is_made(&world));
    assert!(boot(&world.host, world.state_dir()).done.is_empty(), "once");
    world.hypervisor.start(uuid(1)).unwrap();
    world.start(None);
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
}

#[test]
fn a_rule_finds_the_adapter_again_although_nobody_has_brought_it_up() {
    let mut world = World::without_bridge();
    world.desired.intents[0].adapters.clear();
    world.desired.intents[0].matching = "speed=1000,driver=igb".parse().ok();
    // For the rule to find it there is a link at first.
    world
        .host
        .with(|machine| machine.adapters[0].carrier = true);
    world.start(None);
    world.tell();
    world.wait("made", in_order);
    world.kill();
    world.host.with(Machine::reboot);
    // Without the early unit.
    world.start(None);
    world.wait("made again", in_order);
    assert!(is_made(&world));
}

#[test]
fn vfs_of_adapters_by_rule_come_back_from_the_ledger_alone() {
    let mut world = World::new(1);
    world.desired.intents[0].adapters.clear();
    world.desired.intents[0].matching = "pci=8086:10c9,speed=1000".parse().ok();
    world.start(None);
    world.want(1, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    world.kill();
    world.hypervisor.stop(uuid(1));
    world.host.with(|machine| {
        machine.reboot();
        machine.adapters[0].carrier = false;
        machine.adapters[0].speed_mbps = None;
    });
    let outcome = boot(&world.host, world.state_dir());
    assert_eq!(outcome.failed, Vec::<String>::new());
    world.assert_free_vfs_clean();
    world.host.with(|machine| {
        machine.adapters[0].carrier = true;
        machine.adapters[0].speed_mbps = Some(1000);
    });
    world.hypervisor.start(uuid(1)).unwrap();
    world.start(None);
    world.wait_path(1, NicPath::Vf);
}

#[test]
fn an_adapter_that_somebody_uses_is_left_to_him() {
    let mut world = World::without_bridge();
    let claim = "NetworkManager manages it";
    world
        .host
        .with(|machine| machine.adapters[0].claims = vec![claim.into()]);
    world.start(None);
    world.tell();
    let refused = |status: &NodeStatus| {
        let mut problems = status.problems.iter();
        problems
            .any(|problem| problem.code == Code::AdapterManaged && problem.detail.contains(claim))
    };
    world.wait("refused", refused);
    assert_eq!(world.process().calls(), [""; 0]);
    world
        .host
        .with(|machine| machine.adapters[0].claims.clear());
    world.wait("made", in_order);
    // At a start, too.
    world.kill();
    world.host.with(|machine| {
        machine.reboot();
        machine.adapters[0].claims = vec![claim.into()];
    });
    let outcome = boot(&world.host, world.state_dir());
    assert!(outcome.failed[0].contains(claim), "{outcome:?}");
    assert!(!is_made(&world));
}

#[test]
fn one_that_is_taken_away_is_made_again_and_that_is_said_if_it_does_not_last() {
    let mut world = World::without_bridge();
    world.start(None);
    world.tell();
    world.wait("made", in_order);
    for _ in 0..5 {
        world.host.with(|machine| {
            machine.bridges.clear();
            machine.adapters[0].master = None;
        });
        world.wait("made again", in_order);
    }
    assert!(
        world
            .told
            .iter()
            .any(|problem| problem.code == Code::RepairRepeated)
    );
}

#[test]
fn a_removed_intent_leaves_it_in_place_over_a_start_until_somebody_takes_it_away() {
    let mut world = World::without_bridge();
    world.start(None);
    world.tell();
    world.wait("made", in_order);
    world.desired.enabled = None;
    world.desired.intents.clear();
    world.tell();
    world.wait("forgotten", |status| status.converged);
    assert!(is_made(&world));
    world.kill();
    world.host.with(Machine::reboot);
    boot(&world.host, world.state_dir());
    assert!(is_made(&world));
    world.start(None);
    world.wait("seen", |status| status.converged);
    world.host.with(|machine| {
        machine.bridges.clear();
        machine.adapters[0].master = None;
    });
    world.wait("gone", |status| status.bridges.is_empty());
    world.kill();
    world.host.with(Machine::reboot);
    assert_eq!(
        boot(&world.host, world.state_dir()).done,
        Vec::<String>::new()
    );
    assert!(!is_made(&world));
}
