//! What people are told to type of `accelnetd` can be typed: in the documentation, in the help and in the units.

use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};

use crate::Args;

/// The commands of a shell line that call the daemon, as words. Our pages quote nothing in them.
fn ours(line: &str) -> impl Iterator<Item = Vec<&str>> {
    // Two blanks and a number sign, or three blanks, begin what explains the line.
    let line = line.split("  #").next().unwrap_or_default().trim();
    let line = line.split("   ").next().unwrap_or_default();
    let commands = line.split(['|', '&', ';', '>']).map(str::trim);
    let words = commands.map(|command| -> Vec<&str> {
        let words = command.split_whitespace();
        words
            .skip_while(|word| word.contains('=') || *word == "sudo")
            .collect()
    });
    words.filter(|words| {
        words
            .first()
            .is_some_and(|word| word.ends_with("accelnetd"))
    })
}

#[track_caller]
fn all_are_understood<'a>(from: &str, lines: impl Iterator<Item = &'a str>) -> usize {
    let mut count = 0;
    for line in lines {
        for mut words in ours(line) {
            words[0] = "accelnetd";
            // What an administrator's variable may add.
            words.retain(|word| !word.starts_with('$'));
            count += 1;
            let parsed = Args::try_parse_from(&words);
            assert!(parsed.is_ok(), "{from}: {line}\n{}", parsed.unwrap_err());
        }
    }
    count
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            found.push(path);
        }
    }
}

#[test]
fn in_the_documentation() {
    let mut found = vec![root().join("README.md")];
    files(&root().join("docs"), "md", &mut found);
    let mut count = 0;
    for path in &found {
        let page = std::fs::read_to_string(path).unwrap();
        let blocks = page.split("\n```").skip(1).step_by(2);
        let lines = blocks.flat_map(|block| block.lines().skip(1));
        count += all_are_understood(&path.display().to_string(), lines);
    }
    assert!(count >= 11, "only {count} lines: are they still found?");
}

#[test]
fn in_the_units() {
    let mut found = Vec::new();
    files(&root().join("packaging/systemd"), "service", &mut found);
    let mut count = 0;
    for path in &found {
        let unit = std::fs::read_to_string(path).unwrap();
        let lines = unit.lines().filter(|line| line.starts_with("Exec"));
        let commands = lines.filter_map(|line| line.split_once('=').map(|(_, command)| command));
        let commands = commands.map(|command| command.trim_start_matches('-'));
        count += all_are_understood(&path.display().to_string(), commands);
    }
    assert!(count >= 6, "only {count} commands: are they still found?");
}

#[test]
fn in_the_help() {
    fn of(command: &clap::Command, count: &mut usize) {
        if let Some(help) = command.get_after_help() {
            *count += all_are_understood(command.get_name(), help.to_string().lines());
        }
        for below in command.get_subcommands() {
            of(below, count);
        }
    }
    let mut count = 0;
    of(&Args::command(), &mut count);
    assert!(count >= 15, "only {count} lines: are they still found?");
}
