//! VMs are kept on their software path for a while, with their levels and their capacity.

use std::{path::Path, sync::Arc, time::Duration};

use accelnet_model::{Code, VmState};
use accelnet_rules::fixture;
use accelnet_server::fake::{FakeNodes, Running};
use accelnet_store::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::{Answer, Http, Rig, intent};

/// Whatever ends by itself ends within this, or not at all.
const LIMIT: Duration = Duration::from_secs(20);

async fn park(http: &Http, vm: &str, how: Value) -> Answer {
    http.put(&format!("/vms/{vm}/park"), how).await
}

async fn unpark(http: &Http, vm: &str) -> Answer {
    http.delete(&format!("/vms/{vm}/park")).await
}

async fn path(http: &Http, vm: &str) -> Value {
    let vm = http.get(&format!("/vms/{vm}")).await.done();
    vm["nics"][0]["path"].clone()
}

/// Waits until a VM is not parked any more, as a watch tells.
pub async fn until_unparked(http: &Http, vm: &str) {
    let request = http.request(reqwest::Method::GET, &format!("/vms/{vm}?watch=true"));
    let mut response = request.send().await.unwrap();
    let mut text = Vec::new();
    let ended = async {
        while let Some(chunk) = response.chunk().await.unwrap() {
            text.extend(chunk);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let line: Value = serde_json::from_slice(&line).unwrap();
                if line["event"] == "put" && line["object"].get("parked").is_none() {
                    return;
                }
            }
        }
        panic!("the watch has ended");
    };
    tokio::time::timeout(LIMIT, ended).await.unwrap();
}

fn boots(rig: &Rig, boot: &str) {
    rig.nodes
        .sees("node1", |seen| seen.node.boot_id = boot.into());
}

#[tokio::test]
async fn a_parked_vm_keeps_its_level_and_its_capacity() {
    let rig = Rig::enabled().await;
    rig.nodes
        .sees("node1", |seen| seen.adapters[0].vfs.truncate(1));
    rig.http.accelerate("vm1", "low").await.done();
    assert_eq!(path(&rig.http, "vm1").await, "vf");
    let capacity = rig.http.get("/capacity").await.done();
    let planned = rig.http.put("/vms/vm1/park?dry_run=true", json!({})).await;
    let plan = planned.done()["plan"].to_string();
    assert!(
        plan.contains("parked until it is unparked") && plan.contains("NIC 02:"),
        "{plan}"
    );
    assert_eq!(path(&rig.http, "vm1").await, "vf");

    let parked = park(&rig.http, "vm1", json!({})).await.done();
    assert_eq!(
        (&parked["changed"], &parked["object"]["level"]),
        (&json!(true), &json!("low"))
    );
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["nics"][0]["path"], "synthetic", "{vm}");
    let told = &vm["parked"];
    assert_eq!(told["because"], "parked until it is unparked");
    assert_eq!(
        (&told["until_unparked"], &told["until_boot"]),
        (&json!(true), &json!(false))
    );
    assert!(
        told["since"].is_string() && told.get("until").is_none(),
        "{told}"
    );
    let wish = rig
        .nodes
        .desired("node1")
        .vm(fixture::vm(1).uuid)
        .cloned()
        .unwrap();
    assert!(wish.parked && wish.level.is_some(), "{wish:?}");
    // Nobody else is given what it comes back to.
    assert_eq!(rig.http.get("/capacity").await.done(), capacity);
    let answer = rig.http.accelerate("vm2", "low").await;
    answer.refused(422, &["cluster_not_enough_resources"]);
    assert_eq!(rig.http.get("/status").await.done()["vms_parked"], 1);

    let before = rig.wish().await;
    assert_eq!(
        park(&rig.http, "vm1", json!({})).await.done()["changed"],
        false
    );
    assert_eq!(rig.wish().await, before);
    let back = unpark(&rig.http, "vm1").await.done();
    assert_eq!(back["changed"], true);
    assert!(back["object"].get("parked").is_none(), "{back}");
    assert_eq!(path(&rig.http, "vm1").await, "vf");
    assert_eq!(unpark(&rig.http, "vm1").await.done()["changed"], false);
    assert_eq!(rig.http.get("/status").await.done()["vms_parked"], 0);
    let noted = rig.entries().await;
    let noted: Vec<&str> = noted
        .iter()
        .map(|entry| entry["operation"].as_str().unwrap())
        .collect();
    assert_eq!(noted[2..], ["vm enable", "vm park", "vm unpark"]);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_not_accelerated_is_not_parked() {
    let rig = Rig::enabled().await;
    let before = rig.wish().await;
    for how in [
        json!({}),
        json!({"for_seconds": 60}),
        json!({"until_boot": true}),
    ] {
        let answer = park(&rig.http, "vm1", how).await.done();
        assert_eq!(answer["changed"], false);
        assert!(answer["object"].get("parked").is_none(), "{answer}");
    }
    assert_eq!(unpark(&rig.http, "vm1").await.done()["changed"], false);
    assert_eq!(rig.wish().await, before);
    park(&rig.http, "nobody", json!({}))
        .await
        .refused(404, &["vm_not_found"]);
    rig.stop().await;
}

#[tokio::test]
async fn another_level_keeps_the_park_and_disabling_ends_it() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    park(&rig.http, "vm1", json!({})).await.done();
    let planned = rig.http.accelerate("vm1", "medium").await.done();
    assert_eq!(planned["plan"][0], "change the level from Low to Medium");
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(
        (&vm["level"], &vm["nics"][0]["path"]),
        (&json!("medium"), &json!("synthetic"))
    );
    assert!(vm["parked"].is_object(), "{vm}");
    rig.http.delete("/vms/vm1/acceleration").await.done();
    rig.http.accelerate("vm1", "low").await.done();
    let vm = rig.http.get("/vms/vm1").await.done();
    assert!(vm.get("parked").is_none(), "{vm}");
    assert_eq!(vm["nics"][0]["path"], "vf");
    rig.stop().await;
}

#[tokio::test]
async fn a_time_ends_by_itself() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm2", "low").await.done();
    park(&rig.http, "vm1", json!({"for_seconds": 1}))
        .await
        .done();
    let other = park(&rig.http, "vm2", json!({"for_seconds": 3600}))
        .await
        .done();
    let until = other["object"]["parked"]["until"].as_str().unwrap();
    let words = other["object"]["parked"]["because"].as_str().unwrap();
    assert!(words.contains(&until[..19]), "{words} {until}");
    until_unparked(&rig.http, "vm1").await;
    assert_eq!(path(&rig.http, "vm1").await, "vf");
    assert_eq!(path(&rig.http, "vm2").await, "synthetic");
    let noted = rig.entries().await.pop().unwrap();
    assert_eq!(
        (&noted["operation"], &noted["subject"], &noted["by"]["uid"]),
        (&json!("vm park ends"), &json!("vm1"), &Value::Null)
    );
    rig.stop().await;
}

#[tokio::test]
async fn another_boot_of_its_node_ends_it() {
    let rig = Rig::enabled().await;
    boots(&rig, "one");
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm2", "low").await.done();
    park(&rig.http, "vm1", json!({"until_boot": true}))
        .await
        .done();
    // An operator's wish outlasts the boot.
    park(&rig.http, "vm2", json!({})).await.done();
    park(&rig.http, "vm2", json!({"until_boot": true}))
        .await
        .done();
    let again = park(&rig.http, "vm2", json!({"until_boot": true}))
        .await
        .done();
    assert_eq!(again["changed"], false);
    let told = &again["object"]["parked"];
    assert_eq!(
        told["because"],
        "parked until it is unparked and its node has started again"
    );
    // Neither a node that is silent nor one that does not know its boot has started again.
    rig.nodes.silent("node1", true);
    rig.nodes.silent("node1", false);
    boots(&rig, "");
    for vm in ["vm1", "vm2"] {
        let vm = rig.http.get(&format!("/vms/{vm}")).await.done();
        assert_eq!(vm["parked"]["until_boot"], true, "{vm}");
    }
    let answer = park(&rig.http, "vm1", json!({"until_boot": true})).await;
    answer.refused(500, &["host_operation_failed"]);
    boots(&rig, "two");
    until_unparked(&rig.http, "vm1").await;
    assert_eq!(path(&rig.http, "vm1").await, "vf");
    let vm = rig.http.get("/vms/vm2").await.done();
    assert_eq!(
        vm["parked"]["because"], "parked until it is unparked",
        "{vm}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_that_left_the_node_that_goes_down_is_free_where_it_is_now() {
    let rig = Rig::two(0).await;
    for node in ["node1", "node2"] {
        rig.nodes.sees(node, |seen| seen.node.boot_id = node.into());
    }
    rig.http.accelerate("vm1", "low").await.done();
    park(&rig.http, "vm1", json!({"until_boot": true}))
        .await
        .done();
    rig.nodes.sees("node1", |seen| drop(seen.vms.remove(0)));
    // On no node it waits.
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(
        (&vm["node"], &vm["parked"]["until_boot"]),
        (&Value::Null, &json!(true))
    );
    rig.nodes
        .sees("node2", |seen| seen.vms.push(fixture::vm(1)));
    until_unparked(&rig.http, "vm1").await;
    assert_eq!(path(&rig.http, "vm1").await, "vf");
    rig.stop().await;
}

/// What a silent node said last is not where its VMs are: those that run elsewhere by now are not parked there, where
/// nobody would let them go before that node's next start.
#[tokio::test]
async fn a_silent_node_that_is_drained_takes_no_vm_off_its_vf_elsewhere() {
    let rig = Rig::two(0).await;
    for node in ["node1", "node2"] {
        rig.nodes.sees(node, |seen| seen.node.boot_id = node.into());
    }
    for vm in ["vm1", "vm2"] {
        rig.http.accelerate(vm, "low").await.done();
    }
    rig.nodes.silent("node1", true);
    rig.nodes
        .sees("node2", |seen| seen.vms.push(fixture::vm(1)));
    rig.http.get("/vms?fresh=true").await.done();
    assert_eq!(rig.http.get("/vms/vm1").await.done()["node"], "node2");
    rig.http
        .post("/nodes/node1/drain", json!({}))
        .await
        .refused(503, &["agent_unreachable"]);
    let vm = rig.http.get("/vms/vm1").await.done();
    assert!(vm.get("parked").is_none(), "{vm}");
    // And who takes that node back into service does not end what another one is drained for.
    rig.http.post("/nodes/node2/drain", json!({})).await.done();
    rig.http
        .post("/nodes/node1/uncordon", json!({}))
        .await
        .done();
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["parked"]["until_boot"], true, "{vm}");
    rig.stop().await;
}

async fn start(directory: &Path, nodes: &Arc<FakeNodes>) -> (Running, Http) {
    let file = directory.join("state.sqlite");
    let store = SqliteStore::open(file, SqliteOptions::default()).await;
    let socket = directory.join("accelnet.sock");
    // A daemon would replace what an earlier one left.
    let _ = std::fs::remove_file(&socket);
    let running = Running::start(store.unwrap(), nodes, &socket).await;
    (running, Http::on(socket))
}

#[tokio::test]
async fn it_survives_the_server_and_ends_while_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let nodes = FakeNodes::one();
    nodes.sees("node1", |seen| seen.node.boot_id = "one".into());
    let (running, http) = start(directory.path(), &nodes).await;
    http.post("/intents", intent()).await.done();
    http.enable(0).await.done();
    http.accelerate("vm1", "low").await.done();
    http.accelerate("vm2", "low").await.done();
    park(&http, "vm1", json!({"until_boot": true})).await.done();
    park(&http, "vm2", json!({"for_seconds": 3600}))
        .await
        .done();
    let before = http.get("/vms").await.done();
    running.stop().await;
    drop(http);

    let (running, http) = start(directory.path(), &nodes).await;
    assert_eq!(http.get("/vms").await.done(), before);
    running.stop().await;
    drop(http);

    nodes.sees("node1", |seen| seen.node.boot_id = "two".into());
    let (running, http) = start(directory.path(), &nodes).await;
    until_unparked(&http, "vm1").await;
    assert_eq!(path(&http, "vm1").await, "vf");
    assert_eq!(path(&http, "vm2").await, "synthetic");
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    let before = rig.wish().await;
    for (how, status) in [
        (json!({"for_seconds": 0}), 422),
        (json!({"for_seconds": 31_536_001}), 422),
        (json!({"for_seconds": 10, "until_boot": true}), 422),
        (json!({"for_seconds": -1}), 400),
        (json!({"forever": true}), 400),
    ] {
        park(&rig.http, "vm1", how)
            .await
            .refused(status, &["invalid_argument"]);
    }
    assert_eq!(rig.wish().await, before);
    // Nobody manages what it has while nothing is enabled.
    rig.http.delete("/acceleration").await.done();
    let answer = park(&rig.http, "vm1", json!({})).await;
    assert_eq!(answer.codes(), ["accel_net_not_enabled"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_that_is_off_or_on_a_silent_node_can_be_parked() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm2", "low").await.done();
    rig.nodes
        .sees("node1", |seen| seen.vms[0].state = VmState::Off);
    park(&rig.http, "vm1", json!({})).await.done();
    rig.nodes.silent("node1", true);
    park(&rig.http, "vm2", json!({})).await.done();
    park(&rig.http, "vm2", json!({"until_boot": true}))
        .await
        .refused(503, &["agent_unreachable"]);
    rig.nodes.silent("node1", false);
    let desired = rig.nodes.desired("node1");
    for vm in [1, 2] {
        assert!(desired.vm(Uuid::from_u128(vm)).unwrap().parked);
    }
    rig.stop().await;
}

/// A host says by itself that it goes down, whoever has a token or none.
#[tokio::test]
async fn a_node_that_goes_down_has_its_own_vms_parked() {
    let rig = Rig::two(0).await;
    for node in ["node1", "node2"] {
        rig.nodes.sees(node, |seen| seen.node.boot_id = node.into());
    }
    let nothing = rig.running().goes_down("node1").await.unwrap();
    assert_eq!(nothing.problems, []);
    for vm in ["vm1", "vm2", "vm3"] {
        rig.http.accelerate(vm, "low").await.done();
    }
    let elsewhere = |vm: &Value| vm["node"] == "node2";
    // One that cannot be decided on keeps no other on its VF.
    rig.nodes
        .cannot_look_at("node1", fixture::vm(1).uuid, Some("Its definition is odd."));
    let parked = rig.running().goes_down("node1").await.unwrap();
    let codes: Vec<Code> = parked.problems.iter().map(|found| found.code).collect();
    assert_eq!(codes, [Code::VmNotSeen]);
    assert!(rig.nodes.desired("node1").generation >= parked.generation);
    rig.nodes.cannot_look_at("node1", fixture::vm(1).uuid, None);
    let parked = rig.running().goes_down("node1").await.unwrap();
    assert_eq!(parked.problems, []);
    let items = rig.http.get("/vms").await.done()["items"].clone();
    let (there, here): (Vec<&Value>, Vec<&Value>) = items
        .as_array()
        .unwrap()
        .iter()
        .partition(|vm| elsewhere(vm));
    assert_eq!((here.len(), there.len()), (2, 2), "{items}");
    for vm in here {
        assert_eq!(vm["parked"]["until_boot"], true, "{vm}");
        assert_eq!(
            path(&rig.http, vm["name"].as_str().unwrap()).await,
            "synthetic"
        );
    }
    assert!(
        there.iter().all(|vm| vm.get("parked").is_none()),
        "{there:?}"
    );
    let entries = rig.entries().await;
    let last = entries.last().unwrap();
    assert_eq!(
        (&last["by"]["node"], &last["operation"], &last["subject"]),
        (&json!("node1"), &json!("node drain"), &json!("node1"))
    );

    // Whoever claims that another's VM runs on his node takes it off no VF.
    let theirs = rig.nodes.seen("node2").vms[0].clone();
    let name = theirs.name.clone();
    rig.nodes.sees("node1", |seen| seen.vms.push(theirs));
    let parked = rig.running().goes_down("node1").await.unwrap();
    assert_eq!(parked.problems, []);
    let vm = rig.http.get(&format!("/vms/{name}")).await.done();
    assert!(vm.get("parked").is_none(), "{vm}");
    rig.nodes.sees("node1", |seen| drop(seen.vms.pop()));

    // Of a node that is not seen nobody says that it has no VMs.
    rig.nodes.silent("node2", true);
    rig.http.get("/vms?fresh=true").await.done();
    let unseen = rig.running().goes_down("node2").await.unwrap_err();
    assert_eq!(unseen.code, Code::AgentUnreachable);
    rig.nodes.silent("node2", false);
    rig.http.get("/vms?fresh=true").await.done();

    // What is not enabled any more is on no VF.
    rig.http.delete("/acceleration").await.done();
    let nothing = rig.running().goes_down("node2").await.unwrap();
    assert_eq!(nothing.problems, []);
    rig.stop().await;
}
