//! Watches say what changes, and end with the server; `pending` says whose word is old.

use std::time::Duration;

use accelnet_model::VmState;
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::Rig;

/// Whatever is awaited comes within this, or not at all.
const LIMIT: Duration = Duration::from_secs(20);

pub struct Lines {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl Lines {
    pub async fn of(rig: &Rig, path: &str) -> Self {
        let response = rig.http.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Self {
            response,
            buffer: Vec::new(),
        }
    }

    /// The next line that says something; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        let read = async {
            loop {
                if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.buffer.drain(..=end).collect();
                    let line: Value = serde_json::from_slice(&line).unwrap();
                    if line["event"] != "alive" {
                        return Some(line);
                    }
                    continue;
                }
                self.buffer.extend(self.response.chunk().await.ok()??);
            }
        };
        tokio::time::timeout(LIMIT, read).await.unwrap()
    }

    /// The next line whose object passes.
    async fn until(&mut self, passes: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.next().await.unwrap();
            if passes(&line) {
                return line;
            }
        }
    }
}

#[tokio::test]
async fn a_watch_begins_with_what_is_and_tells_each_change() {
    let rig = Rig::enabled().await;
    let mut lines = Lines::of(&rig, "/vms?watch=true").await;
    let names = [lines.next().await.unwrap(), lines.next().await.unwrap()];
    let names: Vec<&Value> = names.iter().map(|line| &line["object"]["name"]).collect();
    assert_eq!(names, ["vm1", "vm2"]);
    assert_eq!(lines.next().await.unwrap()["event"], "synced");

    rig.http.accelerate("vm1", "low").await.done();
    let line = lines
        .until(|line| line["object"]["nics"][0]["path"] == "vf")
        .await;
    assert_eq!(
        (&line["event"], &line["object"]["level"]),
        (&json!("put"), &json!("low"))
    );
    rig.nodes
        .sees("node1", |seen| seen.vms[1].state = VmState::Off);
    let line = lines.until(|line| line["object"]["name"] == "vm2").await;
    assert_eq!(line["object"]["state"], "off");
    let gone = rig.nodes.seen("node1").vms[1].uuid;
    rig.nodes.sees("node1", |seen| drop(seen.vms.pop()));
    let line = lines.until(|line| line["event"] == "gone").await;
    assert_eq!(line["object"], gone.to_string());
    rig.stop().await;
    assert_eq!(lines.next().await, None, "a watch ends with its server");
}

#[tokio::test]
async fn the_watch_of_a_vm_ends_with_it() {
    let rig = Rig::enabled().await;
    let mut lines = Lines::of(&rig, "/vms/vm2?watch=1").await;
    assert_eq!(lines.next().await.unwrap()["object"]["name"], "vm2");
    // Another's change is none of its.
    rig.nodes.sees("node1", |seen| seen.vms[0].vcpus = 8);
    rig.nodes.sees("node1", |seen| drop(seen.vms.pop()));
    lines.until(|line| line["event"] == "gone").await;
    assert_eq!(lines.next().await, None);
    let nobody = rig.http.get("/vms/nobody?watch=true").await;
    nobody.refused(404, &["vm_not_found"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_is_pending_until_its_node_has_taken_up_what_is_wanted() {
    let rig = Rig::enabled().await;
    rig.nodes.idle("node1", true);
    let asked = rig.http.accelerate("vm1", "low").await.done();
    assert_eq!(asked["object"]["pending"], true, "{asked}");
    assert_eq!(
        rig.http.get("/status").await.done()["nodes"][0]["converged"],
        false
    );
    let mut lines = Lines::of(&rig, "/vms/vm1?watch=true").await;
    let first = lines.next().await.unwrap();
    assert_eq!(
        (&first["object"]["pending"], &first["object"]["level"]),
        (&json!(true), &json!("low"))
    );
    assert_eq!(first["object"]["nics"][0]["path"], "synthetic");
    rig.nodes.idle("node1", false);
    let line = lines.until(|line| line["object"]["pending"] == false).await;
    assert_eq!(line["object"]["nics"][0]["path"], "vf");
    assert_eq!(
        rig.http.get("/status").await.done()["nodes"][0]["converged"],
        true
    );
    rig.stop().await;
}

#[tokio::test]
async fn the_status_is_watched_too() {
    let rig = Rig::enabled().await;
    let mut lines = Lines::of(&rig, "/status?watch=1").await;
    lines.until(|line| line["event"] == "synced").await;
    rig.nodes.silent("node1", true);
    // It is found by asking.
    rig.http.get("/prereq").await.done();
    let line = lines
        .until(|line| line["object"]["nodes"][0]["reachable"] == false)
        .await;
    let problem = &line["object"]["nodes"][0]["problems"][0];
    assert_eq!(problem["code"], "agent_unreachable");
    rig.stop().await;
}

/// The next line that has a revision, and that.
async fn revision(lines: &mut Lines) -> String {
    let line = lines.until(|line| line["revision"].is_string()).await;
    line["revision"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_watch_goes_on_where_another_ended() {
    let rig = Rig::enabled().await;
    let mut first = Lines::of(&rig, "/vms?watch=true").await;
    let before = revision(&mut first).await;
    drop(first);
    // Nobody watches meanwhile.
    rig.nodes.sees("node1", |seen| seen.vms[1].vcpus = 8);
    let mut again = Lines::of(&rig, &format!("/vms?watch=true&from={before}")).await;
    let line = again.next().await.unwrap();
    assert_eq!(
        (&line["object"]["name"], &line["object"]["vcpus"]),
        (&json!("vm2"), &json!(8))
    );
    let line = again.until(|line| line["event"] == "synced").await;
    let now = line["revision"].as_str().unwrap();
    // Of another list, of nothing, of no form.
    for from in [
        format!("/nodes?watch=true&from={now}"),
        "/vms?watch=true&from=a.1".to_owned(),
        "/vms?watch=true&from=%20".to_owned(),
    ] {
        rig.http.get(&from).await.refused(410, &["watch_too_old"]);
    }
    for wrong in [
        "/vms?from=a.1",
        "/vms?watch=true&limit=1",
        "/nodes?watch=true&after=a",
    ] {
        rig.http
            .get(wrong)
            .await
            .refused(422, &["invalid_argument"]);
    }
    rig.stop().await;
}

#[tokio::test]
async fn every_list_is_watched_and_all_who_watch_see_the_same() {
    let rig = Rig::two(0).await;
    for (list, change) in [("nodes", "node"), ("intents", "name"), ("adapters", "node")] {
        let path = format!("/{list}?watch=true");
        let mut lines = [Lines::of(&rig, &path).await, Lines::of(&rig, &path).await];
        let mut synced = Vec::new();
        for lines in &mut lines {
            synced.push(revision(lines).await);
        }
        assert_eq!(synced[0], synced[1], "{list}");
        rig.nodes.sees("node2", |seen| {
            seen.node.hostname.push('x');
            seen.adapters[0].carrier = !seen.adapters[0].carrier;
            seen.vms.pop();
        });
        let [one, other] = &mut lines;
        let (one, other) = (one.next().await.unwrap(), other.next().await.unwrap());
        assert_eq!(one, other, "{list} {change}");
        assert_eq!(one["event"], "put");
    }
    rig.stop().await;
}
