//! `accelnet hud`, `events`, `status --check`: what is told, and with which exit code.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::Value;

use crate::rig::Rig;

/// A rig whose faults open as soon as they are seen, and its adapter without a link.
fn without_link() -> Rig {
    let rig = Rig::enabled(|_| {});
    rig.nodes
        .sees("node1", |seen| seen.adapters[0].carrier = false);
    rig
}

/// The faults, as soon as there are some.
fn watched(rig: &Rig) -> Value {
    let mut command = rig.command(&["hud", "--watch", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lists = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let list = lists.find(|list| list["items"][0].is_object()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    list
}

#[test]
fn a_healthy_cluster_is_one_line_and_ends_well() {
    let rig = Rig::enabled(|_| {});
    let hud = rig.call(&["hud"]).done();
    assert_eq!(hud, "Healthy, no faults.\n");
    let check = rig.call(&["status", "--check"]).done();
    assert_eq!(check, "OK: healthy, no faults.\n");
    let list = rig.call(&["hud", "-o", "json"]).json();
    assert_eq!(list["items"], Value::Array(Vec::new()));
    let events = rig.call(&["events"]).done();
    assert!(
        events.contains("intent add") && events.contains("asked"),
        "{events}"
    );
    rig.call(&["hud", "ack", "0123"])
        .with(4)
        .says(&["fault_not_found"]);
}

#[test]
fn a_fault_is_told_until_somebody_attends_to_it() {
    let rig = without_link();
    // It opens after its window of 10 s.
    let fault = &watched(&rig)["items"][0];
    assert_eq!(fault["code"], "adapter_link_down");
    let id = &fault["id"].as_str().unwrap()[..8];
    rig.call(&["hud"]).with(9);
    let shown = rig.call(&["hud"]);
    assert!(
        shown.out.contains(id) && shown.out.contains("cure:"),
        "{}",
        shown.out
    );
    let check = rig.call(&["status", "--check"]);
    assert!(check.out.starts_with("WARNING: 1 warning"), "{}", check.out);
    let followed = rig
        .call(&["hud", "ack", id, "--note", "cable ordered"])
        .done();
    assert!(followed.contains("is acknowledged"), "{followed}");
    let known = rig.call(&["hud"]).done();
    assert!(
        known.contains("cable ordered") && known.starts_with("1 acknowledged."),
        "{known}"
    );
    rig.call(&["hud", "mute", id, "--for", "8h"]).done();
    let muted = rig.call(&["hud"]).done();
    assert_eq!(muted, "1 muted.\n");
    assert!(rig.call(&["hud", "--all"]).done().contains("muted"));
    rig.call(&["hud", "unmute", id]).done();
    rig.call(&["hud", "mute", id, "--for", "91d"]).with(2);
    let events = rig.call(&["events", "--since", "1h"]).done();
    assert!(
        events.contains("opened warning adapter_link_down"),
        "{events}"
    );
    assert!(events.contains("fault acknowledge"), "{events}");
}
