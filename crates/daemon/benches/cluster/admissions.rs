//! Durable admissions a second, beside what bare transactions of that size allow.

use std::time::Duration;

use crate::{
    ACCELERATED, Cluster, FOR_ADMISSIONS,
    busy::{Busy, Meter},
    load::{Clients, Done, Vms, What, bare},
    written::Shape,
};

/// How long admissions are asked for, and bare transactions made, each time.
const TIME: Duration = Duration::from_secs(3);
/// They take turns, so that both see the same machine.
const ROUNDS: usize = 2;
/// With 8 clients it is at least this part of the bare transactions.
const BAR: f64 = 0.8;

pub async fn measure(cluster: &Cluster<'_>, shape: Shape) {
    for clients in [1, 8, 64] {
        println!("{clients} clients, HTTPS and a token:");
        let (mut rates, mut bares) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (done, busy) = admit(cluster, clients).await;
            done.say("admissions");
            busy.say("      ");
            let each = |used: Duration| used / (done.acknowledged.len().max(1) as u32);
            println!(
                "      an admission's processor time: server {:.2?}, etcd {:.2?}, simulated node and client {:.2?}",
                each(busy.server),
                each(busy.etcd),
                each(busy.own)
            );
            give_back(cluster, clients, &done).await.say("given back");
            let meter = Meter::new(cluster.processes());
            let rate = bare(&cluster.store, shape, clients as u64, TIME).await;
            println!("    bare transactions of that size: {rate:.0} a second");
            meter.read().say("      ");
            rates.push(done.rate());
            bares.push(rate);
        }
        let ratio = rates.iter().sum::<f64>() / bares.iter().sum::<f64>();
        let bar = match clients {
            8 => format!(" (bar: {BAR})"),
            _ => String::new(),
        };
        println!("  admissions to bare transactions, {clients} clients: {ratio:.2}{bar}");
    }
}

async fn admit(cluster: &Cluster<'_>, clients: usize) -> (Done, Busy) {
    let numbers = ACCELERATED..ACCELERATED + FOR_ADMISSIONS;
    let vms = Vms::numbered(cluster.size, numbers);
    let asking = [(clients, What::Admission, vms)];
    let asked = Clients::start(&cluster.founded, cluster.place(), &asking).await;
    let meter = Meter::new(cluster.processes());
    let done = asked.for_time(TIME).await;
    let busy = meter.read();
    cluster
        .holds(&cluster.place().admin(), &done.acknowledged)
        .await;
    (done, busy)
}

async fn give_back(cluster: &Cluster<'_>, clients: usize, admitted: &Done) -> Done {
    let asking = [(clients, What::GiveBack, Vms::of(admitted.names()))];
    let asked = Clients::start(&cluster.founded, cluster.place(), &asking).await;
    let done = asked.done().await;
    cluster
        .holds(&cluster.place().admin(), &done.acknowledged)
        .await;
    done
}
