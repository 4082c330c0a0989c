//! What somebody changes behind the agent's back is put right.

use std::time::Duration;

use accelnet_host::twin::Machine;
use accelnet_model::{Code, NicPath, NodeStatus, Problem, Support, VfAttributes, VfUser};

use crate::world::{World, is_quiet, mac, name, path, uuid, vm};

#[test]
fn attributes_of_a_vf_in_use_are_put_right() {
    let drifts: [fn(&mut VfAttributes); 5] = [
        |has| has.vlan = 7,
        |has| has.trust = Support::Supported(true),
        |has| has.spoofchk = Support::Supported(false),
        |has| has.max_tx_rate_mbps = Support::Supported(10),
        |has| has.mac = mac(99),
    ];
    for drift in drifts {
        let mut world = World::accelerated(2);
        let vf = world.vf_of(1).unwrap();
        world.host.with(|machine| {
            drift(&mut machine.vf_mut(vf).unwrap().attributes);
            machine.guests[0].excused = true;
        });
        world.wait_path(1, NicPath::Vf);
        world.assert_on_vf(1);
        assert_eq!(world.vf_of(1), Some(vf));
    }
}

#[test]
fn free_vfs_are_brought_back_to_the_baseline() {
    let mut world = World::settled(1);
    world.host.with(|machine| {
        machine.adapters[0].vfs[3].attributes.trust = Support::Supported(true);
        machine.adapters[0].vfs[4].driver = Some("igbvf".into());
    });
    world.wait("in order", is_quiet);
    world.assert_free_vfs_clean();
}

/// Entries, filters and learning: taken away or set wrongly while VM 1 is on its VF and VM 2 on its
/// tap.
#[test]
fn bridge_and_filter_are_put_right() {
    let mut world = World::accelerated(2);
    world.want(2, None);
    world.tell();
    world.wait_path(2, NicPath::Synthetic);
    world.host.with(|machine| {
        machine.adapters[0].filter.clear();
        let mut ports = machine.bridges[0].ports.iter_mut();
        let uplink = ports.find(|port| port.ifname == name("pf0")).unwrap();
        uplink.fdb.retain(|entry| entry.local);
        machine
            .guests
            .iter_mut()
            .for_each(|guest| guest.excused = true);
    });
    world.wait("in order", |status| {
        is_quiet(status) && path(status, 1) == NicPath::Vf
    });
    world.assert_on_vf(1);
    world.assert_synthetic(2);
}

/// What somebody has changed is counted; what VMs make necessary that come, go and change their paths is not.
#[test]
fn what_others_change_is_counted() {
    let mut world = World::accelerated(2);
    world.hypervisor.stop(uuid(2));
    world.wait("VM 2 is off", is_quiet);
    world.hypervisor.start(uuid(2)).unwrap();
    world.wait_path(2, NicPath::Vf);
    world.want(1, None);
    world.tell();
    let status = world.wait_path(1, NicPath::Synthetic);
    assert_eq!(status.repairs, 0);
    let vf = world.vf_of(2).unwrap();
    world.host.with(|machine| {
        let attributes = &mut machine.vf_mut(vf).unwrap().attributes;
        attributes.trust = Support::Supported(true);
    });
    let status = world.wait("put right", |status| is_quiet(status) && status.repairs > 0);
    assert_eq!(status.repairs, 1);
}

/// What cannot be put right is no reason to keep the VM on a VF without its policy, or to cut it off.
#[test]
fn a_vf_that_cannot_be_put_right_is_given_up() {
    let mut world = World::accelerated(2);
    let vf = world.vf_of(1).unwrap();
    world.host.with(|machine| {
        machine.stubborn.insert(vf);
        machine.vf_mut(vf).unwrap().attributes.trust = Support::Supported(true);
    });
    let elsewhere = |status: &NodeStatus| {
        let now = &vm(status, 1).nics[0];
        now.path == NicPath::Vf && now.vf != Some(vf)
    };
    world.wait("VM 1 on another VF", elsewhere);
    world.assert_on_vf(1);
    world.assert_on_vf(2);
    world
        .host
        .with(|machine| assert!(machine.vf(vf).unwrap().user == VfUser::Nobody));
}

/// Undoes a repair whenever it was done, for `time`; how often it was done.
fn fight(
    world: &mut World,
    time: u64,
    call: &str,
    undo: impl Fn(&mut Machine),
) -> (usize, NodeStatus) {
    let done = |world: &World| {
        let calls = world.process().calls();
        calls.iter().filter(|found| found.contains(call)).count()
    };
    let before = done(world);
    let mut status = None;
    for _ in 0..time {
        world.host.with(&undo);
        world.run_for(Duration::from_secs(1));
        status = world.look();
    }
    (done(world) - before, status.unwrap())
}

fn told(status: &NodeStatus) -> Vec<Code> {
    status.problems.iter().map(|problem| problem.code).collect()
}

/// Two programs that do not agree do not fight all day: repairs become rare, and then fail by name.
#[test]
fn what_is_undone_again_and_again_rests_and_then_fails() {
    let mut world = World::settled(1);
    let trusts = |machine: &mut Machine| {
        machine.adapters[0].vfs[3].attributes.trust = Support::Supported(true);
    };
    // At once three times, then after rests of 5, 10 and 20 s.
    let (repairs, status) = fight(&mut world, 30, "VF 3 carries", trusts);
    assert!((5..=7).contains(&repairs), "{repairs}");
    assert_eq!(told(&status), [Code::RepairRepeated]);
    // Two minutes at most.
    let (repairs, status) = fight(&mut world, 900, "VF 3 carries", trusts);
    assert!((7..=12).contains(&repairs), "{repairs}");
    assert_eq!(told(&status), [Code::RepairFailed]);
    assert!(status.problems[0].detail.contains("safe baseline"));
    // Left alone it is put right, and forgotten.
    world.wait("in order", is_quiet);
    world.assert_free_vfs_clean();
}

/// What frames depend on is put right every time: no VM is out of reach because we rest.
#[test]
fn what_frames_depend_on_is_put_right_every_time_and_told() {
    let mut world = World::settled(1);
    let forgets = |machine: &mut Machine| {
        // What is lost until the next look is the other program's doing.
        machine.guests[0].excused = true;
        machine.adapters[0].filter.retain(|other| *other != mac(1));
    };
    let call = format!("pf0 filters {}: true", mac(1));
    let (repairs, status) = fight(&mut world, 30, &call, forgets);
    assert!((26..=31).contains(&repairs), "{repairs}");
    let told = |problem: &&Problem| problem.detail.contains("the filter of pf0");
    let found = status.problems.iter().find(told);
    assert_eq!(found.unwrap().code, Code::RepairFailed);
    world.wait("in order", is_quiet);
    world.assert_synthetic(1);
}

/// A VF in use stays where it is, whoever changes it how often.
#[test]
fn a_vf_in_use_that_is_changed_again_and_again_is_kept() {
    let mut world = World::accelerated(1);
    let vf = world.vf_of(1).unwrap();
    world.host.with(|machine| machine.guests[0].excused = true);
    let count = |world: &World, words: &[&str]| {
        let calls = world.process().calls();
        let found = |call: &&String| words.iter().any(|word| call.contains(word));
        calls.iter().filter(found).count()
    };
    let interruptions = ["unplug", "reset"];
    let before = count(&world, &interruptions);
    let repairs = count(&world, &["carries"]);
    let mut last = None;
    for _ in 0..300 {
        world.host.with(|machine| {
            let attributes = &mut machine.vf_mut(vf).unwrap().attributes;
            attributes.max_tx_rate_mbps = Support::Supported(10);
        });
        world.run_for(Duration::from_secs(1));
        last = world.look();
    }
    assert_eq!(world.vf_of(1), Some(vf));
    assert_eq!(count(&world, &interruptions), before);
    let repairs = count(&world, &["carries"]) - repairs;
    assert!((6..40).contains(&repairs), "{repairs}");
    assert_eq!(told(&last.unwrap()), [Code::RepairFailed]);
    world.wait("in order", is_quiet);
    world.assert_on_vf(1);
}
