//! `accelnet explain`: the problem catalogue.

use accelnet_api::Items;
use accelnet_model::{Code, Problem};
use serde::Serialize;

use crate::{args::Format, call::Ended, output};

#[derive(Debug, Serialize)]
struct Entry {
    code: &'static str,
    title: &'static str,
    cure: &'static str,
    exit_code: u8,
}

impl From<Code> for Entry {
    fn from(code: Code) -> Self {
        Self {
            code: code.as_str(),
            title: code.title(),
            cure: code.cure(),
            exit_code: code.exit_code(),
        }
    }
}

/// Explains one code, or lists all.
pub fn run(format: Format, code: Option<&str>) -> Ended {
    match code {
        None => {
            let items = Code::ALL.iter().copied().map(Entry::from).collect();
            output::print(format, &Items { items }, |list| {
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
                    cure,
                    exit_code,
                } = entry;
                format!("{code}\n  {title}\n  cure: {cure}\n  exit code: {exit_code}")
            });
        }
    }
    Ok(accelnet_model::problem::exit::OK)
}
