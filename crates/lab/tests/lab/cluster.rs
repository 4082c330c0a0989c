//! Three nodes as one cluster: what the lab gives it. Each step leaves every cable plugged in and every node running.

use std::time::Duration;

use accelnet_lab::lab::{Network, Place, wait};
use serde_json::Value;

use crate::{beside::PPS, rig::Rig};

const NODES: [&str; 3] = ["node1", "node2", "node3"];
/// Of a guest's 192 MiB at least so much is not empty and crosses the network when it moves.
const MOVED_AT_LEAST: u64 = 8 << 20;

/// Each node reaches each other by both its names, and gets in without a password; libvirt by both its ways.
pub fn nodes_know_each_other(rig: &mut Rig) {
    for node in NODES {
        for other in NODES.iter().filter(|other| **other != node) {
            let address = Network::Management.address(rig.lab.node(other).unwrap().number);
            let names = rig.on(node, &format!("getent hosts {other} {other}.lab"));
            assert!(
                names.lines().count() == 2
                    && names
                        .lines()
                        .all(|line| line.starts_with(&format!("{address} "))),
                "{node}: {names}"
            );
            reaches(rig, node, &format!("{other}.lab"));
            let name = rig.on(node, &format!("ssh -o BatchMode=yes {other} hostname"));
            assert_eq!(name.trim(), *other);
            for way in ["qemu+ssh", "qemu+tcp"] {
                let uri = format!("virsh -c {way}://{other}/system hostname < /dev/null");
                assert_eq!(rig.on(node, &uri).trim(), *other, "{way}");
            }
        }
    }
}

/// `status -o json` tells the networks, and what is cut.
pub fn status_tells_the_networks(rig: &mut Rig) {
    for (node, number) in NODES.iter().zip(1..) {
        let shown = shown(rig, node);
        assert_eq!(shown["state"], "running", "{shown}");
        for network in [Network::Data, Network::Management] {
            let address = network.address(number).to_string();
            let one = of_network(&shown, network);
            assert_eq!(
                (&one["address"], &one["cut"]),
                (&address.into(), &false.into())
            );
        }
    }
}

/// node2 is cut off from the others, and nobody on the wire notices.
pub fn the_management_network_is_cut(rig: &mut Rig) {
    let node2 = [rig.lab.address_of("node2").unwrap()];
    let calling = rig.lab.start_calling(Place::Wire, &node2, PPS).unwrap();
    run(rig, &["cut", "node2", "--network", "management"]);
    carrier(rig, "cluster", "0");
    assert_eq!(
        of_network(&shown(rig, "node2"), Network::Management)["cut"],
        true
    );
    for (node, other) in [("node1", "node2"), ("node2", "node3")] {
        does_not_reach(rig, node, other);
    }
    reaches(rig, "node1", "node3");
    run(rig, &["heal", "node2", "--network", "management"]);
    carrier(rig, "cluster", "1");
    assert_eq!(
        of_network(&shown(rig, "node2"), Network::Management)["cut"],
        false
    );
    reaches(rig, "node1", "node2");
    let echoes = calling.stop().unwrap().remove(0);
    assert!(echoes.sent > 0 && echoes.lost() == 0, "{echoes:?}");
}

/// The cable of node2's adapter is out; the nodes still speak to each other.
pub fn the_data_network_is_cut(rig: &mut Rig) {
    run(rig, &["cut", "node2"]);
    carrier(rig, "pf0", "0");
    reaches(rig, "node1", "node2");
    run(rig, &["heal", "node2"]);
    carrier(rig, "pf0", "1");
}

/// node3 stands still and is silent on both networks; then it goes on as if nothing had been.
pub fn a_node_is_paused(rig: &mut Rig) {
    let boot = "cat /proc/sys/kernel/random/boot_id";
    let before = rig.on("node3", boot);
    let wire = rig.lab.address_of("node3").unwrap().to_string();
    run(rig, &["pause", "node3"]);
    assert_eq!(shown(rig, "node3")["state"], "paused");
    for address in ["node3", &wire] {
        does_not_reach(rig, "node1", address);
    }
    reaches(rig, "node1", "node2");
    run(rig, &["resume", "node3"]);
    assert_eq!(shown(rig, "node3")["state"], "running");
    for address in ["node3", &wire] {
        reaches(rig, "node1", address);
    }
    assert_eq!(rig.on("node3", boot), before, "it was booted anew");
}

/// A VM without a VF moves to node2 by the management network, answers there, and comes back.
pub fn a_plain_vm_moves(rig: &mut Rig) {
    let sent = "cat /sys/class/net/cluster/statistics/tx_bytes";
    let sent = |rig: &Rig| rig.on("node1", sent).trim().parse::<u64>().unwrap();
    let before = sent(rig);
    let vm1 = [rig.lab.guest("vm1").unwrap().address()];
    let calling = rig.lab.start_calling(Place::Wire, &vm1, PPS).unwrap();
    rig.lab.migrate("vm1", "node2").unwrap();
    wait(Duration::from_secs(2));
    let echoes = calling.stop().unwrap().remove(0);
    let moved = sent(rig) - before;
    eprintln!(
        "           {} MiB crossed the management network; no answer for {:.1} s",
        moved >> 20,
        echoes.longest_outage_s
    );
    assert!(moved >= MOVED_AT_LEAST, "{moved} bytes");
    assert!(rig.on("node2", "virsh domstate vm1").contains("running"));
    assert_eq!(rig.guest("vm1", "hostname").trim(), "vm1");
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    rig.lab.migrate("vm1", "node1").unwrap();
}

/// `accelnet-lab …`, which must succeed.
fn run(rig: &Rig, words: &[&str]) {
    let output = rig.program(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
}

/// A node in `status`.
fn shown(rig: &Rig, node: &str) -> Value {
    let output = rig.program(&["status", "-o", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = document["nodes"].as_array().unwrap();
    let found = nodes.iter().find(|found| found["name"] == node);
    found.unwrap_or_else(|| panic!("{document}")).clone()
}

fn of_network(node: &Value, network: Network) -> &Value {
    let networks = node["networks"].as_array().unwrap();
    let found = networks
        .iter()
        .find(|found| found["name"] == network.name());
    found.unwrap_or_else(|| panic!("{node}"))
}

/// node2's kernel has seen what became of a cable.
fn carrier(rig: &Rig, interface: &str, wanted: &str) {
    let seen = format!("[ \"$(cat /sys/class/net/{interface}/carrier)\" = {wanted} ]");
    rig.until_on("node2", 20, &seen);
}

/// It answers; neighbours may have to be found first.
fn reaches(rig: &Rig, node: &str, other: &str) {
    rig.until_on(node, 20, &format!("ping -q -c 1 -W 1 {other} > /dev/null"));
}

fn does_not_reach(rig: &Rig, node: &str, other: &str) {
    rig.on(
        node,
        &format!("! ping -q -c 3 -i 0.5 -W 1 {other} > /dev/null"),
    );
}
