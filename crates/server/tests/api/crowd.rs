//! Many at once, while a node falls silent and comes back: never more than fits, and nobody refused
//! without a reason that was true while they asked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Instant,
};

use accelnet_rules::{Observed, fixture};
use accelnet_server::fake::FakeNodes;
use tokio::{sync::watch, task::JoinSet};

use crate::rig::{Answer, Rig, with_vms};

const CLIENTS: usize = 8;
const VMS: u8 = 60;
/// Of each of the two nodes.
const VFS: u32 = 24;

fn node_of(vm: u8) -> &'static str {
    if vm <= VMS / 2 { "node1" } else { "node2" }
}

fn node(vms: std::ops::RangeInclusive<u8>) -> Observed {
    let mut seen = with_vms(&vms.collect::<Vec<u8>>());
    seen.node.memory_available_mib = 1 << 20;
    seen.adapters[0] = fixture::adapter(VFS);
    seen.adapters[0].total_vfs = VFS;
    seen
}

/// A request, and what came of it.
struct Asked {
    vm: u8,
    begin: Instant,
    end: Instant,
    answer: Answer,
}

impl Asked {
    fn done(&self) -> bool {
        self.answer.status == 200
    }
}

/// Clients ask for all of these, one after the other each, and say how many are answered.
async fn ask(rig: &Rig, vms: Vec<u8>, answered: &watch::Sender<usize>) -> Vec<Asked> {
    let queue = Arc::new(Mutex::new(VecDeque::from(vms)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (queue, http, answered) = (Arc::clone(&queue), rig.http.clone(), answered.clone());
        clients.spawn(async move {
            let mut all = Vec::new();
            loop {
                let next = queue.lock().unwrap().pop_front();
                let Some(vm) = next else {
                    return all;
                };
                let begin = Instant::now();
                let answer = http.accelerate(&format!("vm{vm}"), "low").await;
                let end = Instant::now();
                all.push(Asked {
                    vm,
                    begin,
                    end,
                    answer,
                });
                answered.send_modify(|count| *count += 1);
            }
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

/// How many are admitted, by node.
async fn admitted(rig: &Rig) -> BTreeMap<&'static str, u32> {
    let list = rig.http.get("/vms").await.done();
    let mut counts = BTreeMap::from([("node1", 0), ("node2", 0)]);
    for vm in list["items"].as_array().unwrap() {
        let number: u8 = vm["name"].as_str().unwrap()[2..].parse().unwrap();
        if vm["level"] == "low" {
            *counts.get_mut(node_of(number)).unwrap() += 1;
        }
    }
    counts
}

async fn crowd(reserve: i64) {
    let nodes = FakeNodes::new([("node1", node(1..=30)), ("node2", node(31..=60))]);
    let rig = Rig::of(nodes).await;
    rig.enable(reserve).await;
    let is_full = |counts: &BTreeMap<&str, u32>, on: &str| match reserve {
        0 => counts[on] >= VFS,
        // The other node has to have room for all.
        _ => counts.values().sum::<u32>() >= VFS,
    };
    let (answered, mut progress) = watch::channel(0);
    // Those of both nodes in turn.
    let vms: Vec<u8> = (1..=VMS / 2).flat_map(|vm| [vm, vm + VMS / 2]).collect();
    let silence = async {
        progress.wait_for(|count| *count >= 8).await.unwrap();
        let begin = Instant::now();
        rig.nodes.silent("node2", true);
        progress.wait_for(|count| *count >= 20).await.unwrap();
        rig.nodes.silent("node2", false);
        (begin, Instant::now())
    };
    let (asked, (silent_from, silent_to)) = tokio::join!(ask(&rig, vms, &answered), silence);
    let counts = admitted(&rig).await;
    let fits = |counts: &BTreeMap<&str, u32>| match reserve {
        0 => counts.values().all(|count| *count <= VFS),
        _ => counts.values().sum::<u32>() <= VFS,
    };
    assert!(fits(&counts), "{counts:?}");
    for refused in asked.iter().filter(|asked| !asked.done()) {
        let codes = refused.answer.codes();
        let in_silence = refused.begin <= silent_to && refused.end >= silent_from;
        // All that can have been admitted when it was refused.
        let mut before = BTreeMap::from([("node1", 0), ("node2", 0)]);
        for other in asked
            .iter()
            .filter(|asked| asked.done() && asked.begin < refused.end)
        {
            *before.get_mut(node_of(other.vm)).unwrap() += 1;
        }
        let on = node_of(refused.vm);
        let right = match codes[0].as_str() {
            "agent_unreachable" => in_silence && on == "node2",
            // A node that is down is more than no reserve allows for.
            "cluster_not_enough_resources" => is_full(&before, on) || (in_silence && reserve == 0),
            "no_free_vf" => before[on] >= VFS,
            _ => false,
        };
        assert!(
            right,
            "vm{}: {before:?} {}",
            refused.vm, refused.answer.body
        );
    }
    // Who was refused for the silence only has room now, and nobody else.
    let again = asked.iter().filter(|asked| !asked.done());
    let again = again.map(|asked| asked.vm).collect();
    ask(&rig, again, &answered).await;
    let counts = admitted(&rig).await;
    assert!(fits(&counts), "{counts:?}");
    assert!(
        is_full(&counts, "node1") && is_full(&counts, "node2"),
        "{counts:?}"
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_reserve() {
    crowd(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_half_of_the_nodes_held_back() {
    crowd(50).await;
}
