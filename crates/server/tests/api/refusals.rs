//! Every reason against accelerating a VM: its code, its words, its status, and nothing written.

use accelnet_model::{MacAddr, PolicyFinding, PolicyKind, SriovSupport, Support, VfUser, VmState};
use accelnet_rules::{Observed, fixture};

use crate::rig::{Rig, with_vms};

/// What is wrong, the level that is asked for, the codes, and words that the first detail must have.
struct Case {
    wrong: fn(&mut Observed),
    level: &'static str,
    status: u16,
    codes: &'static [&'static str],
    words: &'static [&'static str],
}

const fn case(
    wrong: fn(&mut Observed),
    codes: &'static [&'static str],
    words: &'static [&'static str],
) -> Case {
    Case {
        wrong,
        level: "medium",
        status: 422,
        codes,
        words,
    }
}

fn policy(seen: &mut Observed, kind: PolicyKind, rule: &str) {
    let (vm, nic) = (&seen.vms[0], &seen.vms[0].nics[0]);
    let finding = PolicyFinding {
        kind,
        place: "vnet1".into(),
        rule: rule.into(),
        name: None,
    };
    seen.policy.insert((vm.uuid, nic.mac), vec![finding]);
}

fn used_by(seen: &mut Observed, user: &VfUser) {
    for vf in &mut seen.adapters[0].vfs {
        vf.user = user.clone();
    }
}

/// All VFs are VMs', as libvirt tells.
fn all_taken(seen: &mut Observed) {
    let hog = fixture::vm(9);
    seen.vms.push(hog.clone());
    for number in 0..seen.adapters[0].vfs.len() {
        fixture::put_on_vf(seen, 2, number);
        seen.adapters[0].vfs[number].vm = Some(hog.uuid);
    }
}

const CASES: &[Case] = &[
    case(
        |seen| seen.vms[0].nics.clear(),
        &["get_network_adapter_failed"],
        &["'vm1'"],
    ),
    case(
        |seen| seen.vms[0].nics[0].bridge = "br9".parse().ok(),
        &["vm_no_nic_on_intent"],
        &["'vm1'", "br0", "br9"],
    ),
    case(
        |seen| seen.vms[0].state = VmState::Off,
        &["vm_not_running"],
        &["'vm1'", "off"],
    ),
    case(
        |seen| seen.vms[0].machine = "pc-i440fx-10.0".into(),
        &["vm_machine_not_pcie"],
        &["'vm1'", "pc-i440fx-10.0"],
    ),
    case(
        |seen| seen.vms[0].free_root_ports_live = 0,
        &["vm_no_free_root_port"],
        &["'vm1'", "0 free", "1 needed"],
    ),
    case(
        |seen| seen.vms[0].nics[0].standby_live = false,
        &["vm_needs_cold_start"],
        &["02:00:00:00:77:01", "VIRTIO_NET_F_STANDBY"],
    ),
    case(
        |seen| {
            seen.vms[0].nics[0].standby_live = false;
            seen.vms[0].persistent = false;
        },
        &["vm_definition_not_ours"],
        &["transient"],
    ),
    case(
        |seen| seen.vms[0].nics[0].model = "e1000e".into(),
        &["vm_nic_not_virtio"],
        &["e1000e"],
    ),
    case(
        |seen| seen.vms[0].vcpus = 1,
        &["vm_not_enough_vcpus"],
        &["'vm1'", "1 vCPU", "Medium needs 2"],
    ),
    case(
        |seen| seen.node.smt_active = Support::Supported(true),
        &["ht_enabled_min_processor_counter"],
        &["'vm1'", "2 vCPU", "4 with SMT on", "2 with SMT off"],
    ),
    Case {
        level: "high",
        ..case(
            |seen| seen.vms[0].vcpus = 4,
            &["cannot_provision_performance"],
            &["High needs 4 queue pairs", "pf0 gives 2"],
        )
    },
    case(
        |seen| seen.node.memory_available_mib = 200,
        &["vm_memory_not_pinnable"],
        &["'vm1'", "192 MiB", "200 MiB"],
    ),
    case(
        |seen| seen.vms[0].memory_unpinnable = Some("it is a confidential guest".into()),
        &["vm_memory_not_pinnable"],
        &["confidential"],
    ),
    case(
        |seen| seen.bridges[0].mtu = 9000,
        &["vf_mtu_too_small"],
        &["pf0", "1500", "br0", "9000"],
    ),
    case(
        |seen| policy(seen, PolicyKind::NwFilter, "clean-traffic"),
        &["policy_not_offloadable"],
        &["vnet1", "clean-traffic"],
    ),
    case(
        |seen| {
            let mut second = seen.bridges[0].ports[1].fdb[0].clone();
            second.mac = MacAddr([2, 0, 0, 0, 0, 9]);
            seen.bridges[0].ports[1].fdb.push(second);
        },
        &["reachability_not_offloadable"],
        &["02:00:00:00:77:01", "02:00:00:00:00:09"],
    ),
    case(
        |seen| {
            seen.bridges.clear();
            seen.adapters[0].master = None;
        },
        &["bridge_not_found"],
        &["br0"],
    ),
    case(
        |seen| {
            seen.adapters[0].sriov = SriovSupport::Unknown;
            seen.adapters[0].vfs.clear();
            seen.adapters[0].sriov_evidence = Some("no capability".into());
        },
        &["sriov_support_unknown"],
        &["pf0", "no capability"],
    ),
    case(
        |seen| seen.node.iommu = false,
        &["sriov_support_no_iommu"],
        &["node1"],
    ),
    case(
        |seen| seen.adapters[0].carrier = false,
        &["adapter_link_down"],
        &["pf0"],
    ),
    case(
        |seen| seen.adapters[0].vfs.clear(),
        &["vfs_waiting"],
        &["pf0"],
    ),
    case(
        all_taken,
        &["no_free_vf"],
        &["1 needed on pf0", "0 of 7 are free"],
    ),
    case(
        |seen| {
            let user = VfUser::Process {
                pid: 4711,
                command: "testpmd".into(),
            };
            used_by(seen, &user);
        },
        &["vf_in_use_by_others"],
        &["0 of 7 are free", "4711", "testpmd"],
    ),
    case(
        |seen| {
            let user = VfUser::HostDriver {
                driver: "igbvf".into(),
            };
            used_by(seen, &user);
        },
        &["vf_in_use_by_others"],
        &["bound to igbvf"],
    ),
    // All that apply, at once.
    case(
        |seen| {
            seen.vms[0].vcpus = 1;
            seen.vms[0].free_root_ports_live = 0;
            seen.bridges[0].mtu = 9000;
            policy(seen, PolicyKind::Isolation, "isolated");
        },
        &[
            "vm_no_free_root_port",
            "vm_not_enough_vcpus",
            "vf_mtu_too_small",
            "policy_not_offloadable",
        ],
        &[],
    ),
    // Nobody can say which VMs there are.
    Case {
        status: 503,
        ..case(
            |seen| {
                seen.node.libvirt = None;
                seen.hypervisor_answers = false;
                seen.vms.clear();
            },
            &["hypervisor_unavailable"],
            &["connection refused"],
        )
    },
];

#[tokio::test]
async fn each_reason_is_told_and_nothing_is_written() {
    let rig = Rig::enabled().await;
    let before = (rig.wish().await, rig.nodes.desired("node1"));
    let good = rig.nodes.seen("node1");
    for case in CASES {
        rig.nodes.sees("node1", |seen| (case.wrong)(seen));
        for path in [
            "/vms/vm1/acceleration",
            "/vms/vm1/acceleration?dry_run=true",
        ] {
            let body = serde_json::json!({"performance": case.level});
            let answer = rig.http.put(path, body).await;
            answer.refused(case.status, case.codes);
            let detail = answer.body["detail"].as_str().unwrap();
            for word in case.words {
                assert!(detail.contains(word), "{word} is not in: {detail}");
            }
        }
        assert_eq!(rig.wish().await, before.0, "{:?}", case.codes);
        rig.nodes.sees("node1", |seen| *seen = good.clone());
    }
    assert_eq!(rig.nodes.desired("node1"), before.1);
    // Nothing was wrong but what the cases say.
    rig.http.accelerate("vm1", "medium").await.done();
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_that_nobody_has_is_not_found() {
    let rig = Rig::enabled().await;
    let before = rig.wish().await;
    for vm in [
        "nobody",
        "VM1",
        "00000000-0000-0000-0000-0000000000ff",
        "%1b%5b31m",
    ] {
        rig.http
            .accelerate(vm, "low")
            .await
            .refused(404, &["vm_not_found"]);
        let path = format!("/vms/{vm}/acceleration");
        rig.http.delete(&path).await.refused(404, &["vm_not_found"]);
    }
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

#[tokio::test]
async fn a_name_of_two_vms_means_neither() {
    let rig = Rig::two(50).await;
    let before = rig.wish().await;
    rig.nodes
        .sees("node2", |seen| seen.vms[0].name = "vm1".into());
    let answer = rig.http.accelerate("vm1", "low").await;
    answer.refused(409, &["vm_ambiguous"]);
    let detail = answer.body["detail"].as_str().unwrap();
    let (first, second) = (fixture::vm(1).uuid, fixture::vm(3).uuid);
    for words in [format!("{first} on node1"), format!("{second} on node2")] {
        assert!(detail.contains(&words), "{detail}");
    }
    assert_eq!(rig.wish().await, before);
    rig.http.accelerate(&second.to_string(), "low").await.done();
    rig.stop().await;
}

#[tokio::test]
async fn a_uuid_means_its_vm_whatever_others_are_called() {
    let rig = Rig::enabled().await;
    let (first, second) = (fixture::vm(1).uuid.to_string(), fixture::vm(2).uuid);
    let name = first.clone();
    rig.nodes.sees("node1", |seen| seen.vms[1].name = name);
    assert_eq!(
        rig.http.get(&format!("/vms/{first}")).await.done()["name"],
        "vm1"
    );
    let other = rig.http.get(&format!("/vms/{second}")).await.done();
    assert_eq!(other["name"], first);
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_of_a_silent_node_is_not_judged() {
    let rig = Rig::two(0).await;
    let before = rig.wish().await;
    rig.nodes.silent("node1", true);
    let answer = rig.http.accelerate("vm1", "low").await;
    answer.refused(503, &["agent_unreachable"]);
    assert!(answer.body["detail"].as_str().unwrap().contains("node1"));
    // It is shown where it was, with what is known of it.
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["node"], "node1");
    assert_eq!(vm["problems"][0]["code"], "agent_unreachable");
    assert_eq!(rig.wish().await, before);
    rig.nodes.silent("node1", false);
    rig.http.accelerate("vm1", "low").await.done();
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_is_in_the_state_that_the_command_is_for() {
    let rig = Rig::enabled().await;
    let set =
        |must_be: bool| serde_json::json!({"performance": "low", "must_be_accelerated": must_be});
    let path = "/vms/vm1/acceleration";
    rig.http
        .put(path, set(true))
        .await
        .refused(422, &["vm_not_accelerated"]);
    rig.http.put(path, set(false)).await.done();
    let before = rig.wish().await;
    rig.http
        .put(path, set(false))
        .await
        .refused(422, &["vm_not_accelerated"]);
    assert_eq!(rig.http.put(path, set(true)).await.done()["changed"], false);
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_staged_is_refused() {
    let rig = Rig::enabled().await;
    let before = rig.wish().await;
    let prepare = "/vms/vm1/prepare";
    for (wrong, code) in [
        (
            (|seen: &mut Observed| seen.vms[0].machine = "pc".into()) as fn(&mut _),
            "vm_machine_not_pcie",
        ),
        (
            |seen| seen.vms[0].nics[0].bridge = None,
            "vm_no_nic_on_intent",
        ),
        (
            |seen| {
                seen.vms[0].free_root_ports_config = 0;
                seen.vms[0].free_root_ports_live = 0;
                seen.vms[0].managed_by = Some("openstack".into());
            },
            "vm_definition_not_ours",
        ),
    ] {
        rig.nodes.sees("node1", |seen| {
            *seen = with_vms(&[1]);
            wrong(seen);
        });
        rig.http
            .post(prepare, serde_json::json!(null))
            .await
            .refused(422, &[code]);
    }
    assert_eq!(rig.wish().await, before);
    rig.stop().await;
}
