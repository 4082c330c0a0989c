//! `accelnet intent` beyond the story of `tables`: adapters by rule.

use accelnet_server::fake::FakeNodes;

use crate::rig::Rig;

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn call(rig: &Rig, line: &str) -> String {
    rig.call(&words(line)).done()
}

#[test]
fn adapters_by_rule_are_added_shown_and_changed() {
    let rig = Rig::bare();
    let add = "intent add compute --bridge br0 --match driver=igb,speed=1000,pci=8086:10c9";
    assert_eq!(
        call(&rig, &format!("{add} --dry-run")),
        "This would be done (nothing was changed):
  1. adopt intent 'compute' with bridge br0, adapters that match driver=igb,speed=1000,pci=8086:10c9, type compute, VFs auto
"
    );
    assert_eq!(call(&rig, add), "Intent 'compute' is there.\n");
    let list = call(&rig, "intent list");
    assert!(
        list.contains(" driver=igb,speed=1000,pci=8086:10c9 "),
        "{list}"
    );
    assert_eq!(
        call(&rig, "intent set compute --match driver=igb"),
        "Intent 'compute' is changed.\n"
    );
    let shown = call(&rig, "intent show compute");
    assert!(
        shown.contains(" driver=igb ") && shown.contains("Success"),
        "{shown}"
    );
    let document = rig
        .call(&["intent", "show", "compute", "-o", "json"])
        .json();
    assert_eq!(document["match"]["driver"], "igb");
    call(&rig, "intent set compute --adapter pf0");
    assert!(call(&rig, "intent list").contains(" pf0 "));
}

#[test]
fn rules_that_make_no_sense_are_refused_by_name() {
    let rig = Rig::bare();
    for (rule, said) in [
        ("driver=igb,driver=ixgbe", "each key may be given once"),
        ("speed=1000,speed=1000", "each key may be given once"),
        ("name=pf0", "the keys are driver, speed and pci"),
        ("speed=fast", "a number of Mbit/s"),
        ("pci=0000:01:00.0", "like 8086:10c9"),
        ("", "like driver="),
    ] {
        let line = ["intent", "add", "c", "--bridge", "br0", "--match", rule];
        rig.call(&line).with(2).says(&[said]);
    }
    let both = words("intent add c --bridge br0 --match driver=igb --adapter pf0");
    rig.call(&both).with(2).says(&["--adapter", "--match"]);
    let twice = words("intent set c --match driver=igb --match driver=igb");
    rig.call(&twice).with(2);
    let nothing = words("intent add c --bridge br0 --match driver=ixgbe");
    rig.call(&nothing).with(4).says(&[
        "[adapter_not_found]",
        "no adapter matches driver=ixgbe",
        "pf0 (igb, 1000 Mbit/s, 8086:10c9)",
        "Correct the rule",
    ]);
}

#[test]
fn an_adapter_in_two_intents_is_named_with_both() {
    let rig = Rig::bare();
    rig.add_intent();
    let second = words("intent add second --bridge br0 --match driver=igb");
    rig.call(&second).with(3).says(&[
        "[adapter_in_two_intents]",
        "adapter pf0",
        "'compute'",
        "'second' (which matches driver=igb)",
        "Narrow the rule",
    ]);
    let second = words("intent add second --bridge br0 --adapter pf0");
    rig.call(&second)
        .with(3)
        .says(&["pf0 belongs to intent 'compute'"]);
}

#[test]
fn a_bridge_is_made_where_nobody_manages_the_adapter() {
    let mut seen = accelnet_rules::fixture::observed();
    let facts = &mut seen.adapters[0];
    (facts.master, facts.up, facts.carrier) = (None, false, false);
    facts.vfs.clear();
    seen.bridges.clear();
    seen.vms.clear();
    let rig = Rig::of(FakeNodes::new([("node1", seen)]));
    let add = "intent add compute --bridge br1 --adapter pf0 --create";
    assert_eq!(
        call(&rig, &format!("{add} --dry-run")),
        "This would be done (nothing was changed):
  1. make intent 'compute' with new bridge br1, adapters pf0, type compute, VFs auto
  2. node 'node1': make bridge br1 with pf0, which nobody manages
"
    );
    rig.nodes.sees("node1", |seen| {
        seen.adapters[0].claims = vec![
            "it has an address of the host".into(),
            "ifupdown brought it up".into(),
        ];
    });
    let words: Vec<&str> = add.split(' ').collect();
    rig.call(&words).with(3).says(&[
        "[adapter_managed]",
        "Node 'node1': No bridge is made on pf0: it has an address of the host; ifupdown brought it up.",
        "leave out --create",
    ]);
    rig.nodes
        .sees("node1", |seen| seen.adapters[0].claims.clear());
    assert_eq!(call(&rig, add), "Intent 'compute' is there.\n");
    let shown = call(&rig, "intent show compute");
    assert!(
        shown.contains("br1 (made)") && shown.contains("Success"),
        "{shown}"
    );
    let several = "intent add x --bridge br2 --adapter pf0,pf1 --create";
    let words: Vec<&str> = several.split(' ').collect();
    rig.call(&words)
        .with(3)
        .says(&["[intent_invalid]", "one adapter"]);
}
