//! A NIC is added where a VM has none on the intent's bridge: once, whatever happens meanwhile.

use accelnet_hypervisor::twin::definition;
use accelnet_model::{Code, MacAddr, NicPath, NodeStatus, Performance, VmFacts, VmState};
use accelnet_rules::new_nic::address;

use crate::{
    crash::die_at_every_call,
    process::Fault,
    world::{World, codes, is_quiet, mac, name, uuid, vm},
};

const LOW: Option<Performance> = Some(Performance::Low);

fn added() -> MacAddr {
    address(uuid(1), &"compute".parse().unwrap(), 0)
}

/// VM 1 has its only NIC on another bridge, and `ports` free root ports; it runs or not. It is wanted
/// on a VF, with a NIC added for that.
fn world(ports: u32, runs: bool) -> World {
    let mut world = World::new(0);
    world
        .host
        .with(|machine| machine.add_network(&name("br1"), &name("pf1")));
    let facts = VmFacts {
        free_root_ports_config: ports,
        ..definition(uuid(1), "vm1", mac(1), &name("br1"))
    };
    world.hypervisor.define(facts);
    if runs {
        world.hypervisor.start(uuid(1)).unwrap();
    }
    world.want(1, LOW);
    world.desired.vms[0].add_nic = Some(added());
    world
}

fn facts(world: &World) -> VmFacts {
    world
        .hypervisor
        .with(|vms| vms.vm(uuid(1)).unwrap().facts.clone())
}

/// Addresses of the NICs that it has, and of those that come with its next start.
fn nics(world: &World) -> (Vec<MacAddr>, Vec<MacAddr>) {
    let facts = facts(world);
    let macs = |nics: &[accelnet_model::NicFacts]| nics.iter().map(|nic| nic.mac).collect();
    (macs(&facts.nics), macs(&facts.nics_staged))
}

/// The new NIC is on a VF.
fn on_vf(status: &NodeStatus) -> bool {
    let mut nics = vm(status, 1).nics.iter();
    nics.any(|nic| nic.mac == added() && nic.path == NicPath::Vf)
}

#[test]
fn a_running_vm_with_room_gets_it_at_once() {
    let mut world = world(2, true);
    world.start(None);
    world.tell();
    let status = world.wait("on a VF", |status| is_quiet(status) && on_vf(status));
    assert_eq!(nics(&world), (vec![mac(1), added()], vec![]));
    assert_eq!(vm(&status, 1).nics[0].path, NicPath::Synthetic);
    assert_eq!(vm(&status, 1).staged, [""; 0]);
    // It stays when it is no longer accelerated.
    world.want(1, None);
    world.tell();
    world.wait("back", |status| is_quiet(status) && !on_vf(status));
    assert_eq!(nics(&world), (vec![mac(1), added()], vec![]));
}

#[test]
fn without_room_it_comes_with_the_next_cold_start() {
    let mut world = world(1, true);
    world.start(None);
    world.tell();
    let status = world.wait_problem(1, Code::VmNeedsColdStart);
    assert_eq!(nics(&world), (vec![mac(1)], vec![added()]));
    assert_eq!(vm(&status, 1).staged, [format!("NIC {} on br0", added())]);
    // Also an agent that was started anew says so, and adds nothing more.
    world.start(None);
    world.repeat();
    let status = world.wait_problem(1, Code::VmNeedsColdStart);
    assert_eq!(vm(&status, 1).staged.len(), 1);
    world.hypervisor.stop(uuid(1));
    world.hypervisor.start(uuid(1)).unwrap();
    let status = world.wait("on a VF", |status| is_quiet(status) && on_vf(status));
    assert_eq!(nics(&world), (vec![mac(1), added()], vec![]));
    assert_eq!(vm(&status, 1).staged, [""; 0]);
}

#[test]
fn a_vm_that_is_off_gets_it_into_its_definition() {
    let mut world = world(2, false);
    world.start(None);
    world.tell();
    let status = world.wait("it is staged", |status| {
        is_quiet(status) && !vm(status, 1).staged.is_empty()
    });
    assert_eq!(facts(&world).state, VmState::Off);
    assert_eq!(nics(&world), (vec![mac(1), added()], vec![]));
    assert_eq!(vm(&status, 1).staged, [format!("NIC {} on br0", added())]);
    world.hypervisor.start(uuid(1)).unwrap();
    world.wait("on a VF", |status| is_quiet(status) && on_vf(status));
    assert_eq!(nics(&world), (vec![mac(1), added()], vec![]));
}

/// What libvirt refuses is told with its words, with the VM, and tried again.
#[test]
fn what_libvirt_refuses_is_told_and_tried_again() {
    let mut world = world(2, true);
    let at = calls_until_the_nic();
    world.start(Some(Fault::Fails { at, times: 1 }));
    world.tell();
    let refused = |status: &NodeStatus| codes(status, 1).contains(&Code::VmDefinitionNotChanged);
    let status = world.wait("it is refused", refused);
    assert!(
        !status.converged && status.problems.is_empty(),
        "{status:?}"
    );
    assert_eq!(codes(&status, 1), [Code::VmDefinitionNotChanged]);
    world.wait("on a VF", |status| is_quiet(status) && on_vf(status));
    let tries = world.process().calls().into_iter();
    let tries = tries.filter(|call| call.starts_with("NIC "));
    assert_eq!(tries.count(), 2);
    assert_eq!(nics(&world), (vec![mac(1), added()], vec![]));
}

fn calls_until_the_nic() -> usize {
    let mut world = world(2, true);
    world.start(None);
    world.tell();
    world.wait("on a VF", |status| is_quiet(status) && on_vf(status));
    let mut calls = world.process().calls().into_iter();
    calls.position(|call| call.starts_with("NIC ")).unwrap()
}

#[test]
fn a_crash_at_any_moment_adds_no_second_one() {
    die_at_every_call(
        || world(2, true),
        on_vf,
        |world| assert_eq!(nics(world), (vec![mac(1), added()], vec![])),
    );
}
