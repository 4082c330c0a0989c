//! Prerequisites, and enabling and disabling acceleration.

use accelnet_model::{IntentType, SriovSupport, Support};
use serde_json::{Value, json};

use crate::rig::{Rig, intent};

#[tokio::test]
async fn the_reserve_is_a_whole_percentage() {
    let rig = Rig::one().await;
    rig.http.post("/intents", intent()).await.done();
    let before = rig.wish().await;
    for reserve in [json!(100), json!(-1), json!(i64::MAX)] {
        let body = json!({"intent": "compute", "node_reserve_percentage": reserve});
        let answer = rig.http.put("/acceleration", body).await;
        answer.refused(422, &["reserve_out_of_range"]);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(&reserve.to_string()), "{detail}");
    }
    for reserve in [json!(3.5), json!("abc"), json!([50])] {
        let body = json!({"intent": "compute", "node_reserve_percentage": reserve});
        let answer = rig.http.put("/acceleration", body).await;
        answer.refused(400, &["invalid_argument"]);
        assert_eq!(answer.body["objects"][0]["name"], "node_reserve_percentage");
    }
    // Everything that is wrong, at once.
    let body = json!({"intent": "nobody", "node_reserve_percentage": 100});
    let answer = rig.http.put("/acceleration", body).await;
    answer.refused(404, &["intent_not_found", "reserve_out_of_range"]);
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

#[tokio::test]
async fn enabling_is_done_once_and_said_to_every_node() {
    let rig = Rig::one().await;
    rig.http.post("/intents", intent()).await.done();
    let planned = rig
        .http
        .put("/acceleration?dry_run=true", json!({"intent": "compute"}))
        .await
        .done();
    assert!(
        planned["plan"][0].as_str().unwrap().contains("pf0"),
        "{planned}"
    );
    assert_eq!(planned["object"]["enabled"], Value::Null);
    assert!(rig.nodes.desired("node1").enabled.is_none());
    let done = rig.http.enable(0).await.done();
    let enabled = &done["object"]["enabled"];
    assert_eq!(
        (&enabled["intent"], &enabled["node_reserve_percentage"]),
        (&json!("compute"), &json!(0))
    );
    let desired = rig.nodes.desired("node1");
    assert_eq!(desired.enabled.unwrap().intent.as_str(), "compute");
    let before = rig.wish().await;
    let again = rig.http.enable(0).await.done();
    assert_eq!(again["changed"], false);
    assert_eq!(rig.wish().await, before);
    assert_eq!(rig.http.enable(99).await.done()["changed"], true);
    // What is not said stays; where nothing is enabled there is a default.
    let silent = json!({"intent": "compute"});
    let boot = json!({"intent": "compute", "when": "boot"});
    rig.http.put("/acceleration", boot).await.done();
    let kept = rig.http.put("/acceleration", silent.clone()).await.done();
    let enabled = &kept["object"]["enabled"];
    assert_eq!(
        (&kept["changed"], &enabled["node_reserve_percentage"]),
        (&json!(false), &json!(99))
    );
    assert_eq!(enabled["when"], "boot");
    rig.http.delete("/acceleration").await.done();
    let default = rig.http.put("/acceleration", silent).await.done();
    let enabled = &default["object"]["enabled"];
    assert_eq!(
        (&enabled["node_reserve_percentage"], &enabled["when"]),
        (&json!(50), &json!("empty"))
    );
    rig.stop().await;
}

/// As changing the reserve: what is wanted for VMs is kept while acceleration is disabled.
#[tokio::test]
async fn enabling_again_must_have_room_for_what_is_wanted() {
    let rig = Rig::two(0).await;
    // 7 VFs a node: eight VMs leave no node that could be down.
    for node in ["node1", "node2"] {
        let numbers: Vec<u8> = match node {
            "node1" => (1..=4).collect(),
            _ => (5..=8).collect(),
        };
        let seen = crate::rig::with_vms(&numbers);
        rig.nodes.sees(node, |observed| {
            observed.vms = seen.vms;
            observed.bridges = seen.bridges;
        });
    }
    for number in 1..=8 {
        rig.http
            .accelerate(&format!("vm{number}"), "low")
            .await
            .done();
    }
    rig.http.delete("/acceleration").await.done();
    let before = rig.wish().await;
    rig.http
        .enable(50)
        .await
        .refused(422, &["cluster_not_enough_resources"]);
    assert_eq!(rig.wish().await, before);
    rig.http.enable(0).await.done();
    rig.stop().await;
}

#[tokio::test]
async fn everything_that_is_missing_is_said_at_once() {
    let rig = Rig::one().await;
    rig.http.post("/intents", intent()).await.done();
    let before = rig.wish().await;
    rig.nodes.sees("node1", |seen| {
        seen.node.kvm = false;
        seen.node.iommu = false;
        seen.adapters[0].sriov = SriovSupport::NoVfBarSpace;
        seen.adapters[0].carrier = false;
        seen.bridges.clear();
    });
    let codes = [
        "accel_net_not_supported",
        "sriov_support_no_iommu",
        "bridge_not_found",
        "adapter_link_down",
        "sriov_support_no_vf_bar_space",
    ];
    let answer = rig.http.enable(50).await;
    answer.refused(422, &codes);
    for problem in answer.problems() {
        assert!(
            problem["detail"].as_str().unwrap().contains("node1"),
            "{problem}"
        );
    }
    assert_eq!(rig.wish().await, before);
    // `prereq` says the same, and what passed.
    let checks = rig.http.get("/prereq?intent=compute").await.done();
    let checks = checks["items"].as_array().unwrap();
    let failed = checks
        .iter()
        .filter(|check| check["passed"] == false && check["severity"] == "error");
    let failed: Vec<&str> = failed
        .map(|check| check["problem"]["code"].as_str().unwrap())
        .collect();
    assert_eq!(failed, codes);
    assert!(checks.iter().any(|check| check["passed"] == true));
    rig.stop().await;
}

#[tokio::test]
async fn nodes_that_differ_in_smt_are_refused() {
    let rig = Rig::two(50).await;
    rig.http.delete("/acceleration").await.done();
    rig.nodes.sees("node2", |seen| {
        seen.node.smt_active = Support::Supported(true);
    });
    let answer = rig.http.enable(50).await;
    answer.refused(422, &["hyperthreading_check_failed"]);
    rig.stop().await;
}

#[tokio::test]
async fn only_compute_intents_are_accelerated() {
    let rig = Rig::one().await;
    let mut storage = intent();
    storage["types"] = json!([IntentType::Storage]);
    rig.http.post("/intents", storage).await.done();
    let answer = rig.http.enable(50).await;
    answer.refused(422, &["intent_type_check_failed"]);
    assert!(answer.body["detail"].as_str().unwrap().contains("storage"));
    rig.stop().await;
}

#[tokio::test]
async fn one_intent_at_a_time() {
    let rig = Rig::one().await;
    rig.nodes.sees("node1", |seen| {
        let mut second = seen.adapters[0].clone();
        (second.ifname, second.master) = ("pf1".parse().unwrap(), "br1".parse().ok());
        seen.adapters.push(second);
        let mut bridge = seen.bridges[0].clone();
        bridge.ifname = "br1".parse().unwrap();
        bridge.ports.truncate(1);
        bridge.ports[0].ifname = "pf1".parse().unwrap();
        seen.bridges.push(bridge);
    });
    rig.enable(50).await;
    let second = json!({"name": "b", "types": ["compute"], "adapters": ["pf1"], "bridge": "br1"});
    rig.http.post("/intents", second).await.done();
    let answer = rig.http.put("/acceleration", json!({"intent": "b"})).await;
    answer.refused(409, &["accel_net_enabled_elsewhere"]);
    assert!(
        answer.body["detail"]
            .as_str()
            .unwrap()
            .contains("'compute'")
    );
    rig.stop().await;
}

#[tokio::test]
async fn disabling_keeps_what_vms_are_wished() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "medium").await.done();
    let disabled = rig.http.delete("/acceleration").await.done();
    assert_eq!(
        (&disabled["changed"], &disabled["object"]["enabled"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(
        rig.http.delete("/acceleration").await.done()["changed"],
        false
    );
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(
        (&vm["level"], &vm["nics"][0]["path"]),
        (&json!("medium"), &json!("vf"))
    );
    // Without acceleration nothing is changed about VMs.
    rig.http
        .accelerate("vm2", "low")
        .await
        .refused(422, &["accel_net_not_enabled"]);
    rig.http
        .delete("/vms/vm1/acceleration")
        .await
        .refused(422, &["accel_net_not_enabled"]);
    rig.http.enable(50).await.done();
    assert_eq!(rig.http.get("/vms/vm1").await.done()["level"], "medium");
    rig.stop().await;
}

#[tokio::test]
async fn vfs_that_wait_are_a_problem_of_the_node() {
    let rig = Rig::one().await;
    rig.nodes.sees("node1", |seen| seen.adapters[0].vfs.clear());
    rig.enable(50).await;
    let status = rig.http.get("/status").await.done();
    let problem = &status["nodes"][0]["problems"][0];
    assert_eq!(problem["code"], "vfs_waiting", "{status}");
    assert!(problem["detail"].as_str().unwrap().contains("VM 'vm1'"));
    assert!(problem["cure"].as_str().unwrap().contains("--when now"));
    rig.stop().await;
}

#[tokio::test]
async fn a_silent_node_follows_when_it_answers_again() {
    let rig = Rig::two(50).await;
    rig.http.delete("/acceleration").await.done();
    rig.nodes.silent("node2", true);
    let answer = rig.http.enable(50).await.done();
    let plan = answer["plan"].as_array().unwrap();
    assert!(
        plan.iter()
            .any(|step| step == "node2: does not answer now, and follows when it does"),
        "{plan:?}"
    );
    let state = async || rig.http.get("/intents/compute").await.done()["status"].clone();
    let found = state().await;
    assert_eq!(found[0], json!({"node": "node1", "state": "success"}));
    assert_eq!(
        (&found[1]["state"], &found[1]["problems"][0]["code"]),
        (&json!("pending"), &json!("agent_unreachable"))
    );
    // What is not there now cannot be counted on.
    let capacity = rig.http.get("/capacity").await.done();
    assert_eq!(capacity["nodes"][1]["down"], true, "{capacity}");
    rig.http
        .put(
            "/acceleration",
            json!({"intent": "compute", "node_reserve_percentage": 0}),
        )
        .await
        .done();
    rig.nodes.silent("node2", false);
    rig.http.get("/prereq").await.done();
    assert_eq!(
        state().await[1],
        json!({"node": "node2", "state": "success"})
    );
    // Where nobody answers nothing can be judged.
    rig.http.delete("/acceleration").await.done();
    rig.nodes.silent("node1", true);
    rig.nodes.silent("node2", true);
    let answer = rig.http.enable(50).await;
    answer.refused(503, &["agent_unreachable", "agent_unreachable"]);
    let status = rig.http.get("/status").await.done();
    assert_eq!(status["nodes"][1]["reachable"], false);
    rig.stop().await;
}
