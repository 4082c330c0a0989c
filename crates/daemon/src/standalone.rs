//! `accelnetd standalone`: server and agent of one host.

use std::sync::{Arc, OnceLock};

use accelnet_agent::{Agent, Config};
use accelnet_host::linux::Linux;
use accelnet_hypervisor::libvirt::Libvirt;
use accelnet_model::Name;
use accelnet_server::Server;
use accelnet_store::{SqliteOptions, SqliteStore};
use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::{Standalone, local::LocalNode, socket};

/// Runs until SIGTERM or SIGINT.
pub fn run(args: &Standalone) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Standalone) -> Result<()> {
    let directory = &args.state.state_dir;
    let name = node_name()?;
    let listener = socket::listen(&args.socket)?;
    let store = SqliteStore::open(directory.join("state.sqlite"), SqliteOptions::default()).await?;
    // The agent reports from its first pass on, the server is there a moment later.
    let server: Arc<OnceLock<Server>> = Arc::default();
    let agent = start_agent(args, &name, &server);
    let node = LocalNode {
        name: name.clone(),
        agent: Arc::clone(&agent),
    };
    let made = Server::new(store, Arc::new(node))
        .await
        .map_err(anyhow::Error::new)?;
    if let Ok(status) = {
        let agent = Arc::clone(&agent);
        tokio::task::spawn_blocking(move || agent.refresh(std::time::Duration::from_secs(30)))
            .await?
    } {
        made.report(name, status);
    }
    let served = made.clone();
    let _ = server.set(made);
    let (mut term, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        served
            .serve(listener, async move { drop(stopped.await) })
            .await
    });
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).context("systemd cannot be told")?;
    tracing::info!(socket = %args.socket.display(), "ready");
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let _ = stop.send(());
    // Watches have no end: give others a moment, then go.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), serving).await;
    Ok(())
}

fn start_agent(args: &Standalone, name: &Name, server: &Arc<OnceLock<Server>>) -> Arc<Agent> {
    let config = Config {
        state_dir: args.state.state_dir.clone(),
    };
    let (server, name) = (Arc::clone(server), name.clone());
    let host = Arc::new(Linux::new());
    let hypervisor = Arc::new(Libvirt::new(&args.libvirt));
    Arc::new(Agent::start(config, host, hypervisor, move |status| {
        if let Some(server) = server.get() {
            server.report(name.clone(), status);
        }
    }))
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
