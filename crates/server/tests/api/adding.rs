//! A NIC is added to a VM that has none on the intent's bridge, if that is asked for.

use accelnet_model::{MacAddr, VmState};
use accelnet_rules::{Observed, fixture, new_nic};
use accelnet_server::fake::FakeNodes;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, intent};

fn first_address() -> MacAddr {
    let intent = "compute".parse().unwrap();
    new_nic::address(fixture::vm(1).uuid, &intent, 0)
}

type Change = fn(&mut Observed);

/// `vm1` has no NIC; acceleration is enabled.
async fn without_nic(change: impl FnOnce(&mut Observed)) -> Rig {
    let mut seen = fixture::observed();
    seen.vms[0].nics.clear();
    change(&mut seen);
    let rig = Rig::of(FakeNodes::new([("node1", seen)])).await;
    rig.http.post("/intents", intent()).await.done();
    rig.enable(0).await;
    rig
}

async fn add(rig: &Rig, query: &str) -> Answer {
    let path = format!("/vms/vm1/acceleration{query}");
    let body = json!({"performance": "low", "add_adapter": true});
    rig.http.put(&path, body).await
}

fn step(answer: &Value) -> &str {
    answer["plan"][0].as_str().unwrap()
}

#[tokio::test]
async fn a_running_vm_gets_it_at_once() {
    let rig = without_nic(|_| {}).await;
    let refused = rig.http.accelerate("vm1", "low").await;
    let problems = refused.problems();
    assert_eq!(problems[0]["code"], "get_network_adapter_failed");
    assert!(
        problems[0]["cure"]
            .as_str()
            .unwrap()
            .contains("--add-adapter")
    );
    let before = rig.wish().await;
    let planned = add(&rig, "?dry_run=true").await.done();
    let expected = format!(
        "add NIC {} on br0 (virtio, stands by for a VF) to the running VM and to its definition",
        first_address()
    );
    assert_eq!(step(&planned), expected);
    assert!(
        planned["plan"].as_array().unwrap().len() > 5,
        "and its way to the VF: {planned}"
    );
    assert_eq!(rig.wish().await, before);

    let done = add(&rig, "").await.done();
    let nics = done["object"]["nics"].as_array().unwrap();
    assert_eq!(nics.len(), 1);
    assert_eq!(
        (&nics[0]["mac"], &nics[0]["path"]),
        (&json!(first_address()), &json!("vf"))
    );
    let again = add(&rig, "").await.done();
    assert_eq!(
        (&again["changed"], &again["plan"]),
        (&json!(false), &json!([]))
    );
    assert_eq!(again["object"]["nics"].as_array().unwrap().len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn without_room_it_is_staged_and_said_so() {
    let rig = without_nic(|seen| seen.vms[0].free_root_ports_live = 1).await;
    let done = add(&rig, "").await.done();
    assert!(
        step(&done).contains("from its next cold start on"),
        "{done}"
    );
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["level"], "low");
    assert_eq!(vm["problems"][0]["code"], "vm_needs_cold_start");
    assert_eq!(vm["staged"].as_array().unwrap().len(), 1);
    assert_eq!(add(&rig, "").await.done()["changed"], false);
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_that_is_off_is_accelerated_when_it_is_started() {
    let rig = without_nic(|seen| seen.vms[0].state = VmState::Off).await;
    let done = add(&rig, "").await.done();
    assert!(
        step(&done).ends_with("accelerated when it is started"),
        "{done}"
    );
    let again = add(&rig, "").await.done();
    assert_eq!(again["changed"], false);
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["nics"][0]["mac"], json!(first_address()));
    // What is not asked for is refused as before.
    let refused = rig.http.accelerate("vm1", "low").await;
    refused.refused(422, &["vm_not_running"]);
    // It is not added again after it was given up.
    rig.http.delete("/vms/vm1/acceleration").await.done();
    assert_eq!(rig.nodes.desired("node1").vms[0].add_nic, None);
    rig.stop().await;
}

#[tokio::test]
async fn an_address_that_somebody_has_is_not_given_again() {
    let rig = without_nic(|seen| seen.vms[1].nics[0].mac = first_address()).await;
    let done = add(&rig, "").await.done();
    let second = new_nic::address(fixture::vm(1).uuid, &"compute".parse().unwrap(), 1);
    assert_eq!(done["object"]["nics"][0]["mac"], json!(second));
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_nothing_is_added() {
    let ways: [(Change, &[&str]); 4] = [
        (
            |seen| seen.vms[0].persistent = false,
            &["vm_definition_not_ours"],
        ),
        (
            |seen| seen.vms[0].managed_by = Some("oVirt".into()),
            &["vm_definition_not_ours"],
        ),
        (
            |seen| seen.vms[0].machine = "pc-i440fx-10.0".into(),
            &["vm_machine_not_pcie"],
        ),
        (
            |seen| {
                seen.vms[0].vcpus = 1;
                seen.vms[0].persistent = false;
            },
            &["vm_definition_not_ours", "vm_not_enough_vcpus"],
        ),
    ];
    for (change, codes) in ways {
        let rig = without_nic(change).await;
        let before = rig.wish().await;
        add(&rig, "").await.refused(422, codes);
        assert_eq!(rig.wish().await, before);
        assert_eq!(rig.nodes.seen("node1").vms[0].nics.len(), 0);
        rig.stop().await;
    }
}

/// A VM that has one there gets no other.
#[tokio::test]
async fn a_vm_that_has_a_nic_there_keeps_it_alone() {
    let rig = Rig::one().await;
    rig.enable(0).await;
    let done = add(&rig, "").await.done();
    assert_eq!(done["object"]["nics"].as_array().unwrap().len(), 1);
    assert_eq!(rig.nodes.desired("node1").vms[0].add_nic, None);
    rig.stop().await;
}
