//! What a level stands for is had, changed and given back: vectors of a pool, a limit, queues.

use accelnet_model::{Code, Levels, NicPath, NodeStatus, Performance, QueuePairs, Support, VfUser};

use crate::{
    crash::die_at_every_call,
    process::Fault,
    world::{World, is_quiet, path, uuid, vm},
};

const LOW: Option<Performance> = Some(Performance::Low);
const HIGH: Option<Performance> = Some(Performance::High);

/// VFs keep two vectors each while they are idle; 35 are enough for High on all seven.
const VECTORS: u32 = 35;

/// A node with a pool, in order; its VMs have eight vCPUs.
fn pool(vms: u8) -> World {
    pool_of(vms, false)
}

/// The same with a card that does not show what a VF has.
fn pool_of(vms: u8, hidden: bool) -> World {
    let mut world = World::pool(vms, VECTORS);
    world.host.with(|machine| machine.vectors_hidden = hidden);
    for number in 1..=vms {
        world.hypervisor.with(|all| {
            let facts = &mut all.vm_mut(uuid(number)).unwrap().facts;
            facts.vcpus = 8;
            facts.nics[0].queues_config = 8;
        });
    }
    world.settle();
    world
}

fn vectors_of(world: &World, number: u8) -> Support<u32> {
    let vf = world.vf_of(number).expect("the VM has a VF");
    world
        .host
        .with(|machine| machine.vf(vf).unwrap().msix_vectors)
}

/// Idle VFs are bound, clean, and keep two vectors; no more are given out than there are.
fn assert_pool_in_order(world: &World) {
    world.assert_free_vfs_clean();
    world.host.with(|machine| {
        let vfs = &machine.adapters[0].vfs;
        for vf in vfs.iter().filter(|vf| vf.user == VfUser::Nobody) {
            assert_eq!(vf.msix_vectors, Support::Supported(2), "{}", vf.pci);
        }
        let all: u32 = vfs.iter().filter_map(|vf| vf.msix_vectors.value()).sum();
        assert!(all <= VECTORS, "{all}");
    });
}

fn on_vf(number: u8) -> impl Fn(&NodeStatus) -> bool {
    move |status| path(status, number) == NicPath::Vf
}

#[test]
fn a_vf_has_what_its_level_costs_and_gives_it_back() {
    let mut world = pool(2);
    assert_pool_in_order(&world);
    world.want(1, HIGH);
    world.want(2, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    let status = world.wait_path(2, NicPath::Vf);
    assert_eq!(vectors_of(&world, 1), Support::Supported(5));
    assert_eq!(vectors_of(&world, 2), Support::Supported(2));
    // The guest has taken three vectors: two channels.
    let pairs = |number| vm(&status, number).nics[0].queue_pairs;
    let expected = |allotted, effective| {
        Some(QueuePairs {
            allotted,
            effective,
        })
    };
    assert_eq!(pairs(1), expected(4, 2));
    assert_eq!(pairs(2), expected(1, 1));
    world.want(1, None);
    world.tell();
    world.wait_path(1, NicPath::Synthetic);
    world.wait("the VF keeps what an idle one needs", is_quiet);
    assert_pool_in_order(&world);
}

#[test]
fn another_level_is_had_by_way_of_the_tap() {
    let mut world = pool(2);
    world.want(1, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    for (level, vectors) in [(HIGH, 5), (LOW, 2)] {
        world.want(1, level);
        world.tell();
        let as_wanted = |status: &NodeStatus| is_quiet(status) && path(status, 1) == NicPath::Vf;
        world.wait("the other level", as_wanted);
        assert_eq!(vectors_of(&world, 1), Support::Supported(vectors));
        world.assert_on_vf(1);
        assert_pool_in_order(&world);
    }
}

/// Some cards do not show what a VF has: then the ledger knows, over a restart of the agent too.
#[test]
fn a_card_that_does_not_show_vectors_is_no_worse() {
    let mut world = pool_of(2, true);
    assert_pool_in_order(&world);
    for (level, vectors) in [(LOW, 2), (HIGH, 5)] {
        world.start(None);
        world.want(1, level);
        world.tell();
        let status = world.wait_path(1, NicPath::Vf);
        assert_eq!(vectors_of(&world, 1), Support::Supported(vectors));
        let pairs = vm(&status, 1).nics[0].queue_pairs.unwrap();
        assert_eq!(pairs.allotted, vectors - 1);
        assert_pool_in_order(&world);
    }
    // Nothing is done again for want of knowing.
    world.start(None);
    world.repeat();
    world.wait("still in order", is_quiet);
    let changes = |call: &&String| call.contains("vectors") || call.contains("plug");
    let calls = world.process().calls();
    assert_eq!(calls.iter().find(changes), None);
    // After a restart of the machine its VFs have what the driver gives them.
    world.kill();
    for number in [1, 2] {
        world.hypervisor.stop(uuid(number));
    }
    world.host.with(|machine| {
        machine.reboot();
        machine.node.boot_id = "another".into();
    });
    assert_eq!(
        accelnet_agent::boot(&world.host, world.state_dir()).failed,
        [""; 0]
    );
    for number in [1, 2] {
        world.hypervisor.start(uuid(number)).unwrap();
    }
    world.start(None);
    world.wait_path(1, NicPath::Vf);
    assert_eq!(vectors_of(&world, 1), Support::Supported(5));
    assert_pool_in_order(&world);
}

#[test]
fn killed_while_the_pool_is_divided() {
    die_at_every_call(
        || {
            let mut world = World::pool(1, VECTORS);
            world
                .host
                .with(|machine| machine.adapters[0].filter.clear());
            world.desired.vms.clear();
            world
        },
        |status| status.adapters[0].facts.vfs.len() == 7,
        assert_pool_in_order,
    );
}

#[test]
fn killed_while_a_vm_goes_to_a_vf_or_changes_its_level() {
    for hidden in [false, true] {
        killed_on_the_way(hidden);
    }
}

fn killed_on_the_way(hidden: bool) {
    die_at_every_call(
        || {
            let mut world = pool_of(2, hidden);
            world.want(1, HIGH);
            world
        },
        on_vf(1),
        |world| {
            assert_eq!(vectors_of(world, 1), Support::Supported(5));
            assert_pool_in_order(world);
        },
    );
    die_at_every_call(
        || {
            let mut world = pool_of(2, hidden);
            world.want(1, LOW);
            world.tell();
            world.wait_path(1, NicPath::Vf);
            world.want(1, HIGH);
            world
        },
        on_vf(1),
        |world| {
            assert_eq!(vectors_of(world, 1), Support::Supported(5));
            world.assert_on_vf(1);
            assert_pool_in_order(world);
        },
    );
}

#[test]
fn killed_while_a_vm_comes_back() {
    die_at_every_call(
        || {
            let mut world = pool(2);
            world.want(1, HIGH);
            world.tell();
            world.wait_path(1, NicPath::Vf);
            world.want(1, None);
            world
        },
        |status| path(status, 1) == NicPath::Synthetic,
        |world| {
            world.assert_synthetic(1);
            assert_pool_in_order(world);
        },
    );
}

/// A card that refuses vectors leaves the VM where it was, and is asked again after a rest.
#[test]
fn vectors_that_are_refused_leave_the_vm_on_its_tap() {
    let mut world = pool(1);
    world.want(1, HIGH);
    world.start(Some(Fault::Fails { at: 1, times: 1 }));
    world.tell();
    world.wait_path(1, NicPath::Vf);
    let call = &world.process().calls()[1];
    assert!(call.ends_with("has 5 vectors"), "{call}");
    let told = |code| world.told.iter().any(|problem| problem.code == code);
    assert!(told(Code::VfAttachFailed), "{:?}", world.told);
    assert_pool_in_order(&world);
}

/// Somebody took more vectors for an idle VF than it needs: it is put right before they are missed.
#[test]
fn idle_vfs_do_not_hoard() {
    let mut world = pool(1);
    let drift = |machine: &mut accelnet_host::twin::Machine| {
        machine.adapters[0].vfs[6].msix_vectors = Support::Supported(20);
        machine.adapters[0].vfs[5].driver = None;
    };
    world.host.with(drift);
    world.want(1, HIGH);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    assert_pool_in_order(&world);
}

#[test]
fn a_limit_is_set_and_follows_the_level_without_a_move() {
    let mut world = World::settled(1);
    world.desired.intents[0].levels = Levels {
        max_tx_rate_mbps: "Low=100,Medium=500".parse().unwrap(),
        ..Levels::default()
    };
    for (level, rate) in [(Performance::Low, 100), (Performance::Medium, 500)] {
        world.want(1, Some(level));
        world.tell();
        world.wait_path(1, NicPath::Vf);
        let vf = world.vf_of(1).unwrap();
        let found = world
            .host
            .with(|machine| machine.vf(vf).unwrap().attributes.clone());
        assert_eq!(found.max_tx_rate_mbps, Support::Supported(rate));
    }
    let unplugs = |call: &&String| call.starts_with("unplug");
    assert_eq!(world.process().calls().iter().filter(unplugs).count(), 0);
    world.want(1, None);
    world.tell();
    world.wait_path(1, NicPath::Synthetic);
    world.assert_free_vfs_clean();
}

#[test]
fn queues_of_the_software_path_are_staged_and_told_until_the_cold_start() {
    let mut world = World::settled(1);
    world.want(1, Some(Performance::Medium));
    world.tell();
    let status = world.wait_path(1, NicPath::Vf);
    let staged = &vm(&status, 1).staged;
    assert_eq!(staged.len(), 1, "{staged:?}");
    assert!(staged[0].contains("2 queues"), "{staged:?}");
    world.hypervisor.stop(uuid(1));
    world.wait("off", |status| {
        path(status, 1) == NicPath::None && status.converged
    });
    world.hypervisor.start(uuid(1)).unwrap();
    let status = world.wait_path(1, NicPath::Vf);
    assert_eq!(vm(&status, 1).staged, Vec::<String>::new());
    assert_eq!(vm(&status, 1).facts.nics[0].queues_live, 2);
}

/// A definition that takes no queues keeps nothing back, and is not asked at every look.
#[test]
fn queues_that_are_refused_keep_nothing_back() {
    let mut world = World::settled(1);
    world.want(1, Some(Performance::Medium));
    world.start(Some(Fault::Refuses { call: "prepare" }));
    world.tell();
    world.wait("on the VF all the same", |status| {
        path(status, 1) == NicPath::Vf && vm(status, 1).progress.is_none()
    });
    let prepared = |call: &&String| call.as_str() == "prepare";
    let tries = world.process().calls().iter().filter(prepared).count();
    assert!((1..=3).contains(&tries), "{tries}");
}
