//! Adapters that are chosen by a rule; adapters in two intents; nodes that join.

use accelnet_rules::{Observed, fixture};
use accelnet_server::fake::FakeNodes;
use serde_json::{Value, json};

use crate::rig::{Rig, intent, with_vms};

fn ruled(name: &str, rule: Value) -> Value {
    let mut asked = json!({"name": name, "types": ["compute"], "bridge": "br0"});
    asked["match"] = rule;
    asked
}

/// The fixture's node whose adapter has another name.
fn renamed(vms: &[u8], name: &str) -> Observed {
    let mut seen = with_vms(vms);
    seen.adapters[0].ifname = name.parse().unwrap();
    seen.bridges[0].ports[0].ifname = name.parse().unwrap();
    seen
}

/// A second adapter, on a bridge of its own.
fn second_adapter(seen: &mut Observed) {
    let mut second = seen.adapters[0].clone();
    second.ifname = "pf1".parse().unwrap();
    second.master = "br1".parse().ok();
    (second.driver, second.speed_mbps) = (Some("ixgbe".into()), Some(10_000));
    second.vfs.clear();
    seen.adapters.push(second);
    let mut bridge = seen.bridges[0].clone();
    bridge.ifname = "br1".parse().unwrap();
    bridge.ports = vec![fixture::port("pf1", None)];
    seen.bridges.push(bridge);
}

#[tokio::test]
async fn a_rule_finds_adapters_of_any_name() {
    let rig = Rig::of(FakeNodes::new([
        ("node1", fixture::observed()),
        ("node2", renamed(&[3], "ens7")),
    ]))
    .await;
    let rule = json!({"driver": "igb", "speed_mbps": 1000, "pci_id": "8086:10C9"});
    let added = rig
        .http
        .post("/intents", ruled("compute", rule))
        .await
        .done();
    assert!(
        added["plan"]
            .to_string()
            .contains("driver=igb,speed=1000,pci=8086:10c9"),
        "{added}"
    );
    let shown = rig.http.get("/intents/compute").await.done();
    assert_eq!(shown["match"]["pci_id"], "8086:10c9");
    assert_eq!(shown["adapters"], json!([]));
    rig.http.enable(0).await.done();
    for vm in ["vm1", "vm3"] {
        rig.http.accelerate(vm, "low").await.done();
    }
    let adapters = rig.http.get("/adapters").await.done();
    for (number, name) in ["pf0", "ens7"].into_iter().enumerate() {
        let adapter = &adapters["items"][number];
        assert_eq!(
            (&adapter["facts"]["ifname"], &adapter["intent"]),
            (&json!(name), &json!("compute"))
        );
    }
    let nodes = &rig.http.get("/status").await.done()["nodes"];
    for node in [&nodes[0], &nodes[1]] {
        assert_eq!(
            (&node["vfs"], &node["vms_accelerated"]),
            (&json!(7), &json!(1)),
            "{node}"
        );
    }
    let capacity = rig.http.get("/capacity").await.done();
    assert_eq!(capacity["total"]["vfs"], 14, "{capacity}");
    rig.stop().await;
}

#[tokio::test]
async fn a_rule_that_nothing_fulfils_names_what_is_there() {
    let nodes = [
        ("node1", fixture::observed()),
        ("node2", renamed(&[3], "ens7")),
    ];
    let rig = Rig::of(FakeNodes::new(nodes)).await;
    rig.nodes.sees("node2", |seen| {
        seen.adapters[0].driver = Some("ixgbe".into());
    });
    let answer = rig
        .http
        .post("/intents", ruled("compute", json!({"driver": "igb"})))
        .await;
    answer.refused(404, &["adapter_not_found"]);
    let detail = answer.body["detail"].as_str().unwrap();
    for word in [
        "node2",
        "driver=igb",
        "ens7 (ixgbe, 1000 Mbit/s, 8086:10c9)",
    ] {
        assert!(detail.contains(word), "{detail}");
    }
    assert!(!detail.contains("node1"), "{detail}");
    // Adapters of one rule are alike, whatever their names are.
    rig.nodes
        .sees("node2", |seen| seen.adapters[0].driver = Some("igb".into()));
    rig.nodes
        .sees("node2", |seen| seen.adapters[0].pci_id = "8086:1521".into());
    let answer = rig
        .http
        .post("/intents", ruled("compute", json!({"driver": "igb"})))
        .await;
    answer.refused(422, &["adapters_differ"]);
    // One that is no uplink.
    rig.nodes.sees("node2", |seen| {
        seen.adapters[0].pci_id = "8086:10c9".into();
        let mut second = seen.adapters[0].clone();
        (second.ifname, second.master) = ("ens8".parse().unwrap(), None);
        seen.adapters.push(second);
    });
    let answer = rig
        .http
        .post("/intents", ruled("compute", json!({"driver": "igb"})))
        .await;
    answer.refused(422, &["adapter_not_uplink"]);
    assert!(
        answer.body["cure"]
            .as_str()
            .unwrap()
            .contains("narrow the rule driver=igb")
    );
    assert_eq!(rig.wish().await, []);
    rig.stop().await;
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused() {
    let rig = Rig::one().await;
    for rule in [
        json!({}),
        json!({"driver": ""}),
        json!({"speed_mbps": 0}),
        json!({"speed_mbps": "fast"}),
        json!({"pci_id": "8086"}),
        json!({"name": "pf0"}),
        json!("igb"),
    ] {
        let answer = rig
            .http
            .post("/intents", ruled("compute", rule.clone()))
            .await;
        assert_eq!(answer.codes(), ["invalid_argument"], "{rule}");
    }
    let mut both = ruled("compute", json!({"driver": "igb"}));
    both["adapters"] = json!(["pf0"]);
    rig.http
        .post("/intents", both)
        .await
        .refused(422, &["intent_invalid"]);
    assert_eq!(rig.wish().await, []);
    rig.stop().await;
}

#[tokio::test]
async fn names_and_rules_take_each_others_place() {
    let rig = Rig::enabled().await;
    rig.nodes.sees("node1", second_adapter);
    rig.http.accelerate("vm1", "low").await.done();
    let set = async |body| rig.http.patch("/intents/compute", body).await;
    // What VMs are accelerated on does not go away by a rule.
    let answer = set(json!({"match": {"driver": "ixgbe"}})).await;
    answer.refused(409, &["intent_in_use"]);
    let changed = set(json!({"match": {"driver": "igb"}})).await.done();
    assert_eq!(
        (&changed["object"]["adapters"], &changed["object"]["match"]),
        (&json!([]), &json!({"driver": "igb"}))
    );
    assert_eq!(
        set(json!({"match": {"driver": "igb"}})).await.done()["changed"],
        false
    );
    // The rule stays if it is not spoken of.
    let changed = set(json!({"vfs": "keep"})).await.done();
    assert_eq!(changed["object"]["match"], json!({"driver": "igb"}));
    let changed = set(json!({"adapters": ["pf0"]})).await.done();
    assert_eq!(
        (&changed["object"]["adapters"], &changed["object"]["match"]),
        (&json!(["pf0"]), &Value::Null)
    );
    set(json!({"adapters": ["pf0"], "match": {"driver": "igb"}}))
        .await
        .refused(422, &["intent_invalid"]);
    rig.stop().await;
}

#[tokio::test]
async fn an_adapter_is_in_two_intents_if_a_rule_says_so() {
    let rig = Rig::one().await;
    rig.nodes.sees("node1", second_adapter);
    rig.http.post("/intents", intent()).await.done();
    let second = |rule| {
        let mut second = ruled("second", rule);
        second["bridge"] = json!("br1");
        second
    };
    let answer = rig
        .http
        .post("/intents", second(json!({"pci_id": "8086:10c9"})))
        .await;
    answer.refused(409, &["adapter_in_two_intents"]);
    let detail = answer.body["detail"].as_str().unwrap();
    for word in [
        "node1",
        "pf0",
        "'compute'",
        "'second' (which matches pci=8086:10c9)",
    ] {
        assert!(detail.contains(word), "{detail}");
    }
    rig.http
        .post("/intents", second(json!({"driver": "ixgbe"})))
        .await
        .done();
    let to_both = json!({"match": {"pci_id": "8086:10c9"}});
    let answer = rig.http.patch("/intents/second", to_both).await;
    answer.refused(409, &["adapter_in_two_intents"]);
    // Later the node's facts show it.
    rig.nodes.sees("node1", |seen| {
        seen.adapters[0].driver = Some("ixgbe".into());
    });
    for name in ["compute", "second"] {
        let status = &rig.http.get(&format!("/intents/{name}")).await.done()["status"][0];
        assert_eq!(status["state"], "failed", "{status}");
        assert_eq!(status["problems"][0]["code"], "adapter_in_two_intents");
    }
    let codes = rig.http.enable(50).await.codes();
    assert!(
        codes.contains(&"adapter_in_two_intents".to_owned()),
        "{codes:?}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_node_that_joins_gets_the_intents_by_itself() {
    let rig = Rig::enabled().await;
    rig.http
        .patch("/intents/compute", json!({"match": {"driver": "igb"}}))
        .await
        .done();
    let wanted = rig.nodes.desired("node1");
    rig.nodes.joins("node2", renamed(&[3], "ens7"));
    assert_eq!(rig.nodes.desired("node2"), wanted);
    // What is wanted later reaches it as any other.
    rig.http
        .patch("/intents/compute", json!({"vfs": "keep"}))
        .await
        .done();
    assert_eq!(rig.nodes.desired("node2"), rig.nodes.desired("node1"));
    rig.nodes.joins("node3", Observed::default());
    let status = rig.http.get("/intents/compute").await.done()["status"].clone();
    assert_eq!(status[1], json!({"node": "node2", "state": "success"}));
    assert_eq!(status[2]["state"], "failed");
    assert_eq!(status[2]["node"], "node3");
    rig.stop().await;
}
