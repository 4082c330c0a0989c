//! VMs that are kept on their software path for a while, and VMs that could not be looked at.

use accelnet_model::{Code, Problem, VmState};
use accelnet_rules::fixture;
use serde_json::{Value, json};

use crate::rig::Rig;

fn both_accelerated() -> Rig {
    let rig = Rig::enabled(|seen| seen.node.boot_id = "one".into());
    rig.call(&["vm", "enable", "*", "-p", "Low"]).done();
    rig
}

fn paths(rig: &Rig) -> Vec<Value> {
    let list = rig.call(&["vm", "list", "-o", "json"]).json();
    let vms = list["items"].as_array().unwrap().iter();
    vms.map(|vm| vm["nics"][0]["path"].clone()).collect()
}

#[test]
fn parked_and_back() {
    let rig = both_accelerated();
    let call = |line: &str| rig.call(&line.split(' ').collect::<Vec<_>>()).done();
    let planned = call("vm park vm1 --dry-run");
    assert!(
        planned.starts_with(
            "vm1: this would be done (nothing was changed):\n  1. keep it on its software path: parked until it is unparked\n  2. NIC 02:"
        ),
        "{planned}"
    );
    assert_eq!(paths(&rig), ["vf", "vf"]);
    let parked = "vm1: on the software path, parked until it is unparked.\n";
    assert_eq!(call("vm park vm1"), parked);
    assert_eq!(call("vm park vm1"), parked);
    assert_eq!(paths(&rig), ["synthetic", "vf"]);
    assert_eq!(
        call("vm list"),
        " NAME  NODE   STATE    WANTED  PATH       NOTE
 vm1   node1  running  Low     synthetic  parked until it is unparked
 vm2   node1  running  Low     VF
"
    );
    let shown = call("vm show vm1");
    assert!(
        shown.contains("wanted: Low\n  parked until it is unparked; since 20"),
        "{shown}"
    );
    let status = call("status");
    assert!(
        status.ends_with("1 VM is parked; 'accelnet vm list' says until when.\n"),
        "{status}"
    );
    assert_eq!(
        call("vm set vm1 -p Medium"),
        "vm1: parked until it is unparked; it is accelerated after that, Medium.\n"
    );
    assert_eq!(
        call("vm unpark vm1"),
        "vm1: parked no longer; accelerated, Medium.\n"
    );
    assert_eq!(
        call("vm unpark vm1"),
        "vm1: not parked; accelerated, Medium.\n"
    );
    assert_eq!(paths(&rig), ["vf", "vf"]);
    call("vm park vm1");
    assert_eq!(call("vm disable vm1"), "vm1: on the software path.\n");
    assert_eq!(
        call("vm park vm1"),
        "vm1: not accelerated, so there is nothing to park.\n"
    );
    assert_eq!(call("vm unpark vm1"), "vm1: not parked; not accelerated.\n");
}

#[test]
fn all_are_those_that_it_can_be_about() {
    let rig = both_accelerated();
    rig.call(&["vm", "disable", "vm2"]).done();
    let out = rig
        .call(&["vm", "park", "--all", "--until-boot", "--timeout", "60"])
        .done();
    assert_eq!(
        out,
        "vm1: on the software path, parked until its node has started again.\n"
    );
    let done = rig.call(&["vm", "unpark", "--all", "-o", "json"]).json();
    assert_eq!(done["items"].as_array().unwrap().len(), 1);
    assert_eq!(done["items"][0]["name"], "vm1");
    assert_eq!(
        rig.call(&["vm", "unpark", "--all"]).done(),
        "No VM is concerned.\n"
    );
    let none = rig.call(&["vm", "unpark", "--all", "-o", "json"]).json();
    assert_eq!(none, json!({"items": []}));
}

#[test]
fn of_all_only_those_of_a_node() {
    let rig = both_accelerated();
    let call = |line: &str| rig.call(&line.split(' ').collect::<Vec<_>>());
    call("vm park --all --node node9")
        .with(4)
        .says(&["[node_not_found]"]);
    assert_eq!(paths(&rig), ["vf", "vf"]);
    let parked = call("vm park --all --node node1 --until-boot").done();
    assert_eq!(parked.lines().count(), 2, "{parked}");
    assert_eq!(paths(&rig), ["synthetic", "synthetic"]);
    call("vm unpark --all --node node1").done();
    assert_eq!(paths(&rig), ["vf", "vf"]);
    call("vm park vm1 --node node1").with(2).says(&["--node"]);
}

#[test]
fn a_time_is_read_as_people_write_it() {
    let rig = both_accelerated();
    for time in ["10m", "1h 30m", "90s", "2h"] {
        let document = rig
            .call(&["vm", "park", "vm1", "--for", time, "-o", "json"])
            .json();
        let item = &document["items"][0];
        assert_eq!(
            (&item["ok"], &item["changed"]),
            (&json!(true), &json!(true))
        );
        assert!(item["vm"]["parked"]["until"].is_string(), "{item}");
    }
    for time in ["soon", "0s", "-10m", "", "10", "9000h"] {
        let line = format!("--for={time}");
        rig.call(&["vm", "park", "vm1", &line]).with(2);
    }
    // Which VMs has to be said.
    rig.call(&["vm", "park"]).with(2).says(&["--all"]);
}

#[test]
fn it_is_waited_for() {
    let rig = both_accelerated();
    rig.nodes.idle("node1", true);
    assert_eq!(
        rig.call(&["vm", "park", "vm1", "--no-wait"]).done(),
        "vm1: is being brought to the software path, parked until it is unparked.\n"
    );
    rig.call(&["vm", "park", "vm1", "--timeout", "1"])
        .with(8)
        .says(&["[timeout]"]);
    assert_eq!(paths(&rig), ["vf", "vf"]);
    rig.nodes.idle("node1", false);
    assert_eq!(paths(&rig), ["synthetic", "vf"]);
    rig.nodes.idle("node1", true);
    assert_eq!(
        rig.call(&["vm", "unpark", "vm1", "--no-wait"]).done(),
        "vm1: parked no longer.\n"
    );
    rig.call(&["vm", "unpark", "vm1", "--timeout", "1"])
        .with(8)
        .says(&["[timeout]"]);
    rig.nodes.idle("node1", false);
    // One that is off goes to its VF when it is started.
    rig.call(&["vm", "park", "vm2"]).done();
    rig.nodes
        .sees("node1", |seen| seen.vms[1].state = VmState::Off);
    assert_eq!(
        rig.call(&["vm", "unpark", "vm2"]).done(),
        "vm2: parked no longer; it is accelerated when it is started, Low.\n"
    );
}

#[test]
fn the_node_s_own_word_that_it_is_parked_is_no_failure() {
    let rig = both_accelerated();
    let uuid = fixture::vm(1).uuid;
    let problem = Problem::new(Code::VmParked, "It was asked for.");
    rig.nodes.rests("node1", uuid, problem);
    rig.call(&["vm", "park", "vm1"]).done();
    let list = rig.call(&["vm", "list"]).done();
    assert!(
        list.contains("synthetic  parked until it is unparked\n"),
        "{list}"
    );
}

#[test]
fn some_cannot_be_parked() {
    let rig = both_accelerated();
    let uuid = fixture::vm(1).uuid;
    let because = "the definition cannot be read";
    rig.nodes.cannot_look_at("node1", uuid, Some(because));
    let list = rig.call(&["vm", "list"]).done();
    assert!(
        list.contains(
            " vm1   node1  running  Low     -     Not seen on node 'node1': the definition"
        ),
        "{list}"
    );
    let shown = rig.call(&["vm", "show", "vm1"]).done();
    assert!(
        shown.contains("[vm_not_seen]") && shown.contains(because),
        "{shown}"
    );
    let ended = rig.call(&["vm", "park", "--all"]).with(7);
    assert_eq!(
        ended.out,
        "vm2: on the software path, parked until it is unparked.\n"
    );
    ended.says(&["error: vm1: ", "[vm_not_seen]", because, "cure: "]);
    rig.call(&["vm", "disable", "vm1"])
        .with(6)
        .says(&["[vm_not_seen]"]);
}
