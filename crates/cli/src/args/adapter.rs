//! `accelnet adapter …`

use clap::Subcommand;

/// `accelnet adapter …`
#[derive(Debug, Subcommand)]
pub enum AdapterCommand {
    /// All adapters of all nodes.
    List,
    /// One adapter with its VFs.
    Show {
        /// Interface name, PCI address or permanent address.
        adapter: String,
        /// Its node, if more than one node has such an adapter.
        #[arg(long)]
        node: Option<String>,
    },
    /// Take an adapter out of the pool: none of its VFs is given out until it is let back.
    ///
    /// VMs that have one of its VFs go to another adapter of their node by their software paths, one after the other.
    /// Refused for the last adapter that VFs can be had of on its node, the member that a bond uses now, and where the
    /// VMs that are admitted would not all have their VFs without it.
    #[command(
        after_help = "Examples:\n  accelnet adapter isolate eth2 --node node1 --dry-run\n  accelnet adapter isolate eth2 --node node1 --because 'cable is changed on Monday'"
    )]
    Isolate {
        /// Interface name, PCI address or permanent address.
        adapter: String,
        /// Its node, if more than one node has such an adapter.
        #[arg(long)]
        node: Option<String>,
        /// Why, for those who see it.
        #[arg(long, value_name = "TEXT")]
        because: Option<String>,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Let an adapter back into the pool that the server or somebody took out.
    ///
    /// The fault that it was taken out for closes, and what led to it counts anew.
    #[command(
        after_help = "Examples:\n  accelnet adapter release eth2 --node node1\n  accelnet adapter list -o json | jq -r '.items[] | select(.isolated) | .isolated.adapter'"
    )]
    Release {
        /// Interface name, PCI address or permanent address; where it is gone, the name that it had.
        adapter: String,
        /// Its node, if more than one node has such an adapter.
        #[arg(long)]
        node: Option<String>,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}
