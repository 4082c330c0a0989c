//! `accelnetd standalone`: server and agent of one host.
//!
//! Order at the start: socket (so that a second daemon ends here), store, agent, server, a first look
//! at the machine, ready. At the end: the server lets requests come to their end, then the agent its
//! switch-overs. If the agent's loop or the store has ended by itself that is an error, so that whoever
//! started the daemon starts it again.

use std::{sync::Arc, time::Duration};

use accelnet_agent::{Agent, Config};
use accelnet_host::linux::Linux;
use accelnet_hypervisor::libvirt::Libvirt;
use accelnet_model::{Name, NodeStatus};
use accelnet_server::{Nodes, Server};
use accelnet_store::{SqliteOptions, SqliteStore};
use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    Standalone,
    alive::{self, Pulse},
    local::LocalNode,
    socket,
};

/// The store's file in the state directory.
const STATE_FILE: &str = "state.sqlite";

/// Switch-overs under way come to their end within this (`TimeoutStopSec` of the unit), or not at all.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT, or until what it cannot do without has ended.
pub fn run(args: &Standalone) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(args));
    // A thread that hangs must not keep the process.
    runtime.shutdown_background();
    ended
}

async fn serve(args: &Standalone) -> Result<()> {
    // From here on a signal ends the daemon in order.
    let (mut term, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let name = node_name()?;
    let socket = socket::listen(&args.socket)?;
    let file = args.state.state_dir.join(STATE_FILE);
    let store = SqliteStore::open(&file, SqliteOptions::default()).await?;
    let mut store_end = store.end();
    // The agent reports from its first pass on, the server is there a moment later.
    let (reports, mut last_report) = watch::channel(NodeStatus::default());
    let agent = Arc::new(start_agent(args, reports));
    let node = Arc::new(LocalNode {
        names: [name.clone()].into(),
        agent: Arc::clone(&agent),
    });
    let server = Server::new(store, Arc::clone(&node) as Arc<dyn Nodes>)
        .await
        .map_err(anyhow::Error::new)
        .with_context(|| format!("the state in {} cannot be used", file.display()))?;
    if let Err(problem) = node.refresh(&name).await {
        // It reports when it can; until then the server says that it does not.
        tracing::warn!(%problem, "the first look at the node");
    }
    let reported_to = server.clone();
    let forwarding = tokio::spawn(async move {
        while last_report.changed().await.is_ok() {
            let status = last_report.borrow_and_update().clone();
            reported_to.report(&name, status);
        }
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut serving = tokio::spawn(async move {
        let until = async move { drop(stopped.await) };
        server.serve(socket.listener, until).await;
    });
    tell_systemd(NotifyState::Ready);
    tracing::info!(socket = %args.socket.display(), state = %file.display(), "ready");
    let watched = alive::until_dead(
        || Pulse::of(&agent),
        store_end.wait(),
        sd_notify::watchdog_enabled(),
        || tell_systemd(NotifyState::Watchdog),
    );
    let dead = tokio::select! {
        _ = term.recv() => None,
        _ = interrupt.recv() => None,
        dead = watched => Some(dead),
        served = &mut serving => {
            served.context("the API's server failed")?;
            None
        }
    };
    match &dead {
        None => tracing::info!("stopping"),
        Some(dead) => tracing::error!("stopping: {dead}"),
    }
    tell_systemd(NotifyState::Stopping);
    // Nobody new finds the socket from here on.
    drop(socket.path);
    let _ = stop.send(());
    if !serving.is_finished() {
        serving.await?;
    }
    forwarding.abort();
    // It was aborted.
    let _ = forwarding.await;
    drop(node);
    // The last one that holds it: its end waits for switch-overs under way.
    let ended = tokio::task::spawn_blocking(move || drop(agent));
    let Some(dead) = dead else {
        return Ok(ended.await?);
    };
    // What has made it useless may keep it from its end as well.
    if tokio::time::timeout(END_LIMIT, ended).await.is_err() {
        tracing::warn!("the agent does not come to its end");
    }
    Err(dead.into())
}

/// Systemd may not be there, and if it does not listen there is nobody to tell that.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

fn start_agent(args: &Standalone, reports: watch::Sender<NodeStatus>) -> Agent {
    let config = Config {
        state_dir: args.state.state_dir.clone(),
    };
    // This program, also when an update has put another in its place.
    let linux = Linux::new().with_guard("/proc/self/exe".into(), vec!["hold-guard".to_owned()]);
    let host = Arc::new(linux);
    let hypervisor = Arc::new(Libvirt::new(&args.libvirt));
    Agent::start(config, host, hypervisor, move |status| {
        reports.send_replace(status);
    })
}

/// The host's name, in the form of our names.
fn node_name() -> Result<Name> {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    name.parse().with_context(|| {
        format!("the host's name '{name}' cannot be used; set it with hostnamectl")
    })
}
