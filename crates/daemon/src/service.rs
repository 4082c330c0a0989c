//! What all roles that run for long have in common: runtime, signals, systemd, the host's name.

use std::{future::Future, time::Duration};

use accelnet_model::Name;
use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs until it ends. A thread that hangs must not keep the process.
pub fn run(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

/// Signals that end a daemon in order.
pub struct Stop {
    term: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From here on they do.
    pub fn listen() -> Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How often systemd wants a sign, if it does.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Systemd may not be there, and if it does not listen there is nobody to tell that.
pub fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// The host's name, in the form of our names.
pub fn node_name() -> Result<Name> {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    name.parse().with_context(|| {
        format!("the host's name '{name}' cannot be used; set it with hostnamectl")
    })
}
