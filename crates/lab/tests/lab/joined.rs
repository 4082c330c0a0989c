//! Three nodes that joined one cluster: commands from any of them, a server that dies, nodes that are cut off,
//! emptied, left and taken in again. Whatever happens to the server, VMs keep what they have.

use accelnet_lab::lab::Place;
use serde_json::Value;

use crate::{
    beside::{PPS, only_switched},
    rig::Rig,
};

pub const NODES: [&str; 3] = ["node1", "node2", "node3"];
pub const VMS: [&str; 3] = ["vm1", "vm2", "vm3"];

pub fn on(rig: &Rig, node: &str, line: &str) -> Value {
    let said = rig.on(node, &format!("accelnet {line} -o json"));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{line}: {error}: {said}"))
}

/// Waits until a node is called up, or down, as another node tells it.
pub fn until_reachable(rig: &Rig, from: &str, node: &str, up: bool, seconds: u32) {
    let shown = format!("accelnet node show {node} -o json");
    let condition = format!("{shown} | grep -q '\"reachable\": {up}'");
    rig.until_on(from, seconds, &condition);
}

pub fn until_path(rig: &Rig, from: &str, vm: &str, path: &str, node: &str) {
    let shown = format!("accelnet vm show {vm} -o json");
    let is = |field: &str, value: &str| format!("grep -q '\"{field}\": \"{value}\"'");
    let condition = format!(
        "x=$({shown}) && echo \"$x\" | {} && echo \"$x\" | {}",
        is("path", path),
        is("node", node)
    );
    rig.until_on(from, 180, &condition);
}

/// The same list on each node, for those who have a token; root alone is nobody.
pub fn each_node_speaks_for_all(rig: &mut Rig) {
    for node in NODES {
        for other in NODES {
            until_reachable(rig, node, other, true, 60);
        }
        let names = on(rig, node, "node list");
        let names = names["items"].as_array().unwrap().iter();
        let names: Vec<&str> = names.filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(names, NODES);
        let nobody = rig.on(
            node,
            "HOME=/nonexistent accelnet status -o json 2>&1 || echo exit $?",
        );
        assert!(
            nobody.contains("not_authenticated") && nobody.contains("exit 5"),
            "{nobody}"
        );
    }
    // Who asked, and where, is in the record.
    rig.on(
        "node2",
        "accelnet intent set compute --max-tx-rate none > /dev/null",
    );
    let record = on(rig, "node3", "audit");
    let joins = record["items"].as_array().unwrap().iter();
    let joins = joins.filter(|entry| entry["operation"] == "node join");
    assert_eq!(joins.count(), NODES.len(), "{record}");
}

/// Enabled on one node; VMs accelerated from others than their own, one alone, then all at once.
pub fn acceleration_from_any_node(rig: &mut Rig) {
    rig.on(
        "node2",
        "accelnet enable --intent compute --when now > /dev/null",
    );
    rig.on(
        "node2",
        "accelnet vm enable vm1 --performance Low > /dev/null",
    );
    rig.on(
        "node3",
        "accelnet vm enable 'vm*' --performance Low > /dev/null",
    );
    for (vm, node) in VMS.iter().zip(NODES) {
        until_path(rig, "node1", vm, "vf", node);
        let report = rig.lab.probe(vm, 2.0, 100).unwrap();
        assert_eq!(report.lost, 0, "{vm}: {report:?}");
    }
    let entries = on(rig, "node1", "audit");
    let by_node2 = entries["items"].as_array().unwrap().iter();
    let mut by_node2 = by_node2.filter(|entry| entry["by"]["node"] == "node2");
    assert!(
        by_node2.any(|entry| entry["operation"] == "enable"),
        "{entries}"
    );
}

/// Nothing changes for VMs; nodes are back by themselves, and what is asked for is done.
pub fn the_server_is_killed(rig: &mut Rig) {
    let vms: Vec<_> = VMS
        .iter()
        .map(|vm| rig.lab.guest(vm).unwrap().address())
        .collect();
    let calling = rig.lab.start_calling(Place::Wire, &vms, PPS).unwrap();
    let before = rig.on("node1", "systemctl show -P MainPID accelnet-server");
    rig.on("node1", "systemctl kill -s KILL accelnet-server");
    let other = format!(
        "x=$(systemctl show -P MainPID accelnet-server); test $x != 0 && test $x != {}",
        before.trim()
    );
    rig.until_on("node1", 30, &other);
    for node in NODES {
        until_reachable(rig, "node2", node, true, 60);
    }
    let echoes = calling.stop().unwrap();
    for (vm, echoes) in VMS.iter().zip(&echoes) {
        assert!(echoes.sent > 0 && echoes.lost() == 0, "{vm}: {echoes:?}");
    }
    for (vm, node) in VMS.iter().zip(NODES) {
        until_path(rig, "node3", vm, "vf", node);
    }
}

/// It is called down, its VM goes on, and it is told what was missed.
pub fn a_node_is_cut_off(rig: &mut Rig) {
    let vm2 = [rig.lab.guest("vm2").unwrap().address()];
    let calling = rig.lab.start_calling(Place::Wire, &vm2, PPS).unwrap();
    let cut = rig.program(&["cut", "node2", "--network", "management"]);
    assert!(cut.status.success(), "{cut:?}");
    until_reachable(rig, "node1", "node2", false, 60);
    // Asked there it is said that nobody can be asked, and what that means.
    let cut_off = rig.on("node2", "accelnet status -o json 2>&1 || echo exit $?");
    assert!(
        cut_off.contains("server_not_running") && cut_off.contains("exit 6"),
        "{cut_off}"
    );
    rig.on("node1", "accelnet vm park vm2 --no-wait > /dev/null");
    let heal = rig.program(&["heal", "node2", "--network", "management"]);
    assert!(heal.status.success(), "{heal:?}");
    until_reachable(rig, "node1", "node2", true, 60);
    until_path(rig, "node1", "vm2", "synthetic", "node2");
    rig.on("node2", "accelnet vm unpark vm2 > /dev/null");
    until_path(rig, "node2", "vm2", "vf", "node2");
    let echoes = calling.stop().unwrap().remove(0);
    only_switched(&echoes);
}

/// Its VM is on its software path, with its level and its room.
pub fn a_node_is_drained(rig: &mut Rig) {
    let done = on(rig, "node2", "node drain node1");
    assert_eq!(done["object"]["draining"]["vms_left"], 0, "{done}");
    until_path(rig, "node3", "vm1", "synthetic", "node1");
    let vm = on(rig, "node3", "vm show vm1");
    assert_eq!(vm["level"], "low", "{vm}");
    rig.on("node3", "accelnet node uncordon node1 > /dev/null");
    until_path(rig, "node3", "vm1", "vf", "node1");
}

/// What its unit does when a host shuts down: nobody's token is needed, and no server.
pub fn a_node_drains_itself(rig: &mut Rig) {
    let vm3 = [rig.lab.guest("vm3").unwrap().address()];
    let calling = rig.lab.start_calling(Place::Wire, &vm3, PPS).unwrap();
    rig.on("node3", "env -i PATH=$PATH accelnetd drain");
    let vm = on(rig, "node1", "vm show vm3");
    assert_eq!(vm["nics"][0]["path"], "synthetic", "{vm}");
    assert_eq!(vm["parked"]["until_boot"], true, "{vm}");
    rig.on("node1", "accelnet node uncordon node3 > /dev/null");
    until_path(rig, "node1", "vm3", "vf", "node3");

    rig.on("node1", "systemctl stop accelnet-server");
    let said = rig.on("node3", "accelnetd drain 2>&1");
    assert!(
        said.contains("no line to a server") && said.contains("No VM of this host is on a VF."),
        "{said}"
    );
    rig.on("node1", "systemctl start accelnet-server");
    until_reachable(rig, "node1", "node3", true, 60);
    let node = on(rig, "node1", "node show node3");
    let told = &node["problems"][0];
    assert_eq!(told["code"], "vm_parked", "{node}");
    // The host has stayed up after all; the cure is as it is told.
    let cure = told["cure"].as_str().unwrap();
    assert!(cure.contains("restart accelnet-agent"), "{cure}");
    rig.on("node3", "systemctl restart accelnet-agent");
    until_path(rig, "node1", "vm3", "vf", "node3");
    only_switched(&calling.stop().unwrap().remove(0));
}

/// From a node that is drained a VM is moved by libvirt alone, and is accelerated where it has come to.
pub fn its_vm_goes_elsewhere(rig: &mut Rig) {
    on(rig, "node1", "node drain node1");
    rig.lab.migrate("vm1", "node2").unwrap();
    until_path(rig, "node1", "vm1", "vf", "node2");
    let report = rig.lab.probe("vm1", 2.0, 100).unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
    // And back, for whoever comes after.
    on(rig, "node1", "node drain node2");
    rig.lab.migrate("vm1", "node1").unwrap();
    until_path(rig, "node1", "vm1", "vf", "node1");
    rig.on("node1", "accelnet node uncordon node2 > /dev/null");
    until_path(rig, "node1", "vm2", "vf", "node2");
}

/// Its certificate is worth nothing any more; its VM keeps its VF. With a new token it is a node again.
pub fn a_node_is_removed(rig: &mut Rig) {
    let before = on(rig, "node1", "node show node3");
    rig.on("node1", "accelnet node remove node3 > /dev/null");
    let left = on(rig, "node1", "node list");
    assert_eq!(left["items"].as_array().unwrap().len(), 2, "{left}");
    let told = "journalctl -u accelnet-agent -n 20 --no-pager | grep -q 'not of this cluster'";
    rig.until_on("node3", 60, told);
    let path = "ls -l /proc/$(pgrep -of qemu)/fd | grep -q vfio";
    rig.on("node3", path);
    let token = on(rig, "node1", "node join-token --node node3");
    let join = token["command"].as_str().unwrap();
    rig.on(
        "node3",
        &format!("{join} > /dev/null && systemctl restart accelnet-agent"),
    );
    until_reachable(rig, "node1", "node3", true, 60);
    let after = on(rig, "node1", "node show node3");
    assert_ne!(before["id"], after["id"]);
    until_path(rig, "node1", "vm3", "vf", "node3");
}
