//! `accelnet login`, `logout`, `profile …`, `token …`, `audit`.

use std::path::PathBuf;

use accelnet_api::{Role, ServerUrl, TOKEN_TTL_MAX_S};
use accelnet_model::Name;
use clap::{Args as ClapArgs, Subcommand};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// Arguments of `login`.
#[derive(Debug, ClapArgs)]
pub struct LoginArgs {
    /// Where.
    #[command(flatten)]
    pub at: LoginPlace,
    /// What to call the profile; without it, the server's host name, or 'local'.
    #[arg(long, value_name = "PROFILE")]
    pub name: Option<Name>,
    /// File with the certificate of the cluster's authority, by which the server is known.
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    pub ca: Option<PathBuf>,
    /// SHA-256 of that certificate instead, as 'accelnetd init' prints it.
    #[arg(long, value_name = "HEX")]
    pub fingerprint: Option<String>,
}

/// Where somebody logs in.
#[derive(Debug, ClapArgs)]
#[group(id = "at", required = true, multiple = false, args = ["url", "local"])]
pub struct LoginPlace {
    /// The server's address, like https://server1:7643.
    #[arg(value_name = "URL")]
    pub url: Option<ServerUrl>,
    /// This machine's socket: what is asked there is asked as the bearer of the token.
    #[arg(long, conflicts_with_all = ["ca", "fingerprint"])]
    pub local: bool,
}

/// `accelnet profile …`
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// All profiles, without their tokens.
    #[command(after_help = "Examples:\n  accelnet profile list\n  accelnet profile list -o json")]
    List,
    /// Use a profile from now on.
    #[command(after_help = "Example:\n  accelnet profile use production")]
    Use {
        /// Its name.
        name: String,
    },
}

/// `accelnet token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token for a person or a program. It is shown this one time.
    #[command(after_help = "Examples:
  accelnet token create alice --role operator
  accelnet token create dashboard --role viewer --ttl 365d
  accelnet token create ci --role operator --ttl 8h -o json | jq -r .token > ci.token")]
    Create {
        /// Whose it is; records call its bearer so.
        name: Name,
        /// What its bearer may do: viewer (see), operator (change all but tokens and which nodes there are)
        /// or admin (all).
        #[arg(long, value_name = "viewer|operator|admin")]
        role: Role,
        /// How long it is good, e.g. 8h, 30d; for ever if left out.
        #[arg(long, value_name = "DURATION", value_parser = token_ttl)]
        ttl: Option<u64>,
    },
    /// All tokens: whose, what they permit, until when.
    #[command(
        after_help = "Examples:\n  accelnet token list\n  accelnet token list -o json | jq -r '.items[] | select(.expired).name'"
    )]
    List,
    /// Refuse a token from now on.
    #[command(after_help = "Example:\n  accelnet token revoke ci")]
    Revoke {
        /// Whose it is.
        name: Name,
        /// Show what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Arguments of `audit`.
#[derive(Debug, ClapArgs)]
pub struct AuditArgs {
    /// Only what was decided at this time or later: a time like 2026-11-29T10:00:00Z, or how long ago, like
    /// 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Timestamp>,
    /// Only so many, the newest.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "follow")]
    pub limit: u32,
    /// Go on with each change as it comes, one a line.
    #[arg(short, long)]
    pub follow: bool,
}

/// Seconds of a duration as people write it: 15m, 8h, 30d, 2w.
pub(super) fn seconds(text: &str, most: u64) -> Result<u64, String> {
    let span: Span = text
        .parse()
        .map_err(|error| format!("{error}; write it like 15m, 8h, 30d"))?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let length: SignedDuration =
        length.map_err(|_| "write it in weeks, days or less".to_owned())?;
    let seconds = u64::try_from(length.as_secs()).ok();
    let seconds = seconds.filter(|seconds| (1..=most).contains(seconds));
    seconds.ok_or_else(|| format!("it has to be one second at least and {most} s at most"))
}

fn token_ttl(text: &str) -> Result<u64, String> {
    seconds(text, TOKEN_TTL_MAX_S)
}

pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let wrong = || "write a time like 2026-11-29T10:00:00Z, or how long ago, like 2h".to_owned();
    let seconds = seconds(text, TOKEN_TTL_MAX_S)
        .ok()
        .and_then(|ago| i64::try_from(ago).ok());
    let ago = SignedDuration::from_secs(seconds.ok_or_else(wrong)?);
    Timestamp::now().checked_sub(ago).map_err(|_| wrong())
}
