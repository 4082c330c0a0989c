//! What levels are on an intent: queue pairs and limits of its own, and what rests on them.

use accelnet_model::Support;
use accelnet_rules::{Observed, fixture};
use accelnet_server::fake::FakeNodes;
use serde_json::{Value, json};

use crate::rig::{Rig, intent, with_vms};

fn with_levels(levels: Value) -> Value {
    let mut intent = intent();
    intent["levels"] = levels;
    intent
}

fn pairs(low: u32, medium: u32, high: u32) -> Value {
    json!({"low": low, "medium": medium, "high": high})
}

/// A node whose seven VFs share so many vectors and have two each.
fn pool(vectors: u32) -> Observed {
    let mut seen = fixture::observed();
    let adapter = &mut seen.adapters[0];
    adapter.driver = Some("mlx5_core".into());
    adapter.vf_pci_id = Some("15b3:1018".into());
    adapter.vf_total_msix = Support::Supported(vectors);
    for vf in &mut adapter.vfs {
        vf.msix_vectors = Support::Supported(2);
    }
    for vm in &mut seen.vms {
        vm.vcpus = 8;
    }
    seen
}

fn plan(answer: &Value) -> String {
    let steps = answer["plan"].as_array().unwrap().iter();
    let steps: Vec<&str> = steps.filter_map(Value::as_str).collect();
    steps.join("; ")
}

#[tokio::test]
async fn an_intent_has_its_own_numbers_or_the_usual_ones() {
    let rig = Rig::one().await;
    let added = rig.http.post("/intents", intent()).await.done();
    let usual = json!({"queue_pairs": pairs(1, 2, 4)});
    assert_eq!(added["object"]["levels"], usual);
    let change = json!({"queue_pairs": pairs(1, 2, 8)});
    let changed = rig
        .http
        .patch("/intents/compute", change.clone())
        .await
        .done();
    assert!(
        plan(&changed).contains("Low=1,Medium=2,High=8"),
        "{changed}"
    );
    let limit = json!({"max_tx_rate_mbps": {"low": 100}});
    let changed = rig.http.patch("/intents/compute", limit).await.done();
    assert!(plan(&changed).contains("Low=100 Mbit/s"), "{changed}");
    // What is left out stays.
    let expected = json!({"queue_pairs": pairs(1, 2, 8), "max_tx_rate_mbps": {"low": 100}});
    assert_eq!(changed["object"]["levels"], expected);
    let again = rig.http.patch("/intents/compute", change).await.done();
    assert_eq!(again["changed"], false);
    let none = rig
        .http
        .patch("/intents/compute", json!({"max_tx_rate_mbps": {}}));
    let expected = json!({"queue_pairs": pairs(1, 2, 8)});
    assert_eq!(none.await.done()["object"]["levels"], expected);
    rig.stop().await;
}

#[tokio::test]
async fn numbers_that_cannot_be_are_refused_by_name() {
    let rig = Rig::one().await;
    for (levels, status, word) in [
        (json!({"queue_pairs": pairs(1, 3, 4)}), 422, "divide"),
        (json!({"queue_pairs": pairs(0, 2, 4)}), 422, "from 1"),
        (json!({"max_tx_rate_mbps": {"low": 0}}), 422, "Mbit/s"),
        (json!({"pairs": 3}), 400, "pairs"),
    ] {
        let answer = rig.http.post("/intents", with_levels(levels)).await;
        answer.refused(status, &["invalid_argument"]);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{detail}");
    }
    assert_eq!(rig.http.get("/intents").await.done(), json!({"items": []}));
    rig.stop().await;
}

#[tokio::test]
async fn vms_are_measured_by_the_intents_numbers() {
    let rig = Rig::one().await;
    // VFs of the card have two pairs.
    let levels = json!({"queue_pairs": pairs(1, 1, 2), "max_tx_rate_mbps": {"high": 500}});
    rig.http.post("/intents", with_levels(levels)).await.done();
    rig.http.enable(0).await.done();
    rig.nodes.sees("node1", |seen| seen.vms[0].vcpus = 4);
    let planned = rig.http.put(
        "/vms/vm1/acceleration?dry_run=true",
        json!({"performance": "high"}),
    );
    let planned = planned.await.done();
    for words in ["send 500 Mbit/s at most", "2 queues", "cold start"] {
        assert!(plan(&planned).contains(words), "{words}: {planned}");
    }
    rig.http.accelerate("vm1", "high").await.done();
    let total = rig.http.get("/capacity").await.done()["total"].clone();
    let shown =
        ["vfs_used", "vfs", "queue_pairs_used", "queue_pairs"].map(|key| total[key].as_u64());
    assert_eq!(shown, [1, 7, 2, 14].map(Some), "{total}");
    assert_eq!(total["free"], json!({"low": 6, "medium": 6, "high": 6}));
    let adapter = rig.http.get("/adapters").await.done()["items"][0].clone();
    assert_eq!(adapter["levels"], json!(["low", "medium", "high"]));
    let vm = rig.http.get("/vms/vm1").await.done();
    assert!(
        vm["staged"][0].as_str().unwrap().contains("2 queues"),
        "{vm}"
    );

    // What the VM rests on is not taken away.
    let before = rig.wish().await;
    for (change, code) in [
        (
            json!({"queue_pairs": pairs(1, 2, 4)}),
            "cannot_provision_performance",
        ),
        (
            json!({"max_tx_rate_mbps": {"high": 5000}}),
            "tx_rate_not_possible",
        ),
    ] {
        let answer = rig.http.patch("/intents/compute", change).await;
        answer.refused(422, &[code]);
    }
    assert_eq!(rig.wish().await, before);
    let change = json!({"queue_pairs": pairs(1, 2, 2)});
    rig.http.patch("/intents/compute", change).await.done();
    rig.stop().await;
}

#[tokio::test]
async fn a_limit_that_an_adapter_cannot_keep_keeps_the_intent_from_being_enabled() {
    let rig = Rig::one().await;
    let levels = json!({"max_tx_rate_mbps": {"low": 100, "high": 2000}});
    rig.http.post("/intents", with_levels(levels)).await.done();
    let answer = rig.http.enable(0).await;
    answer.refused(422, &["tx_rate_not_possible"]);
    let detail = answer.body["detail"].as_str().unwrap();
    for word in ["node1", "pf0", "1000", "2000"] {
        assert!(detail.contains(word), "{detail}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn other_numbers_must_leave_room_for_what_is_admitted() {
    let nodes = FakeNodes::new([
        ("node1", pool(23)),
        ("node2", {
            let mut other = pool(23);
            other.vms.clear();
            other
        }),
    ]);
    let rig = Rig::of(nodes).await;
    rig.http.post("/intents", intent()).await.done();
    rig.enable(50).await;
    for vm in ["vm1", "vm2"] {
        rig.http.accelerate(vm, "high").await.done();
    }
    let change = json!({"queue_pairs": pairs(1, 2, 8)});
    let answer = rig.http.patch("/intents/compute", change).await;
    answer.refused(422, &["cluster_not_enough_resources"]);
    let change = json!({"queue_pairs": pairs(1, 1, 2)});
    rig.http.patch("/intents/compute", change).await.done();
    rig.stop().await;
}

#[tokio::test]
async fn where_vectors_come_from_a_pool_another_level_moves_the_vm_and_says_so() {
    let rig = Rig::of(FakeNodes::new([("node1", pool(60))])).await;
    rig.http.post("/intents", intent()).await.done();
    rig.enable(0).await;
    let first = rig.http.accelerate("vm1", "low").await.done();
    assert!(
        plan(&first).contains("share of the adapter's vectors"),
        "{first}"
    );
    let dry = "/vms/vm1/acceleration?dry_run=true";
    let higher = rig
        .http
        .put(dry, json!({"performance": "high"}))
        .await
        .done();
    for words in ["from Low to High", "unplug the VF", "plug the VF"] {
        assert!(plan(&higher).contains(words), "{words}: {higher}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_pool_that_is_short_is_counted_in_the_intents_own_queue_pairs() {
    // Seven VFs and 19 pairs for them: an idle VF keeps one, so two cannot have eight.
    let mut seen = with_vms(&[1, 2, 3, 4, 5, 6, 7]);
    seen.node.memory_available_mib = 1 << 20;
    seen.adapters = pool(26).adapters;
    for vm in &mut seen.vms {
        vm.vcpus = 8;
    }
    let rig = Rig::of(FakeNodes::new([("node1", seen)])).await;
    let levels = json!({"queue_pairs": pairs(1, 2, 8)});
    rig.http.post("/intents", with_levels(levels)).await.done();
    rig.http.enable(0).await.done();
    rig.http.accelerate("vm1", "high").await.done();
    for vm in ["vm2", "vm3", "vm4", "vm5", "vm6"] {
        rig.http.accelerate(vm, "low").await.done();
    }
    let node = rig.http.get("/capacity").await.done()["nodes"][0].clone();
    assert_eq!(node["queue_pairs_used"], 8 + 5, "{node}");
    assert_eq!(node["free"], json!({"low": 1, "medium": 1, "high": 0}));
    let refused = rig.http.accelerate("vm2", "high").await;
    refused.refused(422, &["cluster_not_enough_resources"]);
    rig.http.accelerate("vm7", "medium").await.done();
    rig.stop().await;
}
