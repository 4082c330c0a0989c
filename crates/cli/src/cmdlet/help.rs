//! Help of a cmdlet, and the reference page: both from the table.

use super::{
    parse::parameters,
    table::{CMDLETS, COMMON, Cmdlet, Kind, Need, Parameter},
};

/// `NAME -?`.
pub fn text(cmdlet: &Cmdlet) -> String {
    let mut out = format!("{}\n\n{}\n", cmdlet.does, syntax(cmdlet));
    out.push_str("\nParameters:\n");
    for parameter in parameters(cmdlet) {
        out.push_str(&format!(
            "  {}\n      {}\n",
            form(parameter),
            parameter.help
        ));
    }
    out.push_str(&format!("\nPrints: {}\n\nExamples:\n", cmdlet.prints));
    for example in cmdlet.examples {
        out.push_str(&format!("  {example}\n"));
    }
    out
}

/// `-Name <value>`.
fn form(parameter: &Parameter) -> String {
    let value = match parameter.kind {
        Kind::Text => " <name>",
        Kind::Names => " <names>",
        Kind::Level => " <Low|Medium|High>",
        Kind::Percentage => " [<0..99>]",
        Kind::ErrorAction => " <Stop|Continue|SilentlyContinue|Ignore>",
        Kind::Switch => "",
    };
    format!("-{}{value}", parameter.name)
}

fn syntax(cmdlet: &Cmdlet) -> String {
    let mut words = vec![cmdlet.name.to_owned()];
    for parameter in cmdlet.parameters {
        let form = form(parameter);
        words.push(match (parameter.position.is_some(), parameter.need) {
            // The name may be left out; in brackets what may be.
            (true, Need::Mandatory) => form.replacen(parameter.name, "", 1).replacen(
                '-',
                &format!("[-{}]", parameter.name),
                1,
            ),
            _ => format!("[{form}]"),
        });
    }
    words.push("[common parameters]".to_owned());
    words.join(" ")
}

/// `docs/reference/cmdlets.md`.
pub fn document() -> String {
    let mut out = INTRODUCTION.to_owned();
    out.push_str("\n## Parameters of all cmdlets\n\n");
    out.push_str(&rows(COMMON.iter()));
    for cmdlet in CMDLETS {
        out.push_str(&format!("\n## {}\n\n{}\n\n", cmdlet.name, cmdlet.does));
        if !cmdlet.parameters.is_empty() {
            out.push_str(&rows(cmdlet.parameters.iter()));
            out.push('\n');
        }
        if cmdlet.piped {
            out.push_str("VMs may come through a pipe.\n\n");
        }
        out.push_str(&format!(
            "Prints: {}\n\n```sh\n{}\n```\n",
            cmdlet.prints,
            cmdlet.examples.join("\n")
        ));
    }
    out
}

fn rows(parameters: impl Iterator<Item = &'static Parameter>) -> String {
    let mut out = "| parameter | position | | |\n|---|---|---|---|\n".to_owned();
    for parameter in parameters {
        let need = match parameter.need {
            Need::Optional => "",
            Need::Mandatory => "must be given",
            Need::OrPipeline => "must be given, or VMs come through a pipe",
        };
        let position = parameter.position.map(|place| place.to_string());
        let form = form(parameter).replace('|', "\\|");
        let (position, help) = (position.unwrap_or_default(), parameter.help);
        out.push_str(&format!("| `{form}` | {position} | {need} | {help} |\n"));
    }
    out
}

const INTRODUCTION: &str = "\
# Cmdlets

<!-- Made by 'accelnet cmdlet document'; a test holds it against the program. -->

`accelnet cmdlet install DIR` puts commands with the names of Windows Server's cmdlets into a
directory; with that on the `PATH` they are typed into any shell as its documentation has them.
`accelnet cmdlet list` lists them, `accelnet cmdlet uninstall DIR` removes them again, and nothing
else. They do what the verbs of `accelnet` do, wait like them, and end with the same
[exit codes](exit-codes.md).

- Names of cmdlets are as written here, or in small letters. Names of parameters are in any letters, and
  shortened as far as they stay unambiguous (`-Perf Low`). Names of VMs, intents and adapters too are in
  any letters, unless one is called exactly so. `-Name:Value` is `-Name Value`; a value that begins with a
  hyphen needs the colon. After `--` no word is a parameter's name.
- Words without a parameter's name go to the free positions, in their order.
- Several names are one text (`\"A, B\"`) or several words (`A, B`). A VM whose name has a comma is
  named by its UUID. Blanks at a name's ends do not matter, unless they tell it from another one. Curly
  quotes and dashes, as guides print them, are quotes and hyphens.
- A switch is turned off by `-Switch:$false`, whether the shell expands `$false` or not.
- Where the output is a terminal it is a table; elsewhere it is objects as JSON, one a line, each with
  a `TypeName`. A cmdlet that found nothing writes an empty line into a pipe.
- VMs come from standard input if none is named and it is a pipe (or a file, where one must be named):
  objects of a cmdlet, `accelnet vm list -o json`, or names, one a line. An empty pipe into which
  nobody wrote names none: a cmdlet that lists lists all then, one that changes says that it needs a
  name.
- Some cmdlets of Hyper-V's guides that are not here (`Set-VMNetworkAdapter`, `Set-NetAdapterSriov`,
  `Format-Table` and others) are installed only to say what is used instead.
- Errors, `-Verbose` (`VERBOSE: …`), `-WhatIf` (`What if: …`) and warnings are on standard error, an
  error for each VM. In a pipe the shell gives the last command's exit code; `set -o pipefail` gives
  that of any that failed.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdlet::parse::{parse, shown};

    #[test]
    fn the_reference_page_is_the_table() {
        let page = include_str!("../../../../docs/reference/cmdlets.md");
        assert!(
            page == document(),
            "docs/reference/cmdlets.md: run 'accelnet cmdlet document' for it"
        );
    }

    #[test]
    fn every_example_is_understood() {
        for cmdlet in CMDLETS {
            assert!(!cmdlet.examples.is_empty(), "{}", cmdlet.name);
            for example in cmdlet.examples {
                let last = example.rsplit(" | ").next().unwrap();
                let quoted = last.replace("MyVM01, MyVM02\"", "MyVM01,MyVM02\"");
                let mut words = quoted.split(' ').map(|word| word.replace(['"', '\''], ""));
                assert_eq!(words.next().as_deref(), Some(cmdlet.name));
                let words: Vec<String> = words.collect();
                let parsed = parse(cmdlet, &words, example.contains(" | "));
                assert!(parsed.is_ok(), "{}: {parsed:?}", shown(example));
            }
        }
    }

    #[test]
    fn help_names_every_parameter() {
        for cmdlet in CMDLETS {
            let help = text(cmdlet);
            for parameter in parameters(cmdlet) {
                assert!(help.contains(&format!("\n  -{}", parameter.name)), "{help}");
            }
        }
        let enable = text(super::super::table::find("enable-accelnetmanagement").unwrap());
        let syntax = "Enable-AccelNetManagement [-IntentName] <name> \
                      [-NodeReservePercentage [<0..99>]] [common parameters]";
        assert!(enable.contains(syntax), "{enable}");
    }
}
