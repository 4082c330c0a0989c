//! The verbs, a file per group.

pub mod adapter;
mod admin;
mod audit;
mod capacity;
pub mod cluster;
mod detections;
mod explain;
mod health;
mod intent;
pub mod login;
mod man;
mod metrics;
mod node;
mod token;
mod travel;
pub mod vm;
pub mod waiver;

use accelnet_api::{Client, Outcome};
use accelnet_model::problem::exit;
use clap::CommandFactory;
use serde::Serialize;

use crate::{
    args::{Args, CapacityArgs, Command, Format},
    call::{Call, exit_code},
    cmdlet,
    output::{self, printable},
    place, support,
};

/// Runs one command line; the result is the process's exit code.
pub async fn run(args: Args) -> u8 {
    let format = args.output;
    // What needs no server works whatever is wrong with a profile.
    let command = match args.command {
        Command::Capacity(CapacityArgs {
            from: Some(path), ..
        }) => return exit_code(capacity::of_file(format, &path), format),
        Command::Explain {
            detections: true, ..
        } => {
            output::raw(&detections::page());
            return exit::OK;
        }
        Command::Explain { metrics: true, .. } => {
            output::raw(&metrics::page());
            return exit::OK;
        }
        Command::Explain { code, markdown, .. } => {
            return exit_code(explain::run(format, code.as_deref(), markdown), format);
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "accelnet", &mut script);
            output::raw(&String::from_utf8_lossy(&script));
            return exit::OK;
        }
        Command::Man { directory } => return exit_code(man::run(directory.as_deref()), format),
        Command::Login(login) => {
            return exit_code(login::login(format, &args.place, &login).await, format);
        }
        Command::Logout { name } => {
            return exit_code(login::logout(format, &args.place, name.as_deref()), format);
        }
        Command::Profile(command) => return exit_code(login::profile(format, &command), format),
        command => command,
    };
    let client = match place::client(&args.place) {
        Ok(client) => client,
        Err(error) => return exit_code(Err(error), format),
    };
    let call = Call {
        client: client.clone(),
        format,
    };
    let ended = match command {
        Command::Prereq(args) => cluster::prereq(&call, args.intent.as_deref()).await,
        Command::Enable(args) => cluster::enable(&call, &args).await,
        Command::Set(args) => cluster::set(&call, &args).await,
        Command::Disable(change) => cluster::disable(&call, change).await,
        Command::Status(args) if args.check => health::check(&call).await,
        Command::Status(_) => cluster::status(&call).await,
        Command::Hud(args) => health::hud(&call, &args).await,
        Command::Events(args) => health::events(&call, &args).await,
        Command::Capacity(args) => capacity::of_cluster(&call, &args.without).await,
        Command::Vm(command) => vm::run(&call, command).await,
        Command::Waiver(command) => waiver::run(&call, &command).await,
        Command::Intent(command) => intent::run(&call, command).await,
        Command::Adapter(command) => adapter::run(&call, command).await,
        Command::Node(command) => node::run(&call, command).await,
        Command::Server(command) => node::server(&call, &command).await,
        Command::Admin(command) => admin::run(&call, &command).await,
        Command::Token(command) => token::run(&call, command).await,
        Command::Audit(args) => audit::run(&call, &args).await,
        Command::SupportBundle { file } => {
            support::bundle(&call, &support::Host::default(), file).await
        }
        Command::Whoami => login::whoami(&call).await,
        // They were run above.
        Command::Explain { .. }
        | Command::Completion { .. }
        | Command::Man { .. }
        | Command::Login(_)
        | Command::Logout { .. }
        | Command::Profile(_) => Ok(exit::OK),
        Command::Cmdlet(command) => {
            let code = cmdlet::run(call, command).await;
            say_whose_copy(&client);
            return code;
        }
    };
    say_whose_copy(&client);
    exit_code(ended, format)
}

/// Nothing old is shown without a word.
fn say_whose_copy(client: &Client) {
    if let Some(server) = client.answered_from_copy_of() {
        output::of_copy(&server);
    }
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
