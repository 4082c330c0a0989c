//! A card with a hundred VFs, whose vfio driver is made for it: discovery, binding, counts and leaks.
//!
//! It is the kernel's own SR-IOV over a configuration space in memory (`crates/lab/image/lab-card`), so VFs,
//! IOMMU groups, drivers and attributes are real; frames it has none.

use crate::{
    breakage::until_told,
    rig::{Rig, words},
};

const VFS: usize = 100;
const CARD: &str = "/sys/class/net/many0/device";
/// The VFs that have the driver made for them.
const BOUND: &str = "/sys/bus/pci/drivers/lab_card_vfio/0000:*";
const ENABLE: &str = "enable --intent many --when now --timeout 120";

/// The card comes, and is found: no VM is needed for that.
pub fn the_card_comes(rig: &mut Rig) {
    rig.json(&["disable"]);
    rig.node(
        "ls /dev/vfio > /run/vfio-before; ip link add brmany type bridge; ip link set brmany up",
    );
    plug(rig);
    let list = rig.json(&words("adapter list"));
    let mut all = list["items"].as_array().unwrap().iter();
    let facts = all.find(|item| item["facts"]["ifname"] == "many0");
    let facts = &facts.unwrap_or_else(|| panic!("{list}"))["facts"];
    assert_eq!(facts["sriov"], "supported", "{facts}");
    assert_eq!(facts["total_vfs"], 128, "{facts}");
    rig.json(&words(
        "intent add many --type compute --bridge brmany --adapter many0 --vfs 100",
    ));
}

/// A hundred VFs are made and bound, each to the driver that is made for it and in an IOMMU group of its own.
pub fn all_are_bound(rig: &mut Rig) {
    rig.json(&words(ENABLE));
    bound(rig);
    let groups = rig.node(&format!(
        "for vf in {CARD}/virtfn*; do readlink -f $vf/iommu_group; done | sort -u | wc -l"
    ));
    assert_eq!(groups.trim(), VFS.to_string());
    let vfs = rig.vfs("many0");
    assert_eq!(vfs.len(), VFS);
    for vf in &vfs {
        let safe = vf["spoofchk"] == true && vf["trust"] == false && vf["link_state"] == "auto";
        assert!(safe, "{vf}");
    }
    let capacity = rig.json(&["capacity"]);
    assert_eq!(capacity["total"]["vfs"], VFS, "{capacity}");
}

/// What VFs sent and what left by the port is told: the difference stayed in the card.
pub fn what_stays_in_the_card(rig: &mut Rig) {
    let told = |metric: &str| {
        let asked = "curl -sf --unix-socket /run/accelnet/accelnet.sock http://accelnet/metrics";
        rig.node(&format!(
            "{asked} | sed -n 's/^{metric}{{.*adapter=\"many0\".*}} //p' | sort | uniq -c | xargs"
        ))
    };
    rig.node("cd /sys/module/lab_card/parameters; echo 30 > vf_sent; echo 2000 > port_sent");
    let vfs = told("accelnet_vf_transmit_packets_total");
    assert_eq!(vfs.trim(), format!("{VFS} 30"));
    let port = told("accelnet_adapter_port_transmit_packets_total");
    assert_eq!(port.trim(), "1 2000");
    rig.node("cd /sys/module/lab_card/parameters; echo 0 > vf_sent; echo 0 > port_sent");
}

/// Whatever somebody does to some of them is undone, and the others are left alone.
pub fn what_others_do_is_undone(rig: &mut Rig) {
    // Thirty lose their driver, ten get the one that is not made for them.
    rig.node(&format!(
        "for n in $(seq 0 29); do echo $(basename $(readlink {CARD}/virtfn$n)) > {CARD}/virtfn$n/driver/unbind; done\n\
         for n in $(seq 30 39); do\n\
           vf=$(basename $(readlink {CARD}/virtfn$n)); echo vfio-pci > {CARD}/virtfn$n/driver_override\n\
           echo $vf > {CARD}/virtfn$n/driver/unbind; echo $vf > /sys/bus/pci/drivers_probe\n\
         done"
    ));
    // vfio-pci hands a VF to a VM as well, so it may stay unless the intent names the driver.
    rig.until(
        60,
        &format!("[ \"$({})\" = '90 lab_card_vfio 10 vfio-pci ' ]", drivers()),
    );
    rig.json(&words("intent set many --vf-driver lab_card_vfio"));
    until_bound(rig);
    for (number, change) in [
        (7, "trust on"),
        (57, "spoofchk off"),
        (98, "state disable"),
        (99, "vlan 42"),
    ] {
        rig.node(&format!("ip link set many0 vf {number} {change}"));
    }
    rig.until(
        60,
        "[ \"$(ip link show many0 | grep -c 'vf .*spoof checking on, link-state auto, trust off')\" = 100 ] && \
         ! ip link show many0 | grep -q 'vlan 42'",
    );
    rig.node(&format!("echo 0 > {CARD}/sriov_numvfs"));
    until_bound(rig);
}

/// The daemon is killed while it binds them.
pub fn killed_on_the_way(rig: &mut Rig) {
    // So many are bound, and not all.
    rig.node(&format!(
        "echo 0 > {CARD}/sriov_numvfs\n\
         until n=$(ls -d {BOUND} 2>/dev/null | wc -l); [ $n -ge 10 ]; do sleep 0.05; done\n\
         kill -9 $(pidof accelnetd); [ $n -lt {VFS} ]"
    ));
    until_bound(rig);
    until_told(rig, 60, "host_operation_failed", false);
}

/// The card is pulled out with all its VFs, which is said, and plugged in again.
pub fn the_card_is_pulled(rig: &mut Rig) {
    rig.node("rmmod lab_card");
    rig.until(60, "accelnet intent show many | grep -q adapter_not_found");
    plug(rig);
    until_bound(rig);
}

/// Nobody makes VFs any more. Nothing is left of them, and the card and its drivers can go.
pub fn the_card_goes(rig: &mut Rig) {
    rig.json(&["disable"]);
    rig.json(&words("intent remove many"));
    rig.node(&format!("echo 0 > {CARD}/sriov_numvfs"));
    rig.node("ls /dev/vfio | diff /run/vfio-before -; rmmod lab_card_vfio");
    rig.json(&words("enable --intent compute --when now"));
    assert_eq!(rig.node(&format!("cat {CARD}/sriov_numvfs")).trim(), "0");
    rig.node("ip link del brmany; rmmod lab_card");
    rig.until(20, "! accelnet adapter list | grep -q many0");
}

/// The card comes into its slot, and its port into its bridge.
fn plug(rig: &Rig) {
    rig.node(
        "modprobe lab_card; udevadm settle\n\
         card=$(ls /sys/bus/pci/devices/0000:00:18.0/0000:*/net); ip link set $card down; ip link set $card name many0\n\
         ip link set many0 master brmany up",
    );
    rig.until(20, "accelnet adapter list | grep -q many0");
}

/// How many of the VFs have which driver.
fn drivers() -> String {
    format!(
        "ls -d {CARD}/virtfn* 2>/dev/null | while read vf; do basename $(readlink $vf/driver || echo none); done | \
         sort | uniq -c | sed 's/^ *//' | tr '\\n' ' '"
    )
}

fn bound(rig: &Rig) {
    assert_eq!(rig.node(&drivers()), format!("{VFS} lab_card_vfio "));
}

fn until_bound(rig: &Rig) {
    let bound = format!("[ \"$(ls -d {BOUND} 2>/dev/null | wc -l)\" = {VFS} ]");
    rig.until(120, &bound);
    self::bound(rig);
}
