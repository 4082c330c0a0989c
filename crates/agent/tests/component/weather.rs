//! Whatever happens to links, guests, libvirt and VMs on their way, in whatever order: everybody stays in
//! reach, and all ends as it is wanted.

use std::time::Duration;

use accelnet_host::twin::Machine;
use accelnet_hypervisor::HypervisorEvent;
use accelnet_model::{MacAddr, NicPath, NodeStatus, VmJob, VmState};
use proptest::prelude::*;

use crate::{
    random::{self, VMS, happen, look, rest, revive},
    world::{World, is_vms_look, mac, name, path, uuid, vm},
};

/// The second byte of addresses that guests make up.
const INVENTED: u8 = 0xaa;
/// The longest rest after failures is five minutes.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Debug, Clone, Copy)]
enum Event {
    Wish(random::Event),
    Link(bool),
    /// The VF's driver in the guest of a VM.
    Driver(u8, bool),
    /// The guest of a VM restarts, and is away for so many milliseconds.
    Reboot(u8, u64),
    Park(u8, bool),
    Freeze(u8, VmJob),
    /// A VM leaves, and is gone or comes back after so many of three steps.
    Leave(u8, u8, bool),
    Arrive(u8),
    Unreadable(u8, bool),
    Libvirt(Libvirt),
    TapAnew(u8),
    /// Somebody's discipline on a VM's tap.
    Discipline(u8, bool),
    /// A guest makes up addresses.
    Invent(u8),
    /// libvirt forgets the VF of a VM.
    Forget(u8),
    /// Milliseconds.
    Wait(u64),
}

#[derive(Debug, Clone, Copy)]
enum Libvirt {
    Up,
    Down,
    /// Each look at the VMs takes seven seconds.
    Slow,
}

fn any_event() -> impl Strategy<Value = Event> {
    let vm = || 1..=VMS;
    let job = prop_oneof![
        Just(VmJob::Saving),
        Just(VmJob::Dumping),
        Just(VmJob::Outgoing)
    ];
    let libvirt = prop_oneof![
        2 => Just(Libvirt::Up),
        1 => Just(Libvirt::Down),
        1 => Just(Libvirt::Slow),
    ];
    prop_oneof![
        12 => random::any_event().prop_map(Event::Wish),
        2 => any::<bool>().prop_map(Event::Link),
        2 => (vm(), any::<bool>()).prop_map(|(vm, there)| Event::Driver(vm, there)),
        1 => (vm(), 1..5000_u64).prop_map(|(vm, time)| Event::Reboot(vm, time)),
        2 => (vm(), any::<bool>()).prop_map(|(vm, parked)| Event::Park(vm, parked)),
        2 => (vm(), job).prop_map(|(vm, job)| Event::Freeze(vm, job)),
        2 => (vm(), 1..=3_u8, any::<bool>()).prop_map(|(vm, steps, gone)| Event::Leave(vm, steps, gone)),
        2 => vm().prop_map(Event::Arrive),
        2 => (vm(), any::<bool>()).prop_map(|(vm, odd)| Event::Unreadable(vm, odd)),
        2 => libvirt.prop_map(Event::Libvirt),
        1 => vm().prop_map(Event::TapAnew),
        1 => (vm(), any::<bool>()).prop_map(|(vm, there)| Event::Discipline(vm, there)),
        1 => vm().prop_map(Event::Invent),
        1 => vm().prop_map(Event::Forget),
        4 => (1..4000_u64).prop_map(Event::Wait),
    ]
}

/// Lets time pass; an agent that dies meanwhile is replaced.
fn wait(world: &mut World, milliseconds: u64) {
    world.run_for(Duration::from_millis(milliseconds));
    if world.process().is_dead() {
        revive(world);
    }
}

fn state(world: &World, number: u8) -> (VmState, Option<VmJob>) {
    world.hypervisor.with(|vms| {
        let facts = &vms.vm(uuid(number)).unwrap().facts;
        (facts.state, facts.job)
    })
}

fn excuse(world: &World, number: u8) {
    world.host.with(|machine| {
        let mut guests = machine.guests.iter_mut();
        if let Some(guest) = guests.find(|guest| guest.mac == mac(number)) {
            guest.excused = true;
        }
    });
}

fn on_guest(world: &World, number: u8, change: impl FnOnce(&mut Machine, u32)) {
    if let Some(pid) = world.hypervisor.pid(uuid(number)) {
        world.host.with(|machine| change(machine, pid));
    }
}

fn befall(world: &mut World, event: Event) {
    match event {
        Event::Wish(event) => {
            // Whose address can only be read in a frame of its own is not in the PF's filter before.
            if matches!(event, random::Event::Start(_)) {
                libvirt_works(world);
            }
            happen(world, event);
        }
        Event::Link(carrier) => {
            if !carrier {
                libvirt_works(world);
            }
            world
                .host
                .with(|machine| machine.set_link(&name("pf0"), carrier));
        }
        Event::Driver(vm, there) => {
            on_guest(world, vm, |machine, pid| machine.set_vf_driver(pid, there));
        }
        Event::Reboot(vm, away) => {
            on_guest(world, vm, |machine, pid| machine.set_guest_up(pid, false));
            world.hypervisor.reboot(uuid(vm));
            wait(world, away);
            on_guest(world, vm, |machine, pid| machine.set_guest_up(pid, true));
        }
        Event::Park(vm, parked) => park(world, vm, parked),
        Event::Freeze(vm, job) => freeze(world, vm, job),
        Event::Leave(vm, steps, gone) => leave(world, vm, steps, gone),
        Event::Arrive(vm) => arrive(world, vm),
        Event::Unreadable(vm, odd) => {
            link_works(world);
            unreadable(world, vm, odd);
        }
        Event::Libvirt(libvirt) => {
            link_works(world);
            set_libvirt(world, libvirt);
        }
        Event::TapAnew(vm) => {
            if let Some(tap) = tap(world, vm) {
                world.host.with(|machine| machine.make_tap_anew(&tap));
            }
        }
        Event::Discipline(vm, there) => discipline(world, vm, there),
        Event::Invent(vm) => {
            let Some(tap) = tap(world, vm) else { return };
            world.host.with(|machine| {
                for number in 0..40 {
                    machine.learn(&tap, MacAddr([2, INVENTED, 0, 0, vm, number]));
                }
            });
        }
        Event::Forget(vm) => {
            // It is neither on its way nor being worked on: libvirt forgets what was undone. Who starts meanwhile
            // and cannot read it knows of no VF.
            libvirt_works(world);
            rest(world);
            if state(world, vm) == (VmState::Running, None) {
                world.hypervisor.forget_device(uuid(vm));
                excuse(world, vm);
                wait(world, 100);
            }
        }
        Event::Wait(time) => wait(world, time),
    }
}

/// A guest whose VF has no link takes nothing by its tap until the VF is unplugged (drivers/net/net_failover.c),
/// and nobody but libvirt can do that: both at the same time are more than anybody can bear.
fn libvirt_works(world: &mut World) {
    set_libvirt(world, Libvirt::Up);
    (1..=VMS).for_each(|vm| unreadable(world, vm, false));
    wait(world, 1000);
}

fn link_works(world: &mut World) {
    let set = |machine: &mut Machine| {
        let down = !machine.adapters[0].carrier;
        if down {
            machine.set_link(&name("pf0"), true);
        }
        down
    };
    if world.host.with(set) {
        wait(world, 1000);
    }
}

fn tap(world: &World, number: u8) -> Option<accelnet_model::IfName> {
    world.hypervisor.with(|vms| {
        let facts = &vms.vm(uuid(number)).unwrap().facts;
        facts.nics[0].tap.clone()
    })
}

/// VMs come in by libvirt. That one has is seen before anything else happens, as with one that starts.
fn arrive(world: &mut World, number: u8) {
    libvirt_works(world);
    rest(world);
    world.hypervisor.arrive(uuid(number)).unwrap();
    wait(world, 1500);
    if state(world, number).1 == Some(VmJob::Incoming) {
        world.hypervisor.resume(uuid(number));
        look(world);
    }
}

fn park(world: &mut World, number: u8, parked: bool) {
    let mut wishes = world.desired.vms.iter_mut();
    if let Some(wish) = wishes.find(|wish| wish.uuid == uuid(number)) {
        wish.parked = parked;
        world.tell();
    }
}

/// With a VF it runs on, without one it is saved.
fn freeze(world: &mut World, number: u8, job: VmJob) {
    if state(world, number) != (VmState::Running, None) {
        return;
    }
    revive(world);
    libvirt_works(world);
    world.hypervisor.freeze(uuid(number), job);
    wait(world, 1500);
    if world.vf_of(number).is_none() {
        world.hypervisor.stop(uuid(number));
    }
}

fn leave(world: &mut World, number: u8, steps: u8, gone: bool) {
    if state(world, number) != (VmState::Running, None) {
        return;
    }
    // Without an agent or libvirt nobody opens the tap.
    revive(world);
    libvirt_works(world);
    if world.vf_of(number).is_some() {
        world.hypervisor.unplug_primary(uuid(number));
        // No guest was faster in the lab.
        wait(world, 200);
        if steps > 1 {
            world.hypervisor.let_go(uuid(number));
            wait(world, 700);
        }
    }
    if steps > 2 {
        world.hypervisor.stop_to_leave(uuid(number));
        wait(world, 700);
        if gone {
            world.hypervisor.stop(uuid(number));
            return;
        }
        // It runs before anybody can know.
        excuse(world, number);
    }
    world.hypervisor.migration_fails(uuid(number));
}

fn unreadable(world: &World, number: u8, odd: bool) {
    world.hypervisor.with(|vms| {
        let why = odd.then(|| "its XML is odd".to_owned());
        vms.vm_mut(uuid(number)).unwrap().unreadable = why;
        vms.tell(HypervisorEvent::Vm(uuid(number)));
    });
}

fn set_libvirt(world: &mut World, libvirt: Libvirt) {
    world.take_no_time();
    let down = matches!(libvirt, Libvirt::Down);
    world.hypervisor.with(|vms| {
        vms.down = down;
        vms.tell(match down {
            true => HypervisorEvent::Disconnected,
            false => HypervisorEvent::Connected,
        });
    });
    if let Libvirt::Slow = libvirt {
        world.take_long(is_vms_look, Duration::from_secs(7));
    }
}

fn discipline(world: &World, number: u8, there: bool) {
    let Some(tap) = tap(world, number) else {
        return;
    };
    world.host.with(|machine| {
        if there {
            machine.foreign_qdiscs.insert(tap.clone());
            machine.holds.remove(&tap);
            machine.port_mut(&tap).unwrap().hold_queue = false;
        } else {
            machine.foreign_qdiscs.remove(&tap);
        }
        machine.tell(&accelnet_host::HostEvent::TrafficControl(tap.to_string()));
    });
}

/// Everything that stands in the way goes; what happened has happened.
fn calm(world: &mut World) {
    revive(world);
    set_libvirt(world, Libvirt::Up);
    world.host.with(|machine| {
        machine.set_link(&name("pf0"), true);
        // A VM with others behind its port stays on it, as long as the bridge knows them.
        for port in machine
            .bridges
            .iter_mut()
            .flat_map(|bridge| &mut bridge.ports)
        {
            port.fdb.retain(|entry| entry.mac.0[1] != INVENTED);
        }
    });
    for number in 1..=VMS {
        unreadable(world, number, false);
        discipline(world, number, false);
        on_guest(world, number, |machine, pid| {
            machine.set_vf_driver(pid, true);
        });
        // What came in and was not resumed does so.
        if state(world, number).1 == Some(VmJob::Incoming) {
            world.hypervisor.resume(uuid(number));
        }
    }
}

fn expected(world: &World, number: u8) -> NicPath {
    let wish = world.desired.vm(uuid(number));
    let wanted = wish.is_some_and(|wish| wish.level.is_some() && !wish.parked);
    match (world.hypervisor.pid(uuid(number)), wanted) {
        (None, _) => NicPath::None,
        (Some(_), true) => NicPath::Vf,
        (Some(_), false) => NicPath::Synthetic,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_passes_and_all_is_as_wanted(
        events in prop::collection::vec(any_event(), 1..40),
        in_vlans: bool,
    ) {
        let mut world = match in_vlans {
            true => World::in_vlans(VMS),
            false => World::new(VMS),
        };
        world.settle();
        world.patience = PATIENCE;
        for event in events {
            befall(&mut world, event);
        }
        calm(&mut world);
        let paths: Vec<(u8, NicPath)> = (1..=VMS).map(|vm| (vm, expected(&world, vm))).collect();
        let as_wanted = |status: &NodeStatus| {
            let there = status.vms.len() == usize::from(VMS);
            let quiet = || status.vms.iter().all(|vm| vm.progress.is_none());
            let right = |(number, wanted): &(u8, NicPath)| {
                let vfs = usize::from(*wanted == NicPath::Vf);
                path(status, *number) == *wanted && vm(status, *number).facts.hostdevs.len() == vfs
            };
            there && status.converged && quiet() && paths.iter().all(right)
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
    }
}
