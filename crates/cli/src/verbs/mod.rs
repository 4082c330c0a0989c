//! The verbs, a file per group.

mod adapter;
mod cluster;
mod explain;
mod intent;
mod vm;

use accelnet_api::{Client, Outcome};
use accelnet_model::problem::exit;
use clap::CommandFactory;
use serde::Serialize;

use crate::{
    args::{Args, Command, Format},
    call::{Call, exit_code},
    output,
};

/// Runs one command line; the result is the process's exit code.
pub async fn run(args: Args) -> u8 {
    let format = args.output;
    let client = match Client::on_socket(&args.socket) {
        Ok(client) => client,
        Err(error) => return exit_code(Err(error), format),
    };
    let call = Call { client, format };
    let ended = match args.command {
        Command::Prereq(args) => cluster::prereq(&call, args.intent.as_deref()).await,
        Command::Enable(args) => cluster::enable(&call, &args).await,
        Command::Disable(change) => cluster::disable(&call, change).await,
        Command::Status => cluster::status(&call).await,
        Command::Vm(command) => vm::run(&call, command).await,
        Command::Intent(command) => intent::run(&call, command).await,
        Command::Adapter(command) => adapter::run(&call, command).await,
        Command::Explain { code } => explain::run(format, code.as_deref()),
        Command::Completion { shell } => {
            let mut command = Args::command();
            clap_complete::generate(shell, &mut command, "accelnet", &mut std::io::stdout());
            Ok(exit::OK)
        }
    };
    exit_code(ended, format)
}

/// Prints what a change does or would do. Programs get the whole outcome, people the plan of a dry
/// run, or one line.
fn print_outcome<T: Serialize>(format: Format, outcome: &Outcome<T>, done: &str) {
    output::print(format, outcome, |outcome| {
        match (outcome.dry_run, outcome.changed) {
            (_, false) => format!("Nothing to change: {done} already."),
            (false, true) => done.to_owned(),
            (true, true) => {
                let steps = outcome.plan.iter().enumerate();
                let steps: Vec<_> = steps
                    .map(|(i, step)| format!("{:>3}. {step}", i + 1))
                    .collect();
                format!(
                    "This would be done (nothing was changed):\n{}",
                    steps.join("\n")
                )
            }
        }
    });
}
