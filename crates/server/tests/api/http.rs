//! Whatever is wrong with a request is a problem document with the right status.

use accelnet_server::openapi;
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{Rig, intent};

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems() {
    let rig = Rig::one().await;
    for path in [
        "/",
        "/nothing",
        "/vms/",
        "/vms/vm1/nothing",
        "/vms/%1b%5b31m/x",
    ] {
        rig.http.get(path).await.refused(404, &["not_found"]);
    }
    for (method, path) in [
        (Method::POST, "/vms"),
        (Method::DELETE, "/vms/vm1"),
        (Method::GET, "/acceleration"),
        (Method::PATCH, "/intents"),
        (Method::PUT, "/openapi.json"),
    ] {
        let answer = rig.http.send(rig.http.request(method, path)).await;
        answer.refused(405, &["invalid_argument"]);
    }
    rig.stop().await;
}

#[tokio::test]
async fn names_that_nobody_has_are_not_found_and_not_repeated_raw() {
    let rig = Rig::enabled().await;
    for (path, code) in [
        ("/vms/nobody", "vm_not_found"),
        ("/vms/%1b%5b31mred", "vm_not_found"),
        ("/vms/web%201%2Fa%27%22", "vm_not_found"),
        ("/intents/nobody", "intent_not_found"),
        ("/intents/%1b%5b31m", "intent_not_found"),
        ("/adapters/node1/nothing", "adapter_not_found"),
        ("/prereq?intent=%1b", "intent_not_found"),
    ] {
        rig.http.get(path).await.refused(404, &[code]);
    }
    // Programs find what they have sent.
    for (path, name) in [
        ("/vms/%1b%5b31mred", "\u{1b}[31mred"),
        ("/intents/%1b", "\u{1b}"),
        ("/adapters/node1/a%0ab", "a\nb"),
    ] {
        let answer = rig.http.get(path).await;
        assert_eq!(answer.body["objects"][0]["name"], name, "{}", answer.body);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_name_that_nobody_has_is_not_found_though_a_node_is_silent() {
    let rig = Rig::two(0).await;
    rig.nodes.silent("node2", true);
    for request in [
        rig.http.get("/vms/nobody").await,
        rig.http.accelerate("nobody", "low").await,
        rig.http.delete("/vms/nobody/acceleration").await,
    ] {
        request.refused(404, &["vm_not_found"]);
        let detail = request.body["detail"].as_str().unwrap();
        assert!(detail.contains("'node2'"), "{detail}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_that_was_defined_a_moment_ago_is_found() {
    let rig = Rig::enabled().await;
    rig.nodes
        .sees_but_has_not_said("node1", |seen| seen.vms[0].name = "fresh".into());
    let named = |answer: &Value| answer["items"].to_string().contains("fresh");
    assert!(!named(&rig.http.get("/vms").await.done()));
    assert!(named(&rig.http.get("/vms?fresh=true").await.done()));
    rig.nodes
        .sees_but_has_not_said("node1", |seen| seen.vms[0].name = "fresher".into());
    assert_eq!(rig.http.get("/vms/fresher").await.done()["name"], "fresher");
    rig.stop().await;
}

#[tokio::test]
async fn bodies_that_cannot_be_understood_name_the_field() {
    let rig = Rig::enabled().await;
    let before = rig.wish().await;
    for (path, body, status, words) in [
        (
            "/vms/vm1/acceleration",
            r#"{"performance":"Turbo"}"#,
            400,
            "performance: 'Turbo' is not one of 'low', 'medium', 'high'",
        ),
        (
            "/vms/vm1/acceleration",
            r#"{"performance":"low","x":1}"#,
            400,
            "x: there is no such field",
        ),
        (
            "/vms/vm1/acceleration",
            r#"["low"]"#,
            400,
            "an object is wanted, a list was given",
        ),
        ("/vms/vm1/acceleration", "{", 400, "cannot be understood"),
        ("/vms/vm1/acceleration", "", 400, "cannot be understood"),
        (
            "/acceleration",
            r#"{"intent":"compute","when":"soon"}"#,
            400,
            "when: ",
        ),
        (
            "/acceleration?dry_run=perhaps",
            r#"{"intent":"compute"}"#,
            400,
            "dry_run",
        ),
        (
            "/acceleration?dryrun=true",
            r#"{"intent":"compute"}"#,
            400,
            "dryrun",
        ),
    ] {
        let request = rig.http.request(Method::PUT, path).body(body);
        let request = request.header("content-type", "application/json");
        let answer = rig.http.send(request).await;
        answer.refused(status, &["invalid_argument"]);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{path} {body}: {detail}");
    }
    let untyped = rig.http.request(Method::PUT, "/acceleration").body("{}");
    rig.http
        .send(untyped)
        .await
        .refused(415, &["invalid_argument"]);
    let large = json!({"intent": "x".repeat(100_000)});
    rig.http
        .put("/acceleration", large)
        .await
        .refused(413, &["invalid_argument"]);
    let mut odd = intent();
    odd["name"] = json!("a b");
    let answer = rig.http.post("/intents", odd).await;
    answer.refused(422, &["invalid_argument"]);
    assert_eq!(
        answer.body["objects"][0],
        json!({"kind": "field", "name": "name"})
    );
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

#[tokio::test]
async fn the_served_document_is_the_generated_one() {
    let rig = Rig::one().await;
    let served = rig.http.get("/openapi.json").await.done();
    let generated: Value = serde_json::from_str(&openapi().to_json().unwrap()).unwrap();
    assert_eq!(served, generated);
    rig.stop().await;
}

/// Reviewed like source: `make openapi` writes it anew.
#[test]
fn the_checked_in_document_is_the_generated_one() {
    let checked_in = include_str!("../../../../docs/reference/openapi.json");
    let generated = openapi().to_pretty_json().unwrap();
    assert!(
        checked_in.trim_end() == generated,
        "docs/reference/openapi.json is not what the routes say: run 'make openapi'"
    );
}
