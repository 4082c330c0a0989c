//! Printing: tables for people, JSON and YAML for programs.

pub mod adapters;
pub mod capacity;
mod columns;
pub mod explanation;
pub mod faults;
pub mod members;
pub mod people;
mod printable;
pub mod tables;
pub mod terminal;
mod traffic;
mod yaml;

use std::io::Write;

use accelnet_model::{Code, Problem, problem::exit};
pub use printable::{document, printable};
use serde::Serialize;

use crate::args::Format;

/// Prints `value` in the wanted format; `table` makes the text for people.
pub fn print<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) {
    let text = match format {
        Format::Table => table(value),
        Format::Json => {
            document(&serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string()))
        }
        Format::Yaml => document(
            &serde_json::to_value(value)
                .map_or_else(|error| error.to_string(), |value| yaml::document(&value)),
        ),
    };
    let text = text.trim_end();
    if !text.is_empty() {
        raw(&format!("{text}\n"));
    }
}

/// Prints one of many as it comes: a line, or with YAML a document.
pub fn each<T: Serialize>(format: Format, value: &T, line: impl FnOnce() -> String) {
    match format {
        Format::Table => raw(&format!("{}\n", printable(&line()))),
        Format::Json => {
            let line = serde_json::to_string(value).unwrap_or_default();
            raw(&format!("{}\n", document(&line)));
        }
        Format::Yaml => {
            raw("---\n");
            print(format, value, |_| String::new());
        }
    }
}

/// Prints text as it is. If that is not possible the process ends: whoever reads must not take half
/// of it for all.
pub fn raw(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Ok(()) => {}
        // A reader that went away (`| head`) is no error of ours.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: standard output: {error}");
            std::process::exit(i32::from(exit::FAILED));
        }
    }
}

/// Says beside an answer that it is from the copy of a server that stands by.
pub fn of_copy(server: &str) {
    let server = printable(server);
    let _ = writeln!(
        std::io::stderr().lock(),
        "note: this is from the copy of {server}, which stands by. What nodes do now is not known to it."
    );
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
        let all = Document {
            vm: about,
            problems,
        };
        let text = serde_json::to_string(&all).unwrap_or_default();
        let _ = writeln!(err, "{}", document(&text));
        return;
    }
    for problem in problems {
        let text = words(
            "error",
            problem,
            about,
            terminal::colours(),
            terminal::error_width(),
        );
        let _ = write!(err, "{text}");
    }
}

/// A problem in words: what happened, why, what to do next.
pub fn problem_text(problem: &Problem, about: Option<&str>) -> String {
    words("error", problem, about, false, terminal::width())
}

/// The same beside something that was done.
pub fn beside_text(problem: &Problem, about: &str) -> String {
    let kind = match problem.code {
        Code::VfsWaiting => "waiting",
        _ => "warning",
    };
    words(kind, problem, Some(about), false, terminal::width())
}

fn words(
    kind: &str,
    problem: &Problem,
    about: Option<&str>,
    colour: bool,
    width: Option<usize>,
) -> String {
    let (red, dim, plain) = if colour {
        ("\x1b[31m", "\x1b[2m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    let about = about.map(|name| format!("{}: ", printable(name)));
    let about = about.unwrap_or_default();
    let code = problem.code;
    let [title, detail, cure] =
        [&problem.title, &problem.detail, &problem.cure].map(|text| printable(text));
    let [detail, cure] = [detail, cure].map(|text| below(&text, width));
    format!(
        "{red}{kind}{plain}: {about}{title} {dim}[{code}]{plain}\n  why:  {detail}\n  cure: {cure}\n"
    )
}

/// Text after `  why:  `, which goes on below itself where a terminal ends.
fn below(text: &str, width: Option<usize>) -> String {
    const FROM: usize = 8;
    match width.map(|width| width.saturating_sub(FROM)) {
        Some(room) if room >= columns::WORDS_MIN => {
            columns::wrapped(text, room).join(&format!("\n{}", " ".repeat(FROM)))
        }
        _ => text.to_owned(),
    }
}
