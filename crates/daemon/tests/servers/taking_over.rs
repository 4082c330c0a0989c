//! Two servers on one etcd: one decides, the other points to it; what happens when it dies, and when it is stopped.
//! A node's line, in this process, follows.

use std::sync::Arc;

use accelnet_api::agents::ACTIVE_HEADER;
use accelnet_link::{Line, Node, join};
use tokio::sync::watch;

use crate::rig::{Place, Twin, add_intent, etcd, found, is_up, roles, status, told, until};

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_decides_and_the_other_takes_over() {
    let directory = tempfile::tempdir().unwrap();
    let (_etcd, store) = etcd(directory.path());
    let places = ["a", "b"].map(|name| Place::new(directory.path(), name, &store));
    let founded = found(&places[0]).await;
    let again = places[0].accelnetd("init").output().unwrap();
    assert!(
        !again.status.success() && again.stdout.is_empty(),
        "founded twice"
    );
    let mut running = [places[0].start(), places[1].start()];

    let [number, other] = roles(&places).await;
    let (first, second) = (&places[number], &places[other]);
    let standing_by = async || second.admin().status().await.err();
    let (refused, _) = until("the other answers", async || {
        let problems = standing_by().await?.into_problems();
        (problems[0].code == accelnet_model::Code::ServerNotActive).then(|| problems[0].clone())
    })
    .await;
    assert!(refused.detail.contains(&first.address), "{refused}");
    assert_eq!(ACTIVE_HEADER, "x-accelnet-active");

    // Whoever comes over the network is sent on, under the same authority, and asks the right one from then on.
    let person = founded.person(second);
    assert_eq!(person.whoami().await.unwrap().name, "admin");
    let servers = person.servers().await.unwrap().items;
    let active = servers.iter().find(|server| server.active).unwrap();
    assert_eq!(active.address, first.address);

    // A machine joins by whichever it asks, and is told of changes.
    let token = first.join_token().await;
    let credentials = join(&second.url(), &token, &"node1".parse().unwrap())
        .await
        .unwrap();
    let mut credentials = credentials;
    credentials.learn(&[first.address.clone(), second.address.clone()]);
    let twin = Arc::new(Twin(watch::Sender::new(None)));
    let reports = watch::Sender::new(Some(status()));
    let home = directory.path().join("node");
    let line = Line::new(
        credentials,
        home,
        Arc::clone(&twin) as Arc<dyn Node>,
        reports.subscribe(),
    );
    let line = tokio::spawn(line.run());
    until("the node is up", async || is_up(first).await).await;
    add_intent(first).await;
    told(&twin, 1).await;

    // It dies.
    running[number].signal(rustix::process::Signal::KILL);
    let (_, decided) = until("the other decides", async || {
        second.decides().await.then_some(())
    })
    .await;
    let (_, up) = until("the node is up there", async || is_up(second).await).await;
    second
        .admin()
        .remove_intent("compute", false)
        .await
        .unwrap();
    told(&twin, 0).await;
    // The one that it was sent on to is gone; the one that it was made for decides now.
    assert_eq!(person.whoami().await.unwrap().name, "admin");
    eprintln!("killed: another decides after {decided:.1?}, the node is up after {up:.1?} more");

    // It is back, and stands by.
    running[number] = first.start();
    until("it stands by", async || {
        let problems = first.admin().status().await.err()?.into_problems();
        (problems[0].code == accelnet_model::Code::ServerNotActive).then_some(())
    })
    .await;

    // One that is stopped hands over at once, without waiting for the end of a lease.
    running[1 - number].signal(rustix::process::Signal::TERM);
    let (_, handed) = until("it is handed over", async || {
        first.decides().await.then_some(())
    })
    .await;
    let (_, up) = until("the node is up again", async || is_up(first).await).await;
    eprintln!("stopped: another decides after {handed:.1?}, the node is up after {up:.1?} more");
    // What the other wrote is there, and the node hears of what this one writes.
    assert!(first.admin().intents().await.unwrap().items.is_empty());
    add_intent(first).await;
    told(&twin, 1).await;
    line.abort();
    forgotten(first, second).await;
}

/// The one that was stopped is seen to be gone, and is forgotten when somebody says so; the one that decides is not.
async fn forgotten(decides: &Place, gone: &Place) {
    let admin = decides.admin();
    until("it is seen to be gone", async || {
        let servers = admin.servers().await.unwrap().items;
        let its = servers.into_iter().find(|its| its.address == gone.address);
        (!its.unwrap().reachable).then_some(())
    })
    .await;
    let refused = admin.remove_server(&decides.address, false).await;
    let problems = refused.unwrap_err().into_problems();
    assert_eq!(problems[0].code, accelnet_model::Code::Conflict);
    let planned = admin.remove_server(&gone.address, true).await.unwrap();
    assert_eq!(planned.object.address, gone.address);
    assert_eq!(admin.servers().await.unwrap().items.len(), 2);
    admin.remove_server(&gone.address, false).await.unwrap();
    let left = admin.servers().await.unwrap().items;
    assert!(
        left.len() == 1 && left[0].active && left[0].reachable,
        "{left:?}"
    );
    let none = admin.remove_server(&gone.address, false).await;
    let problems = none.unwrap_err().into_problems();
    assert_eq!(problems[0].code, accelnet_model::Code::ServerNotFound);
}
