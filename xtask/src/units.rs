//! The units' sandboxes: how exposed systemd finds each is what `docs/reference/security.md` says, and each right that a
//! unit leaves itself has its reason there.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

const PAGE: &str = "docs/reference/security.md";
const UNITS: &str = "packaging/systemd";
/// The version whose scores are written down: Debian 12's. Others weigh some settings differently.
const MEASURED_BY: &str = "systemd 252 ";
/// The server has no right on its host: whoever measures, it is not worse than this.
const SERVER: (&str, f32) = ("accelnet-server.service", 2.0);
/// Settings of which each word is a right, or a place that can be written to.
const RIGHTS: [&str; 3] = ["CapabilityBoundingSet=", "DeviceAllow=", "ReadWritePaths="];

/// Each unit is as exposed as it is said to be; how many.
pub fn check(root: &Path) -> Result<String> {
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| PAGE.to_owned())?;
    let version = said(Command::new("systemd-analyze").arg("--version"))?;
    let mut count = 0;
    for entry in fs::read_dir(root.join(UNITS)).with_context(|| UNITS.to_owned())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path)?;
        let unknown: Vec<&str> = rights(&text)
            .into_iter()
            .filter(|right| !rows(&page).any(|(first, _)| first == *right))
            .collect();
        ensure!(
            unknown.is_empty(),
            "{PAGE} does not say why {name} needs {unknown:?}"
        );
        let mut analyze = Command::new("systemd-analyze");
        analyze
            .args(["security", "--offline=true", "--no-pager"])
            .arg(&path);
        let found = score(&said(&mut analyze)?).with_context(|| name.clone())?;
        let written = rows(&page).find(|(first, _)| *first == name);
        let Some(written) = written.and_then(|(_, second)| second.parse::<f32>().ok()) else {
            bail!("{PAGE} has no row `{name}` with its exposure, which is {found}");
        };
        ensure!(
            !version.starts_with(MEASURED_BY) || (found - written).abs() < 0.05,
            "{name} is exposed by {found}, not by {written} as {PAGE} says: mend the unit, or say why"
        );
        ensure!(
            name != SERVER.0 || found <= SERVER.1,
            "{name} is exposed by {found}"
        );
        count += 1;
    }
    ensure!(count > 0, "no unit in {UNITS}");
    Ok(format!("{count} units are as exposed as {PAGE} says"))
}

/// What it prints. It ends with 1 if it finds a unit too exposed.
fn said(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .context("systemd-analyze cannot be run (Debian package systemd; make deps)")?;
    Ok(String::from_utf8(output.stdout)?)
}

fn score(text: &str) -> Option<f32> {
    let (_, rest) = text.split_once("Overall exposure level for ")?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// First and second cell of each row, without code's marks.
fn rows(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split('|').map(str::trim);
        Some((
            cells.next()?.trim_matches('`'),
            cells.next()?.trim_matches('`'),
        ))
    })
}

fn rights(unit: &str) -> BTreeSet<&str> {
    let mut all = BTreeSet::new();
    for line in unit.lines() {
        match RIGHTS.iter().find_map(|right| line.strip_prefix(right)) {
            // A device, and how.
            Some(device) if line.starts_with("DeviceAllow=") => {
                all.extend(device.split(' ').next());
            }
            Some(words) => all.extend(words.split_whitespace()),
            None => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{rights, rows, score};

    #[test]
    fn what_a_unit_may_do_is_read() {
        let unit = "[Service]\nCapabilityBoundingSet=CAP_A CAP_B\nDeviceAllow=char-x* rw\n# DeviceAllow=/dev/y\n\
                    ReadWritePaths=/var/a\nAmbientCapabilities=\n";
        let found: Vec<&str> = rights(unit).into_iter().collect();
        assert_eq!(found, ["/var/a", "CAP_A", "CAP_B", "char-x*"]);
        assert!(rights("CapabilityBoundingSet=\n").is_empty());
    }

    #[test]
    fn scores_are_found_in_words_and_rows() {
        let said = "\n→ Overall exposure level for accelnetd.service: 4.3 OK :-)\n";
        assert_eq!(score(said), Some(4.3));
        assert_eq!(score("no such unit"), None);
        let page = "| unit | exposure |\n|---|---|\n| `a.service` | 1.5 | x |\n";
        assert_eq!(rows(page).last(), Some(("a.service", "1.5")));
    }
}
