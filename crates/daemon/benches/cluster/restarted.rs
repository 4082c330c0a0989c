//! The server is started again: how long until all nodes are connected and have been told their part, and what that
//! costs the server.

use std::time::Instant;

use accelnet_api::Client;
use rustix::process::Signal;

use crate::{
    Cluster,
    busy::{self, Meter, of_process},
    load::at,
    shared::until,
};

pub async fn measure(cluster: &Cluster<'_>) {
    println!("the server is started again:");
    let before = cluster.wanted(&cluster.place().admin()).await;
    let begun = Instant::now();
    let ended = cluster.server.end(Signal::TERM).await;
    println!("  it ended in {:.1?}", ended - begun);
    cluster.fleet.listen();
    cluster.server.start_again();
    let meter = Meter::new(cluster.processes());
    let place = cluster.place();
    let decides = until("it decides", async || place.decides().await.then_some(()));
    let ((_, decides), told) = tokio::join!(decides, cluster.fleet.all_told());
    let (time, busy) = (meter.read().time, meter.read());
    let server = cluster.processes().server;
    let used = of_process(server);
    let (now, most) = busy::memory(server);
    println!(
        "  it decides after {decides:.1?}; nodes are connected and told after: half {:.1?}, 99 % {:.1?}, all {} {:.1?}",
        at(&told, 50),
        at(&told, 99),
        cluster.fleet.len(),
        told.last().copied().unwrap_or_default()
    );
    println!(
        "  the server used {used:.1?} of processor in these {time:.1?}, and has {now} MiB (at most {most})"
    );
    busy.say("  ");
    until_all_are_up(&place.admin(), cluster.fleet.len()).await;
    let after = cluster.wanted(&place.admin()).await;
    assert!(before == after, "what was wanted before is wanted after");
}

/// As the server says.
pub async fn until_all_are_up(admin: &Client, nodes: usize) {
    let up = async || {
        let status = admin.status().await.ok()?;
        let up = status.nodes.iter().filter(|node| node.reachable).count();
        (up == nodes).then_some(())
    };
    until("all nodes are up", up).await;
}
