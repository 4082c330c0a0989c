//! The active of two servers is killed in the middle of a hundred changes: each is made exactly once, whoever asks
//! again after an answer that was lost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use accelnet_api::{AccelerateRequest, Client, EnableRequest};
use accelnet_link::{Line, Node, Pending, join};
use accelnet_model::{NodeDesired, NodeStatus, Performance, Problem, VmStatus, WhenToCreateVfs};
use accelnet_rules::fixture;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::rig::{AGAIN, LIMIT, Two, add_intent, is_up, roles, status, until};

const VMS: u8 = 100;
/// So many are done when the server is killed.
const BEFORE: usize = 10;

/// Sees always the same.
struct Large;

impl Node for Large {
    fn set_desired(&self, _: NodeDesired) {}

    fn refresh(&self) -> Pending<'static, Result<NodeStatus, Problem>> {
        Box::pin(std::future::ready(Ok(large())))
    }
}

/// A node with a VF for each of its VMs.
fn large() -> NodeStatus {
    let mut status = status();
    status.node.memory_available_mib = 1 << 20;
    let adapter = &mut status.adapters[0].facts;
    adapter.total_vfs = VMS.into();
    let vf = adapter.vfs[0].clone();
    let vfs = (0..u32::from(VMS)).map(|index| {
        let pci = format!("0000:02:{:02x}.{}", index / 8, index % 8);
        let mut vf = vf.clone();
        (vf.index, vf.pci) = (index, pci.parse().unwrap());
        vf.iommu_group = Some(100 + index);
        vf
    });
    adapter.vfs = vfs.collect();
    let vms = (1..=VMS).map(fixture::vm);
    let ports = vms.clone().map(|vm| {
        let nic = &vm.nics[0];
        fixture::port(nic.tap.as_ref().unwrap().as_str(), Some(nic.mac))
    });
    let ports = ports.collect::<Vec<_>>();
    status.bridges[0].ports.truncate(1);
    status.bridges[0].ports.extend(ports);
    let vms = vms.map(|facts| VmStatus {
        policy_seen: true,
        ..VmStatus::of(facts)
    });
    status.vms = vms.collect();
    status
}

/// Asks until there is an answer, as a person does whose command failed: the server may be away, or new.
async fn enable(client: Client, vm: String) {
    let request = AccelerateRequest {
        performance: Performance::Low,
        must_be_accelerated: None,
        add_adapter: false,
        waive: Vec::new(),
        because: None,
    };
    let asking = async {
        while let Err(error) = client.accelerate(&vm, &request, false).await {
            let problems = error.into_problems();
            let away = |problem: &Problem| matches!(problem.code.http_status(), 421 | 503);
            assert!(problems.iter().all(away), "{vm}: {problems:?}");
            tokio::time::sleep(AGAIN).await;
        }
    };
    let enabled = timeout(LIMIT, asking).await;
    enabled.unwrap_or_else(|_| panic!("{vm} is not enabled within {LIMIT:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_hundred_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let Two {
        etcd: _etcd,
        founded,
        places,
        running,
    } = Two::start(directory.path()).await;
    let [number, other] = roles(&places).await;
    let (first, second) = (&places[number], &places[other]);

    let token = first.join_token().await;
    let name = "node1".parse().unwrap();
    let mut credentials = join(&first.url(), &token, &name).await.unwrap();
    credentials.learn(&[first.address.clone(), second.address.clone()]);
    let reports = watch::Sender::new(Some(large()));
    let home = directory.path().join("node");
    let line = Line::new(credentials, home, Arc::new(Large), reports.subscribe());
    let line = tokio::spawn(line.run());
    until("the node is up", async || is_up(first).await).await;
    add_intent(first).await;
    let enabled = EnableRequest {
        intent: "compute".into(),
        node_reserve_percentage: Some(0),
        nodes_down: None,
        when: Some(WhenToCreateVfs::Now),
    };
    first.admin().enable(&enabled, false).await.unwrap();

    // People who named the server that stays.
    let (done, some) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let asked = (1..=VMS).map(|number| {
        let client = founded.person(second);
        let (done, some) = (Arc::clone(&done), Arc::clone(&some));
        tokio::spawn(async move {
            enable(client, format!("vm{number}")).await;
            if done.fetch_add(1, SeqCst) + 1 == BEFORE {
                some.notify_one();
            }
        })
    });
    let asked: Vec<_> = asked.collect();
    timeout(LIMIT, some.notified())
        .await
        .expect("nothing is done");
    running[number].signal(rustix::process::Signal::KILL);
    let before = done.load(SeqCst);
    for asked in asked {
        asked.await.unwrap();
    }
    eprintln!("killed when {before} of {VMS} had their answer");

    let vms = second.admin().vms().await.unwrap().items;
    let admitted = vms.iter().filter(|vm| vm.level == Some(Performance::Low));
    assert_eq!(admitted.count(), usize::from(VMS));
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for entry in second.admin().audit(None, None).await.unwrap().items {
        if entry.operation == "vm enable" {
            *times.entry(entry.subject).or_default() += 1;
        }
    }
    assert_eq!(times.len(), usize::from(VMS), "{times:?}");
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    line.abort();
}
