//! What the lab promises, whatever the product does.

use std::{path::PathBuf, time::Duration};

use accelnet_lab::{
    kvm::{self, Accel},
    lab::{Network, Pace},
};
use serde_json::Value;

use crate::rig::Rig;

/// `status -o json` names nodes and guests.
pub fn status_names_everything(rig: &mut Rig) {
    let output = rig.program(&["status", "-o", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["nodes"][0]["name"], "node1");
    assert_eq!(document["nodes"][0]["state"], "running");
    let guests: Vec<_> = document["guests"].as_array().unwrap().iter().collect();
    assert_eq!(guests.len(), 2);
    assert!(
        guests.iter().all(|guest| guest["node"] == "node1"),
        "{guests:?}"
    );
}

/// Output, errors and exit codes of commands on node and guest come back as they were.
pub fn commands_pass_through(rig: &mut Rig) {
    for place in [["exec", "node1"], ["guest", "vm1"]] {
        let words = [
            place[0],
            place[1],
            "--",
            "sh",
            "-c",
            "echo \"out put\"; echo err >&2; exit 7",
        ];
        let output = rig.program(&words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(output.status.code(), Some(7), "{place:?}");
        assert_eq!(text(&output.stdout), "out put\n", "{place:?}");
        assert_eq!(text(&output.stderr), "err\n", "{place:?}");
    }
    let output = rig.program(&["exec", "node9", "--", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no node 'node9'"));
}

/// The node has what the product needs: a card with VFs, an IOMMU, nested KVM, guests with a standby
/// NIC on vhost.
pub fn the_node_is_what_it_should_be(rig: &mut Rig) {
    let facts = rig.node(
        "cat /sys/class/net/pf0/device/sriov_totalvfs\n\
         basename $(readlink /sys/class/net/pf0/device/driver)\n\
         basename $(readlink /sys/class/net/pf0/master)\n\
         ls /sys/class/iommu | grep -c dmar\n\
         test -c /dev/kvm && echo kvm\n\
         for p in $(pgrep qemu-system); do ls -l /proc/$p/fd | grep -c /dev/vhost-net; done | grep -vc ^0\n",
    );
    let facts: Vec<_> = facts.lines().collect();
    assert_eq!(facts, ["7", "igb", "br0", "1", "kvm", "2"]);
    for guest in ["vm1", "vm2"] {
        // net_failover's master, and its standby: the virtio NIC.
        let interfaces = rig.guest(
            guest,
            "ls -d /sys/class/net/eth*; basename $(readlink /sys/class/net/eth1/master)",
        );
        let words: Vec<_> = interfaces.split_whitespace().collect();
        let wanted = ["/sys/class/net/eth0", "/sys/class/net/eth1", "eth0"];
        assert_eq!(words, wanted, "{guest}");
    }
}

/// That the nodes' kernel starts is seen, and that nothing starts.
pub fn a_kernel_that_starts_is_told_from_one_that_does_not(rig: &mut Rig) {
    let starts = |kernel: PathBuf| {
        let deadline = Duration::from_secs(120);
        kvm::boots(&kernel, Accel::Tcg, deadline).unwrap()
    };
    assert!(starts(rig.lab.images.join("vmlinux")));
    assert!(!starts(rig.lab.images.join("node.qcow2")));
}

/// Nothing is lost where nothing happens, in both directions.
pub fn probes_lose_nothing(rig: &mut Rig) {
    let report = rig.lab.probe("vm1", 5.0, 300).unwrap();
    // What a machine that stood still left out is counted.
    for way in [&report.to_guest, &report.from_guest] {
        assert!(
            way.sent > 0 && way.sent + way.not_sent >= 1400,
            "{report:?}"
        );
    }
    assert_eq!(
        (report.to_guest.lost, report.from_guest.lost),
        (0, 0),
        "{report:?}"
    );
    assert_eq!(report.duplicated, 0, "{report:?}");
    assert!(
        report.round_trips.rtt_p50_us > 0.0
            && report.round_trips.rtt_p50_us <= report.round_trips.rtt_p99_us,
        "{report:?}"
    );
    let pace = Pace::Rate { pps: 100 };
    let echoes = rig.lab.ping("vm1", Duration::from_secs(2), pace).unwrap();
    assert!(echoes.sent >= 100, "{echoes:?}");
    assert_eq!(echoes.answered, echoes.sent, "{echoes:?}");
    assert!(echoes.round_trips.rtt_p50_us > 0.0, "{echoes:?}");
}

/// A cut cable is seen by the card and by the probe; healing it brings the packets back.
pub fn cut_and_heal(rig: &mut Rig) {
    let running = rig.lab.start_probe("vm1", 100).unwrap();
    let carrier = |wanted: &str| {
        format!(
            "timeout 20 sh -c 'until grep -q {wanted} /sys/class/net/pf0/carrier; do sleep 0.1; done'"
        )
    };
    rig.lab.cut_node("node1", Network::Data, true).unwrap();
    rig.node(&carrier("0"));
    rig.lab.cut_node("node1", Network::Data, false).unwrap();
    rig.node(&carrier("1"));
    let report = running.stop().unwrap().all();
    assert!(
        report.to_guest.lost > 0,
        "a cut cable loses packets: {report:?}"
    );
    let after = rig.lab.probe("vm1", 3.0, 100).unwrap();
    assert_eq!(after.lost, 0, "{after:?}");
}
