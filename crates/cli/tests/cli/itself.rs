//! What the program says of itself: help, completion, manual pages, the catalogue.

use std::process::Command;

use accelnet_model::Code;

use crate::rig::{Ended, program, run};

fn call(line: &[&str]) -> Ended {
    let mut command = program();
    command.args(line);
    run(command, b"")
}

const VERBS: &[(&[&str], bool)] = &[
    (&[], true),
    (&["prereq"], true),
    (&["enable"], true),
    (&["set"], true),
    (&["disable"], false),
    (&["cmdlet"], false),
    (&["cmdlet", "install"], true),
    (&["cmdlet", "list"], false),
    (&["cmdlet", "uninstall"], false),
    (&["cmdlet", "run"], true),
    (&["status"], true),
    (&["hud"], true),
    (&["hud", "ack"], true),
    (&["hud", "mute"], true),
    (&["hud", "unmute"], true),
    (&["events"], true),
    (&["capacity"], true),
    (&["vm"], false),
    (&["vm", "list"], true),
    (&["vm", "show"], true),
    (&["vm", "where"], true),
    (&["vm", "prepare"], true),
    (&["vm", "enable"], true),
    (&["vm", "set"], true),
    (&["vm", "disable"], true),
    (&["intent"], false),
    (&["intent", "add"], true),
    (&["intent", "set"], true),
    (&["intent", "list"], false),
    (&["intent", "show"], false),
    (&["intent", "remove"], false),
    (&["adapter"], false),
    (&["adapter", "list"], false),
    (&["adapter", "show"], false),
    (&["node"], false),
    (&["node", "list"], true),
    (&["node", "show"], true),
    (&["node", "join-token"], true),
    (&["node", "remove"], true),
    (&["node", "drain"], true),
    (&["node", "uncordon"], true),
    (&["server"], false),
    (&["server", "list"], true),
    (&["login"], true),
    (&["logout"], true),
    (&["whoami"], true),
    (&["profile"], false),
    (&["profile", "list"], true),
    (&["profile", "use"], true),
    (&["token"], false),
    (&["token", "create"], true),
    (&["token", "list"], true),
    (&["token", "revoke"], true),
    (&["audit"], true),
    (&["explain"], true),
    (&["completion"], true),
    (&["man"], true),
];

#[test]
fn every_verb_says_what_it_does() {
    for (verb, examples) in VERBS {
        let mut line = verb.to_vec();
        line.push("--help");
        let help = call(&line).done();
        let first = help.lines().next().unwrap();
        assert!(first.contains(' '), "{verb:?}: {first}");
        assert!(
            help.contains(&format!("Usage: accelnet {}", verb.join(" "))),
            "{help}"
        );
        assert_eq!(help.contains("Example"), *examples, "{help}");
        for option in ["-o, --output", "--socket"] {
            assert!(help.contains(option), "{help}");
        }
    }
    let root = call(&["--help"]).done();
    for (verb, _) in VERBS
        .iter()
        .filter(|(verb, _)| verb.len() == 1 && verb[0] != "man")
    {
        assert!(
            root.contains(&format!("\n  {} ", verb[0])),
            "{} is not in {root}",
            verb[0]
        );
    }
    assert!(call(&["--version"]).done().starts_with("accelnet "));
}

#[test]
fn completion_is_there_for_every_shell() {
    for (shell, sign) in [
        ("bash", "complete -F _accelnet"),
        ("zsh", "#compdef accelnet"),
        ("fish", "complete -c accelnet"),
    ] {
        let script = call(&["completion", shell]).done();
        assert!(script.contains(sign), "{shell}");
        assert!(
            script.contains("--performance") || script.contains("-l performance"),
            "{shell}"
        );
    }
    call(&["completion", "nonsense"]).with(2);
    let mut bash = Command::new("bash");
    bash.arg("-n");
    let script = call(&["completion", "bash"]).done();
    run(bash, script.as_bytes()).done();
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for line in [
        &["completion", "zsh"][..],
        &["explain"],
        &["man"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = program();
        command.args(line).stdout(writer);
        let output = command.output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), words.as_str()),
            (Some(0), ""),
            "{line:?}"
        );
    }
}

#[test]
fn what_could_not_be_printed_is_not_taken_for_printed() {
    for line in [&["explain"][..], &["completion", "fish"]] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command = program();
        command.args(line).stdout(full.unwrap());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line:?}");
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.starts_with("error: standard output: "), "{words}");
    }
}

#[test]
fn manual_pages_are_made() {
    let page = call(&["man"]).done();
    assert!(page.contains(".TH accelnet 1"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("man1");
    call(&["man", below.to_str().unwrap()]).done();
    let page = std::fs::read_to_string(below.join("accelnet-vm-enable.1")).unwrap();
    assert!(page.contains("Accelerate running VMs"), "{page}");
    let file = below.join("accelnet.1");
    let ended = call(&["man", file.to_str().unwrap()]).with(2);
    ended.says(&["cannot be written", "cure: "]);
}

#[test]
fn the_catalogue_is_explained() {
    let all = call(&["explain"]).done();
    for code in Code::ALL {
        assert!(
            all.contains(code.as_str()) && all.contains(code.title()),
            "{code}"
        );
    }
    let one = call(&["explain", "vfs_waiting"]).done();
    assert!(
        one.contains("cure: ") && one.contains("exit code: 3"),
        "{one}"
    );
    assert!(
        one.contains(Code::VfsWaiting.explanation()) && one.contains("HTTP status: 422"),
        "{one}"
    );
    call(&["explain", "nonsense"]).with(2).says(&["'nonsense'"]);
}

#[test]
fn the_reference_page_is_the_catalogue() {
    let page = include_str!("../../../../docs/reference/problems.md");
    let now = call(&["explain", "--markdown"]).done();
    assert!(now == page, "write it anew with 'make problems'");
}

#[test]
fn the_page_of_detections_is_that_of_the_rules() {
    let page = include_str!("../../../../docs/reference/health.md");
    let now = call(&["explain", "--detections"]).done();
    assert!(now == page, "write it anew with 'make problems'");
}

#[test]
fn the_page_of_metrics_is_that_of_the_table() {
    let page = include_str!("../../../../docs/reference/metrics.md");
    let now = call(&["explain", "--metrics"]).done();
    assert!(now == page, "write it anew with 'make problems'");
}
