//! `accelnet node …`, `accelnet server …`

use accelnet_model::Name;
use clap::Subcommand;

use super::{ChangeArgs, people::seconds};

/// A day; the server's own limit.
const JOIN_TTL_MAX_S: u64 = 24 * 3600;

/// `accelnet node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// All nodes.
    #[command(
        after_help = "Examples:\n  accelnet node list\n  accelnet node list -o json | jq -r '.items[] | select(.reachable | not).name'"
    )]
    List,
    /// One node: its identity, what is left of a drain, and its problems.
    #[command(
        after_help = "Examples:\n  accelnet node show node2\n  accelnet node show node2 -o json | jq .draining"
    )]
    Show {
        /// Its name.
        name: String,
    },
    /// Make a token that a node joins with, once, and print the command for it.
    #[command(
        after_help = "Examples:\n  accelnet node join-token\n  accelnet node join-token --node node4 --ttl 1h -o json | jq -r .command"
    )]
    JoinToken {
        /// Only a node of this name may join with it.
        #[arg(long, value_name = "NAME")]
        node: Option<Name>,
        /// How long it can be used, a day at most.
        #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = join_ttl)]
        ttl: u64,
    },
    /// Take a node out of the cluster; its certificate is refused from now on.
    #[command(
        after_help = "Examples:\n  accelnet node remove node4 --dry-run\n  accelnet node remove node4"
    )]
    Remove {
        /// Its name.
        name: String,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Bring a node's VMs to the software path until it has started again, for maintenance.
    ///
    /// Levels and capacity stay. A VM that moves to another node meanwhile is accelerated there. Waits until no
    /// VM has a VF here any more, and names those that keep theirs.
    #[command(
        after_help = "Examples:\n  accelnet node drain node2\n  accelnet node drain node2 --dry-run\n  accelnet node drain node2 --no-wait"
    )]
    Drain {
        /// Its name.
        name: String,
        /// How the change is made.
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Let a drained node's VMs go to their VFs again, before it has started anew.
    #[command(after_help = "Example:\n  accelnet node uncordon node2")]
    Uncordon {
        /// Its name.
        name: String,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `accelnet server …`
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// The cluster's servers, and which of them is active.
    #[command(
        after_help = "Examples:\n  accelnet server list\n  accelnet server list -o json | jq -r '.items[] | select(.active).address'"
    )]
    List,
    /// Forget a server that is gone for good: agents and people do not look for it any more.
    #[command(
        after_help = "Examples:\n  accelnet server remove server2.example:7643 --dry-run\n  accelnet server remove server2.example:7643"
    )]
    Remove {
        /// Its address, or its name.
        address: String,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

fn join_ttl(text: &str) -> Result<u64, String> {
    seconds(text, JOIN_TTL_MAX_S)
}
