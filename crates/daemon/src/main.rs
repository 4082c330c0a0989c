//! `accelnetd`: the daemon. Only wiring; what it does is in the libraries.

mod alive;
mod boot;
mod cluster;
mod etcd_files;
mod health;
mod hook;
mod incoming;
mod kept;
mod local;
mod lock;
mod metrics;
mod node;
mod own_agent;
mod pass_on;
mod restore;
mod service;
mod socket;
mod stage;
mod standalone;

use std::{io::Write, path::PathBuf, process::ExitCode};

use accelnet_host::linux::hold_guard;
use clap::{Args as ClapArgs, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  accelnetd standalone                server and agent of one host, in one process
  accelnetd init --address server1:7643              found a cluster, print its first token
  accelnetd server --address server1:7643            serve it
  accelnetd join https://server1:7643 TOKEN          make this machine one of its nodes
  accelnetd restore --dry-run state.backup           put a backup back
  accelnetd agent                                    be that node
  accelnetd hook install              have libvirt ask before a VM comes in on its VF
  accelnetd boot                      make the VFs of the last run again (an early unit runs it)
  RUST_LOG=debug accelnetd standalone

Normally systemd runs it: packaging/systemd/accelnetd.service (one host), accelnet-server.service and
accelnet-agent.service (a cluster), accelnet-boot.service.";

/// Accelerated networking (SR-IOV) for KVM virtual machines: the daemon.
#[derive(Debug, Parser)]
#[command(name = "accelnetd", version, after_help = EXAMPLES, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Server and agent of one host, in one process, on an SQLite file.
    Standalone(Standalone),
    /// Found a cluster, and print its first administrator's token.
    Init(cluster::Init),
    /// Serve a cluster: what it allows, and its API.
    Server(cluster::ServerArgs),
    /// Put a backup of the cluster's state back, while no server runs; into another kind of store too.
    ///
    /// What differs between the present state and the backup is said before. A backup takes no VM off its VF: what it
    /// does not know is left as it is. A store that has the cluster keeps its authority, nodes and tokens.
    Restore(restore::Restore),
    /// Make this machine a node of a cluster.
    Join(node::JoinArgs),
    /// Be a node of a cluster: do what its server wants here, and report.
    Agent(node::AgentArgs),
    /// Make virtual functions again from the ledger, before networks and guests start.
    Boot(StateDir),
    /// What libvirt asks before a VM comes in on its VF.
    #[command(subcommand)]
    Hook(hook::Hook),
    /// Print the OpenAPI document.
    Openapi,
    /// Let go of held frames when their time is over or the daemon dies (the daemon starts it).
    #[command(hide = true)]
    HoldGuard,
    /// Let pass what waits in every hold queue on this host (systemd runs it after the daemon).
    #[command(hide = true)]
    ReleaseHolds,
}

#[derive(Debug, Clone, ClapArgs)]
struct StateDir {
    /// Where state is kept.
    #[arg(
        long,
        env = "ACCELNET_STATE_DIR",
        default_value = "/var/lib/accelnet",
        value_name = "DIR"
    )]
    state_dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
struct Standalone {
    #[command(flatten)]
    state: StateDir,
    /// Socket for the local administrator (root and group 'accelnet').
    #[arg(long, env = "ACCELNET_SOCKET", default_value = accelnet_api::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// libvirt's URI.
    #[arg(long, default_value = accelnet_hypervisor::libvirt::DEFAULT_URI, value_name = "URI")]
    libvirt: String,
    #[command(flatten)]
    health: health::HealthArgs,
    #[command(flatten)]
    metrics: metrics::MetricsArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // The journal adds times and names.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
    let ended = match args.role {
        Role::Standalone(standalone) => standalone::run(&standalone),
        Role::Init(args) => cluster::init(&args),
        Role::Server(args) => cluster::run(&args),
        Role::Restore(args) => restore::run(&args),
        Role::Join(args) => node::join(&args),
        Role::Agent(args) => node::run(&args),
        Role::Boot(state) => boot::run(&state.state_dir),
        Role::Hook(hook) => hook::run(&hook),
        Role::Openapi => print_openapi(),
        Role::HoldGuard => hold_guard::serve().map_err(anyhow::Error::new),
        Role::ReleaseHolds => release_holds(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn release_holds() -> anyhow::Result<()> {
    let queues = hold_guard::release_all()?;
    tracing::info!(queues, "frames pass");
    Ok(())
}

fn print_openapi() -> anyhow::Result<()> {
    let text = accelnet_server::openapi().to_pretty_json()?;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Args;

    #[test]
    fn the_command_line_is_in_order() {
        Args::command().debug_assert();
    }
}
