//! More than one adapter below a bridge: an active-backup bond carries VMs on the VFs of the member that it
//! uses, everything else is refused by name.

use accelnet_lab::lab::Place;

use crate::{
    beside::beside,
    connectivity::MORE_S,
    refusals::refused,
    rig::{Rig, words},
    second_network::{ENABLE, is_on_vf, is_reached},
};

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
    rig.json(&words("vm enable vm1 -p Medium"));
    is_on_vf(rig, "vm1", "br0", "pf0");
    for address in ["10.77.0.101", "10.77.0.102"] {
        is_reached(rig, address);
    }
}

/// The cable of the member in use is cut: the VM is reached by the software path, then on the other
/// member's VF, where it stays when the cable is back. Nothing of it is left on the first.
pub fn a_cut_cable_moves_the_vm(rig: &mut Rig) {
    let results = beside(rig, &[Place::Node("node1"), Place::Wire], |rig| {
        rig.lab.cut_node("node1", true).unwrap();
        is_on_vf_soon(rig, "pf1");
    });
    results.iter().for_each(|result| result.no_worse_by(MORE_S));
    assert_eq!(
        rig.node("cat /sys/class/net/bond0/bonding/active_slave")
            .trim(),
        "pf1"
    );
    let vf = is_on_vf(rig, "vm1", "br0", "pf1");
    assert_eq!(vf["rate"]["max_tx"], 300, "{vf}");
    is_reached(rig, "10.77.0.101");
    let gone = |rig: &Rig| {
        rig.vfs("pf0")
            .iter()
            .all(|vf| vf["address"] == "00:00:00:00:00:00")
    };
    assert!(gone(rig), "{:?}", rig.vfs("pf0"));
    let intent = rig.json(&words("intent show compute"));
    assert_eq!(intent["status"][0]["state"], "success", "{intent}");
    rig.lab.cut_node("node1", false).unwrap();
    // igb takes no limit away without link.
    rig.until(30, "! ip link show pf0 | grep -q max_tx_rate");
    is_on_vf(rig, "vm1", "br0", "pf1");
}

/// The member in use is set down; the VM comes back to the first.
pub fn and_back(rig: &mut Rig) {
    rig.node("ip link set pf1 down");
    is_on_vf_soon(rig, "pf0");
    is_on_vf(rig, "vm1", "br0", "pf0");
    is_reached(rig, "10.77.0.101");
    rig.json(&words("vm disable vm1"));
    is_reached(rig, "10.77.0.101");
}

/// Waits until vm1 uses a VF of this adapter: it has it some seconds before.
fn is_on_vf_soon(rig: &Rig, adapter: &str) {
    let shows = |what: &str| format!("accelnet vm show vm1 -o json | grep -q '{what}'");
    let adapter = shows(&format!("\"adapter\": \"{adapter}\""));
    let path = shows("\"path\": \"vf\"");
    rig.until(60, &format!("{adapter} && {path}"));
}
