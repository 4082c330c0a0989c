//! The reference's PowerShell cmdlets as commands.
//!
//! | module | holds |
//! |---|---|
//! | [`table`] | names, parameters, help, examples |
//! | [`parse`] | words to parameters, pure |
//! | [`names`] | names in upper or lower case |
//! | [`nearest`] | what is not here, and what is used instead |
//! | [`objects`] | what goes through pipes |
//! | [`help`] | help texts and the reference page |
//! | [`install`] | commands in a directory |
//! | [`management`], [`vms`], [`adapters`] | what they do, with the verbs' functions |

mod adapters;
mod help;
mod install;
mod management;
mod names;
mod nearest;
mod objects;
mod parse;
mod table;
mod vms;

use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader, Write},
};

use accelnet_api::{ClientError, Items};
use accelnet_model::{Code, Problem, problem::exit};
use serde::Serialize;

use crate::{
    args::{ChangeArgs, CmdletCommand, Format, TIMEOUT_SECONDS},
    call::{Call, Ended, exit_code, worst_code},
    output::{self, printable},
};
use parse::{Bound, ErrorAction};
use table::{Action, CMDLETS, Cmdlet, Need};

/// A cmdlet with its parameters.
struct Run {
    call: Call,
    cmdlet: &'static Cmdlet,
    bound: Bound,
}

/// Runs one `cmdlet` command; the result is the process's exit code.
pub async fn run(call: Call, command: CmdletCommand) -> u8 {
    let format = call.format;
    let ended = match command {
        CmdletCommand::Install { directory } => install::install(&directory).map(|made| {
            let (count, place) = (CMDLETS.len(), printable(&directory.to_string_lossy()));
            let made = match made {
                0 => "Nothing to change: ",
                _ => "",
            };
            output::raw(&format!("{made}{count} cmdlets are in {place}.\n"));
            exit::OK
        }),
        CmdletCommand::Uninstall { directory } => install::uninstall(&directory).map(|removed| {
            let place = printable(&directory.to_string_lossy());
            output::raw(&format!("{removed} cmdlets are removed from {place}.\n"));
            exit::OK
        }),
        CmdletCommand::List => {
            list(format);
            Ok(exit::OK)
        }
        CmdletCommand::Document => {
            output::raw(&help::document());
            Ok(exit::OK)
        }
        CmdletCommand::Run { name, words } => {
            let call = Call {
                format: Format::Table,
                ..call
            };
            return cmdlet(call, &name, words).await;
        }
    };
    exit_code(ended.map_err(ClientError::from), format)
}

fn list(format: Format) {
    #[derive(Serialize)]
    struct Entry {
        name: &'static str,
        does: &'static str,
    }
    let entries = CMDLETS.iter().map(|cmdlet| Entry {
        name: cmdlet.name,
        does: cmdlet.does,
    });
    let list = Items::from(entries.collect::<Vec<_>>());
    output::print(format, &list, |list| {
        let lines = list
            .items
            .iter()
            .map(|entry| format!("{:<45}{}", entry.name, entry.does));
        lines.collect::<Vec<_>>().join("\n")
    });
}

async fn cmdlet(call: Call, name: &str, words: Vec<OsString>) -> u8 {
    let understood = texts(words).and_then(|words| {
        let cmdlet = table::find(name).ok_or_else(|| nearest::no_cmdlet(name, &words))?;
        let piped = cmdlet.comes_piped();
        Ok((cmdlet, parse::parse(cmdlet, &words, piped)?))
    });
    let (cmdlet, bound) = match understood {
        Ok(understood) => understood,
        Err(problem) => return exit_code(Err(problem.into()), call.format),
    };
    if bound.switch("Help") {
        output::raw(&help::text(cmdlet));
        return exit::OK;
    }
    let run = Run {
        call,
        cmdlet,
        bound,
    };
    let ended = run.act().await;
    match ended {
        Ok(code) => code,
        Err(error) => run.say(None, &error.into_problems()),
    }
}

fn texts(words: Vec<OsString>) -> Result<Vec<String>, Problem> {
    let texts = words.into_iter().map(|word| {
        word.into_string().map_err(|word| {
            let text = format!("'{}' is no text.", parse::shown(&word.to_string_lossy()));
            Problem::new(Code::InvalidArgument, text).with_cure("Write it in UTF-8.")
        })
    });
    texts.collect()
}

impl Cmdlet {
    /// VMs may come through standard input now.
    fn comes_piped(&self) -> bool {
        let mut parameters = self.parameters.iter();
        let must = parameters.any(|parameter| parameter.need == Need::OrPipeline);
        self.piped && objects::comes_piped(must)
    }
}

impl Run {
    async fn act(&self) -> Ended {
        match self.cmdlet.action {
            Action::CheckPrerequisites => management::check(self).await,
            Action::EnableManagement => management::enable(self).await,
            Action::SetManagement => management::set(self).await,
            Action::ShowManagement => management::show(self).await,
            Action::DisableManagement => management::disable(self).await,
            Action::EnableVm => vms::enable(self).await,
            Action::SetVm => vms::set(self).await,
            Action::DisableVm => vms::disable(self).await,
            Action::ListAccelerated => vms::list_accelerated(self).await,
            Action::ListNics => vms::list_nics(self).await,
            Action::ListVms => vms::list(self).await,
            Action::EnableSriov => adapters::enable(self).await,
            Action::ListSriov => adapters::list(self).await,
            Action::ListVfs => adapters::list_vfs(self).await,
            Action::ListIntents => management::list_intents(self).await,
        }
    }

    /// As the verbs do by default, but for `-WhatIf`.
    fn how(&self) -> ChangeArgs {
        ChangeArgs {
            dry_run: self.bound.switch("WhatIf"),
            no_wait: false,
            _wait: true,
            timeout: TIMEOUT_SECONDS,
        }
    }

    /// Errors end the cmdlet at the first one.
    fn stops(&self) -> bool {
        self.bound.error_action() == ErrorAction::Stop
    }

    /// Says problems, unless they are not to be said; the result is the exit code.
    fn say(&self, about: Option<&str>, problems: &[Problem]) -> u8 {
        if self.bound.error_action() != ErrorAction::Silent {
            output::problems(self.call.format, about, problems);
        }
        worst_code(problems)
    }

    /// Says what is done, or would be done.
    fn tell(&self, about: Option<&str>, plan: &[String]) {
        let kind = match (self.bound.switch("WhatIf"), self.bound.switch("Verbose")) {
            (true, _) => "What if",
            (false, true) => "VERBOSE",
            (false, false) => return,
        };
        let about = about.map(|name| format!("{}: ", printable(name)));
        let about = about.unwrap_or_default();
        let mut err = std::io::stderr().lock();
        let nothing = ["nothing to change.".to_owned()];
        let plan = if plan.is_empty() { &nothing } else { plan };
        for step in plan {
            // Whoever closed it does not want to know.
            let _ = writeln!(err, "{kind}: {about}{}", printable(step));
        }
    }

    /// Asks on the terminal, if that is wanted.
    fn confirmed(&self) -> Result<bool, Problem> {
        if !self.bound.switch("Confirm") || self.bound.switch("WhatIf") {
            return Ok(true);
        }
        // Standard input may be the pipe that VMs come through.
        let asked = File::options().read(true).write(true).open("/dev/tty");
        let answer = asked.and_then(|mut terminal| {
            write!(terminal, "{}: are you sure? [y/N] ", self.cmdlet.name)?;
            let mut answer = String::new();
            BufReader::new(terminal).read_line(&mut answer)?;
            Ok(answer)
        });
        let answer = answer.map_err(|error| {
            let text = format!("There is no terminal to ask on: {error}.");
            Problem::new(Code::InvalidArgument, text).with_cure("Leave -Confirm out.")
        })?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
    }
}
