//! VMs are accelerated within the reserve, each VF once, and given back.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use accelnet_server::fake::{FakeNodes, Running};
use accelnet_store::{
    Compare, KeyValue, Listing, MemoryStore, Op, Page, Result, Revision, Store, TxnOutcome, Watch,
};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::rig::{Http, Rig, intent};

fn done(answer: &Value) -> (bool, Option<&str>) {
    (
        answer["changed"] == true,
        answer["object"]["level"].as_str(),
    )
}

#[tokio::test]
async fn a_vm_is_accelerated_changed_and_brought_back() {
    let rig = Rig::enabled().await;
    let planned = rig
        .http
        .put(
            "/vms/vm1/acceleration?dry_run=true",
            json!({"performance": "low"}),
        )
        .await
        .done();
    assert_eq!(done(&planned), (true, None));
    let steps = planned["plan"].as_array().unwrap();
    assert!(
        steps.len() > 3
            && steps[0]
                .as_str()
                .unwrap()
                .starts_with("NIC 02:00:00:00:77:01")
    );
    assert_eq!(
        rig.http.get("/vms/vm1").await.done()["nics"][0]["path"],
        "synthetic"
    );

    assert_eq!(
        done(&rig.http.accelerate("vm1", "low").await.done()),
        (true, Some("low"))
    );
    let vm = rig.http.get("/vms/vm1").await.done();
    let nic = &vm["nics"][0];
    assert_eq!(
        (&nic["path"], &nic["adapter"]),
        (&json!("vf"), &json!("pf0"))
    );
    assert_eq!(nic["queue_pairs"], json!({"allotted": 2, "effective": 1}));
    let before = rig.wish().await;
    assert_eq!(
        done(&rig.http.accelerate("vm1", "low").await.done()),
        (false, Some("low"))
    );
    assert_eq!(rig.wish().await, before);
    let changed = rig.http.accelerate("vm1", "medium").await.done();
    assert_eq!(done(&changed), (true, Some("medium")));
    assert!(
        changed["plan"][0]
            .as_str()
            .unwrap()
            .contains("from Low to Medium")
    );

    let back = rig.http.delete("/vms/vm1/acceleration").await.done();
    assert_eq!(done(&back), (true, None));
    assert_eq!(
        rig.http.get("/vms/vm1").await.done()["nics"][0]["path"],
        "synthetic"
    );
    let again = rig.http.delete("/vms/vm1/acceleration").await.done();
    assert_eq!(done(&again), (false, None));
    rig.stop().await;
}

#[tokio::test]
async fn the_reserve_is_kept() {
    // Two nodes, one of which may be down: two VFs on each hold two VMs in all.
    let rig = Rig::two(50).await;
    for node in ["node1", "node2"] {
        rig.nodes
            .sees(node, |seen| seen.adapters[0].vfs.truncate(2));
    }
    rig.http.accelerate("vm1", "low").await.done();
    rig.http.accelerate("vm3", "low").await.done();
    let before = rig.wish().await;
    let answer = rig.http.accelerate("vm2", "low").await;
    answer.refused(422, &["cluster_not_enough_resources"]);
    let problem = &answer.problems()[0];
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.chars().any(|letter| letter.is_ascii_digit()),
        "{detail}"
    );
    assert!(
        !detail.contains("00000000-"),
        "a VM is called by its name: {detail}"
    );
    assert!(problem.to_string().contains("vm2"), "{problem}");
    assert_eq!(rig.wish().await, before);
    // A higher reserve than what is admitted leaves is refused; a lower one makes room.
    rig.http.enable(0).await.done();
    rig.http.accelerate("vm2", "low").await.done();
    let answer = rig.http.enable(50).await;
    answer.refused(422, &["cluster_not_enough_resources"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_that_is_off_holds_its_vf() {
    let rig = Rig::enabled().await;
    rig.nodes
        .sees("node1", |seen| seen.adapters[0].vfs.truncate(1));
    rig.http.accelerate("vm1", "low").await.done();
    rig.nodes.sees("node1", |seen| {
        seen.vms[0].state = accelnet_model::VmState::Off;
        seen.vms[0].hostdevs.clear();
        let vf = &mut seen.adapters[0].vfs[0];
        (vf.user, vf.vm) = (accelnet_model::VfUser::Nobody, None);
    });
    let answer = rig.http.accelerate("vm2", "low").await;
    answer.refused(422, &["cluster_not_enough_resources"]);
    rig.http.delete("/vms/vm1/acceleration").await.done();
    rig.http.accelerate("vm2", "low").await.done();
    rig.stop().await;
}

#[tokio::test]
async fn a_vm_that_is_gone_holds_its_vf_until_it_is_forgotten() {
    let rig = Rig::enabled().await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.nodes.sees("node1", |seen| {
        seen.vms.remove(0);
        let vf = &mut seen.adapters[0].vfs[0];
        (vf.user, vf.vm) = (accelnet_model::VfUser::Nobody, None);
    });
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!((&vm["node"], &vm["level"]), (&Value::Null, &json!("low")));
    assert_eq!(vm["problems"][0]["code"], "vm_not_found");
    assert_eq!(
        done(&rig.http.delete("/vms/vm1/acceleration").await.done()),
        (true, None)
    );
    rig.http
        .get("/vms/vm1")
        .await
        .refused(404, &["vm_not_found"]);
    rig.stop().await;
}

/// A store where the next two changes of the wish are made at once: each has been decided on before
/// the other is written.
struct AtOnce {
    store: MemoryStore,
    both: Barrier,
    left: AtomicU32,
}

impl Store for AtOnce {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Arc<KeyValue>>> {
        self.store.get(key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listing> {
        self.store.list(prefix, page).await
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome> {
        let one_less = |left: u32| left.checked_sub(1);
        let changes = ops.iter().any(|op| format!("{op:?}").contains("/vms/"));
        if changes && self.left.fetch_update(SeqCst, SeqCst, one_less).is_ok() {
            self.both.wait().await;
        }
        self.store.txn(compares, ops).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        self.store.watch(prefix, from).await
    }
}

/// Two servers of the same store decide at once; each has a wish in memory that the other changes.
#[tokio::test]
async fn the_last_vf_is_given_out_once() {
    let store = Arc::new(AtOnce {
        store: MemoryStore::new(),
        both: Barrier::new(2),
        left: AtomicU32::new(0),
    });
    let directory = tempfile::tempdir().unwrap();
    let mut servers = Vec::new();
    for name in ["one", "other"] {
        let nodes = FakeNodes::one();
        nodes.sees("node1", |seen| seen.adapters[0].vfs.truncate(1));
        // Between decision and deed the node sees its VF free.
        nodes.idle("node1", true);
        let socket = directory.path().join(name);
        let running = Running::start(Arc::clone(&store), &nodes, &socket).await;
        servers.push((nodes, running, Http::on(socket)));
    }
    let [one, other] = [0, 1].map(|number| servers[number].2.clone());
    one.post("/intents", intent()).await.done();
    other.enable(0).await.done();
    store.left.store(2, SeqCst);
    let (first, second) =
        tokio::join!(one.accelerate("vm1", "low"), other.accelerate("vm2", "low"));
    assert_eq!(store.left.load(SeqCst), 0, "they did not meet");
    let (winner, refused) = match first.status {
        200 => ("vm1", second),
        _ => ("vm2", first),
    };
    refused.refused(422, &["cluster_not_enough_resources"]);
    for http in [one, other] {
        for vm in ["vm1", "vm2"] {
            let seen = http.get(&format!("/vms/{vm}")).await.done();
            assert_eq!(seen["level"] == "low", vm == winner, "{seen}");
        }
    }
    for (nodes, running, _) in servers {
        assert!(nodes.desired("node1").vms.len() <= 1);
        running.stop().await;
    }
}

#[tokio::test]
async fn what_a_cold_start_brings_is_staged() {
    let rig = Rig::enabled().await;
    rig.nodes.sees("node1", |seen| {
        let nic = &mut seen.vms[0].nics[0];
        (nic.standby_live, nic.standby_config) = (false, false);
    });
    let planned = rig
        .http
        .post("/vms/vm1/prepare?dry_run=true", json!(null))
        .await
        .done();
    assert!(
        planned["plan"][0].as_str().unwrap().contains("cold start"),
        "{planned}"
    );
    assert_eq!(rig.nodes.desired("node1").vms, []);
    rig.http.post("/vms/vm1/prepare", json!(null)).await.done();
    let vm = rig.http.get("/vms/vm1").await.done();
    assert_eq!(vm["staged"].as_array().unwrap().len(), 1, "{vm}");
    let again = rig.http.post("/vms/vm1/prepare", json!(null)).await.done();
    assert_eq!(again["changed"], false);
    // Its definition has all of it.
    let nothing = rig.http.post("/vms/vm2/prepare", json!(null)).await.done();
    assert_eq!(
        (&nothing["changed"], &nothing["plan"]),
        (&json!(false), &json!([]))
    );
    rig.stop().await;
}
