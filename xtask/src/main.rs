//! Repository chores: `cargo run -p xtask -- check`, `cargo run -p xtask -- mutants [WORD…]`.
//!
//! `check` holds the crates' dependencies against the table in ARCHITECTURE.md, so that an arrow can
//! never turn back unnoticed, the problem catalogue against the sources, and looks whether the broken variants of
//! `mutants` still fit them, tests are there that a page names or that type its lines, and systemd's units as closed as a page says; `mutants`
//! has the simulator find these.

mod catalogue;
mod documents;
mod mutants;
mod regressions;
mod units;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("check") => {
            check_directions()?;
            println!("{}", catalogue::check(&root())?);
            println!("{}", mutants::all_apply(&root())?);
            println!("{}", regressions::check(&root())?);
            println!("{}", documents::check(&root())?);
            println!("{}", units::check(&root())?);
            Ok(())
        }
        Some("mutants") => {
            let words: Vec<String> = std::env::args().skip(2).collect();
            mutants::run(&root(), &words)
        }
        _ => bail!("usage: cargo run -p xtask -- check | mutants [WORD…]"),
    }
}

/// The repository: this crate's directory is in it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What each crate may use of the workspace, by the table in ARCHITECTURE.md: its first and last columns.
fn allowed(page: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::from([("xtask".to_owned(), Vec::new())]);
    let mut above = Vec::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [name, _, uses, _] = cells[..] else {
            continue;
        };
        let name = name.trim_end_matches('`').to_owned();
        let uses = match uses {
            "all of these" => above.clone(),
            "" => Vec::new(),
            uses => uses.split(", ").map(str::to_owned).collect(),
        };
        all.insert(format!("accelnet-{name}"), uses);
        above.push(name);
    }
    all
}

fn check_directions() -> Result<()> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output()
        .context("cargo metadata cannot be run")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md"))
        .context("ARCHITECTURE.md cannot be read")?;
    let allowed = allowed(&page);
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("package without a name")?;
        let Some(may_use) = allowed.get(name) else {
            wrong.push(format!(
                "{name} is not in the table: say in ARCHITECTURE.md what it may use"
            ));
            continue;
        };
        for dependency in package["dependencies"]
            .as_array()
            .context("no dependencies")?
        {
            // Tests may look anywhere: they are not shipped.
            let used = dependency["name"].as_str().unwrap_or_default();
            let Some(short) = used.strip_prefix("accelnet-") else {
                continue;
            };
            if dependency["kind"].as_str() != Some("dev") && !may_use.iter().any(|may| may == short)
            {
                wrong.push(format!("{name} may not use {used}"));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "directions between crates:\n  {}",
        wrong.join("\n  ")
    );
    println!("{} crates keep their directions", packages.len());
    Ok(())
}
