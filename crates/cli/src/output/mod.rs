//! Printing: tables for people, JSON and YAML for programs.

pub mod tables;

use std::io::{IsTerminal, Write};

use accelnet_model::Problem;
use serde::Serialize;

use crate::args::Format;

/// Prints `value` in the wanted format; `table` makes the text for people.
pub fn print<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) {
    let text = match format {
        Format::Table => table(value),
        Format::Json => {
            serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string())
        }
        Format::Yaml => yaml_serde::to_string(value).unwrap_or_else(|error| error.to_string()),
    };
    // A reader that went away (`| head`) is no error of ours.
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
}

/// Prints problems on standard error: words for people, one JSON document for programs.
pub fn problems(format: Format, about: Option<&str>, problems: &[Problem]) {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        vm: Option<&'a str>,
        problems: &'a [Problem],
    }
    let mut err = std::io::stderr().lock();
    if format != Format::Table {
        let document = Document {
            vm: about,
            problems,
        };
        let _ = writeln!(
            err,
            "{}",
            serde_json::to_string(&document).unwrap_or_default()
        );
        return;
    }
    for problem in problems {
        let _ = write!(
            err,
            "{}",
            problem_text(problem, about, std::io::stderr().is_terminal())
        );
    }
}

/// A problem in words: what happened, why, what to do next.
pub fn problem_text(problem: &Problem, about: Option<&str>, colour: bool) -> String {
    let (red, dim, plain) = if colour {
        ("\x1b[31m", "\x1b[2m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    let about = about.map(|name| format!("{name}: ")).unwrap_or_default();
    let Problem {
        code,
        title,
        detail,
        cure,
        ..
    } = problem;
    format!(
        "{red}error{plain}: {about}{title} {dim}[{code}]{plain}\n  why:  {detail}\n  cure: {cure}\n"
    )
}
