//! What people read, of every verb.

use accelnet_model::{Counted, Counters, Interrupts, NicCounted};
use accelnet_rules::fixture;

use crate::rig::{Rig, assert_printable};

#[test]
fn from_nothing_to_an_accelerated_vm_and_back() {
    let rig = Rig::bare();
    let call = |line: &str| rig.call(&line.split(' ').collect::<Vec<_>>()).done();
    assert_eq!(
        call("status"),
        "Accelerated networking is not enabled.
 NODE   STATE  VFS  USED  VMS  ACCELERATED
 node1  ready  0    0     2    0
"
    );
    assert_eq!(
        call("intent list"),
        " NAME  TYPES  BRIDGE  ADAPTERS  VFS  STATUS\n"
    );
    let add = "intent add compute --bridge br0 --adapter pf0";
    assert_eq!(
        call(&format!("{add} --dry-run")),
        "This would be done (nothing was changed):
  1. adopt intent 'compute' with bridge br0, adapters pf0, type compute, VFs auto
"
    );
    assert_eq!(call(add), "Intent 'compute' is there.\n");
    assert_eq!(call(add), "Nothing to change: Intent 'compute' is there.\n");
    let intent = " NAME     TYPES    BRIDGE  ADAPTERS  VFS   STATUS
 compute  compute  br0     pf0       auto  Success
";
    assert_eq!(call("intent list"), intent);
    let nodes = "\n NODE   STATE    PROBLEM\n node1  Success  -\n";
    assert_eq!(call("intent show compute"), format!("{intent}{nodes}"));
    assert_eq!(
        call("intent set compute --type compute,management"),
        "Intent 'compute' is changed.\n"
    );
    assert_eq!(
        call("intent set compute --type compute,management"),
        "Nothing to change: Intent 'compute' is changed.\n"
    );
    call("intent set compute --type compute");
    let planned = call("enable --dry-run");
    assert!(
        planned.starts_with(
            "This would be done (nothing was changed):\n  1. node1: pf0 has its 7 VFs"
        ),
        "{planned}"
    );
    assert_eq!(
        call("enable"),
        "Accelerated networking is enabled on intent 'compute', reserve 50 % (0 of 1 nodes may be down).\n"
    );
    assert_eq!(
        call("enable"),
        "Nothing to change: Accelerated networking is enabled on intent 'compute', reserve 50 % (0 of 1 nodes may be down).\n"
    );

    let planned = call("vm enable vm1 -p Low --dry-run");
    assert!(
        planned.starts_with("vm1: this would be done (nothing was changed):\n  1. NIC 02:"),
        "{planned}"
    );
    assert_eq!(call("vm enable vm1 -p Low"), "vm1: accelerated, Low.\n");
    assert_eq!(call("vm set vm1 -p medium"), "vm1: accelerated, Medium.\n");
    assert_eq!(
        call("vm list"),
        " NAME  NODE   STATE    WANTED  PATH       NOTE
 vm1   node1  running  Medium  VF
 vm2   node1  running  -       synthetic
"
    );
    let facts = fixture::vm(1);
    let counted = NicCounted {
        vm: facts.uuid,
        mac: facts.nics[0].mac,
        software: Some(Counted::Counted(Counters {
            rx_packets: 12,
            tx_packets: 3,
            rx_bytes: 1536,
            tx_bytes: 200,
            rx_dropped: Some(0),
            tx_dropped: Some(0),
            ..Counters::default()
        })),
        vf: Some(Counted::NotCounted {
            driver: "igb".into(),
        }),
        pci: Some("0000:01:10.0".parse().unwrap()),
        interrupts: Some(Interrupts {
            vectors: 3,
            fired: 70,
        }),
    };
    rig.nodes.counts("node1", vec![counted]);
    assert_eq!(
        call("vm show vm1"),
        "vm1 (00000000-0000-0000-0000-000000000001)
  node: node1  state: running  vCPUs: 2  wanted: Medium
 NIC                BRIDGE  INTENT   WANTED  PATH  ADAPTER  VF            QUEUE PAIRS   REASON
 02:00:00:00:77:01  br0     compute  Medium  VF    pf0      0000:01:10.0  2 (1 in use)
 NIC                PATH  SINCE  CHANGES IN 1 H  BY ITS VF           INTERRUPTS         BY THE SWITCH
 02:00:00:00:77:01  VF    -      0               not counted by igb  3, fired 70 times  received 12 (1.5 KiB), sent 3 (200 B), none dropped
staged for the next cold start: NIC 02:00:00:00:77:01 has 2 queues on the software path (1 now)
"
    );
    assert_eq!(
        call("status"),
        "Accelerated networking is enabled on intent 'compute', reserve 50 % (0 of 1 nodes may be down).
 NODE   STATE  VFS  USED  VMS  ACCELERATED
 node1  ready  7    1     2    1
"
    );
    assert_eq!(
        call("adapter list"),
        " ADAPTER  NODE   INTENT   PCI           DRIVER  LINK  SR-IOV     VFS  USED  LEVELS
 pf0      node1  compute  0000:01:00.0  igb     up    Supported  7/7  1     Low,Medium
"
    );
    let shown = call("adapter show pf0");
    assert!(
        shown.contains("pf0 on node1") && shown.contains("qemu-system-x86 (pid 100)"),
        "{shown}"
    );
    assert_eq!(call("vm disable vm1"), "vm1: on the software path.\n");
    assert_eq!(
        call("vm prepare vm1"),
        "vm1: staged for its next cold start: NIC 02:00:00:00:77:01 has 2 queues on the software path (1 now)\n"
    );
    assert_eq!(call("disable --dry-run").lines().count(), 2);
    assert_eq!(call("disable"), "Accelerated networking is not enabled.\n");
    assert_eq!(
        call("disable"),
        "Nothing to change: Accelerated networking is not enabled.\n"
    );
    assert_eq!(
        call("intent remove compute"),
        "Intent 'compute' is removed.\n"
    );
}

#[test]
fn checks_name_what_was_found_with_cause_and_cure() {
    let rig = Rig::bare();
    let ended = rig.call(&["prereq"]).with(0);
    ended.says(&["CHECK", "iommu", "node1", "passed"]);
    rig.nodes.sees("node1", |seen| seen.node.iommu = false);
    let ended = rig.call(&["prereq"]).with(3);
    ended.says(&[
        "FAILED",
        "error: The IOMMU is off or missing. [sriov_support_no_iommu]",
        "why:  Node 'node1': there are no IOMMU groups.",
        "cure: Turn on VT-d",
    ]);
    rig.call(&["prereq", "--intent", "nobody"])
        .with(4)
        .says(&["'nobody'", "cure: "]);
}

#[test]
fn status_shows_what_is_wrong_with_a_node_and_its_cure() {
    let rig = Rig::enabled(|seen| seen.adapters[0].vfs.clear());
    let ended = rig.call(&["status"]).with(0);
    ended.says(&[
        "error: node1: The VFs do not exist yet",
        "[vfs_waiting]",
        "why:  pf0 needs 7 VFs",
        "cure: Restart the node",
    ]);
    rig.nodes.silent("node1", true);
    // It is found by asking.
    rig.call(&["prereq"]).with(3);
    rig.call(&["status"]).with(0).says(&[
        "unreachable",
        "error: node1: The node's agent",
        "cure: Check",
    ]);
}

#[test]
fn names_that_drive_terminals_are_shown_as_what_they_are() {
    let nasty = "a\u{1b}[31m\u{9b}2J\n\u{202e}b";
    let rig = Rig::enabled(|seen| {
        seen.vms[0].name = nasty.into();
        seen.vms[1].vcpus = 1;
        seen.vms[1].nics[0].model = "e\u{1b}]0;x\u{7}".into();
    });
    let uuid = fixture::vm(1).uuid.to_string();
    let other = fixture::vm(2).uuid.to_string();
    for format in ["table", "json", "yaml"] {
        for (line, code) in [
            (&["vm", "list"][..], 0),
            (&["vm", "show", &uuid], 0),
            (&["vm", "show", nasty], 0),
            (&["vm", "show", "x\u{1b}[2J"], 4),
            (&["vm", "enable", &uuid, "--dry-run"], 0),
            (&["vm", "enable", &uuid], 0),
            (&["vm", "enable", &other], 3),
            (&["vm", "enable", "x\u{1b}[2J"], 4),
            (&["vm", "disable", "*"], 0),
            (&["adapter", "list"], 0),
            (&["adapter", "show", "\u{1b}[2J"], 4),
            (&["intent", "show", "\u{1b}[2J"], 4),
            (&["intent", "remove", "\u{1b}[2J"], 4),
            (&["explain", "\u{1b}[2J"], 2),
            (&["vm", "enable", "x", "-p", "\u{1b}[2J\u{9b}"], 2),
            (&["\u{1b}[2J"], 2),
            (&["enable", "--intent", "\u{1b}[2J"], 4),
            (&["prereq", "--intent", "\u{1b}[2J"], 4),
            (&["status", "--socket", "/\u{1b}[2J"], 6),
        ] {
            let mut all = vec!["-o", format];
            all.extend(line);
            let ended = rig.call(&all).with(code);
            assert_printable(&ended.out);
            assert_printable(&ended.err);
        }
    }
    let list = rig.call(&["vm", "list", "-o", "json"]).json();
    assert_eq!(
        list["items"][0]["name"], nasty,
        "programs get the name itself"
    );
}
