//! The command line as types: names, help and examples; a file for each noun.

mod adapter;
mod admin;
mod cluster;
mod cmdlet;
mod health;
mod intent;
mod node;
mod people;
mod place;
mod vm;
mod waiver;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use adapter::AdapterCommand;
pub use admin::AdminCommand;
pub use cluster::{CapacityArgs, EnableArgs, PrereqArgs, SetArgs};
pub use cmdlet::CmdletCommand;
pub use health::{EventsArgs, HudArgs, HudCommand, StatusArgs};
pub use intent::IntentCommand;
pub use node::{NodeCommand, ServerCommand};
pub use people::{AuditArgs, LoginArgs, ProfileCommand, TokenCommand};
pub use place::PlaceArgs;
pub use vm::{OfNodeArgs, VmCommand, VmsArgs, VmsOrAllArgs};
pub use waiver::WaiverCommand;

const ROOT_EXAMPLES: &str = "\
Examples:
  accelnet prereq --intent compute         what is missing, why, and what to do
  accelnet enable --intent compute         turn acceleration on, half of the nodes held back
  accelnet vm enable web1 --performance Medium
  accelnet vm show web1                    the path that is really in use
  accelnet vm disable 'web*'               back to the software switch

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused (nothing changed), 4 not found,
5 no permission, 6 not reachable, 7 done for some only, 8 not finished in time,
9 a fault is a warning, 10 a fault is critical.";

/// A switch-over takes seconds; a guest that is slow to give up its VF, a minute.
pub const TIMEOUT_SECONDS: u64 = 180;
/// A year; more is a mistake, and clocks need not bear it.
const TIMEOUT_MAX_SECONDS: u64 = 365 * 24 * 3600;

/// Accelerated networking (SR-IOV) for KVM virtual machines.
#[derive(Debug, Parser)]
#[command(name = "accelnet", version, after_help = ROOT_EXAMPLES, max_term_width = 100)]
pub struct Args {
    /// How to print results.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,

    /// Which server.
    #[command(flatten)]
    pub place: PlaceArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs; lists are {"items": […]}.
    Json,
    /// For programs and people.
    Yaml,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check what acceleration needs, and name cause and cure of what is missing.
    ///
    /// Without an intent the nodes are checked; with one also the intent, its bridge and adapters.
    #[command(
        after_help = "Examples:\n  accelnet prereq\n  accelnet prereq --intent compute -o json"
    )]
    Prereq(PrereqArgs),

    /// Turn on accelerated networking for an intent.
    #[command(
        after_help = "Examples:\n  accelnet enable --intent compute --dry-run\n  accelnet enable --intent compute --reserve 50\n  accelnet enable --intent compute --nodes-down 1   one node may be down, however many there are\n  accelnet enable --intent compute --when now   create VFs at once; bounces the adapter's link"
    )]
    Enable(EnableArgs),

    /// Change the reserve, or move to another intent.
    ///
    /// Another intent takes the place of the present one. What happens to each VM is said first.
    #[command(
        after_help = "Examples:\n  accelnet set --reserve 25\n  accelnet set --nodes-down 1\n  accelnet set --intent storage2 --dry-run"
    )]
    Set(SetArgs),

    /// Stop managing accelerated networking. VMs keep their VFs and settings.
    Disable(ChangeArgs),

    /// The cluster at a glance.
    #[command(
        after_help = "Examples:\n  accelnet status\n  accelnet status --check || echo 'somebody should look'"
    )]
    Status(StatusArgs),

    /// What is wrong, since when, why and what helps: the worst first, on one screen.
    ///
    /// The exit code is that of the worst fault that is neither acknowledged nor muted: 10 critical, 9 warning, else 0.
    #[command(
        after_help = "Examples:\n  accelnet hud\n  accelnet hud --watch\n  accelnet hud -o json | jq -r '.items[].code'\n  accelnet hud ack 3f9a12c4 --note 'cable ordered'\n  accelnet hud mute 3f9a12c4 --for 8h"
    )]
    Hud(HudArgs),

    /// What happened: faults, VMs that changed their path or node, and what people asked for.
    #[command(
        after_help = "Examples:\n  accelnet events --since 24h\n  accelnet events --follow\n  accelnet events -o json | jq '.items[] | select(.kind == \"vm_switched\")'"
    )]
    Events(EventsArgs),

    /// How much room there is with the reserve held back, now or for planning.
    ///
    /// Of the cluster: VFs and queue pairs, how many more VMs of each level fit, and the largest reserve
    /// that would still hold. Of a file: the same rules, without a server.
    #[command(
        after_help = "Examples:\n  accelnet capacity\n  accelnet capacity --without node3,node7   who would go where\n  accelnet capacity --from plan.json -o json\n  jq '.node_reserve_percentage = 25' plan.json | accelnet capacity --from -\n\nThe file's format: docs/reference/capacity.md."
    )]
    Capacity(CapacityArgs),

    /// Virtual machines.
    #[command(subcommand)]
    Vm(VmCommand),

    /// Decisions that a rule of a VM's port need not hold on its VF.
    #[command(subcommand)]
    Waiver(WaiverCommand),

    /// Network intents: a named role, its adapters and its bridge.
    #[command(subcommand)]
    Intent(IntentCommand),

    /// Network adapters (physical functions) and their VFs.
    #[command(subcommand)]
    Adapter(AdapterCommand),

    /// The cluster's nodes.
    #[command(subcommand)]
    Node(NodeCommand),

    /// The cluster's servers.
    #[command(subcommand)]
    Server(ServerCommand),

    /// What administrators do with the cluster's state.
    #[command(subcommand)]
    Admin(AdminCommand),

    /// Log in to a cluster: remember its server and your token.
    ///
    /// The token is asked for on the terminal or read from standard input, and tried before it is kept.
    #[command(
        after_help = "Examples:\n  accelnet login https://server1:7643 --fingerprint 4f1c…9a\n  cat token | accelnet login https://server1:7643 --ca ca.pem --name production\n  accelnet login --local   on a node: what is asked at its socket is asked by you"
    )]
    Login(LoginArgs),

    /// Forget a profile and its token.
    #[command(after_help = "Examples:\n  accelnet logout\n  accelnet logout production")]
    Logout {
        /// Its name; the one in use if left out.
        name: Option<String>,
    },

    /// Who the server takes you for, and what you may do.
    #[command(after_help = "Examples:\n  accelnet whoami\n  accelnet whoami -o json | jq -r .role")]
    Whoami,

    /// Clusters that you are logged in to.
    #[command(subcommand)]
    Profile(ProfileCommand),

    /// Tokens of people and programs.
    #[command(subcommand)]
    Token(TokenCommand),

    /// Who changed what, and when.
    #[command(
        after_help = "Examples:\n  accelnet audit --since 24h\n  accelnet audit --since 2026-11-29T10:00:00Z -o json | jq -r '.items[].subject'\n  accelnet audit --follow"
    )]
    Audit(AuditArgs),

    /// Save what is needed to find out what is wrong, without tokens, keys and passwords.
    ///
    /// What the server says of cluster, nodes, VMs, faults, events and changes; run by root on one of its hosts also
    /// the journal of our units, the ledger, network cards and definitions of VMs. What cannot be had is named in it.
    #[command(
        after_help = "Examples:\n  accelnet support-bundle\n  accelnet support-bundle /tmp/accelnet.tar.gz\n  accelnet support-bundle -o json | jq -r .file"
    )]
    SupportBundle {
        /// The file; if not said, one in this directory with the time in its name.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },

    /// What a problem's code means, and what helps.
    #[command(after_help = "Examples:\n  accelnet explain vm_needs_cold_start\n  accelnet explain")]
    Explain {
        /// The code; all codes if left out.
        code: Option<String>,

        /// All codes as the page docs/reference/problems.md.
        #[arg(long, hide = true, conflicts_with = "code")]
        markdown: bool,

        /// All detections as the page docs/reference/health.md.
        #[arg(long, hide = true, conflicts_with_all = ["code", "markdown"])]
        detections: bool,

        /// All metrics as the page docs/reference/metrics.md.
        #[arg(long, hide = true, conflicts_with_all = ["code", "markdown", "detections"])]
        metrics: bool,
    },

    /// Commands with the names and parameters of the reference's PowerShell cmdlets.
    #[command(subcommand)]
    Cmdlet(CmdletCommand),

    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  accelnet completion bash > /etc/bash_completion.d/accelnet"
    )]
    Completion {
        /// The shell.
        shell: Shell,
    },

    /// Print the manual page, or write the pages of all commands into a directory.
    #[command(
        hide = true,
        after_help = "Example:\n  accelnet man /usr/local/share/man/man1"
    )]
    Man {
        /// Where to write them.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// What all changing commands share.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct ChangeArgs {
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait until the change is in effect.
    #[arg(long, overrides_with = "_wait")]
    pub no_wait: bool,
    /// Wait until the change is in effect (the default).
    #[arg(long = "wait")]
    pub _wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_SECONDS, value_parser = seconds)]
    pub timeout: u64,
}

/// How long is waited.
fn seconds(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| (1..=TIMEOUT_MAX_SECONDS).contains(seconds))
        .ok_or_else(|| format!("write a whole number of seconds from 1 to {TIMEOUT_MAX_SECONDS}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (line, word) in [
            (
                &["accelnet", "vm", "enable", "a", "-p", "Turbo"][..],
                "Turbo",
            ),
            (&["accelnet", "enable", "--reserve", "3.5"], "3.5"),
            (&["accelnet", "enable", "--reserve", "abc"], "abc"),
            (
                &[
                    "accelnet",
                    "intent",
                    "add",
                    "a b",
                    "--bridge",
                    "br0",
                    "--adapter",
                    "x",
                ],
                "a b",
            ),
            (
                &["accelnet", "intent", "add", "a", "--bridge", "br0"],
                "--adapter",
            ),
            (&["accelnet", "login"], "--local"),
            (&["accelnet", "login", "http://server1"], "TLS only"),
            (&["accelnet", "login", "server1", "--local"], "--local"),
            (
                &["accelnet", "login", "a", "--ca", "x", "--fingerprint", "y"],
                "--ca",
            ),
            (
                &["accelnet", "token", "create", "a", "--role", "root"],
                "viewer, operator",
            ),
            (&["accelnet", "token", "create", "a"], "--role"),
            (
                &[
                    "accelnet", "token", "create", "a", "--role", "admin", "--ttl", "0s",
                ],
                "one second",
            ),
            (
                &["accelnet", "node", "join-token", "--ttl", "2d"],
                "86400 s",
            ),
            (
                &["accelnet", "audit", "--since", "yesterday"],
                "how long ago",
            ),
            (&["accelnet", "audit", "--limit", "0"], "1..=1000"),
            (
                &["accelnet", "status", "--server", "a", "--cluster", "b"],
                "--cluster",
            ),
            (&["accelnet", "vm", "enable"], "<VM>"),
            (&["accelnet", "vm", "park"], "--all"),
            (&["accelnet", "vm", "unpark", "a", "--all"], "--all"),
            (&["accelnet", "vm", "park", "a", "--for", "soon"], "10m"),
            (
                &["accelnet", "vm", "park", "a", "--for", "0s"],
                "one second",
            ),
            (&["accelnet", "vm", "park", "a", "--for=-1h"], "one second"),
            (&["accelnet", "vm", "park", "a", "--for", "9000h"], "a year"),
            (
                &["accelnet", "vm", "park", "a", "--for", "1h", "--until-boot"],
                "--until-boot",
            ),
        ] {
            let error = Args::try_parse_from(line).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
