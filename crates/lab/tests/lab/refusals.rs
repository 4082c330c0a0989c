//! What must not be accelerated, and why: one clear problem each, and nothing changed.

use accelnet_lab::lab::{Guest, guests::Shape};

use crate::rig::{Rig, words};

/// A refused command: its exit code, its code, and the VM where it was.
pub fn refused(rig: &Rig, words: &[&str], code: &str) {
    let run = rig.accelnet(&[words, &["-o", "json"]].concat());
    assert_ne!(run.code, 0, "{words:?}: {run:?}");
    assert!(
        run.codes().contains(&code.to_owned()),
        "{words:?} should say {code}: {run:?}"
    );
}

/// Before anything is enabled, and with names that mean nothing.
pub fn not_enabled_yet(rig: &mut Rig) {
    refused(rig, &["vm", "enable", "vm1"], "accel_net_not_enabled");
    refused(rig, &["enable", "--intent", "nonsense"], "intent_not_found");
    refused(
        rig,
        &["enable", "--intent", "compute", "--reserve", "100"],
        "reserve_out_of_range",
    );
    let add = |bridge, adapter| {
        [
            "intent",
            "add",
            "other",
            "--bridge",
            bridge,
            "--adapter",
            adapter,
        ]
    };
    refused(rig, &add("br9", "eth9"), "bridge_not_found");
    refused(rig, &add("br9", "eth9"), "adapter_not_found");
    refused(rig, &add("br0", "pf0"), "adapter_in_two_intents");
    // Nobody is let in but root and group accelnet.
    let run = rig.node(
        "HOME=/nonexistent setpriv --reuid 65534 --regid 65534 --clear-groups accelnet status -o json 2>&1 || echo \"exit $?\"",
    );
    assert!(
        run.contains("permission_denied") && run.trim().ends_with("exit 5"),
        "{run}"
    );
}

/// VMs of odd shapes.
pub fn odd_vms(rig: &mut Rig) {
    let paused = |name: &str| format!("virsh -q define {name}.xml; virsh -q start --paused {name}");
    let off = |name: &str| format!("virsh -q define {name}.xml");
    let transient = |name: &str| format!("virsh -q create --paused {name}.xml");
    let shape = Shape::default;
    type Start<'a> = &'a dyn Fn(&str) -> String;
    let cases: [(&str, Shape, Start<'_>, &str); 10] = [
        ("off", shape(), &off, "vm_not_running"),
        (
            "i440fx",
            Shape {
                machine: "pc".into(),
                ..shape()
            },
            &paused,
            "vm_machine_not_pcie",
        ),
        (
            "nonic",
            Shape {
                nic: false,
                ..shape()
            },
            &paused,
            "get_network_adapter_failed",
        ),
        (
            "noport",
            Shape {
                root_ports: 0,
                ..shape()
            },
            &paused,
            "vm_no_free_root_port",
        ),
        (
            "nostandby",
            Shape {
                standby: false,
                ..shape()
            },
            &paused,
            "vm_needs_cold_start",
        ),
        (
            "transient",
            Shape {
                standby: false,
                ..shape()
            },
            &transient,
            "vm_definition_not_ours",
        ),
        (
            "onecpu",
            Shape {
                vcpus: 1,
                ..shape()
            },
            &paused,
            "vm_not_enough_vcpus",
        ),
        (
            "large",
            Shape {
                memory_mib: 1700,
                ..shape()
            },
            &paused,
            "vm_memory_not_pinnable",
        ),
        (
            "e1000",
            Shape {
                model: "e1000e".into(),
                standby: false,
                ..shape()
            },
            &paused,
            "vm_nic_not_virtio",
        ),
        (
            "limited",
            Shape {
                nic_extra: "<bandwidth><outbound average='1000' peak='2000'/></bandwidth>".into(),
                ..shape()
            },
            &paused,
            "policy_not_offloadable",
        ),
    ];
    for (i, (name, shape, start, code)) in cases.iter().enumerate() {
        rig.odd_vm(name, 200 + i as u8, shape, &start(name));
        refused(rig, &["vm", "enable", name], code);
        let vm = rig.vm(name);
        assert!(vm["level"].is_null(), "{name}: {vm}");
        if *name == "nostandby" {
            staged(rig, name);
        }
        rig.node(&format!(
            "virsh -q destroy {name} 2>/dev/null || true; virsh -q undefine {name} 2>/dev/null || true"
        ));
    }
    refused(rig, &["vm", "enable", "nobody"], "vm_not_found");
}

/// `prepare` puts on the definition what a cold start then brings.
fn staged(rig: &Rig, name: &str) {
    rig.json(&["vm", "prepare", name]);
    let xml = rig.node(&format!("virsh dumpxml --inactive {name}"));
    assert!(xml.contains("<teaming type='persistent'/>"), "{xml}");
    // The running VM is as before.
    refused(rig, &["vm", "enable", name], "vm_needs_cold_start");
    rig.node(&format!(
        "virsh -q destroy {name}; virsh -q start --paused {name}"
    ));
    let run = rig.accelnet(&["vm", "enable", name, "-o", "json"]);
    assert_eq!(
        run.codes(),
        ["vm_not_running"],
        "it is paused, nothing else: {run:?}"
    );
}

/// The card has two queue pairs a VF.
pub fn level(rig: &mut Rig) {
    refused(
        rig,
        &["vm", "enable", "vm1", "-p", "High"],
        "cannot_provision_performance",
    );
}

/// Each kind of policy on the way of the guest's frames refuses, names its place, and is forgotten
/// when it is gone.
pub fn policy_on_the_port(rig: &mut Rig) {
    let tap = rig.node("virsh domiflist vm1 | awk '/br0/ {print $1}'");
    let tap = tap.trim();
    let rules = [
        (
            "nft add table bridge lab; nft add chain bridge lab f '{ type filter hook forward priority 0; }'; \
             nft add rule bridge lab f ether saddr 52:54:00:77:00:65 udp dport 9 drop"
                .to_owned(),
            "nft delete table bridge lab".to_owned(),
        ),
        (
            format!("bridge link set dev {tap} isolated on"),
            format!("bridge link set dev {tap} isolated off"),
        ),
        (
            format!("tc qdisc add dev {tap} clsact; tc filter add dev {tap} ingress matchall action drop continue"),
            format!("tc qdisc del dev {tap} clsact"),
        ),
    ];
    for (add, remove) in &rules {
        rig.node(add);
        let run = rig.accelnet(&["vm", "enable", "vm1", "-p", "Low", "-o", "json"]);
        rig.node(remove);
        assert!(
            run.code == 3 && run.codes().contains(&"policy_not_offloadable".to_owned()),
            "{add}: {run:?}"
        );
    }
    let plan = rig.json(&["vm", "enable", "vm1", "-p", "Low", "--dry-run"]);
    assert_eq!(plan["items"][0]["ok"], true, "{plan}");
}

/// What the bridge carries and a VF cannot: a larger MTU, and more addresses than the NIC's own.
pub fn what_does_not_fit(rig: &mut Rig) {
    let tap = rig.node("virsh domiflist vm1 | awk '/br0/ {print $1}'");
    let tap = tap.trim();
    let nested = format!("52:54:00:99:00:01 dev {tap} master");
    for (add, remove, code) in [
        (
            "ip link set br0 mtu 9000".to_owned(),
            "ip link set br0 mtu 1500".to_owned(),
            "vf_mtu_too_small",
        ),
        (
            format!("bridge fdb add {nested} static"),
            format!("bridge fdb del {nested}"),
            "reachability_not_offloadable",
        ),
    ] {
        rig.node(&add);
        refused(rig, &["vm", "enable", "vm1", "-p", "Low"], code);
        rig.node(&remove);
    }
    let plan = rig.json(&["vm", "enable", "vm1", "-p", "Low", "--dry-run"]);
    assert_eq!(plan["items"][0]["ok"], true, "{plan}");
}

/// A guest without a driver for the VF keeps what it has, and loses nothing.
pub fn guest_without_failover(rig: &mut Rig) {
    let guest = Guest {
        name: "plain".into(),
        node: "node1".into(),
        host: 150,
        mac: "52:54:00:77:01:96".into(),
    };
    let shape = Shape {
        failover: false,
        ..Shape::default()
    };
    rig.lab.define(guest, &shape, false, false).unwrap();
    let kind = 50;
    let running = rig.lab.start_probe("plain", kind).unwrap();
    refused(
        rig,
        // libvirt's plugging alone took two minutes on a slow machine: all memory of the VM is pinned by it.
        &["vm", "enable", "plain", "-p", "Low", "--timeout", "600"],
        "guest_without_failover",
    );
    rig.json(&["vm", "disable", "plain"]);
    let report = running.stop().unwrap().all();
    assert_eq!(report.lost, 0, "{report:?}");
    assert_eq!(rig.vm("plain")["nics"][0]["path"], "synthetic");
    rig.node("virsh -q destroy plain; virsh -q undefine plain");
    rig.lab.guests.retain(|guest| guest.name != "plain");
}

/// With SMT two vCPUs are one core, and too few for every level.
pub fn more_vcpus_with_smt(rig: &mut Rig) {
    let checks = rig.json(&["prereq"]);
    let smt = checks["items"].as_array().unwrap().iter();
    let mut smt = smt.filter(|check| check["check"] == "smt");
    assert_eq!(smt.next().unwrap()["passed"], true, "{checks}");
    rig.json(&["enable", "--intent", "compute", "--when", "now"]);
    for (vcpus, code) in [
        (1, "vm_not_enough_vcpus"),
        (2, "ht_enabled_min_processor_counter"),
    ] {
        let (name, shape) = (
            format!("cpus{vcpus}"),
            Shape {
                vcpus,
                ..Shape::default()
            },
        );
        let start = format!("virsh -q define {name}.xml; virsh -q start --paused {name}");
        rig.odd_vm(&name, 200, &shape, &start);
        refused(rig, &["vm", "enable", &name, "-p", "Low"], code);
        rig.node(&format!(
            "virsh -q destroy {name}; virsh -q undefine {name}"
        ));
    }
}

/// Intents, nodes and VMs that are not as a command needs them.
pub fn what_does_not_go_together(rig: &mut Rig) {
    let again = words("intent add compute --bridge br0 --adapter pf0 --type storage");
    refused(rig, &again, "intent_exists");
    let itself = words("intent add itself --bridge pf0 --adapter pf0");
    refused(rig, &itself, "intent_invalid");
    rig.json(&words("intent set compute --type storage"));
    let enable = words("enable --intent compute --when now");
    refused(rig, &enable, "intent_type_check_failed");
    rig.json(&words("intent set compute --type compute"));
    rig.node("ip link set pf0 down");
    refused(rig, &enable, "adapter_link_down");
    rig.node("ip link set pf0 up");
    rig.until(20, "[ \"$(cat /sys/class/net/pf0/carrier)\" = 1 ]");
    rig.json(&enable);
    let many = words("intent set compute --vfs 99");
    refused(rig, &many, "vf_count_not_possible");
    refused(rig, &words("intent remove compute"), "intent_in_use");
    let without = words("capacity --without node9");
    refused(rig, &without, "node_not_found");
    let define = "virsh -q define idle.xml";
    rig.odd_vm("idle", 200, &Shape::default(), define);
    refused(rig, &words("vm set idle -p Low"), "vm_not_accelerated");
    rig.node("virsh -q undefine idle");
}
