//! What every verb is given, and how it ends.

use accelnet_api::{Client, ClientError};
use accelnet_model::{Problem, problem::exit};

use crate::{args::Format, output};

/// A verb's surroundings.
pub struct Call {
    /// The server.
    pub client: Client,
    /// How to print.
    pub format: Format,
}

/// How a verb ends: an exit code, or problems that are printed and give the code.
pub type Ended = Result<u8, ClientError>;

/// Prints problems and turns the end of a verb into the process's exit code.
pub fn exit_code(ended: Ended, format: Format) -> u8 {
    match ended {
        Ok(code) => code,
        Err(error) => {
            let problems = error.into_problems();
            output::problems(format, None, &problems);
            worst_code(&problems)
        }
    }
}

/// The exit code of the first problem: the server puts the cause first.
pub fn worst_code(problems: &[Problem]) -> u8 {
    problems
        .first()
        .map_or(exit::FAILED, |problem| problem.code.exit_code())
}
