//! Killed servers, absent libvirt, nodes without power.

use crate::{
    refusals::refused,
    rig::{Rig, words},
    story::PRIMARY,
};

/// QEMU cannot open the VF: the VM stays on the software path, and loses nothing.
pub fn a_vf_cannot_be_plugged(rig: &mut Rig) {
    let kind = 50;
    let running = rig.lab.start_probe("vm1", kind).unwrap();
    rig.node("mkdir /dev/vfio.away; mv /dev/vfio/[0-9]* /dev/vfio.away");
    refused(rig, &words("vm enable vm1 -p Low"), "vf_attach_failed");
    rig.node("mv /dev/vfio.away/* /dev/vfio; rmdir /dev/vfio.away");
    assert_eq!(rig.vm("vm1")["nics"][0]["path"], "synthetic");
    rig.json(&words("vm disable vm1"));
    let report = running.stop().unwrap().all();
    assert_eq!(report.lost, 0, "{report:?}");
    // What was kept back because it could not be reset is looked at anew.
    rig.node("systemctl restart accelnetd");
    rig.until(
        20,
        "accelnet status && [ $(ip link show pf0 | grep -c 'vf .*00:00:00:00:00:00') = 7 ]",
    );
}

/// A guest that stands still does not let go of its VF: it keeps it, and comes back when it can.
pub fn a_guest_does_not_let_go(rig: &mut Rig) {
    rig.json(&words("vm enable vm1 -p Low"));
    rig.node("virsh -q suspend vm1");
    refused(rig, &words("vm disable vm1"), "vf_detach_failed");
    assert_eq!(rig.vm("vm1")["nics"][0]["path"], "vf");
    rig.node("virsh -q resume vm1");
    rig.until_path("vm1", "synthetic", 60);
    rig.json(&words("vm disable vm1"));
    rig.node("ping -q -c 3 -W 2 10.77.0.101");
}

/// A rule that comes while the VM is on a VF sends it back at once; it returns when the rule is gone.
pub fn policy_later(rig: &mut Rig) {
    rig.node(
        "nft add table bridge lab; nft add chain bridge lab f '{ type filter hook forward priority 0; }'; \
         nft add rule bridge lab f ether saddr 52:54:00:77:00:65 udp dport 9 drop",
    );
    rig.until_path("vm1", "synthetic", 30);
    // Why is told as soon as it is where it shall be.
    rig.until(
        30,
        "accelnet vm show vm1 -o json | grep -q policy_not_offloadable",
    );
    let vm = rig.vm("vm1");
    assert_eq!(vm["level"], "medium", "the wish stays: {vm}");
    rig.node("nft delete table bridge lab");
    rig.until_path("vm1", "vf", 60);
}

/// The daemon is killed and started again: everything is as before, and nobody noticed.
pub fn server_killed(rig: &mut Rig) {
    let running = rig.lab.start_probe("vm1", 100).unwrap();
    let before = rig.vm("vm1");
    rig.node(
        "old=$(systemctl show -P MainPID accelnetd); kill -9 $old\n\
         timeout 60 sh -c \"until [ \\$(systemctl show -P MainPID accelnetd) != $old ] && accelnet status >/dev/null 2>&1; do sleep 0.2; done\"",
    );
    let after = rig.vm("vm1");
    for key in ["uuid", "level", "node"] {
        assert_eq!(before[key], after[key], "{after}");
    }
    assert_eq!(before["nics"][0]["vf"], after["nics"][0]["vf"], "{after}");
    rig.until_path("vm1", "vf", 30);
    assert_eq!(rig.json(&["status"])["enabled"]["intent"], "compute");
    let report = running.stop().unwrap().all();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// Without the server every command says so; VMs go on.
pub fn server_stopped(rig: &mut Rig) {
    rig.node("systemctl stop accelnetd");
    for words in [&["status"][..], &["vm", "enable", "vm2", "-p", "Low"]] {
        let run = rig.accelnet(&[words, &["-o", "json"]].concat());
        assert_eq!(run.codes(), ["server_not_running"], "{run:?}");
        assert_eq!(run.code, 6, "{run:?}");
    }
    let report = rig.lab.probe("vm1", 2.0, 100);
    assert_eq!(report.unwrap().lost, 0);
    rig.node("systemctl start accelnetd");
    rig.until_path("vm1", "vf", 30);
}

/// Without libvirt every command says so, nothing is concluded, and the VM stays where it is.
pub fn libvirt_restarted(rig: &mut Rig) {
    let running = rig.lab.start_probe("vm1", 100).unwrap();
    rig.node("systemctl stop libvirtd");
    let run = rig.accelnet(&["vm", "enable", "vm2", "-p", "Low", "-o", "json"]);
    assert_ne!(run.code, 0, "{run:?}");
    assert!(
        run.codes().contains(&"hypervisor_unavailable".to_owned()),
        "{run:?}"
    );
    rig.node("systemctl start libvirtd");
    rig.until_path("vm1", "vf", 60);
    let report = running.stop().unwrap().all();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// A node that lost its power comes back with its VFs, and the VM with its VF, without help; guests
/// start, files are kept.
pub fn node_rebooted(rig: &mut Rig) {
    rig.node("echo kept > /root/kept; sync");
    rig.lab.kill_node("node1").unwrap();
    assert!(!rig.lab.node_runs(rig.lab.node("node1").unwrap()));
    rig.lab.start_node("node1").unwrap();
    rig.lab.wait_for_node("node1").unwrap();
    assert_eq!(rig.node("cat /root/kept"), "kept\n");
    // From the ledger alone, before libvirt and guests.
    let made = rig.node(
        "cat /sys/class/net/pf0/device/sriov_numvfs
         systemctl is-active accelnet-boot || journalctl -b --no-pager -u accelnet-boot -u accelnetd",
    );
    assert_eq!(made.split_whitespace().collect::<Vec<_>>(), ["7", "active"]);
    rig.all_guests_are_up();
    rig.until_path("vm1", "vf", 120);
    let vm = rig.vm("vm1");
    assert_eq!(vm["level"], "medium", "{vm}");
    assert!(!rig.guest("vm1", PRIMARY).trim().is_empty());
    for guest in ["vm1", "vm2"] {
        let report = rig.lab.probe(guest, 3.0, 100).unwrap();
        assert_eq!(report.lost, 0, "{guest}: {report:?}");
    }
}
