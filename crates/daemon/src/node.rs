//! `accelnetd join` and `accelnetd agent`: a machine becomes a node of a cluster, and is one.

use std::{io::Write, path::PathBuf, sync::Arc};

use accelnet_api::ServerUrl;
use accelnet_hypervisor::libvirt::{Libvirt, PeerUri, Peers};
use accelnet_link::{Credentials, Line};
use accelnet_model::Name;
use accelnet_server::{Door, connections};
use anyhow::{Context, Result};
use clap::Args;
use sd_notify::NotifyState;

use crate::{
    StateDir,
    alive::{self, Pulse},
    desk::{Desk, Judge},
    metrics::{MetricsArgs, page},
    own_agent::{self, AtLine, OwnAgent},
    pass_on,
    service::{self, Stop, tell_systemd},
    socket,
};

#[derive(Debug, Args)]
pub struct JoinArgs {
    #[command(flatten)]
    state: StateDir,
    /// A server of the cluster.
    #[arg(value_name = "https://HOST:PORT")]
    server: String,
    /// What 'accelnet node join-token' printed; '-' reads it from standard input, where no other user sees it.
    token: String,
    /// The node's name in the cluster.
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
}

#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(flatten)]
    state: StateDir,
    /// Socket on which requests are passed on to the cluster's server (root and group 'accelnet').
    #[arg(long, env = "ACCELNET_SOCKET", default_value = accelnet_api::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// libvirt's URI.
    #[arg(long, default_value = accelnet_hypervisor::libvirt::DEFAULT_URI, value_name = "URI")]
    libvirt: String,
    /// libvirt's URI of another node, as this one's libvirt reaches it, for 'accelnet vm move'.
    #[arg(
        long,
        env = "ACCELNET_PEER_LIBVIRT",
        default_value = "qemu+tls://{node}/system",
        value_name = "URI"
    )]
    peer_libvirt: PeerUri,
    /// Where this node's QEMU sends a VM's memory, e.g. tcp://{node}; without it libvirt chooses.
    #[arg(long, env = "ACCELNET_PEER_MEMORY", value_name = "URI")]
    peer_memory: Option<PeerUri>,
    #[command(flatten)]
    metrics: MetricsArgs,
}

/// Joins a cluster.
pub fn join(args: &JoinArgs) -> Result<()> {
    service::run(async {
        let server: ServerUrl = args
            .server
            .parse()
            .with_context(|| format!("'{}' is no server's address", args.server))?;
        let token = match args.token.as_str() {
            "-" => std::io::read_to_string(std::io::stdin()).context("no token was read")?,
            token => token.to_owned(),
        };
        let name = args.name.clone().map_or_else(service::node_name, Ok)?;
        let joined = accelnet_link::join(&server, token.trim(), &name).await?;
        joined.write(&Credentials::directory(&args.state.state_dir))?;
        writeln!(
            std::io::stdout(),
            "This machine is node '{}' of cluster {}.\n\nNext:\n  systemctl enable --now accelnet-agent",
            joined.name,
            joined.cluster
        )?;
        Ok(())
    })
}

/// Is a node until SIGTERM or SIGINT, or until the agent's loop has ended.
pub fn run(args: &AgentArgs) -> Result<()> {
    service::run(serve(args))
}

async fn serve(args: &AgentArgs) -> Result<()> {
    let mut stop_asked = Stop::listen()?;
    let socket = socket::listen(&args.socket)?;
    let metrics = args.metrics.listen().await?;
    let directory = Credentials::directory(&args.state.state_dir);
    let credentials = Credentials::read(&directory)?;
    let name = credentials.name.clone();
    let libvirt = Libvirt::new(&args.libvirt).with_peers(Peers {
        libvirt: args.peer_libvirt.clone(),
        memory: args.peer_memory.clone(),
    });
    let OwnAgent {
        agent,
        reports,
        only: _until_its_end,
    } = own_agent::start(&args.state.state_dir, Some(credentials.node), libvirt)?;
    let (last_report, own_reports) = (reports.clone(), reports.clone());
    let node = Arc::new(AtLine(Arc::clone(&agent), last_report.clone()));
    let line = Line::new(credentials, directory.clone(), node, reports);
    let measured = own_agent::measured(Arc::clone(&agent), last_report, Some(line.connected()));
    let numbers = page(measured);
    let desk = Desk {
        node: name.clone(),
        agent: Arc::clone(&agent),
        reports: own_reports,
        judge: Judge::Cluster(line.connected()),
    };
    let router = pass_on::router(name.clone(), line.connected(), directory)
        .merge(desk.router())
        .merge(numbers.clone());
    let line = tokio::spawn(line.run());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (stop_numbers, numbers_stopped) = tokio::sync::oneshot::channel::<()>();
    let numbers = metrics.serve(numbers, async move { drop(numbers_stopped.await) });
    let serving = tokio::spawn(async move {
        let until = async move { drop(stopped.await) };
        connections::serve_all(vec![Door::Local(socket.listener)], router, until).await;
    });
    tell_systemd(NotifyState::Ready);
    tracing::info!(node = %name, socket = %args.socket.display(), "ready");
    let watched = alive::until_dead(
        || Pulse::of(&agent),
        std::future::pending(),
        service::watchdog(),
        || tell_systemd(NotifyState::Watchdog),
    );
    let dead = tokio::select! {
        () = stop_asked.asked() => None,
        dead = watched => Some(dead),
    };
    alive::tell_end(dead.as_ref());
    drop(socket.path);
    let _ = stop.send(());
    let _ = stop_numbers.send(());
    // What is passed on ends with the line.
    line.abort();
    let _ = line.await;
    serving.abort();
    let _ = serving.await;
    numbers.await?;
    own_agent::end(agent, dead).await
}
