//! `accelnetd`: the daemon. Only wiring; what it does is in the libraries.

mod alive;
mod ask_host;
mod boot;
mod cluster;
mod config;
#[cfg(feature = "etcd")]
mod copies;
mod desk;
#[cfg(test)]
mod documented;
mod drain;
mod etcd_files;
mod health;
mod hook;
mod kept;
mod local;
mod lock;
mod man;
mod metrics;
mod node;
mod own_agent;
mod pass_on;
mod reset;
mod restore;
mod service;
mod socket;
mod stage;
mod standalone;
mod webhook;

use std::{io::Write, path::PathBuf, process::ExitCode};

use accelnet_host::linux::hold_guard;
use clap::{Args as ClapArgs, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  accelnetd standalone                server and agent of one host, in one process
  accelnetd init --address server1:7643              found a cluster, print its first token
  accelnetd server --address server1:7643            serve it
  accelnetd join https://server1:7643 TOKEN          make this machine one of its nodes
  accelnetd restore --dry-run state.backup           put a backup back
  accelnetd agent                                    be that node
  accelnetd hook install              have libvirt ask before a VM comes in on its VF
  accelnetd drain                     bring this host's VMs off their VFs, as it goes down
  accelnetd boot                      make the VFs of the last run again (an early unit runs it)
  accelnetd reset --dry-run           what accelnet has made on this host, and would undo
  accelnetd config check              whether /etc/accelnet/accelnetd.toml can be used
  accelnetd --log debug standalone

What is not on the command line is taken from the environment, then from the file of --config, then is the default.
Normally systemd runs it: packaging/systemd/accelnetd.service (one host), accelnet-server.service and
accelnet-agent.service (a cluster), accelnet-boot.service, accelnet-park.service.";

/// Accelerated networking (SR-IOV) for KVM virtual machines: the daemon.
#[derive(Debug, Parser)]
#[command(name = "accelnetd", version, after_help = EXAMPLES, max_term_width = 100)]
struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    role: Role,
}

/// What all roles take.
#[derive(Debug, ClapArgs)]
struct Common {
    /// File with options that are not given here; see 'accelnetd config'.
    #[arg(long, global = true, env = "ACCELNET_CONFIG", default_value = config::PATH, value_name = "FILE")]
    config: PathBuf,
    /// What is logged: error, warn, info, debug, trace, or more exactly 'info,accelnet_agent=debug'.
    #[arg(long, global = true, env = "RUST_LOG", default_value = "info", value_parser = log_filter, value_name = "FILTER")]
    log: String,
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
    /// Bring all VMs of this host off their VFs until its next boot, before it goes down.
    ///
    /// accelnet-park.service runs it as the host shuts down: a VM cannot be saved on its VF. It asks the daemon on this
    /// host, which asks the server of its cluster under the node's own certificate. If none answers it keeps its VMs on
    /// their software paths by itself, until it is started again.
    Drain(drain::Drain),
    /// Give this host back: undo what accelnet has made on it. Its agent has to be stopped.
    Reset(reset::Reset),
    /// What libvirt asks before a VM comes in on its VF.
    #[command(subcommand)]
    Hook(hook::Hook),
    /// The file with options: whether it can be used, and what is in effect.
    #[command(subcommand)]
    Config(config::Config),
    /// Print the OpenAPI document.
    Openapi,
    /// Write manual pages of all commands into a directory.
    #[command(hide = true)]
    Man {
        /// The directory.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
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

fn log_filter(text: &str) -> Result<String, String> {
    let parsed = EnvFilter::try_new(text).map_err(|error| error.to_string());
    parsed.map(|_| text.to_owned())
}

fn main() -> ExitCode {
    let ended = config::command_with_file(std::env::args_os()).and_then(|command| {
        let matches = command.get_matches();
        run(Args::from_arg_matches(&matches)?)
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.common.log)?;
    // The journal adds times and names.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
    match args.role {
        Role::Standalone(standalone) => standalone::run(&standalone),
        Role::Init(args) => cluster::init(&args),
        Role::Server(args) => cluster::run(&args),
        Role::Restore(args) => restore::run(&args),
        Role::Join(args) => node::join(&args),
        Role::Agent(args) => node::run(&args),
        Role::Boot(state) => boot::run(&state.state_dir),
        Role::Drain(args) => drain::run(&args),
        Role::Reset(args) => reset::run(&args),
        Role::Hook(hook) => hook::run(&hook),
        Role::Config(config) => shown(config::run(&config, &args.common.config)),
        Role::Openapi => shown(print_openapi()),
        Role::Man { directory } => man::run(&directory),
        Role::HoldGuard => hold_guard::serve().map_err(anyhow::Error::new),
        Role::ReleaseHolds => release_holds(),
    }
}

/// Who does not read to the end (`| head`) has seen what he wanted.
fn shown(ended: anyhow::Result<()>) -> anyhow::Result<()> {
    ended.or_else(|error| match error.downcast_ref::<std::io::Error>() {
        Some(unread) if unread.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
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
