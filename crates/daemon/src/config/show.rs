//! What is in effect, and where each value comes from.

use std::{io::Write, path::Path};

use anyhow::Result;
use clap::{ArgMatches, CommandFactory, parser::ValueSource};

use super::{File, Keys, PATH, keys::Key, with_defaults};
use crate::Args;

/// Prints it.
pub fn show(out: &mut impl Write, path: &Path) -> Result<()> {
    let command = Args::command();
    let keys = Keys::of(&command);
    let file = File::read(path, path != Path::new(PATH), &keys)?;
    let command = with_defaults(command, &keys, &file);
    let mut rows = vec![["KEY".to_owned(), "VALUE".to_owned(), "FROM".to_owned()]];
    for key in &keys.0 {
        let role = key.roles.first().copied().unwrap_or("agent");
        let matches = command.clone().try_get_matches_from(["accelnetd", role])?;
        if let Some((_, matches)) = matches.subcommand() {
            rows.push(row(key, matches, &file, path));
        }
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    for [key, value, from] in &rows {
        writeln!(out, "{key:first$}  {value:second$}  {from}")?;
    }
    Ok(())
}

fn row(key: &Key, matches: &ArgMatches, file: &File, path: &Path) -> [String; 3] {
    let id = key.arg.get_id().as_str();
    let values = matches.get_raw(id).into_iter().flatten();
    let values: Vec<String> = values
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    let from = match (matches.value_source(id), file.line_of(key)) {
        (Some(ValueSource::EnvVariable), _) => {
            format!("environment, {}", key.variable().unwrap_or_default())
        }
        (Some(_), Some(line)) => format!("{}, line {line}", path.display()),
        (Some(_), None) => "default".to_owned(),
        (None, _) => "not set".to_owned(),
    };
    let value = match values.join(",") {
        empty if empty.is_empty() => "-".to_owned(),
        value => without_password(&value),
    };
    [key.full_name(), value, from]
}

/// An address without the password that somebody may have put into it: what is shown here is copied to others.
fn without_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let Some((who, place)) = rest.split_once('@') else {
        return value.to_owned();
    };
    match who.split_once(':') {
        Some((who, _)) => format!("{scheme}://{who}:…@{place}"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn passwords_are_not_shown() {
        for (value, shown) in [
            (
                "etcd://me:secret@h1:2379,h2:2379",
                "etcd://me:…@h1:2379,h2:2379",
            ),
            (
                "qemu+ssh://root@{node}/system",
                "qemu+ssh://root@{node}/system",
            ),
            ("qemu:///system", "qemu:///system"),
            ("/run/a@b:c", "/run/a@b:c"),
        ] {
            assert_eq!(without_password(value), shown);
        }
    }
}
