//! VMs that somebody's tool moves on their VFs, without a word to anybody: libvirt's hook at the destination asks. The
//! VM goes to a VF that is kept for it there, or stays on the one that it has, and whoever moves it is told why.

use std::time::Duration;

use accelnet_lab::lab::wait;
use serde_json::Value;

use crate::{
    beside::{only_switched, said},
    joined::{on, until_path, until_reachable},
    moving::{GOES, MORE_S, asked, stood_still},
    rig::Rig,
};

/// Migrates vm1, as any tool does; what libvirt says if it does not.
fn migrate(to: &str) -> String {
    format!(
        "virsh -q migrate --live --persistent --undefinesource vm1 qemu+tcp://{to}/system --migrateuri tcp://{to}"
    )
}

/// vm1's migration begins, and goes on by itself.
pub fn begin(rig: &Rig, from: &str, to: &str) {
    begin_as(rig, from, &migrate(to));
}

fn begin_as(rig: &Rig, from: &str, migrate: &str) {
    let unit = "systemd-run -q --collect --unit=moves --property=Type=exec";
    rig.on(from, &format!("{unit} {migrate}"));
    rig.until_on(from, 120, GOES);
}

/// It is over, however it ended.
pub fn until_over(rig: &Rig, from: &str) {
    rig.until_on(from, 120, "! systemctl -q is-active moves");
    rig.until_on(from, 60, &format!("! {GOES}"));
}

/// The VF of a VM's first NIC.
fn vf_of(rig: &Rig, vm: &str) -> String {
    let shown = on(rig, "node3", &format!("vm show {vm}"));
    shown["nics"][0]["vf"].as_str().unwrap().to_owned()
}

/// A VF of the node is kept for somebody who is on his way, or none is.
fn until_kept(rig: &Rig, node: &str, kept: bool) {
    let not = if kept { "" } else { "! " };
    let shown = format!("accelnet adapter show pf0 --node {node} -o json");
    let condition = format!("x=$({shown}) && {not}echo \"$x\" | grep -q '\"by\": \"reserved\"'");
    rig.until_on("node3", 60, &condition);
}

/// There, where another VM has the VF of the same address; and back, while the agent that expects it is killed.
pub fn by_other_tools(rig: &mut Rig) {
    let checks = on(rig, "node2", "prereq");
    let checks = checks["items"].as_array().unwrap().iter();
    let hooks: Vec<&Value> = checks
        .filter(|check| check["check"] == "migration_hook")
        .collect();
    assert_eq!(hooks.len(), 3, "{hooks:?}");
    assert!(
        hooks.iter().all(|check| check["passed"] == true),
        "{hooks:?}"
    );
    let (its, others) = (vf_of(rig, "vm1"), vf_of(rig, "vm2"));
    let moved = asked(rig, |rig| {
        rig.lab.migrate("vm1", "node2").unwrap();
        until_path(rig, "node3", "vm1", "vf", "node2");
    });
    let stood = stood_still(rig, "node2");
    eprintln!(
        "           from {its} to {} (vm2 there has {others}); the wire missed {} of {}, {:.1} s at a time, {stood:.1} s \
         of which it stood still",
        vf_of(rig, "vm1"),
        moved.lost(),
        moved.sent,
        moved.longest_outage_s
    );
    assert!(moved.longest_outage_s - stood <= MORE_S, "{moved:?}");
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    // What was kept for it is nobody's now.
    until_kept(rig, "node2", false);

    begin(rig, "node2", "node1");
    until_kept(rig, "node1", true);
    rig.on("node1", "systemctl kill --signal=KILL accelnet-agent");
    until_reachable(rig, "node3", "node1", true, 60);
    until_path(rig, "node3", "vm1", "vf", "node1");
    rig.lab.is_now_on("vm1", "node1").unwrap();
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// No agent there, and no server: refused with a sentence before anything is touched.
pub fn refused(rig: &mut Rig) {
    let missed = asked(rig, |rig| {
        for (node, unit, sentence) in [
            ("node2", "accelnet-agent", "accelnetd does not answer"),
            ("node1", "accelnet-server", "has no line to a server"),
        ] {
            rig.on(node, &format!("systemctl stop {unit}"));
            if unit == "accelnet-server" {
                rig.until_on(
                    "node2",
                    30,
                    "accelnet status 2>&1 | grep -q 'server_not_running'",
                );
            }
            let asked = format!("{} 2>&1 || echo exit $?", migrate("node2"));
            let said = rig.on("node1", &asked);
            assert!(said.contains(sentence) && said.contains("exit"), "{said}");
            rig.on(node, &format!("systemctl start {unit}"));
            until_reachable(rig, "node3", "node2", true, 60);
        }
        until_path(rig, "node3", "vm1", "vf", "node1");
    });
    assert_eq!(missed.lost(), 0, "{missed:?}");
}

/// Ended while it goes on: it is on its VF where it was, and nothing is kept for it there.
pub fn half_way(rig: &mut Rig) {
    let missed = asked(rig, |rig| {
        begin(rig, "node1", "node2");
        until_kept(rig, "node2", true);
        rig.on("node1", "virsh domjobabort vm1");
        until_over(rig, "node1");
        until_path(rig, "node3", "vm1", "vf", "node1");
        wait(Duration::from_secs(1));
    });
    only_switched(&missed);
    rig.until_on("node2", 60, "! virsh list --name | grep -q vm1");
    until_kept(rig, "node2", false);
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// It runs there before its memory has come, which follows page by page: there on its VF, and back without one.
pub fn by_postcopy(rig: &mut Rig) {
    let goes = |rig: &mut Rig, from: &str, to: &str| {
        begin_as(rig, from, &format!("{} --postcopy", migrate(to)));
        rig.until_on(from, 60, "virsh migrate-postcopy vm1");
        until_over(rig, from);
        rig.lab.is_now_on("vm1", to).unwrap();
    };
    let accelerated = asked(rig, |rig| {
        goes(rig, "node1", "node2");
        until_path(rig, "node3", "vm1", "vf", "node2");
    });
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    rig.on("node1", "accelnet vm disable vm1 > /dev/null");
    let plain = asked(rig, |rig| goes(rig, "node2", "node1"));
    eprintln!(
        "           the wire missed of it, on its VF, {}; without a VF {}",
        said(&accelerated),
        said(&plain)
    );
    rig.on(
        "node2",
        "accelnet vm enable vm1 --performance Low > /dev/null",
    );
    until_path(rig, "node3", "vm1", "vf", "node1");
    assert!(
        accelerated.longest_outage_s <= plain.longest_outage_s + MORE_S,
        "{accelerated:?}, and without a VF {plain:?}"
    );
}
