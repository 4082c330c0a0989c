//! The command lines of the reference's documentation, typed into bash on a node, and what each does to
//! the real state: libvirt's, the kernel's and the guest's.

use accelnet_lab::lab::{Guest, guests::Shape};
use serde_json::Value;

use crate::{
    document::Document,
    joined,
    rig::{Rig, Run},
    story::PRIMARY,
};

const VMS: [&str; 2] = ["MyVM01", "MyVM02"];

/// Two VMs with the documentation's names, and the cmdlets on the path.
pub fn machines(rig: &mut Rig) {
    for (name, host) in VMS.into_iter().zip(101..) {
        let guest = Guest {
            name: name.into(),
            node: "node1".into(),
            host,
            mac: format!("52:54:00:77:00:{host:02x}"),
        };
        rig.lab
            .define(guest, &Shape::default(), false, false)
            .unwrap();
    }
    install_cmdlets(rig);
}

/// The cmdlets, where [`types`] finds them.
pub fn install_cmdlets(rig: &Rig) {
    rig.node(INSTALL);
}

const INSTALL: &str = "accelnet cmdlet install /root/cmdlets";
/// Below this a shell finds them.
const SHELL: &str = "export PATH=/root/cmdlets:/usr/bin:/bin; ";

/// Types a line.
pub fn types(rig: &Rig, line: &str) -> Run {
    types_on(rig, "node1", line)
}

fn types_on(rig: &Rig, node: &str, line: &str) -> Run {
    rig.command_on(node, &["bash", "-c", &format!("{SHELL}{line}")])
}

/// Types a line that must succeed; what it prints.
#[track_caller]
fn done(rig: &Rig, line: &str) -> String {
    done_on(rig, "node1", line)
}

#[track_caller]
fn done_on(rig: &Rig, node: &str, line: &str) -> String {
    let run = types_on(rig, node, line);
    assert_eq!(run.code, 0, "{node}: {line}: {run:?}");
    run.out
}

/// The page of the cmdlets, line by line, on what the guides have left: vm1 and vm2 are running, db1 is off.
pub fn page(rig: &mut Rig) {
    rig.json(&["vm", "disable", "db1"]);
    rig.json(&["vm", "unpark", "vm2"]);
    install_cmdlets(rig);
    let mut page = Document::open("docs/reference/cmdlets.md")
        .on("node1", SHELL)
        .with("compute2", "compute")
        .with("MyVM0", "vm");
    for line in [
        "Get-AccelNetManagementPreReq",
        "Get-AccelNetManagementPreReq -IntentName compute",
    ] {
        let checks = objects(&page.done(rig, line));
        assert!(
            checks.iter().all(|check| check["Passed"] == true),
            "{checks:?}"
        );
    }
    let reserve = |rig: &Rig| management(rig).unwrap().1;
    for (line, expected) in [
        (
            "Enable-AccelNetManagement -IntentName compute -NodeReservePercentage 50",
            50,
        ),
        (
            "Enable-AccelNetManagement -IntentName compute -NodeReservePercentage",
            50,
        ),
        ("Enable-AccelNetManagement compute 25 -WhatIf", 50),
        (
            "Set-AccelNetManagement -IntentName compute2 -NodeReservePercentage 25",
            25,
        ),
        ("Set-AccelNetManagement -NodeReservePercentage 10", 10),
    ] {
        page.done(rig, line);
        assert_eq!(reserve(rig), expected, "{line}");
    }
    rig.json(&["vm", "enable", "vm1", "-p", "Low"]);
    let level = |rig: &Rig, vm: &str| rig.vm(vm)["level"].as_str().map(str::to_owned);
    page.refused(
        rig,
        "Set-AccelNetManagement -VMName MyVM01 -Performance High",
    );
    assert_eq!(page.done(rig, "Get-AccelNetManagement"), "compute\n");
    page.done(rig, "Disable-AccelNetManagement");
    assert_eq!(management(rig), None);
    rig.json(&["enable", "--intent", "compute"]);
    page.done(rig, "Disable-AccelNetManagement -Confirm:$false");
    assert_eq!(management(rig), None);
    rig.json(&["enable", "--intent", "compute"]);
    page.done(rig, "Enable-AccelNetVM -VMName MyVM01 -Performance Medium");
    assert_eq!(level(rig, "vm1").as_deref(), Some("medium"));
    page.refused(rig, "Enable-AccelNetVM MyVM01, MyVM02 High");
    page.done(rig, "Enable-AccelNetVM MyVM01 Low -AddAdapter");
    assert_eq!(level(rig, "vm1").as_deref(), Some("low"));
    let both = "Get-VM -VMName \"MyVM01, MyVM02\"";
    page.done(rig, &format!("{both} | Enable-AccelNetVM -Performance Low"));
    assert_eq!(level(rig, "vm2").as_deref(), Some("low"));
    page.refused(rig, "Set-AccelNetVM -VMName MyVM01 -Performance High");
    rig.json(&["vm", "set", "vm2", "-p", "Medium"]);
    page.done(rig, "Get-AccelNetVM | Set-AccelNetVM -Performance Low");
    assert_eq!(level(rig, "vm2").as_deref(), Some("low"));
    page.done(rig, "Disable-AccelNetVM -VMName MyVM01");
    assert_eq!(
        (level(rig, "vm1"), level(rig, "vm2").as_deref()),
        (None, Some("low"))
    );
    page.done(rig, &format!("{both} | Disable-AccelNetVM"));
    assert_eq!(level(rig, "vm2"), None);
    rig.json(&["vm", "enable", "vm1", "-p", "Low"]);
    rig.until_path("vm1", "vf", 60);
    // Each tells of so many: VMs, NICs, adapters, VFs, intents.
    for (line, count) in [
        ("Get-AccelNetVM", 1),
        ("Get-AccelNetVM -VMName MyVM01", 1),
        (
            "Get-VMAdaptersConnectedToEnabledIntentSwitch -VMName MyVM01",
            1,
        ),
        (
            "Get-VM -VMName MyVM01 | Get-VMAdaptersConnectedToEnabledIntentSwitch",
            1,
        ),
        (
            "Get-VM",
            rig.json(&["vm", "list"])["items"].as_array().unwrap().len(),
        ),
        (both, 2),
        ("Get-VM 'web*'", 2),
        ("Enable-NetAdapterSriov", 1),
        ("Enable-NetAdapterSriov -Name eth2", 1),
        (
            "Get-NetAdapterSriov",
            rig.json(&["adapter", "list"])["items"]
                .as_array()
                .unwrap()
                .len(),
        ),
        ("Get-NetAdapterSriov -Name eth2", 1),
        ("Get-NetAdapterSriovVf", 7),
        ("Get-NetAdapterSriovVf -Name eth2", 7),
        ("Get-NetAdapterSriovVf -Name eth2 -FunctionID 3", 1),
        ("Get-NetIntentStatus", 1),
        ("Get-NetIntentStatus -Name compute", 1),
    ] {
        let found = objects(&page.done(rig, line));
        assert_eq!(found.len(), count, "{line}: {found:?}");
    }
    page.ends();
}

fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Who has which level, really: what is wanted, the device in libvirt's live definition, the address on
/// the VF as the kernel's own tool shows it, and the guest's interface all say the same.
#[track_caller]
fn has(rig: &Rig, expected: &[(&str, &str)]) {
    // What a VM has given back is cleaned a moment after the VM is where it shall be.
    let used = format!(
        "[ $(ip link show pf0 | grep 'vf [0-9]' | grep -vc 'link/ether 00:00:00:00:00:00') = {} ]",
        expected.len()
    );
    rig.until(10, &used);
    let vfs = rig.vfs("pf0");
    for name in VMS {
        let level = expected
            .iter()
            .find(|(vm, _)| *vm == name)
            .map(|(_, level)| *level);
        let vm = rig.vm(name);
        let level = level.map(str::to_lowercase);
        assert_eq!(vm["level"].as_str(), level.as_deref(), "{vm}");
        let path = if level.is_some() { "vf" } else { "synthetic" };
        assert_eq!(vm["nics"][0]["path"], path, "{vm}");
        let devices = rig.node(&format!(
            "virsh dumpxml {name} | grep -c '<hostdev' || true"
        ));
        let count = usize::from(level.is_some());
        assert_eq!(devices.trim(), count.to_string(), "{name} in libvirt");
        let with_its_address = vfs
            .iter()
            .filter(|vf| vf["address"] == vm["nics"][0]["mac"]);
        assert_eq!(
            with_its_address.count(),
            count,
            "{name} in the kernel: {vfs:?}"
        );
        let primary = rig.guest(name, PRIMARY);
        assert_eq!(
            !primary.trim().is_empty(),
            level.is_some(),
            "{name}'s own view"
        );
        let report = rig.lab.probe(name, 1.0, 50).unwrap();
        assert_eq!(report.lost, 0, "{name}: {report:?}");
    }
    let clean = vfs
        .iter()
        .filter(|vf| vf["address"] == "00:00:00:00:00:00")
        .count();
    assert_eq!(clean, vfs.len() - expected.len(), "{vfs:?}");
}

/// Intent and reserve that acceleration is enabled with.
fn management(rig: &Rig) -> Option<(String, i64)> {
    let status = rig.json(&["status"]);
    let enabled = &status["enabled"];
    let intent = enabled["intent"].as_str()?.to_owned();
    Some((intent, enabled["node_reserve_percentage"].as_i64().unwrap()))
}

/// Checks, adapters, and the cluster.
pub fn set_up(rig: &mut Rig) {
    for line in [
        "Get-AccelNetManagementPreReq",
        "Get-AccelNetManagementPreReq -IntentName compute",
    ] {
        let checks = objects(&done(rig, line));
        assert!(!checks.is_empty(), "{line}");
        for check in &checks {
            assert_eq!(check["Passed"], true, "{check}");
            assert!(!check["Message"].as_str().unwrap().is_empty(), "{check}");
        }
    }
    done(rig, "Enable-NetAdapterSriov");
    let adapter = &objects(&done(rig, "Enable-NetAdapterSriov -Name pf0"))[0];
    assert_eq!(adapter["SriovSupport"], "Supported", "{adapter}");
    assert_eq!(done(rig, "Get-AccelNetManagement"), "");

    // The omitted value means the default.
    let line = "Enable-AccelNetManagement -IntentName \"compute\" -NodeReservePercentage";
    assert_eq!(done(rig, line), "True\n");
    assert_eq!(management(rig), Some(("compute".into(), 50)));
    assert_eq!(done(rig, "Get-AccelNetManagement"), "compute\n");
    // The link is in use, so its VFs wait for a word of the administrator.
    rig.json(&["enable", "--intent", "compute", "--when", "now"]);
    let made = rig.node("cat /sys/class/net/pf0/device/sriov_numvfs");
    assert_eq!(made.trim(), "2");
    for (line, reserve) in [
        (
            "Set-AccelNetManagement -IntentName \"compute\" -NodeReservePercentage 25",
            25,
        ),
        ("Set-AccelNetManagement -IntentName \"compute\"", 25),
        ("Set-AccelNetManagement -nodereserve 0", 0),
    ] {
        assert_eq!(done(rig, line), "True\n", "{line}");
        assert_eq!(management(rig), Some(("compute".into(), reserve)), "{line}");
    }
    for line in [
        "Set-AccelNetManagement -NodeReservePercentage 100",
        "Set-AccelNetManagement -IntentName nonsense",
        "Enable-AccelNetVM -VMName nobody -Performance Low",
        "Enable-AccelNetVM -VMName MyVM01 -Performance Fast",
        "Enable-AccelNetVM -VMName MyVM01 -Performance High",
    ] {
        let run = types(rig, line);
        assert!(
            run.code != 0 && run.err.contains("cure: "),
            "{line}: {run:?}"
        );
        assert_eq!(management(rig), Some(("compute".into(), 0)), "{line}");
    }
    has(rig, &[]);
}

/// A VM gets a VF, another level, and the documentation's odd line.
pub fn one_vm(rig: &mut Rig) {
    let run = types(
        rig,
        "Enable-AccelNetVM -VMName \"MyVM01\" -Performance Medium -WhatIf",
    );
    assert!(
        run.code == 0 && run.err.contains("What if: MyVM01"),
        "{run:?}"
    );
    has(rig, &[]);
    for (line, level) in [
        (
            "Enable-AccelNetVM -VMName \"MyVM01\" -Performance Medium",
            "Medium",
        ),
        ("Set-AccelNetVM -VMName \"MyVM01\" -Performance Low", "Low"),
        (
            "Set-AccelNetManagement -VMName \"MyVM01\" -Performance Medium",
            "Medium",
        ),
    ] {
        done(rig, line);
        has(rig, &[("MyVM01", level)]);
    }
}

/// One quoted string that names two VMs, in a pipe.
pub fn several_vms(rig: &mut Rig) {
    let line = "Get-VM -VMName \"MyVM01, MyVM02\" | Enable-AccelNetVM -Performance Low";
    let names: Vec<_> = objects(&done(rig, line))
        .iter()
        .map(|vm| vm["VMName"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, VMS);
    has(rig, &[("MyVM01", "Low"), ("MyVM02", "Low")]);
    // Both VFs are taken now.
    let shape = Shape::default();
    rig.odd_vm(
        "MyVM03",
        203,
        &shape,
        "virsh -q define MyVM03.xml; virsh -q start MyVM03",
    );
    let run = types(
        rig,
        "Enable-AccelNetVM -VMName MyVM03 -Performance Low -ErrorAction Stop",
    );
    assert!(run.code != 0 && run.err.contains("no_free_vf"), "{run:?}");
    rig.node("virsh -q destroy MyVM03; virsh -q undefine MyVM03");
    has(rig, &[("MyVM01", "Low"), ("MyVM02", "Low")]);
}

/// What the cmdlets tell is what is.
pub fn shown(rig: &mut Rig) {
    let listed = objects(&done(rig, "Get-AccelNetVM"));
    assert_eq!(listed.len(), 2);
    for vm in &listed {
        assert_eq!(
            (&vm["Performance"], &vm["Path"]),
            (&"Low".into(), &"vf".into()),
            "{vm}"
        );
    }
    assert_eq!(
        objects(&done(rig, "Get-AccelNetVM -VMName MyVM02")).len(),
        1
    );
    let line = "Get-VM -VMName MyVM01 | Get-VMAdaptersConnectedToEnabledIntentSwitch";
    let nics = objects(&done(rig, line));
    assert_eq!(nics.len(), 1);
    let facts = (
        &nics[0]["MacAddress"],
        &nics[0]["SwitchName"],
        &nics[0]["Path"],
    );
    let wanted = ("52:54:00:77:00:65".into(), "br0".into(), "vf".into());
    assert_eq!(facts, (&wanted.0, &wanted.1, &wanted.2));
    let vfs = objects(&done(rig, "Get-NetAdapterSriovVf -Name pf0"));
    let users: Vec<_> = vfs.iter().map(|vf| &vf["VMName"]).collect();
    assert!(
        users.contains(&&"MyVM01".into()) && users.contains(&&"MyVM02".into()),
        "{vfs:?}"
    );
    assert_eq!(
        objects(&done(rig, "Get-NetAdapterSriov -Name pf0"))[0]["VFsInUse"],
        2
    );
    let status = objects(&done(rig, "Get-NetIntentStatus -Name compute"));
    assert_eq!(status[0]["ConfigurationStatus"], "Success", "{status:?}");
}

/// VMs come back to the switch; management ends and leaves them as they are; a later enable adopts them.
pub fn taken_back(rig: &mut Rig) {
    done(rig, "Disable-AccelNetVM -VMName \"MyVM01\" -Confirm:$false");
    has(rig, &[("MyVM02", "Low")]);
    done(rig, "Get-VM -VMName \"MyVM02\" | Disable-AccelNetVM");
    has(rig, &[]);
    done(rig, "Enable-AccelNetVM MyVM01 Low");
    done(rig, "Disable-AccelNetManagement -Confirm:$false");
    assert_eq!(management(rig), None);
    assert_eq!(done(rig, "Get-AccelNetManagement"), "");
    has(rig, &[("MyVM01", "Low")]);
    done(rig, "Enable-AccelNetManagement compute 50");
    has(rig, &[("MyVM01", "Low")]);
    done(
        rig,
        "Get-VM | Disable-AccelNetVM -ErrorAction SilentlyContinue",
    );
    has(rig, &[]);
}

/// In a cluster they do the same on whichever node they are typed; also for a VM of another, and as another sees it.
pub fn on_each_node(rig: &mut Rig) {
    for node in NODES {
        rig.on(node, INSTALL);
    }
    for (number, node) in NODES.into_iter().enumerate() {
        let other = NODES[(number + 1) % NODES.len()];
        let vm = format!("vm{}", (number + 2) % NODES.len() + 1);
        let its_node = rig.lab.guest(&vm).unwrap().node.clone();
        assert_ne!(its_node, node);
        for line in [
            "Get-AccelNetManagementPreReq",
            "Get-AccelNetManagementPreReq -IntentName compute",
        ] {
            let checks = objects(&done_on(rig, node, line));
            assert!(!checks.is_empty(), "{line}");
            assert!(
                checks.iter().all(|check| check["Passed"] == true),
                "{checks:?}"
            );
        }
        assert_eq!(done_on(rig, node, "Get-AccelNetManagement"), "compute\n");
        let reserve = 10 + number;
        let line = format!(
            "Set-AccelNetManagement -IntentName \"compute\" -NodeReservePercentage {reserve}"
        );
        assert_eq!(done_on(rig, node, &line), "True\n");
        let line = "Disable-AccelNetManagement -Confirm:$false";
        done_on(rig, node, line);
        assert_eq!(done_on(rig, other, "Get-AccelNetManagement"), "");
        // The omitted value means the default.
        let line = "Enable-AccelNetManagement -IntentName \"compute\" -NodeReservePercentage";
        assert_eq!(done_on(rig, node, line), "True\n");
        done_on(rig, node, "Enable-NetAdapterSriov -Name pf0");
        let status = joined::on(rig, other, "status");
        assert_eq!(status["enabled"]["node_reserve_percentage"], 50, "{status}");
        let line = format!("Enable-AccelNetManagement \"compute\" {reserve}");
        assert_eq!(done_on(rig, node, &line), "True\n");
        let status = joined::on(rig, other, "status");
        assert_eq!(
            status["enabled"]["node_reserve_percentage"], reserve,
            "{status}"
        );

        done_on(
            rig,
            node,
            &format!("Disable-AccelNetVM -VMName \"{vm}\" -Confirm:$false"),
        );
        is_on(rig, (&vm, &its_node), other, None);
        done_on(
            rig,
            node,
            &format!("Get-VM -VMName \"{vm}\" | Enable-AccelNetVM -Performance Medium"),
        );
        is_on(rig, (&vm, &its_node), other, Some("medium"));
        done_on(
            rig,
            node,
            &format!("Set-AccelNetVM -VMName \"{vm}\" -Performance Low"),
        );
        is_on(rig, (&vm, &its_node), other, Some("low"));
        // The documentation's odd line.
        done_on(
            rig,
            node,
            &format!("Set-AccelNetManagement -VMName \"{vm}\" -Performance Medium"),
        );
        is_on(rig, (&vm, &its_node), other, Some("medium"));
        // Several in a pipe, named by one quoted string.
        let line = "Get-VM -VMName \"vm1, vm2, vm3\" | Enable-AccelNetVM -Performance Low";
        done_on(rig, node, line);
        is_on(rig, (&vm, &its_node), other, Some("low"));

        let listed = objects(&done_on(rig, node, "Get-AccelNetVM"));
        assert_eq!(listed.len(), NODES.len(), "{listed:?}");
        let line = format!("Get-VM -VMName {vm} | Get-VMAdaptersConnectedToEnabledIntentSwitch");
        let nics = objects(&done_on(rig, node, &line));
        assert_eq!((nics.len(), &nics[0]["Path"]), (1, &"vf".into()));
        let adapters = objects(&done_on(rig, node, "Get-NetAdapterSriov -Name pf0"));
        assert_eq!(adapters.len(), NODES.len(), "{adapters:?}");
        let vfs = objects(&done_on(rig, node, "Get-NetAdapterSriovVf -Name pf0"));
        let used = vfs.iter().filter(|vf| vf["VMName"].is_string()).count();
        assert_eq!(used, NODES.len(), "{vfs:?}");
        let status = objects(&done_on(rig, node, "Get-NetIntentStatus -Name compute"));
        assert!(
            status
                .iter()
                .all(|of| of["ConfigurationStatus"] == "Success"),
            "{status:?}"
        );
    }
    rig.node("accelnet set --reserve 50 > /dev/null");
}

const NODES: [&str; 3] = ["node1", "node2", "node3"];

/// The VM has that level as another node shows it, and is on a VF if it has one, as its node's libvirt and its guest
/// see it.
#[track_caller]
fn is_on(rig: &Rig, (vm, node): (&str, &str), seen_from: &str, level: Option<&str>) {
    let shown = joined::on(rig, seen_from, &format!("vm show {vm}"));
    let path = level.map_or("synthetic", |_| "vf");
    assert_eq!(
        (shown["level"].as_str(), &shown["nics"][0]["path"]),
        (level, &path.into()),
        "{shown}"
    );
    let devices = rig.on(
        node,
        &format!("virsh dumpxml {vm} | grep -c '<hostdev' || true"),
    );
    assert_eq!(devices.trim(), usize::from(level.is_some()).to_string());
    let primary = rig.guest(vm, PRIMARY);
    assert_eq!(!primary.trim().is_empty(), level.is_some(), "{vm}");
}
