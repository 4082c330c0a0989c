//! `accelnet waiver …`

use clap::Subcommand;

/// `accelnet waiver …`
#[derive(Debug, Subcommand)]
pub enum WaiverCommand {
    /// All waivers: of which VM and rule, by whom, when and why.
    ///
    /// One is made by 'accelnet vm enable VM --waive RULE', and ends with its rule, its VM, or 'accelnet vm
    /// disable VM'.
    #[command(after_help = "Examples:\n  accelnet waiver list\n  accelnet waiver list -o json")]
    List,
}
