//! VMs that move: by a command, as good as a VM without a VF that is migrated in the same run; not at all, if
//! that fails or nobody wants it any more; and from a node that died.

use std::time::{Duration, Instant};

use accelnet_lab::{
    lab::{Place, wait},
    probe::analysis::Echoes,
    shell::quote,
};

use crate::{
    beside::{PPS, only_switched, said},
    joined::{on, until_path, until_reachable},
    rig::Rig,
    unannounced,
};

/// What an accelerated VM may be out of reach for longer than one without a VF, beside the time in which QEMU had
/// stopped it. Its VF is plugged when it has run there for a moment, which stops an emulated machine for up to a second.
pub const MORE_S: f64 = 2.0;
/// vm1's migration goes on, as libvirt tells it.
pub const GOES: &str = "virsh domjobinfo vm1 | grep -q 'Outgoing migration'";

/// vm1's answers to the wire while something happens.
pub fn asked(rig: &mut Rig, happens: impl FnOnce(&mut Rig)) -> Echoes {
    let vm1 = [rig.lab.guest("vm1").unwrap().address()];
    let calling = rig.lab.start_calling(Place::Wire, &vm1, PPS).unwrap();
    wait(Duration::from_secs(1));
    happens(rig);
    wait(Duration::from_secs(2));
    calling.stop().unwrap().remove(0)
}

/// How long vm1 stood still in its last migration, in seconds, as QEMU tells it at its end: what memory was
/// left, and how busy the machine was, make most of it.
pub fn stood_still(rig: &Rig, node: &str) -> f64 {
    let told = "virsh domjobinfo --completed --rawstats vm1 | sed -n 's/^downtime: //p'";
    rig.on(node, told).trim().parse::<f64>().unwrap() / 1e3
}

/// From a node that has nothing to do with it. Then the same VM goes back without a VF, by libvirt alone.
pub fn by_a_command(rig: &mut Rig) {
    let moved = asked(rig, |rig| {
        let moved = on(rig, "node3", "vm move vm1 node2");
        assert_eq!(moved["object"]["node"], "node2", "{moved}");
        assert_eq!(moved["object"]["nics"][0]["path"], "vf", "{moved}");
        rig.lab.is_now_on("vm1", "node2").unwrap();
    });
    let moved_stood = stood_still(rig, "node2");
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(!rig.on("node1", "virsh list --all --name").contains("vm1"));
    rig.on("node1", "accelnet vm disable vm1 > /dev/null");
    let plain = asked(rig, |rig| rig.lab.migrate("vm1", "node1").unwrap());
    let plain_stood = stood_still(rig, "node1");
    eprintln!(
        "           the wire missed of it, accelerated, {}, {moved_stood:.1} s of which it stood still; without a VF {}, \
         {plain_stood:.1} s of which it stood still",
        said(&moved),
        said(&plain)
    );
    rig.on(
        "node2",
        "accelnet vm enable vm1 --performance Low > /dev/null",
    );
    until_path(rig, "node1", "vm1", "vf", "node1");
    assert!(
        moved.longest_outage_s - moved_stood <= plain.longest_outage_s - plain_stood + MORE_S,
        "{moved:?}, and without a VF {plain:?}"
    );
}

/// The other node's libvirt cannot be reached: that is said, and the VM is on its VF where it was.
pub fn in_vain(rig: &mut Rig) {
    let file = "/etc/default/accelnet-agent";
    rig.on(
        "node1",
        &format!(
            "cp {file} /root/peers; echo 'ACCELNET_PEER_LIBVIRT=qemu+tcp://{{node}}:1/system' > {file}\n\
             systemctl restart accelnet-agent"
        ),
    );
    until_reachable(rig, "node2", "node1", true, 60);
    let missed = asked(rig, |rig| {
        let said = rig.on("node2", "accelnet vm move vm1 node2 2>&1 || echo exit $?");
        assert!(
            said.contains("vm_move_failed") && said.contains("node2:1"),
            "{said}"
        );
        assert!(said.contains("exit"), "{said}");
        until_path(rig, "node2", "vm1", "vf", "node1");
    });
    only_switched(&missed);
    rig.on(
        "node1",
        &format!("mv /root/peers {file}; systemctl restart accelnet-agent"),
    );
    until_reachable(rig, "node2", "node1", true, 60);
}

/// Nobody wants it any more while it goes on.
pub fn taken_back(rig: &mut Rig) {
    let missed = asked(rig, |rig| {
        rig.on("node3", "accelnet vm move vm1 node2 --no-wait > /dev/null");
        rig.until_on("node1", 120, GOES);
        rig.on("node2", "accelnet vm unpark vm1 > /dev/null");
        until_path(rig, "node3", "vm1", "vf", "node1");
        rig.until_on("node1", 60, &format!("! {GOES}"));
    });
    only_switched(&missed);
    assert!(!rig.on("node2", "virsh list --name").contains("vm1"));
}

/// Parked and saved here, restored there by libvirt alone: its VF comes by itself when it is parked no more.
pub fn restored_elsewhere(rig: &mut Rig) {
    rig.on("node2", "accelnet vm park vm1 --for 10m > /dev/null");
    until_path(rig, "node3", "vm1", "synthetic", "node1");
    rig.on(
        "node1",
        "virsh dumpxml --inactive vm1 > /root/vm1.xml; virsh -q save vm1 /root/vm1.saved\n\
         scp -q /root/vm1.xml /root/vm1.saved node3:/root/; virsh -q undefine vm1; rm /root/vm1.*",
    );
    rig.on(
        "node3",
        "virsh -q define /root/vm1.xml; virsh -q restore /root/vm1.saved; rm /root/vm1.*",
    );
    rig.lab.is_now_on("vm1", "node3").unwrap();
    until_path(rig, "node1", "vm1", "synthetic", "node3");
    rig.on("node1", "accelnet vm unpark vm1 > /dev/null");
    until_path(rig, "node2", "vm1", "vf", "node3");
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    // And back, for whoever comes after.
    on(rig, "node2", "vm move vm1 node1");
    rig.lab.is_now_on("vm1", "node1").unwrap();
}

/// Its VM is started elsewhere, as whoever does that does it, and has a VF there from what was held for it. One that is
/// on its way to it is reached all the time, and is back on its VF when its migration is ended: its node's QEMU waits for
/// the one that is dead, with a VF or without.
pub fn a_node_dies(rig: &mut Rig) {
    let definition = rig.on("node3", "virsh dumpxml --inactive vm3");
    let mut down = Duration::ZERO;
    let missed = asked(rig, |rig| {
        unannounced::begin(rig, "node1", "node3");
        let before = Instant::now();
        rig.lab.kill_node("node3").unwrap();
        until_reachable(rig, "node1", "node3", false, 60);
        down = before.elapsed();
        rig.on("node1", "virsh domjobabort vm1");
        unannounced::until_over(rig, "node1");
        until_path(rig, "node1", "vm1", "vf", "node1");
    });
    only_switched(&missed);
    let before = Instant::now();
    rig.on(
        "node1",
        &format!(
            "echo {} > /root/vm3.xml; virsh -q define /root/vm3.xml; virsh -q start vm3",
            quote(&definition)
        ),
    );
    let started = before.elapsed();
    rig.lab.is_now_on("vm3", "node1").unwrap();
    until_path(rig, "node2", "vm3", "vf", "node1");
    eprintln!(
        "           called down after {:.0} s; its VM's start took {:.0} s, and it was on its VF {:.0} s later",
        down.as_secs_f64(),
        started.as_secs_f64(),
        (before.elapsed() - started).as_secs_f64()
    );
    let report = rig.lab.probe("vm3", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
}
