//! Machines, adapters and VFs that cannot be used, and why.

use serde_json::Value;

use crate::{refusals::refused, rig::Rig};

/// What the product says of an adapter's SR-IOV.
fn sriov(rig: &Rig, adapter: &str) -> String {
    let list = rig.json(&["adapter", "list"]);
    let found = list["items"].as_array().unwrap().iter();
    let mut states = found
        .filter(|item| item["facts"]["ifname"] == adapter)
        .map(|item| {
            item["facts"]["sriov"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        });
    states
        .next()
        .unwrap_or_else(|| panic!("no adapter {adapter}: {list}"))
}

/// Codes of the checks of an intent that are not passed.
fn failed_checks(rig: &Rig, intent: &str) -> Vec<String> {
    let run = rig.accelnet(&["prereq", "--intent", intent, "-o", "json"]);
    assert_eq!(run.code, 3, "{run:?}");
    let checks: Value = serde_json::from_str(&run.out).unwrap();
    let failed = checks["items"].as_array().unwrap().iter();
    failed
        .filter(|check| check["passed"] == false)
        .flat_map(|check| {
            assert!(check["found"].is_string(), "{check}");
            check["problem"]["code"].as_str().map(str::to_owned)
        })
        .collect()
}

/// A NIC without SR-IOV, an adapter below a port without ACS, and one without its driver: each has its
/// own state, and enabling refuses with it.
pub fn adapters_that_cannot(rig: &mut Rig) {
    assert_eq!(sriov(rig, "pf0"), "supported");
    assert_eq!(sriov(rig, "mgmt"), "unknown");
    assert_eq!(sriov(rig, "pf1"), "missing_acs");
    rig.node("ip link add br9 type bridge; ip link set br9 up; ip link set pf1 master br9 up");
    rig.json(&[
        "intent",
        "add",
        "odd",
        "--bridge",
        "br9",
        "--adapter",
        "pf1",
    ]);
    let code = "sriov_support_missing_acs";
    assert!(failed_checks(rig, "odd").contains(&code.to_owned()));
    refused(rig, &["enable", "--intent", "odd"], code);
    // Its VFs, which somebody made, are not isolated from each other.
    let make = |count| {
        let set = |name, value| format!("echo {value} > /sys/class/net/pf1/device/{name}");
        let (probe, make) = (
            set("sriov_drivers_autoprobe", u8::from(count == 0)),
            set("sriov_numvfs", count),
        );
        rig.node(&format!("{probe}; {make}"));
    };
    make(2);
    let failed = failed_checks(rig, "odd");
    assert!(failed.contains(&"vf_not_isolated".to_owned()), "{failed:?}");
    make(0);
    // The card is there, its driver is not.
    let card = rig.node("basename $(readlink /sys/class/net/pf1/device)");
    let card = card.trim();
    rig.node(&format!("echo {card} > /sys/bus/pci/drivers/igb/unbind"));
    let code = "sriov_support_missing_pf_driver";
    let failed = failed_checks(rig, "odd");
    assert!(failed.contains(&code.to_owned()), "{failed:?}");
    let stand_in = format!("pci{}", card.replace(':', "-"));
    assert_eq!(sriov(rig, &stand_in), "missing_pf_driver");
    rig.node(&format!("echo {card} > /sys/bus/pci/drivers/igb/bind"));
    rig.json(&["intent", "remove", "odd"]);
    rig.node("ip link del br9");
    assert_eq!(rig.json(&["status"])["enabled"], Value::Null);
}

/// VFs that an administrator gave to a machine of his own are left alone, and said; they are used again
/// when it has ended.
pub fn vfs_of_others(rig: &mut Rig) {
    rig.node(
        "devices=; for vf in /sys/class/net/pf0/device/virtfn*; do devices=\"$devices -device vfio-pci,host=$(basename $(readlink $vf))\"; done\n\
         systemd-run -q --unit=other -p Type=forking \
         qemu-system-x86_64 -daemonize -S -M q35 -m 64 -nodefaults -display none $devices",
    );
    refused(
        rig,
        &["vm", "enable", "vm1", "-p", "Low"],
        "vf_in_use_by_others",
    );
    assert_eq!(rig.vm("vm1")["nics"][0]["path"], "synthetic");
    assert_eq!(
        rig.node("systemctl is-active other").trim(),
        "active",
        "it is left alone"
    );
    rig.node("systemctl stop other");
    let plan = rig.json(&["vm", "enable", "vm1", "-p", "Low", "--dry-run"]);
    assert_eq!(plan["items"][0]["ok"], true, "{plan}");
}

/// Without an IOMMU nothing is enabled, and every place says the same cause.
pub fn no_iommu(rig: &mut Rig) {
    let code = "sriov_support_no_iommu";
    assert_eq!(sriov(rig, "pf0"), "no_iommu_support");
    assert!(failed_checks(rig, "compute").contains(&code.to_owned()));
    refused(
        rig,
        &["enable", "--intent", "compute", "--when", "now"],
        code,
    );
    let made = rig.node("cat /sys/class/net/pf0/device/sriov_numvfs");
    assert_eq!(made.trim(), "0", "nothing was changed");
    assert_eq!(rig.json(&["status"])["enabled"], Value::Null);
}
