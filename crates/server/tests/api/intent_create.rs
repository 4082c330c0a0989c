//! Intents whose bridge accelnet makes.

use accelnet_rules::{Observed, fixture};
use accelnet_server::fake::FakeNodes;
use serde_json::{Value, json};

use crate::rig::Rig;

/// A node whose adapter is nobody's, and down.
fn bare() -> Observed {
    let mut seen = fixture::observed();
    let facts = &mut seen.adapters[0];
    (facts.master, facts.up, facts.carrier) = (None, false, false);
    facts.vfs.clear();
    seen.bridges.clear();
    seen.vms.clear();
    seen
}

fn intent() -> Value {
    json!({"name": "compute", "types": ["compute"], "adapters": ["pf0"], "bridge": "br1", "create": true})
}

async fn two() -> Rig {
    Rig::of(FakeNodes::new([("node1", bare()), ("node2", bare())])).await
}

#[tokio::test]
async fn a_bridge_is_made_on_every_node_and_stays() {
    let rig = two().await;
    let planned = rig
        .http
        .post("/intents?dry_run=true", intent())
        .await
        .done();
    let plan = planned["plan"].to_string();
    for words in [
        "new bridge br1",
        "node 'node1': make bridge br1 with pf0",
        "node2",
    ] {
        assert!(plan.contains(words), "{plan}");
    }
    assert!(rig.nodes.seen("node1").bridges.is_empty(), "a dry run");
    rig.http.post("/intents", intent()).await.done();
    assert_eq!(
        rig.http.post("/intents", intent()).await.done()["changed"],
        false
    );
    for node in ["node1", "node2"] {
        let seen = rig.nodes.seen(node);
        assert_eq!(seen.bridges[0].alias.as_deref(), Some("accelnet:compute"));
        assert_eq!(seen.adapters[0].master, "br1".parse().ok());
    }
    let shown = rig.http.get("/intents/compute").await.done();
    assert_eq!(shown["create"], true);
    assert_eq!(
        shown["status"][1],
        json!({"node": "node2", "state": "success"})
    );
    rig.http.enable(50).await.done();
    rig.http.delete("/acceleration").await.done();
    let removed = rig.http.delete("/intents/compute").await.done();
    assert!(
        removed["plan"][0].as_str().unwrap().contains("br1 stays"),
        "{removed}"
    );
    assert_eq!(rig.nodes.seen("node1").bridges.len(), 1);
    // The same intent again finds it as its own.
    let again = rig.http.post("/intents", intent()).await.done();
    assert!(
        again["plan"]
            .to_string()
            .contains("is there, as accelnet made it"),
        "{again}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn what_is_somebodys_is_refused_by_name() {
    type Change = fn(&mut Observed);
    let cases: [(&str, &[&str], Change); 5] = [
        (
            "adapter_managed",
            &["node2", "pf0", "a port of br7"],
            |seen| {
                seen.adapters[0].master = "br7".parse().ok();
            },
        ),
        ("adapter_managed", &["NetworkManager manages it"], |seen| {
            seen.adapters[0].claims = vec!["NetworkManager manages it".into()];
        }),
        ("bridge_not_ours", &["node2", "bridge br1"], |seen| {
            let mut bridge = fixture::observed().bridges.remove(0);
            bridge.ifname = "br1".parse().unwrap();
            seen.bridges.push(bridge);
        }),
        ("adapter_not_found", &["node2", "pf0"], |seen| {
            seen.adapters.clear();
        }),
        ("adapters_differ", &["node1", "node2"], |seen| {
            seen.adapters[0].pci_id = "8086:1572".into();
        }),
    ];
    for (code, words, change) in cases {
        let rig = two().await;
        rig.nodes.sees("node2", change);
        let answer = rig.http.post("/intents", intent()).await;
        assert_eq!(answer.codes(), [code]);
        let detail = answer.body["detail"].as_str().unwrap();
        for word in words {
            assert!(detail.contains(word), "{detail}");
        }
        assert_eq!(rig.wish().await, []);
        assert!(rig.nodes.seen("node1").bridges.is_empty());
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_bridge_that_is_made_has_one_adapter() {
    let rig = two().await;
    let mut two_names = intent();
    two_names["adapters"] = json!(["pf0", "pf1"]);
    let answer = rig.http.post("/intents", two_names).await;
    answer.refused(422, &["intent_invalid"]);
    rig.nodes.sees("node2", |seen| {
        let mut second = seen.adapters[0].clone();
        second.ifname = "pf1".parse().unwrap();
        seen.adapters.push(second);
    });
    let mut rule = intent();
    rule["adapters"] = json!([]);
    rule["match"] = json!({"driver": "igb"});
    let answer = rig.http.post("/intents", rule).await;
    answer.refused(422, &["bridge_not_supported"]);
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("node2") && detail.contains("pf0, pf1"),
        "{detail}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn each_node_says_how_far_its_bridge_is() {
    let rig = two().await;
    rig.http.post("/intents", intent()).await.done();
    let status = async || rig.http.get("/intents/compute").await.done()["status"][1].clone();
    // Somebody takes the bridge away; the node is at it.
    let gone = |seen: &mut Observed| *seen = bare();
    rig.nodes.sees("node2", gone);
    assert_eq!(
        status().await,
        json!({"node": "node2", "state": "provisioning"})
    );
    rig.nodes.sees("node2", |seen| {
        seen.adapters[0].claims = vec!["it has an address".into()];
    });
    let found = status().await;
    assert_eq!(found["state"], "failed");
    assert_eq!(found["problems"][0]["code"], "adapter_managed");
    // A node that joins makes it too.
    rig.nodes.joins("node3", bare());
    assert_eq!(rig.nodes.seen("node3").bridges.len(), 1);
    rig.stop().await;
}
