//! Generations and the ledger.

use std::fs;

use accelnet_agent::ledger;
use accelnet_model::{Code, NicPath, Performance};

use crate::world::{World, is_quiet, path, uuid};

#[test]
fn an_older_generation_is_ignored() {
    let mut world = World::accelerated(1);
    let mut older = world.desired.clone();
    older.generation -= 1;
    older.vms[0].level = None;
    let calls = world.process().calls();
    let newer = std::mem::replace(&mut world.desired, older);
    world.repeat();
    world.desired = newer;
    world.wait("still on the VF", |status| {
        is_quiet(status) && path(status, 1) == NicPath::Vf
    });
    assert_eq!(world.process().calls(), calls);
}

/// Whoever a host belongs to numbers its wishes itself: after it has joined, or has left, a lower number is no older one,
/// and what was wanted before holds until there is a wish.
#[test]
fn a_host_that_joined_or_left_begins_anew() {
    let mut world = World::accelerated(1);
    world.desired.generation = 1000;
    world.tell();
    world.wait("told", |status| status.generation > 1000);
    for member in [Some(uuid(7)), Some(uuid(8)), None] {
        world.member = member;
        world.start(None);
        world.desired.generation = 0;
        world.wait("as it was", |status| {
            status.generation == 0 && path(status, 1) == NicPath::Vf
        });
        world.tell();
        world.wait("it follows", |status| status.generation == 1);
        world.assert_on_vf(1);
        // The same one again is told nothing old.
        world.start(None);
        world.wait("it goes on", |status| status.generation == 1);
    }
}

/// The agent alone, without a server, goes on with what it accepted.
#[test]
fn the_last_wish_is_kept() {
    let mut world = World::accelerated(1);
    world.start(None);
    world.hypervisor.stop(uuid(1));
    world.hypervisor.start(uuid(1)).unwrap();
    world.wait_path(1, NicPath::Vf);
}

#[test]
fn a_damaged_ledger_is_told_and_nothing_is_done_until_there_is_a_wish() {
    let mut world = World::accelerated(1);
    world.kill();
    fs::write(world.state_dir().join(ledger::FILE), "{ torn").unwrap();
    let known = std::mem::take(&mut world.desired);
    world.start(None);
    let damaged = |status: &accelnet_model::NodeStatus| {
        status
            .problems
            .iter()
            .any(|problem| problem.code == Code::StoreFailed)
    };
    world.wait("it is told", damaged);
    assert!(world.process().calls().is_empty());
    world.assert_on_vf(1);

    world.desired = known;
    world.tell();
    world.wait_path(1, NicPath::Vf);
    world.want(1, None);
    world.tell();
    world.wait_path(1, NicPath::Synthetic);
    world.assert_free_vfs_clean();
    // Nobody knows any more who keeps its tap from being flooded: it stays so, until somebody changes it.
    world.host.with(|machine| {
        let mut ports = machine.bridges[0].ports.iter_mut();
        ports.find(|port| !port.flood).unwrap().flood = true;
    });
    world.want(1, Some(Performance::Low));
    world.tell();
    world.wait_path(1, NicPath::Vf);
}

/// VMs come and go for years, each with a tap of its own.
#[test]
fn the_ledger_does_not_grow_with_every_start_of_a_vm() {
    let mut world = World::accelerated(2);
    for _ in 0..5 {
        world.hypervisor.stop(uuid(1));
        world.wait("VM 1 is off", |status| {
            path(status, 1) == NicPath::None && status.converged
        });
        world.hypervisor.start(uuid(1)).unwrap();
        world.wait_path(1, NicPath::Vf);
    }
    let kept = ledger::Ledger::load(world.state_dir()).unwrap();
    let ports = world.host.with(|machine| machine.bridges[0].ports.len());
    for turned_off in [&kept.learning_off, &kept.flood_off] {
        assert!(turned_off.len() <= ports, "{turned_off:?}");
    }
    // The uplink's own; those of VMs on VFs are taken out of the filter.
    assert!(kept.filtered.len() <= 2, "{:?}", kept.filtered);
}
