//! What counters say of VFs in use, and what of it is reported.

use std::time::Duration;

use accelnet_model::{Counters, NicPath, PciAddress};

use crate::world::{World, uuid};

const BETWEEN_LOOKS: Duration = Duration::from_secs(11);

fn sends(world: &World, vf: PciAddress, frames: u64) {
    world.host.with(|machine| {
        let of: &mut Counters = machine.vf_counters.entry(vf).or_default();
        of.tx_packets += frames;
    });
}

/// A frame of the guest comes by its tap.
fn by_tap(world: &World, vm: u8) {
    let tap = world.tap_of(vm);
    world.host.with(|machine| {
        let mut ports = machine.bridges[0].ports.iter_mut();
        let port = ports.find(|port| port.ifname == tap).unwrap();
        port.rx_packets += 1;
    });
}

#[test]
fn a_guest_that_drives_its_vf_and_sends_by_its_tap_is_reported_until_it_sends_by_the_vf() {
    let mut world = World::accelerated(2);
    let (first, second) = (world.vf_of(1).unwrap(), world.vf_of(2).unwrap());
    sends(&world, second, 1);
    for _ in 0..2 {
        world.run_for(BETWEEN_LOOKS);
        by_tap(&world, 1);
    }
    let status = world.look().unwrap();
    assert_eq!(status.idle_vfs, []);
    for _ in 0..4 {
        world.run_for(BETWEEN_LOOKS);
        by_tap(&world, 1);
    }
    world.run_for(BETWEEN_LOOKS);
    let status = world.wait_path(1, NicPath::Vf);
    let idle: Vec<_> = status
        .idle_vfs
        .iter()
        .map(|idle| (idle.vm, idle.vf))
        .collect();
    assert_eq!(idle, [(uuid(1), first)]);
    // What changes nothing is no report.
    let sequence = status.sequence;
    world.run_for(BETWEEN_LOOKS);
    assert_eq!(world.look().unwrap().sequence, sequence);
    sends(&world, first, 1);
    world.wait("it is not idle", |status| status.idle_vfs.is_empty());
}

#[test]
fn what_is_dropped_is_reported_once_a_minute_and_what_nobody_counts_is_not() {
    let mut world = World::accelerated(1);
    let vf = world.vf_of(1).unwrap();
    world.run_for(BETWEEN_LOOKS);
    let drop_some = |world: &World, count: u64| {
        world.host.with(|machine| {
            let of = machine.vf_counters.entry(vf).or_default();
            of.tx_dropped = Some(of.tx_dropped.unwrap_or(0) + count);
            let pf = machine.adapters[0].ifname.clone();
            *machine.missed.entry(pf).or_default() += count;
        });
    };
    // As a driver that counts no drops until now.
    drop_some(&world, 1_000);
    let status = world.wait("drops", |status| !status.adapter_drops.is_empty());
    assert_eq!(status.adapter_drops[0].no_buffer, 1_000);
    assert_eq!(status.vf_drops, [], "nothing is known of the time before");
    let mut changes = 0;
    let mut last = status;
    for _ in 0..18 {
        drop_some(&world, 2);
        world.run_for(Duration::from_secs(10));
        let status = world.look().unwrap();
        let same = status.adapter_drops == last.adapter_drops && status.vf_drops == last.vf_drops;
        changes += u32::from(!same);
        last = status;
    }
    assert!((2..=4).contains(&changes), "{changes} in three minutes");
    let drops = &last.vf_drops[0];
    assert_eq!((drops.vm, drops.vf, drops.to_guest), (uuid(1), vf, 0));
    assert!(drops.from_guest > 0 && last.adapter_drops[0].no_buffer > 1_000);
}
