//! The tests that `docs/reference/regressions.md` names are there.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};

const PAGE: &str = "docs/reference/regressions.md";

/// Names of tests are in rows of tables, in code, without a blank.
fn named(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let code = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let is_name = |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    code.filter(is_name).collect()
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
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| PAGE.to_owned())?;
    let mut all = BTreeSet::new();
    functions(&root.join("crates"), &mut all)?;
    // Labs are named beside their steps; they are functions, too.
    let named = named(&page);
    let missing: Vec<&&str> = named.iter().filter(|name| !all.contains(**name)).collect();
    ensure!(
        missing.is_empty(),
        "{PAGE} names tests that are not there: {missing:?}"
    );
    Ok(format!("{} tests of {PAGE} are there", named.len()))
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn what_is_in_code_in_a_row_is_a_name() {
        let page = "text `not_this`\n| a | `this_one` `make demo`; lab `smoke`: `that` |\n";
        assert_eq!(
            named(page).into_iter().collect::<Vec<_>>(),
            ["smoke", "that", "this_one"]
        );
    }
}
