//! What programs read: JSON and YAML.

use accelnet_model::VmState;
use serde_json::{Value, json};

use crate::rig::{ADD_INTENT, Rig, codes};

fn keys(object: &Value) -> Vec<&str> {
    let keys = object.as_object().unwrap().keys();
    keys.map(String::as_str).collect()
}

#[test]
fn a_vm_has_what_is_agreed_on() {
    let rig = Rig::enabled(|_| {});
    let vm = rig.call(&["vm", "show", "vm1", "-o", "json"]).json();
    for key in ["name", "uuid", "node", "level", "nics"] {
        assert!(keys(&vm).contains(&key), "{vm}");
    }
    assert_eq!(vm["name"], "vm1");
    assert_eq!(vm["uuid"], "00000000-0000-0000-0000-000000000001");
    assert_eq!(vm["node"], "node1");
    assert_eq!(vm["level"], Value::Null);
    let nic = json!([{"mac": "02:00:00:00:77:01", "path": "synthetic", "bridge": "br0",
        "intent": "compute", "managed": true}]);
    assert_eq!(vm["nics"], nic);

    rig.call(&["vm", "enable", "vm1", "-p", "Low"]).done();
    let vm = rig.call(&["vm", "show", "vm1", "-o", "json"]).json();
    assert_eq!(vm["level"], "low");
    let nic = json!([{"mac": "02:00:00:00:77:01", "path": "vf", "bridge": "br0", "adapter": "pf0",
        "vf": "0000:01:10.0", "queue_pairs": {"allotted": 2, "effective": 1},
        "intent": "compute", "managed": true, "level": "low"}]);
    assert_eq!(vm["nics"], nic);

    rig.nodes
        .sees("node1", |seen| seen.vms[1].state = VmState::Off);
    let off = rig.call(&["vm", "show", "vm2", "-o", "json"]).json();
    assert_eq!(off["nics"][0]["path"], "none");
    // One that no node has any more: still wanted, nowhere.
    rig.nodes.sees("node1", |seen| drop(seen.vms.remove(0)));
    let gone = rig.call(&["vm", "show", "vm1", "-o", "json"]).json();
    assert!(keys(&gone).contains(&"node"), "{gone}");
    assert_eq!(
        (&gone["node"], &gone["level"]),
        (&Value::Null, &json!("low"))
    );
}

#[test]
fn every_list_has_items() {
    let rig = Rig::enabled(|_| {});
    for (line, first) in [
        (&["vm", "list"][..], "/items/0/uuid"),
        (&["intent", "list"], "/items/0/bridge"),
        (&["adapter", "list"], "/items/0/facts/vfs/0/pci"),
        (&["prereq", "--intent", "compute"], "/items/0/check"),
        (&["explain"], "/items/0/cure"),
        (&["vm", "enable", "vm1"], "/items/0/vm/nics/0/mac"),
        (&["vm", "set", "vm1", "-p", "Low"], "/items/0/vm/level"),
        (&["vm", "prepare", "vm1"], "/items/0/ok"),
        (&["vm", "park", "vm1"], "/items/0/vm/parked/because"),
        (&["vm", "unpark", "vm1"], "/items/0/changed"),
        (&["vm", "disable", "vm1"], "/items/0/changed"),
        (&["vm", "enable", "vm1", "--dry-run"], "/items/0/plan/0"),
    ] {
        let mut json = line.to_vec();
        json.extend(["-o", "json"]);
        let document = rig.call(&json).json();
        assert_eq!(keys(&document), ["items"], "{line:?}");
        assert!(
            document
                .pointer(first)
                .is_some_and(|value| !value.is_null()),
            "{first}: {document}"
        );
    }
}

#[test]
fn yaml_says_the_same_as_json() {
    let rig = Rig::enabled(|_| {});
    for line in [
        &["status"][..],
        &["vm", "list"],
        &["vm", "show", "vm1"],
        &["intent", "list"],
        &["intent", "show", "compute"],
        &["adapter", "list"],
        &["adapter", "show", "pf0"],
        &["prereq"],
        &["explain", "vm_ambiguous"],
        &["enable"],
        &["enable", "--dry-run"],
        &["vm", "enable", "vm1", "--dry-run"],
        &["disable", "--dry-run"],
    ] {
        let call = |format| {
            let mut all = line.to_vec();
            all.extend(["-o", format]);
            rig.call(&all).done()
        };
        let json: Value = serde_json::from_str(&call("json")).unwrap();
        let yaml: Value = yaml_serde::from_str(&call("yaml")).unwrap();
        assert_eq!(yaml, json, "{line:?}");
    }
}

#[test]
fn changes_are_outcomes() {
    let rig = Rig::bare();
    let add = [&ADD_INTENT[..], &["-o", "json"]].concat();
    let outcome = rig.call(&add).json();
    assert_eq!(keys(&outcome).len(), 4, "{outcome}");
    assert_eq!(
        (&outcome["changed"], &outcome["dry_run"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(outcome["object"]["name"], "compute");
    assert_eq!(rig.call(&add).json()["changed"], false);
    let planned = rig.call(&["enable", "--dry-run", "-o", "json"]).json();
    assert_eq!(
        (&planned["dry_run"], &planned["object"]["enabled"]),
        (&json!(true), &Value::Null)
    );
    let enabled = rig
        .call(&["enable", "--reserve", "10", "-o", "json"])
        .json();
    assert_eq!(enabled["object"]["enabled"]["node_reserve_percentage"], 10);
    assert_eq!(
        enabled["object"]["nodes"][0]["converged"], true,
        "as it is after the wait"
    );
    let set = rig.call(&["set", "--nodes-down", "0", "-o", "json"]).json();
    let shown = &set["object"]["enabled"];
    assert_eq!(
        (&shown["nodes_down"], &shown["node_reserve_percentage"]),
        (&json!(0), &json!(0))
    );
    let removed = rig.call(&["disable", "-o", "json"]).json();
    assert_eq!(removed["object"]["enabled"], Value::Null);
    let status = rig.call(&["status", "-o", "json"]).json();
    assert!(keys(&status).contains(&"enabled"), "{status}");
}

#[test]
fn problems_are_a_document_on_standard_error() {
    let rig = Rig::bare();
    rig.add_intent();
    for format in ["json", "yaml"] {
        for (line, code, problems) in [
            (&["vm", "show", "nobody"][..], 4, &["vm_not_found"][..]),
            (&["intent", "show", "nobody"], 4, &["intent_not_found"]),
            (
                &["enable", "--intent", "x", "--reserve", "100"],
                4,
                &["intent_not_found", "reserve_out_of_range"],
            ),
            (&["enable", "--reserve", "-1"], 3, &["reserve_out_of_range"]),
            (
                &["enable", "--nodes-down", "1"],
                3,
                &["reserve_out_of_range"],
            ),
            (
                &["enable", "--nodes-down", "-1"],
                3,
                &["reserve_out_of_range"],
            ),
            (
                &["enable", "--nodes-down", "0", "--reserve", "0"],
                2,
                &["invalid_argument"],
            ),
            (&["enable", "--reserve", "3.5"], 2, &["invalid_argument"]),
            (&["enable", "--reserve", "abc"], 2, &["invalid_argument"]),
            (
                &["vm", "enable", "vm1", "-p", "Turbo"],
                2,
                &["invalid_argument"],
            ),
            (&["vm", "enable"], 2, &["invalid_argument"]),
            (&["nonsense"], 2, &["invalid_argument"]),
            (&["explain", "nonsense"], 2, &["invalid_argument"]),
        ] {
            let mut all = line.to_vec();
            all.extend(["-o", format]);
            let ended = rig.call(&all).with(code);
            assert_eq!(ended.problem_codes(), problems, "{line:?}");
            assert_eq!(ended.out, "");
        }
    }
}

#[test]
fn problems_of_each_vm_are_with_it() {
    let rig = Rig::enabled(|seen| seen.vms[1].vcpus = 1);
    let ended = rig
        .call(&["vm", "enable", "vm1", "vm2", "nobody", "-o", "json"])
        .with(7);
    assert_eq!(ended.err, "");
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    let items = document["items"].as_array().unwrap();
    assert_eq!(
        (&items[0]["name"], &items[0]["ok"]),
        (&json!("vm1"), &json!(true))
    );
    assert_eq!(
        (&items[1]["name"], &items[1]["ok"]),
        (&json!("vm2"), &json!(false))
    );
    assert_eq!(codes(&items[1]["problems"]), ["vm_not_enough_vcpus"]);
    assert_eq!(items[2]["name"], "nobody");
    assert_eq!(codes(&items[2]["problems"]), ["vm_not_found"]);
}
