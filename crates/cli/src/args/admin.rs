//! `accelnet admin …`

use std::path::PathBuf;

use clap::Subcommand;

/// `accelnet admin …`
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Save the cluster's state in a file, while it goes on.
    ///
    /// All of one moment: intents, what is wanted for each VM, nodes, tokens' hashes, the record of changes, and the
    /// authority's private key. Whoever has the file can pass for the cluster, so it is readable by you alone. It is
    /// put back with 'accelnetd restore', on the same kind of store or another.
    #[command(
        after_help = "Examples:\n  accelnet admin backup /var/backups/accelnet.backup\n  accelnet admin backup - | gpg --encrypt -r ops > accelnet.backup.gpg\n  accelnet admin backup state.backup -o json | jq -r .sha256"
    )]
    Backup {
        /// The file, which is replaced once the new one is whole; '-' is standard output.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}
