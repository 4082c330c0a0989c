//! `accelnetd restore`: a backup is put back, into the store that it is of or an empty one of another kind.
//!
//! It works on the store itself and not through a server: a store that is empty has no server that could be asked, nor
//! anybody who may ask it; and a server that decides would have to forget all that it knows. Meanwhile no server
//! decides (a file is locked, on etcd this holds the lease), agents go on with what they were told, and VMs keep what
//! they have.

use std::{
    fs,
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use accelnet_api::backup::Backup;
use accelnet_server::{
    Actor,
    restore::{self, Difference, Report},
};
use accelnet_store::{MemoryStore, Store};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    cluster::{StoreArgs, about},
    kept::{Kept, Open},
    service,
};

const EXAMPLES: &str = "\
Examples:
  accelnetd restore --dry-run state.backup           what differs, and what would become of it
  systemctl stop accelnet-server                     on each machine that serves; VMs keep what they have
  accelnetd restore state.backup
  accelnetd restore --store etcd://etcd1:2379 --etcd-ca ca.pem --yes state.backup
  gpg --decrypt state.backup.gpg | accelnetd restore --yes -
  accelnetd restore --store sqlite:/var/lib/accelnet/state.sqlite host.backup   of a host that stands alone

It is run as root, with the same --store (or ACCELNET_STORE) as the servers.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Restore {
    #[command(flatten)]
    store: StoreArgs,
    /// Only say what differs, and what would become of it.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// The file that 'accelnet admin backup' has made; '-' is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What is told to programs.
#[derive(Serialize)]
struct Told<'a> {
    dry_run: bool,
    #[serde(flatten)]
    report: &'a Report,
}

/// Puts a backup back.
pub fn run(args: &Restore) -> Result<()> {
    service::run(put_back(args))
}

async fn put_back(args: &Restore) -> Result<()> {
    // Before anything is opened: what cannot be used changes nothing.
    let backup = read(&args.file)?;
    let kept = args.store.kept()?;
    if args.dry_run
        && let Kept::Sqlite(file) = &kept
        && !file.exists()
    {
        return into(args, &kept, &backup, MemoryStore::new()).await;
    }
    let opened = kept.open().await.context(
        "no server may run meanwhile: 'systemctl stop accelnet-server' on each machine that serves",
    )?;
    match opened {
        Open::Sqlite(store) => into(args, &kept, &backup, store).await,
        #[cfg(feature = "etcd")]
        Open::Etcd(store) if args.dry_run => into(args, &kept, &backup, store).await,
        #[cfg(feature = "etcd")]
        Open::Etcd(store) => {
            let leader = lead(&store).await?;
            let fenced = std::sync::Arc::new(leader.store().clone());
            into(args, &kept, &backup, fenced).await
        }
    }
}

/// Holds the lease that servers decide by.
#[cfg(feature = "etcd")]
async fn lead(store: &accelnet_store::EtcdStore) -> Result<accelnet_store::Leader> {
    use crate::kept::LEASE;
    let who = store.leading().await?;
    if let Some(active) = who {
        anyhow::bail!(
            "the server {active} decides at present; stop all servers first ('systemctl stop accelnet-server'): \
             VMs keep what they have"
        );
    }
    let leading = store.lead("accelnetd restore", LEASE);
    let leader = tokio::time::timeout(2 * LEASE, leading).await.context(
        "another server has begun to decide; stop all servers first ('systemctl stop accelnet-server')",
    )?;
    Ok(leader?)
}

fn read(file: &Path) -> Result<Backup> {
    let name = file.display();
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = fs::read(file).with_context(|| format!("{name} cannot be read"))?;
    }
    Backup::read(&bytes)
        .with_context(|| format!("{name} cannot be put back, and nothing was changed"))
}

async fn into<S: Store>(args: &Restore, kept: &Kept, backup: &Backup, store: S) -> Result<()> {
    let plan = restore::plan(&store, backup, Timestamp::now()).await;
    let plan = plan.map_err(about(kept))?;
    let told = |dry_run: bool| {
        let report = &plan.report;
        match args.output {
            Format::Table => text(report, kept, dry_run),
            Format::Json => serde_json::to_string_pretty(&Told { dry_run, report })
                .unwrap_or_else(|error| error.to_string()),
        }
    };
    let mut out = std::io::stdout().lock();
    if args.dry_run {
        return Ok(writeln!(out, "{}", told(true))?);
    }
    if !args.yes {
        ensure!(
            std::io::stdin().is_terminal(),
            "nobody can be asked here: look at what differs with --dry-run, then say --yes"
        );
        write!(
            out,
            "{}\nPut it back? Type 'yes': ",
            text(&plan.report, kept, true)
        )?;
        out.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        ensure!(answer.trim() == "yes", "nothing was changed");
    }
    let by = Actor {
        uid: Some(rustix::process::getuid().as_raw()),
        gid: Some(rustix::process::getgid().as_raw()),
        ..Actor::default()
    };
    let done = restore::carry_out(&store, &plan, by).await;
    done.map_err(about(kept))?;
    Ok(writeln!(out, "{}", told(false))?)
}

fn text(report: &Report, kept: &Kept, before: bool) -> String {
    let of = match report.cluster {
        Some(cluster) => format!("cluster {cluster}"),
        None => "a host that stands alone".to_owned(),
    };
    let taken = report.taken;
    let mut lines = vec![format!(
        "Backup of {of}, taken at {taken:.0}, into {kept}{}.",
        if report.into_empty {
            ", which is empty"
        } else {
            ""
        }
    )];
    if report.differences.is_empty() {
        lines.push("What is wanted now is what the backup has.".to_owned());
    } else {
        lines.push("What differs, and what becomes of it:".to_owned());
        lines.extend(report.differences.iter().map(line));
    }
    let (from, to) = (report.generation_before, report.generation);
    if before {
        lines.push(format!(
            "The wish would go on as generation {to} (it is {from})."
        ));
    } else {
        lines.push(format!(
            "Done: the wish goes on as generation {to}. Start the servers: systemctl start accelnet-server"
        ));
    }
    lines.join("\n")
}

fn line(difference: &Difference) -> String {
    let Difference {
        kind,
        name,
        now,
        copy,
        then,
    } = difference;
    // Names are what people made up.
    let shown = |text: &str| text.replace(char::is_control, "?");
    let (name, now, copy) = (shown(name), shown(now), shown(copy));
    format!("  {kind} {name}: now {now}; in the backup {copy}: {then}")
}
