//! As many accelerated VMs as a card has VFs for, when their bond fails over.

use std::time::Duration;

use accelnet_host::twin::{Machine, Station};
use accelnet_model::{NicPath, Performance, VfCount};

use crate::world::{World, mac, name, path};

const VMS: u8 = 60;

#[test]
fn the_last_of_sixty_is_reached_within_a_second_of_a_failover() {
    let mut world = World::bonded(VMS);
    world.desired.intents[0].vfs = VfCount::Exactly(u16::from(VMS) + 1);
    world.host.with(|machine| {
        for adapter in &mut machine.adapters {
            adapter.total_vfs = 63;
        }
        for guest in &mut machine.guests {
            guest.habits.takes = Duration::from_millis(200);
        }
    });
    world.set_call_time(Duration::from_millis(1));
    world.start(None);
    for vm in 1..=VMS {
        world.want(vm, Some(Performance::Low));
    }
    world.tell();
    world.wait("all on VFs", |status| {
        status.converged && (1..=VMS).all(|vm| path(status, vm) == NicPath::Vf)
    });
    world.no_excuse();
    let by = |world: &World, member: usize| {
        let vfs: Vec<_> = (1..=VMS).filter_map(|vm| world.vf_of(vm)).collect();
        let its = |machine: &mut Machine| {
            let its = &machine.adapters[member].vfs;
            vfs.iter()
                .filter(|vf| its.iter().any(|its| its.pci == **vf))
                .count()
        };
        world.host.with(its)
    };
    assert_eq!(by(&world, 0), usize::from(VMS));
    world
        .host
        .with(|machine| machine.set_link(&name("pf0"), false));
    let all: Vec<u8> = (1..=VMS).collect();
    let from = [
        Station::Wire,
        Station::Host,
        Station::Guest(mac(1)),
        Station::Guest(mac(VMS)),
    ];
    let took = world.until_reached(&all, &from, Duration::from_secs(5));
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert!(by(&world, 1) < 10, "entries first, VFs after");
    world.no_excuse();
    world.until("VFs follow", Duration::from_secs(60), |world| {
        by(world, 1) >= 12
    });
}
