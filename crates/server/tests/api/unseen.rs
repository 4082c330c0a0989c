//! VMs that could not be looked at are there, with what they hold.

use accelnet_model::{Performance, VmState};
use accelnet_rules::fixture;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::Rig;

const BECAUSE: &str = "it comes in by a migration";

fn vm1() -> Uuid {
    fixture::vm(1).uuid
}

fn libvirt_is_down(rig: &Rig, node: &str) {
    rig.nodes.sees(node, |seen| {
        seen.node.libvirt = None;
        seen.hypervisor_answers = false;
        seen.vms.clear();
        // Whose its VFs are it has from libvirt.
        for vf in &mut seen.adapters[0].vfs {
            vf.vm = None;
        }
    });
}

#[tokio::test]
async fn it_is_shown_with_its_state_and_why_it_was_not_seen() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.nodes
        .sees("node1", |seen| seen.vms[0].state = VmState::Paused);
    rig.nodes.cannot_look_at("node1", vm1(), Some(BECAUSE));
    let list = rig.http.get("/vms").await.done();
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(list["items"][0], vm);
    assert_eq!(
        (&vm["node"], &vm["state"], &vm["level"]),
        (&json!("node1"), &json!("paused"), &json!("low"))
    );
    let problem = &vm["problems"][0];
    assert_eq!(problem["code"], "vm_not_seen");
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!(
        detail,
        "Not seen on node 'node1': it comes in by a migration."
    );
    // Nothing is claimed of its NICs.
    assert_eq!(vm["nics"], json!([]));
    assert_eq!(rig.http.get("/status").await.done()["nodes"][0]["vms"], 2);
    // Its node is told what is wanted of it.
    assert!(rig.nodes.desired("node1").vm(vm1()).is_some());
    rig.nodes.cannot_look_at("node1", vm1(), None);
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["nics"][0]["path"], "vf", "{vm}");
    rig.stop().await;
}

#[tokio::test]
async fn what_is_asked_of_it_is_refused_with_the_cause() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.nodes.cannot_look_at("node1", vm1(), Some(BECAUSE));
    let before = rig.wish().await;
    let http = &rig.http;
    for answer in [
        http.accelerate("vm1", "medium").await,
        http.post("/vms/vm1/prepare", json!({})).await,
        http.put("/vms/vm1/park", json!({})).await,
        http.delete("/vms/vm1/park").await,
        http.delete("/vms/vm1/acceleration").await,
    ] {
        answer.refused(503, &["vm_not_seen"]);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(BECAUSE), "{detail}");
    }
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

/// Two nodes with two VFs each; the VM on `node1` has two NICs and so all of them.
async fn full() -> Rig {
    let rig = Rig::two(0).await;
    for node in ["node1", "node2"] {
        rig.nodes.sees(node, |seen| {
            seen.adapters[0].vfs.truncate(2);
            if node == "node1" {
                let mut second = seen.vms[0].nics[0].clone();
                second.mac.0[4] = 0x78;
                second.tap = "vnet9".parse().ok();
                seen.bridges[0]
                    .ports
                    .push(fixture::port("vnet9", Some(second.mac)));
                seen.vms[0].nics.push(second);
                seen.vms[0].free_root_ports_live = 4;
            }
        });
    }
    rig.http.accelerate("vm1", "low").await.done();
    rig
}

/// What is free on each node, and whether the reserve holds.
async fn room(rig: &Rig) -> Value {
    let capacity = rig.http.get("/capacity").await.done();
    let nodes = capacity["nodes"].as_array().unwrap();
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|node| json!([node["name"], node["vfs"], node["vfs_used"], node["free"]]))
        .collect();
    json!([nodes, capacity["holds"]])
}

#[tokio::test]
async fn it_holds_what_it_held() {
    let rig = full().await;
    let before = room(&rig).await;
    rig.nodes.cannot_look_at("node1", vm1(), Some(BECAUSE));
    assert_eq!(room(&rig).await, before);
    rig.nodes.cannot_look_at("node1", vm1(), None);
    libvirt_is_down(&rig, "node1");
    assert_eq!(room(&rig).await, before);
    rig.nodes.cannot_look_at("node1", vm1(), Some(BECAUSE));
    assert_eq!(room(&rig).await, before);
    rig.stop().await;
}

#[tokio::test]
async fn vms_are_where_they_were_while_libvirt_does_not_answer() {
    let rig = full().await;
    libvirt_is_down(&rig, "node1");
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(
        (&vm["node"], &vm["state"], &vm["level"]),
        (&json!("node1"), &json!("running"), &json!("low"))
    );
    assert_eq!(vm["problems"][0]["code"], "hypervisor_unavailable", "{vm}");
    // How it is now nobody knows.
    for vm in ["vm1", "vm2"] {
        let answer = rig.http.accelerate(vm, "medium").await;
        answer.refused(503, &["hypervisor_unavailable"]);
    }
    let list = rig.http.get("/vms").await.done();
    assert_eq!(list["items"].as_array().unwrap().len(), 4);
    // What is wanted can be taken back.
    rig.http.delete("/vms/vm1/acceleration").await.done();
    // Once it answers, what it says counts.
    rig.nodes.sees("node1", |seen| {
        seen.node.libvirt = Some((11, 0, 0));
        seen.hypervisor_answers = true;
    });
    let answer = rig.http.get("/vms/vm2").await;
    answer.refused(404, &["vm_not_found"]);
    rig.stop().await;
}

/// During a migration the VM is on both nodes: paused and not to be looked at where it comes in.
#[tokio::test]
async fn whoever_asks_hears_the_same_while_no_node_sees_its_vms() {
    let rig = Rig::enabled().await;
    let node = || async {
        let nodes = rig.http.get("/nodes").await.done();
        nodes["items"][0]["converged"].clone()
    };
    assert_eq!(node().await, true);
    libvirt_is_down(&rig, "node1");
    for path in ["/vms", "/vms?watch=true", "/vms?fresh=true", "/vms/nobody"] {
        let answer = rig.http.get(path).await;
        answer.refused(503, &["hypervisor_unavailable"]);
    }
    assert_eq!(node().await, false);
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_that_comes_in_is_where_it_still_runs() {
    for (from, to) in [("node1", "node2"), ("node2", "node1")] {
        let rig = Rig::two(0).await;
        let number = if from == "node1" { 1 } else { 3 };
        let facts = fixture::vm(number);
        let (name, uuid) = (facts.name.clone(), facts.uuid);
        rig.http.accelerate(&name, "low").await.done();
        rig.nodes.cannot_look_at(to, uuid, Some(BECAUSE));
        let paused = fixture::vm(number);
        rig.nodes.sees(to, move |seen| {
            seen.vms.push(paused);
            seen.vms.last_mut().unwrap().state = VmState::Paused;
        });
        let vm = rig.http.get(&format!("/vms/{name}")).await.done();
        assert_eq!(
            (&vm["node"], &vm["state"]),
            (&json!(from), &json!("running")),
            "{vm}"
        );
        for node in [from, to] {
            let wish = rig.nodes.desired(node);
            assert_eq!(
                wish.vm(uuid).unwrap().level,
                Some(Performance::Low),
                "{node}"
            );
        }
        // It has gone over.
        rig.nodes
            .sees(from, |seen| seen.vms.retain(|vm| vm.uuid != uuid));
        let vm = rig.http.get(&format!("/vms/{name}")).await.done();
        assert_eq!(
            (&vm["node"], &vm["state"]),
            (&json!(to), &json!("paused")),
            "{vm}"
        );
        rig.stop().await;
    }
}

/// Its node has died, or is cut off: it is where it ran until it is seen somewhere else, and not only defined there.
#[tokio::test]
async fn a_vm_of_a_silent_node_is_there_until_it_is_seen_elsewhere() {
    for (state, comes, is_elsewhere) in [
        (VmState::Running, false, true),
        (VmState::Paused, false, true),
        (VmState::Off, false, false),
        (VmState::Paused, true, false),
    ] {
        let rig = Rig::two(0).await;
        rig.http.accelerate("vm1", "low").await.done();
        rig.nodes.silent("node1", true);
        let mut there = fixture::vm(1);
        there.state = state;
        if comes {
            rig.nodes.cannot_look_at("node2", vm1(), Some(BECAUSE));
        }
        rig.nodes.sees("node2", move |seen| seen.vms.push(there));
        let node = if is_elsewhere { "node2" } else { "node1" };
        let vm = rig.http.get("/vms/vm1").await.done();
        assert_eq!(vm["node"], node, "{state:?} {comes}: {vm}");
        rig.stop().await;
    }
}
