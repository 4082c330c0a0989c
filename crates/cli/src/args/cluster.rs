//! `accelnet prereq`, `capacity`, `enable`, `set`.

use std::path::PathBuf;

use accelnet_model::WhenToCreateVfs;
use clap::Args as ClapArgs;

use super::ChangeArgs;

/// Arguments of `prereq`.
#[derive(Debug, ClapArgs)]
pub struct PrereqArgs {
    /// Also check this intent.
    #[arg(long, value_name = "INTENT")]
    pub intent: Option<String>,
}

/// Arguments of `capacity`.
#[derive(Debug, ClapArgs)]
pub struct CapacityArgs {
    /// Answer the question in this file ('-' for standard input) instead of asking the server.
    #[arg(long, value_name = "FILE", conflicts_with = "without")]
    pub from: Option<PathBuf>,
    /// Also say where VMs would go, and which would not fit, if these nodes were down.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub without: Vec<String>,
}

/// A whole number; whether it can be is the server's to say.
fn whole(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "write a whole number")
}

/// How many nodes may be down. Left out, a reserve stays as it is; where there is none it is 50 %.
#[derive(Debug, ClapArgs)]
pub struct ReserveArgs {
    /// Percentage of nodes that may be down at once with every accelerated VM still having its VF
    /// somewhere, 0 to 99; left out, it stays as it is, or is 50.
    #[arg(
        id = "reserve",
        long = "reserve",
        alias = "node-reserve-percentage",
        value_name = "PERCENT",
        value_parser = whole,
        conflicts_with = "nodes_down",
        allow_negative_numbers = true
    )]
    pub percentage: Option<i64>,
    /// The reserve as a number of nodes instead: how many may be down at once, fewer than there are.
    #[arg(long, value_name = "K", value_parser = whole, allow_negative_numbers = true)]
    pub nodes_down: Option<i64>,
}

/// Arguments of `enable`.
#[derive(Debug, ClapArgs)]
pub struct EnableArgs {
    /// The compute intent; may be left out if there is only one.
    #[arg(long, value_name = "INTENT")]
    pub intent: Option<String>,
    /// The reserve; left out, it stays as it is, or is 50 %.
    #[command(flatten)]
    pub reserve: ReserveArgs,
    /// When VFs that are missing may be created: 'empty' (as soon as nothing needs the link),
    /// 'boot' (at the node's next start) or 'now' (interrupts the link); left out, it stays as it is, or
    /// is 'empty'.
    #[arg(long, value_name = "empty|boot|now")]
    pub when: Option<WhenToCreateVfs>,
    /// How the change is made.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Arguments of `set`.
#[derive(Debug, ClapArgs)]
#[group(id = "what", required = true, multiple = true, args = ["intent", "reserve", "nodes_down", "when"])]
pub struct SetArgs {
    /// Another compute intent; the present one is disabled.
    #[arg(long, value_name = "INTENT")]
    pub intent: Option<String>,
    /// The reserve; left out, it stays.
    #[command(flatten)]
    pub reserve: ReserveArgs,
    /// When VFs that are missing may be created; left out, it stays.
    #[arg(long, value_name = "empty|boot|now")]
    pub when: Option<WhenToCreateVfs>,
    /// How the change is made.
    #[command(flatten)]
    pub change: ChangeArgs,
}
