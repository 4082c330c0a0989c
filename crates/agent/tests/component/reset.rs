//! A host that is given back is as it was before accelnet, and no VM loses its path by that.

use accelnet_agent::{
    ledger::Ledger,
    reset::{self, Plan, Seen},
};
use accelnet_host::HoldQueue;
use accelnet_model::{
    AdapterFacts, BridgeFacts, BridgePort, Code, NicPath, Performance, Problem, Support,
    VfAttributes, VfCount, VfUser,
};

use crate::world::{World, mac, name, uuid};

/// What is seen and decided, with a hypervisor that answers.
fn planned(world: &World) -> (Ledger, Seen, Plan) {
    let ledger = Ledger::load(world.state_dir()).unwrap();
    let seen = reset::look(&world.host, Some(&world.hypervisor), &ledger).unwrap();
    let plan = reset::plan(&ledger, &seen);
    (ledger, seen, plan)
}

/// Does it, and has nothing left to do then.
#[track_caller]
fn given_back(world: &World) {
    let (ledger, seen, plan) = planned(world);
    assert_eq!(plan.refused, []);
    for (words, ended) in reset::carry_out(&plan, &seen, &world.host, &world.hypervisor) {
        assert_eq!(ended, Ok(()), "{words}");
    }
    let seen = reset::look(&world.host, Some(&world.hypervisor), &ledger).unwrap();
    // A queue is told again: whether it holds cannot be read.
    let mut again = reset::plan(&ledger, &seen);
    again
        .actions
        .retain(|action| !matches!(action, accelnet_rules::action::Action::HoldQueue { .. }));
    assert_eq!(again.actions, []);
}

/// Bridges and adapters but for counters, what the bridge learned, the pinned address, and queues, which stay.
fn parts(world: &World) -> (Vec<AdapterFacts>, Vec<BridgeFacts>) {
    world.host.with(|machine| {
        let mut bridges = machine.bridges.clone();
        for bridge in &mut bridges {
            bridge.mac_pinned = false;
            for port in &mut bridge.ports {
                port.rx_packets = 0;
                port.hold_queue = false;
                port.fdb.retain(|entry| entry.fixed);
            }
        }
        (machine.adapters.clone(), bridges)
    })
}

fn texts(problems: &[Problem]) -> String {
    let texts: Vec<&str> = problems
        .iter()
        .map(|problem| problem.detail.as_str())
        .collect();
    texts.join("; ")
}

#[test]
fn what_was_made_is_undone_and_the_host_is_as_it_was() {
    let mut world = World::new(2);
    let before = parts(&world);
    world.settle();
    for level in [Some(Performance::Low), None] {
        for vm in [1, 2] {
            world.want(vm, level);
        }
        world.tell();
        let path = level.map_or(NicPath::Synthetic, |_| NicPath::Vf);
        for vm in [1, 2] {
            world.wait_path(vm, path);
        }
    }
    world.wait("all is settled", |status| status.converged);
    world.kill();
    assert_ne!(parts(&world), before);
    given_back(&world);
    assert_eq!(parts(&world), before);
    world.host.with(|machine| {
        assert_eq!(
            machine.adapters[0].drivers_autoprobe,
            Support::Supported(true)
        );
        let held = |hold: &HoldQueue| *hold != HoldQueue::Pass;
        assert!(!machine.holds.values().any(held), "{:?}", machine.holds);
    });
    assert_eq!((world.vf_of(1), world.vf_of(2)), (None, None));
}

#[test]
fn as_long_as_a_vm_has_its_vf_nothing_is_done() {
    let mut world = World::accelerated(1);
    world.kill();
    let (ledger, seen, plan) = planned(&world);
    assert_eq!(plan.actions, []);
    assert!(
        texts(&plan.refused).contains("VM 'vm1' has VF"),
        "{:?}",
        plan.refused
    );
    assert!(
        plan.refused[0].cure.contains("'accelnet vm disable vm1'"),
        "{:?}",
        plan.refused
    );
    assert_eq!(
        reset::carry_out(&plan, &seen, &world.host, &world.hypervisor).len(),
        0
    );
    // Without libvirt the kernel says who has it.
    let seen = reset::look(&world.host, None, &ledger).unwrap();
    let plan = reset::plan(&ledger, &seen);
    let pid = world.pid(1);
    assert!(
        texts(&plan.refused).contains(&format!("Process {pid} ")),
        "{:?}",
        plan.refused
    );
    assert_eq!(plan.actions, []);
    world.assert_on_vf(1);
}

#[test]
fn a_vm_that_is_off_and_names_a_vf_needs_it() {
    let mut world = World::settled(2);
    world.kill();
    let vf = world.host.with(|machine| machine.adapters[0].vfs[3].pci);
    world
        .hypervisor
        .with(|vms| vms.vm_mut(uuid(2)).unwrap().facts.hostdevs_config.push(vf));
    let (_, _, plan) = planned(&world);
    assert!(
        texts(&plan.refused).contains("The definition of VM 'vm2' names VF"),
        "{:?}",
        plan.refused
    );
    assert_eq!(plan.actions, []);
}

#[test]
fn vfs_of_others_stay_and_what_the_host_uses_is_named() {
    let mut world = World::settled(0);
    world.kill();
    world.host.with(|machine| {
        machine.adapters[0].vfs[0].user = VfUser::HostDriver {
            driver: "igbvf".into(),
        };
    });
    let (_, _, plan) = planned(&world);
    assert!(
        texts(&plan.refused).contains("(driver igbvf)"),
        "{:?}",
        plan.refused
    );
    // After the host's next start somebody else made VFs, before accelnet did.
    world.host.with(|machine| {
        machine.reboot();
        machine.node.boot_id = "another".into();
        let fresh = World::settled(0)
            .host
            .with(|other| other.adapters[0].vfs[..2].to_vec());
        machine.adapters[0].vfs = fresh;
    });
    let (_, _, plan) = planned(&world);
    assert_eq!((plan.refused, plan.actions), (vec![], vec![]));
    assert!(
        plan.stays[0].contains("2 VFs, which accelnet did not make"),
        "{:?}",
        plan.stays
    );
}

/// Two VFs were there, and became seven: two are there again.
#[test]
fn what_was_before_is_there_again() {
    let mut world = World::new(0);
    let two = World::settled(0)
        .host
        .with(|other| other.adapters[0].vfs[..2].to_vec());
    world.host.with(|machine| machine.adapters[0].vfs = two);
    world.desired.intents[0].vfs = VfCount::Exactly(7);
    world.settle();
    world.kill();
    given_back(&world);
    assert_eq!(world.host.with(|machine| machine.adapters[0].vfs.len()), 2);
}

/// VFs that were only taken in hand are given back clean, and are as many as they were.
#[test]
fn vfs_that_were_not_made_are_cleaned() {
    let mut world = World::new(1);
    let seven = World::settled(0)
        .host
        .with(|other| other.adapters[0].vfs.clone());
    world.host.with(|machine| machine.adapters[0].vfs = seven);
    world.settle();
    world.want(1, Some(Performance::Low));
    world.tell();
    world.wait_path(1, NicPath::Vf);
    world.kill();
    let vf = world.vf_of(1).unwrap();
    // Its VM goes while nobody looks.
    world.hypervisor.stop(uuid(1));
    let carried = || {
        world
            .host
            .with(|machine| machine.vf(vf).unwrap().attributes.clone())
    };
    assert_eq!(carried().mac, mac(1));
    given_back(&world);
    assert!(carried().fulfils(&VfAttributes::baseline()));
    assert_eq!(world.host.with(|machine| machine.adapters[0].vfs.len()), 7);
}

#[test]
fn what_was_not_seen_is_not_taken_for_nothing() {
    let mut world = World::settled(1);
    world.kill();
    let ledger = Ledger::load(world.state_dir()).unwrap();
    let look = |world: &World| reset::look(&world.host, Some(&world.hypervisor), &ledger);
    world.host.with(|machine| {
        machine.unreadable.adapter.insert(name("pf0"));
    });
    let problems = look(&world).unwrap_err();
    assert!(
        texts(&problems).contains("pf0 could not be looked at"),
        "{problems:?}"
    );
    world
        .host
        .with(|machine| machine.unreadable = Default::default());
    world.host.with(|machine| machine.unreadable.bridges = true);
    assert_eq!(look(&world).unwrap_err()[0].code, Code::HostOperationFailed);
    world
        .host
        .with(|machine| machine.unreadable = Default::default());
    assert!(look(&world).is_ok());
    world.hypervisor.with(|vms| vms.down = true);
    let problems = look(&world).unwrap_err();
    assert_eq!(problems[0].code, Code::HypervisorUnavailable);
    assert!(problems[0].cure.contains("--without-libvirt"));
    assert!(reset::look(&world.host, None, &ledger).is_ok());
}

/// Where libvirt sets the entries of taps itself they are all that VMs are reached by.
#[test]
fn entries_at_a_tap_that_others_keep_from_being_flooded_stay() {
    let mut world = World::settled(1);
    world.kill();
    let tap = world.tap_of(1);
    world
        .host
        .with(|machine| machine.port_mut(&tap).unwrap().flood = false);
    let fixed = |port: &BridgePort| {
        port.fdb
            .iter()
            .any(|entry| entry.fixed && entry.mac == mac(1))
    };
    assert!(fixed(&world.port(&tap)));
    given_back(&world);
    assert!(fixed(&world.port(&tap)));
}
