//! Lists: pages, and answers that whoever asks has already.

use reqwest::{Method, StatusCode, header::IF_NONE_MATCH};
use serde_json::Value;

use crate::rig::Rig;

async fn names(rig: &Rig, path: &str, name: fn(&Value) -> &Value) -> (Vec<String>, Value) {
    let page = rig.http.get(path).await.done();
    let items = page["items"].as_array().unwrap().iter();
    let names = items.map(|item| name(item).as_str().unwrap().to_owned());
    (names.collect(), page["next"].clone())
}

#[tokio::test]
async fn a_list_can_be_had_in_pages() {
    let rig = Rig::two(0).await;
    for (list, all, name) in [
        ("vms", vec!["vm1", "vm2", "vm3", "vm4"], "name"),
        ("nodes", vec!["node1", "node2"], "name"),
        ("intents", vec!["compute"], "name"),
        ("adapters", vec!["node1", "node2"], "node"),
    ] {
        let of: fn(&Value) -> &Value = match name {
            "node" => |item| &item["node"],
            _ => |item| &item["name"],
        };
        let (whole, next) = names(&rig, &format!("/{list}"), of).await;
        assert_eq!(
            (whole, next),
            (all.iter().map(ToString::to_string).collect(), Value::Null)
        );
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/{list}?limit=1{after}");
            let (page, next) = names(&rig, &path, of).await;
            assert_eq!(page.len(), 1);
            paged.extend(page);
            let Some(next) = next.as_str() else { break };
            after = format!("&after={}", next.replace(' ', "%20"));
        }
        assert_eq!(paged, all, "{list}");
    }
    for list in ["servers", "tokens"] {
        let path = format!("/{list}?limit=1&after=x");
        assert_eq!(
            names(&rig, &path, |item| &item["name"]).await.0,
            Vec::<String>::new()
        );
    }
    let wrong = rig.http.get("/vms?limit=0").await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    rig.stop().await;
}

#[tokio::test]
async fn what_is_known_already_is_not_sent_again() {
    let rig = Rig::enabled().await;
    let ask = async |path: &str, known: Option<&str>| {
        let request = rig.http.request(Method::GET, path);
        let request = match known {
            Some(known) => request.header(IF_NONE_MATCH, known),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        (answer.status(), tag, answer.bytes().await.unwrap())
    };
    let paths = [
        "/vms",
        "/vms?limit=1",
        "/vms/vm1",
        "/nodes",
        "/nodes/node1",
        "/status",
        "/intents",
        "/intents/compute",
        "/adapters",
        "/adapters/node1/pf0",
        "/capacity",
    ];
    for path in paths {
        let (status, tag, body) = ask(path, None).await;
        assert!(status == StatusCode::OK && !body.is_empty(), "{path}");
        let (status, same, body) = ask(path, Some(&tag)).await;
        assert_eq!((status, &same), (StatusCode::NOT_MODIFIED, &tag), "{path}");
        assert!(body.is_empty());
    }
    let (_, before, _) = ask("/vms", None).await;
    rig.nodes.sees("node1", |seen| seen.vms[0].vcpus = 8);
    let (status, after, body) = ask("/vms", Some(&before)).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(before, after);
    let vms: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(vms["items"][0]["vcpus"], 8);
    rig.http.accelerate("vm1", "low").await.done();
    assert_eq!(ask("/vms", Some(&after)).await.0, StatusCode::OK);
    rig.stop().await;
}
