//! `accelnetd standalone`: server and agent of one host.
//!
//! Order at the start: socket (so that a second daemon ends here), store, agent, server, a first look
//! at the machine, ready. At the end: the server lets requests come to their end, then the agent its
//! switch-overs. If the agent's loop or the store has ended by itself that is an error, so that whoever
//! started the daemon starts it again.

use std::sync::Arc;

use accelnet_hypervisor::libvirt::Libvirt;
use accelnet_server::{Door, Nodes, Server};
use accelnet_store::{SqliteOptions, SqliteStore};
use anyhow::{Context, Result};
use sd_notify::NotifyState;

use crate::{
    Standalone,
    alive::{self, Pulse},
    desk::{Desk, Judge},
    local::LocalNode,
    own_agent::{self, OwnAgent},
    service::{self, Stop, tell_systemd},
    socket,
};

/// The store's file in the state directory.
const STATE_FILE: &str = "state.sqlite";

/// Runs until SIGTERM or SIGINT, or until what it cannot do without has ended.
pub fn run(args: &Standalone) -> Result<()> {
    service::run(serve(args))
}

async fn serve(args: &Standalone) -> Result<()> {
    let mut stop_asked = Stop::listen()?;
    let name = service::node_name()?;
    let socket = socket::listen(&args.socket)?;
    let metrics = args.metrics.listen().await?;
    let file = args.state.state_dir.join(STATE_FILE);
    let store = SqliteStore::open(&file, SqliteOptions::default()).await?;
    let mut store_end = store.end();
    // The agent reports from its first pass on, the server is there a moment later.
    let OwnAgent {
        agent,
        reports: mut last_report,
        only: _until_its_end,
    } = own_agent::start(&args.state.state_dir, None, Libvirt::new(&args.libvirt))?;
    let node = Arc::new(LocalNode {
        names: [name.clone()].into(),
        agent: Arc::clone(&agent),
        last: last_report.clone(),
    });
    let nodes = Arc::clone(&node) as Arc<dyn Nodes>;
    let server = Server::with(store, nodes, args.health.settings()?)
        .await
        .map_err(anyhow::Error::new)
        .with_context(|| format!("the state in {} cannot be used", file.display()))?;
    if let Err(problem) = node.refresh(&name).await {
        // It reports when it can; until then the server says that it does not.
        tracing::warn!(%problem, "the first look at the node");
    }
    server.also_measure(own_agent::measured(
        Arc::clone(&agent),
        last_report.clone(),
        None,
    ));
    let numbers = server.metrics_page();
    let desk = Desk {
        node: name.clone(),
        agent: Arc::clone(&agent),
        reports: last_report.clone(),
        judge: Judge::Own(server.clone()),
    };
    let beside = desk.router();
    let reported_to = server.clone();
    let forwarding = tokio::spawn(async move {
        while last_report.changed().await.is_ok() {
            let status = last_report.borrow_and_update().clone();
            if let Some(status) = status {
                reported_to.report(&name, status);
            }
        }
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (stop_numbers, numbers_stopped) = tokio::sync::oneshot::channel::<()>();
    let numbers = metrics.serve(numbers, async move { drop(numbers_stopped.await) });
    let mut serving = tokio::spawn(async move {
        let until = async move { drop(stopped.await) };
        server
            .serve_beside(vec![Door::Local(socket.listener)], beside, until)
            .await;
    });
    tell_systemd(NotifyState::Ready);
    tracing::info!(socket = %args.socket.display(), state = %file.display(), "ready");
    let watched = alive::until_dead(
        || Pulse::of(&agent),
        store_end.wait(),
        service::watchdog(),
        || tell_systemd(NotifyState::Watchdog),
    );
    let dead = tokio::select! {
        () = stop_asked.asked() => None,
        dead = watched => Some(dead),
        served = &mut serving => {
            served.context("the API's server failed")?;
            None
        }
    };
    alive::tell_end(dead.as_ref());
    // Nobody new finds the socket from here on.
    drop(socket.path);
    let _ = stop.send(());
    let _ = stop_numbers.send(());
    if !serving.is_finished() {
        serving.await?;
    }
    numbers.await?;
    forwarding.abort();
    // It was aborted.
    let _ = forwarding.await;
    drop(node);
    own_agent::end(agent, dead).await
}
