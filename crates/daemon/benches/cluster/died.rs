//! The active of two servers is killed under load: how long until a client's change is accepted again; whether all
//! that was acknowledged is there, and each change was made once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use accelnet_model::Code;
use accelnet_server::fake::simulated::Size;
use rustix::process::Signal;

use crate::{
    ACCELERATED, Cluster, FOR_ADMISSIONS,
    busy::Meter,
    load::{Acknowledged, Clients, Vms, What},
    restarted::until_all_are_up,
    running::Running,
    shared::{Place, until},
    written::Writes,
};

/// Of each kind.
const CLIENTS: usize = 4;
/// The load before the kill, and the least after it.
const LOAD: Duration = Duration::from_secs(3);
/// The daemon's (`kept.rs`).
const LEASE: Duration = Duration::from_secs(5);
/// Beyond the lease.
const BAR: Duration = Duration::from_secs(2);

pub async fn measure(cluster: &mut Cluster<'_>) {
    println!(
        "the active of two servers is killed, {} clients:",
        2 * CLIENTS
    );
    let second = Place::new(cluster.directory, "b", &cluster.place().store);
    let second = Running::start(second);
    let place = Arc::clone(&second.place);
    until("it stands by", async || {
        let problems = place.admin().status().await.err()?.into_problems();
        (problems[0].code == Code::ServerNotActive).then_some(())
    })
    .await;
    // Agents that were told of both.
    cluster.fleet.listen();
    let both = [&*cluster.server.place, &*place];
    cluster.fleet.start_again(&both).await;
    cluster.fleet.all_told().await;
    until_all_are_up(&cluster.place().admin(), cluster.fleet.len()).await;

    let Size { nodes, .. } = cluster.size;
    // A change is in the record only if it is one.
    let wanted = cluster.wanted(&cluster.place().admin()).await;
    let others = ACCELERATED..ACCELERATED + FOR_ADMISSIONS;
    let others = Vms::numbered(cluster.size, others).only(|vm| !wanted[vm]);
    let asking = [
        (CLIENTS, What::Admission, others),
        (
            CLIENTS,
            What::GiveBack,
            Vms::numbered(cluster.size, 0..ACCELERATED),
        ),
    ];
    let store = cluster.store.clone();
    let mut writes = Writes::follow(&store).await;
    let clients = Clients::start(&cluster.founded, &place, &asking).await;
    writes.read_until(tokio::time::sleep(LOAD)).await;
    let killed = Instant::now();
    let dead = cluster.server.end(Signal::KILL).await;
    cluster.fleet.listen();
    cluster.server = second;
    let meter = Meter::new(cluster.processes());
    let told = writes.read_until(cluster.fleet.all_told()).await;
    let busy = meter.read();
    writes.read_until(tokio::time::sleep(LOAD)).await;
    clients.stop();
    let done = writes.read_until(clients.done()).await;
    writes.read().await;

    let first = |what| {
        let after = done.acknowledged.iter();
        let after = after.filter(|one| one.what == what && one.asked >= dead);
        after.map(|one| one.answered - killed).min()
    };
    let (given, admitted) = (first(What::GiveBack), first(What::Admission));
    let before = done
        .acknowledged
        .iter()
        .filter(|one| one.answered <= killed)
        .count();
    println!(
        "  {before} changes were acknowledged before, {} after",
        done.acknowledged.len() - before
    );
    say(
        "the next change that is acknowledged",
        [given, admitted].into_iter().flatten().min(),
        true,
    );
    say("the next admission, which asks its node", admitted, false);
    println!(
        "  all {nodes} nodes are connected to the other and told: {:.1?} after the kill",
        told.last().copied().unwrap_or_default()
    );
    busy.say("  ");
    if !done.refused.is_empty() {
        println!("  and{}", done.refusals());
    }
    check(cluster, &place, &done.acknowledged, &writes).await;
    println!("  every change that was acknowledged is there, and is in the record once");
    cluster.server.say();
}

fn say(what: &str, after: Option<Duration>, with_bar: bool) {
    let bar = match with_bar {
        true => format!(" (lease {LEASE:?}; bar {:?})", LEASE + BAR),
        false => String::new(),
    };
    match after {
        Some(after) => println!("  {what}: {after:.1?} after the kill{bar}"),
        None => println!("  {what}: none was left to be asked for"),
    }
}

async fn check(cluster: &Cluster<'_>, place: &Place, done: &[Acknowledged], writes: &Writes<'_>) {
    cluster.holds(&place.admin(), done).await;
    for one in done {
        let (operation, subject) = match one.what {
            What::Admission => ("vm enable", format!("{} Medium", one.vm)),
            What::GiveBack => ("vm disable", one.vm.clone()),
        };
        let times = writes.recorded.get(&(operation.to_owned(), subject));
        assert_eq!(
            times.copied(),
            Some(1),
            "{operation} {} was acknowledged, and made so often",
            one.vm
        );
    }
    let twice = writes.recorded.iter().find(|(_, times)| **times > 1);
    assert_eq!(twice, None, "made more than once");
}
