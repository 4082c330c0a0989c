//! `accelnetd drain`: this host's VMs leave their VFs because it goes down.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use accelnet_api::draining::{DrainRequest, Drained, HOST_PATH};
use accelnet_model::Problem;
use anyhow::{Result, bail};
use clap::Args;

use crate::ask_host::ask_host;

/// What the daemon needs beside the time that it waits: the server's answer, and a look at the machine.
const BESIDE: Duration = Duration::from_secs(70);

#[derive(Debug, Args)]
pub struct Drain {
    /// Socket of the daemon on this host.
    #[arg(long, env = "ACCELNET_SOCKET", default_value = accelnet_api::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// How long to wait for the VMs' guests, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    timeout: u64,
}

/// Runs it.
pub fn run(drain: &Drain) -> Result<()> {
    let request = DrainRequest {
        timeout_s: drain.timeout,
    };
    let limit = Duration::from_secs(drain.timeout) + BESIDE;
    let asked = ask_host::<Drained>(&drain.socket, HOST_PATH, &request, limit);
    let drained = asked.map_err(|problem| anyhow::anyhow!(words(&problem)))?;
    for problem in &drained.problems {
        writeln!(io::stderr(), "warning: {}", words(problem))?;
    }
    for left in &drained.left {
        let because = left.because.as_ref().map(words).unwrap_or_default();
        writeln!(io::stderr(), "{} is on its VF still. {because}", left.vm)?;
    }
    match drained.left.len() {
        0 => Ok(writeln!(io::stdout(), "No VM of this host is on a VF.")?),
        count => bail!(
            "{count} VMs did not leave their VFs within {} s: they cannot be saved; shut them down, or wait longer \
             (--timeout)",
            drain.timeout
        ),
    }
}

fn words(problem: &Problem) -> String {
    format!("{} {}", problem.detail, problem.cure)
}
