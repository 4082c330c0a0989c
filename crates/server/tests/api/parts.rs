//! Each node is told its own part of what is wanted.

use accelnet_rules::fixture;
use uuid::Uuid;

use crate::rig::Rig;

fn told(rig: &Rig, node: &str) -> Vec<u128> {
    let vms = rig.nodes.desired(node).vms.into_iter();
    vms.map(|vm| vm.uuid.as_u128()).collect()
}

#[tokio::test]
async fn a_node_is_told_of_its_own_vms() {
    let rig = Rig::two(0).await;
    let before = rig.nodes.desired("node2").generation;
    rig.http.accelerate("vm1", "low").await.done();
    assert_eq!(
        (told(&rig, "node1"), told(&rig, "node2")),
        (vec![1], vec![])
    );
    assert_eq!(rig.nodes.desired("node2").generation, before);
    // What concerns others only is nothing to wait for.
    let status = rig.http.get("/status").await.done();
    assert_eq!(status["nodes"][1]["converged"], true, "{status}");
    // What concerns all is told to all, with their VMs.
    rig.http.enable(50).await.done();
    let [one, other] = ["node1", "node2"].map(|node| rig.nodes.desired(node).generation);
    assert!(one == other && other > before);
    assert_eq!(
        (told(&rig, "node1"), told(&rig, "node2")),
        (vec![1], vec![])
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_that_moves_takes_its_wish_along() {
    let rig = Rig::two(0).await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.nodes.sees("node1", |seen| {
        seen.vms.remove(0);
        let vf = &mut seen.adapters[0].vfs[0];
        (vf.user, vf.vm) = (accelnet_model::VfUser::Nobody, None);
    });
    assert_eq!(told(&rig, "node1"), [0_u128; 0]);
    rig.nodes
        .sees("node2", |seen| seen.vms.push(fixture::vm(1)));
    assert_eq!(told(&rig, "node2"), [1]);
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(
        (&vm["node"], &vm["pending"]),
        (&"node2".into(), &false.into()),
        "{vm}"
    );
    assert_eq!(vm["nics"][0]["path"], "vf", "{vm}");
    rig.stop().await;
}

/// A node that says that it has a VM which runs elsewhere, because somebody there lies, or two run after a fence that was
/// none: where it is nothing changes by that.
#[tokio::test]
async fn a_vm_that_another_node_claims_keeps_its_vf_where_it_is() {
    let rig = Rig::two(0).await;
    rig.http.accelerate("vm1", "low").await.done();
    let there = || {
        let vms = rig.nodes.seen("node1").vms;
        let vm = vms.into_iter().find(|vm| vm.uuid.as_u128() == 1).unwrap();
        let desired = rig.nodes.desired("node1");
        let wish = desired.vm(vm.uuid).cloned();
        (vm.hostdevs.len(), wish.unwrap())
    };
    let before = there();
    assert_eq!(before.0, 1);
    rig.nodes
        .sees("node2", |seen| seen.vms.push(fixture::vm(1)));
    assert_eq!(there(), before);
    // Also after something else was wanted, and when the other one says no more.
    rig.http.accelerate("vm2", "low").await.done();
    assert_eq!(there(), before);
    rig.nodes
        .sees("node2", |seen| seen.vms.retain(|vm| vm.uuid.as_u128() != 1));
    assert_eq!(there(), before);
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(
        (&vm["node"], &vm["nics"][0]["path"]),
        (&"node1".into(), &"vf".into()),
        "{vm}"
    );
    rig.stop().await;
}

/// Its hypervisor does not answer, so it reports no VMs; they are still there.
#[tokio::test]
async fn a_node_that_cannot_say_which_vms_it_has_is_told_of_all() {
    let rig = Rig::two(0).await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm3", "low").await.done();
    rig.nodes.sees("node1", |seen| {
        seen.node.libvirt = None;
        seen.hypervisor_answers = false;
        seen.vms.clear();
    });
    assert_eq!(told(&rig, "node1"), [1, 3]);
    assert_eq!(told(&rig, "node2"), [3]);
    let uuid = Uuid::from_u128(1);
    assert!(rig.nodes.desired("node1").vm(uuid).unwrap().level.is_some());
    rig.stop().await;
}

/// A node that is lost is down from then on, without anybody asking for it.
#[tokio::test]
async fn a_node_that_is_lost_is_down_at_once() {
    let rig = Rig::two(0).await;
    rig.nodes.silent("node2", true);
    let status = rig.http.get("/status").await.done();
    assert_eq!(status["nodes"][1]["reachable"], false, "{status}");
    // One node is down, and no reserve allows for it.
    let answer = rig.http.accelerate("vm1", "low").await;
    answer.refused(422, &["cluster_not_enough_resources"]);
    rig.nodes.silent("node2", false);
    rig.http.accelerate("vm1", "low").await.done();
    rig.stop().await;
}
