//! The reference's command lines, typed into bash, and the state after each.

use std::{process::Stdio, time::Duration};

use accelnet_model::{SriovSupport, VmState};
use accelnet_rules::fixture;
use serde_json::{Value, json};

use crate::{
    rig::run,
    shell::{Shell, names, objects},
};

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
    let line = "Enable-NetAdapterSriov -Name PF0";
    let adapter = &objects(&shell.types(line).done())[0];
    assert_eq!(
        (&adapter["Enabled"], &adapter["Message"]),
        (&json!(true), &json!("It has 7 VFs."))
    );
    assert_eq!(shell.types("Get-AccelNetManagement").done(), "");

    let enable = "Enable-AccelNetManagement -IntentName \"compute\" -NodeReservePercentage";
    assert_eq!(shell.types(enable).done(), "True\n");
    assert_eq!(shell.management(), Some(("compute".into(), 50)));
    assert_eq!(shell.types("get-accelnetmanagement").done(), "compute\n");
    let set = "Set-AccelNetManagement -IntentName Compute -NodeReservePercentage 10";
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
    shell.has(&[("MyVM01", "medium")]);
    shell
        .types("set-accelnetvm -vmname myvm01 -performance LOW")
        .done();
    shell.has(&[("MyVM01", "low")]);
    let line = "Set-AccelNetManagement -VMName MyVM01 -Performance Medium";
    assert_eq!(shell.types(line).done(), "True\n");
    shell.has(&[("MyVM01", "medium")]);
    let line = "Get-VM -VMName \"MyVM01, MyVM02\" | Enable-AccelNetVM -Performance Low";
    assert_eq!(names(&shell.types(line).done()), ["MyVM01", "MyVM02"]);
    shell.has(&[("MyVM01", "low"), ("MyVM02", "low")]);

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
    let third = "Get-NetAdapterSriovVf –Name “pf0” -FunctionID 3 -IncludeHidden";
    let third = objects(&shell.types(third).done());
    assert_eq!((third.len(), &third[0]["FunctionID"]), (1, &json!(3)));
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
    shell.has(&[("MyVM02", "low")]);
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
    shell.has(&[("MyVM01", "low")]);
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
        let expected: Vec<_> = expected.iter().map(|name| (*name, "low")).collect();
        shell.has(&expected);
        shell.types("Get-AccelNetVM | Disable-AccelNetVM").done();
        shell.has(&[]);
    }
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
    // It is accelerated on the other intent only, and keeps what it has there: nobody waits for it.
    shell.has(&[("MyVM01", "-")]);
    assert_eq!(shell.types("Get-AccelNetVM").done(), "\n");
    let said = shell.rig.call(&["vm", "disable", "MyVM01"]).done();
    assert!(
        said.contains("NIC 02:00:00:00:77:01 on br0 keeps its VF"),
        "{said}"
    );
    let shown = shell.rig.call(&["vm", "show", "MyVM01"]).done();
    assert!(
        shown.contains("compute (not enabled)  Low     VF"),
        "{shown}"
    );
    let said = shell
        .rig
        .call(&["set", "--intent", "compute", "--reserve", "0"])
        .done();
    shell.has(&[("MyVM01", "low")]);
    assert!(
        said.contains("VM 'MyVM01'")
            && said.ends_with("intent 'compute', reserve 0 % (0 of 1 nodes may be down).\n"),
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
    // A terminal is not read from, but for an answer.
    let line = "script -qec 'Enable-AccelNetVM -Performance Low' /dev/null < /dev/null";
    shell.types(line).with(2).says(&["needs parameter -VMName"]);
    let line = "script -qec 'Disable-AccelNetVM \"web 1\" -Confirm' /dev/null";
    for (answer, left) in [("n\n", &[("web 1", "low")][..]), ("y\n", &[])] {
        let ended = run(shell.command(line), answer.as_bytes()).with(0);
        ended.says(&["Disable-AccelNetVM: are you sure? [y/N]"]);
        shell.has(left);
    }
}

#[test]
fn a_cmdlet_ends_when_what_it_asked_for_is_in_effect() {
    let shell = Shell::enabled();
    let nodes = &shell.rig.nodes;
    for (line, left) in [
        ("Enable-AccelNetVM MyVM01 Low", &[("MyVM01", "low")][..]),
        ("Disable-AccelNetVM MyVM01", &[]),
    ] {
        let (asked, was_asked) = std::sync::mpsc::channel();
        nodes.idle("node1", true);
        nodes.sees_meanwhile("node1", move |_| asked.send(()).unwrap());
        let mut command = shell.command(line);
        let mut typed = command.stdout(Stdio::null()).spawn().unwrap();
        was_asked.recv_timeout(Duration::from_secs(60)).unwrap();
        // Other commands come and go meanwhile; one that does not wait would be gone too.
        for _ in 0..20 {
            let vm = shell.rig.call(&["vm", "show", "MyVM01", "-o", "json"]);
            assert_eq!(vm.json()["pending"], true);
        }
        assert!(typed.try_wait().unwrap().is_none(), "it waits");
        nodes.idle("node1", false);
        assert!(typed.wait().unwrap().success());
        shell.has(left);
    }
}
