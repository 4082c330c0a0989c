//! `accelnet explain`: the problem catalogue, for people, for programs and as a reference page.

use accelnet_api::Items;
use accelnet_model::{
    Code, Problem,
    problem::exit::{self, REFUSED},
};
use serde::Serialize;

use crate::{args::Format, call::Ended, output};

#[derive(Debug, Serialize)]
struct Entry {
    code: &'static str,
    title: &'static str,
    explanation: &'static str,
    cure: &'static str,
    exit_code: u8,
    http_status: u16,
}

impl From<Code> for Entry {
    fn from(code: Code) -> Self {
        Self {
            code: code.as_str(),
            title: code.title(),
            explanation: code.explanation(),
            cure: code.cure(),
            exit_code: code.exit_code(),
            http_status: code.http_status(),
        }
    }
}

/// Explains one code, or lists all.
pub fn run(format: Format, code: Option<&str>, markdown: bool) -> Ended {
    match code {
        None if markdown => output::raw(&page()),
        None => {
            let items: Vec<Entry> = Code::ALL.iter().copied().map(Entry::from).collect();
            output::print(format, &Items::from(items), |list| {
                let lines: Vec<_> = list
                    .items
                    .iter()
                    .map(|entry| format!("{:<36}{}", entry.code, entry.title))
                    .collect();
                lines.join("\n")
            });
        }
        Some(code) => {
            let code: Code = code
                .parse()
                .map_err(|error: accelnet_model::ids::InvalidValue| {
                    Problem::new(Code::InvalidArgument, format!("{error}."))
                })?;
            output::print(format, &Entry::from(code), |entry| {
                let Entry {
                    code,
                    title,
                    explanation,
                    cure,
                    exit_code,
                    http_status,
                } = entry;
                format!(
                    "{code}\n  {title}\n  why:  {explanation}\n  cure: {cure}\n  \
                     exit code: {exit_code}, HTTP status: {http_status}"
                )
            });
        }
    }
    Ok(exit::OK)
}

/// `docs/reference/problems.md`.
fn page() -> String {
    let mut page = format!(
        "<!-- Written by 'make problems' from the catalogue in crates/model/src/problem.rs. -->\n\
         # Problems\n\n\
         Everything that can go wrong and be shown to a user has a code. Command line, API and log \
         use the same ones; `accelnet explain CODE` says what is here. What was found, with names \
         and numbers, comes with each problem. With exit code {REFUSED} nothing was \
         changed, unless the command had begun to wait for a node. \
         All exit codes: [exit-codes.md](exit-codes.md).\n"
    );
    for entry in Code::ALL.iter().copied().map(Entry::from) {
        let Entry {
            code,
            title,
            explanation,
            cure,
            exit_code,
            http_status,
        } = entry;
        page.push_str(&format!(
            "\n## {code}\n\n**{title}** {explanation}\n\n*Cure:* {cure}\n\n\
             Exit code {exit_code}, HTTP status {http_status}.\n"
        ));
    }
    page
}
