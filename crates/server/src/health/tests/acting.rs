//! What the server does about faults by itself: adapters taken out of the pool, VMs kept on their software paths.

use accelnet_model::Support;

use super::*;

/// The uplink of each node is a bond of `pf0` and `pf1`, which uses `pf0`.
fn bonded() -> [(&'static str, Observed); 2] {
    let mut other = fixture::bonded();
    let alone = second();
    other.vms = alone.vms;
    other.bridges[0].ports.truncate(1);
    other.bridges[0]
        .ports
        .push(alone.bridges[0].ports[1].clone());
    [("node1", fixture::bonded()), ("node2", other)]
}

async fn acting(nodes: [(&'static str, Observed); 2], acts: &str) -> Rig {
    Rig::of(nodes, Announcer::default(), acts.parse().unwrap()).await
}

impl Rig {
    fn losses(&self, count: u64) {
        self.nodes.sees("node1", |seen| {
            seen.adapters[0].link_losses = Support::Supported(count);
        });
    }

    fn uses(&self, member: &str) {
        self.nodes.sees("node1", |seen| {
            seen.bridges[1].bond.as_mut().unwrap().active = member.parse().ok();
        });
    }

    async fn evidence(&self, code: Code) -> String {
        let faults = self.faults().await;
        let fault = faults.iter().find(|fault| fault.code == code);
        fault
            .unwrap_or_else(|| panic!("{faults:?}"))
            .evidence
            .clone()
    }

    async fn record(&self) -> Vec<String> {
        let list = self.done("GET", "/audit", Value::Null).await;
        let entries = list["items"].as_array().unwrap().iter();
        let words = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
        entries
            .map(|entry| {
                let by = entry["by"]["name"].as_str().unwrap();
                format!(
                    "{by}: {} {}",
                    words(entry, "operation"),
                    words(entry, "subject")
                )
            })
            .collect()
    }

    async fn isolated(&self, node: &str) -> Vec<String> {
        let node = self
            .done("GET", &format!("/nodes/{node}"), Value::Null)
            .await;
        let isolated = node["isolated"].as_array().cloned().unwrap_or_default();
        let names = isolated
            .iter()
            .map(|its| its["adapter"].as_str().unwrap().to_owned());
        names.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_flapping_adapter_is_taken_out_once_another_can_take_its_place() {
    let rig = acting(bonded(), "adapter_link_flaps=isolate").await;
    let level = json!({"performance": "Low"});
    rig.done("PUT", "/vms/vm1/acceleration", level).await;
    rig.losses(0);
    passes(5).await;
    rig.losses(4);
    passes(5).await;
    // The bond uses it: its VMs have nowhere to go.
    let evidence = rig.evidence(Code::AdapterLinkFlaps).await;
    let words = "4 times within 15 min. It is not taken out of the pool: Frames go by 'pf0' on 'node1': bond0 uses it now.";
    assert!(evidence.ends_with(words), "{evidence}");
    assert_eq!(rig.isolated("node1").await, [""; 0]);
    // As soon as it uses the other one.
    rig.uses("pf1");
    passes(40).await;
    assert_eq!(rig.isolated("node1").await, ["pf0"]);
    assert_eq!(rig.isolated("node2").await, [""; 0]);
    let evidence = rig.evidence(Code::AdapterLinkFlaps).await;
    assert!(
        evidence.ends_with("until somebody lets it back."),
        "{evidence}"
    );
    let fault = rig.evidence(Code::AdapterIsolated).await;
    assert!(
        fault.contains("adapter_link_flaps: 'pf0' on 'node1' loses its link"),
        "{fault}"
    );
    assert!(!fault.contains("not taken out"), "{fault}");
    let record = rig.record().await;
    let words = "the server itself: adapter isolate node1/pf0 adapter_link_flaps";
    assert!(record.iter().any(|entry| entry == words), "{record:?}");
    // Its node is told, and others are not; the VM has its VF of the other one.
    assert_eq!(rig.nodes.desired("node1").isolated.len(), 1);
    assert_eq!(rig.nodes.desired("node2").isolated, []);
    let vm = rig.done("GET", "/vms/vm1", Value::Null).await;
    assert_eq!(vm["nics"][0]["adapter"], "pf1");
    let list = rig.done("GET", "/adapters", Value::Null).await;
    let out = |name: &str| {
        let mut all = list["items"].as_array().unwrap().iter();
        let its = |one: &&Value| one["node"] == "node1" && one["facts"]["ifname"] == name;
        all.find(its).unwrap()["isolated"].is_object()
    };
    assert!(out("pf0") && !out("pf1"));
    // Another server takes over: it stays.
    let rig = rig.dies().await;
    rig.nodes.speak_to(&rig.server);
    passes(60).await;
    assert_eq!(rig.isolated("node1").await, ["pf0"]);
    assert!(rig.codes().await.contains(&Code::AdapterIsolated));
    // The other one is the last now, whoever asks.
    let (status, refused) = rig
        .asked("POST", "/adapters/node1/pf1/isolate", json!({}))
        .await;
    assert_eq!(
        (status, refused["code"].as_str()),
        (422, Some("adapter_not_spared"))
    );
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("bond0 uses it now") || detail.contains("the last"),
        "{detail}"
    );
    // A person lets it back, which is on record; what was counted before counts no more.
    let release = "/adapters/node1/pf0/release";
    let dry = rig
        .done("POST", &format!("{release}?dry_run=true"), Value::Null)
        .await;
    assert_eq!(dry["changed"], true);
    assert_eq!(rig.isolated("node1").await, ["pf0"]);
    rig.done("POST", release, Value::Null).await;
    assert_eq!(rig.isolated("node1").await, [""; 0]);
    passes(120).await;
    assert_eq!(rig.isolated("node1").await, [""; 0]);
    assert_eq!(rig.codes().await, []);
    assert_eq!(rig.kept("isolated/").await, [] as [Value; 0]);
    let record = rig.record().await;
    let words = "uid 0: adapter release node1/pf0";
    assert!(record.iter().any(|entry| entry == words), "{record:?}");
    let (status, refused) = rig.asked("POST", release, Value::Null).await;
    assert_eq!(
        (status, refused["code"].as_str()),
        (404, Some("adapter_not_found"))
    );
    // It goes on flapping.
    rig.losses(8);
    passes(10).await;
    assert_eq!(rig.isolated("node1").await, ["pf0"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_adapter_of_a_node_stays_and_a_muted_fault_is_not_acted_on() {
    let nodes = [("node1", fixture::observed()), ("node2", second())];
    let rig = acting(nodes, "adapter_link_flaps=isolate").await;
    rig.losses(0);
    passes(5).await;
    rig.losses(4);
    passes(60).await;
    let evidence = rig.evidence(Code::AdapterLinkFlaps).await;
    let words =
        "'pf0' is the last adapter of intent 'compute' on 'node1' that VFs can be had of now.";
    assert!(evidence.ends_with(words), "{evidence}");
    assert_eq!(rig.isolated("node1").await, [""; 0]);

    let rig = acting(bonded(), "adapter_link_flaps=isolate").await;
    rig.losses(0);
    passes(5).await;
    rig.losses(4);
    passes(5).await;
    let id = rig.faults().await[0].id.clone();
    let mute = format!("/faults/{id}/mute");
    rig.done("POST", &mute, json!({"for_s": 600})).await;
    rig.uses("pf1");
    passes(120).await;
    assert_eq!(rig.isolated("node1").await, [""; 0]);
    rig.done("DELETE", &mute, Value::Null).await;
    passes(40).await;
    assert_eq!(rig.isolated("node1").await, ["pf0"]);
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_admitted_vms_need_stays() {
    let rig = acting(bonded(), "").await;
    rig.nodes.sees("node2", |seen| {
        seen.adapters
            .iter_mut()
            .for_each(|adapter| adapter.vfs.clear());
    });
    for vm in ["vm1", "vm2"] {
        let level = json!({"performance": "Low"});
        rig.done("PUT", &format!("/vms/{vm}/acceleration"), level)
            .await;
    }
    // Somebody takes the bond apart: two adapters of which each leads out, the second with so many VFs.
    let other = |rig: &Rig, vfs: usize| {
        rig.nodes.sees("node1", |seen| {
            let mut second = fixture::bonded().adapters.remove(1);
            second.vfs.truncate(vfs);
            seen.adapters[1] = second;
            for adapter in &mut seen.adapters {
                adapter.master = "br0".parse().ok();
            }
            seen.bridges.truncate(1);
            let ports = &mut seen.bridges[0].ports;
            ports.retain(|port| !["bond0", "pf0", "pf1"].contains(&port.ifname.as_str()));
            ports.extend(["pf0", "pf1"].map(|name| fixture::port(name, None)));
        });
    };
    other(&rig, 1);
    passes(5).await;
    let isolate = "/adapters/node1/pf0/isolate";
    let (status, refused) = rig
        .asked("POST", isolate, json!({"because": "a test"}))
        .await;
    assert_eq!(
        (status, refused["code"].as_str()),
        (422, Some("adapter_not_spared"))
    );
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("would not all have their VFs"), "{detail}");
    other(&rig, 2);
    passes(5).await;
    let dry = format!("{isolate}?dry_run=true");
    let outcome = rig.done("POST", &dry, json!({"because": "a test"})).await;
    assert_eq!(outcome["plan"].as_array().unwrap().len(), 3, "{outcome}");
    assert_eq!(rig.isolated("node1").await, [""; 0]);
    let outcome = rig
        .done("POST", isolate, json!({"because": "a test"}))
        .await;
    assert_eq!(outcome["object"]["isolated"]["because"], "a test (uid 0)");
    // What is there already is no change.
    let outcome = rig.done("POST", isolate, json!({})).await;
    assert_eq!(outcome["changed"], false);
    // Capacity counts the other one alone.
    let capacity = rig.done("GET", "/capacity", Value::Null).await;
    let node = &capacity["nodes"][0];
    assert_eq!(
        (node["name"].as_str(), node["vfs"].as_u64()),
        (Some("node1"), Some(2)),
        "{node}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_goes_to_and_fro_is_parked_until_somebody_unparks_it() {
    let nodes = [("node1", fixture::observed()), ("node2", second())];
    let rig = acting(nodes, "vf_switches_often=disable").await;
    let level = json!({"performance": "Low"});
    rig.done("PUT", "/vms/vm1/acceleration", level).await;
    passes(5).await;
    let switch = async |rig: &Rig, times: u32| {
        for _ in 0..times {
            rig.nodes.sees("node1", |seen| {
                seen.vms[0].nics[0].alias = Some("gone".into());
            });
            passes(3).await;
            rig.nodes.sees("node1", |seen| {
                seen.vms[0].nics[0].alias = Some("net0".into());
            });
            passes(3).await;
        }
    };
    switch(&rig, 4).await;
    assert_eq!(rig.codes().await, []);
    switch(&rig, 2).await;
    passes(10).await;
    let vm = rig.done("GET", "/vms/vm1", Value::Null).await;
    assert_eq!(vm["parked"]["until_unparked"], true, "{vm}");
    assert_eq!(vm["level"], "low");
    let evidence = rig.evidence(Code::VfSwitchesOften).await;
    assert!(
        evidence.ends_with("until somebody unparks it."),
        "{evidence}"
    );
    let record = rig.record().await;
    let words = "the server itself: vm park vm1 vf_switches_often";
    assert!(record.iter().any(|entry| entry == words), "{record:?}");
    rig.done("DELETE", "/vms/vm1/park", Value::Null).await;
    passes(60).await;
    let vm = rig.done("GET", "/vms/vm1", Value::Null).await;
    assert_eq!(vm["parked"], Value::Null);
    assert_eq!(rig.codes().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_vm_on_two_nodes_stays_told_while_one_of_them_is_silent() {
    let rig = Rig::new().await;
    rig.nodes.sees("node2", |seen| {
        seen.vms.push(fixture::vm(1));
        let nic = fixture::vm(1).nics[0].clone();
        let port = fixture::port(nic.tap.as_ref().unwrap().as_str(), Some(nic.mac));
        seen.bridges[0].ports.push(port);
    });
    passes(60).await;
    assert_eq!(rig.codes().await, [Code::VmOnTwoNodes]);
    rig.nodes.silent("node2", true);
    let name: Name = "node2".parse().unwrap();
    let silent = Problem::new(Code::AgentUnreachable, "No sign.");
    rig.server.lost(&name, silent);
    passes(120).await;
    let faults = rig.faults().await;
    let twice = faults.iter().find(|fault| fault.code == Code::VmOnTwoNodes);
    assert!(
        twice.is_some_and(|fault| fault.last_seen.is_some()),
        "{faults:?}"
    );
    rig.nodes.silent("node2", false);
    rig.nodes.sees("node2", |seen| seen.vms.truncate(1));
    passes(60).await;
    assert_eq!(rig.codes().await, []);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_a_node_s_adapters_is_forgotten_with_the_node() {
    let rig = acting(bonded(), "").await;
    rig.uses("pf1");
    passes(5).await;
    rig.done("POST", "/adapters/node1/pf0/isolate", json!({}))
        .await;
    let wish = rig.server.wish().await.unwrap();
    let node: Name = "node1".parse().unwrap();
    let decided = admission::forget_isolated(&wish, &node);
    assert_eq!(decided.writes.len(), 1);
    let other: Name = "node2".parse().unwrap();
    assert!(admission::forget_isolated(&wish, &other).writes.is_empty());
}
