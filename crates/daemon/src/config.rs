//! `accelnetd.toml`: options that need not be said each time, and `accelnetd config`.
//!
//! Which keys there are is not written here: they are the options of the roles that run for long, under the same
//! names ([`keys`]). What the file says becomes the default of an option before the command line is parsed, so that
//! the order is clap's own: command line, environment, file, default.

mod file;
mod keys;
mod reference;
mod show;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::{Command, CommandFactory, FromArgMatches, Subcommand, parser::ValueSource};

use crate::{Args, Role};
use file::File;
use keys::Keys;

/// Where the file is, if no other is named. It need not be there.
pub const PATH: &str = "/etc/accelnet/accelnetd.toml";

const CHECK_EXAMPLES: &str = "\
Examples:
  accelnetd config check                  the file that is in use
  accelnetd config check new.toml && install -m644 new.toml /etc/accelnet/accelnetd.toml

The exit code is 0 if it can be used, else 1, and each fault is told with its line.";

const SHOW_EXAMPLES: &str = "\
Examples:
  accelnetd config show
  accelnetd --config new.toml config show

What a unit has in its own environment or command line goes before: systemctl cat accelnet-agent.";

/// What is done with the file.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Whether the file can be used.
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// The file; if not said, that of --config.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// What is in effect, and where each value comes from.
    #[command(after_help = SHOW_EXAMPLES)]
    Show,
    /// All keys as the page docs/reference/configuration.md.
    #[command(hide = true)]
    Reference,
}

/// Runs it.
pub fn run(config: &Config, named: &Path) -> Result<()> {
    let mut out = io::stdout().lock();
    match config {
        Config::Check { file } => check(&mut out, file.as_deref(), named),
        Config::Show => show::show(&mut out, named),
        Config::Reference => Ok(write!(out, "{}", reference::page())?),
    }
}

/// The command line, with what the file says as its defaults. What needs no option of a file reads none, so that
/// it works whatever is wrong with the file.
///
/// # Errors
/// If the file cannot be used.
pub fn command_with_file(words: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let command = Args::command();
    let keys = Keys::of(&command);
    // What is wrong on the command line, and what asks for help, is told when it is parsed in earnest.
    let first = command.clone().ignore_errors(true);
    let Ok(matches) = first.try_get_matches_from(words) else {
        return Ok(command);
    };
    let (mut role, mut matches) = (&command, &matches);
    while let Some((name, below)) = matches.subcommand() {
        let Some(found) = role.find_subcommand(name) else {
            return Ok(command);
        };
        (role, matches) = (found, below);
    }
    if !keys.concern(role) {
        return Ok(command);
    }
    let Some(path) = matches.get_one::<PathBuf>("config") else {
        return Ok(command);
    };
    let is_named = matches.value_source("config") != Some(ValueSource::DefaultValue);
    let file = File::read(path, is_named, &keys)?;
    Ok(with_defaults(command, &keys, &file))
}

/// The same command line, where what the file says is the default.
fn with_defaults(command: Command, keys: &Keys, file: &File) -> Command {
    let role = command.get_name().to_owned();
    let command = command.mut_args(|arg| {
        let key = arg.get_long().and_then(|long| keys.find(&role, long));
        match key.and_then(|key| file.value_of(key)) {
            // Once in a process, and it is for as long as that lives: clap takes defaults that do.
            Some(value) => arg.default_value(&*String::leak(value.to_owned())),
            None => arg,
        }
    });
    command.mut_subcommands(|below| with_defaults(below, keys, file))
}

fn check(out: &mut impl Write, file: Option<&Path>, named: &Path) -> Result<()> {
    let path = file.unwrap_or(named);
    let shown = path.display();
    let must_be_there = file.is_some() || named != Path::new(PATH);
    let command = Args::command();
    let keys = Keys::of(&command);
    let file = File::read(path, must_be_there, &keys)?;
    let matches =
        with_defaults(command, &keys, &file).try_get_matches_from(["accelnetd", "server"])?;
    let Role::Server(server) = Args::from_arg_matches(&matches)?.role else {
        anyhow::bail!("the server's options cannot be looked at");
    };
    server.check().with_context(|| shown.to_string())?;
    match (file.is_there(), file.len()) {
        (false, _) => writeln!(out, "There is no {shown}: all has its default.")?,
        (true, 0) => writeln!(
            out,
            "{shown} can be used; it sets nothing, so all has its default."
        )?,
        (true, 1) => writeln!(out, "{shown} can be used; it sets 1 key.")?,
        (true, count) => writeln!(out, "{shown} can be used; it sets {count} keys.")?,
    }
    ensure!(file.is_there() || !must_be_there, "there is no {shown}");
    Ok(())
}

#[cfg(test)]
mod tests;
