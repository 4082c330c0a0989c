//! What breaks on a node, and what is said of it. Arranged with an administrator's means: files that
//! cannot be written, what the kernel shows covered by something else, daemons that stand still.

use serde_json::Value;

use crate::{
    documentation::{install_cmdlets, types},
    refusals::refused,
    rig::{Rig, words},
};
use accelnet_lab::lab::guests::Shape;

/// The PF's directory, a VF that no VM uses, and what runs a command where the daemon is: it has a /proc of its own.
const NAMES: &str = "PF=$(readlink -f /sys/class/net/pf0/device); VF=$(readlink -f $PF/virtfn3)\n\
                     ITS=\"nsenter -m -t $(systemctl show -P MainPID accelnetd)\"";

/// Waits until the node's status has this code, or none any more.
pub fn until_told(rig: &Rig, seconds: u32, code: &str, told: bool) {
    let not = if told { "" } else { "! " };
    rig.until(
        seconds,
        &format!("{not}accelnet status -o json | grep -q '\"{code}\"'"),
    );
}

/// Codes of the checks that are not passed, while something covers what the kernel shows.
fn checked(rig: &Rig, cover: &str, uncover: &str) -> Vec<String> {
    rig.node(&format!("{NAMES}\n{cover}"));
    let codes = rig
        .accelnet(&words("prereq --intent compute -o json"))
        .codes();
    rig.node(&format!("{NAMES}\n{uncover}"));
    codes
}

/// The kernel refuses what enabling needs: that, and why, is said, and no VF is made.
pub fn enabling_fails(rig: &mut Rig) {
    let file = "$PF/sriov_numvfs";
    rig.node(&format!(
        "{NAMES}\necho 0 > /root/none; chattr +i /root/none; mount --bind /root/none {file}"
    ));
    refused(
        rig,
        &words("enable --intent compute --when now --timeout 5"),
        "enable_accel_net_failed",
    );
    until_told(rig, 10, "host_operation_failed", true);
    assert_eq!(rig.vfs("pf0").len(), 0);
    rig.json(&["disable"]);
    rig.node(&format!("{NAMES}\numount {file}; chattr -i /root/none"));
}

/// What the machine lacks for acceleration.
pub fn what_the_node_lacks(rig: &mut Rig) {
    for (cover, uncover, code) in [
        (
            "mv /dev/kvm /dev/kvm.away",
            "mv /dev/kvm.away /dev/kvm",
            "accel_net_not_supported",
        ),
        (
            "sed s/IR-//g /proc/interrupts > /run/interrupts; $ITS mount --bind /run/interrupts /proc/interrupts",
            "$ITS umount /proc/interrupts",
            "interrupt_remapping_off",
        ),
        (
            "mount --bind /dev/null /sys/devices/system/cpu/smt/active",
            "umount /sys/devices/system/cpu/smt/active",
            "hyperthreading_check_failed",
        ),
        (
            "echo 0 > /run/zero; mount --bind /run/zero $PF/sriov_totalvfs",
            "umount $PF/sriov_totalvfs",
            "sriov_support_unknown",
        ),
    ] {
        assert_eq!(checked(rig, cover, uncover), [code], "{cover}");
    }
    assert_eq!(checked(rig, "true", "true"), [""; 0]);
}

/// A VF that is not clean and cannot be made so is kept back, until it can.
pub fn a_vf_does_not_come_clean(rig: &mut Rig) {
    // There is no way left to reset it (Documentation/ABI/testing/sysfs-bus-pci, `reset_method`).
    rig.node(&format!(
        "{NAMES}\necho > $VF/reset_method; ip link set pf0 vf 3 trust on"
    ));
    until_told(rig, 20, "vf_quarantined", true);
    rig.node(&format!(
        "{NAMES}\necho default > $VF/reset_method; systemctl restart accelnetd"
    ));
    until_told(rig, 20, "vf_quarantined", false);
    rig.until(20, "ip link show pf0 | grep 'vf 3 ' | grep -q 'trust off'");
}

/// Another program undoes what we do, again and again.
pub fn somebody_undoes_it(rig: &mut Rig) {
    rig.node(
        "systemd-run -q --unit=undoer sh -c 'while true; do bridge fdb del $(cat /sys/class/net/br0/address) dev pf0 self; sleep 0.1; done'",
    );
    until_told(rig, 20, "repair_repeated", true);
    until_told(rig, 60, "repair_failed", true);
    rig.node("systemctl stop undoer");
    rig.until(
        10,
        "bridge fdb show dev pf0 | grep -q \"$(cat /sys/class/net/br0/address) self\"",
    );
    // It forgets that after a minute's peace, or with a start.
    rig.node("systemctl restart accelnetd");
    until_told(rig, 20, "repair_failed", false);
}

/// A second agent would undo what the first does: it is told whose machine this is, and nothing changes.
pub fn a_second_agent(rig: &mut Rig) {
    let first = rig.node("systemctl show -P MainPID accelnetd");
    let run = rig.command(&words(
        "accelnetd standalone --socket /run/second.sock --state-dir /var/lib/second",
    ));
    assert_eq!(run.code, 1, "{run:?}");
    let named = format!("process {} ", first.trim());
    assert!(run.err.contains(&named), "{run:?}");
    assert!(run.err.contains("this machine has an agent"), "{run:?}");
    assert_eq!(rig.json(&["status"])["enabled"]["intent"], "compute");
    rig.node("rm -r /var/lib/second");
}

/// What must be remembered cannot be.
pub fn nothing_can_be_written(rig: &mut Rig) {
    rig.node("chattr +i /var/lib/accelnet");
    rig.json(&words("intent set compute --max-tx-rate Low=200"));
    until_told(rig, 20, "store_failed", true);
    rig.node("chattr -i /var/lib/accelnet");
    rig.json(&words("intent set compute --max-tx-rate Low=300"));
    until_told(rig, 20, "store_failed", false);
}

/// VMs whose definition cannot be changed, or whose name says too little.
pub fn definitions(rig: &mut Rig) {
    let shape = Shape {
        standby: false,
        ..Shape::default()
    };
    for (name, host) in [("kept", 210), ("Kept", 211)] {
        rig.odd_vm(name, host, &shape, &format!("virsh -q define {name}.xml"));
    }
    rig.node("chattr +i /etc/libvirt/qemu/kept.xml");
    refused(rig, &words("vm prepare kept"), "vm_definition_not_changed");
    rig.node("chattr -i /etc/libvirt/qemu/kept.xml");
    // It is tried again by itself.
    rig.until(
        30,
        "virsh dumpxml --inactive kept | grep -q \"<teaming type='persistent'\"",
    );
    install_cmdlets(rig);
    let run = types(rig, "Disable-AccelNetVM -VMName KEPT");
    assert!(
        run.code != 0 && run.err.contains("[vm_ambiguous]"),
        "{run:?}"
    );
    rig.node("virsh -q undefine kept; virsh -q undefine Kept");
}

/// Offline: one more VM than fits with a node down.
pub fn more_than_fits(rig: &mut Rig) {
    let node = |name| serde_json::json!({"name": name, "adapters": [{"name": "pf0", "vfs": 1, "queue_pairs_per_vf": 2}]});
    let cluster = serde_json::json!({
        "node_reserve_percentage": 50,
        "nodes": [node("a"), node("b")],
        "vms": [{"name": "v", "level": "Low", "nics": 1, "node": "a"}],
        "add": [{"name": "w", "level": "Low", "nics": 1}],
    });
    rig.node(&format!("cat > /root/cluster.json <<'END'\n{cluster}\nEND"));
    let answer = rig.json(&words("capacity --from /root/cluster.json"));
    let refusal = &answer["refused"][0];
    assert_eq!(refusal["code"], "cluster_not_enough_resources", "{answer}");
    assert_eq!(refusal["counterexample"][0], "b", "{answer}");
}

/// libvirt stands still, and the agent says so; and the server's state is an older one than the node's.
pub fn out_of_step(rig: &mut Rig) {
    rig.node("kill -STOP $(pidof libvirtd)");
    rig.json(&["prereq"]);
    until_told(rig, 20, "hypervisor_unavailable", true);
    rig.node("kill -CONT $(pidof libvirtd)");
    until_told(rig, 60, "hypervisor_unavailable", false);
    let state = "/var/lib/accelnet/state.sqlite*";
    rig.node(&format!(
        "systemctl stop accelnetd; mkdir /root/old; cp {state} /root/old; systemctl start accelnetd\n\
         accelnet intent set compute --max-tx-rate Low=200; accelnet intent set compute --max-tx-rate Low=300\n\
         systemctl stop accelnetd; rm {state}; cp /root/old/* /var/lib/accelnet; systemctl start accelnetd"
    ));
    until_told(rig, 20, "conflict", true);
    // Its cure.
    rig.node(
        "systemctl stop accelnetd; rm /var/lib/accelnet/ledger.json; systemctl start accelnetd",
    );
    until_told(rig, 20, "conflict", false);
    let status: Value = rig.json(&["status"]);
    assert_eq!(status["enabled"]["intent"], "compute", "{status}");
}
