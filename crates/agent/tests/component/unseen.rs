//! What cannot be seen, or takes long, costs only itself.

use std::time::Duration;

use accelnet_agent::event::Effect;
use accelnet_host::twin::{Machine, Station};
use accelnet_model::{Code, NicPath, NodeStatus, Performance};
use accelnet_rules::action::{Action, Lane};

use crate::world::{World, codes, is_quiet, is_vms_look, mac, name, path, uuid, vm};

const LOW: Option<Performance> = Some(Performance::Low);
/// A look at the machine comes at the latest after this.
const A_LOOK: Duration = Duration::from_secs(11);

fn unreadable(world: &World, vm: u8, why: Option<&str>) {
    world.hypervisor.with(|vms| {
        vms.vm_mut(uuid(vm)).unwrap().unreadable = why.map(str::to_owned);
        vms.tell(accelnet_hypervisor::HypervisorEvent::Vm(uuid(vm)));
    });
}

fn told(status: &NodeStatus, code: Code) -> bool {
    status.problems.iter().any(|problem| problem.code == code)
}

/// Somebody empties the filter: VMs on VFs do not reach those on taps until it is put right.
fn empty_filter(world: &mut World) {
    world.host.with(|machine| {
        machine
            .guests
            .iter_mut()
            .for_each(|guest| guest.excused = true);
        machine.adapters[0].filter.clear();
    });
}

fn frames_are_put_right(world: &mut World) {
    empty_filter(world);
    assert!(!world.frame(2, Station::Guest(mac(1))).arrives());
    world.until_reached(
        &[1, 2, 3],
        &[Station::Guest(mac(1)), Station::Host, Station::Wire],
        A_LOOK,
    );
    world.no_excuse();
}

#[test]
fn one_vm_that_cannot_be_read_costs_only_itself() {
    for vm in [1, 2] {
        let mut world = World::beside();
        world.add_vm(4);
        world.run_for(Duration::from_secs(1));
        let vfs = [1, 3].map(|vm| world.vf_of(vm));
        unreadable(&world, vm, Some("its XML is odd"));
        let unseen = |status: &NodeStatus| {
            let unseen = status.unseen_vms.iter();
            let unseen: Vec<_> = unseen.map(|vm| vm.uuid).collect();
            unseen == [uuid(vm)] && status.vms.iter().all(|seen| seen.facts.uuid != uuid(vm))
        };
        world.wait("it is told", unseen);
        // The others are served.
        world.want(4, LOW);
        world.tell();
        world.wait("VM 4 on a VF", |status| {
            unseen(status) && path(status, 4) == NicPath::Vf
        });
        world.want(3, None);
        world.tell();
        world.wait("VM 3 on its tap", |status| {
            path(status, 3) == NicPath::Synthetic
        });
        // Its frames go on, and are put right.
        frames_are_put_right(&mut world);
        world.run_for(Duration::from_secs(60));
        assert_eq!(world.vf_of(1), vfs[0]);
        world.assert_on_vf(1);
        unreadable(&world, vm, None);
        world.wait_path(1, NicPath::Vf);
        world.wait_path(2, NicPath::Synthetic);
        world.assert_synthetic(2);
        world.assert_free_vfs_clean();
    }
}

/// A list of VMs and nothing of any is not "no VMs".
#[test]
fn libvirt_that_answers_the_list_and_nothing_else() {
    let mut world = World::beside();
    let calls = world.process().calls();
    for vm in 1..=3 {
        unreadable(&world, vm, Some("no XML"));
    }
    world.wait("all are unseen", |status| status.unseen_vms.len() == 3);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.process().calls(), calls);
    frames_are_put_right(&mut world);
    for vm in 1..=3 {
        unreadable(&world, vm, None);
    }
    world.wait_path(1, NicPath::Vf);
    for vm in [1, 3] {
        world.assert_on_vf(vm);
    }
    world.assert_synthetic(2);
}

/// An agent that starts has never seen it. Its VF is nobody's to clean or to give out.
#[test]
fn an_agent_that_starts_and_cannot_read_a_vm_leaves_its_vf_alone() {
    let mut world = World::beside();
    world.kill();
    unreadable(&world, 1, Some("no XML"));
    world.start(None);
    world.repeat();
    world.wait("it is unseen", |status| status.unseen_vms.len() == 1);
    world.want(2, LOW);
    world.tell();
    world.run_for(Duration::from_secs(60));
    let vf = world.vf_of(1).unwrap();
    let carries = world
        .host
        .with(|machine| machine.vf(vf).unwrap().attributes.mac);
    assert_eq!(carries, mac(1));
    unreadable(&world, 1, None);
    world.wait_path(1, NicPath::Vf);
    world.wait_path(2, NicPath::Vf);
    world.assert_on_vf(1);
    world.assert_free_vfs_clean();
}

#[test]
fn parts_of_the_machine_that_cannot_be_read_are_told_and_nothing_is_concluded() {
    let hide: [fn(&mut Machine, bool); 5] = [
        |machine, hidden| machine.unreadable.node = hidden,
        |machine, hidden| machine.unreadable.adapters = hidden,
        |machine, hidden| machine.unreadable.bridges = hidden,
        |machine, hidden| match hidden {
            true => machine.unreadable.adapter.extend([name("pf0")]),
            false => machine.unreadable.adapter.clear(),
        },
        |machine, hidden| machine.unreadable.policy = hidden,
    ];
    for (part, hide) in hide.into_iter().enumerate() {
        let mut world = World::beside();
        let vfs = [1, 3].map(|vm| world.vf_of(vm));
        world.host.with(|machine| hide(machine, true));
        // Policy that is not known is policy: the VM is not left on a path on which it might not hold.
        let policy = part == 4;
        world.wait("it is told", |status| match policy {
            true => codes(status, 1).contains(&Code::PolicyNotOffloadable),
            false => told(status, Code::HostOperationFailed) && !status.converged,
        });
        world.run_for(Duration::from_secs(60));
        if !policy {
            assert_eq!([1, 3].map(|vm| world.vf_of(vm)), vfs, "part {part}");
            // A VM that stops meanwhile is no trouble.
            world.hypervisor.stop(uuid(3));
            world.run_for(Duration::from_secs(15));
            world.hypervisor.start(uuid(3)).unwrap();
            world.run_for(Duration::from_secs(15));
        }
        world.host.with(|machine| hide(machine, false));
        for vm in [1, 3] {
            world.wait_path(vm, NicPath::Vf);
            world.assert_on_vf(vm);
        }
        world.assert_synthetic(2);
        world.assert_free_vfs_clean();
    }
}

#[test]
fn an_adapter_that_makes_no_vfs_or_cannot_be_read_keeps_no_vm_off_the_other() {
    let spoil: [fn(&mut Machine); 2] = [
        |machine| {
            let pf = machine.adapters[1].pci;
            machine.refuses_vfs.insert(pf);
        },
        |machine| machine.unreadable.adapter.extend([name("pf1")]),
    ];
    for spoil in spoil {
        let mut world = World::bonded(2);
        world.host.with(spoil);
        world.start(None);
        world.want(1, LOW);
        world.want(2, LOW);
        world.tell();
        for vm in [1, 2] {
            world.wait("on the adapter that is whole", |status| {
                path(status, vm) == NicPath::Vf
            });
        }
        world.wait("the other is told of", |status| {
            let told = |problem: &accelnet_model::Problem| {
                problem.detail.contains("pf1") || problem.detail.contains("0000:02:00.0")
            };
            status.problems.iter().any(told)
        });
        world.host.with(|machine| {
            machine.refuses_vfs.clear();
            machine.unreadable.adapter.clear();
        });
        world.wait("VFs on both", |status| {
            is_quiet(status)
                && status.adapters.len() == 2
                && status.adapters[1].facts.vfs.len() == 7
        });
    }
}

#[test]
fn a_libvirt_that_hangs_keeps_no_answer_back_and_no_frame_lost() {
    let mut world = World::beside();
    world.take_long(is_vms_look, Duration::MAX);
    let begun = world.now();
    let status = world.look().unwrap();
    let took = world.now() - begun;
    assert!(took <= Duration::from_secs(6), "{took:?}");
    assert!(
        told(&status, Code::HypervisorUnavailable),
        "{:?}",
        status.problems
    );
    frames_are_put_right(&mut world);
    // A guest that leaves its VF is reached at once.
    let pid = world.pid(1);
    world.host.with(|machine| machine.set_vf_driver(pid, false));
    let limit = Duration::from_millis(60);
    world.until_reached(
        &[1, 2, 3],
        &[Station::Host, Station::Wire, Station::Guest(mac(3))],
        limit,
    );
    world.no_excuse();
    world.host.with(|machine| machine.set_vf_driver(pid, true));
    world.no_excuse();
    world.run_for(Duration::from_secs(20));
    world.assert_on_vf(1);
    // Who asks then is answered as soon.
    let begun = world.now();
    world.look().unwrap();
    assert!(world.now() - begun <= Duration::from_secs(6));
}

/// It answers after half a minute each time.
#[test]
fn a_libvirt_that_is_slow_is_waited_for_where_it_matters() {
    let mut world = World::beside();
    world.take_long(is_vms_look, Duration::from_secs(30));
    world.want(1, None);
    world.tell();
    world.wait("VM 1 on its tap", |status| {
        path(status, 1) == NicPath::Synthetic && vm(status, 1).progress.is_none()
    });
    world.assert_synthetic(1);
    world.run_for(Duration::from_secs(60));
    world.assert_free_vfs_clean();
}

fn makes_vfs(effect: &Effect) -> bool {
    let Effect::Do(Lane::Adapter(_), actions) = effect else {
        return false;
    };
    let mut actions = actions.iter();
    actions.any(|(_, action)| matches!(action, Action::CreateVfs { .. }))
}

/// 65 s, as some cards need, in which the kernel tells nothing of that adapter.
#[test]
fn vfs_that_take_a_minute_to_be_made_blind_nobody() {
    let mut world = World::bonded(3);
    world.desired.intents[0].adapters = vec!["pf0".parse().unwrap()];
    world.start(None);
    world.want(1, LOW);
    world.tell();
    world.wait_path(1, NicPath::Vf);
    world.take_long(makes_vfs, Duration::from_secs(65));
    world.desired.intents[0]
        .adapters
        .push("pf1".parse().unwrap());
    world.tell();
    let begun = world.now();
    let making = |machine: &mut Machine| machine.making.len();
    let limit = Duration::from_secs(2);
    world.until("they are being made", limit, |world| {
        world.host.with(making) == 1
    });
    frames_are_put_right(&mut world);
    world.want(2, LOW);
    world.tell();
    world.wait("VM 2 on a VF", |status| path(status, 2) == NicPath::Vf);
    world.want(1, None);
    world.tell();
    world.wait("VM 1 on its tap", |status| {
        path(status, 1) == NicPath::Synthetic
    });
    assert!(
        world.now() - begun < Duration::from_secs(40),
        "{:?}",
        world.now() - begun
    );
    assert_eq!(world.host.with(making), 1, "they are still being made");
    let status = world.wait("they are there", |status| {
        status.adapters[1].facts.vfs.len() == 7
    });
    assert!(world.now() - begun >= Duration::from_secs(65));
    assert_eq!(codes(&status, 2), []);
    world.wait("in order", is_quiet);
}
