//! `--add-adapter`: VMs that have no NIC on the intent's bridge get one.

use accelnet_model::VmState;

use crate::{rig::Rig, shell::Shell};

#[test]
fn a_nic_is_added_and_staged_as_there_is_room() {
    let rig = Rig::enabled(|seen| {
        for vm in &mut seen.vms {
            vm.nics.clear();
        }
        seen.vms[1].free_root_ports_live = 1;
    });
    let refused = rig.call(&["vm", "enable", "vm1"]).with(3);
    refused.says(&[
        "[get_network_adapter_failed]",
        "cure: Give the VM a virtio NIC on the intent's bridge, or let accelnet do it",
        "--add-adapter",
    ]);
    let line = ["vm", "enable", "vm1", "vm2", "--add-adapter", "-p", "Low"];
    let planned = rig.call(&[&line[..], &["--dry-run"]].concat()).done();
    assert!(
        planned.contains("to the running VM and to its definition"),
        "{planned}"
    );
    assert!(
        planned.contains("from its next cold start on, as it has 1 free"),
        "{planned}"
    );
    assert_eq!(rig.nodes.seen("node1").vms[0].nics.len(), 0);

    let out = rig.call(&line).done();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "vm1: accelerated, Low.");
    assert!(
        lines[1].starts_with("vm2: staged for its next cold start: NIC 52:54:00:"),
        "{out}"
    );
    assert!(
        lines[1].ends_with(" on br0; it is accelerated then, Low."),
        "{out}"
    );
    // The same again is no change, and no failure.
    assert_eq!(rig.call(&line).done(), out);
    let shown = rig.call(&["vm", "show", "vm2"]).done();
    assert!(
        shown.contains("staged for the next cold start: NIC 52:54:00:"),
        "{shown}"
    );
    rig.call(&["vm", "enable", "nobody", "--add-adapter"])
        .with(4);
}

#[test]
fn the_cmdlet_has_a_switch_for_it() {
    let shell = Shell::new();
    shell.rig.nodes.sees("node1", |seen| {
        seen.vms[0].nics.clear();
        seen.vms[1].nics.clear();
        seen.vms[1].state = VmState::Off;
    });
    shell.types("Enable-AccelNetManagement compute").with(0);
    shell.types("Enable-AccelNetVM MyVM01 Low").with(3);
    shell
        .types("Enable-AccelNetVM MyVM01 Low -AddAdapter:$false")
        .with(3);
    shell
        .types("Enable-AccelNetVM MyVM01 Low -WhatIf -AddAdapter")
        .with(0);
    assert_eq!(shell.accelerated(), []);
    shell
        .types("Enable-AccelNetVM MyVM01 Low -AddAdapter")
        .with(0);
    shell.has(&[("MyVM01", "low")]);
    shell
        .types("Get-VM MyVM02 | Enable-AccelNetVM -Performance Low -AddA")
        .with(0);
    let off = &shell.accelerated()[1];
    assert_eq!((off.1.as_str(), off.2.as_str()), ("low", "none"));
}
