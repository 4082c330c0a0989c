//! The verbs, a file per group.

pub mod adapter;
mod capacity;
pub mod cluster;
mod explain;
mod intent;
mod man;
pub mod vm;
pub mod waiver;

use accelnet_api::{Client, Outcome};
use accelnet_model::problem::exit;
use clap::CommandFactory;
use serde::Serialize;

use crate::{
    args::{Args, Command, Format},
    call::{Call, exit_code},
    cmdlet,
    output::{self, printable},
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
        Command::Set(args) => cluster::set(&call, &args).await,
        Command::Disable(change) => cluster::disable(&call, change).await,
        Command::Status => cluster::status(&call).await,
        Command::Capacity(args) => match &args.from {
            Some(path) => capacity::of_file(format, path),
            None => capacity::of_cluster(&call, &args.without).await,
        },
        Command::Vm(command) => vm::run(&call, command).await,
        Command::Waiver(command) => waiver::run(&call, &command).await,
        Command::Intent(command) => intent::run(&call, command).await,
        Command::Adapter(command) => adapter::run(&call, command).await,
        Command::Explain { code, markdown } => explain::run(format, code.as_deref(), markdown),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "accelnet", &mut script);
            output::raw(&String::from_utf8_lossy(&script));
            Ok(exit::OK)
        }
        Command::Man { directory } => man::run(directory.as_deref()),
        Command::Cmdlet(command) => return cmdlet::run(call, command).await,
    };
    exit_code(ended, format)
}

/// Prints what a change does or would do. Programs get the whole outcome, people the plan of a dry
/// run, or one line.
fn print_outcome<T: Serialize>(format: Format, outcome: &Outcome<T>, done: &str) {
    output::print(format, outcome, |outcome| outcome_text(outcome, done));
}

fn outcome_text<T>(outcome: &Outcome<T>, done: &str) -> String {
    match (outcome.dry_run, outcome.changed) {
        (_, false) => format!("Nothing to change: {done}"),
        (false, true) => done.to_owned(),
        (true, true) => format!(
            "This would be done (nothing was changed):\n{}",
            numbered(&outcome.plan)
        ),
    }
}

/// The steps of a plan.
fn numbered(plan: &[String]) -> String {
    let steps = plan.iter().enumerate();
    let lines: Vec<String> = steps
        .map(|(i, step)| format!("{:>3}. {}", i + 1, printable(step)))
        .collect();
    lines.join("\n")
}
