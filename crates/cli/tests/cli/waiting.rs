//! When a command ends, and what it says of what is not there yet.

use accelnet_model::{Code, Problem};
use serde_json::{Value, json};

use crate::rig::{Rig, codes};

#[test]
fn enabling_says_what_still_waits_and_what_helps() {
    let rig = Rig::bare();
    rig.add_intent();
    rig.nodes.sees("node1", |seen| seen.adapters[0].vfs.clear());
    for first in ["", "Nothing to change: "] {
        let out = rig.call(&["enable"]).done();
        let expected = format!(
            "{first}Accelerated networking is enabled on intent 'compute', reserve 50 % (0 of 1 nodes may be down).\nwaiting: node1: The VFs do not exist yet"
        );
        assert!(out.starts_with(&expected), "{out}");
        for words in [
            "why:  pf0 needs 7 VFs; its link carries VM 'vm1', VM 'vm2'",
            "cure: Restart the node",
            "--when now",
        ] {
            assert!(out.contains(words), "{words} is not in {out}");
        }
    }
    let document = rig.call(&["enable", "-o", "json"]).json();
    let problems = &document["object"]["nodes"][0]["problems"];
    assert_eq!(codes(problems), ["vfs_waiting"]);
}

#[test]
fn enabling_waits_for_the_nodes_and_not_for_ever() {
    let rig = Rig::bare();
    rig.add_intent();
    rig.nodes.idle("node1", true);
    let ended = rig
        .call(&["enable", "--timeout", "1", "-o", "json"])
        .with(8);
    assert_eq!(ended.problem_codes(), ["timeout"]);
    let out = rig.call(&["enable", "--no-wait", "--reserve", "10"]).done();
    assert!(out.contains("'accelnet status'"), "{out}");
    assert!(rig.call(&["status"]).done().contains("working"));
    rig.nodes.idle("node1", false);
    rig.call(&["enable"]).done();
}

#[test]
fn enabling_that_a_machine_refuses_has_failed_and_says_where_and_why() {
    let rig = Rig::bare();
    rig.add_intent();
    let words = "make 7 VFs on 0000:01:00.0: Cannot allocate memory (ENOMEM).";
    rig.nodes.refused("node1", words);
    let ended = rig.call(&["enable", "--timeout", "1"]).with(1);
    ended.says(&["[enable_accel_net_failed]", "'node1'", words]);
    let ended = rig
        .call(&["enable", "--timeout", "1", "-o", "json"])
        .with(1);
    assert_eq!(
        ended.problem_codes(),
        ["enable_accel_net_failed", "host_operation_failed"]
    );
}

#[test]
fn a_vm_that_is_not_there_in_time_is_exit_code_8() {
    let rig = Rig::enabled(|_| {});
    rig.nodes.idle("node1", true);
    let ended = rig.call(&["vm", "enable", "vm1", "--timeout", "1"]).with(8);
    ended.says(&[
        "error: vm1: ",
        "[timeout]",
        "after 1 s",
        "cure: Follow it with",
    ]);
    // The wish stays; the node takes it up when it can.
    let vm = rig.call(&["vm", "show", "vm1", "-o", "json"]).json();
    assert_eq!(
        (&vm["level"], &vm["pending"]),
        (&json!("medium"), &json!(true))
    );
    // One deadline for all of them.
    let ended = rig
        .call(&["vm", "enable", "vm1", "vm2", "--timeout", "1", "-o", "json"])
        .with(8);
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    for item in document["items"].as_array().unwrap() {
        assert_eq!(codes(&item["problems"]), ["timeout"]);
    }
    rig.nodes.idle("node1", false);
    assert_eq!(
        rig.call(&["vm", "enable", "vm1"]).done(),
        "vm1: accelerated, Medium.\n"
    );
}

#[test]
fn without_waiting_nothing_is_claimed() {
    let rig = Rig::enabled(|_| {});
    rig.nodes.sees("node1", |seen| {
        seen.vms[1].nics[0].standby_config = false;
    });
    rig.nodes.idle("node1", true);
    for (line, words) in [
        (
            &["vm", "enable", "vm1", "-p", "Low"][..],
            "vm1: is being accelerated, Low.\n",
        ),
        (
            &["vm", "set", "vm1", "-p", "Medium"],
            "vm1: is being accelerated, Medium.\n",
        ),
        (
            &["vm", "disable", "vm1"],
            "vm1: is being brought to the software path.\n",
        ),
        (
            &["vm", "prepare", "vm2"],
            "vm2: is being prepared for its next cold start.\n",
        ),
    ] {
        let mut all = line.to_vec();
        all.push("--no-wait");
        assert_eq!(rig.call(&all).done(), words);
    }
    let document = rig
        .call(&["vm", "enable", "vm2", "--no-wait", "-o", "json"])
        .json();
    assert_eq!(document["items"][0]["vm"]["pending"], true);
    // The last one said counts.
    rig.nodes.idle("node1", false);
    rig.call(&["vm", "enable", "vm1", "--no-wait", "--wait"])
        .done();
}

#[test]
fn what_cannot_be_put_into_effect_ends_with_its_cause() {
    let rig = Rig::enabled(|_| {});
    // Between the decision and the node's deed somebody changes the VM.
    rig.nodes.sees_meanwhile("node1", |seen| {
        seen.vms[0].free_root_ports_live = 0;
        seen.adapters[0].vfs.clear();
    });
    let ended = rig.call(&["vm", "enable", "vm1"]).with(3);
    ended.says(&["error: vm1: ", "[vm_no_free_root_port]", "[vfs_waiting]"]);
    let vm = rig.call(&["vm", "show", "vm1"]).with(0);
    vm.says(&[
        "wanted: Medium",
        "synthetic",
        "[vm_no_free_root_port]",
        "cure: It is staged already",
    ]);
    // Asked again it is refused: the server sees it too.
    rig.call(&["vm", "enable", "vm1"])
        .with(3)
        .says(&["[vm_no_free_root_port]"]);
    // Preparing waits for the staging only, whatever else is wrong.
    rig.nodes.sees("node1", |seen| {
        let vm = &mut seen.vms[0];
        (vm.nics[0].standby_live, vm.nics[0].standby_config) = (false, false);
    });
    let out = rig.call(&["vm", "prepare", "vm1"]).done();
    assert!(
        out.starts_with("vm1: staged for its next cold start: "),
        "{out}"
    );
}

#[test]
fn a_vm_that_rests_after_a_failure_is_shown_and_not_waited_for() {
    let rig = Rig::enabled(|_| {});
    let uuid = accelnet_rules::fixture::vm(1).uuid;
    let problem = Problem::new(Code::GuestWithoutFailover, "After 30 s it has none.");
    rig.nodes.rests("node1", uuid, problem);
    let status = rig.call(&["status"]).done();
    assert!(status.contains(" node1  resting  "), "{status}");
    let list = rig.call(&["vm", "list"]).done();
    assert!(list.contains("guest_without_failover (resting)"), "{list}");
    let shown = rig.call(&["vm", "show", "vm1"]).done();
    assert!(
        shown.contains("tried again by itself after a rest"),
        "{shown}"
    );
    let document = rig.call(&["status", "-o", "json"]).json();
    let node = &document["nodes"][0];
    assert_eq!(
        (&node["converged"], &node["resting"]),
        (&json!(false), &json!(true))
    );
    rig.call(&["set", "--reserve", "0", "--timeout", "60"])
        .done();
}

#[test]
fn disabling_waits_until_every_node_was_told() {
    let rig = Rig::enabled(|_| {});
    rig.nodes.idle("node1", true);
    let ended = rig
        .call(&["disable", "--timeout", "1", "-o", "json"])
        .with(8);
    assert_eq!(ended.problem_codes(), ["timeout"]);
    // It is decided all the same.
    assert_eq!(
        rig.call(&["status", "-o", "json"]).json()["enabled"],
        Value::Null
    );
    let out = rig.call(&["disable", "--no-wait"]).done();
    assert_eq!(
        out,
        "Nothing to change: Accelerated networking is not enabled.\n"
    );
    rig.nodes.idle("node1", false);
    rig.call(&["disable"]).done();
}

/// What the problem of such a VM tells to do.
#[test]
fn a_vm_that_is_gone_is_forgotten_at_once() {
    let rig = Rig::enabled(|_| {});
    rig.call(&["vm", "enable", "vm1"]).done();
    rig.nodes.sees("node1", |seen| drop(seen.vms.remove(0)));
    let gone = rig.call(&["vm", "show", "vm1", "-o", "json"]).json();
    let cure = gone["problems"][0]["cure"].as_str().unwrap();
    let uuid = gone["uuid"].as_str().unwrap();
    assert!(
        cure.contains(&format!("accelnet vm disable {uuid}")),
        "{cure}"
    );
    let out = rig.call(&["vm", "disable", uuid]).done();
    assert_eq!(
        out,
        "vm1: no node has it; nothing is held for it any more.\n"
    );
    rig.call(&["vm", "show", "vm1"]).with(4);
}

#[test]
fn what_enable_does_not_say_stays() {
    let rig = Rig::enabled(|_| {});
    rig.call(&["set", "--reserve", "20"]).done();
    let out = rig.call(&["enable"]).done();
    assert!(
        out.starts_with("Nothing to change") && out.contains("reserve 20 %"),
        "{out}"
    );
}
