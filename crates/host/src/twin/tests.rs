//! The model says of frames what the lab measured (docs/reference/switch-over.md).

use accelnet_model::FdbKey;

use super::*;
use crate::{Entry, Host};

const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0x77, 1]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0x77, 2]);
/// The guest's entry on a bridge that does not filter by VLAN.
const AT_ALL: FdbKey = FdbKey {
    mac: GUEST,
    vlan: None,
};

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

/// A machine with VFs and two guests on taps; VF 0 is ready to be plugged into the first.
fn machine() -> (HostTwin, PciAddress) {
    let twin = HostTwin::new(Machine::igb("node1", &name("br0"), &name("pf0")));
    let pf = twin.observe_adapters(&BTreeSet::new()).unwrap().adapters[0].pci;
    twin.ensure_vf_count(pf, 7).unwrap();
    twin.ensure_port_learning(&name("pf0"), false).unwrap();
    let vf = twin.with(|machine| {
        for (pid, mac) in [(1, GUEST), (2, OTHER)] {
            let tap = name(&format!("vnet{pid}"));
            machine
                .start_guest(pid, mac, &name("br0"), &tap, Habits::default())
                .unwrap();
        }
        machine.chatter();
        machine.adapters[0].vfs[0].pci
    });
    twin.ensure_vf_vfio(vf, None).unwrap();
    (twin, vf)
}

fn from_wire(twin: &HostTwin) -> Arrival {
    twin.with(|machine| machine.frame_to_guest(GUEST, Station::Wire))
}

#[test]
fn a_vf_that_carries_an_address_takes_its_frames_driven_or_not() {
    let (twin, _) = machine();
    let pf = twin.observe_adapters(&BTreeSet::new()).unwrap().adapters[0].pci;
    assert!(from_wire(&twin).by_tap);
    twin.ensure_vf_attributes(pf, 0, &VfAttributes::for_mac(GUEST))
        .unwrap();
    assert!(!from_wire(&twin).arrives(), "nobody drives the VF");
    twin.ensure_pf_filter(&name("pf0"), GUEST, true).unwrap();
    assert!(from_wire(&twin).by_tap, "the PF gets a copy");
}

#[test]
fn a_guest_on_its_vf_discards_what_comes_by_the_tap() {
    let (twin, vf) = machine();
    twin.with(|machine| machine.plug(1, GUEST, vf)).unwrap();
    twin.ensure_pf_filter(&name("pf0"), GUEST, true).unwrap();
    twin.ensure_bridge_entry(&name("vnet1"), AT_ALL, Entry::Absent)
        .unwrap();
    assert_eq!(twin.observe_vectors().unwrap()[&vf], 0);
    assert_eq!(
        (from_wire(&twin).by_vf, from_wire(&twin).by_tap),
        (false, true)
    );
    twin.ensure_port_learning(&name("vnet1"), false).unwrap();
    twin.pause(Habits::default().takes);
    assert_eq!(twin.observe_vectors().unwrap()[&vf], 3);
    assert_eq!(
        (from_wire(&twin).by_vf, from_wire(&twin).by_tap),
        (true, false)
    );
    let neighbour = |twin: &HostTwin| {
        twin.with(|machine| {
            machine
                .frame_to_guest(GUEST, Station::Guest(OTHER))
                .arrives()
        })
    };
    assert!(neighbour(&twin), "flooded to the uplink, and so to the VF");
    twin.ensure_bridge_entry(&name("vnet1"), AT_ALL, Entry::Static)
        .unwrap();
    assert!(!neighbour(&twin), "sent to the tap only");
}

#[test]
fn frames_from_a_vf_reach_only_addresses_in_the_pfs_filter() {
    let (twin, vf) = machine();
    twin.with(|machine| machine.plug(1, GUEST, vf)).unwrap();
    twin.pause(Habits::default().takes);
    let reached = |twin: &HostTwin| {
        twin.with(|machine| {
            machine
                .frame_to_guest(OTHER, Station::Guest(GUEST))
                .arrives()
        })
    };
    assert!(!reached(&twin));
    twin.ensure_pf_filter(&name("pf0"), OTHER, true).unwrap();
    assert!(reached(&twin));
    assert!(twin.with(|machine| machine.frame_to_wire(GUEST) && machine.frame_to_host(GUEST)));
}

#[test]
fn held_frames_wait_and_learning_moves_entries_that_were_set() {
    let (twin, _) = machine();
    twin.ensure_hold_queue(
        &name("vnet1"),
        HoldQueue::Hold {
            limit: Duration::from_secs(1),
        },
    )
    .unwrap();
    assert_eq!(
        (from_wire(&twin).by_tap, from_wire(&twin).waits),
        (false, true)
    );
    twin.ensure_hold_queue(&name("vnet1"), HoldQueue::Pass)
        .unwrap();
    assert!(from_wire(&twin).by_tap);
    // The address shows up on the wire.
    twin.ensure_bridge_entry(&name("vnet1"), AT_ALL, Entry::Static)
        .unwrap();
    twin.with(|machine| machine.learn(&name("pf0"), GUEST));
    assert!(from_wire(&twin).by_tap, "the uplink does not learn");
    twin.ensure_port_learning(&name("pf0"), true).unwrap();
    twin.with(|machine| machine.learn(&name("pf0"), GUEST));
    assert!(!from_wire(&twin).arrives());
    twin.pause(Duration::from_secs(1));
    assert!(from_wire(&twin).by_tap, "it follows the guest");
}

#[test]
fn vfs_in_use_are_never_destroyed_or_given_out_twice() {
    let (twin, vf) = machine();
    let pf = twin.observe_adapters(&BTreeSet::new()).unwrap().adapters[0].pci;
    twin.with(|machine| machine.plug(1, GUEST, vf)).unwrap();
    assert!(matches!(
        twin.ensure_vf_count(pf, 3),
        Err(crate::HostError::VfsInUse { .. })
    ));
    assert!(twin.with(|machine| machine.plug(2, OTHER, vf)).is_err());
    assert_eq!(twin.with(|machine| machine.violations.len()), 1);
    twin.with(|machine| machine.stop_guest(1));
    assert_eq!(
        twin.with(|machine| machine.vf(vf).unwrap().user.clone()),
        VfUser::Nobody
    );
    twin.ensure_vf_count(pf, 3).unwrap();
}

#[test]
fn what_waits_passes_when_its_time_is_over_whoever_is_dead() {
    let (twin, _) = machine();
    let limit = Duration::from_secs(2);
    let hold = |twin: &HostTwin| {
        twin.ensure_hold_queue(&name("vnet1"), HoldQueue::Hold { limit })
            .unwrap();
    };
    hold(&twin);
    twin.advance(limit - Duration::from_millis(1));
    assert!(from_wire(&twin).waits);
    hold(&twin);
    twin.advance(limit - Duration::from_millis(1));
    assert!(from_wire(&twin).waits, "it began anew");
    twin.advance(Duration::from_millis(1));
    assert!(from_wire(&twin).by_tap);
}

#[test]
fn a_tap_that_is_made_anew_has_nothing_of_the_old_one() {
    let (twin, _) = machine();
    let tap = name("vnet1");
    twin.ensure_hold_queue(&tap, HoldQueue::Pass).unwrap();
    twin.ensure_port_flood(&tap, false).unwrap();
    twin.ensure_bridge_entry(&tap, AT_ALL, Entry::Static)
        .unwrap();
    twin.with(|machine| machine.make_tap_anew(&tap));
    let port = twin.with(|machine| machine.port(&tap).unwrap().clone());
    assert_eq!(
        (port.rx_packets, port.flood, port.hold_queue),
        (0, true, false)
    );
    assert!(port.fdb.iter().all(|entry| entry.local));
}

#[test]
fn a_guest_lets_go_of_a_vf_that_its_process_keeps() {
    let (twin, vf) = machine();
    twin.with(|machine| machine.plug(1, GUEST, vf)).unwrap();
    twin.pause(Habits::default().takes);
    assert_eq!(twin.observe_vectors().unwrap()[&vf], 3);
    twin.with(|machine| machine.set_let_go(1, true));
    assert_eq!(twin.observe_vectors().unwrap()[&vf], 0);
    assert!(twin.with(|machine| machine.vf(vf).unwrap().user != VfUser::Nobody));
    twin.with(|machine| machine.set_let_go(1, false));
    twin.pause(Habits::default().takes);
    assert_eq!(twin.observe_vectors().unwrap()[&vf], 3);
}

#[test]
fn the_kernel_tells_of_what_was_changed_and_of_nothing_else() {
    let (twin, _) = machine();
    let (sender, events) = mpsc::channel();
    twin.watch(sender).unwrap();
    for _ in 0..2 {
        twin.ensure_port_flood(&name("vnet1"), false).unwrap();
        twin.ensure_pf_filter(&name("pf0"), GUEST, true).unwrap();
        twin.ensure_bridge_entry(&name("pf0"), AT_ALL, Entry::Static)
            .unwrap();
    }
    let (port, mac, gone) = ("pf0".to_owned(), GUEST, false);
    let told: Vec<HostEvent> = events.try_iter().collect();
    let expected = [
        HostEvent::Link("vnet1".into()),
        HostEvent::Filter {
            port: port.clone(),
            mac,
            gone,
        },
        HostEvent::Fdb {
            port,
            mac,
            vlan: None,
            gone,
        },
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_cannot_be_read_is_an_error_of_its_own() {
    let (twin, _) = machine();
    twin.with(|machine| {
        machine.unreadable.adapter.insert(name("pf0"));
        machine.unreadable.bridges = true;
    });
    let seen = twin.observe_adapters(&BTreeSet::new()).unwrap();
    assert_eq!((seen.adapters.len(), seen.unseen.len()), (0, 1));
    assert!(twin.observe_bridges(&BTreeSet::new()).is_err());
    twin.with(|machine| machine.unreadable.adapters = true);
    assert!(twin.observe_adapters(&BTreeSet::new()).is_err());
}
