//! Changing how acceleration is enabled: reserve, intent, and what becomes of VMs.

use accelnet_model::{MacAddr, VfUser};
use accelnet_rules::{Observed, fixture};
use accelnet_server::fake::FakeNodes;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, intent};

/// A node with a second adapter `pf1` on a bridge `br1`, with `vm2`'s NIC on it.
fn with_second_bridge() -> Observed {
    let mut seen = fixture::observed();
    let mut second = seen.adapters[0].clone();
    second.ifname = "pf1".parse().unwrap();
    second.master = "br1".parse().ok();
    second.pci = "0000:02:00.0".parse().unwrap();
    second.id.permanent_mac = MacAddr([2, 0, 0, 0, 0xbb, 2]);
    for vf in &mut second.vfs {
        vf.pci.bus = 2;
        vf.user = VfUser::Nobody;
    }
    seen.adapters.push(second);
    let mut bridge = seen.bridges[0].clone();
    bridge.ifname = "br1".parse().unwrap();
    bridge.ports = vec![fixture::port("pf1", None)];
    let port = seen.bridges[0].ports.remove(2);
    bridge.ports.push(port);
    seen.bridges.push(bridge);
    seen.vms[1].nics[0].bridge = "br1".parse().ok();
    seen
}

fn second() -> Value {
    json!({"name": "b", "types": ["compute"], "adapters": ["pf1"], "bridge": "br1"})
}

async fn set(rig: &Rig, body: Value) -> Answer {
    rig.http.patch("/acceleration", body).await
}

fn enabled(answer: &Value) -> (&str, i64) {
    let enabled = &answer["object"]["enabled"];
    let reserve = enabled["node_reserve_percentage"].as_i64();
    (enabled["intent"].as_str().unwrap(), reserve.unwrap())
}

#[tokio::test]
async fn the_reserve_is_changed_if_it_holds() {
    let rig = Rig::two(50).await;
    let planned = rig
        .http
        .patch(
            "/acceleration?dry_run=true",
            json!({"node_reserve_percentage": 0}),
        )
        .await
        .done();
    assert_eq!(
        planned["plan"],
        json!(["change the reserve from 50 % (1 down) to 0 % (0 down)"])
    );
    assert_eq!(enabled(&planned), ("compute", 50));
    let done = set(&rig, json!({"node_reserve_percentage": 0}))
        .await
        .done();
    assert_eq!(enabled(&done), ("compute", 0));
    let again = set(
        &rig,
        json!({"node_reserve_percentage": 0, "intent": "compute"}),
    )
    .await;
    assert_eq!(again.done()["changed"], false);
    // One VF a node is left: two VMs fit on two nodes, not on one.
    for node in ["node1", "node2"] {
        rig.nodes
            .sees(node, |seen| seen.adapters[0].vfs.truncate(1));
    }
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm3", "low").await.done();
    let before = rig.wish().await;
    let answer = set(&rig, json!({"node_reserve_percentage": 50})).await;
    answer.refused(422, &["cluster_not_enough_resources"]);
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

#[tokio::test]
async fn the_reserve_is_a_number_of_nodes_if_that_is_given() {
    let rig = Rig::two(50).await;
    let done = set(&rig, json!({"nodes_down": 0})).await.done();
    let plan = "change the reserve from 50 % (1 down) to 0 % (0 down)";
    assert_eq!(done["plan"], json!([plan]));
    assert_eq!(enabled(&done), ("compute", 0));
    let shown = |answer: &Value| {
        let enabled = &answer["object"]["enabled"];
        (
            enabled["nodes_down"].as_i64(),
            enabled["nodes_down_tolerated"].as_i64(),
        )
    };
    assert_eq!(shown(&done), (Some(0), Some(0)));
    let done = set(&rig, json!({"nodes_down": 1})).await.done();
    assert_eq!((enabled(&done).1, shown(&done)), (50, (Some(1), Some(1))));
    assert_eq!(
        set(&rig, json!({"nodes_down": 1})).await.done()["changed"],
        false
    );
    let capacity = rig.http.get("/capacity").await.done();
    assert_eq!(capacity["node_reserve_percentage"], 50);
    assert_eq!(capacity["nodes_down_tolerated"], 1);
    // Another setting leaves it; a percentage takes its place.
    let done = set(&rig, json!({"when": "boot"})).await.done();
    assert_eq!(shown(&done), (Some(1), Some(1)));
    let done = set(&rig, json!({"node_reserve_percentage": 10}))
        .await
        .done();
    assert_eq!((enabled(&done).1, shown(&done)), (10, (None, Some(1))));
    let before = rig.wish().await;
    for count in [2, -1, i64::MAX] {
        let answer = set(&rig, json!({"nodes_down": count})).await;
        answer.refused(422, &["reserve_out_of_range"]);
        let said = answer.body.to_string();
        assert!(said.contains("of 2, 0 to 1 can be"), "{said}");
    }
    let both = json!({"nodes_down": 1, "node_reserve_percentage": 50});
    set(&rig, both.clone())
        .await
        .refused(422, &["reserve_out_of_range"]);
    let mut again = both;
    again["intent"] = json!("compute");
    rig.http
        .put("/acceleration", again)
        .await
        .refused(422, &["reserve_out_of_range"]);
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_changed() {
    let rig = Rig::one().await;
    let not_enabled = set(&rig, json!({"node_reserve_percentage": 10})).await;
    not_enabled.refused(422, &["accel_net_not_enabled"]);
    rig.enable(50).await;
    let mut storage = second();
    storage["types"] = json!(["storage"]);
    rig.nodes.sees("node1", |seen| *seen = with_second_bridge());
    rig.http.post("/intents", storage).await.done();
    let before = rig.wish().await;
    set(&rig, json!({}))
        .await
        .refused(422, &["invalid_argument"]);
    for reserve in [json!(100), json!(-1)] {
        let answer = set(&rig, json!({"node_reserve_percentage": reserve})).await;
        answer.refused(422, &["reserve_out_of_range"]);
    }
    for reserve in [json!(3.5), json!("abc")] {
        let answer = set(&rig, json!({"node_reserve_percentage": reserve})).await;
        answer.refused(400, &["invalid_argument"]);
    }
    let both = json!({"intent": "nobody", "node_reserve_percentage": 100});
    let answer = set(&rig, both).await;
    answer.refused(404, &["intent_not_found", "reserve_out_of_range"]);
    let answer = set(&rig, json!({"intent": "b"})).await;
    answer.refused(422, &["intent_type_check_failed"]);
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

/// A node with two networks; acceleration is enabled on the first one's intent.
async fn with_both_intents(seen: Observed, reserve: i64) -> Rig {
    let rig = Rig::of(FakeNodes::new([("node1", seen)])).await;
    rig.http.post("/intents", intent()).await.done();
    rig.http.post("/intents", second()).await.done();
    rig.http.enable(reserve).await.done();
    rig
}

#[tokio::test]
async fn another_intent_takes_the_place_of_the_present_one() {
    let rig = with_both_intents(with_second_bridge(), 10).await;
    rig.http.accelerate("vm1", "medium").await.done();
    rig.http
        .accelerate("vm2", "low")
        .await
        .refused(422, &["vm_no_nic_on_intent"]);

    let planned = rig
        .http
        .patch("/acceleration?dry_run=true", json!({"intent": "b"}))
        .await
        .done();
    let steps = planned["plan"].as_array().unwrap();
    let expected = [
        "stop managing intent 'compute'; VMs keep their VFs and settings",
        "VM 'vm1': NIC 02:00:00:00:77:01 on br0 stays as it is, no longer managed; \
         it has no NIC on br1 to accelerate",
        "enable acceleration on intent 'b'",
    ];
    assert_eq!(steps[..3], expected.map(|step| json!(step)));
    assert_eq!(enabled(&planned), ("compute", 10));

    // The reserve stays, and so does the VM's VF.
    let done = set(&rig, json!({"intent": "b"})).await.done();
    assert_eq!(enabled(&done), ("b", 10));
    assert_eq!(
        rig.nodes.desired("node1").enabled.unwrap().intent.as_str(),
        "b"
    );
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["nics"][0]["path"], "vf");
    assert_eq!(
        (&vm["level"], &vm["nics"][0]["level"]),
        (&Value::Null, &json!("medium"))
    );
    assert_eq!(
        (&vm["nics"][0]["intent"], &vm["nics"][0]["managed"]),
        (&json!("compute"), &json!(false))
    );
    rig.http.accelerate("vm2", "low").await.done();
    // On this intent it is not accelerated, and what it has on the other is left alone.
    let answer = rig.http.delete("/vms/vm1/acceleration").await.done();
    assert_eq!(answer["changed"], false);
    assert_eq!(answer["object"]["nics"][0]["path"], "vf");
    // And back again: what was kept is found.
    let back = json!({"intent": "compute", "node_reserve_percentage": 0});
    assert_eq!(enabled(&set(&rig, back).await.done()), ("compute", 0));
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(
        (&vm["level"], &vm["problems"]),
        (&json!("medium"), &json!([]))
    );
    rig.stop().await;
}

/// `vm1` has a NIC on each bridge; acceleration was enabled on both intents in turn, and is on the
/// second one now.
async fn accelerated_on_both() -> Rig {
    let mut seen = with_second_bridge();
    let mut nic = seen.vms[0].nics[0].clone();
    nic.mac.0[4] = 0x88;
    nic.alias = Some("net1".into());
    nic.bridge = "br1".parse().ok();
    nic.tap = "vnet9".parse().ok();
    let port = fixture::port("vnet9", Some(nic.mac));
    seen.bridges[1].ports.push(port);
    seen.vms[0].nics.push(nic);
    let rig = with_both_intents(seen, 0).await;
    rig.http.accelerate("vm1", "medium").await.done();
    set(&rig, json!({"intent": "b"})).await.done();
    rig.http.accelerate("vm1", "low").await.done();
    rig
}

fn nics(vm: &Value) -> Vec<(&str, bool, Option<&str>)> {
    let nics = vm["nics"].as_array().unwrap().iter();
    nics.map(|nic| {
        let (path, managed) = (nic["path"].as_str(), nic["managed"].as_bool());
        (path.unwrap(), managed.unwrap(), nic["level"].as_str())
    })
    .collect()
}

#[tokio::test]
async fn each_intent_has_a_wish_of_its_own() {
    let rig = accelerated_on_both().await;
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["level"], "low");
    let both = [("vf", false, Some("medium")), ("vf", true, Some("low"))];
    assert_eq!(nics(&vm), both);

    // Back on this intent only; what the other's NIC has stays, and the plan says so.
    let answer = rig.http.delete("/vms/vm1/acceleration").await.done();
    let plan = answer["plan"].as_array().unwrap();
    let last = plan.last().unwrap().as_str().unwrap();
    assert!(
        last.starts_with("NIC 02:00:00:00:77:01: keeps VF 0000:01:"),
        "{last}"
    );
    let on_b = plan
        .iter()
        .filter(|step| step.as_str().unwrap().starts_with("NIC 02:00:00:00:88:01"));
    assert_eq!(on_b.count(), plan.len() - 1);
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["level"], Value::Null);
    assert_eq!(
        nics(&vm),
        [("vf", false, Some("medium")), ("synthetic", true, None)]
    );

    // The other way round the level of each is found again.
    let planned = rig
        .http
        .patch("/acceleration?dry_run=true", json!({"intent": "compute"}))
        .await
        .done();
    assert_eq!(
        planned["plan"][1],
        "VM 'vm1': NIC 02:00:00:00:77:01 on br0 is accelerated at Medium, as was asked for on \
         intent 'compute' before"
    );
    set(&rig, json!({"intent": "compute"})).await.done();
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["level"], "medium");
    assert_eq!(
        nics(&vm),
        [("vf", true, Some("medium")), ("synthetic", false, None)]
    );
    rig.stop().await;
}

/// A level that is found again may not be possible any more, which is said before anything is changed.
#[tokio::test]
async fn what_keeps_a_vm_back_on_the_other_intent_is_in_the_plan() {
    let rig = accelerated_on_both().await;
    // It was started since, and its VF on this intent has the last root port.
    rig.nodes.sees("node1", |seen| {
        let vm = &mut seen.vms[0];
        let here = vm.nics[0].alias.clone();
        vm.hostdevs.retain(|hostdev| hostdev.teaming_with != here);
        vm.free_root_ports_live = 0;
    });
    let planned = rig
        .http
        .patch("/acceleration?dry_run=true", json!({"intent": "compute"}))
        .await
        .done();
    let step = planned["plan"][1].as_str().unwrap();
    let said = "before, but not now: VM 'vm1' has 0 free PCIe root port(s), 1 needed. \
                [vm_no_free_root_port]";
    assert!(step.ends_with(said), "{step}");
    rig.stop().await;
}

#[tokio::test]
async fn a_level_is_kept_while_nothing_is_enabled() {
    let rig = accelerated_on_both().await;
    rig.http.delete("/acceleration").await.done();
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["level"], "medium", "the highest of those that are kept");
    let both = [("vf", false, Some("medium")), ("vf", false, Some("low"))];
    assert_eq!(nics(&vm), both);
    // What no node is told, no node changes.
    assert_eq!(rig.nodes.desired("node1").vms, []);
    rig.http.enable(0).await.done();
    assert_eq!(rig.http.get("/vms/vm1").await.done()["level"], "medium");
    rig.stop().await;
}

/// A VM that went away gives back what this intent holds for it, and is remembered for the other.
#[tokio::test]
async fn what_is_held_for_a_vm_that_is_gone_is_given_back_intent_by_intent() {
    let rig = accelerated_on_both().await;
    let uuid = fixture::vm(1).uuid;
    rig.nodes.sees("node1", |seen| drop(seen.vms.remove(0)));
    let planned = rig
        .http
        .patch("/acceleration?dry_run=true", json!({"intent": "compute"}))
        .await
        .done();
    assert_eq!(
        planned["plan"][1],
        "VM 'vm1': no node has it now; a VF is held for it at Medium on intent 'compute'"
    );
    let path = format!("/vms/{uuid}/acceleration");
    rig.http.delete(&path).await.done();
    let gone = rig.http.get(&format!("/vms/{uuid}")).await;
    gone.refused(404, &["vm_not_found"]);
    set(&rig, json!({"intent": "compute"})).await.done();
    let held = rig.http.get(&format!("/vms/{uuid}")).await.done();
    assert_eq!(
        (&held["level"], &held["node"]),
        (&json!("medium"), &Value::Null)
    );
    rig.http.delete(&path).await.done();
    assert!(
        !rig.wish()
            .await
            .iter()
            .any(|line| format!("{line:?}").contains("spec"))
    );
    rig.stop().await;
}

#[tokio::test]
async fn vms_of_another_bridge_take_no_room() {
    let mut seen = with_second_bridge();
    seen.adapters[1].vfs.truncate(1);
    let rig = with_both_intents(seen, 0).await;
    rig.http.accelerate("vm1", "low").await.done();
    set(&rig, json!({"intent": "b"})).await.done();
    // The only VF of `b` is for the VM that is on its bridge.
    rig.http.accelerate("vm2", "low").await.done();
    // It holds it while `b` is not enabled, and has it when `b` is enabled again.
    for intent in ["compute", "b"] {
        set(&rig, json!({"intent": intent})).await.done();
    }
    let vm = rig.http.get("/vms/vm2").await.done();
    assert_eq!(
        (&vm["level"], &vm["nics"][0]["path"]),
        (&json!("low"), &json!("vf"))
    );
    rig.stop().await;
}
