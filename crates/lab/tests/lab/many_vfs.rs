//! A card with a hundred VFs, whose vfio driver is made for it: discovery, binding, counts and leaks.
//!
//! It is the kernel's own SR-IOV over a configuration space in memory (`crates/lab/image/lab-card`), so VFs,
//! IOMMU groups, drivers and attributes are real; frames it has none.

use crate::{
    breakage::until_told,
    rig::{Rig, words},
};

const VFS: usize = 100;
const CARD: &str = "/sys/bus/pci/devices/0000:e0:00.0";
const ENABLE: &str = "enable --intent many --when now --timeout 120";

/// The card comes, and is found: no VM is needed for that.
pub fn the_card_comes(rig: &mut Rig) {
    rig.json(&["disable"]);
    rig.node(&format!(
        "modprobe lab_card\n\
         udevadm settle\n\
         card=$(ls {CARD}/net); ip link set $card down; ip link set $card name many0\n\
         ip link add brmany type bridge; ip link set brmany up; ip link set many0 master brmany up"
    ));
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

/// The daemon is killed while it binds them, and when it takes them away.
pub fn killed_on_the_way(rig: &mut Rig) {
    // So many are bound, and not all.
    let some = format!(
        "until n=$(ls -d /sys/bus/pci/drivers/lab_card_vfio/0000:e0:* 2>/dev/null | wc -l); \
         [ $n -ge 10 ]; do sleep 0.05; done; kill -9 $(pidof accelnetd); [ $n -lt {VFS} ]"
    );
    rig.json(&["disable"]);
    gone(rig);
    rig.node(&format!("accelnet {ENABLE} >/dev/null 2>&1 & {some}"));
    until_bound(rig);
    until_told(rig, 60, "host_operation_failed", false);
    rig.node("accelnet disable >/dev/null 2>&1 & sleep 0.3; kill -9 $(pidof accelnetd)");
    rig.until(60, "accelnet status >/dev/null");
    rig.json(&["disable"]);
    gone(rig);
}

/// Nothing of it is left: the card and its drivers can go.
pub fn the_card_goes(rig: &mut Rig) {
    rig.json(&words("intent remove many"));
    rig.node("ip link del brmany; rmmod lab_card_vfio; rmmod lab_card");
    let list = rig.json(&words("adapter list")).to_string();
    assert!(!list.contains("many0"), "{list}");
    rig.json(&words("enable --intent compute --when now"));
}

/// `driver` and how many VFs have it, of all there are.
fn drivers() -> String {
    format!(
        "ls -d {CARD}/virtfn* 2>/dev/null | while read vf; do basename $(readlink $vf/driver || echo none); done | sort | uniq -c"
    )
}

fn bound(rig: &Rig) {
    let drivers = rig.node(&drivers());
    let words: Vec<&str> = drivers.split_whitespace().collect();
    assert_eq!(words, [VFS.to_string().as_str(), "lab_card_vfio"]);
}

fn until_bound(rig: &Rig) {
    let bound = format!(
        "[ \"$(ls -d /sys/bus/pci/drivers/lab_card_vfio/0000:e0:* 2>/dev/null | wc -l)\" = {VFS} ]"
    );
    rig.until(120, &bound);
    self::bound(rig);
}

/// None is left, and the kernel may give drivers to VFs again as it did.
fn gone(rig: &Rig) {
    rig.until(60, &format!("[ \"$(cat {CARD}/sriov_numvfs)\" = 0 ]"));
    assert_eq!(rig.node(&drivers()), "");
    rig.until(
        20,
        &format!("[ \"$(cat {CARD}/sriov_drivers_autoprobe)\" = 1 ]"),
    );
}
