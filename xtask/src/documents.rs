//! Command lines in documents are typed by tests: each document that has some is named by a test.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};

/// Files below a directory whose names end so.
fn files(directory: &Path, end: &str, all: &mut BTreeSet<String>) -> Result<()> {
    let shown = directory.display().to_string();
    for entry in fs::read_dir(directory).with_context(|| shown)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, end, all)?;
        } else if path.to_string_lossy().ends_with(end) {
            all.extend(path.to_str().map(str::to_owned));
        }
    }
    Ok(())
}

/// Each that has command lines is named by a test of the lab or the simulator, which says of every line who types it;
/// how many.
pub fn check(root: &Path) -> Result<String> {
    let mut documents = BTreeSet::from([root.join("README.md").display().to_string()]);
    files(&root.join("docs"), ".md", &mut documents)?;
    let mut sources = BTreeSet::new();
    for tests in ["crates/lab/tests", "crates/sim/tests"] {
        files(&root.join(tests), ".rs", &mut sources)?;
    }
    let tests = sources.iter().map(fs::read_to_string);
    let tests: String = tests.collect::<Result<_, _>>()?;
    let (mut typed, mut missing) = (0, Vec::new());
    for document in &documents {
        let name = Path::new(document)
            .strip_prefix(root)?
            .display()
            .to_string();
        if !fs::read_to_string(document)?.contains("\n```sh\n") {
            continue;
        }
        match tests.contains(&format!("{name}\"")) {
            true => typed += 1,
            false => missing.push(name),
        }
    }
    ensure!(
        missing.is_empty(),
        "command lines that no test types (crates/lab/tests/lab/document.rs) are in:\n  {}",
        missing.join("\n  ")
    );
    Ok(format!(
        "{typed} documents' command lines are typed by tests"
    ))
}
