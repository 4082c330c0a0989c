//! The page docs/reference/configuration.md, made from the options themselves.

use std::fmt::Write;

use clap::CommandFactory;

use super::keys::{Key, Keys};
use crate::Args;

const HEAD: &str = "\
# Configuration of `accelnetd`

Written by `make configuration` from the options themselves; a test compares.

Options of `accelnetd` can be said on the command line, in the environment, or in `/etc/accelnet/accelnetd.toml`
(`--config FILE` and `ACCELNET_CONFIG` name another file). The first of these that says something counts:

1. the command line (`systemctl cat accelnet-agent` shows a unit's);
2. the environment (of a unit: `/etc/default/accelnet-server`, `/etc/default/accelnet-agent`, `systemctl edit`);
3. the file;
4. the default.

A key that is not known, or whose value its option does not take, is told with its line and what to do, and whoever
needs the file does not start. Nothing in it is a secret: it may be read by all, as the server's user has to. A change
counts from the next start on (`systemctl restart accelnet-agent`; VMs keep what they have).

```sh
accelnetd config check     # whether the file can be used; exit code 1 if it cannot
accelnetd config show      # what is in effect, and where each value comes from
```

An example with all keys is `packaging/accelnetd.toml`, which packages install.
";

/// The page.
pub fn page() -> String {
    let keys = Keys::of(&Args::command());
    let mut page = HEAD.to_owned();
    let of = |table: &'static str| keys.0.iter().filter(move |key| key.table == table);
    section(&mut page, "Before all tables", of(""));
    for table in keys.tables() {
        section(&mut page, &format!("`[{table}]`"), of(table));
    }
    page
}

fn section<'a>(page: &mut String, title: &str, keys: impl Iterator<Item = &'a Key>) {
    let _ = write!(
        page,
        "\n## {title}\n\n| key | default | for | variable | meaning |\n|---|---|---|---|---|\n"
    );
    for key in keys {
        let defaults = key.arg.get_default_values().iter();
        let default: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
        let code = |text: &str| match text {
            "" => "-".to_owned(),
            text => format!("`{text}`"),
        };
        let roles = match key.roles.is_empty() {
            true => "all".to_owned(),
            false => key
                .roles
                .iter()
                .map(|role| code(role))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let help = key
            .arg
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        // Writing to text does not fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {roles} | {} | {} |",
            key.name,
            code(&default.join(",")),
            code(key.variable().unwrap_or_default()),
            help.replace('|', "\\|"),
        );
    }
}
