//! What is free, what the reserve holds back, and where VMs could go.

use serde_json::{Value, json};

use crate::rig::Rig;

/// Two nodes of two VFs, one of which may be down.
async fn two() -> Rig {
    let rig = Rig::two(50).await;
    for node in ["node1", "node2"] {
        rig.nodes
            .sees(node, |seen| seen.adapters[0].vfs.truncate(2));
    }
    rig
}

fn levels(low: u64, medium: u64, high: u64) -> Value {
    json!({"low": low, "medium": medium, "high": high})
}

#[tokio::test]
async fn the_reserve_is_held_back() {
    let rig = two().await;
    let empty = rig.http.get("/capacity").await.done();
    assert_eq!(empty["intent"], "compute");
    assert_eq!(empty["nodes_down_tolerated"], 1);
    let total = &empty["total"];
    assert_eq!((&total["vfs"], &total["vfs_used"]), (&json!(4), &json!(0)));
    assert_eq!(total["queue_pairs"], 8);
    assert_eq!(total["free"], levels(4, 4, 0));
    assert_eq!(total["held_back"], levels(2, 2, 0));
    assert_eq!(total["fits_more"], levels(2, 2, 0));
    assert_eq!(
        empty["largest_reserve"],
        json!({"node_reserve_percentage": 99, "nodes_down": 1})
    );

    rig.http.accelerate("vm1", "low").await.done();
    let one = rig.http.get("/capacity").await.done();
    assert_eq!(one["nodes"][0]["name"], "node1");
    assert_eq!(one["nodes"][0]["vfs_used"], 1);
    assert_eq!(one["nodes"][0]["queue_pairs_used"], 2);
    assert_eq!(one["nodes"][0]["free"], levels(1, 1, 0));
    assert_eq!(one["nodes"][1]["fits_more"], levels(1, 1, 0));
    assert_eq!(one["total"]["fits_more"], levels(1, 1, 0));
    assert!(one.get("without").is_none());
    // As many more as it says are admitted, and not one more.
    rig.http.accelerate("vm3", "medium").await.done();
    let full = rig.http.get("/capacity").await.done();
    assert_eq!(full["total"]["fits_more"], levels(0, 0, 0));
    assert_eq!(full["holds"], true);
    let refused = rig.http.accelerate("vm2", "low").await;
    refused.refused(422, &["cluster_not_enough_resources"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_reserve_that_is_short_says_so() {
    let rig = two().await;
    rig.http.enable(0).await.done();
    for vm in ["vm1", "vm2", "vm3"] {
        rig.http.accelerate(vm, "low").await.done();
    }
    let seen = rig.http.get("/capacity").await.done();
    assert_eq!(
        seen["largest_reserve"],
        json!({"node_reserve_percentage": 0, "nodes_down": 0})
    );
    rig.nodes
        .sees("node2", |seen| seen.adapters[0].vfs.truncate(0));
    let seen = rig.http.get("/capacity").await.done();
    assert_eq!(seen["holds"], false);
    assert_eq!(seen["largest_reserve"], Value::Null);
    assert_eq!(seen["problems"][0]["code"], "cluster_not_enough_resources");
    rig.stop().await;
}

#[tokio::test]
async fn a_node_that_is_silent_gives_nothing() {
    let rig = two().await;
    rig.nodes.silent("node2", true);
    // A change looks at all nodes, and so finds out.
    rig.http.accelerate("vm1", "low").await.done();
    let seen = rig.http.get("/capacity").await.done();
    let silent = &seen["nodes"][1];
    assert_eq!((&silent["down"], &silent["vfs"]), (&json!(true), &json!(2)));
    assert_eq!(silent["free"], levels(0, 0, 0));
    assert_eq!(seen["total"]["free"], levels(1, 1, 0));
    rig.stop().await;
}

#[tokio::test]
async fn who_would_go_where() {
    let rig = two().await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm3", "low").await.done();
    let seen = rig.http.get("/capacity?without=node1,node1").await.done();
    assert_eq!(
        seen["without"],
        json!({"nodes": ["node1"], "without_room": [], "placements": [
            {"vm": "vm1", "uuid": "00000000-0000-0000-0000-000000000001", "level": "low",
             "from": "node1", "to": "node2", "adapters": ["pf0"]}]})
    );
    let both = rig.http.get("/capacity?without=node1,node2").await.done();
    assert_eq!(both["without"]["placements"], json!([]));
    let left: Vec<&Value> = both["without"]["without_room"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vm| &vm["vm"])
        .collect();
    assert_eq!(left, ["vm1", "vm3"]);
    for (query, name) in [("node7", "node7"), ("", "''"), ("node1,", "''")] {
        let answer = rig.http.get(&format!("/capacity?without={query}")).await;
        answer.refused(404, &["node_not_found"]);
        assert!(answer.body["detail"].as_str().unwrap().contains(name));
    }
    rig.stop().await;
}

#[tokio::test]
async fn where_a_vm_could_be() {
    let rig = two().await;
    rig.http.accelerate("vm1", "low").await.done();
    let seen = rig.http.get("/vms/vm1/where").await.done();
    assert_eq!(
        (&seen["vm"], &seen["level"], &seen["nics"]),
        (&json!("vm1"), &json!("low"), &json!(1))
    );
    let place = |name: &str, present: bool| {
        json!({"node": name, "present": present, "down": false, "fits": true,
               "keeps_reserve": true, "adapters": ["pf0"]})
    };
    assert_eq!(
        seen["nodes"],
        json!([place("node1", true), place("node2", false)])
    );
    rig.http.accelerate("vm3", "low").await.done();
    // One more fits on either node, but the reserve would be gone.
    let seen = rig.http.get("/vms/vm2/where").await.done();
    assert_eq!(seen["level"], "medium");
    for node in seen["nodes"].as_array().unwrap() {
        assert_eq!(
            (&node["fits"], &node["keeps_reserve"]),
            (&json!(true), &json!(false))
        );
    }
    let high = rig.http.get("/vms/vm2/where?performance=High").await.done();
    assert_eq!(high["nodes"][0]["fits"], false);
    assert_eq!(high["nodes"][0]["adapters"], json!([]));
    let wrong = rig.http.get("/vms/vm2/where?performance=Turbo").await;
    wrong.refused(400, &["invalid_argument"]);
    rig.http
        .get("/vms/nobody/where")
        .await
        .refused(404, &["vm_not_found"]);
    rig.stop().await;
}

#[tokio::test]
async fn only_what_is_enabled_has_a_capacity() {
    let rig = Rig::one().await;
    for path in ["/capacity", "/vms/vm1/where"] {
        let answer = rig.http.get(path).await;
        answer.refused(422, &["accel_net_not_enabled"]);
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_adapter_taken_off_the_bridge_does_not_stop_others() {
    let rig = two().await;
    rig.http.enable(0).await.done();
    rig.http.accelerate("vm1", "low").await.done();
    rig.nodes
        .sees("node1", |seen| seen.adapters[0].master = None);
    // The VM has its VF still, which no adapter of the intent gives; that is told as what it is.
    let seen = rig.http.get("/status").await.done();
    assert_eq!(seen["problems"][0]["code"], "cluster_not_enough_resources");
    assert_eq!(rig.http.get("/capacity").await.done()["holds"], false);
    rig.stop().await;
}
