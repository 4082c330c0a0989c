//! The bad input, for every verb that takes it: one clear problem, nothing changed.

use std::{fs::File, process::Stdio};

use accelnet_rules::fixture;
use accelnet_server::fake::FakeNodes;
use serde_json::Value;

use crate::rig::{Rig, assert_printable, codes};

/// Names that nobody has: empty, blank, quoted, paths, control characters, other directions of writing,
/// far too long.
fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        " ",
        "no body",
        "it's",
        "\"",
        "a/b",
        "..",
        "a\u{1b}[31mred",
        "a\nb",
        "a\tb\u{7}",
        "\u{202e}evil",
        "--",
        "$(id)",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(5000));
    names
}

/// A server with `vm1` accelerated, and all that it wants.
fn rig() -> Rig {
    let rig = Rig::enabled(|_| {});
    rig.call(&["vm", "enable", "vm1"]).done();
    rig
}

/// Calls with a document wanted; the codes of all problems, on whichever output they are.
#[track_caller]
fn refused(rig: &Rig, line: &[&str], exit: i32) -> Vec<String> {
    let before = rig.nodes.desired("node1");
    let ended = rig.call(&[&["-o", "json"], line].concat()).with(exit);
    assert_eq!(rig.nodes.desired("node1"), before, "{line:?}");
    assert_printable(&ended.out);
    assert_printable(&ended.err);
    if ended.err.is_empty() {
        let document: Value = serde_json::from_str(&ended.out).unwrap();
        let items = document["items"].as_array().unwrap().iter();
        return items.flat_map(|item| codes(&item["problems"])).collect();
    }
    ended.problem_codes()
}

#[test]
fn names_of_nobody() {
    let rig = rig();
    for name in odd_names() {
        let name = name.as_str();
        for line in [
            &["vm", "show", "--", name][..],
            &["vm", "show", "--", name, name],
            &["vm", "list", "--", name],
            &["vm", "where", "--", name],
            &["vm", "enable", "--", name],
            &["vm", "enable", "--add-adapter", "--", name],
            &["vm", "enable", "--dry-run", "--", name],
            &["vm", "set", "-p", "Low", "--", name],
            &["vm", "disable", "--", name],
            &["vm", "park", "--for", "10m", "--", name],
            &["vm", "unpark", "--", name],
            &["vm", "prepare", "--", name],
        ] {
            assert_eq!(refused(&rig, line, 4), ["vm_not_found"], "{line:?}");
        }
        for line in [
            &["intent", "show", "--", name][..],
            &["intent", "remove", "--", name],
            &["intent", "set", "--vfs", "3", "--", name],
            &["prereq", &format!("--intent={name}")],
            &["enable", &format!("--intent={name}")],
            &["set", &format!("--intent={name}")],
        ] {
            assert_eq!(refused(&rig, line, 4), ["intent_not_found"], "{line:?}");
        }
        for line in [
            &["adapter", "show", "--", name][..],
            &["adapter", "show", "pf0", &format!("--node={name}")],
            &["adapter", "isolate", "--", name],
            &["adapter", "release", "--", name],
        ] {
            assert_eq!(refused(&rig, line, 4), ["adapter_not_found"], "{line:?}");
        }
        let line = ["capacity", &format!("--without={name}")];
        assert_eq!(refused(&rig, &line, 4), ["node_not_found"], "{line:?}");
    }
}

#[test]
fn percentages_and_levels_that_are_none() {
    let rig = rig();
    for verb in ["enable", "set"] {
        for (percentage, exit, code) in [
            ("100", 3, "reserve_out_of_range"),
            ("-1", 3, "reserve_out_of_range"),
            ("9223372036854775807", 3, "reserve_out_of_range"),
            ("9223372036854775808", 2, "invalid_argument"),
            ("3.5", 2, "invalid_argument"),
            ("abc", 2, "invalid_argument"),
            ("", 2, "invalid_argument"),
            ("50%", 2, "invalid_argument"),
        ] {
            let line = [verb, &format!("--reserve={percentage}")];
            assert_eq!(refused(&rig, &line, exit), [code], "{line:?}");
        }
    }
    for level in ["", "Ultra", "1", "Low,High", "l\u{1b}w"] {
        for line in [
            ["vm", "enable", "vm2", &format!("--performance={level}")],
            ["vm", "set", "vm1", &format!("--performance={level}")],
            ["vm", "where", "vm1", &format!("--performance={level}")],
        ] {
            assert_eq!(refused(&rig, &line, 2), ["invalid_argument"], "{line:?}");
        }
    }
}

/// Each verb that reads names.
const READING: [&[&str]; 6] = [
    &["vm", "list", "-"],
    &["vm", "show", "-"],
    &["vm", "enable", "-"],
    &["vm", "set", "-", "-p", "Low"],
    &["vm", "disable", "-"],
    &["vm", "prepare", "-"],
];

#[test]
fn standard_input_that_cannot_be_read_or_names_nothing() {
    let rig = rig();
    let before = rig.nodes.desired("node1");
    for line in READING {
        for input in [&b""[..], b" \n\t\n", b"\xff\xfe\n"] {
            let ended = rig.call_with(&[line, &["-o", "json"]].concat(), input);
            assert_eq!(
                ended.with(2).problem_codes(),
                ["invalid_argument"],
                "{line:?}"
            );
        }
        let directory = File::open(rig.directory.path()).unwrap();
        let mut command = rig.command(line);
        let output = command.stdin(Stdio::from(directory)).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(words.matches("error: ").count(), 1, "{words}");
        assert!(
            words.contains("cannot be read") && words.contains("cure: "),
            "{words}"
        );
        let ended = rig.call_with(line, b"a\x1b[31m\x00\x07b\n").with(4);
        assert_printable(&ended.err);
    }
    assert_eq!(rig.nodes.desired("node1"), before);
}

#[test]
fn a_thousand_names_for_each_verb() {
    let rig = rig();
    let mut names: Vec<String> = (0..999).map(|number| format!("nobody{number}")).collect();
    names.push("vm1".into());
    let input = names.join("\n");
    for line in READING {
        let ended = rig.call_with(&[line, &["-o", "json"]].concat(), input.as_bytes());
        let document: Value = serde_json::from_str(&ended.out).unwrap();
        let items = document["items"].as_array().unwrap();
        if ["list", "show"].contains(&line[1]) {
            let ended = ended.with(7);
            assert_eq!((items.len(), ended.problem_codes().len()), (1, 999));
        } else {
            let (done, refused): (Vec<&Value>, Vec<&Value>) =
                items.iter().partition(|item| item["ok"] == true);
            assert_eq!((done.len(), refused.len()), (1, 999), "{line:?}");
            ended.with(7);
        }
    }
}

/// Names that VMs may have: they are found by every verb.
#[test]
fn odd_names_of_somebody() {
    for name in [
        "no body",
        "it's",
        "\"quoted\"",
        "a/b",
        "-dash",
        "ümläut",
        "*",
        "a,b",
    ] {
        let rig = Rig::enabled(|seen| seen.vms[0].name = name.into());
        for line in [
            &["vm", "enable", "-p", "Low", "--", name][..],
            &["vm", "set", "-p", "Medium", "--", name],
            &["vm", "list", "--", name],
            &["vm", "show", "--", name],
            &["vm", "where", "--", name],
            &["vm", "prepare", "--", name],
            &["vm", "disable", "--", name],
        ] {
            rig.call(line).done();
            assert!(
                rig.nodes.desired("node1").vm(fixture::vm(2).uuid).is_none(),
                "{line:?}"
            );
        }
    }
}

#[test]
fn several_are_listed_and_shown() {
    let rig = Rig::enabled(|_| {});
    let list = rig.call(&["vm", "list", "vm?", "vm1"]).done();
    assert_eq!(list.lines().count(), 3, "{list}");
    let one = rig.call(&["vm", "list", "vm2", "-o", "json"]).json();
    assert_eq!(one["items"][0]["name"], "vm2");
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    let shown = rig.call(&["vm", "show", "vm2", "vm1"]).done();
    assert!(
        shown.find("vm2 (").unwrap() < shown.find("vm1 (").unwrap(),
        "{shown}"
    );
    let shown = rig.call(&["vm", "show", "vm*", "-o", "json"]).json();
    assert_eq!(shown["items"].as_array().unwrap().len(), 2);
    let ended = rig.call(&["vm", "show", "vm1", "nobody"]).with(7);
    ended.says(&["vm1 (", "[vm_not_found]", "'nobody'"]);
}

#[test]
fn an_adapter_that_two_nodes_have_is_not_guessed() {
    let nodes = FakeNodes::new([
        ("node1", fixture::observed()),
        ("node2", fixture::observed()),
    ]);
    let rig = Rig::of(nodes);
    let line = ["adapter", "show", "pf0", "-o", "json"];
    let ended = rig.call(&line).with(4);
    assert_eq!(ended.problem_codes(), ["adapter_ambiguous"]);
    ended.says(&["node1, node2", "--node"]);
    rig.call(&["adapter", "show", "pf0", "--node", "node2"])
        .done();
}

#[test]
fn numbers_are_asked_for_in_words() {
    let rig = Rig::bare();
    for line in [
        &["enable", "--reserve", "abc"][..],
        &["set", "--nodes-down", "1.5"],
        &["status", "--timeout", "x"],
        &["disable", "--timeout", "x"],
        &["enable", "--reserve", "5", "--nodes-down", "1"],
    ] {
        let ended = rig.call(line).with(2);
        assert!(!ended.err.contains("invalid digit"), "{}", ended.err);
    }
    rig.call(&["enable", "--reserve", "abc"])
        .says(&["whole number"]);
}
