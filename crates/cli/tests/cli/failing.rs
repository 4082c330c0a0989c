//! Exit codes, as docs/reference/exit-codes.md has them.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
};

use accelnet_rules::fixture;

use crate::rig::{Rig, program, run};

#[test]
fn a_server_that_is_not_there_is_exit_code_6() {
    let mut rig = Rig::bare();
    rig.stop();
    // The socket of a server that is gone, and none at all.
    let none = rig.directory.path().join("none.sock").display().to_string();
    for socket in [rig.socket().display().to_string(), none] {
        let ended = rig.call(&["status", "--socket", &socket]).with(6);
        ended.says(&[
            "[server_not_running]",
            &socket,
            "cure: Start it with 'systemctl start accelnetd'",
        ]);
        let ended = rig
            .call(&["vm", "enable", "vm1", "--socket", &socket, "-o", "json"])
            .with(6);
        assert_eq!(ended.problem_codes(), ["server_not_running"]);
    }
    let long = format!("/{}", "x".repeat(200));
    rig.call(&["status", "--socket", &long]).with(6);
    // What needs no server works without.
    rig.call(&["explain", "timeout"]).done();
    rig.call(&["completion", "bash"]).done();
}

#[test]
fn a_socket_that_is_not_for_us_is_exit_code_5() {
    let rig = Rig::bare();
    let mut command = rig.command(&["status"]);
    if fs::metadata(rig.directory.path()).unwrap().uid() == 0 {
        // Root may open all: somebody else asks, with a copy of the program that they may run.
        let copy = rig.directory.path().join("accelnet");
        fs::copy(env!("CARGO_BIN_EXE_accelnet"), &copy).unwrap();
        fs::set_permissions(rig.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        command = std::process::Command::new(copy);
        command
            .env_clear()
            .env("ACCELNET_SOCKET", rig.socket())
            .arg("status");
        command.current_dir("/").uid(65534).gid(65534);
    }
    fs::set_permissions(rig.socket(), fs::Permissions::from_mode(0o000)).unwrap();
    let ended = run(command, b"").with(5);
    ended.says(&["[permission_denied]", "accelnet.sock", "group 'accelnet'"]);
}

#[test]
fn refusals_tell_all_reasons_at_once() {
    let rig = Rig::enabled(|seen| {
        seen.vms[0].vcpus = 1;
        seen.vms[0].free_root_ports_live = 0;
    });
    let ended = rig.call(&["vm", "enable", "vm1"]).with(3);
    assert_eq!(ended.out, "");
    assert_eq!(
        ended.err.matches("error: vm1: ").count(),
        2,
        "{}",
        ended.err
    );
    assert_eq!(ended.err.matches("  cure: ").count(), 2, "{}", ended.err);
    rig.call(&["intent", "remove", "compute"])
        .with(3)
        .says(&["[intent_in_use]"]);
    let other = [
        "intent",
        "add",
        "compute",
        "--bridge",
        "br0",
        "--adapter",
        "pf0",
        "--vfs",
        "3",
    ];
    rig.call(&other).with(3).says(&["[intent_exists]"]);
    let second = ["intent", "add", "b", "--bridge", "br0", "--adapter", "pf0"];
    rig.call(&second)
        .with(3)
        .says(&["[adapter_in_two_intents]"]);
}

#[test]
fn names_that_mean_none_or_several_are_exit_code_4() {
    let rig = Rig::enabled(|seen| seen.vms[1].name = "vm1".into());
    let uuid = fixture::vm(2).uuid.to_string();
    for line in [
        ["vm", "show", "vm1"],
        ["vm", "enable", "vm1"],
        ["vm", "disable", "vm1"],
    ] {
        rig.call(&line)
            .with(4)
            .says(&["[vm_ambiguous]", &uuid, "cure: Name the VM by its UUID."]);
    }
    rig.call(&["vm", "enable", &uuid]).done();
    for name in [
        "",
        ".",
        "..",
        "../acceleration",
        "a/../b",
        "%2e%2e",
        "?watch=true",
        "#",
        "\u{fffd}",
    ] {
        rig.call(&["vm", "show", name])
            .with(4)
            .says(&["[vm_not_found]"]);
        rig.call(&["intent", "remove", name])
            .with(4)
            .says(&["[intent_not_found]"]);
        rig.call(&["adapter", "show", name])
            .with(4)
            .says(&["[adapter_not_found]"]);
    }
    assert!(rig.nodes.desired("node1").enabled.is_some());
}

#[test]
fn libvirt_and_nodes_that_do_not_answer_are_exit_code_6() {
    let rig = Rig::enabled(|_| {});
    let good = rig.nodes.seen("node1");
    rig.nodes.sees("node1", |seen| {
        seen.node.libvirt = None;
        seen.hypervisor_answers = false;
        seen.vms.clear();
    });
    for line in [
        &["vm", "list"][..],
        &["vm", "show", "vm1"],
        &["vm", "enable", "vm1"],
    ] {
        rig.call(line)
            .with(6)
            .says(&["[hypervisor_unavailable]", "systemctl start libvirtd"]);
    }
    rig.nodes.sees("node1", |seen| *seen = good);
    rig.nodes.silent("node1", true);
    rig.call(&["vm", "enable", "vm1"])
        .with(6)
        .says(&["[agent_unreachable]", "node1"]);
}

#[test]
fn a_command_line_that_cannot_be_understood_is_exit_code_2() {
    for line in [
        &["nonsense"][..],
        &[],
        &["vm"],
        &["vm", "enable"],
        &["vm", "enable", "a", "-p", "Turbo"],
        &["vm", "set", "a"],
        &["vm", "enable", "a", "--timeout", "0"],
        &["enable", "--reserve", "3.5"],
        &["enable", "--when", "soon"],
        &["intent", "add", "a b", "--bridge", "br0", "--adapter", "x"],
        &[
            "intent",
            "add",
            "a",
            "--bridge",
            "a-name-that-is-too-long",
            "--adapter",
            "x",
        ],
        &["-o", "xml", "status"],
    ] {
        let mut command = program();
        command.args(line);
        let ended = run(command, b"").with(2);
        assert_eq!(ended.out, "", "{line:?}");
        assert!(
            ended.err.contains("Usage:") || ended.err.contains("--help"),
            "{}",
            ended.err
        );
    }
}
