//! The reference's command lines, typed into bash.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use accelnet_model::{SriovSupport, VmState};
use accelnet_rules::fixture;
use accelnet_server::fake::FakeNodes;
use serde_json::{Value, json};

use crate::rig::{Ended, Rig, assert_printable, program, run};

/// Names as the documentation has them, and odd ones.
const NAMES: [&str; 5] = ["MyVM01", "MyVM02", "web 1", "web'2\"", "web/3"];

struct Shell {
    rig: Rig,
}

impl Shell {
    /// One node with VMs of these names, an intent, and the cmdlets.
    fn new() -> Self {
        let mut seen = fixture::observed();
        seen.vms = (1..=5).map(fixture::vm).collect();
        for (vm, name) in seen.vms.iter_mut().zip(NAMES) {
            vm.name = name.into();
        }
        let ports = &mut seen.bridges[0].ports;
        ports.truncate(1);
        ports.extend(seen.vms.iter().map(|vm| {
            let nic = &vm.nics[0];
            fixture::port(nic.tap.as_ref().unwrap().as_str(), Some(nic.mac))
        }));
        let rig = Rig::of(FakeNodes::new([("node1", seen)]));
        rig.add_intent();
        let shell = Self { rig };
        let place = shell.place();
        shell.rig.call(&["cmdlet", "install", &place]).done();
        shell
    }

    fn enabled() -> Self {
        let shell = Self::new();
        assert_eq!(
            shell
                .types("Enable-AccelNetManagement -IntentName compute")
                .done(),
            "True\n"
        );
        shell
    }

    fn place(&self) -> String {
        let place = self.rig.directory.path().join("cmd lets'");
        place.to_str().unwrap().to_owned()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        let path = format!("{}:/usr/bin:/bin", self.place());
        command
            .env_clear()
            .env("PATH", path)
            .env("ACCELNET_SOCKET", self.rig.socket())
            .current_dir(self.rig.directory.path())
            .args(["-c", line]);
        command
    }

    /// Types a line; standard input is an empty pipe.
    fn types(&self, line: &str) -> Ended {
        run(self.command(line), b"")
    }

    /// `(name, wanted level, path in use)` of accelerated VMs.
    fn accelerated(&self) -> Vec<(String, String, String)> {
        let list = self.rig.call(&["vm", "list", "-o", "json"]).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let vms = list["items"].as_array().unwrap().iter();
        vms.filter(|vm| vm["level"] != Value::Null || vm["nics"][0]["path"] == "vf")
            .map(|vm| {
                let level = vm["level"].as_str().unwrap_or("-").to_owned();
                (text(&vm["name"]), level, text(&vm["nics"][0]["path"]))
            })
            .collect()
    }

    #[track_caller]
    fn has(&self, expected: &[(&str, &str)]) {
        let found = self.accelerated();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, level)| ((*name).to_owned(), (*level).to_owned(), "vf".to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    /// `(intent, reserve)`, if enabled.
    fn management(&self) -> Option<(String, i64)> {
        let status = self.rig.call(&["status", "-o", "json"]).json();
        let enabled = &status["enabled"];
        let intent = enabled["intent"].as_str()?.to_owned();
        Some((intent, enabled["node_reserve_percentage"].as_i64().unwrap()))
    }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names(text: &str) -> Vec<String> {
    let objects = objects(text);
    let names = objects.iter().map(|object| object["VMName"].as_str());
    names.map(|name| name.unwrap().to_owned()).collect()
}

#[test]
fn the_documentations_lines_do_their_work() {
    let shell = Shell::new();
    let checks = objects(&shell.types("Get-AccelNetManagementPreReq").done());
    assert!(!checks.is_empty());
    for check in &checks {
        assert_eq!(check["Passed"], true, "{check}");
        assert!(!check["Message"].as_str().unwrap().is_empty());
        assert_eq!(check["Adapter"], Value::Null, "nodes only");
    }
    let more = objects(
        &shell
            .types("Get-AccelNetManagementPreReq -IntentName compute")
            .done(),
    );
    assert!(more.iter().any(|check| check["Adapter"] == "pf0"));
    assert_eq!(
        shell.types("Enable-NetAdapterSriov").done().lines().count(),
        1
    );
    let line = "Enable-NetAdapterSriov -Name pf0";
    let adapter = &objects(&shell.types(line).done())[0];
    assert_eq!(
        (&adapter["Enabled"], &adapter["Message"]),
        (&json!(true), &json!("It has 7 VFs."))
    );
    assert_eq!(shell.types("Get-AccelNetManagement").done(), "");

    let enable = "Enable-AccelNetManagement -IntentName \"compute\" -NodeReservePercentage";
    assert_eq!(shell.types(enable).done(), "True\n");
    assert_eq!(shell.management(), Some(("compute".into(), 50)));
    assert_eq!(shell.types("Get-AccelNetManagement").done(), "compute\n");
    let set = "Set-AccelNetManagement -IntentName compute -NodeReservePercentage 10";
    assert_eq!(shell.types(set).done(), "True\n");
    assert_eq!(shell.management(), Some(("compute".into(), 10)));
    assert_eq!(
        shell
            .types("Set-AccelNetManagement -IntentName compute")
            .done(),
        "True\n"
    );
    assert_eq!(shell.management(), Some(("compute".into(), 10)), "it stays");
    shell.types("Set-AccelNetManagement -NodeReserve 0").done();
    assert_eq!(shell.management(), Some(("compute".into(), 0)));

    shell
        .types("Enable-AccelNetVM -VMName \"MyVM01\" -Performance Medium")
        .done();
    shell.has(&[("MyVM01", "Medium")]);
    shell
        .types("Set-AccelNetVM -VMName MyVM01 -Performance Low")
        .done();
    shell.has(&[("MyVM01", "Low")]);
    let line = "Set-AccelNetManagement -VMName MyVM01 -Performance Medium";
    assert_eq!(shell.types(line).done(), "True\n");
    shell.has(&[("MyVM01", "Medium")]);
    let line = "Get-VM -VMName \"MyVM01, MyVM02\" | Enable-AccelNetVM -Performance Low";
    assert_eq!(names(&shell.types(line).done()), ["MyVM01", "MyVM02"]);
    shell.has(&[("MyVM01", "Low"), ("MyVM02", "Low")]);

    let listed = objects(&shell.types("Get-AccelNetVM").done());
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (
            &listed[0]["VMName"],
            &listed[0]["Performance"],
            &listed[0]["Path"]
        ),
        (&json!("MyVM01"), &json!("Low"), &json!("vf"))
    );
    assert_eq!(
        names(&shell.types("Get-AccelNetVM -VMName MyVM02").done()),
        ["MyVM02"]
    );
    let nics = "Get-VM MyVM01 | Get-VMAdaptersConnectedToEnabledIntentSwitch";
    let nics = objects(&shell.types(nics).done());
    assert_eq!(
        (
            &nics[0]["MacAddress"],
            &nics[0]["SwitchName"],
            &nics[0]["Path"]
        ),
        (&json!("02:00:00:00:77:01"), &json!("br0"), &json!("vf"))
    );
    let vfs = objects(&shell.types("Get-NetAdapterSriovVf -Name pf0").done());
    assert_eq!((vfs.len(), &vfs[0]["VMName"]), (7, &json!("MyVM01")));
    assert_eq!(
        objects(&shell.types("Get-NetAdapterSriov").done())[0]["VFsInUse"],
        2
    );
    let status = objects(&shell.types("Get-NetIntentStatus -Name compute").done());
    assert_eq!(
        (&status[0]["Host"], &status[0]["ConfigurationStatus"]),
        (&json!("node1"), &json!("Success"))
    );

    shell.types("Disable-AccelNetVM -VMName MyVM01").done();
    shell.has(&[("MyVM02", "Low")]);
    assert_eq!(
        shell
            .types("Get-VM -VMName 'MyVM02' | Disable-AccelNetVM")
            .done(),
        ""
    );
    shell.has(&[]);
    shell.types("Enable-AccelNetVM MyVM01 Low").done();
    assert_eq!(shell.types("Disable-AccelNetManagement").done(), "");
    assert_eq!(shell.management(), None);
    shell.has(&[("MyVM01", "Low")]);
    assert_eq!(shell.types("Get-AccelNetManagement").done(), "");
}

#[test]
fn parameters_are_bound_as_powershell_does() {
    let shell = Shell::enabled();
    for (line, expected) in [
        (
            "Enable-AccelNetVM MyVM01, MyVM02 Low",
            &["MyVM01", "MyVM02"][..],
        ),
        (
            "Enable-AccelNetVM -VMName MyVM01,MyVM02 -Perf Low",
            &["MyVM01", "MyVM02"],
        ),
        ("Enable-AccelNetVM -perf:LOW -vmn:'web 1'", &["web 1"]),
        (
            "Enable-AccelNetVM -VMName \"web'2\\\"\" -Performance Low -Confirm:$false",
            &["web'2\""],
        ),
        ("Enable-AccelNetVM 'web/3, web 1' Low", &["web 1", "web/3"]),
        (
            "Enable-AccelNetVM 'web*' Low",
            &["web 1", "web'2\"", "web/3"],
        ),
        (
            "Enable-AccelNetVM 00000000-0000-0000-0000-000000000002 Low",
            &["MyVM02"],
        ),
        ("Enable-AccelNetVM -VM MyVM01 -Performance Low", &["MyVM01"]),
        (
            "echo MyVM01 | Enable-AccelNetVM -Performance Low",
            &["MyVM01"],
        ),
        (
            "printf '%s\\n' MyVM01 'web 1' > names; Enable-AccelNetVM -P Low < names",
            &["MyVM01", "web 1"],
        ),
        (
            "Get-VM 'web*' | Get-VMAdaptersConnectedToEnabledIntentSwitch | Enable-AccelNetVM -P Low",
            &["web 1", "web'2\"", "web/3"],
        ),
    ] {
        let out = shell.types(line).done();
        assert_eq!(names(&out).len(), expected.len(), "{line}: {out}");
        let expected: Vec<_> = expected.iter().map(|name| (*name, "Low")).collect();
        shell.has(&expected);
        shell.types("Get-AccelNetVM | Disable-AccelNetVM").done();
        shell.has(&[]);
    }
}

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
        ("Set-AccelNetManagement", 2, "Name an intent or a reserve"),
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
        let expected = if line.contains("seq") { 1000 } else { 1 };
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
    ended.says(&["What if: change the reserve from 50 % to 1 %"]);
    shell.has(&[]);
    let ended = shell.types("Disable-AccelNetManagement -WhatIf").with(0);
    ended.says(&["What if: stop managing"]);
    assert_eq!(shell.management(), Some(("compute".into(), 50)));

    for action in ["SilentlyContinue", "Ignore"] {
        let line = format!("Enable-AccelNetVM nobody, MyVM01 Low -ErrorAction {action}");
        let ended = shell.types(&line).with(7);
        assert_eq!((ended.err.as_str(), names(&ended.out).len()), ("", 1));
        shell.has(&[("MyVM01", "Low")]);
        shell.types("Disable-AccelNetVM MyVM01").done();
    }
    let ended = shell
        .types("Enable-AccelNetVM MyVM01, nobody, noone, MyVM02 Low -ErrorAction Stop")
        .with(7);
    assert_eq!(ended.err.matches("error: ").count(), 1, "{}", ended.err);
    shell.has(&[("MyVM01", "Low")]);
    let ended = shell
        .types("Enable-AccelNetVM nobody, noone, MyVM02 Low")
        .with(7);
    ended.says(&["error: nobody: ", "error: noone: "]);
    shell.has(&[("MyVM01", "Low"), ("MyVM02", "Low")]);
    let ended = shell
        .types("Disable-AccelNetVM MyVM01 -ea Stop -WhatIf:$false")
        .done();
    assert_eq!(ended, "");
    shell.has(&[("MyVM02", "Low")]);
}

#[test]
fn nothing_found_is_not_everything() {
    let shell = Shell::enabled();
    shell.types("Enable-AccelNetVM MyVM01, MyVM02 Low").done();
    let both = [("MyVM01", "Low"), ("MyVM02", "Low")];
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
    let ended = shell.types("set -o pipefail; Get-VM MyVM01, nobody | Disable-AccelNetVM");
    ended.with(7).says(&["error: nobody: "]);
    shell.has(&[("MyVM02", "Low")]);
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
fn another_intent_is_enabled_in_place_of_the_present_one() {
    let shell = Shell::new();
    shell.rig.nodes.sees("node1", |seen| {
        let mut second = seen.adapters[0].clone();
        (second.ifname, second.master) = ("pf1".parse().unwrap(), "br1".parse().ok());
        second.pci = "0000:02:00.0".parse().unwrap();
        for vf in &mut second.vfs {
            vf.pci.bus = 2;
        }
        seen.adapters.push(second);
        let mut bridge = seen.bridges[0].clone();
        bridge.ifname = "br1".parse().unwrap();
        bridge.ports = vec![fixture::port("pf1", None)];
        seen.bridges.push(bridge);
    });
    let add = ["intent", "add", "b", "--bridge", "br1", "--adapter", "pf1"];
    shell.rig.call(&add).done();
    shell.types("Enable-AccelNetManagement compute 10").done();
    shell.types("Enable-AccelNetVM MyVM01 Low").done();
    let ended = shell.types("Enable-AccelNetManagement b").with(3);
    assert_eq!(ended.out, "False\n");
    ended.says(&["[accel_net_enabled_elsewhere]"]);
    let planned = shell
        .rig
        .call(&["set", "--intent", "b", "--dry-run"])
        .done();
    let words = "VM 'MyVM01': NIC 02:00:00:00:77:01 on br0 stays as it is, no longer managed";
    assert!(planned.contains(words), "{planned}");
    assert_eq!(
        shell.types("Set-AccelNetManagement -IntentName b").done(),
        "True\n"
    );
    assert_eq!(shell.management(), Some(("b".into(), 10)));
    shell.has(&[("MyVM01", "Low")]);
    let said = shell
        .rig
        .call(&["set", "--intent", "compute", "--reserve", "0"])
        .done();
    assert!(
        said.contains("VM 'MyVM01'") && said.ends_with("intent 'compute', reserve 0 %.\n"),
        "{said}"
    );
    let same = shell.rig.call(&["set", "--reserve", "0"]).done();
    assert!(same.starts_with("Nothing to change: "), "{same}");
    shell.rig.call(&["set"]).with(2);
}

#[test]
fn states_are_told() {
    let shell = Shell::new();
    shell.rig.nodes.sees("node1", |seen| {
        seen.adapters[0].vfs.clear();
        seen.vms[0].state = VmState::Off;
    });
    let told = &objects(&shell.types("Enable-NetAdapterSriov").done())[0];
    let message = told["Message"].as_str().unwrap();
    assert!(
        message.contains("Enable-AccelNetManagement -IntentName compute"),
        "{message}"
    );
    // It is enabled; what waits is said.
    let ended = shell.types("Enable-AccelNetManagement compute").with(0);
    assert_eq!(ended.out, "True\n");
    ended.says(&["waiting: node1: ", "[vfs_waiting]"]);
    let told = shell.types("Enable-NetAdapterSriov -Name 'pf*'").done();
    assert!(told.contains("as soon as nothing needs its link"), "{told}");
    assert_eq!(
        objects(&shell.types("Get-VM MyVM01").done())[0]["State"],
        "Off"
    );
    shell.rig.nodes.sees("node1", |seen| {
        seen.adapters[0].sriov = SriovSupport::MissingAcs;
        seen.node.kvm = false;
    });
    let ended = shell.types("Enable-NetAdapterSriov").with(3);
    ended.says(&[
        "error: pf0 on node1: ",
        "[sriov_support_missing_acs]",
        "cure: ",
    ]);
    let ended = shell.types("Get-AccelNetManagementPreReq").with(3);
    let failed = objects(&ended.out);
    let failed = failed
        .iter()
        .find(|check| check["Passed"] == false)
        .unwrap();
    assert_eq!(failed["Code"], "accel_net_not_supported");
    let status = &objects(&shell.types("Get-NetIntentStatus").done())[0];
    assert_eq!(status["ConfigurationStatus"], "Failed");
    assert!(
        status["Error"]
            .as_str()
            .unwrap()
            .contains("accel_net_not_supported")
    );
    shell.types("Disable-AccelNetManagement").done();
    let ended = shell
        .types("Get-VMAdaptersConnectedToEnabledIntentSwitch")
        .with(3);
    ended.says(&["[accel_net_not_enabled]"]);
}

#[test]
fn people_read_tables() {
    let shell = Shell::enabled();
    shell.types("Enable-AccelNetVM 'web 1' Low").done();
    // A terminal of its own, from util-linux.
    let ended = shell
        .types("script -qec 'Get-AccelNetVM; Get-AccelNetManagementPreReq' /dev/null < /dev/null");
    let out = ended.with(0).out.replace('\r', "");
    assert!(out.starts_with(" VMNAME  COMPUTERNAME  STATE"), "{out}");
    assert!(
        out.contains(" web 1   node1         Running  Low          vf"),
        "{out}"
    );
    assert!(out.contains(" PASSED ") && out.contains(" True "), "{out}");
}

#[test]
fn cmdlets_are_installed_and_removed() {
    let shell = Shell::new();
    let place = shell.place();
    let again = shell.rig.call(&["cmdlet", "install", &place]).done();
    assert!(
        again.starts_with("Nothing to change: 15 cmdlets"),
        "{again}"
    );
    let file = |name: &str| shell.rig.directory.path().join("cmd lets'").join(name);
    let mode = fs::metadata(file("Get-VM")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 15);
    let list = shell.rig.call(&["cmdlet", "list"]).done();
    for name in list.lines().map(|line| line.split(' ').next().unwrap()) {
        assert!(file(name).exists(), "{name}");
        let help = shell.types(&format!("{name} -?")).done();
        assert!(help.contains("Examples:"), "{help}");
    }
    // It is moved, and so is the program.
    let elsewhere = shell.rig.directory.path().join("elsewhere");
    fs::rename(&place, &elsewhere).unwrap();
    let script = fs::read_to_string(elsewhere.join("Get-VM")).unwrap();
    let moved = script.replace(env!("CARGO_BIN_EXE_accelnet"), "/nowhere/accelnet");
    assert_ne!(script, moved);
    fs::write(elsewhere.join("Get-VM"), moved).unwrap();
    let bin = env!("CARGO_BIN_EXE_accelnet").trim_end_matches("/accelnet");
    let line = format!("PATH='{}:{bin}':$PATH; Get-VM MyVM01", elsewhere.display());
    assert_eq!(names(&shell.types(&line).done()), ["MyVM01"]);

    let elsewhere = elsewhere.to_str().unwrap();
    fs::write(format!("{elsewhere}/mine"), "#!/bin/sh\n").unwrap();
    fs::write(format!("{elsewhere}/Get-VM"), "#!/bin/sh\necho mine\n").unwrap();
    let refused = shell.rig.call(&["cmdlet", "install", elsewhere]).with(2);
    refused.says(&["Get-VM exists and is not ours", "cure: "]);
    let out = shell.rig.call(&["cmdlet", "uninstall", elsewhere]).done();
    assert!(out.starts_with("14 cmdlets are removed"), "{out}");
    let mut left: Vec<_> = fs::read_dir(elsewhere)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["Get-VM", "mine"]);
    for line in [
        ["cmdlet", "uninstall", "/nowhere"],
        ["cmdlet", "install", "/dev/null/x"],
    ] {
        shell.rig.call(&line).with(2).says(&["cure: "]);
    }
    let mut command = program();
    command.args(["cmdlet", "run", "Get-Nothing"]);
    run(command, b"").with(2).says(&["'Get-Nothing'"]);
}
