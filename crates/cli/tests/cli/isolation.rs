//! Adapters that are taken out of the pool, and let back.

use accelnet_rules::fixture;
use accelnet_server::fake::FakeNodes;

use crate::rig::Rig;

/// One node whose uplink is a bond of `pf0` and `pf1`, which uses `pf0`.
fn bonded() -> Rig {
    let nodes = FakeNodes::new([("node1", fixture::bonded())]);
    let rig = Rig::of(nodes);
    let line = "intent add compute --bridge br0 --adapter pf0 --adapter pf1";
    for line in [line, "enable --intent compute --reserve 0"] {
        rig.call(&line.split(' ').collect::<Vec<_>>()).done();
    }
    rig
}

#[test]
fn out_of_the_pool_and_back() {
    let rig = bonded();
    let words = |line: &'static str| -> Vec<&'static str> { line.split(' ').collect() };
    let call = |line| rig.call(&words(line)).done();
    let ended = rig.call(&words("adapter isolate pf0 -o json")).with(3);
    assert_eq!(ended.problem_codes(), ["adapter_not_spared"]);
    ended.says(&["bond0 uses it now"]);
    let planned = call("adapter isolate pf1 --dry-run");
    assert!(
        planned.contains("none of the VFs of 'pf1' on 'node1' is given out any more"),
        "{planned}"
    );
    assert!(!call("adapter list").contains("isolated"));
    let done = call("adapter isolate pf1 --because cable");
    assert!(
        done.contains("until 'accelnet adapter release pf1 --node node1'"),
        "{done}"
    );
    // What is asked for twice is there.
    call("adapter isolate pf1");
    assert!(call("adapter list").contains("up, isolated"));
    for line in ["adapter show pf1", "node show node1"] {
        let shown = call(line);
        assert!(
            shown.contains("pf1 gives no VFs since 20"),
            "{line}: {shown}"
        );
        assert!(shown.contains("cable (uid "), "{line}: {shown}");
    }
    let json = rig.call(&words("adapter show pf1 -o json")).json();
    assert_eq!(json["isolated"]["adapter"], "pf1");
    // Now the other one is the last, whatever the bond does.
    let ended = rig.call(&words("adapter isolate pf0 --node node1")).with(3);
    ended.says(&["the last adapter of intent 'compute' on 'node1'"]);
    let planned = call("adapter release pf1 --dry-run");
    assert!(planned.contains("are given out again"), "{planned}");
    let done = call("adapter release pf1");
    assert_eq!(done, "VFs of 'pf1' on 'node1' are given out again.\n");
    assert!(!call("adapter list").contains("isolated"));
    let record = call("audit");
    for entry in ["adapter isolate", "adapter release"] {
        assert!(record.contains(entry), "{record}");
    }
    for line in [
        "adapter release pf1 -o json",
        "adapter release gone --node node1 -o json",
        "adapter isolate gone -o json",
    ] {
        let ended = rig.call(&words(line)).with(4);
        assert_eq!(ended.problem_codes(), ["adapter_not_found"], "{line}");
    }
}
