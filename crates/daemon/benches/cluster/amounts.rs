//! What an admission and a report write to the store.

use std::collections::BTreeSet;

use accelnet_server::fake::simulated::vm_name;

use crate::{
    ACCELERATED, Cluster, FOR_ADMISSIONS,
    load::{Clients, Vms, What},
    written::{Part, Shape, Writes},
};

/// So many are looked at: what is kept of their nodes is written by then.
const LOOKED_AT: u64 = 90;
/// A VM of each node that is nobody else's.
const VM: u32 = ACCELERATED + FOR_ADMISSIONS;

/// Prints it; how long the values of an admission are.
pub async fn measure(cluster: &Cluster<'_>) -> Shape {
    println!("written to the store:");
    let nodes = LOOKED_AT.min(cluster.size.nodes / 3);
    let mut shape = None;
    for clients in [1, 8] {
        let mut writes = Writes::follow(&cluster.store).await;
        for (what, words) in [
            (What::Admission, "an admission"),
            (What::GiveBack, "its end"),
        ] {
            let vms = (0..nodes).map(|node| vm_name(node, VM)).collect();
            let asking = [(clients, what, Vms::of(vms))];
            let asked = Clients::start(&cluster.founded, cluster.place(), &asking).await;
            let done = asked.done().await;
            writes.read().await;
            if what == What::Admission {
                shape.get_or_insert(writes.shape());
            }
            println!(
                "  {words}, {clients} at a time: {}{}",
                writes.of_each(done.acknowledged.len() as u64),
                done.refusals()
            );
        }
    }
    of_reports(cluster, nodes).await;
    shape.expect("it was looked at")
}

async fn of_reports(cluster: &Cluster<'_>, nodes: u64) {
    let admit = async |node: u64, what| {
        let asking = [(1, what, Vms::of(vec![vm_name(node, VM)]))];
        let asked = Clients::start(&cluster.founded, cluster.place(), &asking).await;
        asked.done().await
    };
    let mut writes = Writes::follow(&cluster.store).await;
    // Once a change of the last node is kept, nothing of before waits for that any more.
    let last = cluster.size.nodes - 1;
    let name = cluster.fleet.name(last);
    admit(last, What::Admission).await;
    writes.until_kept(|kept| kept.contains(&name)).await;
    let before = writes.amount(Part::Reports);
    println!(
        "  a report of {:.1} KiB: {:.1} KiB, if what is kept of it has changed",
        cluster.fleet.report_bytes() as f64 / 1024.0,
        before.bytes as f64 / 1024.0 / before.puts.max(1) as f64,
    );
    // Nodes that were left alone until now.
    let breathing = nodes..2 * nodes;
    let names: BTreeSet<String> = breathing
        .clone()
        .map(|node| cluster.fleet.name(node))
        .collect();
    writes.kept.clear();
    cluster.fleet.breathe(breathing);
    admit(last, What::GiveBack).await;
    writes.until_kept(|kept| kept.contains(&name)).await;
    println!(
        "  {nodes} reports of which nothing is kept: {} writes",
        writes.kept.intersection(&names).count()
    );
}
