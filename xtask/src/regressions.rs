//! The tests that pages name are there.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};

const PAGES: [&str; 2] = [
    "docs/reference/regressions.md",
    "docs/reference/security.md",
];

/// Rows of tables whose last column is called `tests`, with the names in their last cell: in code, without a blank.
fn rows(page: &str) -> Vec<(&str, Vec<&str>)> {
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
            let code = last.split('`').skip(1).step_by(2);
            let is_name = |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            rows.push((line, code.filter(is_name).collect()));
        }
    }
    rows
}

fn functions(directory: &Path, all: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            functions(&path, all)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path)?;
            let after = text.split("fn ").skip(1);
            let end = |rest: &str| rest.find(['(', '<']).map(|end| rest[..end].to_owned());
            all.extend(after.filter_map(end));
        }
    }
    Ok(())
}

/// Each is there; how many.
pub fn check(root: &Path) -> Result<String> {
    let mut all = BTreeSet::new();
    functions(&root.join("crates"), &mut all)?;
    functions(&root.join("fuzz"), &mut all)?;
    let mut said = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(root.join(page)).with_context(|| page.to_owned())?;
        // Labs are named beside their steps; they are functions, too.
        let rows = rows(&text);
        let named: BTreeSet<&str> = rows.iter().flat_map(|(_, names)| names).copied().collect();
        let missing: Vec<&&str> = named.iter().filter(|name| !all.contains(**name)).collect();
        ensure!(
            missing.is_empty(),
            "{page} names tests that are not there: {missing:?}"
        );
        let without = rows.iter().filter(|(_, names)| names.is_empty());
        let without: Vec<&str> = without.map(|(row, _)| *row).collect();
        ensure!(
            without.is_empty(),
            "{page} promises what no test shows:\n  {}",
            without.join("\n  ")
        );
        said.push(format!("{} tests of {page} are there", named.len()));
    }
    Ok(said.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::rows;

    const PAGE: &str = "text `not_this`\n| what | tests |\n|---|---|\n\
        | a `not_this` | `this_one` `make demo`; lab `smoke`: `that` |\n| b | none |\n\n\
        | other | table |\n|---|---|\n| c | `nor_this` |\n";

    #[test]
    fn what_is_in_code_in_the_last_cell_is_a_name() {
        let found: Vec<_> = rows(PAGE).into_iter().map(|(_, names)| names).collect();
        assert_eq!(found, [vec!["this_one", "smoke", "that"], vec![]]);
    }
}
