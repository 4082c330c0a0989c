//! A server that has just started asks for patience where it would refuse because nodes are silent.

use accelnet_rules::fixture;
use accelnet_server::fake::FakeNodes;
use reqwest::Method;
use serde_json::json;

use crate::rig::{Rig, intent, with_vms};

#[tokio::test]
async fn what_would_be_refused_for_silence_is_asked_again_until_the_node_speaks() {
    let nodes = FakeNodes::new([("node1", fixture::observed()), ("node2", with_vms(&[3, 4]))]);
    nodes.silent("node2", true);
    let rig = Rig::of(nodes).await;
    rig.http.post("/intents", intent()).await.done();
    // What is judged with the nodes that were heard is answered as always.
    rig.http.enable(0).await.done();
    rig.http.accelerate("vm1", "low").await.done();

    let body = json!({"performance": "low"});
    let request = rig.http.request(Method::PUT, "/vms/vm3/acceleration");
    let answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    let young = rig.http.accelerate("vm3", "low").await;
    young.refused(503, &["server_settling"]);
    assert_eq!(young.body["detail"], "Not heard yet: 'node2'.");
    let read = rig.http.get("/vms/vm3").await;
    read.refused(503, &["server_settling"]);
    // It has nothing to do with nodes.
    let other = rig.http.accelerate("vm1", "enormous").await;
    assert_eq!(other.status, 400, "{other:?}");

    rig.nodes.silent("node2", false);
    rig.nodes.sees("node2", |_| {});
    rig.http.accelerate("vm3", "low").await.done();
    // All were heard: one that falls silent now is silent.
    rig.nodes.silent("node2", true);
    let silent = rig.http.accelerate("vm4", "low").await;
    silent.refused(503, &["agent_unreachable"]);
    rig.stop().await;
}
