//! Intents: added once, the same again is no change, removed if nothing rests on them.

use accelnet_server::fake::FakeNodes;
use serde_json::json;

use crate::rig::{Rig, intent};

#[tokio::test]
async fn an_intent_is_added_shown_listed_and_removed() {
    let rig = Rig::one().await;
    let added = rig.http.post("/intents", intent()).await.done();
    assert_eq!(added["changed"], true);
    assert_eq!(added["dry_run"], false);
    assert!(
        added["plan"][0].as_str().unwrap().contains("br0"),
        "{added}"
    );
    let shown = rig.http.get("/intents/compute").await.done();
    let mut expected = added["object"].clone();
    expected["status"] = json!([{"node": "node1", "state": "success"}]);
    assert_eq!(shown, expected);
    let list = rig.http.get("/intents").await.done();
    assert_eq!(list, json!({"items": [shown]}));
    let removed = rig.http.delete("/intents/compute").await.done();
    assert_eq!(removed["object"], added["object"]);
    assert_eq!(rig.http.get("/intents").await.done(), json!({"items": []}));
    rig.http
        .delete("/intents/compute")
        .await
        .refused(404, &["intent_not_found"]);
    rig.stop().await;
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_another_one_is_refused() {
    let rig = Rig::one().await;
    rig.http.post("/intents", intent()).await.done();
    let before = rig.wish().await;
    let again = rig.http.post("/intents", intent()).await.done();
    assert_eq!(
        (&again["changed"], &again["plan"]),
        (&json!(false), &json!([]))
    );
    let mut other = intent();
    other["vfs"] = json!({"exactly": 3});
    let answer = rig.http.post("/intents", other).await;
    answer.refused(409, &["intent_exists"]);
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("br0") && detail.contains("pf0"), "{detail}");
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

#[tokio::test]
async fn an_adapter_belongs_to_one_intent() {
    let rig = Rig::one().await;
    rig.http.post("/intents", intent()).await.done();
    let mut second = intent();
    second["name"] = json!("second");
    let answer = rig.http.post("/intents", second).await;
    answer.refused(409, &["adapter_in_two_intents"]);
    assert!(
        answer.body["detail"]
            .as_str()
            .unwrap()
            .contains("'compute'")
    );
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_all_reasons() {
    let rig = Rig::one().await;
    let empty = json!({"name": "x", "types": [], "adapters": [], "bridge": "br0"});
    let answer = rig.http.post("/intents", empty).await;
    answer.refused(422, &["intent_invalid", "intent_invalid"]);
    let elsewhere =
        json!({"name": "x", "types": ["compute"], "adapters": ["pf7"], "bridge": "br7"});
    let answer = rig.http.post("/intents", elsewhere).await;
    answer.refused(422, &["bridge_not_found", "adapter_not_found"]);
    assert!(
        answer.problems()[1]["detail"]
            .as_str()
            .unwrap()
            .contains("pf0")
    );
    assert_eq!(rig.wish().await, []);
    rig.stop().await;
}

#[tokio::test]
async fn an_intent_in_use_stays() {
    let rig = Rig::enabled().await;
    let before = rig.wish().await;
    rig.http
        .delete("/intents/compute")
        .await
        .refused(409, &["intent_in_use"]);
    assert_eq!(rig.wish().await, before);
    rig.http.delete("/acceleration").await.done();
    rig.http.delete("/intents/compute").await.done();
    rig.stop().await;
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let rig = Rig::one().await;
    let planned = rig
        .http
        .post("/intents?dry_run=true", intent())
        .await
        .done();
    assert_eq!(
        (&planned["dry_run"], &planned["changed"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(rig.wish().await, []);
    rig.http.post("/intents", intent()).await.done();
    let before = rig.wish().await;
    rig.http
        .delete("/intents/compute?dry_run=true")
        .await
        .done();
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

#[tokio::test]
async fn a_silent_node_keeps_an_intent_from_being_judged() {
    let rig = Rig::one().await;
    rig.nodes.silent("node1", true);
    let answer = rig.http.post("/intents", intent()).await;
    answer.refused(503, &["agent_unreachable"]);
    assert!(answer.body["detail"].as_str().unwrap().contains("node1"));
    rig.stop().await;
}

/// Of ten thousand nodes one is always silent.
#[tokio::test]
async fn levels_change_while_a_node_is_silent_and_nothing_else_does() {
    let rig = Rig::two(50).await;
    for vm in ["vm1", "vm3"] {
        rig.http.accelerate(vm, "low").await.done();
    }
    rig.nodes.silent("node2", true);
    rig.http.get("/prereq").await.done();
    let set = async |body| rig.http.patch("/intents/compute", body).await;
    let changed = set(json!({"max_tx_rate_mbps": {"high": 900}})).await.done();
    let plan = changed["plan"].to_string();
    assert!(plan.contains("node2") && plan.contains("follows"), "{plan}");
    for taken in [
        json!({"types": ["compute", "management"]}),
        json!({"vf_driver": "vfio-pci"}),
    ] {
        set(taken).await.refused(503, &["agent_unreachable"]);
    }
    // As its VM was last, it would lose its level.
    let far = json!({"queue_pairs": {"low": 64, "medium": 64, "high": 64}});
    let refused = set(far).await;
    refused.refused(422, &["cannot_provision_performance"; 2]);
    rig.stop().await;
}

#[tokio::test]
async fn each_node_says_how_far_it_is() {
    let rig = Rig::two(50).await;
    let status = async || rig.http.get("/intents/compute").await.done()["status"].clone();
    let both = json!([
        {"node": "node1", "state": "success"},
        {"node": "node2", "state": "success"},
    ]);
    assert_eq!(status().await, both);
    rig.nodes.idle("node1", true);
    rig.nodes
        .sees("node2", |seen| seen.adapters[0].carrier = false);
    rig.http.accelerate("vm1", "low").await.done();
    let found = status().await;
    assert_eq!(found[0], json!({"node": "node1", "state": "validating"}));
    assert_eq!(found[1]["state"], "failed");
    assert_eq!(found[1]["problems"][0]["code"], "adapter_link_down");
    rig.nodes.silent("node1", true);
    rig.http.get("/prereq").await.done();
    let found = status().await;
    assert_eq!(found[0]["state"], "pending");
    assert_eq!(found[0]["problems"][0]["code"], "agent_unreachable");
    rig.stop().await;
}

#[tokio::test]
async fn a_switch_of_another_kind_is_refused_by_name() {
    let rig = Rig::one().await;
    rig.nodes.sees("node1", |seen| {
        let mut bond = seen.bridges[0].clone();
        bond.ifname = "bond0".parse().unwrap();
        (bond.kind, bond.bond_mode) = ("bond".into(), Some("802.3ad".into()));
        (bond.master, bond.ports) = ("br0".parse().ok(), Vec::new());
        seen.bridges.push(bond);
        seen.adapters[0].master = "bond0".parse().ok();
    });
    let answer = rig.http.post("/intents", intent()).await;
    answer.refused(422, &["bridge_not_supported"]);
    let detail = answer.body["detail"].as_str().unwrap();
    for word in ["node1", "pf0", "bond0", "LACP"] {
        assert!(detail.contains(word), "{detail}");
    }
    assert_eq!(rig.wish().await, []);
    let checks = rig.http.get("/prereq").await.done();
    assert!(!checks.to_string().contains("LACP"), "no intent was named");
    rig.stop().await;
}

#[tokio::test]
async fn an_intent_is_changed_once() {
    let rig = Rig::one().await;
    rig.http.post("/intents", intent()).await.done();
    let before = rig.wish().await;
    let four = json!({"vfs": {"exactly": 4}});
    let path = "/intents/compute?dry_run=true";
    let planned = rig.http.patch(path, four.clone()).await.done();
    assert_eq!(planned["changed"], true);
    assert!(
        planned["plan"][1].as_str().unwrap().contains("VFs 4"),
        "{planned}"
    );
    assert_eq!(rig.wish().await, before);
    let set = async |body| rig.http.patch("/intents/compute", body).await;
    let done = set(four.clone()).await.done();
    assert_eq!(done["object"]["vfs"], json!({"exactly": 4}));
    assert_eq!(done["object"]["bridge"], "br0");
    let before = rig.wish().await;
    assert_eq!(set(four).await.done()["changed"], false);
    set(json!({})).await.refused(422, &["invalid_argument"]);
    set(json!({"bridge": "br7"}))
        .await
        .refused(422, &["bridge_not_found", "adapter_not_uplink"]);
    set(json!({"adapters": []}))
        .await
        .refused(422, &["intent_invalid"]);
    let unknown = rig
        .http
        .patch("/intents/nobody", json!({"vfs": "keep"}))
        .await;
    unknown.refused(404, &["intent_not_found"]);
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

#[tokio::test]
async fn what_vms_are_accelerated_on_does_not_go_away() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    // A second bridge with an adapter that would do as well.
    rig.nodes.sees("node1", |seen| {
        let mut second = seen.adapters[0].clone();
        second.ifname = "pf1".parse().unwrap();
        second.master = "br1".parse().ok();
        second.vfs.clear();
        seen.adapters.push(second);
        let mut bridge = seen.bridges[0].clone();
        bridge.ifname = "br1".parse().unwrap();
        bridge.ports = vec![accelnet_rules::fixture::port("pf1", None)];
        seen.bridges.push(bridge);
    });
    let before = rig.wish().await;
    let set = async |body| rig.http.patch("/intents/compute", body).await;
    let answer = set(json!({"bridge": "br1", "adapters": ["pf1"]})).await;
    answer.refused(409, &["intent_in_use"]);
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("'vm1'") && detail.contains("pf0"),
        "{detail}"
    );
    set(json!({"types": ["storage"]}))
        .await
        .refused(409, &["intent_in_use"]);
    let answer = set(json!({"vfs": {"exactly": 3}})).await;
    answer.refused(422, &["vf_count_not_possible"]);
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("'vm1'"), "{detail}");
    assert_eq!(rig.wish().await, before);
    // What takes nothing away is no matter.
    set(json!({"types": ["compute", "management"]}))
        .await
        .done();
    rig.http.delete("/vms/vm1/acceleration").await.done();
    set(json!({"vfs": {"exactly": 3}})).await.done();
    rig.stop().await;
}

#[tokio::test]
async fn adapters_of_an_intent_are_there_and_alike_on_all_nodes() {
    let seen = accelnet_rules::fixture::observed();
    let nodes = FakeNodes::new([("node1", seen.clone()), ("node2", seen)]);
    let rig = Rig::of(nodes).await;
    rig.nodes
        .sees("node2", |seen| seen.adapters[0].pci_id = "8086:1572".into());
    let answer = rig.http.post("/intents", intent()).await;
    answer.refused(422, &["adapters_differ"]);
    let detail = answer.body["detail"].as_str().unwrap();
    for word in ["node1", "node2", "8086:1572", "8086:10c9"] {
        assert!(detail.contains(word), "{detail}");
    }
    rig.nodes.sees("node2", |seen| {
        seen.adapters[0].pci_id = "8086:10c9".into();
        seen.adapters[0].ifname = "pf7".parse().unwrap();
    });
    let answer = rig.http.post("/intents", intent()).await;
    answer.refused(404, &["adapter_not_found"]);
    assert!(answer.body["detail"].as_str().unwrap().contains("node2"));
    assert_eq!(rig.wish().await, []);
    rig.stop().await;
}
