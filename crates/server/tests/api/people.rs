//! Who may ask what, over the network and at the socket; tokens; the record of who did what.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use accelnet_api::CALLER_HEADER;
use accelnet_server::{
    NodePeerInfo,
    fake::{FakeNodes, Running},
    openapi,
};
use accelnet_store::{Op, Page, Store};
use reqwest::{
    Method,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    rig::{Answer, Http, Rig},
    watching::Lines,
};

/// Whatever is awaited comes within this, or not at all.
const LIMIT: Duration = Duration::from_secs(20);

/// Somebody in the network.
struct Somebody {
    http: Http,
    token: Option<String>,
    headers: Vec<(&'static str, &'static str)>,
}

impl Somebody {
    fn at(address: SocketAddr, token: Option<String>) -> Self {
        Self {
            http: Http::over_tcp(address),
            token,
            headers: Vec::new(),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let mut request = self.http.request(method, path).json(&body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        self.http.send(request).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Value::Null).await
    }
}

impl Rig {
    /// Makes a token.
    async fn token(&self, name: &str, role: &str) -> String {
        let body = json!({"name": name, "role": role});
        let made = self.http.post("/tokens", body).await.done();
        made["token"].as_str().unwrap().to_owned()
    }

    async fn somebody(&self, token: Option<String>) -> Somebody {
        Somebody::at(self.running().in_the_network(None).await, token)
    }

    /// Everything in the store.
    async fn everything(&self) -> String {
        let listing = self.store.list("", Page::first(1000)).await.unwrap();
        let items = listing.items.iter();
        let texts =
            items.map(|item| format!("{} {}", item.key, String::from_utf8_lossy(&item.value)));
        texts.collect::<Vec<_>>().join("\n")
    }
}

fn secret(token: &str) -> &str {
    token.rsplit_once('.').unwrap().1
}

#[tokio::test]
async fn whoever_is_let_in_at_the_socket_is_administrator() {
    let rig = Rig::one().await;
    let who = rig.http.get("/whoami").await.done();
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    assert_eq!(
        who,
        json!({"name": format!("uid {uid}"), "role": "admin", "by": "socket"})
    );
    // Unless somebody else is meant.
    let token = rig.token("alice", "viewer").await;
    let request = rig.http.request(Method::GET, "/whoami").bearer_auth(&token);
    let who = rig.http.send(request).await.done();
    assert_eq!(
        who,
        json!({"name": "alice", "role": "viewer", "by": "token"})
    );
    let request = rig.http.request(Method::DELETE, "/acceleration");
    let answer = rig.http.send(request.bearer_auth(&token)).await;
    answer.refused(403, &["not_permitted"]);
    rig.stop().await;
}

#[tokio::test]
async fn nobody_comes_over_the_network_without_a_good_token() {
    let rig = Rig::one().await;
    let good = rig.token("alice", "admin").await;
    let (other, before) = (rig.token("bob", "admin").await, rig.entries().await);
    let renamed = good.replace("alice", "bob");
    let nobodys = good.replace("alice", "carol");
    let cut = good[..good.len() - 1].to_owned();
    let join = format!("accelnet-join-1.{}.{}", secret(&good), secret(&good));
    let mut refusals = Vec::new();
    for token in [None, Some("x".to_owned()), Some(cut), Some(join)] {
        let answer = rig.somebody(token).await.get("/status").await;
        answer.refused(401, &["not_authenticated"]);
        assert!(!answer.body.to_string().contains(&secret(&good)[..20]));
    }
    for token in [
        renamed,
        nobodys,
        other.replace(secret(&other), secret(&good)),
    ] {
        let answer = rig.somebody(Some(token)).await.get("/status").await;
        answer.refused(401, &["not_authenticated"]);
        refusals.push(answer.body);
    }
    // Whether there is such a token cannot be told from the answers.
    assert!(refusals.windows(2).all(|pair| pair[0] == pair[1]));
    let somebody = rig.somebody(None).await;
    for path in ["/whoami", "/openapi.json", "/nothing", "/vms?watch=true"] {
        let answer = somebody.get(path).await;
        answer.refused(401, &["not_authenticated"]);
    }
    let request = somebody.http.request(Method::GET, "/status");
    let response = request
        .header(AUTHORIZATION, "Basic YTpi")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 401);
    assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    let request = somebody.http.request(Method::GET, "/status");
    let twice = request.bearer_auth(&good).bearer_auth(&good);
    somebody
        .http
        .send(twice)
        .await
        .refused(401, &["not_authenticated"]);
    // None of it is in the record, and the good one goes on being good.
    assert_eq!(rig.entries().await, before);
    rig.somebody(Some(good)).await.get("/status").await.done();
    rig.stop().await;
}

/// What the least role of an operation is, as docs/reference/access.md says.
fn role_of(method: &str, path: &str) -> usize {
    let of_admins = ["/tokens", "/join-tokens", "/backup"];
    if of_admins.iter().any(|start| path.starts_with(start))
        || (method == "delete" && path == "/nodes/{name}")
    {
        return 2;
    }
    usize::from(method != "get")
}

#[tokio::test]
async fn each_operation_of_the_document_has_its_role() {
    let rig = Rig::enabled().await;
    let roles = ["viewer", "operator", "admin"];
    let document = serde_json::to_value(openapi()).unwrap();
    for (has, role) in roles.iter().enumerate() {
        let token = rig.token(role, role).await;
        let (bearer, nobody) = (rig.somebody(Some(token)).await, rig.somebody(None).await);
        for (path, operations) in document["paths"].as_object().unwrap() {
            let path = path.strip_prefix("/api/v1").unwrap();
            for method in operations.as_object().unwrap().keys() {
                let verb: Method = method.to_uppercase().parse().unwrap();
                let asked = path.replace(['{', '}'], "");
                let asked = format!("{asked}?dry_run=true");
                let answer = nobody.ask(verb.clone(), &asked, Value::Null).await;
                answer.refused(401, &["not_authenticated"]);
                let needed = role_of(method, path);
                let answer = bearer.ask(verb, &asked, Value::Null).await;
                if has < needed {
                    answer.refused(403, &["not_permitted"]);
                    let detail = answer.body["detail"].as_str().unwrap();
                    let words = format!("'{}'", roles[needed]);
                    assert!(detail.contains(&words), "{method} {path}: {detail}");
                } else {
                    assert!(
                        ![401, 403].contains(&answer.status),
                        "{role} {method} {path}"
                    );
                }
            }
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_as_its_hash() {
    let rig = Rig::one().await;
    let generation = rig.nodes.desired("node1").generation;
    let body = json!({"name": "ci", "role": "operator", "ttl_s": 3600});
    let made = rig.http.post("/tokens", body.clone()).await.done();
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("accelnet-1.ci."), "{token}");
    let again = rig.http.post("/tokens", body).await;
    again.refused(409, &["token_exists"]);
    let listed = rig.http.get("/tokens").await.done();
    assert_eq!(listed["items"][0]["name"], "ci");
    assert_eq!(listed["items"][0]["expires"], made["expires"]);
    assert_eq!(listed["items"][0]["expired"], false);
    let audit = rig.http.get("/audit").await.done();
    assert_eq!(audit["items"][0]["subject"], "ci operator");
    let shown = format!("{listed} {audit} {} {}", again.body, rig.everything().await);
    for letters in secret(&token).as_bytes().windows(12) {
        assert!(!shown.contains(std::str::from_utf8(letters).unwrap()));
    }
    // Nodes are told nothing of it.
    assert_eq!(rig.nodes.desired("node1").generation, generation);
    for (body, status) in [
        (json!({"name": "a b", "role": "viewer"}), 422),
        (json!({"name": "a", "role": "root"}), 400),
        (json!({"name": "a"}), 400),
        (json!({"name": "a", "role": "viewer", "ttl_s": 0}), 422),
        (
            json!({"name": "a", "role": "viewer", "ttl_s": 315360001}),
            422,
        ),
    ] {
        rig.http
            .post("/tokens", body)
            .await
            .refused(status, &["invalid_argument"]);
    }
    // A dry run would make one in earnest.
    let body = json!({"name": "a", "role": "viewer"});
    let answer = rig.http.post("/tokens?dry_run=true", body).await;
    answer.refused(400, &["invalid_argument"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_token_ends_when_it_is_revoked_or_its_time_is_over() {
    let rig = Rig::one().await;
    let token = rig.token("alice", "operator").await;
    let alice = rig.somebody(Some(token)).await;
    // A second server on the same store knows it, and knows when it is gone.
    let second = FakeNodes::one();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("second.sock");
    let second = Running::start(Arc::clone(&rig.store), &second, &socket).await;
    let there = Somebody::at(second.in_the_network(None).await, alice.token.clone());
    alice.get("/status").await.done();
    there.get("/status").await.done();
    let planned = rig.http.delete("/tokens/alice?dry_run=true").await.done();
    assert_eq!(planned["changed"], true);
    alice.get("/status").await.done();
    let token = alice.token.clone().unwrap();
    let request = alice.http.request(Method::GET, "/status?watch=true");
    let mut watch = request.bearer_auth(token).send().await.unwrap();
    assert!(watch.chunk().await.unwrap().is_some());
    rig.http.delete("/tokens/alice").await.done();
    // What was followed with it ends.
    let ended = async { while watch.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(LIMIT, ended).await.unwrap();
    for somebody in [&alice, &there] {
        somebody
            .get("/status")
            .await
            .refused(401, &["not_authenticated"]);
    }
    rig.http
        .delete("/tokens/alice")
        .await
        .refused(404, &["token_not_found"]);
    rig.http
        .delete("/tokens/%1b")
        .await
        .refused(404, &["token_not_found"]);
    second.stop().await;
    // A day later.
    let token = rig.token("bob", "viewer").await;
    let key = "accelnet/v1/tokens/bob";
    let kept = rig.store.get(key, None).await.unwrap().unwrap();
    let mut kept: Value = serde_json::from_slice(&kept.value).unwrap();
    kept["expires"] = json!("2026-01-01T00:00:00Z");
    let ops = vec![
        Op::put(key, kept.to_string()),
        // Written by hand: the server reads it again when the generation is another.
        Op::put("accelnet/v1/generation", r#"{"schema":1,"number":99}"#),
    ];
    rig.store.txn(Vec::new(), ops).await.unwrap();
    let bob = rig.somebody(Some(token)).await;
    bob.get("/status")
        .await
        .refused(401, &["not_authenticated"]);
    let listed = rig.http.get("/tokens").await.done();
    assert_eq!(listed["items"][0]["expired"], true);
    // Its name can be used again.
    rig.token("bob", "viewer").await;
    rig.stop().await;
}

#[tokio::test]
async fn the_record_says_who_it_was_and_where() {
    let rig = Rig::enabled().await;
    let token = Some(rig.token("alice", "operator").await);
    let node = NodePeerInfo {
        id: Uuid::from_u128(1),
        name: "node2".parse().unwrap(),
        expires: jiff::Timestamp::MAX,
    };
    let network = rig.running().in_the_network(None).await;
    let by_node = rig.running().in_the_network(Some(node)).await;
    let mut names = Vec::new();
    for (number, (address, said)) in [
        (network, "node2 1000"),
        (by_node, "node2 1000"),
        (by_node, "node1 0"),
        (by_node, "nonsense"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut alice = Somebody::at(address, token.clone());
        alice.headers = vec![(CALLER_HEADER, said)];
        let reserve = json!({"node_reserve_percentage": number});
        alice
            .ask(Method::PATCH, "/acceleration", reserve)
            .await
            .done();
        let audit = rig.http.get("/audit?limit=1").await.done();
        let by = &audit["items"][0]["by"];
        assert_eq!(by["token"], "alice");
        names.push(by["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        names,
        [
            "token 'alice'",
            "token 'alice' (uid 1000 on node2)",
            "token 'alice' (node node2)",
            "token 'alice' (node node2)",
        ]
    );
    // A node's certificate alone is nobody's right to ask.
    let mut node = Somebody::at(by_node, None);
    node.headers = vec![(CALLER_HEADER, "node2 0")];
    node.get("/status")
        .await
        .refused(401, &["not_authenticated"]);
    rig.stop().await;
}

#[tokio::test]
async fn the_record_is_read_from_a_time_on_and_followed() {
    let rig = Rig::one().await;
    for name in ["a", "b", "c"] {
        rig.token(name, "viewer").await;
    }
    let subjects = |answer: &Value| -> Vec<String> {
        let items = answer["items"].as_array().unwrap().iter();
        items
            .map(|entry| entry["subject"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = rig.http.get("/audit").await.done();
    assert_eq!(subjects(&all), ["a viewer", "b viewer", "c viewer"]);
    let newest = rig.http.get("/audit?limit=2").await.done();
    assert_eq!(subjects(&newest), ["b viewer", "c viewer"]);
    let since = all["items"][1]["at"].as_str().unwrap();
    let later = rig.http.get(&format!("/audit?since={since}")).await.done();
    assert_eq!(subjects(&later), ["b viewer", "c viewer"]);
    let none = rig
        .http
        .get("/audit?since=2999-01-01T00:00:00Z")
        .await
        .done();
    assert_eq!(subjects(&none), [""; 0]);
    for wrong in ["since=yesterday", "limit=x", "limit=-1", "other=1"] {
        let answer = rig.http.get(&format!("/audit?{wrong}")).await;
        answer.refused(400, &["invalid_argument"]);
    }
    for wrong in ["limit=0", "limit=1001"] {
        let answer = rig.http.get(&format!("/audit?{wrong}")).await;
        answer.refused(422, &["invalid_argument"]);
    }
    let mut lines = Lines::of(&rig, "/audit?watch=true&limit=1").await;
    let first = lines.next().await.unwrap();
    assert_eq!(first["object"]["subject"], "c viewer");
    assert_eq!(lines.next().await.unwrap()["event"], "synced");
    // A report is nothing to tell of.
    rig.nodes.sees("node1", |seen| seen.vms.truncate(1));
    rig.http.delete("/tokens/a").await.done();
    let next = lines.next().await.unwrap();
    assert_eq!(
        (
            &next["event"],
            &next["object"]["operation"],
            &next["object"]["outcome"]
        ),
        (&json!("put"), &json!("token revoke"), &json!("done"))
    );
    // What changes nothing that is wanted is told as well.
    let copy = rig.http.request(Method::GET, "/backup").send();
    copy.await.unwrap().bytes().await.unwrap();
    let next = lines.next().await.unwrap();
    assert_eq!(next["object"]["operation"], "backup", "{next}");
    rig.stop().await;
}
