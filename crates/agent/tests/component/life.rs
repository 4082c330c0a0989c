//! What is wanted is done, once, and undone without a trace.

use accelnet_host::twin::Station;
use accelnet_model::{Code, NicPath, Performance, VfCount, VfUser};

use crate::world::{VLAN, World, is_quiet, mac, name, path, uuid, vfs, vm};

const LOW: Option<Performance> = Some(Performance::Low);

#[test]
fn enabling_makes_vfs_and_puts_the_software_path_in_order() {
    let mut world = World::settled(2);
    world.assert_free_vfs_clean();
    let done = world.process().calls();
    assert!(done.contains(&"7 VFs".to_owned()));
    for number in [1, 2] {
        world.assert_synthetic(number);
    }
    let status = world.wait("a second look", is_quiet);
    assert_eq!(path(&status, 1), NicPath::Synthetic);
    assert_eq!(
        world.process().calls(),
        done,
        "the second pass changes nothing"
    );
}

#[test]
fn a_new_agent_on_a_node_in_order_changes_nothing_but_the_queues_once() {
    let mut world = World::accelerated(1);
    world.start(None);
    let status = world.wait("in order", |status| {
        is_quiet(status) && path(status, 1) == NicPath::Vf
    });
    assert_eq!(vfs(&status), 7);
    // What waits in a queue cannot be seen, nor how long the ring behind it is.
    let tap = world.tap_of(1);
    assert_eq!(
        world.process().calls(),
        [format!("{tap}: Pass"), format!("{tap}: room")]
    );
}

#[test]
fn to_the_vf_and_back() {
    let mut world = World::settled(2);
    world.want(1, LOW);
    world.tell();
    let status = world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
    assert_eq!(vm(&status, 1).nics[0].vf, world.vf_of(1));
    assert_eq!(path(&status, 2), NicPath::Synthetic);
    let calls = world.process().calls();
    world.wait("another look", is_quiet);
    assert_eq!(world.process().calls(), calls);

    world.want(1, None);
    world.tell();
    world.wait_path(1, NicPath::Synthetic);
    world.assert_synthetic(1);
    world.assert_free_vfs_clean();
}

#[test]
fn a_vm_without_a_wish_is_left_alone_and_disabling_leaves_vms_as_they_are() {
    let mut world = World::accelerated(1);
    world.desired.vms.clear();
    world.tell();
    world.wait_path(1, NicPath::Vf);
    world.desired.enabled = None;
    world.tell();
    let calls = world.process().calls();
    world.wait("disabled", |status| {
        status.converged && path(status, 1) == NicPath::Vf
    });
    assert_eq!(world.process().calls(), calls);
    world.assert_on_vf(1);
}

/// Its VF carries the VLAN, and both of it reach each other and the wire all the time; not the host, which is in
/// another (the world looks after each step).
#[test]
fn a_vm_goes_to_a_vf_and_back_in_its_vlan() {
    let mut world = World::in_vlans(3);
    world.settle();
    world.want(1, Some(Performance::Low));
    world.tell();
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
    for (from, arrives) in [
        (Station::Guest(mac(2)), true),
        (Station::Wire, true),
        (Station::Host, false),
        (Station::Guest(mac(3)), false),
    ] {
        assert_eq!(world.frame(1, from).arrives(), arrives, "{from:?}");
    }
    let mut its = world.port(&name("pf0")).fdb;
    its.retain(|entry| entry.mac == mac(1));
    assert!(
        its.iter().all(|entry| entry.vlan == Some(VLAN)) && !its.is_empty(),
        "{its:?}"
    );
    world.want(1, None);
    world.tell();
    world.wait_path(1, NicPath::Synthetic);
    world.assert_synthetic(1);
}

#[test]
fn six_vms_at_once_never_share_a_vf_and_four_switch_at_a_time() {
    let mut world = World::accelerated(6);
    let mut vfs: Vec<_> = (1..=6).map(|number| world.vf_of(number).unwrap()).collect();
    vfs.sort_unstable();
    vfs.dedup();
    assert_eq!(vfs.len(), 6);
    assert_eq!(world.most_busy, 4);
    for number in 1..=6 {
        world.want(number, None);
    }
    world.tell();
    for number in 1..=6 {
        world.wait_path(number, NicPath::Synthetic);
        world.assert_synthetic(number);
    }
    world.assert_free_vfs_clean();
}

#[test]
fn the_vm_that_finds_no_vf_says_so_and_gets_one_that_comes_free() {
    let mut world = World::settled(8);
    for number in 1..=8 {
        world.want(number, LOW);
    }
    world.tell();
    let on_vf = |status: &accelnet_model::NodeStatus| {
        (1..=8)
            .filter(|number| path(status, *number) == NicPath::Vf)
            .count()
    };
    let status = world.wait("seven on VFs", |status| {
        on_vf(status) == 7 && status.converged
    });
    let last = (1..=8)
        .find(|number| path(&status, *number) != NicPath::Vf)
        .unwrap();
    assert!(!vm(&status, last).problems.is_empty());
    let other = if last == 1 { 2 } else { 1 };
    world.want(other, None);
    world.tell();
    world.wait_path(last, NicPath::Vf);
}

#[test]
fn existing_vfs_in_use_are_kept_whatever_number_is_wanted() {
    let mut world = World::accelerated(1);
    let before = world.vf_of(1);
    world.desired.intents[0].vfs = VfCount::Exactly(3);
    world.tell();
    let status = world.wait("the refusal", |status| {
        status
            .problems
            .iter()
            .any(|problem| problem.code == Code::VfCountNotPossible)
    });
    assert_eq!((vfs(&status), world.vf_of(1)), (7, before));
    world.wait("still on it", |status| path(status, 1) == NicPath::Vf);
    world.host.with(|machine| {
        assert_ne!(machine.vf(before.unwrap()).unwrap().user, VfUser::Nobody);
        assert!(machine.port(&name("pf0")).is_some());
    });
}

#[test]
fn what_a_vm_lacks_is_staged_once_and_used_after_its_next_cold_start() {
    let mut world = World::settled(1);
    world.hypervisor.with(|vms| {
        let facts = &mut vms.vm_mut(uuid(1)).unwrap().facts;
        (facts.nics[0].standby_config, facts.free_root_ports_config) = (false, 0);
    });
    world.hypervisor.stop(uuid(1));
    world.hypervisor.start(uuid(1)).unwrap();
    world.want(1, LOW);
    world.desired.vms[0].prepare = true;
    world.tell();
    world.wait_problem(1, Code::VmNeedsColdStart);
    world.wait("it is staged", |status| vm(status, 1).staged.len() == 2);
    world.wait("another look", |status| status.converged);
    let calls = world.process().calls();
    assert_eq!(calls.iter().filter(|call| *call == "prepare").count(), 1);
    world.hypervisor.stop(uuid(1));
    world.hypervisor.start(uuid(1)).unwrap();
    world.wait_path(1, NicPath::Vf);
}

#[test]
fn a_full_filter_is_told_and_keeps_further_vms_off_vfs() {
    let mut world = World::accelerated(1);
    let room = world.host.with(|machine| machine.adapters[0].filter.len());
    world.host.with(|machine| machine.filter_room = room + 1);
    for number in [2, 3] {
        world.add_vm(number);
    }
    world.want(2, LOW);
    world.tell();
    let full = |status: &accelnet_model::NodeStatus| {
        let texts = status.problems.iter().map(|problem| &problem.detail);
        texts.into_iter().any(|text| text.contains("is full"))
    };
    let status = world.wait("it is told", full);
    assert_eq!(path(&status, 2), NicPath::Synthetic);
    world.host.with(|machine| machine.filter_room = 64);
    world.wait_path(2, NicPath::Vf);
}
