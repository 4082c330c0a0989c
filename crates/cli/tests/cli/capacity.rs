//! `accelnet capacity` and `accelnet vm where`: of a file without a server, and of the cluster.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::rig::{Ended, Rig, program, run};

fn offline(from: &str, format: &str, input: &[u8]) -> Ended {
    let mut command = program();
    command.args(["capacity", "--from", from, "-o", format]);
    // What is not there cannot be asked.
    command.env("ACCELNET_SOCKET", "/nonexistent/none.sock");
    run(command, input)
}

fn question() -> Value {
    json!({"node_reserve_percentage": 50, "down": [],
        "nodes": [
            {"name": "node1", "adapters": [{"name": "pf0", "vfs": 7, "queue_pairs_per_vf": 2}]},
            {"name": "node2", "adapters": [{"name": "pf0", "vfs": 7, "queue_pairs_total": 4}]}],
        "vms": [{"name": "a", "level": "Low", "nics": 1, "node": "node1", "adapters": ["pf0"]}],
        "add": [{"name": "b", "level": "Medium", "nics": 1}, {"name": "c", "level": "Medium", "nics": 2}]})
}

#[test]
fn a_file_is_answered_without_a_server() {
    let text = question().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plan.json");
    fs::write(&path, &text).unwrap();
    let from_file = offline(path.to_str().unwrap(), "json", b"").json();
    let from_input = offline("-", "json", text.as_bytes()).json();
    assert_eq!(from_file, from_input);
    let reason = from_file["refused"][0]["reason"].clone();
    assert_eq!(
        from_file,
        json!({"nodes_down_tolerated": 1, "holds": true, "admitted": ["b"],
            "refused": [{"name": "c", "code": "cluster_not_enough_resources", "reason": reason,
                         "counterexample": ["node1"]}],
            "fits_more": {"low": 1, "medium": 0, "high": 0}})
    );
    let table = offline("-", "table", text.as_bytes()).done();
    for line in [
        "1 node may be down at once. The VMs that are there allow that.",
        " b   yes",
        " c   no        With VM 'c', if node1 were down",
        "Room for more VMs with one NIC, each level alone: 1 Low, 0 Medium, 0 High.",
    ] {
        assert!(table.contains(line), "'{line}' is not in:\n{table}");
    }
}

/// Five nodes with one adapter of five VFs each; on each two VMs of two NICs: a free VF remains on each.
fn fragmented(nodes_down: u32, add: &Value) -> Value {
    let nodes = (0..5).map(|number| {
        json!({"name": format!("n{number}"),
               "adapters": [{"name": "pf0", "vfs": 5, "queue_pairs_per_vf": 2}]})
    });
    let vms = (0..5).flat_map(|number| {
        ["a", "b"].map(|letter| {
            json!({"name": format!("v{number}{letter}"), "level": "Low", "nics": 2,
                   "node": format!("n{number}"), "adapters": ["pf0", "pf0"]})
        })
    });
    json!({"nodes_down": nodes_down, "nodes": nodes.collect::<Vec<_>>(),
           "vms": vms.collect::<Vec<_>>(), "add": add})
}

fn answered(question: &Value) -> Value {
    offline("-", "json", question.to_string().as_bytes()).json()
}

#[test]
fn free_vfs_that_are_scattered_are_no_room_for_vms_with_two_nics() {
    let one = json!([{"name": "x", "level": "Low", "nics": 1}]);
    let report = answered(&fragmented(1, &one));
    assert_eq!(
        (&report["holds"], &report["admitted"]),
        (&json!(false), &json!([]))
    );
    let refused = &report["refused"][0];
    assert_eq!(refused["name"], "x");
    assert_eq!(refused["counterexample"].as_array().unwrap().len(), 1);
    // Five places for five NICs would be enough by their sum; what is missing is said.
    let reason = refused["reason"].as_str().unwrap();
    assert!(
        reason.contains("needs 2 VFs on one node; no node that is left has more than 1."),
        "{reason}"
    );
    let mut add = vec![json!({"name": "pair", "level": "Low", "nics": 2})];
    add.extend(
        (1..=6).map(|number| json!({"name": format!("x{number}"), "level": "Low", "nics": 1})),
    );
    let report = answered(&fragmented(0, &json!(add)));
    assert_eq!(report["holds"], true);
    assert_eq!(report["admitted"], json!(["x1", "x2", "x3", "x4", "x5"]));
    let names: Vec<_> = report["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["pair", "x6"]);
    let reason = report["refused"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("VM 'pair' needs 2 VFs on one node"),
        "{reason}"
    );
}

#[test]
fn a_large_node_counts_for_what_it_carries_not_for_its_share() {
    let node = |name: &str, vfs| json!({"name": name, "adapters": [{"name": "pf0", "vfs": vfs, "queue_pairs_per_vf": 1}]});
    let nodes = json!([
        node("n1", 63),
        node("n2", 20),
        node("n3", 20),
        node("n4", 20)
    ]);
    let vms: Vec<Value> = (0..60)
        .map(|number| {
            json!({"name": format!("v{number}"), "level": "Low", "node": "n1", "adapters": ["pf0"]})
        })
        .collect();
    let mut question = json!({"reserve_percentage": 25, "nodes": nodes, "vms": vms,
                              "add": [{"name": "x", "level": "Low"}]});
    // 60 fit the others' 3 × 20 exactly.
    let report = answered(&question);
    assert_eq!(
        (&report["holds"], &report["admitted"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(report["refused"][0]["counterexample"], json!(["n1"]));
    // The node that is down is the one that may be: what is admitted then is admitted knowingly.
    question["down"] = json!(["n2"]);
    let report = answered(&question);
    assert_eq!(
        (&report["holds"], &report["admitted"]),
        (&json!(true), &json!(["x"]))
    );
}

#[test]
fn a_field_that_is_not_known_is_refused_by_its_name() {
    let mut question = fragmented(0, &json!([]));
    question["vms"][0]["spread_adapters"] = json!(true);
    let ended = offline("-", "json", question.to_string().as_bytes()).with(2);
    ended.says(&["spread_adapters"]);
}

#[test]
fn a_pool_is_as_many_queue_pairs_as_it_has() {
    let with = |levels: &[(&str, u32)]| {
        let add: Vec<Value> = levels
            .iter()
            .flat_map(|(level, count)| {
                (0..*count)
                    .map(move |number| json!({"name": format!("{level}{number}"), "level": level}))
            })
            .collect();
        let nodes = json!([{"name": "n1",
            "adapters": [{"name": "pf0", "vfs": 8, "queue_pairs_total": 8}]}]);
        let report = answered(&json!({"nodes_down": 0, "nodes": nodes, "add": add}));
        report["admitted"].as_array().unwrap().len()
    };
    assert_eq!(with(&[("Low", 8)]), 8);
    assert_eq!(with(&[("Low", 7), ("Medium", 1)]), 7);
    assert_eq!(with(&[("Low", 6), ("Medium", 1)]), 7);
}

#[test]
fn a_file_that_cannot_be_is_wrong_usage() {
    let mut wrong = question();
    wrong["vms"][0]["adapters"] = json!(["pf7"]);
    let ended = offline("-", "json", wrong.to_string().as_bytes()).with(2);
    assert_eq!(ended.out, "");
    assert_eq!(ended.problem_codes(), ["invalid_argument"]);
    ended.says(&["vms[0].adapters[0]", "pf7"]);
    let ended = offline("-", "table", b"{").with(2);
    ended.says(&["[invalid_argument]", "docs/reference/capacity.md"]);
    offline("-", "table", b"").with(2);
    let ended = offline("/nonexistent/plan.json", "table", b"").with(2);
    ended.says(&["/nonexistent/plan.json cannot be read"]);
    offline("/", "table", b"").with(2);
    let mut command = program();
    command.args(["capacity", "--from", "-", "--without", "node1"]);
    run(command, b"").with(2);
}

#[test]
fn the_cluster_s_capacity() {
    let rig = Rig::enabled(|_| {});
    rig.call(&["vm", "enable", "vm1", "-p", "Low"]).done();
    assert_eq!(
        rig.call(&["capacity"]).done(),
        "Intent 'compute', reserve 50 % (0 of 1 node may be down): holds.
The largest reserve that would still hold: 99 % (0 down).
 NODE   STATE  VFS USED  QUEUE PAIRS USED  FREE L/M/H  HELD BACK L/M/H  FITS MORE L/M/H
 node1  up     1/7       2/14              6/6/0       0/0/0            6/6/0
 total         1/7       2/14              6/6/0       0/0/0            6/6/0
"
    );
    let json = rig.call(&["capacity", "-o", "json"]).json();
    assert_eq!(
        json["total"]["fits_more"],
        json!({"low": 6, "medium": 6, "high": 0})
    );
    assert!(json.get("without").is_none());
    let without = rig.call(&["capacity", "--without", "node1"]).done();
    assert!(without.contains("\nWithout node1:\n"), "{without}");
    assert!(without.contains(" vm1  Low    node1  NO ROOM"), "{without}");
    let ended = rig.call(&["capacity", "--without", "node1,node7"]).with(4);
    ended.says(&["[node_not_found]", "'node7'"]);
    let rig = Rig::bare();
    rig.call(&["capacity"])
        .with(3)
        .says(&["[accel_net_not_enabled]"]);
}

#[test]
fn where_a_vm_could_be() {
    let rig = Rig::enabled(|_| {});
    assert_eq!(
        rig.call(&["vm", "where", "vm1"]).done(),
        "vm1, Medium, 1 NIC:
 NODE   FITS NOW  KEEPS THE RESERVE  ADAPTERS  NOTE
 node1  yes       yes                pf0       it is here
"
    );
    let high = rig
        .call(&["vm", "where", "vm1", "-p", "high", "-o", "json"])
        .json();
    assert_eq!(high["level"], "high");
    assert_eq!(high["nodes"][0]["fits"], false);
    rig.call(&["vm", "where", "nobody"]).with(4);
}

#[test]
fn the_reference_page_s_example_is_answered_as_it_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/capacity.md");
    let page = fs::read_to_string(page).unwrap();
    let mut blocks = page.split("```json\n").skip(1);
    let mut block = || blocks.next().unwrap().split("```").next().unwrap();
    let (question, expected) = (block(), block());
    let mut answer = offline("-", "json", question.as_bytes()).json();
    answer["refused"][0]["reason"] = json!("…");
    assert_eq!(answer, serde_json::from_str::<Value>(expected).unwrap());
}
