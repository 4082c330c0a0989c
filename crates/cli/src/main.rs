//! `accelnet`: accelerated networking for KVM clusters, from the command line.
//!
//! Reads arguments, asks the server, prints. No rule lives here: what is allowed and what is in
//! effect is the server's and the agents' to say.

mod args;
mod ask;
mod call;
mod cmdlet;
#[cfg(test)]
mod documented;
mod output;
mod place;
mod profiles;
mod select;
mod support;
mod usage;
mod verbs;
mod wait;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return ExitCode::from(usage::explain(&error)),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the asynchronous runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    ExitCode::from(runtime.block_on(verbs::run(args)))
}
