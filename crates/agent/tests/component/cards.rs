//! Cards that are not like an 82576, VFs that are somebody else's, and drivers of VFs.

use std::{collections::BTreeSet, time::Duration};

use accelnet_host::{Host, twin::Station};
use accelnet_model::{
    Code, MacAddr, NicPath, NodeStatus, PciAddress, Performance, VfAttributes, VfCount, VfUser,
};

use crate::world::{World, is_quiet, mac, name, uuid, vfs, vm};

const LOW: Option<Performance> = Some(Performance::Low);
/// An address that somebody gave a VF.
const THEIRS: MacAddr = MacAddr([0, 0, 0x5e, 0, 0x53, 0xa0]);

fn in_order(status: &NodeStatus) -> bool {
    status.converged && vfs(status) == 7
}

/// The VF with this number, also before there is any.
fn vf(world: &World, index: usize) -> PciAddress {
    world.host.with(|machine| {
        let adapter = &machine.adapters[0];
        let number = index as u8;
        PciAddress {
            device: 16 + number / 4,
            function: number % 4 * 2,
            ..adapter.pci
        }
    })
}

/// Two VMs on a card whose driver is ice of Linux 5.15.
fn exclusive() -> World {
    let mut world = World::new(2);
    world.host.with(|machine| {
        let adapter = &mut machine.adapters[0];
        adapter.driver = Some("ice".into());
        adapter.driver_version = Some("5.15.0-91-generic".into());
        machine.exclusive.insert(adapter.pci);
    });
    world.set_call_time(Duration::from_millis(1));
    world.settle();
    world
}

#[test]
fn where_an_address_cannot_be_at_both_only_what_comes_by_the_card_is_lost_and_not_for_long() {
    let mut world = exclusive();
    world.want(1, LOW);
    world.tell();
    // From when the VF has the address until the guest drives it.
    let limit = Duration::from_secs(5);
    let lost = |world: &World| !world.frame(1, Station::Wire).arrives();
    let begun = world.until("the VF has the address", limit, lost);
    let others = [Station::Host, Station::Guest(mac(2))];
    assert!(others.iter().all(|from| world.frame(1, *from).arrives()));
    let took = world.until_reached(&[1], &[Station::Wire], limit);
    assert!(took > Duration::ZERO, "{took:?} after {begun:?}");
    world.wait_path(1, NicPath::Vf);
    world.assert_on_vf(1);
    // Back: from when the guest has let go until the VF is cleaned.
    world.want(1, None);
    world.tell();
    world.until("the guest lets go", limit, lost);
    let took = world.until_reached(&[1], &[Station::Wire, Station::Host], limit);
    assert!(took < Duration::from_secs(1), "{took:?}");
    world.wait_path(1, NicPath::Synthetic);
    world.assert_synthetic(1);
    world.assert_free_vfs_clean();
}

#[test]
fn a_filter_that_is_too_small_refuses_new_vfs_and_says_so() {
    let mut world = World::new(20);
    world.host.with(|machine| machine.filter_room = 16);
    world.start(None);
    world.want(1, LOW);
    world.tell();
    let refused = |status: &NodeStatus| {
        let mut problems = vm(status, 1).problems.iter();
        problems.any(|problem| problem.code == Code::ReachabilityNotOffloadable)
    };
    let status = world.wait("the refusal", refused);
    let mut problems = vm(&status, 1).problems.iter();
    assert!(
        problems.any(|problem| problem.detail.contains("room for 16")),
        "{status:?}"
    );
    assert_eq!(world.vf_of(1), None);
}

#[test]
fn excluded_vfs_are_neither_bound_nor_given_out() {
    let mut world = World::new(2);
    let excluded: Vec<PciAddress> = (0..6).map(|index| vf(&world, index)).collect();
    world.desired.intents[0].exclude_vfs = excluded.clone();
    world.start(None);
    world.want(1, LOW);
    world.want(2, LOW);
    world.tell();
    let on_vf = |world: &World| (1..=2).filter(|vm| world.vf_of(*vm).is_some()).count();
    world.wait("the one VF is given", |status| {
        in_order(status) && status.vms.iter().any(|vm| vm.nics[0].path == NicPath::Vf)
    });
    assert_eq!(on_vf(&world), 1);
    // Their owner sets them up; we see it and leave it.
    world.host.with(|machine| {
        machine.vf_mut(excluded[2]).unwrap().attributes = VfAttributes::for_mac(THEIRS);
    });
    world.run_for(Duration::from_secs(120));
    world.host.with(|machine| {
        for pci in &excluded {
            let vf = machine.vf(*pci).unwrap();
            assert_eq!((&vf.driver, &vf.user), (&None, &VfUser::Nobody), "{pci}");
        }
        let theirs = machine.vf(excluded[2]).unwrap();
        assert_eq!(theirs.attributes, VfAttributes::for_mac(THEIRS));
    });
}

#[test]
fn a_vf_that_is_excluded_while_a_vm_has_it_is_cleaned_when_it_comes_back() {
    let mut world = World::accelerated(1);
    let had = world.vf_of(1).unwrap();
    world.desired.intents[0].exclude_vfs = vec![had];
    world.tell();
    world.want(1, None);
    world.tell();
    world.wait("back", is_quiet);
    let attributes = |world: &World| {
        world
            .host
            .with(|machine| machine.vf(had).unwrap().attributes.clone())
    };
    assert_eq!(attributes(&world), VfAttributes::baseline());
    world.want(1, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    assert_ne!(world.vf_of(1), Some(had));
}

#[test]
fn a_vf_that_somebody_set_up_before_us_is_his_until_he_takes_that_off() {
    let mut world = World::new(1);
    let pf = world.host.with(|machine| machine.adapters[0].pci);
    world.host.ensure_vf_count(pf, 7).unwrap();
    let theirs = vf(&world, 3);
    let carry = |world: &World, attributes| {
        world
            .host
            .with(|machine| machine.vf_mut(theirs).unwrap().attributes = attributes);
    };
    carry(&world, VfAttributes::for_mac(THEIRS));
    world.start(None);
    world.tell();
    let status = world.wait("the others are in order", in_order);
    let shown = status.adapters[0].facts.vfs[3].user.clone();
    assert!(
        matches!(&shown, VfUser::Others { why } if why.contains(&THEIRS.to_string())),
        "{shown:?}"
    );
    let bound = |world: &World| {
        world
            .host
            .with(|machine| machine.vf(theirs).unwrap().driver.is_some())
    };
    assert!(!bound(&world));
    carry(&world, VfAttributes::baseline());
    world.run_for(Duration::from_secs(120));
    assert!(bound(&world));
    // From now on it is ours, and what anybody sets on it is taken off.
    carry(&world, VfAttributes::for_mac(THEIRS));
    world.run_for(Duration::from_secs(120));
    world.assert_free_vfs_clean();
    // Also for an agent that starts anew.
    carry(&world, VfAttributes::for_mac(THEIRS));
    world.start(None);
    world.run_for(Duration::from_secs(120));
    world.assert_free_vfs_clean();
}

#[test]
fn vfs_on_the_variant_that_is_meant_for_the_card_are_in_order() {
    let drivers = |world: &World| {
        world.host.with(|machine| {
            let vfs = machine.adapters[0].vfs.iter();
            vfs.map(|vf| vf.driver.clone().unwrap_or_default())
                .collect::<BTreeSet<_>>()
        })
    };
    let only = |driver: &str| BTreeSet::from([driver.to_owned()]);
    let mut world = World::new(1);
    world
        .host
        .with(|machine| machine.vfio_driver = "mlx5_vfio_pci".into());
    world.settle();
    assert_eq!(drivers(&world), only("mlx5_vfio_pci"));
    world.want(1, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    // The VF in use keeps its driver until it comes back.
    world.desired.intents[0].vf_driver = "vfio-pci".parse().unwrap();
    world.tell();
    world.wait("the idle ones are bound anew", is_quiet);
    assert_eq!(drivers(&world).len(), 2);
    world.want(1, None);
    world.tell();
    world.wait("all are bound anew", is_quiet);
    assert_eq!(drivers(&world), only("vfio-pci"));
}

#[test]
fn an_adapter_that_an_update_renamed_is_found_by_its_old_name() {
    let mut world = World::accelerated(1);
    let had = world.vf_of(1);
    let rename = |world: &World, to: &str, others: &[&str]| {
        world.host.with(|machine| {
            let adapter = &mut machine.adapters[0];
            let before = std::mem::replace(&mut adapter.ifname, name(to));
            adapter.altnames = others.iter().map(|name| name.parse().unwrap()).collect();
            machine.port_mut(&before).unwrap().ifname = name(to);
        });
    };
    rename(&world, "pf0np0", &["pf0"]);
    world.run_for(Duration::from_secs(120));
    let status = world.wait("in order", is_quiet);
    assert_eq!(status.adapters[0].facts.ifname, name("pf0np0"));
    assert_eq!(world.vf_of(1), had);
    world.want(1, None);
    world.tell();
    world.wait("back", is_quiet);
    world.want(1, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    let nic = vm(&world.wait("quiet", is_quiet), 1).nics[0].clone();
    assert_eq!((nic.adapter, uuid(1)), (Some(name("pf0np0")), uuid(1)));
}

#[test]
fn two_masters_of_the_number_do_not_answer_each_other_without_end() {
    let mut world = World::settled(0);
    let pf = world.host.with(|machine| machine.adapters[0].pci);
    let count = |world: &World| {
        let calls = world.process().calls();
        calls.iter().filter(|call| call.contains("7 VFs")).count()
    };
    let before = count(&world);
    // What is there is taken as it is.
    world.host.ensure_vf_count(pf, 2).unwrap();
    world.run_for(Duration::from_secs(60));
    assert_eq!(count(&world), before);
    world.desired.intents[0].vfs = VfCount::Exactly(7);
    world.tell();
    let mut told = false;
    for _ in 0..60 {
        world.host.ensure_vf_count(pf, 2).unwrap();
        world.run_for(Duration::from_secs(10));
        told |= world
            .told
            .iter()
            .any(|problem| problem.code == Code::RepairRepeated);
    }
    let made = count(&world) - before;
    assert!(told && (1..15).contains(&made), "{told} {made}");
}
