//! The problem catalogue held against the sources: every entry is given out somewhere, a test
//! provokes or expects it, and nothing is said to users beside it.
//!
//! It reads text, not syntax: an entry counts as given out where `Code::Name` stands in shipped code
//! and is not the pattern of a match; as tested where a test names it or its key.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

const CATALOGUE: &str = "crates/model/src/problem.rs";

/// Ways to say something to a user, or to end, that go round the catalogue; in the crates that users
/// meet. Command line errors of clap, and the last words of a program that cannot print or start,
/// are in the files that may.
const ROUND_ABOUT: &[&str] = &[
    "anyhow",
    "bail!(",
    "eprint!(",
    "eprintln!(",
    "Err(\"",
    "Err(format!(",
    "process::exit(",
    "stderr()",
    "panic!(",
    "todo!(",
    "Result<(), String>",
    "ProblemDocument {",
];
const USERS_MEET: &[&str] = &["crates/server/src", "crates/cli/src", "crates/api/src"];
const MAY: &[(&str, &str)] = &[
    ("crates/cli/src/main.rs", "the runtime cannot start"),
    ("crates/cli/src/usage.rs", "clap's own words"),
    (
        "crates/cli/src/output/terminal.rs",
        "asks what standard error is, and writes nothing",
    ),
    (
        "crates/cli/src/output/mod.rs",
        "where problems are printed; standard output is gone",
    ),
    (
        "crates/cli/src/cmdlet/mod.rs",
        "where cmdlets print problems",
    ),
    (
        "crates/cli/src/cmdlet/management.rs",
        "problems beside something that was done",
    ),
    (
        "crates/server/src/failure.rs",
        "where problems become answers",
    ),
    ("crates/server/src/fake.rs", "for tests"),
    ("crates/api/src/types.rs", "the answer's definition"),
];

/// An entry: the variant and its key.
type Entry = (String, String);

/// Sources, with what is shipped and what only tests see.
struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    shipped: String,
    tests: String,
}

/// Checks the repository whose root this is.
pub fn check(root: &Path) -> Result<String> {
    let text = fs::read_to_string(root.join(CATALOGUE)).context(CATALOGUE)?;
    let entries = entries(&text);
    ensure!(entries.len() > 50, "{CATALOGUE} is not understood any more");
    let sources = sources(root)?;
    let mut wrong = Vec::new();
    for (variant, key) in &entries {
        if !sources.iter().any(|source| gives_out(source, variant)) {
            wrong.push(format!("{key} is never given out"));
        }
        if !sources.iter().any(|source| tests(source, variant, key)) {
            wrong.push(format!("no test provokes or expects {key}"));
        }
    }
    wrong.extend(sources.iter().flat_map(round_about));
    ensure!(
        wrong.is_empty(),
        "problem catalogue:\n  {}",
        wrong.join("\n  ")
    );
    Ok(format!(
        "{} problems are given out and tested",
        entries.len()
    ))
}

/// Lines `Variant "key" EXIT` of the catalogue's table.
fn entries(catalogue: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let mut words = line.strip_prefix("    ")?.split(' ');
        let (variant, key, exit) = (words.next()?, words.next()?, words.next()?);
        let key = key.strip_prefix('"')?.strip_suffix('"')?;
        let upper = exit.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        (upper && words.next().is_none()).then(|| (variant.to_owned(), key.to_owned()))
    };
    catalogue.lines().filter_map(entry).collect()
}

fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut files = BTreeSet::new();
    let crates = root.join("crates");
    gather(&crates, &mut files)?;
    let mut sources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let path = file
            .strip_prefix(root)?
            .to_string_lossy()
            .replace('\\', "/");
        // A test module stands at a file's end.
        let (shipped, tests) = match text.split_once("#[cfg(test)]\nmod ") {
            _ if is_test(&path) => ("", text.as_str()),
            Some((shipped, tests)) => (shipped, tests),
            None => (text.as_str(), ""),
        };
        let code = shipped.lines().filter(|line| !is_comment(line));
        sources.push(Source {
            shipped: code.collect::<Vec<_>>().join("\n"),
            tests: tests.to_owned(),
            path,
        });
    }
    Ok(sources)
}

fn gather(directory: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.insert(path);
        }
    }
    Ok(())
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/")
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// `Code::Variant` in shipped code of the product, not followed by what a pattern is followed by.
/// The states of SR-IOV support give theirs out in the model. Doubles and the lab give out nothing.
fn gives_out(source: &Source, variant: &str) -> bool {
    let double = source.path.ends_with("/fake.rs") || source.path.contains("/twin");
    if double || source.path.starts_with("crates/lab/") || source.path == CATALOGUE {
        return false;
    }
    let name = format!("Code::{variant}");
    source.shipped.match_indices(&name).any(|(at, _)| {
        let after = &source.shipped[at + name.len()..];
        let longer = after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let after = after.trim_start();
        !longer && !after.starts_with("=>") && !after.starts_with('|')
    })
}

fn tests(source: &Source, variant: &str, key: &str) -> bool {
    let text = &source.tests;
    let name = format!("Code::{variant}");
    let named = text.match_indices(&name).any(|(at, _)| {
        !text[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    });
    named
        || [
            format!("\"{key}\""),
            format!("[{key}]"),
            format!(":{key}\""),
        ]
        .iter()
        .any(|quoted| text.contains(quoted))
}

fn round_about(source: &Source) -> Vec<String> {
    let met = USERS_MEET
        .iter()
        .any(|start| source.path.starts_with(start));
    if !met || MAY.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let found = ROUND_ABOUT
        .iter()
        .filter(|words| source.shipped.contains(**words));
    found
        .map(|words| {
            format!(
                "{}: '{words}' goes round the catalogue: give out a Problem",
                source.path
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, shipped: &str, tests: &str) -> Source {
        Source {
            path: path.into(),
            shipped: shipped.into(),
            tests: tests.into(),
        }
    }

    #[test]
    fn this_repository_keeps_to_its_catalogue() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        if let Err(error) = check(root) {
            panic!("{error:#}");
        }
    }

    #[test]
    fn entries_are_the_lines_with_key_and_exit_code() {
        let table = "    NoFreeVf \"no_free_vf\" REFUSED\n        \"All VFs ARE TAKEN.\"\n";
        assert_eq!(entries(table), [("NoFreeVf".into(), "no_free_vf".into())]);
    }

    #[test]
    fn patterns_and_longer_names_give_out_nothing() {
        let gives = |text: &str| gives_out(&source("crates/server/src/x.rs", text, ""), "Not");
        assert!(gives("Problem::new(Code::Not, text)"));
        assert!(gives("return Code::Not;"));
        for text in ["Code::NotFound", "Code::Not => 1", "Code::Not\n | Code::B"] {
            assert!(!gives(text), "{text}");
        }
        let fake = source("crates/server/src/fake.rs", "f(Code::Not)", "");
        assert!(!gives_out(&fake, "Not"));
    }

    #[test]
    fn words_beside_the_catalogue_are_found() {
        let found = |path: &str, text: &str| round_about(&source(path, text, "")).len();
        assert_eq!(found("crates/cli/src/verbs/vm.rs", "eprintln!(\"no\")"), 1);
        assert_eq!(found("crates/cli/src/main.rs", "eprintln!(\"no\")"), 0);
        assert_eq!(found("crates/daemon/src/main.rs", "eprintln!(\"no\")"), 0);
        assert_eq!(found("crates/server/src/x.rs", "Err(problem)"), 0);
    }
}
