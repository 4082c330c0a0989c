//! More than one adapter below a bridge: an active-backup bond carries VMs on the VFs of the member that it
//! uses, everything else is refused by name.

use accelnet_lab::lab::{Network, Place};

use crate::{
    beside::all_beside,
    connectivity::{MORE_S, gave_up_after_s},
    crash::{How, Points, away_s, frames_pass, kinds},
    reach::longer_s,
    refusals::refused,
    rig::{Rig, words},
    second_network::{ENABLE, is_on_vf, is_reached},
};

/// Accelerated VMs, and their levels. With three, echoes of the VM that stays on its tap took seconds too: the emulated
/// node bears no more.
const VMS: [(&str, &str); 2] = [("vm1", "Medium"), ("vm3", "Low")];

/// Both adapters for the first intent.
const BOTH: &str = "intent set compute --adapter pf0 --adapter pf1";

/// The second network ends. pf1 is free, and nobody is accelerated.
pub fn both_adapters_are_free(rig: &mut Rig) {
    rig.json(&words("vm disable vm1"));
    rig.json(&["disable"]);
    rig.json(&words("intent remove other"));
    // The guests' NICs there have no network any more.
    rig.node("ip link del br1");
}

/// What cannot be accelerated, because the outside chooses the adapter or the bridge has two.
pub fn refused_by_name(rig: &mut Rig) {
    // Down, or the wire would be a loop.
    rig.node("ip link set pf1 down; ip link set pf1 master br0");
    refused(rig, &words(BOTH), "bridge_not_supported");
    refused(
        rig,
        &words("enable --intent compute"),
        "bridge_not_supported",
    );
    rig.node("ip link set pf1 nomaster");
    for mode in ["802.3ad", "balance-rr", "balance-xor"] {
        rig.node(&format!(
            "ip link add br9 type bridge; ip link add bond9 type bond mode {mode}; ip link set pf1 down; \
             ip link set pf1 master bond9; ip link set bond9 master br9; ip link set bond9 up"
        ));
        let add = words("intent add bonded --bridge br9 --adapter pf1 -o json");
        let run = rig.accelnet(&add);
        let named =
            run.err.contains(&format!("mode {mode}")) || run.out.contains(&format!("mode {mode}"));
        assert!(
            named && run.codes().contains(&"bridge_not_supported".to_owned()),
            "{run:?}"
        );
        rig.node("ip link del bond9; ip link del br9");
    }
}

/// Both adapters become the uplink of `br0`, in a bond. Who managed pf0 lets it go first.
pub fn an_active_backup_bond(rig: &mut Rig) {
    rig.node(
        "printf '[Match]\\nName=pf0 pf1\\n[Link]\\nUnmanaged=yes\\n' > /run/systemd/network/10-bond.network; \
         networkctl reload\n\
         ip link add bond0 type bond mode active-backup miimon 100\n\
         for pf in pf0 pf1; do ip link set $pf nomaster; ip link set $pf down; ip link set $pf master bond0; done\n\
         ip link set bond0 master br0; ip link set bond0 up",
    );
    rig.until(
        20,
        "[ \"$(cat /sys/class/net/bond0/bonding/active_slave)\" = pf0 ]",
    );
    rig.until(20, "[ \"$(cat /sys/class/net/pf1/carrier)\" = 1 ]");
    refused(
        rig,
        &words("enable --intent compute"),
        "bridge_not_supported",
    );
    rig.json(&words(BOTH));
    rig.json(&words(ENABLE));
    for adapter in ["pf0", "pf1"] {
        assert_eq!(rig.vfs(adapter).len(), 7, "{adapter}");
    }
    for (vm, level) in VMS {
        rig.json(&["vm", "enable", vm, "-p", level]);
    }
    are_on_vfs(rig, "pf0");
    is_reached(rig, "10.77.0.102");
}

/// The cable of the member in use is cut: the VMs are reached by the software path, then on VFs of the other
/// member, where they stay when the cable is back. Nothing of them is left on the first.
pub fn a_cut_cable_moves_the_vms(rig: &mut Rig) {
    let vms = VMS.map(|(vm, _)| vm);
    let results = all_beside(rig, &vms, &[Place::Node("node1"), Place::Wire], |rig| {
        rig.lab.cut_node("node1", Network::Data, true).unwrap();
        are_on_vfs_soon(rig, "pf1");
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
    assert_eq!(
        rig.node("cat /sys/class/net/bond0/bonding/active_slave")
            .trim(),
        "pf1"
    );
    are_on_vfs(rig, "pf1");
    let vf = is_on_vf(rig, "vm1", "br0", "pf1");
    assert_eq!(vf["rate"]["max_tx"], 300, "{vf}");
    let gone = |rig: &Rig| {
        rig.vfs("pf0")
            .iter()
            .all(|vf| vf["address"] == "00:00:00:00:00:00")
    };
    assert!(gone(rig), "{:?}", rig.vfs("pf0"));
    let intent = rig.json(&words("intent show compute"));
    assert_eq!(intent["status"][0]["state"], "success", "{intent}");
    rig.lab.cut_node("node1", Network::Data, false).unwrap();
    // igb takes no limit away without link.
    rig.until(30, "! ip link show pf0 | grep -q max_tx_rate");
    are_on_vfs(rig, "pf1");
}

/// The member that is not used is taken out of the pool: VMs stay where they are. The one in use stays in it, being the
/// last. Then the other is let back.
pub fn the_other_member_is_isolated(rig: &mut Rig) {
    refused(rig, &words("adapter isolate pf1"), "adapter_not_spared");
    rig.json(&words("adapter isolate pf0 --because test"));
    let shown = rig.json(&words("adapter show pf0"));
    assert!(shown["isolated"].is_object(), "{shown}");
    rig.until(30, "accelnet hud -o json | grep -q adapter_isolated");
    are_on_vfs(rig, "pf1");
    rig.json(&words("adapter release pf0"));
    let shown = rig.json(&words("adapter show pf0"));
    assert!(shown["isolated"].is_null(), "{shown}");
    rig.until(30, "! accelnet hud -o json | grep -q adapter_isolated");
}

/// The bond is told to use its other member, there and back, and the agent dies at the first and the last step of each kind
/// of what it does then: VMs come to VFs of that member all the same, and nothing of them is left on the other.
pub fn the_agent_dies_while_it_fails_over(rig: &mut Rig) {
    let points = Points::of(rig, "node1", "accelnetd");
    rig.until(60, "accelnet status > /dev/null");
    let ways = ["pf0", "pf1"].map(|to| {
        points.clear(rig);
        fail_over(rig, to);
        (to, kinds(&points.passed(rig)))
    });
    let rounds = ways.each_ref().map(|(_, places)| places.len());
    for round in 0..rounds[0].max(rounds[1]) {
        for (to, places) in &ways {
            let Some(at) = places.get(round) else {
                fail_over(rig, to);
                continue;
            };
            points.arm(rig, *at, How::Dies);
            let longer_before_s = longer_s(rig);
            let vms = VMS.map(|(vm, _)| vm);
            let results = all_beside(rig, &vms, &[Place::Node("node1")], |rig| fail_over(rig, to));
            eprintln!("           to {to}, point {at}: {}", points.disarm(rig));
            // A VF of the member that is not used any more leads nowhere until the agent is back.
            let longer_s = longer_s(rig) - longer_before_s + away_s(rig) + gave_up_after_s(rig);
            results
                .iter()
                .for_each(|result| result.no_worse_by(MORE_S + longer_s));
            frames_pass(rig, "node1");
        }
    }
    points.end(rig);
    rig.until(60, "accelnet status > /dev/null");
}

/// The bond uses this member from now on: all are on its VFs, and no VF of the other has a VM's address.
fn fail_over(rig: &Rig, to: &str) {
    rig.node(&format!(
        "echo {to} > /sys/class/net/bond0/bonding/active_slave"
    ));
    are_on_vfs_soon(rig, to);
    let other = if to == "pf0" { "pf1" } else { "pf0" };
    rig.until(
        60,
        &format!("! ip link show {other} | grep -q 'vf .*52:54:00:77'"),
    );
}

/// The member in use is set down; the VMs come back to the first.
pub fn and_back(rig: &mut Rig) {
    rig.node("ip link set pf1 down");
    are_on_vfs_soon(rig, "pf0");
    are_on_vfs(rig, "pf0");
    for (vm, _) in VMS {
        rig.json(&["vm", "disable", vm]);
        is_reached(rig, &address(rig, vm));
    }
}

fn address(rig: &Rig, vm: &str) -> String {
    rig.lab.guest(vm).unwrap().address().to_string()
}

/// All use a VF of this adapter, and are reached.
fn are_on_vfs(rig: &Rig, adapter: &str) {
    for (vm, _) in VMS {
        is_on_vf(rig, vm, "br0", adapter);
        is_reached(rig, &address(rig, vm));
    }
}

/// Waits until all use a VF of this adapter: they have it some seconds before.
fn are_on_vfs_soon(rig: &Rig, adapter: &str) {
    for (vm, _) in VMS {
        let shows = |what: &str| format!("accelnet vm show {vm} -o json | grep -q '{what}'");
        let adapter = shows(&format!("\"adapter\": \"{adapter}\""));
        let path = shows("\"path\": \"vf\"");
        rig.until(60, &format!("{adapter} && {path}"));
    }
}
