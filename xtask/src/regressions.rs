//! The tests that pages name are there.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};

const PAGES: [&str; 2] = [
    "docs/reference/regressions.md",
    "docs/reference/security.md",
];

/// What a row names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named<'a> {
    /// Tests of `make unit-test`.
    tests: Vec<&'a str>,
    /// A lab and a step of it.
    steps: Vec<(&'a str, &'a str)>,
}

impl Named<'_> {
    fn is_empty(&self) -> bool {
        self.tests.is_empty() && self.steps.is_empty()
    }
}

/// Rows of tables whose last column is called `tests`, with what their last cell names: in code, without a blank; after
/// the word "lab" a lab, and steps of it up to the next semicolon.
fn rows(page: &str) -> Vec<(&str, Named<'_>)> {
    let mut rows = Vec::new();
    let mut of_tests = false;
    for line in page.lines() {
        if !line.starts_with("| ") {
            // The line below a table's head has no blank.
            of_tests &= line.starts_with('|');
        } else if line.ends_with("| tests |") {
            of_tests = true;
        } else if of_tests {
            let cells = line.trim_end_matches('|');
            let last = cells.rsplit('|').next().unwrap_or_default();
            rows.push((line, named(last)));
        }
    }
    rows
}

fn named(cell: &str) -> Named<'_> {
    let mut named = Named::default();
    for part in cell.split(';') {
        let is_name = |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let mut names = part.split('`').skip(1).step_by(2).filter(is_name);
        if part.trim_start().starts_with("lab ") {
            let lab = names.next().unwrap_or_default();
            named.steps.extend(names.map(|step| (lab, step)));
        } else {
            named.tests.extend(names);
        }
    }
    named
}

/// Names of functions that a test harness runs: with an attribute that ends in `test` (`#[test]`, `#[tokio::test(…)]`)
/// before them.
fn tests_of(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(attribute) = line.strip_prefix("#[") {
            let name = attribute.split(['(', ']']).next().unwrap_or_default();
            is_test |= name == "test" || name.ends_with("::test");
            return None;
        }
        let name = line.strip_prefix("async ").unwrap_or(line);
        let name = name.strip_prefix("fn ")?.split(['(', '<']).next()?;
        std::mem::take(&mut is_test).then_some(name)
    })
}

fn tests(directory: &Path, all: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            tests(&path, all)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path)?;
            all.extend(tests_of(&text).map(str::to_owned));
        }
    }
    Ok(())
}

/// True if a lab has a step that is this function. Steps may stand in what several labs begin with.
fn has_step(labs: &str, lab: &str, step: &str) -> bool {
    let Some(begin) = labs.find(&format!("\nfn {lab}() {{")) else {
        return false;
    };
    let body = &labs[begin + 1..];
    let body = &body[..body.find("\n}").unwrap_or(body.len())];
    let is_there = |text: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(|word| word == step)
    };
    is_there(body)
}

/// Each is there; how many.
pub fn check(root: &Path) -> Result<String> {
    let mut all = BTreeSet::new();
    tests(&root.join("crates"), &mut all)?;
    tests(&root.join("fuzz"), &mut all)?;
    let labs = root.join("crates/lab/tests/lab/main.rs");
    let labs = fs::read_to_string(&labs).with_context(|| labs.display().to_string())?;
    let mut said = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(root.join(page)).with_context(|| page.to_owned())?;
        let rows = rows(&text);
        let tests = rows.iter().flat_map(|(_, named)| &named.tests);
        let mut missing: Vec<String> = tests
            .clone()
            .filter(|name| !all.contains(**name))
            .map(|name| (*name).to_owned())
            .collect();
        let steps = rows.iter().flat_map(|(_, named)| &named.steps);
        let no_step = steps
            .clone()
            .filter(|(lab, step)| !has_step(&labs, lab, step));
        missing.extend(no_step.map(|(lab, step)| format!("{step} of lab {lab}")));
        ensure!(
            missing.is_empty(),
            "{page} names tests that are not there: {missing:?}"
        );
        let without = rows.iter().filter(|(_, named)| named.is_empty());
        let without: Vec<&str> = without.map(|(row, _)| *row).collect();
        ensure!(
            without.is_empty(),
            "{page} promises what no test shows:\n  {}",
            without.join("\n  ")
        );
        said.push(format!(
            "{} tests and {} steps of labs in {page} are there",
            tests.count(),
            steps.count()
        ));
    }
    Ok(said.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "text `not_this`\n| what | tests |\n|---|---|\n\
        | a `not_this` | `this_one` `make demo`; lab `smoke`: `that` |\n| b | none |\n\n\
        | other | table |\n|---|---|\n| c | `nor_this` |\n";

    #[test]
    fn what_is_in_code_in_the_last_cell_is_a_name() {
        let found: Vec<_> = rows(PAGE).into_iter().map(|(_, named)| named).collect();
        let first = Named {
            tests: vec!["this_one"],
            steps: vec![("smoke", "that")],
        };
        assert_eq!(found, [first, Named::default()]);
    }

    #[test]
    fn a_helper_is_no_test_and_a_step_is_its_lab_s() {
        let text = "fn helper() {}\n#[test]\nfn one() {}\n#[tokio::test(start_paused = true)]\n\
            #[ignore]\nasync fn two() {}\nasync fn other() {}\n";
        assert_eq!(tests_of(text).collect::<Vec<_>>(), ["one", "two"]);
        let labs = "\nfn smoke() {\n    rig.step(\"that\", story::that);\n}\n\nfn other() {\n    x::those\n}\n";
        assert!(has_step(labs, "smoke", "that") && !has_step(labs, "smoke", "those"));
        assert!(!has_step(labs, "nowhere", "that"));
    }
}
