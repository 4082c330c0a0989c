//! VMs are moved to other nodes: parked where they are until they run there, with room there meanwhile.

use accelnet_rules::fixture;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    parking::until_unparked,
    rig::{Answer, Rig},
};

async fn travel(rig: &Rig, vm: &str, request: Value) -> Answer {
    rig.http.put(&format!("/vms/{vm}/move"), request).await
}

/// What a node is told of vm1: parked, and where to.
fn told(rig: &Rig, node: &str) -> Option<(bool, Option<String>)> {
    let desired = rig.nodes.desired(node);
    let wish = desired.vm(vm1())?;
    Some((
        wish.parked,
        wish.migrate_to.as_ref().map(ToString::to_string),
    ))
}

fn vm1() -> Uuid {
    fixture::vm(1).uuid
}

/// What any migration does.
fn arrives(rig: &Rig) {
    let mut gone = None;
    rig.nodes.sees("node1", |seen| {
        let at = seen.vms.iter().position(|vm| vm.uuid == vm1());
        gone = at.map(|at| seen.vms.remove(at));
    });
    let vm = gone.unwrap();
    rig.nodes.sees("node2", |seen| {
        let nic = &vm.nics[0];
        let port = fixture::port(nic.tap.as_ref().unwrap().as_str(), Some(nic.mac));
        seen.bridges[0].ports.push(port);
        seen.vms.push(vm);
    });
}

async fn shown(rig: &Rig) -> Value {
    rig.http.get("/vms/vm1").await.done()
}

#[tokio::test]
async fn it_is_parked_until_it_runs_there_and_is_accelerated_then() {
    let rig = Rig::two(0).await;
    rig.http.accelerate("vm1", "low").await.done();
    let planned = rig
        .http
        .put("/vms/vm1/move?dry_run=true", json!({"to": "node2"}))
        .await;
    let plan = planned.done()["plan"].to_string();
    assert!(
        plan.contains("NIC 02:") && plan.contains("migrate it to 'node2'"),
        "{plan}"
    );
    assert_eq!(told(&rig, "node1"), Some((false, None)));

    let moved = travel(&rig, "vm1", json!({"to": "node2"})).await.done();
    assert_eq!(moved["object"]["parked"]["moving_to"], "node2");
    assert_eq!(told(&rig, "node1"), Some((true, Some("node2".into()))));
    let vm = shown(&rig).await;
    assert_eq!(vm["nics"][0]["path"], "synthetic", "{vm}");
    assert_eq!(vm["parked"]["because"], "parked until it runs on 'node2'");
    let again = travel(&rig, "vm1", json!({"to": "node2"})).await.done();
    assert_eq!(again["object"]["parked"]["moving_to"], "node2");

    // It is told to nobody there that it is parked, however late the end is written.
    arrives(&rig);
    assert_eq!(told(&rig, "node2"), Some((false, None)));
    let vm = shown(&rig).await;
    assert_eq!(
        (&vm["node"], &vm["nics"][0]["path"]),
        (&json!("node2"), &json!("vf")),
        "{vm}"
    );
    until_unparked(&rig.http, "vm1").await;
    rig.stop().await;
}

#[tokio::test]
async fn it_has_room_there_from_the_moment_it_is_asked_for() {
    let rig = Rig::two(0).await;
    rig.nodes
        .sees("node2", |seen| seen.adapters[0].vfs.truncate(1));
    rig.http.accelerate("vm1", "low").await.done();
    travel(&rig, "vm1", json!({"to": "node2"})).await.done();
    rig.http
        .accelerate("vm3", "low")
        .await
        .refused(422, &["cluster_not_enough_resources"]);
    // Nobody else is moved there either.
    rig.http.accelerate("vm2", "low").await.done();
    travel(&rig, "vm2", json!({"to": "node2"}))
        .await
        .refused(422, &["no_free_vf"]);
    let anyway = json!({"to": "node2", "without_vf": true});
    travel(&rig, "vm2", anyway).await.done();
    rig.stop().await;
}

#[tokio::test]
async fn who_wants_it_to_stay_says_so_by_either_name() {
    let rig = Rig::two(0).await;
    rig.http.accelerate("vm1", "low").await.done();
    travel(&rig, "vm1", json!({"to": "node2"})).await.done();
    let stays = travel(&rig, "vm1", json!({"to": "node1"})).await.done();
    assert_eq!(stays["changed"], true);
    assert!(stays["object"].get("parked").is_none(), "{stays}");
    assert_eq!(told(&rig, "node1"), Some((false, None)));
    travel(&rig, "vm1", json!({"to": "node2"})).await.done();
    rig.http.delete("/vms/vm1/park").await.done();
    assert_eq!(told(&rig, "node1"), Some((false, None)));
    // What it was parked for before stays.
    rig.http.put("/vms/vm1/park", json!({})).await.done();
    travel(&rig, "vm1", json!({"to": "node2"})).await.done();
    travel(&rig, "vm1", json!({"to": "node1"})).await.done();
    assert_eq!(told(&rig, "node1"), Some((true, None)));
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_moved_says_why() {
    let rig = Rig::two(0).await;
    travel(&rig, "vm1", json!({"to": "node2"}))
        .await
        .refused(422, &["vm_not_accelerated"]);
    rig.http.accelerate("vm1", "low").await.done();
    travel(&rig, "vm1", json!({"to": "node9"}))
        .await
        .refused(404, &["node_not_found"]);
    travel(&rig, "vm1", json!({"to": "no such node\u{7}"}))
        .await
        .refused(404, &["node_not_found"]);
    for seconds in [0, 86401] {
        let request = json!({"to": "node2", "for_seconds": seconds});
        travel(&rig, "vm1", request)
            .await
            .refused(422, &["invalid_argument"]);
    }
    rig.nodes.silent("node2", true);
    travel(&rig, "vm1", json!({"to": "node2"}))
        .await
        .refused(503, &["agent_unreachable"]);
    rig.nodes.silent("node2", false);
    rig.nodes.sees("node1", |seen| {
        seen.vms[0].state = accelnet_model::VmState::Off;
    });
    travel(&rig, "vm1", json!({"to": "node2"}))
        .await
        .refused(422, &["vm_not_running"]);
    rig.stop().await;
}
