//! Exit codes, as docs/reference/exit-codes.md has them.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixListener,
        process::CommandExt,
    },
};

use accelnet_rules::fixture;

use crate::rig::{ADD_INTENT, Rig, program, run};

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
        // By a process of its own: a file that is open for writing cannot be run, and processes that
        // other tests start meanwhile would hold what this one has open.
        let mut cp = std::process::Command::new("cp");
        cp.arg(env!("CARGO_BIN_EXE_accelnet")).arg(&copy);
        run(cp, b"").done();
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
    let other = [&ADD_INTENT[..], &["--vfs", "3"]].concat();
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
fn the_intent_is_named_unless_there_is_one() {
    let rig = Rig::bare();
    rig.call(&["enable"])
        .with(4)
        .says(&["[intent_not_found]", "no compute intent"]);
    rig.nodes.sees("node1", |seen| {
        let mut second = seen.adapters[0].clone();
        (second.ifname, second.master) = ("pf1".parse().unwrap(), "br1".parse().ok());
        seen.adapters.push(second);
        let mut bridge = seen.bridges[0].clone();
        bridge.ifname = "br1".parse().unwrap();
        bridge.ports.clear();
        seen.bridges.push(bridge);
    });
    rig.add_intent();
    rig.call(&["intent", "add", "b", "--bridge", "br1", "--adapter", "pf1"])
        .done();
    rig.call(&["enable"])
        .with(2)
        .says(&["b, compute", "cure: Say which with --intent."]);
    rig.call(&["enable", "--intent", "compute"]).done();
    rig.call(&["enable", "--intent", "b"])
        .with(3)
        .says(&["[accel_net_enabled_elsewhere]"]);
    // The same interface name on two nodes, or a name that nobody has.
    rig.call(&["adapter", "show", "pf1", "--node", "node1"])
        .done();
    rig.call(&["adapter", "show", "pf1", "--node", "node2"])
        .with(4);
}

/// Somebody who answers every connection with these bytes.
fn impostor(rig: &Rig, answer: &'static [u8]) -> String {
    let path = rig.directory.path().join("impostor.sock");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(answer);
        }
    });
    path.display().to_string()
}

#[test]
fn a_server_that_answers_nonsense_is_said() {
    let rig = Rig::bare();
    for (answer, code, problem) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"[..],
            1,
            "internal",
        ),
        (
            b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nhi",
            1,
            "internal",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
            6,
            "server_not_running",
        ),
        (b"SSH-2.0-OpenSSH\r\n", 6, "server_not_running"),
        (b"", 6, "server_not_running"),
    ] {
        let socket = impostor(&rig, answer);
        let ended = rig
            .call(&["status", "--socket", &socket, "-o", "json"])
            .with(code);
        assert_eq!(ended.problem_codes(), [problem]);
    }
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
    for (line, code) in [
        (&["vm", "list"][..], 6),
        (&["vm", "enable", "vm1"], 6),
        // It is shown as it was seen last, with that.
        (&["vm", "show", "vm1"], 0),
    ] {
        rig.call(line)
            .with(code)
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
        &["vm", "enable", "a", "--timeout", "18446744073709551615"],
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
