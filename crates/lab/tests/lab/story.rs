//! A VM goes to a VF and back: really, completely, and cleanly.

use serde_json::Value;

use crate::rig::Rig;

/// The checks see a machine that has everything, and name each.
pub fn prerequisites_are_met(rig: &mut Rig) {
    let checks = rig.json(&["prereq", "--intent", "compute"]);
    let checks = checks["items"].as_array().unwrap();
    for wanted in [
        "kernel",
        "kvm",
        "iommu",
        "interrupt_remapping",
        "libvirt",
        "sriov",
        "link",
    ] {
        let check = checks.iter().find(|check| check["check"] == wanted);
        let check = check.unwrap_or_else(|| panic!("no check '{wanted}'"));
        assert_eq!(check["passed"], true, "{check}");
    }
}

/// Creating VFs bounces the link, so it waits while the link is in use, and says so.
pub fn vfs_wait_for_the_link(rig: &mut Rig) {
    let plan = rig.json(&["enable", "--intent", "compute", "--dry-run"]);
    assert_eq!(plan["dry_run"], true);
    assert_eq!(
        rig.json(&["status"])["enabled"],
        Value::Null,
        "a dry run changes nothing"
    );
    let run = rig.accelnet(&["enable", "--intent", "compute", "-o", "json"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.codes().contains(&"vfs_waiting".to_owned()), "{run:?}");
    assert_eq!(
        rig.node("cat /sys/class/net/pf0/device/sriov_numvfs")
            .trim(),
        "0"
    );
}

/// With `--when now` they are made, bound to vfio-pci, safe, and the host has no driver on them.
pub fn vfs_are_made(rig: &mut Rig) {
    rig.json(&["enable", "--intent", "compute", "--when", "now"]);
    let facts = rig.node(
        "cat /sys/class/net/pf0/device/sriov_numvfs\n\
         for vf in /sys/class/net/pf0/device/virtfn*; do basename $(readlink $vf/driver); done | sort | uniq -c\n",
    );
    let words: Vec<&str> = facts.split_whitespace().collect();
    assert_eq!(words, ["7", "7", "vfio-pci"]);
    baseline(rig, &[]);
    // Doing it again changes nothing.
    assert_eq!(
        rig.json(&["enable", "--intent", "compute", "--when", "now"])["changed"],
        false
    );
}

/// Every VF but those of `except` is as the kernel's own tool shows a safe one.
fn baseline(rig: &Rig, except: &[u64]) {
    let vfs = rig.vfs("pf0");
    assert_eq!(vfs.len(), 7);
    for vf in vfs
        .iter()
        .filter(|vf| !except.contains(&vf["vf"].as_u64().unwrap()))
    {
        assert_eq!(vf["address"], "00:00:00:00:00:00", "{vf}");
        assert_eq!(vf["spoofchk"], true, "{vf}");
        assert_eq!(vf["trust"], false, "{vf}");
        let none = vf["vlan_list"].as_array().is_none_or(|vlans| {
            vlans
                .iter()
                .all(|vlan| vlan["vlan"].as_u64().unwrap_or(0) == 0)
        });
        assert!(none, "{vf}");
        assert_eq!(vf["rate"]["max_tx"].as_u64().unwrap_or(0), 0, "{vf}");
    }
}

/// A VM need not get the VF again that it had: another VM has it meanwhile.
pub fn another_vf_the_next_time(rig: &mut Rig) {
    let vf_of = |vm: &str| rig.vm(vm)["nics"][0]["vf"].clone();
    for (verb, vm) in [
        ("enable", "vm1"),
        ("disable", "vm1"),
        ("enable", "vm2"),
        ("enable", "vm1"),
    ] {
        rig.json(&["vm", verb, vm]);
    }
    let (first, second) = (vf_of("vm1"), vf_of("vm2"));
    assert!(
        first.is_string() && second.is_string() && first != second,
        "{first} {second}"
    );
    for vm in ["vm1", "vm2"] {
        rig.until_path(vm, "vf", 30);
    }
    let report = rig.lab.probe("vm1", 2.0, 100);
    assert_eq!(report.unwrap().lost, 0);
    for vm in ["vm1", "vm2"] {
        rig.json(&["vm", "disable", vm]);
    }
}

/// The VF is really used: the guest's own driver and counters say so, the MAC is the same, and no
/// frame comes by the tap.
pub fn a_vf_for_a_vm(rig: &mut Rig) {
    let before = rig.vm("vm1");
    let mac = before["nics"][0]["mac"].clone();
    let results = rig.json(&["vm", "enable", "vm1", "--performance", "Medium"]);
    assert_eq!(results["items"][0]["ok"], true, "{results}");
    let vm = rig.vm("vm1");
    assert_eq!(
        (&vm["level"], &vm["node"]),
        (&"medium".into(), &"node1".into())
    );
    let nic = &vm["nics"][0];
    assert_eq!((&nic["path"], &nic["mac"]), (&"vf".into(), &mac), "{vm}");
    assert_eq!(nic["queue_pairs"]["allotted"], 2, "{vm}");
    assert_eq!(
        nic["queue_pairs"]["effective"], 1,
        "Linux's igbvf uses one pair: {vm}"
    );

    // The guest's view: one master with the same address, and a primary that igbvf drives.
    let primary = rig.guest("vm1", PRIMARY);
    let primary = primary.trim();
    assert!(!primary.is_empty(), "no interface of igbvf in the guest");
    let address = format!("cat /sys/class/net/eth0/address /sys/class/net/{primary}/address");
    let mac = mac.as_str().unwrap();
    let addresses = rig.guest("vm1", &address);
    assert_eq!(addresses.split_whitespace().collect::<Vec<_>>(), [mac, mac]);

    // Counters: what the probe sends goes by the VF, and the tap is silent.
    let tap = rig.node("virsh domiflist vm1 | awk '/br0/ {print $1}'");
    let tap = tap.trim().to_owned();
    let count = |rig: &Rig| {
        let guest = format!("cat /sys/class/net/{primary}/statistics/tx_packets");
        let guest: u64 = rig.guest("vm1", &guest).trim().parse().unwrap();
        let host = format!("cat /sys/class/net/{tap}/statistics/rx_packets");
        let host: u64 = rig.node(&host).trim().parse().unwrap();
        (guest, host)
    };
    let before = count(rig);
    let kind = 100;
    let report = rig.lab.probe("vm1", 3.0, kind).unwrap();
    let after = count(rig);
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(
        after.0 - before.0 >= report.from_guest.sent,
        "by the VF: {before:?} to {after:?}, {report:?}"
    );
    assert_eq!(after.1, before.1, "frames came by the tap");
}

/// Name of the interface that igbvf drives.
pub const PRIMARY: &str = "for d in /sys/class/net/*; do [ \"$(basename $(readlink $d/device/driver) 2>/dev/null)\" = igbvf ] && basename $d; done; true";

/// After `disable` the VM is on the software path and its VF is as it was made.
pub fn the_vf_comes_back_clean(rig: &mut Rig) {
    let results = rig.json(&["vm", "disable", "vm1"]);
    assert_eq!(results["items"][0]["ok"], true, "{results}");
    let vm = rig.vm("vm1");
    assert_eq!(
        (&vm["level"], &vm["nics"][0]["path"]),
        (&Value::Null, &"synthetic".into())
    );
    assert_eq!(
        rig.guest("vm1", PRIMARY).trim(),
        "",
        "the guest still has a VF"
    );
    baseline(rig, &[]);
    let left = rig.node("virsh dumpxml vm1 | grep -c hostdev || true");
    assert_eq!(left.trim(), "0");
    let status = rig.json(&["status"]);
    assert_eq!(status["nodes"][0]["vfs_used"], 0, "{status}");
}
