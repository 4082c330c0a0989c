//! Another intent takes the place of the enabled one: what is on the old one's network stays as it is.

use accelnet_hypervisor::twin::definition;
use accelnet_model::{
    Intent, IntentType, Levels, NicPath, NodeStatus, Performance, VfCount, VfDriver,
};

use crate::world::{World, is_quiet, mac, name, uuid, vfs, vm};

const LOW: Option<Performance> = Some(Performance::Low);

fn second() -> Intent {
    Intent {
        name: "second".parse().unwrap(),
        types: vec![IntentType::Compute],
        adapters: vec!["pf1".parse().unwrap()],
        matching: None,
        bridge: name("br1"),
        create: false,
        vfs: VfCount::Auto,
        levels: Levels::default(),
        vf_driver: VfDriver::default(),
        exclude_vfs: Vec::new(),
    }
}

/// VM 1 has a NIC on each of two networks, each of which has an intent. It is on a VF of the first
/// one's adapter, where acceleration is enabled.
fn on_the_first() -> World {
    let mut world = World::new(0);
    world
        .host
        .with(|machine| machine.add_network(&name("br1"), &name("pf1")));
    let mut facts = definition(uuid(1), "vm1", mac(1), &name("br0"));
    let mut nic = facts.nics[0].clone();
    nic.mac.0[4] = 0x88;
    nic.bridge = Some(name("br1"));
    facts.nics.push(nic);
    world.hypervisor.define(facts);
    world.hypervisor.start(uuid(1)).unwrap();
    world.desired.intents.push(second());
    world.start(None);
    world.want(1, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    world
}

/// Acceleration is enabled on the intent, and this is wanted for VM 1 there, if anything ever was.
fn enable(world: &mut World, intent: &str, level: Option<Option<Performance>>) {
    world.desired.enabled.as_mut().unwrap().intent = intent.parse().unwrap();
    world.desired.vms.clear();
    if let Some(level) = level {
        world.want(1, level);
    }
    world.tell();
}

fn paths(status: &NodeStatus) -> Vec<NicPath> {
    vm(status, 1).nics.iter().map(|nic| nic.path).collect()
}

#[test]
fn what_is_on_the_old_intent_stays_and_is_found_again() {
    let mut world = on_the_first();
    let first = world.vf_of(1).unwrap();

    enable(&mut world, "second", None);
    let status = world.wait("the second is in order", |status| {
        is_quiet(status) && status.adapters[1].facts.vfs.len() == 7
    });
    assert_eq!(paths(&status), [NicPath::Vf, NicPath::Synthetic]);
    assert_eq!((world.vfs_of(1), vfs(&status)), (vec![first], 7));

    enable(&mut world, "second", Some(LOW));
    let status = world.wait("both on VFs", |status| {
        is_quiet(status) && paths(status) == [NicPath::Vf, NicPath::Vf]
    });
    assert_eq!(vm(&status, 1).nics[1].adapter, Some(name("pf1")));
    assert_eq!(world.vfs_of(1).len(), 2);

    // Back on this network: the other is not waited for, and not touched.
    enable(&mut world, "second", Some(None));
    let status = world.wait("the second NIC is back", |status| {
        is_quiet(status) && paths(status)[1] == NicPath::Synthetic
    });
    assert_eq!(paths(&status)[0], NicPath::Vf);
    assert_eq!(world.vfs_of(1), [first]);

    let before = world.process().calls().len();
    enable(&mut world, "compute", Some(LOW));
    let status = world.wait("the first as it was", is_quiet);
    assert_eq!(paths(&status), [NicPath::Vf, NicPath::Synthetic]);
    let calls = world.process().calls();
    assert_eq!(
        calls.len(),
        before,
        "adopted as found: {:?}",
        &calls[before..]
    );
    world.assert_on_vf(1);
}

/// A VM that stopped meanwhile gave its VF back dirty; that is put in order when it is managed again.
#[test]
fn a_vf_that_came_back_meanwhile_is_cleaned_when_its_intent_is_enabled_again() {
    let mut world = on_the_first();
    enable(&mut world, "second", None);
    world.wait("the second is in order", is_quiet);
    world.hypervisor.stop(uuid(1));
    world.wait("nothing to do for the second", is_quiet);
    enable(&mut world, "compute", Some(LOW));
    world.wait("the first in order", is_quiet_but_off);
    world.assert_free_vfs_clean();
    world.hypervisor.start(uuid(1)).unwrap();
    world.wait_path(1, NicPath::Vf);
}

/// Everything is in order but that the VM is off.
fn is_quiet_but_off(status: &NodeStatus) -> bool {
    status.converged && status.problems.is_empty()
}
