//! Two nodes, each for itself: an address that was behind a tap of one and is on the other now, and a VM that
//! is migrated on its VF without a word to anybody.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use accelnet_lab::{
    lab::{Calling, Place, wait},
    probe::{analysis::Direction, now_ns},
};

use crate::{
    beside::{PPS, said},
    rig::{Rig, words},
};

/// A virtual router's address (RFC 5798: 00-00-5E-00-01 and its number).
const ROUTER_MAC: &str = "00:00:5e:00:01:07";
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
/// Packets a second each way between the wire and a VM that moves.
const RATE: u32 = 50;

/// Both nodes have VFs; vm1 on node1 is on one, vm3 beside it and vm2 on node2 are not.
pub fn acceleration_on_both(rig: &mut Rig) {
    for node in ["node1", "node2"] {
        rig.on(node, "accelnet enable --intent compute --when now");
    }
    rig.json(&words("vm enable vm1 -p Low"));
    rig.until_path("vm1", "vf", 30);
}

/// An address behind vm3's tap moves to the other node, as VRRP moves it: the same hardware address, announced
/// once. node1's host, the accelerated VM and the other reach it there at once.
pub fn an_address_moves_to_the_wire(rig: &mut Rig) {
    // Who speaks to a virtual router has known its hardware address for long.
    rig.node(&format!(
        "ip neigh replace {ROUTER} lladdr {ROUTER_MAC} dev br0 nud permanent"
    ));
    for vm in ["vm1", "vm3"] {
        rig.guest(vm, &format!("arp -i eth0 -s {ROUTER} {ROUTER_MAC}"));
    }
    let speak = format!("accelnet-lab-guest frame eth0 ff:ff:ff:ff:ff:ff {ROUTER_MAC}");
    rig.guest("vm3", &speak);
    let tap = rig.node("virsh domiflist vm3 | awk '/bridge/ { print $1 }'");
    let behind = format!("bridge fdb show dev {} | grep -q {ROUTER_MAC}", tap.trim());
    rig.until(5, &behind);
    let from = [
        Place::Node("node1"),
        Place::Guest("vm1"),
        Place::Guest("vm3"),
    ];
    let began = Instant::now();
    let calling = from.map(|place| rig.lab.start_calling(place, &[ROUTER], PPS).unwrap());
    wait(Duration::from_secs(2));
    rig.on(
        "node2",
        &format!(
            "ip netns add router; ip link add router0 type veth peer name router1\n\
             ip link set router1 master br0 up; ip link set router0 address {ROUTER_MAC} netns router\n\
             ip netns exec router sysctl -qw net.ipv4.conf.router0.arp_notify=1\n\
             ip -n router addr add {ROUTER}/24 dev router0; ip -n router link set router0 up"
        ),
    );
    let moved_s = began.elapsed().as_secs_f64();
    wait(Duration::from_secs(4));
    let echoes = calling.map(|calling| calling.stop().unwrap().remove(0));
    for (place, echoes) in from.iter().zip(&echoes) {
        eprintln!(
            "           {place:?} reaches it {:.1} s after it began to ask; it moved after {moved_s:.1} s",
            echoes.longest_outage_s
        );
    }
    for (place, echoes) in from.iter().zip(&echoes) {
        assert!(
            echoes.answered > 0 && echoes.longest_outage_s <= moved_s + 2.0,
            "{place:?}: {echoes:?}"
        );
    }
    let [_, accelerated, plain] = echoes;
    assert!(
        accelerated.longest_outage_s <= plain.longest_outage_s + 1.0,
        "{accelerated:?} {plain:?}"
    );
    rig.on("node2", "ip netns del router");
    rig.node(&format!("ip neigh del {ROUTER} dev br0"));
}

/// vm1, on its VF on node1, is migrated by a tool that knows nothing of us. What waits while its guest gives up
/// the VF goes on; what is lost is lost while it stands still.
pub fn a_vm_leaves(rig: &mut Rig) {
    moves(rig, "node1", "node2");
    // Nobody wants it accelerated there. What came with it is gone.
    rig.until_path("vm1", "synthetic", 60);
    rig.until_on("node2", 60, "! virsh dumpxml vm1 | grep -q '<hostdev'");
    only_its_own_nic(rig);
    rig.on("node2", "accelnet vm enable vm1 -p Low");
    rig.until_path("vm1", "vf", 30);
}

/// It goes back to node1, where it is wanted accelerated, and is on a VF there by itself.
pub fn and_comes_back(rig: &mut Rig) {
    moves(rig, "node2", "node1");
    rig.until_path("vm1", "vf", 60);
    only_its_own_nic(rig);
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// Master, standby and primary have one address; a VF without one would have brought another.
fn only_its_own_nic(rig: &Rig) {
    let addresses = rig.guest("vm1", "cat /sys/class/net/eth*/address | sort -u");
    assert_eq!(addresses.trim(), "52:54:00:77:00:65", "a NIC too many");
}

/// Migrates vm1 and counts, from the wire and from both nodes' hosts.
fn moves(rig: &mut Rig, from: &str, to: &str) {
    let following = rig.lab.start_following("vm1", RATE).unwrap();
    let vm1 = [rig.lab.guest("vm1").unwrap().address()];
    let hosts = ["node1", "node2"];
    let calling = hosts.map(|node| rig.lab.start_calling(Place::Node(node), &vm1, PPS).unwrap());
    wait(Duration::from_secs(1));
    let began_ns = now_ns();
    rig.lab.migrate("vm1", to).unwrap();
    let took_s = (now_ns() - began_ns) as f64 / 1e9;
    wait(Duration::from_secs(4));
    let echoes = calling.map(|calling: Calling| calling.stop().unwrap().remove(0));
    let logs = following.stop(&rig.lab).unwrap();
    let (stood, went_on) = logs.longest_silence().unwrap();
    let still_s = (went_on - stood) as f64 / 1e9;
    let before = logs.between(0, stood.saturating_sub(IN_FLIGHT_NS));
    let after = logs.between(went_on, u64::MAX);
    eprintln!(
        "           moved in {took_s:.0} s; before it stood still lost {} of {} to and {} of {} from it (longest \
         delay {:.0} ms); stood still {still_s:.1} s; afterwards {} of {} and {} of {}",
        before.to_guest.lost,
        before.to_guest.sent,
        before.from_guest.lost,
        before.from_guest.sent,
        before.to_guest.max_delay_ms,
        after.to_guest.lost,
        after.to_guest.sent,
        after.from_guest.lost,
        after.from_guest.sent
    );
    for (node, echoes) in hosts.iter().zip(&echoes) {
        eprintln!("           {node}'s host missed {}", said(echoes));
    }
    let longest_ms = |way: &Direction| {
        let lengths = way.outages.iter().map(|outage| outage.length_ms);
        lengths.fold(0.0, f64::max)
    };
    // The guest gives up its VF as soon as QEMU asks it to. What came by the VF until its node had both paths
    // open, some milliseconds on a machine that is not emulated, is lost.
    let opening_s = opening_s(rig, from);
    let at_most = ALLOWED_TO_GUEST + (opening_s * f64::from(RATE)) as u64;
    eprintln!("           both paths were open {opening_s:.2} s after QEMU told");
    assert!(before.to_guest.lost <= at_most, "{:?}", before.to_guest);
    // What the guest's kernel drops by itself while it changes over.
    assert!(
        longest_ms(&before.from_guest) < 1500.0,
        "{:?}",
        before.from_guest
    );
    for (node, echoes) in hosts.iter().zip(&echoes) {
        assert!(
            echoes.longest_outage_s <= still_s + HOSTS_MORE_S,
            "{node}: {echoes:?}"
        );
    }
}

/// How long it took from QEMU's word to what opened both paths last, by the agent's log, in seconds.
fn opening_s(rig: &Rig, node: &str) -> f64 {
    let times = rig.on(
        node,
        "journalctl -u accelnetd -o short-monotonic --no-pager | tr -d '[]' | awk '\
             /takes the VF away/ { told = $1; done = 0 }\n\
             /BridgeEntry.*present: false/ && told && done < 2 { last = $1; done++ }\n\
             END { print last - told }'",
    );
    times.trim().parse().unwrap()
}

/// What was sent so shortly before it stood still may have been on its way.
const IN_FLIGHT_NS: u64 = 500_000_000;
/// As in a switch-over (`reach::ALLOWED_TO_GUEST`).
const ALLOWED_TO_GUEST: u64 = 4;
/// A host finds it at its new place with its first frame there.
const HOSTS_MORE_S: f64 = 3.0;
