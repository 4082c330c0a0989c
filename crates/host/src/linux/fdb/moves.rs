//! Entries of a bridge on the real kernel: what moves, and what stays.

use super::*;
use crate::linux::{
    bridge::master_of,
    own_network::{Listener, bridge, in_own_network, name, send, skipped},
    sysfs::Root,
    uapi::IFLA_BR_VLAN_FILTERING,
};

const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 8]);

fn of(mac: MacAddr) -> FdbKey {
    FdbKey { mac, vlan: None }
}

fn ensure(root: &Root, port: &str, wanted: Entry) -> Result<()> {
    let port = name(port);
    let (bridge, by_vlan) = master_of(root, &port).unwrap();
    ensure_entry(&port, bridge, by_vlan, of(GUEST), wanted)
}

/// The ports that have an entry of the guest's address, and what it is.
fn seen(root: &Root) -> Vec<(&'static str, String)> {
    let mut seen = Vec::new();
    for port in ["t0", "t1"] {
        let Ok((bridge, by_vlan)) = master_of(root, &name(port)) else {
            continue;
        };
        let index = ifindex(&name(port)).unwrap();
        let mut own = Table::read().unwrap().entries(bridge, index, by_vlan);
        own.retain(|entry| entry.mac == GUEST);
        if let Some(first) = own.first() {
            assert!(
                own.iter()
                    .all(|entry| (entry.fixed, entry.sticky) == (first.fixed, first.sticky)),
                "the same in all VLANs: {own:?}"
            );
            seen.push((port, in_words(&own[..1])));
        }
    }
    seen
}

fn is(root: &Root, port: &'static str, what: &str) {
    assert_eq!(seen(root), [(port, what.to_owned())]);
}

/// The guest's address shows up as a source behind `t1`: true if the bridge follows.
fn moves(root: &Root) -> bool {
    let wire = Listener::at("g2");
    // Nobody has the address that it is sent to, so that it is flooded: it has been through the bridge
    // when it comes out. A port forwards when the kernel has taken up that its cable is plugged, in its own time.
    let passes = |_| {
        send("g1", GUEST, OTHER);
        wire.hears(100)
    };
    assert!((0..100).any(passes));
    seen(root).iter().any(|(port, _)| *port == "t1")
}

fn one_place(options: &'static [(u16, u8)]) {
    in_own_network(|root| {
        if !bridge("br0", options, &["t0", "t1", "t2"]) {
            skipped(
                "entries by VLAN",
                "the kernel's bridge has no VLAN filtering",
            );
            return;
        }
        ensure(root, "t0", Entry::Absent).unwrap();
        for wanted in [
            Entry::Static,
            Entry::Sticky,
            Entry::Sticky,
            Entry::Static,
            Entry::Absent,
        ] {
            ensure(root, "t0", wanted).unwrap();
            match wanted {
                Entry::Static => is(root, "t0", "static"),
                Entry::Sticky => is(root, "t0", "sticky"),
                Entry::Absent => assert_eq!(seen(root), []),
            }
        }
        // One elsewhere is moved, but not taken away.
        ensure(root, "t1", Entry::Sticky).unwrap();
        ensure(root, "t0", Entry::Absent).unwrap();
        is(root, "t1", "sticky");
        ensure(root, "t0", Entry::Static).unwrap();
        is(root, "t0", "static");
    });
}

#[test]
fn an_entry_is_in_one_place_and_as_wanted() {
    one_place(&[]);
}

#[test]
fn entries_of_a_bridge_that_filters_by_vlan_are_set_and_taken_away_in_each() {
    one_place(&[(IFLA_BR_VLAN_FILTERING, 1)]);
}

/// A trunk of 4,000 VLANs gets one entry of a guest, not 4,000.
#[test]
fn an_entry_of_one_vlan_is_in_no_other() {
    in_own_network(|root| {
        if !bridge("br0", &[(IFLA_BR_VLAN_FILTERING, 1)], &["t0"]) {
            return skipped(
                "entries by VLAN",
                "the kernel's bridge has no VLAN filtering",
            );
        }
        let typed = |line: &str| {
            let mut words = line.split(' ');
            let mut command = std::process::Command::new(words.next().unwrap());
            assert!(command.args(words).status().unwrap().success(), "{line}");
        };
        typed("bridge vlan add dev t0 vid 2-4094");
        let port = name("t0");
        let (bridge, by_vlan) = master_of(root, &port).unwrap();
        let of = FdbKey {
            mac: GUEST,
            vlan: Some(42),
        };
        let all = || {
            let index = ifindex(&port).unwrap();
            let entries = Table::read().unwrap().entries(bridge, index, by_vlan);
            let own = entries.iter().filter(|entry| entry.mac == GUEST);
            own.map(|entry| entry.vlan).collect::<Vec<_>>()
        };
        ensure_entry(&port, bridge, by_vlan, of, Entry::Static).unwrap();
        assert_eq!(all(), [Some(42)]);
        let other = FdbKey {
            vlan: Some(7),
            ..of
        };
        ensure_entry(&port, bridge, by_vlan, other, Entry::Absent).unwrap();
        assert_eq!(all(), [Some(42)]);
        ensure_entry(&port, bridge, by_vlan, of, Entry::Absent).unwrap();
        assert_eq!(all(), []);
    });
}

#[test]
fn a_static_entry_moves_with_its_address_and_a_sticky_one_does_not() {
    in_own_network(|root| {
        assert!(bridge("br0", &[], &["t0", "t1", "t2"]));
        ensure(root, "t0", Entry::Sticky).unwrap();
        assert!(!moves(root));
        is(root, "t0", "sticky");
        ensure(root, "t0", Entry::Static).unwrap();
        assert!(moves(root));
        is(root, "t1", "static");
        // Learned entries are taken away like those that were set.
        ensure(root, "t1", Entry::Absent).unwrap();
        assert!(moves(root));
        is(root, "t1", "learned (the address is in use there)");
        ensure(root, "t0", Entry::Absent).unwrap();
        is(root, "t1", "learned (the address is in use there)");
        ensure(root, "t0", Entry::Sticky).unwrap();
        is(root, "t0", "sticky");
        ensure(root, "t0", Entry::Absent).unwrap();
        assert_eq!(seen(root), []);
    });
}

#[test]
fn becoming_sticky_leaves_no_moment_without_the_entry() {
    in_own_network(|root| {
        assert!(bridge("br0", &[], &["t0", "t1"]));
        ensure(root, "t0", Entry::Static).unwrap();
        let mut events = Netlink::route().unwrap();
        events.join(crate::linux::uapi::RTNLGRP_NEIGH).unwrap();
        ensure(root, "t0", Entry::Sticky).unwrap();
        ensure(root, "t0", Entry::Static).unwrap();
        let mut kinds = Vec::new();
        while kinds.len() < 2 {
            let messages = events.receive(std::time::Duration::from_secs(5)).unwrap();
            assert!(!messages.is_empty(), "{kinds:?}");
            let own = messages.iter().filter(|message| {
                find(&message.payload[NDMSG..], NDA_LLADDR) == Some(&GUEST.0[..])
            });
            kinds.extend(own.map(|message| message.kind));
        }
        assert!(kinds.iter().all(|kind| *kind == RTM_NEWNEIGH), "{kinds:?}");
    });
}

#[test]
fn the_ports_own_address_is_left_alone() {
    in_own_network(|root| {
        assert!(bridge("br0", &[], &["t0"]));
        let port = name("t0");
        let mac: MacAddr = crate::linux::sysfs::parse(&root.path("sys/class/net/t0/address"))
            .unwrap()
            .unwrap();
        let (bridge, by_vlan) = master_of(root, &port).unwrap();
        let error = ensure_entry(&port, bridge, by_vlan, of(mac), Entry::Static).unwrap_err();
        assert!(error.to_string().contains("own address"), "{error}");
        ensure_entry(&port, bridge, by_vlan, of(mac), Entry::Absent).unwrap();
        let index = ifindex(&port).unwrap();
        let here = Table::read().unwrap().entries(bridge, index, by_vlan);
        assert!(here.iter().any(|entry| entry.mac == mac && entry.local));
    });
}

#[test]
fn a_port_that_went_away_is_gone() {
    in_own_network(|root| {
        assert!(bridge("br0", &[], &["t0"]));
        let error = master_of(root, &name("t9")).unwrap_err();
        assert!(error.is_gone(), "{error}");
        let error = ensure_entry(&name("t9"), 1, false, of(GUEST), Entry::Static).unwrap_err();
        assert!(error.is_gone(), "{error}");
    });
}
