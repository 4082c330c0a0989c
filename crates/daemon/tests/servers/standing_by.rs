//! A server that stands by answers who takes what may be old, also when its store is away.

use std::sync::Arc;

use accelnet_api::Client;
use accelnet_link::{Line, Node, join};
use accelnet_model::{Code, NicPath};
use tokio::sync::watch;

use crate::rig::{Twin, Two, add_intent, is_up, roles, status, until};

/// How many VMs are told to be on a VF.
async fn on_vfs(client: &Client) -> Option<usize> {
    let vms = client.vms().await.ok()?.items;
    let on_vfs = vms.iter().filter(|vm| vm.nics[0].path == NicPath::Vf);
    Some(on_vfs.count())
}

async fn intents(client: &Client) -> Option<usize> {
    Some(client.intents().await.ok()?.items.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_read_from_a_server_that_stands_by() {
    let directory = tempfile::tempdir().unwrap();
    let Two {
        etcd,
        founded,
        places,
        running,
    } = Two::start(directory.path()).await;
    let [first, second] = roles(&places).await.map(|number| &places[number]);

    let token = first.join_token().await;
    let name = "node1".parse().unwrap();
    let credentials = join(&first.url(), &token, &name).await.unwrap();
    let twin = Arc::new(Twin(watch::Sender::new(None)));
    let reports = watch::Sender::new(Some(status()));
    let line = Line::new(
        credentials,
        directory.path().join("node"),
        twin as Arc<dyn Node>,
        reports.subscribe(),
    );
    let line = tokio::spawn(line.run());
    until("the node is up", async || is_up(first).await).await;
    add_intent(first).await;

    let local = second.admin().taking_what_may_be_old();
    let remote = founded.person(second).taking_what_may_be_old();
    for client in [&local, &remote] {
        let known = async || (intents(client).await? == 1).then_some(());
        until("the intent is known", known).await;
        let its = client.answered_from_copy_of();
        assert_eq!(its.as_deref(), Some(&*second.address));
    }
    // What the node said is there as it was kept, and is said to be of then.
    let node = async || {
        let node = local.node("node1").await.ok()?;
        (on_vfs(&local).await? == 1).then_some(node)
    };
    let (node, _) = until("the node's report is kept", node).await;
    assert!(!node.summary.reachable);
    let silent = node.summary.problems.first().unwrap();
    assert!(silent.detail.contains("what was kept"), "{silent}");
    let servers = remote.servers().await.unwrap().items;
    assert_eq!(servers.len(), 2);
    assert!(servers.iter().all(|its| !its.active && its.reachable));
    assert_eq!(remote.whoami().await.unwrap().name, "admin");

    // Who is nobody learns nothing from a copy either; who does not take what may be old is sent on.
    let nobody = accelnet_pki::tls::pinned(founded.fingerprint).unwrap();
    let nobody = Client::over_tls(&second.url(), &nobody, None).unwrap();
    let refused = nobody.taking_what_may_be_old().intents().await;
    let problems = refused.unwrap_err().into_problems();
    assert_eq!(problems[0].code, Code::NotAuthenticated);
    let current = founded.person(second);
    assert_eq!(intents(&current).await, Some(1));
    assert_eq!(current.answered_from_copy_of(), None);
    // What it does not tell is not taken for what is not there, and nothing is changed by it.
    for refused in [
        local.vm("nobody-knows").await.map(drop),
        local.remove_intent("compute", false).await.map(drop),
    ] {
        let problems = refused.unwrap_err().into_problems();
        assert_eq!(problems[0].code, Code::ServerNotActive, "{problems:?}");
    }

    // The store is away, and with it whoever decides.
    drop(etcd);
    let nobody_decides = async || {
        let problems = first.admin().status().await.err()?.into_problems();
        (problems[0].code == Code::ServerNotRunning).then_some(())
    };
    until("nobody decides", nobody_decides).await;
    for client in [&local, &remote] {
        assert_eq!(intents(client).await, Some(1));
        assert_eq!(on_vfs(client).await, Some(1));
        assert_eq!(client.adapters().await.unwrap().items.len(), 1);
    }
    line.abort();
    drop(running);
}
