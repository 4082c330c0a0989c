//! Cmdlets that are typed wrong, only planned, or given nothing: what is said, and that nothing else
//! happens.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    rig::{assert_printable, run},
    shell::{Shell, names},
};

#[test]
fn what_is_wrong_is_one_clear_problem_and_changes_nothing() {
    let shell = Shell::enabled();
    shell.types("Enable-AccelNetVM MyVM01 Low").done();
    let before = shell.rig.nodes.desired("node1");
    let thousand = "$(printf 'nobody%s,' $(seq 999))last";
    for (line, code, word) in [
        (
            "Enable-AccelNetVM -Turbo MyVM02 Low",
            2,
            "[invalid_argument]",
        ),
        (
            "Enable-AccelNetVM -V MyVM02 Low",
            2,
            "could be -VMName, -VM, -Verbose",
        ),
        (
            "Enable-AccelNetVM MyVM02",
            2,
            "needs parameter -Performance",
        ),
        ("Enable-AccelNetVM MyVM02 Turbo", 2, "'Turbo'"),
        (
            "Enable-AccelNetVM -VMName MyVM02 -VMName MyVM02 Low",
            2,
            "twice",
        ),
        ("Enable-AccelNetVM a Low b c", 2, "'c'"),
        // As guides of Hyper-V have them.
        (
            "Set-VMNetworkAdapter -VMName MyVM01 -IovWeight 0",
            2,
            "Disable-AccelNetVM -VMName MyVM01",
        ),
        (
            "Set-VMNetworkAdapter -VMName MyVM02 -IovWeight 100",
            2,
            "Enable-AccelNetVM -VMName MyVM02 -Performance",
        ),
        ("Set-NetAdapterSriov -Name eth2 -NumVFs 31", 2, "--vfs 31"),
        (
            "Get-VM -Name MyVM01 | Get-VMNetworkAdapter | Format-Table VMName,IovWeight,Status",
            2,
            "Get-VMAdaptersConnectedToEnabledIntentSwitch",
        ),
        (
            "Enable-NetAdapterSriov -InterfaceDescription 'Contoso*' -NoRestart -PassThru",
            2,
            "Use -Name with",
        ),
        (
            "Get-NetAdapterSriovVf -Name pf0 -FunctionID three",
            2,
            "'three' is not a value of -FunctionID",
        ),
        (
            "Enable-NetAdapterSriov -Name \"Ethernet 1\"",
            4,
            "'Ethernet 1'",
        ),
        ("Enable-AccelNetVM '' Low", 2, "empty"),
        ("Enable-AccelNetVM 'MyVM02,,MyVM01' Low", 2, "empty"),
        (
            "Enable-AccelNetVM -Performance Low",
            2,
            "none came through the pipe",
        ),
        (
            "Enable-AccelNetVM -Performance Low < /dev/null",
            2,
            "needs parameter -VMName",
        ),
        (
            "Enable-AccelNetVM -Performance Low < .",
            2,
            "cannot be read",
        ),
        (
            "printf '\\xff\\xfe' | Enable-AccelNetVM -Performance Low",
            2,
            "cannot be read",
        ),
        (
            "echo '{\"Size\": 1}' | Enable-AccelNetVM -Performance Low",
            2,
            "is no VM",
        ),
        (
            "Get-NetAdapterSriov | Enable-AccelNetVM -Performance Low",
            2,
            "is no VM",
        ),
        ("Enable-AccelNetVM $'a\\e[31m\\a' Low", 4, "[vm_not_found]"),
        ("Enable-AccelNetVM $'\\xff' Low", 2, "is no text"),
        ("Enable-AccelNetVM nobody High", 4, "[vm_not_found]"),
        (
            "Enable-AccelNetVM MyVM02 High",
            3,
            "[cannot_provision_performance]",
        ),
        ("Set-AccelNetVM MyVM02 Low", 3, "[vm_not_accelerated]"),
        ("Disable-AccelNetVM nobody", 4, "[vm_not_found]"),
        ("Get-VM nobody", 4, "[vm_not_found]"),
        ("Enable-AccelNetManagement nobody", 4, "[intent_not_found]"),
        (
            "Enable-AccelNetManagement compute 100",
            3,
            "[reserve_out_of_range]",
        ),
        (
            "Enable-AccelNetManagement compute -1",
            3,
            "[reserve_out_of_range]",
        ),
        ("Enable-AccelNetManagement compute 3.5", 2, "'3.5'"),
        ("Enable-AccelNetManagement compute abc", 2, "'abc'"),
        (
            "Enable-AccelNetManagement",
            2,
            "needs parameter -IntentName",
        ),
        ("Set-AccelNetManagement", 2, "Name an intent, a reserve"),
        ("Set-AccelNetManagement nobody", 4, "[intent_not_found]"),
        (
            "Set-AccelNetManagement -NodeReservePercentage 100",
            3,
            "[reserve_out_of_range]",
        ),
        (
            "Set-AccelNetManagement -VMName MyVM01",
            2,
            "both -VMName and -Performance",
        ),
        (
            "Set-AccelNetManagement compute -VMName MyVM01 -Perf Medium",
            2,
            "at once",
        ),
        (
            "Get-AccelNetManagementPreReq nobody",
            4,
            "[intent_not_found]",
        ),
        ("Get-NetIntentStatus nobody", 4, "[intent_not_found]"),
        (
            "Enable-NetAdapterSriov -Name nobody",
            4,
            "[adapter_not_found]",
        ),
        ("Disable-AccelNetVM MyVM01 -Confirm", 2, "no terminal"),
        (&format!("Disable-AccelNetVM {thousand}"), 4, "nobody999"),
    ] {
        let ended = run(in_no_session(&shell, line), b"").with(code);
        let problems = ended.err.matches("error: ").count();
        let expected = match line {
            _ if line.contains("seq") => 1000,
            // Each of the two that are not here says so.
            _ if line.contains(" | Format-Table") => 2,
            // Too few vCPUs, and too few queue pairs.
            "Enable-AccelNetVM MyVM02 High" => 2,
            _ => 1,
        };
        assert_eq!(problems, expected, "{line}: {}", ended.err);
        assert!(ended.err.contains(word), "{line}: {}", ended.err);
        assert_printable(&ended.err);
        assert!(
            ["", "\n", "False\n"].contains(&ended.out.as_str()),
            "{line}: {}",
            ended.out
        );
        let of_truth =
            line.contains("able-AccelNetManagement ") || line.starts_with("Set-AccelNetManagement");
        // A line that is not understood is not answered.
        assert!(ended.out != "False\n" || of_truth, "{line}");
        assert_eq!(shell.rig.nodes.desired("node1"), before, "{line}");
    }
}

/// Without a terminal to ask on, wherever the tests run.
fn in_no_session(shell: &Shell, line: &str) -> Command {
    let inner = shell.command(line);
    let mut command = Command::new("setsid");
    command
        .arg("-w")
        .arg(inner.get_program())
        .args(inner.get_args());
    command
        .current_dir(inner.get_current_dir().unwrap())
        .env_clear();
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    command
}

#[test]
fn what_if_and_verbose_tell_and_errors_can_be_silent() {
    let shell = Shell::new();
    let ended = shell
        .types("Enable-AccelNetManagement compute -WhatIf")
        .with(0);
    assert_eq!(ended.out, "");
    ended.says(&["What if: node1: pf0 has its 7 VFs"]);
    assert_eq!(shell.management(), None);
    let ended = shell
        .types("Enable-AccelNetManagement compute -Verbose")
        .with(0);
    assert_eq!(ended.out, "True\n");
    ended.says(&["VERBOSE: node1: pf0 has its 7 VFs"]);
    let ended = shell.types("Enable-AccelNetVM MyVM01 Low -WhatIf").with(0);
    ended.says(&["What if: MyVM01: NIC 02:00:00:00:77:01"]);
    let ended = shell
        .types("Set-AccelNetManagement -NodeReserve 1 -WhatIf")
        .with(0);
    ended.says(&["What if: change the reserve from 50 % (0 down) to 1 % (0 down)"]);
    shell.has(&[]);
    let line = "Set-AccelNetManagement -VMName MyVM01 -Perf Low -WhatIf";
    let ended = shell.types(line).with(3);
    assert_eq!(ended.out, "False\n", "it would be refused");
    let ended = shell.types("Disable-AccelNetManagement -WhatIf").with(0);
    ended.says(&["What if: stop managing"]);
    assert_eq!(shell.management(), Some(("compute".into(), 50)));

    for action in ["SilentlyContinue", "Ignore"] {
        let line = format!("Enable-AccelNetVM nobody, MyVM01 Low -ErrorAction {action}");
        let ended = shell.types(&line).with(7);
        assert_eq!((ended.err.as_str(), names(&ended.out).len()), ("", 1));
        shell.has(&[("MyVM01", "low")]);
        shell.types("Disable-AccelNetVM MyVM01").done();
    }
    let ended = shell
        .types("Enable-AccelNetVM MyVM01, nobody, noone, MyVM02 Low -ErrorAction Stop")
        .with(7);
    assert_eq!(ended.err.matches("error: ").count(), 1, "{}", ended.err);
    shell.has(&[("MyVM01", "low")]);
    let ended = shell
        .types("Enable-AccelNetVM nobody, noone, MyVM02 Low")
        .with(7);
    ended.says(&["error: nobody: ", "error: noone: "]);
    shell.has(&[("MyVM01", "low"), ("MyVM02", "low")]);
    let ended = shell
        .types("Disable-AccelNetVM MyVM01 -ea Stop -WhatIf:$false")
        .done();
    assert_eq!(ended, "");
    shell.has(&[("MyVM02", "low")]);
}

#[test]
fn nothing_found_is_not_everything() {
    let shell = Shell::enabled();
    shell.types("Enable-AccelNetVM MyVM01, MyVM02 Low").done();
    let both = [("MyVM01", "low"), ("MyVM02", "low")];
    // Whoever asks for one that is not there must not get all of them.
    for line in [
        "Get-VM nobody | Get-AccelNetVM | Disable-AccelNetVM",
        "Get-VM 'web 1' | Get-AccelNetVM | Disable-AccelNetVM",
    ] {
        shell.types(line).with(2);
        shell.has(&both);
    }
    let ended = shell.types("Get-VM nobody | Get-AccelNetVM").with(0);
    assert_eq!(ended.out.trim(), "");
    assert_eq!(
        shell.types("[ -z \"$(Get-AccelNetVM 'web 1')\" ]").done(),
        ""
    );
    // What is not asked for is not waited for.
    for stdin in [Stdio::null(), Stdio::from(pipe_that_stays_open(&shell))] {
        let mut command = shell.command("Get-AccelNetVM MyVM01");
        let output = command.stdin(stdin).output().unwrap();
        assert_eq!(
            names(&String::from_utf8(output.stdout).unwrap()),
            ["MyVM01"]
        );
    }
    let output = shell
        .command("Get-AccelNetVM")
        .stdin(Stdio::null())
        .output();
    let out = String::from_utf8(output.unwrap().stdout).unwrap();
    assert_eq!(names(&out), ["MyVM01", "MyVM02"]);
    // What a loop reads is not taken from it.
    let line = "printf 'a\\nb\\n' > lines; while read -r _; do Get-AccelNetVM; done < lines";
    assert_eq!(names(&shell.types(line).done()).len(), 4);
    let ended = shell.types("set -o pipefail; Get-VM MyVM01, nobody | Disable-AccelNetVM");
    ended.with(7).says(&["error: nobody: "]);
    shell.has(&[("MyVM02", "low")]);
}

/// Whoever reads from it waits for ever, as it holds its own other end.
fn pipe_that_stays_open(shell: &Shell) -> fs::File {
    let path = shell.rig.directory.path().join("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

#[test]
fn a_server_that_is_not_there_is_said_by_each() {
    let mut shell = Shell::new();
    shell.rig.stop();
    for (line, out) in [
        ("Get-VM", ""),
        ("Get-AccelNetManagementPreReq", ""),
        ("Get-AccelNetManagement", ""),
        ("Enable-AccelNetManagement compute", "False\n"),
        ("Set-AccelNetManagement compute", "False\n"),
        (
            "Set-AccelNetManagement -VMName MyVM01 -Performance Low",
            "False\n",
        ),
        ("Disable-AccelNetManagement", ""),
        ("Enable-AccelNetVM MyVM01 Low", ""),
        ("Enable-NetAdapterSriov", ""),
        ("Get-NetIntentStatus", ""),
    ] {
        let ended = shell.types(line).with(6);
        assert_eq!(ended.out, out, "{line}");
        assert_eq!(
            ended.err.matches("[server_not_running]").count(),
            1,
            "{line}"
        );
    }
}
