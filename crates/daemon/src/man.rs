//! `accelnetd man`: manual pages of section 8, made from the same types as the help. Packages are built with them.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::Args;

/// Programs of the host's administrator (man-pages(7)).
const SECTION: &str = "8";

/// Writes the pages of all commands into a directory.
pub fn run(directory: &Path) -> Result<()> {
    let shown = directory.display();
    fs::create_dir_all(directory).with_context(|| format!("{shown} cannot be made"))?;
    let mut command = Args::command().disable_help_subcommand(true);
    // Gives the commands below their full names.
    command.build();
    page(&command, directory).with_context(|| format!("pages cannot be written to {shown}"))
}

fn page(command: &Command, directory: &Path) -> Result<()> {
    let man = Man::new(command.clone()).section(SECTION);
    let mut text = Vec::new();
    man.render(&mut text)?;
    fs::write(directory.join(man.get_filename()), text)?;
    let mut below = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    below.try_for_each(|below| page(below, directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_that_is_shown_has_a_page() {
        let place = tempfile::tempdir().unwrap();
        run(place.path()).unwrap();
        let entries = fs::read_dir(place.path()).unwrap();
        let names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        for page in [
            "accelnetd.8",
            "accelnetd-agent.8",
            "accelnetd-config-check.8",
            "accelnetd-reset.8",
        ] {
            assert!(names.iter().any(|name| name == page), "{names:?}");
        }
        assert!(
            !names.iter().any(|name| name.contains("hold-guard")),
            "{names:?}"
        );
        let page = fs::read_to_string(place.path().join("accelnetd-agent.8")).unwrap();
        assert!(
            page.contains(".TH") && page.contains("ACCELNET_SOCKET"),
            "{page}"
        );
    }
}
