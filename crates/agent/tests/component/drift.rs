//! What somebody changes behind the agent's back is put right.

use accelnet_model::{NicPath, NodeStatus, Support, VfAttributes, VfUser};

use crate::world::{World, is_quiet, mac, name, path, vm};

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
        uplink.learning = true;
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
    world
        .host
        .with(|machine| assert!(!machine.port(&name("pf0")).unwrap().learning));
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
