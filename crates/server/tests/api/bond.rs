//! An active-backup bond of adapters as the bridge's uplink.

use accelnet_rules::fixture;
use accelnet_server::fake::FakeNodes;
use serde_json::{Value, json};

use crate::rig::{Rig, intent};

fn both() -> Value {
    let mut both = intent();
    both["adapters"] = json!(["pf0", "pf1"]);
    both
}

#[tokio::test]
async fn a_bond_counts_as_one_adapter() {
    let rig = Rig::of(FakeNodes::new([("node1", fixture::bonded())])).await;
    rig.http.post("/intents", both()).await.done();
    rig.http.enable(0).await.done();
    rig.http.accelerate("vm1", "low").await.done();
    let capacity = rig.http.get("/capacity").await.done();
    let total = &capacity["total"];
    assert_eq!(
        (&total["vfs"], &total["vfs_used"]),
        (&json!(7), &json!(1)),
        "{capacity}"
    );
    // What the weaker member can give; none if it has none.
    rig.nodes
        .sees("node1", |seen| seen.adapters[1].vfs.truncate(2));
    let total = rig.http.get("/capacity").await.done()["total"].clone();
    assert_eq!(
        (&total["vfs"], &total["fits_more"]["low"]),
        (&json!(2), &json!(1)),
        "{total}"
    );
    let places = rig.http.get("/vms/vm2/where").await;
    assert!(places.body.to_string().contains("bond0"), "{}", places.body);
    let status = &rig.http.get("/intents/compute").await.done()["status"][0];
    assert_eq!(status["state"], "success", "{status}");
    rig.stop().await;
}

#[tokio::test]
async fn the_backup_may_be_without_link_and_the_used_member_may_not() {
    let rig = Rig::of(FakeNodes::new([("node1", fixture::bonded())])).await;
    rig.nodes
        .sees("node1", |seen| seen.adapters[1].carrier = false);
    rig.http.post("/intents", both()).await.done();
    rig.http.enable(0).await.done();
    rig.http.accelerate("vm1", "low").await.done();
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["nics"][0]["adapter"], "pf0");
    rig.http.delete("/vms/vm1/acceleration").await.done();
    rig.nodes
        .sees("node1", |seen| seen.adapters[0].carrier = false);
    let answer = rig.http.accelerate("vm1", "low").await;
    answer.refused(422, &["adapter_link_down"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_bond_with_other_members_is_refused_by_name() {
    let rig = Rig::of(FakeNodes::new([("node1", fixture::bonded())])).await;
    let answer = rig.http.post("/intents", intent()).await;
    answer.refused(422, &["bridge_not_supported"]);
    let detail = answer.body["detail"].as_str().unwrap();
    for word in ["node1", "bond0", "member pf1"] {
        assert!(detail.contains(word), "{detail}");
    }
    assert_eq!(rig.wish().await, []);
    rig.stop().await;
}
