//! Whatever happens in whatever order ends as it is wanted.
//!
//! Nothing but the wish and VMs changes here; what else may happen is in [`crate::weather`].

use accelnet_model::{
    NicPath, NodeStatus, Performance, Support, VfAttributes, VfCount, VfFacts, VfUser,
};
use proptest::prelude::*;

use crate::world::{World, is_quiet, path, uuid};

pub const VMS: u8 = 4;
/// VFs that somebody else may take, so that one is left for each VM.
const FOREIGN: usize = 3;

#[derive(Debug, Clone, Copy)]
pub enum Event {
    Accelerate(u8, Performance),
    Decelerate(u8),
    Stop(u8),
    Start(u8),
    Reboot(u8),
    Kill,
    DieAfter {
        more: usize,
        carried_out: bool,
    },
    Take,
    Release,
    /// The agent looks; what it begins goes on while the next event comes.
    Look,
    /// The agent comes to rest.
    Rest,
}

pub fn any_event() -> impl Strategy<Value = Event> {
    let vm = 1..=VMS;
    prop_oneof![
        4 => (vm.clone(), prop_oneof![Just(Performance::Low), Just(Performance::Medium)])
            .prop_map(|(vm, level)| Event::Accelerate(vm, level)),
        2 => vm.clone().prop_map(Event::Decelerate),
        1 => vm.clone().prop_map(Event::Stop),
        1 => vm.clone().prop_map(Event::Start),
        1 => vm.prop_map(Event::Reboot),
        1 => Just(Event::Kill),
        2 => (0..14_usize, any::<bool>())
            .prop_map(|(more, carried_out)| Event::DieAfter { more, carried_out }),
        1 => Just(Event::Take),
        1 => Just(Event::Release),
        3 => Just(Event::Look),
        2 => Just(Event::Rest),
    ]
}

/// Waits until no switch-over is under way; a process that died is replaced.
pub fn rest(world: &mut World) {
    let mut idle = |status: &NodeStatus| status.vms.iter().all(|vm| vm.progress.is_none());
    while world.wait_or_death(&mut idle).is_err() {
        assert!(world.process().is_dead(), "it does not come to rest");
        revive(world);
    }
}

pub fn revive(world: &mut World) {
    world.start(None);
    world.repeat();
}

pub fn happen(world: &mut World, event: Event) {
    match event {
        Event::Accelerate(vm, level) => {
            world.want(vm, Some(level));
            world.tell();
        }
        Event::Decelerate(vm) => {
            world.want(vm, None);
            world.tell();
        }
        Event::Stop(vm) => world.hypervisor.stop(uuid(vm)),
        Event::Start(vm) => start(world, vm),
        Event::Reboot(vm) => reboot(world, vm),
        Event::Kill => revive(world),
        Event::DieAfter { more, carried_out } => world.process().dies_after(more, carried_out),
        Event::Take => take(world),
        Event::Release => release(world),
        Event::Look => look(world),
        Event::Rest => rest(world),
    }
}

pub fn look(world: &mut World) {
    if world.look().is_none() {
        revive(world);
    }
}

/// A VM starts, and the agent, which is told of it, sees that before anything else happens: VFs reach
/// a new guest only once the agent has put its address into the PF's filter.
fn start(world: &mut World, vm: u8) {
    rest(world);
    world.hypervisor.start(uuid(vm)).unwrap();
    look(world);
}

/// Guests restart between switch-overs: one that goes away at the very moment when its frames are
/// given to its VF is out of reach until the agent's next look, which nobody can prevent.
fn reboot(world: &mut World, vm: u8) {
    rest(world);
    let Some(pid) = world.hypervisor.pid(uuid(vm)) else {
        return;
    };
    world.host.with(|machine| machine.set_guest_up(pid, false));
    rest(world);
    world.host.with(|machine| machine.set_guest_up(pid, true));
}

/// Somebody takes a VF that nobody uses, when the agent is not about to: one that is not clean it is about to reset.
fn take(world: &mut World) {
    rest(world);
    let user = VfUser::Process {
        pid: 4711,
        command: "dpdk-app".into(),
    };
    world.host.with(|machine| {
        let vfs = &mut machine.adapters[0].vfs;
        let taken = vfs.iter().filter(|vf| vf.user == user).count();
        let free = |vf: &&mut VfFacts| {
            vf.user == VfUser::Nobody && vf.attributes == VfAttributes::baseline()
        };
        let free = vfs.iter_mut().rev().find(free);
        if let Some(vf) = free.filter(|_| taken < FOREIGN) {
            vf.user = user.clone();
            vf.attributes.vlan = 9;
        }
    });
}

fn release(world: &World) {
    world.host.with(|machine| {
        let mut vfs = machine.adapters[0].vfs.iter_mut();
        let taken = |vf: &&mut VfFacts| matches!(vf.user, VfUser::Process { pid: 4711, .. });
        if let Some(vf) = vfs.find(taken) {
            vf.user = VfUser::Nobody;
        }
    });
}

fn expected(world: &World, vm: u8) -> NicPath {
    let wish = world.desired.vm(uuid(vm)).and_then(|wish| wish.level);
    match (world.hypervisor.pid(uuid(vm)), wish) {
        (None, _) => NicPath::None,
        (Some(_), Some(_)) => NicPath::Vf,
        (Some(_), None) => NicPath::Synthetic,
    }
}

fn ends_as_wanted(mut world: World, events: Vec<Event>) -> Result<World, TestCaseError> {
    for event in events {
        happen(&mut world, event);
    }
    // The last death may still be ahead.
    revive(&mut world);
    let paths: Vec<(u8, NicPath)> = (1..=VMS).map(|vm| (vm, expected(&world, vm))).collect();
    let as_wanted = |status: &NodeStatus| {
        // A VM that is off cannot be accelerated, and says so.
        let off = paths.iter().any(|(_, path)| *path == NicPath::None);
        let quiet = is_quiet(status) || (off && status.converged && status.problems.is_empty());
        quiet
            && paths
                .iter()
                .all(|(vm, wanted)| path(status, *vm) == *wanted)
    };
    world.wait("the end", as_wanted);
    world.assert_free_vfs_clean();
    for (vm, wanted) in paths {
        match wanted {
            NicPath::Vf => world.assert_on_vf(vm),
            NicPath::Synthetic => world.assert_synthetic(vm),
            NicPath::None => prop_assert_eq!(world.vf_of(vm), None),
        }
    }
    Ok(world)
}

/// What each VM's VF has of the pool is what its level costs.
fn assert_vectors(world: &World) {
    for vm in 1..=VMS {
        let level = world.desired.vm(uuid(vm)).and_then(|wish| wish.level);
        let (Some(level), Some(vf)) = (level, world.vf_of(vm)) else {
            continue;
        };
        let has = world
            .host
            .with(|machine| machine.vf(vf).unwrap().msix_vectors);
        assert_eq!(has, Support::Supported(level.queue_pairs() + 1), "VM {vm}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_ends_as_wanted(events in prop::collection::vec(any_event(), 1..30)) {
        ends_as_wanted(World::settled(VMS), events)?;
    }

    #[test]
    fn it_ends_as_wanted_in_vlans(events in prop::collection::vec(any_event(), 1..30)) {
        let mut world = World::in_vlans(VMS);
        world.settle();
        ends_as_wanted(world, events)?;
    }

    #[test]
    fn it_ends_as_wanted_with_a_pool(
        events in prop::collection::vec(any_event(), 1..30),
        hidden: bool,
    ) {
        // Seven idle VFs keep 14 vectors; four VMs at Medium need four more.
        let mut world = World::pool(VMS, 18);
        world.desired.intents[0].vfs = VfCount::Exactly(7);
        world.host.with(|machine| machine.vectors_hidden = hidden);
        world.settle();
        assert_vectors(&ends_as_wanted(world, events)?);
    }
}
