//! Several VMs at once.

use std::{fs::File, process::Stdio};

use accelnet_rules::fixture;
use serde_json::Value;

use crate::rig::{Rig, assert_printable, codes};

/// `web 1`, `web'2"`, `web/3`, and `db`.
fn odd_names() -> Rig {
    Rig::enabled(|seen| {
        let names = ["web 1", "web'2\"", "web/3", "db"];
        seen.vms = (1..=4).map(fixture::vm).collect();
        for (vm, name) in seen.vms.iter_mut().zip(names) {
            vm.name = name.into();
        }
        let ports = &mut seen.bridges[0].ports;
        ports.truncate(1);
        ports.extend(seen.vms.iter().map(|vm| {
            let nic = &vm.nics[0];
            fixture::port(nic.tap.as_ref().unwrap().as_str(), Some(nic.mac))
        }));
    })
}

fn accelerated(rig: &Rig) -> Vec<String> {
    let list = rig.call(&["vm", "list", "-o", "json"]).json();
    let vms = list["items"].as_array().unwrap().iter();
    let wanted = vms.filter(|vm| vm["level"] != Value::Null);
    wanted
        .map(|vm| vm["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_pattern_means_all_that_fit() {
    let rig = odd_names();
    let out = rig
        .call(&["vm", "enable", "web*", "web 1", "-p", "Low"])
        .done();
    assert_eq!(out.lines().count(), 3, "{out}");
    assert_eq!(accelerated(&rig), ["web 1", "web'2\"", "web/3"]);
    rig.call(&["vm", "disable", "web?1"]).done();
    assert_eq!(accelerated(&rig), ["web'2\"", "web/3"]);
    rig.call(&["vm", "disable", "nothing*"])
        .with(4)
        .says(&["'nothing*'", "cure: "]);
    rig.call(&["vm", "show", "web/3"])
        .with(0)
        .says(&["web/3", "VF"]);
}

#[test]
fn names_come_from_standard_input() {
    let rig = odd_names();
    let input = b"web 1\n\n  web'2\"  \r\nweb/3\n";
    let out = rig.call_with(&["vm", "enable", "-"], input).done();
    assert_eq!(out.lines().count(), 3, "{out}");
    assert_eq!(accelerated(&rig), ["web 1", "web'2\"", "web/3"]);
    // What this program prints is what it takes.
    let list = rig.call(&["vm", "list", "-o", "json"]).json();
    let vms = list["items"].as_array().unwrap().iter();
    let uuids: Vec<&str> = vms.map(|vm| vm["uuid"].as_str().unwrap()).collect();
    rig.call_with(&["vm", "disable", "-"], uuids.join("\n").as_bytes())
        .done();
    assert_eq!(accelerated(&rig), [""; 0]);
}

#[test]
fn input_that_names_nothing_is_said() {
    let rig = odd_names();
    for input in [&b""[..], b"\n \n\t\n", b"\xff\xfe\n"] {
        let ended = rig
            .call_with(&["vm", "enable", "-", "-o", "json"], input)
            .with(2);
        assert_eq!(ended.problem_codes(), ["invalid_argument"]);
    }
    let unreadable = rig
        .command(&["vm", "enable", "-"])
        .stdin(Stdio::from(File::open(rig.directory.path()).unwrap()))
        .output()
        .unwrap();
    assert_eq!(unreadable.status.code(), Some(2));
    let words = String::from_utf8(unreadable.stderr).unwrap();
    assert!(
        words.contains("cannot be read") && words.contains("cure: "),
        "{words}"
    );
    let ended = rig
        .call_with(&["vm", "enable", "-"], b"a\x1b[31m\x00\x07b\n")
        .with(4);
    assert_printable(&ended.err);
    assert_eq!(accelerated(&rig), [""; 0]);
}

#[test]
fn a_thousand_names_are_answered_each() {
    let rig = odd_names();
    let mut names: Vec<String> = (0..998).map(|number| format!("nobody{number}")).collect();
    names.insert(0, "db".into());
    names.push("web/3".into());
    let ended = rig.call_with(
        &["vm", "enable", "-", "-o", "json"],
        names.join("\n").as_bytes(),
    );
    let document: Value = serde_json::from_str(&ended.with(7).out).unwrap();
    let items = document["items"].as_array().unwrap();
    assert_eq!(items.len(), 1000);
    let done = items.iter().filter(|item| item["ok"] == true).count();
    assert_eq!(done, 2);
    assert_eq!(codes(&items[1]["problems"]), ["vm_not_found"]);
    assert_eq!(accelerated(&rig), ["db", "web/3"]);
}

/// So many running VMs, and `vfs` VFs for them.
fn crowd(vms: u8, vfs: u32) -> Rig {
    let rig = Rig::enabled(|seen| {
        seen.vms = (1..=vms).map(fixture::vm).collect();
        for vm in &mut seen.vms {
            vm.name = format!("vm{:03}", vm.uuid.as_u128());
        }
        seen.node.memory_available_mib = 1 << 20;
        seen.adapters[0] = fixture::adapter(vfs);
        seen.adapters[0].total_vfs = vfs;
        let ports = &mut seen.bridges[0].ports;
        ports.truncate(1);
        ports.extend(seen.vms.iter().map(|vm| {
            let nic = &vm.nics[0];
            fixture::port(nic.tap.as_ref().unwrap().as_str(), Some(nic.mac))
        }));
    });
    rig.call(&["set", "--reserve", "0"]).with(0);
    rig
}

/// They are asked for several at a time, in conflict with each other; each has its answer at its place.
#[test]
fn many_at_a_time_are_all_decided_and_answered_in_order() {
    let rig = crowd(60, 48);
    let ended = rig
        .call(&["vm", "enable", "*", "-p", "Low", "-o", "json"])
        .with(7);
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    let items = document["items"].as_array().unwrap();
    let names: Vec<&str> = items
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (1..=60).map(|number| format!("vm{number:03}")).collect();
    assert_eq!(names, expected);
    let (done, refused): (Vec<&Value>, Vec<&Value>) =
        items.iter().partition(|item| item["ok"] == true);
    assert_eq!((done.len(), refused.len()), (48, 12));
    for item in refused {
        // All VFs are in use, or the last ones are promised to others and not plugged yet.
        let code = &codes(&item["problems"])[0];
        let known = ["no_free_vf", "cluster_not_enough_resources"];
        assert!(known.contains(&code.as_str()), "{item}");
    }
    assert_eq!(accelerated(&rig).len(), 48);
    let out = rig.call(&["vm", "disable", "*"]).done();
    assert_eq!(out.lines().count(), 60);
    assert_eq!(accelerated(&rig), [""; 0]);
}

#[test]
fn what_was_done_for_some_is_done_and_said() {
    let rig = Rig::enabled(|seen| seen.vms[1].vcpus = 1);
    let ended = rig.call(&["vm", "enable", "vm2", "vm1", "nobody"]).with(7);
    assert_eq!(ended.out, "vm1: accelerated, Medium.\n");
    ended.says(&[
        "error: vm2: The VM has fewer vCPUs",
        "VM 'vm2' has 1 vCPU(s), Medium needs 2.",
        "error: nobody: There is no VM",
    ]);
    // Nothing for any: the code is that of the first.
    rig.call(&["vm", "enable", "vm2", "nobody"]).with(3);
    rig.call(&["vm", "enable", "nobody", "vm2"]).with(4);
}

#[test]
fn a_dry_run_changes_nothing() {
    let rig = odd_names();
    let before = rig.nodes.desired("node1");
    let out = rig.call(&["vm", "enable", "*", "--dry-run"]).done();
    assert_eq!(
        out.matches("this would be done (nothing was changed):")
            .count(),
        4,
        "{out}"
    );
    let ended = rig
        .call(&["vm", "enable", "nobody", "--dry-run", "-o", "json"])
        .with(4);
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(document["items"][0]["dry_run"], true);
    rig.call(&["vm", "set", "db", "-p", "Low", "--dry-run"])
        .with(3);
    assert_eq!(
        rig.call(&["vm", "disable", "db", "--dry-run"]).done(),
        "db: nothing to change.\n"
    );
    assert_eq!(rig.nodes.desired("node1"), before);
}
