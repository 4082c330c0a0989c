//! An active-backup bond as uplink: VMs use VFs of the member that the bond uses, and follow it.

use std::time::Duration;

use accelnet_host::twin::Machine;
use accelnet_model::{Levels, MacAddr, NicPath, NodeStatus, Performance, Support};

use crate::{
    process::Fault,
    world::{World, codes, is_quiet, mac, name, path, uuid, vm},
};

const LOW: Option<Performance> = Some(Performance::Low);

/// The adapter whose VF a VM really uses.
fn adapter(status: &NodeStatus, number: u8) -> Option<&str> {
    let nic = &vm(status, number).nics[0];
    let used = nic.adapter.as_ref().filter(|_| nic.path == NicPath::Vf);
    used.map(|adapter| adapter.as_str())
}

fn all_by(status: &NodeStatus, vms: u8, member: &str) -> bool {
    is_quiet(status) && (1..=vms).all(|number| adapter(status, number) == Some(member))
}

fn link(world: &World, member: &str, carrier: bool) {
    world
        .host
        .with(|machine| machine.set_link(&name(member), carrier));
}

/// VMs 1 to `vms` are on VFs of `pf0`.
fn accelerated(vms: u8) -> World {
    let mut world = World::bonded(vms);
    world.start(None);
    for number in 1..=vms {
        world.want(number, LOW);
    }
    world.tell();
    world.wait("on the used member", |status| all_by(status, vms, "pf0"));
    world
}

/// Everything of a VM on a VF of this member is where it belongs.
fn assert_on(world: &World, number: u8, member: &str) {
    let vf = world.vf_of(number).unwrap();
    world.host.with(|machine: &mut Machine| {
        let mut adapters = machine.adapters.iter();
        let its = adapters
            .find(|adapter| adapter.ifname == name(member))
            .unwrap();
        assert!(
            its.vfs.iter().any(|found| found.pci == vf),
            "{vf} of {member}"
        );
        assert!(!its.filter.contains(&mac(number)));
        let bond = machine.port(&name("bond0")).unwrap();
        assert!(bond.learning);
        assert!(
            bond.fdb
                .iter()
                .any(|entry| entry.mac == mac(number) && entry.fixed)
        );
        let carry = machine.adapters.iter().flat_map(|adapter| &adapter.vfs);
        let carry = carry.filter(|found| found.attributes.mac == mac(number));
        assert_eq!(carry.count(), 1, "no other VF carries its address");
    });
}

#[test]
fn vfs_are_on_every_member_and_vms_on_those_of_the_used_one() {
    let mut world = accelerated(3);
    for number in 1..=3 {
        assert_on(&world, number, "pf0");
    }
    world.host.with(|machine| {
        let counts: Vec<usize> = machine
            .adapters
            .iter()
            .map(|adapter| adapter.vfs.len())
            .collect();
        assert_eq!(counts, [7, 7]);
    });
    let calls = world.process().calls();
    world.wait("another look", is_quiet);
    assert_eq!(world.process().calls(), calls);
    world.want(2, None);
    world.tell();
    world.wait_path(2, NicPath::Synthetic);
}

#[test]
fn vms_follow_a_failover_and_stay_where_they_are_when_the_other_comes_back() {
    let mut world = accelerated(3);
    link(&world, "pf0", false);
    let status = world.wait("on the other", |status| all_by(status, 3, "pf1"));
    assert_eq!(path(&status, 1), NicPath::Vf);
    for number in 1..=3 {
        assert_on(&world, number, "pf1");
    }
    let calls = world.process().calls();
    link(&world, "pf0", true);
    world.wait("it is back", |status| all_by(status, 3, "pf1"));
    assert_eq!(
        world.process().calls(),
        calls,
        "the bond uses the same member on"
    );
    link(&world, "pf1", false);
    world.wait("back on the first", |status| all_by(status, 3, "pf0"));
}

#[test]
fn a_limit_that_cannot_be_lifted_without_link_delays_nobody_and_goes_with_the_next_link() {
    let mut world = World::bonded(1);
    world.desired.intents[0].levels = Levels {
        max_tx_rate_mbps: "Low=100".parse().unwrap(),
        ..Levels::default()
    };
    world.start(None);
    world.want(1, LOW);
    world.tell();
    world.wait("on the used member", |status| all_by(status, 1, "pf0"));
    let vf = world.vf_of(1).unwrap();
    let limit = |world: &World| {
        let facts = world
            .host
            .with(|machine| machine.vf(vf).unwrap().attributes.clone());
        (facts.mac, facts.max_tx_rate_mbps)
    };
    link(&world, "pf0", false);
    world.wait("on the other", |status| {
        assert_eq!(codes(status, 1), [], "nothing failed for the VM");
        all_by(status, 1, "pf1")
    });
    assert_eq!(limit(&world), (MacAddr::ZERO, Support::Supported(100)));
    link(&world, "pf0", true);
    world.wait("clean", is_quiet);
    world.assert_free_vfs_clean();
}

#[test]
fn a_backup_without_link_keeps_nobody_back_and_a_bond_without_any_moves_nobody() {
    let mut world = World::bonded(1);
    link(&world, "pf1", false);
    world.start(None);
    world.want(1, LOW);
    world.tell();
    world.wait("on the used member", |status| all_by(status, 1, "pf0"));
    link(&world, "pf0", false);
    world.wait("no link at all", |status| {
        status.converged && path(status, 1) == NicPath::Synthetic
    });
    assert_eq!(world.vf_of(1), None, "it takes frames by its tap");
    link(&world, "pf0", true);
    world.wait("a link", |status| all_by(status, 1, "pf0"));
}

#[test]
fn an_agent_that_dies_during_a_failover_goes_on_with_it() {
    let mut survived = false;
    for at in 0..40 {
        let mut world = accelerated(1);
        world.process().dies_after(at, at % 2 == 0);
        link(&world, "pf0", false);
        let ended = world.wait_or_death(&mut |status| all_by(status, 1, "pf1"));
        survived = ended.is_ok();
        if survived {
            break;
        }
        world.start(None);
        world.repeat();
        world.wait("on the other", |status| all_by(status, 1, "pf1"));
        assert_on(&world, 1, "pf1");
    }
    assert!(survived, "every step was tried");
}

#[test]
fn a_step_that_fails_during_a_failover_is_tried_again() {
    for at in [0, 3, 7, 12] {
        let mut world = accelerated(2);
        world.kill();
        link(&world, "pf0", false);
        world.start(Some(Fault::Fails { at, times: 1 }));
        world.repeat();
        world.wait("on the other", |status| all_by(status, 2, "pf1"));
    }
}

#[test]
fn a_node_that_starts_again_has_vfs_on_both() {
    let mut world = accelerated(1);
    world.kill();
    world.hypervisor.stop(uuid(1));
    world.host.with(Machine::reboot);
    let outcome = accelnet_agent::boot(&world.host, world.state_dir());
    assert_eq!(outcome.failed, Vec::<String>::new());
    let counts = world.host.with(|machine| {
        let adapters = machine.adapters.iter();
        adapters
            .map(|adapter| adapter.vfs.len())
            .collect::<Vec<_>>()
    });
    assert_eq!(counts, [7, 7]);
    world.hypervisor.start(uuid(1)).unwrap();
    world.start(None);
    world.wait("on the used member", |status| all_by(status, 1, "pf0"));
}

/// A VF comes back with each failover, and is cleaned: nobody else's doing, however often.
#[test]
fn failovers_one_after_the_other_are_no_drift() {
    let mut world = accelerated(1);
    for _ in 0..6 {
        for (fails, member) in [("pf0", "pf1"), ("pf1", "pf0")] {
            link(&world, fails, false);
            world.wait("on the other member", |status| {
                adapter(status, 1) == Some(member)
            });
            link(&world, fails, true);
            world.run_for(Duration::from_secs(2));
            assert_eq!(world.look().unwrap().problems, [], "{member}");
        }
    }
    world.assert_free_vfs_clean();
}
