//! Addresses behind taps that are no NIC's own: those that move, and those that a guest makes up.

use std::time::Duration;

use accelnet_host::twin::Station;
use accelnet_model::{MacAddr, NicPath, Performance};

use crate::world::{World, is_quiet, mac, name};

/// RFC 9568: the address of a VRRP router.
const ROUTER: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 7]);
/// As many of a port as are kept reachable from VFs.
const A_PORT: usize = 16;

fn invented(number: u32) -> MacAddr {
    let [_, high, mid, low] = number.to_be_bytes();
    MacAddr([2, 0xaa, 0, high, mid, low])
}

fn in_filter(world: &World, is_it: impl Fn(&MacAddr) -> bool) -> usize {
    world.host.with(|machine| {
        let filter = machine.adapters[0].filter.iter();
        filter.filter(|mac| is_it(mac)).count()
    })
}

fn is_invented(mac: &MacAddr) -> bool {
    mac.0[1] == 0xaa
}

#[test]
fn an_address_that_moves_from_a_tap_to_the_wire_is_followed_by_everybody() {
    let mut world = World::beside();
    let tap = world.tap_of(2);
    world.host.with(|machine| machine.learn(&tap, ROUTER));
    let at_tap = |world: &World, from| {
        let reached =
            |machine: &mut accelnet_host::twin::Machine| machine.frame_to_tap(ROUTER, from, &tap);
        world.host.with(reached)
    };
    assert!(at_tap(&world, Station::Host), "the bridge knows by itself");
    let limit = Duration::from_secs(2);
    world.until("VMs on VFs reach it", limit, |world| {
        at_tap(world, Station::Guest(mac(1)))
    });
    world.run_for(Duration::from_secs(30));
    assert!(at_tap(&world, Station::Guest(mac(1))));
    // Another machine is the router now, and says so.
    world
        .host
        .with(|machine| machine.learn(&name("pf0"), ROUTER));
    let leaves = |world: &World, from| {
        world
            .host
            .with(|machine| machine.frame_leaves(ROUTER, from))
    };
    for from in [Station::Host, Station::Guest(mac(2))] {
        assert!(leaves(&world, from), "{from:?}");
    }
    let limit = Duration::from_millis(300);
    world.until("VMs on VFs reach it there", limit, |world| {
        leaves(world, Station::Guest(mac(1))) && leaves(world, Station::Guest(mac(3)))
    });
    world.run_for(Duration::from_secs(30));
    assert!(leaves(&world, Station::Guest(mac(1))));
    // And back.
    world.host.with(|machine| machine.learn(&tap, ROUTER));
    world.until(
        "they reach it at the tap",
        Duration::from_secs(2),
        |world| at_tap(world, Station::Guest(mac(1))),
    );
}

#[test]
fn a_guest_that_makes_up_addresses_fills_no_filter_and_makes_no_work() {
    let mut world = World::beside();
    world.host.with(|machine| machine.filter_room = 32);
    let tap = world.tap_of(2);
    let (looks, calls) = (world.process().looks(), world.process().calls().len());
    for number in 0..1000 {
        world
            .host
            .with(|machine| machine.learn(&tap, invented(number)));
        world.run_for(Duration::from_millis(10));
        assert!(in_filter(&world, is_invented) <= A_PORT);
    }
    // A look a second, whatever comes.
    let looks = world.process().looks() - looks;
    assert!((1..=15).contains(&looks), "{looks} looks");
    let calls = world.process().calls().len() - calls;
    assert!(calls <= 2 * A_PORT, "{calls} calls");
    assert_eq!(in_filter(&world, is_invented), A_PORT);
    // There is room for those who need it.
    world.add_vm(4);
    world.want(4, Some(Performance::Low));
    world.tell();
    world.wait_path(4, NicPath::Vf);
    world.want(4, None);
    world.tell();
    world.wait_path(4, NicPath::Synthetic);
    world.assert_synthetic(4);
    // What ages goes.
    world.host.with(|machine| {
        let port = machine.port_mut(&tap).unwrap();
        port.fdb.retain(|entry| !is_invented(&entry.mac));
    });
    world.wait("nothing of it is left", |status| {
        is_quiet(status)
            && status.adapters[0]
                .facts
                .filter
                .iter()
                .all(|mac| !is_invented(mac))
    });
}

/// The worst order: each new address comes before all that there are.
#[test]
fn whatever_order_they_come_in() {
    let mut world = World::beside();
    let tap = world.tap_of(2);
    let calls = world.process().calls().len();
    for number in (0..1000).rev() {
        world
            .host
            .with(|machine| machine.learn(&tap, invented(number)));
        world.run_for(Duration::from_millis(10));
        assert!(in_filter(&world, is_invented) <= A_PORT);
    }
    let calls = world.process().calls().len() - calls;
    assert!(calls <= 2 * A_PORT, "{calls} calls");
    world.wait_path(1, NicPath::Vf);
}
