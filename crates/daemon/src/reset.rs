//! `accelnetd reset`: a host is given back. What is undone is decided by the agent's [`reset`], which sees what there
//! is; the hook and the ledger go last, the ledger only if nothing is left that it is needed for.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use accelnet_agent::{
    ledger::{self, Ledger},
    reset::{self, Plan, Seen},
};
use accelnet_hypervisor::{Hypervisor, libvirt::Libvirt};
use accelnet_model::Problem;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{StateDir, hook, own_agent};

const EXAMPLES: &str = "\
Examples:
  accelnetd reset --dry-run              what there is, and what would become of it; also while the agent runs
  systemctl stop accelnet-agent && accelnetd reset
  accelnetd reset --yes                  asks nobody (packages are removed so)

VMs are not touched: as long as one has a VF that would go, nothing is done at all. Bridges stay, as VMs may be on
them. In a cluster the node is forgotten by: accelnet node remove NAME.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Reset {
    #[command(flatten)]
    state: StateDir,
    /// libvirt's URI.
    #[arg(long, default_value = accelnet_hypervisor::libvirt::DEFAULT_URI, value_name = "URI")]
    libvirt: String,
    /// libvirt's directory of hooks.
    #[arg(long, default_value = accelnet_host::linux::hook::DIRECTORY, value_name = "DIR")]
    hooks: PathBuf,
    /// Do without libvirt, where it is gone for good: who has a VF is then told by the kernel alone.
    #[arg(long)]
    without_libvirt: bool,
    /// Only say what there is, and what would become of it.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Undoes what accelnet has made here, or says what that is.
pub fn run(args: &Reset) -> Result<()> {
    let mut out = io::stdout().lock();
    let _only = match args.dry_run {
        true => None,
        false => Some(own_agent::lock()?),
    };
    let ledger = Ledger::load(&args.state.state_dir)?;
    let file = args.state.state_dir.join(ledger::FILE);
    let hooked = args.hooks.join(accelnet_host::linux::hook::FILE);
    if reset::is_empty(&ledger) && !exists(&hooked)? {
        if !args.dry_run {
            remove(&file)?;
        }
        return Ok(writeln!(out, "Nothing of accelnet's is on this host.")?);
    }
    let host = own_agent::machine();
    let libvirt = Libvirt::new(&args.libvirt);
    let asked: Option<&dyn Hypervisor> = match args.without_libvirt {
        true => None,
        false => Some(&libvirt),
    };
    // For a hook alone nothing need be seen, which is well where there is no libvirt, or no sysfs.
    let seen = match reset::is_empty(&ledger) {
        true => Ok(Seen::default()),
        false => reset::look(&host, asked, &ledger),
    };
    let seen = seen.or_else(|problems| {
        told(&mut out, &problems)?;
        bail!("what is on this host could not be seen, so nothing was changed")
    })?;
    let plan = reset::plan(&ledger, &seen);
    show(&mut out, &plan, &seen, &hooked)?;
    ensure!(
        plan.refused.is_empty(),
        "VFs that would go are in use, so nothing was changed"
    );
    if args.dry_run {
        return Ok(());
    }
    ask(&mut out, args.yes)?;
    let done = reset::carry_out(&plan, &seen, &host, &libvirt);
    let failed: Vec<Problem> = done
        .into_iter()
        .filter_map(|(_, ended)| ended.err())
        .collect();
    hook::remove(&args.hooks)?;
    told(&mut out, &failed)?;
    ensure!(
        failed.is_empty(),
        "not all could be undone; the ledger stays, and 'accelnetd reset' tries again"
    );
    remove(&file)?;
    Ok(writeln!(out, "This host is as it was before accelnet.")?)
}

fn show(out: &mut impl Write, plan: &Plan, seen: &Seen, hooked: &Path) -> Result<()> {
    told(out, &plan.refused)?;
    if !plan.refused.is_empty() {
        return Ok(());
    }
    writeln!(out, "To give this host back:")?;
    for action in &plan.actions {
        writeln!(out, "  {}", reset::in_words(action, seen))?;
    }
    if exists(hooked)? {
        writeln!(out, "  remove {}, which libvirt calls", hooked.display())?;
    }
    writeln!(out, "  forget what was wished and made here (the ledger)")?;
    if !plan.stays.is_empty() {
        writeln!(out, "What stays:")?;
    }
    for text in &plan.stays {
        writeln!(out, "  {text}")?;
    }
    Ok(())
}

fn told(out: &mut impl Write, problems: &[Problem]) -> Result<()> {
    for problem in problems {
        writeln!(out, "{}\n  cure: {}", problem.detail, problem.cure)?;
    }
    Ok(())
}

fn ask(out: &mut impl Write, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    ensure!(
        io::stdin().is_terminal(),
        "nobody can be asked here: look at what is undone with --dry-run, then say --yes"
    );
    write!(out, "Do it? Type 'yes': ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    ensure!(answer.trim() == "yes", "nothing was changed");
    Ok(())
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists()
        .with_context(|| format!("cannot look at {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}
