//! What others use or did is left alone, and said.

use std::time::Duration;

use accelnet_host::HostEvent;
use accelnet_model::{
    Code, HostdevFacts, MacAddr, NicFacts, NicPath, NodeStatus, Performance, PolicyFinding,
    PolicyKind, VfUser,
};

use crate::world::{World, codes, is_quiet, path, uuid, vm};

const LOW: Option<Performance> = Some(Performance::Low);

fn taken() -> VfUser {
    VfUser::Process {
        pid: 4711,
        command: "dpdk-app".into(),
    }
}

/// libvirt gives a VF of a pool of its own to VM 2 at the moment at which VM 1 is to have it. VM 1 gets another, at
/// once, and its address is not left behind on that one.
#[test]
fn of_a_vf_that_libvirt_gives_to_another_vm_meanwhile_another_is_tried() {
    let mut world = World::settled(2);
    let first = world.host.with(|machine| machine.adapters[0].vfs[0].pci);
    let own = MacAddr([2, 0, 0, 0, 0x99, 2]);
    // It is in libvirt's list before QEMU opens it, and nobody is told.
    world.hypervisor.with(|vms| {
        vms.vm_mut(uuid(2))
            .unwrap()
            .facts
            .hostdevs
            .push(HostdevFacts {
                pci: first,
                mac: Some(own),
                alias: Some("hostdev0".into()),
                teaming_with: None,
            });
    });
    world.want(1, LOW);
    world.tell();
    let host = world.host.clone();
    let carried = || host.with(|machine| machine.vf(first).unwrap().attributes.mac);
    let status = world.wait("VM 1 is on another VF", |status| {
        path(status, 1) == NicPath::Vf && carried() == own
    });
    assert_eq!(codes(&status, 1), []);
    assert_ne!(world.vf_of(1), Some(first));
    world.assert_on_vf(1);
    let gave_back = format!("VF 0 carries {own}");
    let calls = world.process().calls();
    let times = calls.iter().filter(|call| **call == gave_back).count();
    assert_eq!(times, 1, "{calls:?}");
}

/// libvirt gives a VF of a network of its own the address of the VM that starts; QEMU opens it a while later.
#[test]
fn a_vf_is_left_to_the_vm_whose_address_libvirt_has_given_it() {
    let mut world = World::settled(2);
    let vf = world.host.with(|machine| machine.adapters[0].vfs[0].pci);
    let own = MacAddr([2, 0, 0, 0, 0x99, 2]);
    world.hypervisor.with(|vms| {
        let nics = &mut vms.vm_mut(uuid(2)).unwrap().facts.nics;
        nics.push(NicFacts {
            mac: own,
            bridge: None,
            tap: None,
            alias: None,
            ..nics[0].clone()
        });
    });
    world.host.with(|machine| {
        machine.vf_mut(vf).unwrap().attributes.mac = own;
        machine.tell(&HostEvent::Link("pf0".into()));
    });
    let host = world.host.clone();
    let carried = || host.with(|machine| machine.vf(vf).unwrap().attributes.mac);
    world.run_for(Duration::from_secs(5));
    assert_eq!(carried(), own);
    let calls = world.process().calls();
    assert!(!calls.contains(&format!("reset {vf}")), "{calls:?}");
    // Nobody opens it.
    world.wait("it is clean", |_| carried().is_zero());
}

#[test]
fn a_vf_that_somebody_else_uses_is_never_touched() {
    let mut world = World::settled(2);
    // Six of seven are somebody's, each with attributes of its own.
    world.host.with(|machine| {
        for vf in &mut machine.adapters[0].vfs[..6] {
            vf.user = taken();
            vf.attributes.vlan = 7;
        }
    });
    // What was seen a moment ago would serve.
    world.run_for(Duration::from_secs(2));
    world.want(1, LOW);
    world.want(2, LOW);
    world.tell();
    let one = |status: &NodeStatus| {
        [1, 2]
            .into_iter()
            .filter(|vm| path(status, *vm) == NicPath::Vf)
            .count()
    };
    let status = world.wait("one VM on the last VF", |status| {
        one(status) == 1 && status.converged
    });
    let other = if path(&status, 1) == NicPath::Vf {
        2
    } else {
        1
    };
    assert!(!codes(&status, other).is_empty());
    world.host.with(|machine| {
        for vf in &machine.adapters[0].vfs[..6] {
            assert_eq!((vf.attributes.vlan, &vf.user), (7, &taken()));
        }
        // They come back as they are.
        for vf in &mut machine.adapters[0].vfs[..6] {
            vf.user = VfUser::Nobody;
        }
    });
    world.wait_path(other, NicPath::Vf);
    world.assert_free_vfs_clean();
}

#[test]
fn a_vf_that_does_not_come_clean_is_kept_back_and_reported_until_it_does() {
    let mut world = World::accelerated(1);
    let vf = world.vf_of(1).unwrap();
    world.host.with(|machine| machine.stubborn.insert(vf));
    world.want(1, None);
    world.tell();
    let quarantined = |status: &NodeStatus| {
        status.adapters[0]
            .quarantined
            .iter()
            .any(|problem| problem.code == Code::VfQuarantined)
    };
    let status = world.wait("the quarantine", |status| {
        quarantined(status) && status.converged
    });
    // Told as that, by every report until it ends, and as nothing else.
    assert_eq!(status.problems, []);
    world.assert_synthetic(1);
    world.want(1, LOW);
    world.tell();
    world.wait("on another VF", |status| {
        path(status, 1) == NicPath::Vf && quarantined(status)
    });
    assert_ne!(world.vf_of(1), Some(vf));
    world.host.with(|machine| machine.stubborn.clear());
    world.wait("clean at last", is_quiet);
    world.assert_free_vfs_clean();
}

#[test]
fn policy_that_comes_later_brings_the_vm_back_at_once() {
    let mut world = World::accelerated(2);
    let tap = world.tap_of(1);
    let finding = PolicyFinding {
        kind: PolicyKind::Firewall,
        place: tap.to_string(),
        rule: "drop".into(),
        name: None,
    };
    world.host.with(|machine| {
        machine.policy.insert(tap.clone(), vec![finding]);
        machine.tell(&HostEvent::Firewall);
    });
    let before = world.host.with(|machine| machine.now());
    let back = |status: &NodeStatus| {
        path(status, 1) == NicPath::Synthetic
            && status.converged
            && codes(status, 1).contains(&Code::PolicyNotOffloadable)
    };
    // By the event alone: nobody asks, and the time is that in which events are gathered.
    let on_tap = |status: &NodeStatus| path(status, 1) == NicPath::Synthetic;
    world.wait_report("on the tap", on_tap);
    let took = world.host.with(|machine| machine.now()) - before;
    assert!(took < Duration::from_secs(1), "{took:?}");
    world.wait_report("back on the tap", back);
    world.assert_synthetic(1);
    world.assert_on_vf(2);
    world.host.with(|machine| machine.policy.clear());
    world.wait_path(1, NicPath::Vf);
}

#[test]
fn without_libvirt_nothing_is_concluded() {
    let mut world = World::accelerated(2);
    let calls = world.process().calls();
    world.hypervisor.with(|vms| vms.down = true);
    let down = |status: &NodeStatus| {
        status
            .problems
            .iter()
            .any(|problem| problem.code == Code::HypervisorUnavailable)
    };
    let status = world.wait("libvirt is missed", down);
    assert!(status.vms.is_empty());
    world.want(2, None);
    world.tell();
    world.wait("a look with the new wish", down);
    assert_eq!(world.process().calls(), calls);
    for number in [1, 2] {
        world.assert_on_vf(number);
    }
    world.hypervisor.with(|vms| vms.down = false);
    world.wait_path(2, NicPath::Synthetic);
    world.assert_on_vf(1);
}

/// One VM's tap that somebody shapes is no reason to leave the others where they are.
#[test]
fn a_queue_of_somebody_else_concerns_its_vm_alone() {
    let mut world = World::settled(2);
    world.hypervisor.stop(uuid(2));
    world.hypervisor.start(uuid(2)).unwrap();
    let tap = world.tap_of(2);
    world
        .host
        .with(|machine| machine.foreign_qdiscs.insert(tap));
    world.want(1, LOW);
    world.tell();
    let status = world.wait("VM 1 on a VF", |status| path(status, 1) == NicPath::Vf);
    assert!(vm(&status, 1).problems.is_empty() && status.problems.is_empty());
    world.want(1, None);
    world.tell();
    // The path is the switch's a moment before the VF is unplugged.
    world.wait("and back", |status| {
        path(status, 1) == NicPath::Synthetic && vm(status, 1).progress.is_none()
    });
    world.assert_synthetic(1);
}

/// The definition of a VM that is off names six of seven, one with an address of its user's.
#[test]
fn a_vf_that_a_vm_needs_at_its_next_start_is_left_to_it() {
    let mut world = World::settled(2);
    world.add_vm(4);
    world.hypervisor.stop(uuid(4));
    let promised = world.host.with(|machine| {
        let vfs = &mut machine.adapters[0].vfs[..6];
        vfs[0].attributes.vlan = 7;
        vfs.iter().map(|vf| vf.pci).collect::<Vec<_>>()
    });
    world.hypervisor.with(|vms| {
        let facts = &mut vms.vm_mut(uuid(4)).unwrap().facts;
        facts.hostdevs_config = promised.clone();
    });
    world.run_for(Duration::from_secs(20));
    world.want(1, LOW);
    world.want(2, LOW);
    world.tell();
    let status = world.wait("one VM on the last VF", |status| {
        let on_vf = |vm: &u8| path(status, *vm) == NicPath::Vf;
        [1, 2].iter().filter(|vm| on_vf(vm)).count() == 1 && status.converged
    });
    let other = if path(&status, 1) == NicPath::Vf {
        2
    } else {
        1
    };
    let vms = &status.vms;
    let status = vms.iter().find(|vm| vm.facts.uuid == uuid(other)).unwrap();
    let why = &status.problems[0];
    assert_eq!(why.code, Code::VfInUseByOthers);
    assert!(
        why.detail.contains("is in the definition of VM 'vm4'"),
        "{why}"
    );
    world.host.with(|machine| {
        assert_eq!(machine.adapters[0].vfs[0].attributes.vlan, 7);
    });
    // It is deleted.
    world.hypervisor.with(|vms| {
        let facts = &mut vms.vm_mut(uuid(4)).unwrap().facts;
        facts.hostdevs_config.clear();
    });
    world.wait_path(other, NicPath::Vf);
    world.assert_free_vfs_clean();
}
