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
}
