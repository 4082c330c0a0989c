//! What people are told to type can be typed: every `accelnet` line in the documentation, in the help
//! and in the catalogue of problems is understood by the command line as it is, and links
//! between pages lead to one.

use std::path::{Path, PathBuf};

use accelnet_model::Code;
use clap::{CommandFactory, Parser, error::ErrorKind};

use crate::args::Args;

/// Whether lines are commands to type, or only name them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Typed,
    Named,
}

/// The commands of a shell line, as words. Knows what our pages use: quotes, comments, and what stands
/// between commands.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    // None between words.
    let (mut word, mut quote) = (None::<String>, None);
    let end = |word: &mut Option<String>, all: &mut Vec<Vec<String>>| {
        if let (Some(word), Some(last)) = (word.take(), all.last_mut()) {
            last.push(word);
        }
    };
    for sign in line.chars() {
        match (quote, sign) {
            (Some(open), sign) if sign == open => quote = None,
            (Some(_), sign) => word.get_or_insert_default().push(sign),
            (None, '\'' | '"') => {
                quote = Some(sign);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | ';' | '>') => {
                end(&mut word, &mut all);
                all.push(Vec::new());
            }
            (None, sign) if sign.is_whitespace() => end(&mut word, &mut all),
            (None, sign) => word.get_or_insert_default().push(sign),
        }
    }
    end(&mut word, &mut all);
    all
}

/// The part that `accelnet` gets, if it is called: by itself or on a node of the lab.
fn ours(command: &[String]) -> Option<&[String]> {
    let at = match command.iter().position(|word| word == "--") {
        Some(hyphens) if command.get(hyphens + 1)? == "accelnet" => hyphens + 1,
        _ if command.first()? == "accelnet" => 0,
        _ => return None,
    };
    Some(&command[at..])
}

/// How many of the lines call `accelnet`; all of them as it can be called. `Named` ones may leave out what
/// must be given, or say with "…" that more belongs there.
#[track_caller]
fn all_are_understood(
    from: &str,
    whole: Whole,
    lines: impl Iterator<Item = impl AsRef<str>>,
) -> usize {
    let mut count = 0;
    for line in lines {
        let line = line.as_ref();
        for command in commands(line) {
            let Some(words) = ours(&command) else {
                continue;
            };
            count += 1;
            let words = words
                .iter()
                .filter(|word| whole == Whole::Typed || *word != "…");
            let wrong = Args::try_parse_from(words).err().filter(|error| {
                whole == Whole::Typed || error.kind() != ErrorKind::MissingRequiredArgument
            });
            assert!(wrong.is_none(), "{from}: {line}\n{}", wrong.unwrap());
        }
    }
    count
}

fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Lines of the blocks that are set off as code.
fn typed(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("\n```").skip(1).step_by(2);
    blocks.flat_map(|block| block.lines().skip(1))
}

/// README and everything in docs.
fn documentation() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = vec![root.join("README.md")];
    pages(&root.join("docs"), &mut found);
    found
}

#[test]
fn links_lead_to_pages() {
    let mut count = 0;
    for path in documentation() {
        let page = std::fs::read_to_string(&path).unwrap();
        let targets = page.split("](").skip(1);
        let targets = targets.filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| target.ends_with(".md")) {
            count += 1;
            let leads_to = path.parent().unwrap().join(target);
            assert!(leads_to.is_file(), "{}: {target}", path.display());
        }
    }
    assert!(count >= 10, "only {count} links: are they still found?");
}

#[test]
fn in_the_documentation() {
    let found = documentation();
    let mut count = 0;
    for path in &found {
        let page = std::fs::read_to_string(path).unwrap();
        count += all_are_understood(&path.display().to_string(), Whole::Typed, typed(&page));
    }
    assert!(count >= 30, "only {count} lines: are they still found?");
}

#[test]
fn in_the_help() {
    fn of(command: &clap::Command, count: &mut usize) {
        if let Some(help) = command.get_after_help() {
            let help = help.to_string();
            // Explanations beside a command stand after several blanks.
            let lines = help.lines().map(|line| line.trim_start());
            let lines = lines.map(|line| line.split("   ").next().unwrap_or(line));
            *count += all_are_understood(command.get_name(), Whole::Typed, lines);
        }
        for verb in command.get_subcommands() {
            of(verb, count);
        }
    }
    let mut count = 0;
    of(&Args::command(), &mut count);
    assert!(count >= 30, "only {count} lines: are they still found?");
}

#[test]
fn in_problems() {
    let mut count = 0;
    for code in Code::ALL {
        for text in [code.explanation(), code.cure()] {
            // Commands are quoted there; what is not is prose, and its apostrophes too.
            let quoted = text.split("'accelnet ").skip(1);
            let quoted = quoted.map(|rest| rest.split('\'').next().unwrap_or(rest));
            let lines = quoted.map(|rest| format!("accelnet {rest}"));
            count += all_are_understood(code.as_str(), Whole::Named, lines);
        }
    }
    assert!(count >= 10, "only {count} commands: are they still found?");
}

#[test]
fn shell_lines_are_taken_apart() {
    for (line, expected) in [
        (
            "accelnet vm disable 'web*' db1",
            "accelnet|vm|disable|web*|db1",
        ),
        ("accelnet status   # all", "accelnet|status"),
        (
            "jq -r '.a | .b' x | accelnet vm enable -",
            "accelnet|vm|enable|-",
        ),
        ("lab exec node1 -- accelnet vm list", "accelnet|vm|list"),
        ("accelnet man > x#y", "accelnet|man"),
        ("echo accelnet", ""),
    ] {
        let all = commands(line);
        let found: Vec<_> = all.iter().filter_map(|command| ours(command)).collect();
        assert_eq!(found.concat().join("|"), expected, "{line}");
    }
}
