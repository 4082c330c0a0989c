//! VMs that somebody's tool moves on their VFs, without a word to anybody: libvirt's hook at the destination asks. The
//! VM goes to a VF that is kept for it there, or stays on the one that it has, and whoever moves it is told why.

use std::time::Duration;

use accelnet_lab::lab::wait;
use serde_json::Value;

use crate::{
    beside::only_switched,
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

/// The VF of a VM's first NIC.
fn vf_of(rig: &Rig, vm: &str) -> String {
    let shown = on(rig, "node3", &format!("vm show {vm}"));
    shown["nics"][0]["vf"].as_str().unwrap().to_owned()
}

/// VFs of a node that are kept for somebody who is on his way.
fn kept(rig: &Rig, node: &str) -> usize {
    let shown = on(rig, "node3", &format!("adapter show pf0 --node {node}"));
    let vfs = |adapter: &Value| adapter["vfs"].as_array().cloned().unwrap_or_default();
    let found = vfs(&shown).into_iter().chain(vfs(&shown["facts"]));
    found.filter(|vf| vf["user"]["by"] == "reserved").count()
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
    rig.until_on(
        "node3",
        30,
        "accelnet status -o json | grep -q '\"converged\": true'",
    );
    assert_eq!(kept(rig, "node2"), 0);

    rig.on(
        "node2",
        &format!(
            "systemd-run -q --unit=moves --property=Type=exec {}",
            migrate("node1")
        ),
    );
    rig.until_on("node2", 120, GOES);
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
        rig.on(
            "node1",
            &format!(
                "systemd-run -q --unit=moves --property=Type=exec {}",
                migrate("node2")
            ),
        );
        rig.until_on("node1", 120, GOES);
        assert_eq!(kept(rig, "node2"), 1);
        rig.on("node1", "virsh domjobabort vm1");
        rig.until_on("node1", 60, "! systemctl -q is-active moves");
        rig.until_on("node1", 60, &format!("! {GOES}"));
        until_path(rig, "node3", "vm1", "vf", "node1");
        wait(Duration::from_secs(1));
    });
    only_switched(&missed);
    rig.until_on("node2", 60, "! virsh list --name | grep -q vm1");
    rig.until_on(
        "node3",
        60,
        "! accelnet adapter show pf0 --node node2 -o json | grep -q reserved",
    );
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
}
