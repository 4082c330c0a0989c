//! `accelnet cmdlet …`

use std::{ffi::OsString, path::PathBuf};

use clap::Subcommand;

/// `accelnet cmdlet …`
#[derive(Debug, Subcommand)]
pub enum CmdletCommand {
    /// Put a command for each cmdlet into a directory; the same again changes nothing.
    #[command(
        after_help = "Example:\n  accelnet cmdlet install ~/.local/bin\n  Enable-AccelNetVM -VMName web1 -Performance Low"
    )]
    Install {
        /// Where to; it is made if it does not exist.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// The cmdlets and what they do.
    List,
    /// Remove from a directory what 'install' put there, and nothing else.
    Uninstall {
        /// Where from.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Run a cmdlet, as the installed commands do.
    #[command(after_help = "Example:\n  accelnet cmdlet run Get-VM -- -VMName web1")]
    Run {
        /// Its name.
        name: String,
        /// Its parameters, as PowerShell takes them; after the hyphens none is an option of ours.
        #[arg(last = true, value_name = "PARAMETERS")]
        words: Vec<OsString>,
    },
    /// Print the reference page.
    #[command(hide = true)]
    Document,
}
