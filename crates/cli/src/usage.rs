//! A command line that cannot be understood, and the help.

use std::io::Write;

use accelnet_model::{Code, Problem, problem::exit};
use clap::error::ErrorKind;

use crate::{args::Format, output};

/// Says what is wrong with the command line, or prints the help that it asks for; the result is the
/// exit code.
pub fn explain(error: &clap::Error) -> u8 {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    if help || !wants_document(&mut words) {
        let odd = |word: String| output::printable(&word) != word;
        if help || !std::env::args_os().any(|word| odd(word.to_string_lossy().into_owned())) {
            // A terminal that went away is no error of ours.
            let _ = error.print();
        } else {
            // It repeats what was typed, so without colours and line by line.
            let text = error.render().to_string();
            let lines: Vec<String> = text.lines().map(output::printable).collect();
            let _ = writeln!(std::io::stderr().lock(), "{}", lines.join("\n"));
        }
    } else {
        let text = error.render().to_string();
        let text = text.trim_start_matches("error: ");
        let (detail, cure) = text.split_once("\n\n").unwrap_or((text, ""));
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let problem =
            Problem::new(Code::InvalidArgument, one_line(detail)).with_cure(one_line(cure));
        output::problems(Format::Json, None, &[problem]);
    }
    // Clap's own: 2, and 0 for help that was asked for.
    u8::try_from(error.exit_code()).unwrap_or(exit::USAGE)
}

/// `-o json` or the like among the words; they could not be parsed, so by their looks.
fn wants_document(words: &mut impl Iterator<Item = String>) -> bool {
    let mut format = None;
    while let Some(word) = words.next() {
        format = match word.as_str() {
            "-o" | "--output" => words.next(),
            "--" => break,
            _ => {
                let after = word.strip_prefix("--output=").or(word.strip_prefix("-o"));
                match after {
                    Some(after) => Some(after.trim_start_matches('=').to_owned()),
                    None => continue,
                }
            }
        };
    }
    matches!(format.as_deref(), Some("json" | "yaml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_found_in_a_line_that_cannot_be_parsed() {
        let wants = |line: &str| wants_document(&mut line.split(' ').map(str::to_owned));
        for line in [
            "a -o json",
            "a -ojson vm",
            "a --output=yaml",
            "a --output json x",
            "a -o=json",
        ] {
            assert!(wants(line), "{line}");
        }
        for line in [
            "a",
            "a -o table",
            "a -o",
            "a -o json -o table",
            "a -- -o json",
            "a vm json",
        ] {
            assert!(!wants(line), "{line}");
        }
    }
}
