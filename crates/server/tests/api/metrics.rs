//! What Prometheus is told, to whom; and what was counted of a VM's packets.

use std::collections::BTreeSet;

use accelnet_api::metrics::{By, CONTENT_TYPE, table};
use accelnet_model::{Counted, Counters, Interrupts, NicCounted};
use accelnet_rules::fixture;
use serde_json::{Value, json};

use crate::rig::{Http, Rig};

/// Status, kind and text of the page.
async fn page(http: &Http, token: Option<&str>) -> (u16, String, String) {
    let mut request = http.outside_the_api("/metrics");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap();
    let kind = kind.to_owned();
    (
        response.status().as_u16(),
        kind,
        response.text().await.unwrap(),
    )
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|one| one == *line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn the_page_tells_what_is_wanted_and_what_is() {
    let rig = Rig::two(0).await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm3", "medium").await.done();
    let refused = rig.http.accelerate("nobody", "low").await;
    refused.refused(404, &["vm_not_found"]);
    rig.http.put("/vms/vm3/park", json!({})).await.done();
    rig.nodes.silent("node2", true);
    let (status, kind, text) = page(&rig.http, None).await;
    assert_eq!((status, kind.as_str()), (200, CONTENT_TYPE));
    has(
        &text,
        &[
            "accelnet_server_active 1",
            "accelnet_enabled_info{intent=\"compute\"} 1",
            "accelnet_nodes{state=\"current\"} 1",
            "accelnet_nodes{state=\"silent\"} 1",
            "accelnet_vms_wanted{level=\"low\"} 1",
            "accelnet_vms_wanted{level=\"medium\"} 1",
            "accelnet_vms_wanted{level=\"high\"} 0",
            // That of the silent node is not of now.
            "accelnet_vms_accelerated{level=\"low\"} 1",
            "accelnet_vms_accelerated{level=\"medium\"} 0",
            "accelnet_vms_parked 1",
            "accelnet_capacity_vfs 14",
            "accelnet_reserve_nodes 0",
            "accelnet_changes_total{outcome=\"unchanged\"} 1",
            "accelnet_changes_total{outcome=\"refused\"} 1",
            "accelnet_changes_total{outcome=\"failed\"} 0",
            "accelnet_api_requests_total{method=\"PUT\",route=\"/api/v1/vms/{vm}/acceleration\",status=\"2xx\"} 3",
            "accelnet_api_requests_total{method=\"PUT\",route=\"/api/v1/vms/{vm}/acceleration\",status=\"4xx\"} 1",
            "accelnet_api_request_duration_seconds_count{method=\"PUT\",route=\"/api/v1/vms/{vm}/acceleration\"} 4",
        ],
    );
    // Nothing that the table does not have, and nothing of an agent, of which there is none here.
    let told: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let own = table::ALL.iter().filter(|metric| metric.by != By::Agent);
    let own: BTreeSet<&str> = own.map(|metric| metric.name).collect();
    assert!(told.is_subset(&own), "{:?}", told.difference(&own));
    // A host alone has no lines of agents. Whether a fault has had its time yet is a matter of moments.
    let absent = own.difference(&told).copied();
    let absent: Vec<&str> = absent.filter(|name| *name != "accelnet_faults").collect();
    assert_eq!(absent, ["accelnet_agents_connected"]);
    rig.stop().await;
}

#[tokio::test]
async fn over_the_network_it_takes_a_token_and_any_will_do() {
    let rig = Rig::one().await;
    let body = json!({"name": "prometheus", "role": "viewer"});
    let token = rig.http.post("/tokens", body).await.done();
    let token = token["token"].as_str().unwrap();
    let outside = Http::over_tcp(rig.running().in_the_network(None).await);
    let (status, _, text) = page(&outside, None).await;
    assert_eq!(status, 401, "{text}");
    let (status, _, text) = page(&outside, Some(token)).await;
    assert_eq!(status, 200);
    has(&text, &["accelnet_unauthenticated_requests_total 1"]);
    let secret = token.rsplit_once('.').unwrap().1;
    assert!(!text.contains(secret) && !text.contains("prometheus"));
    // Nothing can be done there.
    let post = outside.outside_the_api("/metrics").build().unwrap();
    let url = post.url().clone();
    let post = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = post.post(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    rig.stop().await;
}

#[tokio::test]
async fn without_an_intent_there_is_no_capacity_to_tell() {
    let rig = Rig::one().await;
    let (_, _, text) = page(&rig.http, None).await;
    assert!(!text.contains("accelnet_capacity") && !text.contains("accelnet_vms_wanted"));
    has(&text, &["accelnet_nodes{state=\"current\"} 1"]);
    rig.stop().await;
}

fn counted(vf: Counted) -> NicCounted {
    let vm = fixture::vm(1);
    NicCounted {
        vm: vm.uuid,
        mac: vm.nics[0].mac,
        software: Some(Counted::Counted(Counters {
            rx_packets: 7,
            ..Counters::default()
        })),
        vf: Some(vf),
        pci: Some("0000:01:10.0".parse().unwrap()),
        interrupts: Some(Interrupts {
            vectors: 3,
            fired: 70,
        }),
    }
}

#[tokio::test]
async fn what_was_counted_is_told_to_whoever_asks_for_it() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    let plain = rig.http.get("/vms/vm1").await.done();
    assert_eq!(plain["traffic"], Value::Null);
    let driver = "igb".to_owned();
    rig.nodes
        .counts("node1", vec![counted(Counted::NotCounted { driver })]);
    let vm = rig.http.get("/vms/vm1?traffic=true").await.done();
    let nic = &vm["traffic"][0];
    assert_eq!(nic["path"], "vf");
    assert_eq!(nic["vf"], json!({"is": "not_counted", "driver": "igb"}));
    assert_eq!(
        (&nic["software"]["is"], &nic["software"]["rx_packets"]),
        (&json!("counted"), &json!(7))
    );
    assert_eq!(nic["interrupts"], json!({"vectors": 3, "fired": 70}));
    let chain = rig.http.get("/vms/vm1/explanation").await.done();
    let links = chain["nics"][0]["links"].as_array().unwrap();
    let traffic = links.iter().find(|link| link["link"] == "traffic");
    let text = traffic.unwrap()["evidence"].as_str().unwrap();
    assert!(
        text.contains("igb counts nothing by VF") && text.contains("fired 70 times"),
        "{text}"
    );
    // The other VM's are not its own.
    let other = rig.http.get("/vms/vm2?traffic=true").await.done();
    assert_eq!(other["traffic"][0]["software"]["is"], "not_seen");
    let lists = rig.http.get("/vms").await.done();
    assert_eq!(lists["items"][0]["traffic"], Value::Null);
    rig.nodes.silent("node1", true);
    let vm = rig.http.get("/vms/vm1?traffic=true").await.done();
    for path in ["vf", "software"] {
        let counted = &vm["traffic"][0][path];
        assert_eq!(counted["is"], "not_seen", "{counted}");
        let because = counted["because"].as_str().unwrap();
        assert!(because.contains("node1"), "{because}");
    }
    let both = rig.http.get("/vms/vm1?traffic=true&watch=true").await;
    both.refused(422, &["invalid_argument"]);
    rig.stop().await;
}
