//! How the server looks after its cluster, as it is said on the command line.

use accelnet_server::{Acts, Settings, Tuning};
use anyhow::Result;
use clap::Args;

use crate::webhook::WebhookArgs;

/// When faults are told, and to whom.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Other windows for faults: CODE=OPENS/CLOSES in seconds, CODE=TIMES/WITHIN of what is counted, or CODE=off;
    /// several with commas.
    #[arg(
        long,
        env = "ACCELNET_FAULT_WINDOWS",
        default_value = "",
        hide_default_value = true,
        value_name = "WINDOWS"
    )]
    fault_windows: Tuning,
    /// What is done about faults beside telling them: CODE=ignore (not told), CODE=report (told, as without this),
    /// CODE=isolate (its adapter is taken out of the pool until somebody lets it back), CODE=disable (its VM is parked
    /// until somebody unparks it); several with commas.
    #[arg(
        long,
        env = "ACCELNET_FAULT_ACTIONS",
        default_value = "",
        hide_default_value = true,
        value_name = "ACTIONS"
    )]
    fault_actions: Acts,
    #[command(flatten)]
    webhook: WebhookArgs,
}

impl HealthArgs {
    /// As the server takes it.
    pub fn settings(&self) -> Result<Settings> {
        Ok(Settings {
            tuning: self.fault_windows.clone(),
            acts: self.fault_actions.clone(),
            announcer: self.webhook.announcer()?,
            ..Settings::default()
        })
    }
}
