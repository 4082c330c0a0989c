//! `accelnet hud …`, `events`, `status`.

use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;

use super::people::{seconds, since};

/// Arguments of `status`.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct StatusArgs {
    /// One line, and an exit code by the worst fault that nobody attends to: for scripts.
    #[arg(long)]
    pub check: bool,
}

/// Arguments of `hud`.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HudArgs {
    /// Somebody says something to a fault.
    #[command(subcommand)]
    pub command: Option<HudCommand>,
    /// Stay, and show what changes.
    #[arg(short, long)]
    pub watch: bool,
    /// All faults, also those that are muted; not only as many as a screen holds.
    #[arg(short, long)]
    pub all: bool,
}

/// `accelnet hud …`
#[derive(Debug, Subcommand)]
pub enum HudCommand {
    /// Say that you know of a fault. It ends with the fault.
    #[command(
        after_help = "Examples:\n  accelnet hud ack 3f9a12c4\n  accelnet hud ack 3f9a12c4 --note 'cable ordered'"
    )]
    Ack {
        /// Its id, or as much of the beginning as no other fault has.
        fault: String,
        /// A word to whoever reads it.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Do not show a fault for a while, also when it is gone and comes back meanwhile.
    #[command(
        after_help = "Examples:\n  accelnet hud mute 3f9a12c4 --for 8h\n  accelnet hud mute 3f9a12c4 --for 30d --note 'replaced in June'"
    )]
    Mute {
        /// Its id, or as much of the beginning as no other fault has.
        fault: String,
        /// How long, e.g. 8h, 30d; 90 days at most.
        #[arg(long = "for", value_name = "DURATION", value_parser = mute_length)]
        length: u64,
        /// A word to whoever reads it.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Show a muted fault again.
    #[command(after_help = "Example:\n  accelnet hud unmute 3f9a12c4")]
    Unmute {
        /// Its id, or as much of the beginning as no other fault has.
        fault: String,
    },
}

/// Arguments of `events`.
#[derive(Debug, ClapArgs)]
pub struct EventsArgs {
    /// Only what was noticed at this time or later: a time like 2026-11-29T10:00:00Z, or how long ago, like
    /// 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Timestamp>,
    /// Only so many, the newest.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2000), conflicts_with = "follow")]
    pub limit: u32,
    /// Go on with each event as it comes, one a line.
    #[arg(short, long)]
    pub follow: bool,
}

fn mute_length(text: &str) -> Result<u64, String> {
    seconds(text, accelnet_api::MUTE_MAX_S)
}
