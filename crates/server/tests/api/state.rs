//! What is wanted survives the server, with who asked for it.

use std::{path::Path, sync::Arc};

use accelnet_server::fake::{FakeNodes, Running};
use accelnet_store::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};

use crate::rig::{Http, Rig, intent};

async fn start(directory: &Path, nodes: &Arc<FakeNodes>) -> (Running, Http) {
    let file = directory.join("state.sqlite");
    let store = SqliteStore::open(file, SqliteOptions::default()).await;
    let socket = directory.join("accelnet.sock");
    // A daemon would replace what an earlier one left.
    let _ = std::fs::remove_file(&socket);
    let running = Running::start(store.unwrap(), nodes, &socket).await;
    (running, Http::on(socket))
}

#[tokio::test]
async fn a_server_that_is_started_again_wants_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let nodes = FakeNodes::one();
    let (running, http) = start(directory.path(), &nodes).await;
    http.post("/intents", intent()).await.done();
    http.enable(30).await.done();
    http.accelerate("vm1", "medium").await.done();
    let (status, vms) = (
        http.get("/status").await.done(),
        http.get("/vms").await.done(),
    );
    let desired = nodes.desired("node1");
    running.stop().await;
    drop(http);

    // A new process of the agent knows nothing of what it was asked.
    let nodes = FakeNodes::new([("node1", nodes.seen("node1"))]);
    let (running, http) = start(directory.path(), &nodes).await;
    assert_eq!(
        nodes.desired("node1"),
        desired,
        "the wish is handed out at the start"
    );
    assert_eq!(http.get("/status").await.done(), status);
    assert_eq!(http.get("/vms").await.done(), vms);
    assert_eq!(
        http.get("/intents").await.done()["items"][0]["name"],
        "compute"
    );
    // It goes on from there.
    assert_eq!(
        http.accelerate("vm1", "medium").await.done()["changed"],
        false
    );
    http.accelerate("vm1", "low").await.done();
    assert!(nodes.desired("node1").generation > desired.generation);
    running.stop().await;
}

#[tokio::test]
async fn a_state_that_is_older_than_what_a_node_follows_is_told() {
    let (directory, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let nodes = FakeNodes::one();
    let (running, http) = start(directory.path(), &nodes).await;
    http.post("/intents", intent()).await.done();
    http.enable(30).await.done();
    running.stop().await;
    drop(http);

    nodes.idle("node1", true);
    let (running, http) = start(older.path(), &nodes).await;
    let node = &http.get("/status").await.done()["nodes"][0];
    assert_eq!(node["converged"], false);
    assert_eq!(node["problems"][0]["code"], "conflict");
    let cure = node["problems"][0]["cure"].as_str().unwrap();
    assert!(cure.contains("ledger.json"), "{cure}");
    running.stop().await;
}

#[tokio::test]
async fn a_silent_node_is_known_from_before_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let nodes = FakeNodes::one();
    let (running, http) = start(directory.path(), &nodes).await;
    http.post("/intents", intent()).await.done();
    http.enable(0).await.done();
    http.accelerate("vm1", "low").await.done();
    running.stop().await;
    drop(http);
    nodes.silent("node1", true);
    let (running, http) = start(directory.path(), &nodes).await;
    let vm = http.get("/vms/vm1").await.done();
    assert_eq!(vm["level"], "low");
    assert_eq!(vm["problems"][0]["code"], "agent_unreachable", "{vm}");
    running.stop().await;
}

#[tokio::test]
async fn changes_are_noted_with_who_asked_and_refusals_push_none_out() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm1", "low").await.done();
    rig.http
        .accelerate("nobody", "low")
        .await
        .refused(404, &["vm_not_found"]);
    let body = json!({"performance": "low"});
    let dry_run = rig
        .http
        .put("/vms/nobody/acceleration?dry_run=true", body)
        .await;
    dry_run.refused(404, &["vm_not_found"]);
    let noted: Vec<(Value, Value)> = rig
        .entries()
        .await
        .into_iter()
        .map(|entry| {
            assert_eq!(entry["by"]["uid"], own_uid());
            (entry["operation"].clone(), entry["subject"].clone())
        })
        .collect();
    let words = |operation: &str, subject: &str| (json!(operation), json!(subject));
    assert_eq!(
        noted,
        [
            words("intent add", "compute"),
            words("enable", "compute"),
            words("vm enable", "vm1 Low"),
        ]
    );
    rig.stop().await;
}

/// Who runs the test, as the kernel says it of a file of ours.
fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    tempfile::tempfile().unwrap().metadata().unwrap().uid()
}
