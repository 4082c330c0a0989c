//! `accelnet support-bundle`: one file with what somebody needs who is to find out what is wrong, and no secret.

mod archive;
mod host;
mod secrets;

use std::path::PathBuf;

use accelnet_api::ClientError;
use accelnet_model::{Code, Problem, problem::exit};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    call::{Call, Ended},
    output::{self, printable},
};
use archive::Archive;
pub use host::Host;

/// The newest entries of events and of the record of changes: as many as servers keep.
const NEWEST: u32 = 1_000;

/// What was gathered.
#[derive(Debug, Serialize)]
struct Gathered {
    file: PathBuf,
    /// What is in it.
    parts: Vec<String>,
    /// What could not be had, and why.
    missing: Vec<String>,
}

/// Gathers what the server says and what this host shows. What cannot be had is named, and the rest is there.
pub async fn bundle(call: &Call, host: &Host, file: Option<PathBuf>) -> Ended {
    let now = Timestamp::now();
    let name = format!("accelnet-support-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let mut archive =
        Archive::create(&file, name, now).map_err(|error| unwritable(&file, &error))?;
    let mut missing = Vec::new();
    let mut parts = vec![(
        "version.txt".to_owned(),
        Ok(format!(
            "accelnet {}\ntaken at {now}\n",
            env!("CARGO_PKG_VERSION")
        )),
    )];
    parts.extend(of_server(call).await);
    parts.extend(host.parts());
    let mut names = Vec::new();
    for (part, text) in parts {
        match text {
            Ok(text) => {
                let added = archive.add(&part, &secrets::without(&text));
                added.map_err(|error| unwritable(&file, &error))?;
                names.push(part);
            }
            Err(why) => missing.push(secrets::without(&format!("{part}: {why}"))),
        }
    }
    let absent = missing.join("\n") + "\n";
    archive
        .add("missing.txt", &absent)
        .and_then(|()| archive.finish())
        .map_err(|error| unwritable(&file, &error))?;
    let gathered = Gathered {
        file,
        parts: names,
        missing,
    };
    output::print(call.format, &gathered, text);
    Ok(exit::OK)
}

fn text(gathered: &Gathered) -> String {
    let mut lines = vec![format!(
        "Saved in {}, readable by you alone: {} parts, without tokens, keys and passwords.",
        printable(&gathered.file.display().to_string()),
        gathered.parts.len()
    )];
    if !gathered.missing.is_empty() {
        lines.push("Not in it:".into());
        lines.extend(
            gathered
                .missing
                .iter()
                .map(|why| format!("  {}", printable(why))),
        );
    }
    lines.push(
        "It names your VMs, nodes and addresses: look into it before you give it away.".into(),
    );
    lines.join("\n")
}

fn unwritable(file: &std::path::Path, error: &std::io::Error) -> Problem {
    let text = format!("{} cannot be written: {error}.", file.display());
    Problem::new(Code::InvalidArgument, text)
        .with_cure("Name a file in a directory that you may write to, with room for it.")
}

/// A part's name, and what it says or why that could not be had.
type Part = (String, Result<String, String>);

async fn of_server(call: &Call) -> Vec<Part> {
    let client = &call.client;
    let part = |name: &str, text: Result<String, String>| (format!("server/{name}.json"), text);
    vec![
        part("status", document(client.status().await)),
        part("servers", document(client.servers().await)),
        part("nodes", document(client.nodes().await)),
        part("adapters", document(client.adapters().await)),
        part("intents", document(client.intents().await)),
        part("vms", document(client.vms().await)),
        part("capacity", document(client.capacity(&[]).await)),
        part("prereq", document(client.prereq(None).await)),
        part("faults", document(client.faults().await)),
        part("events", document(client.events(None, Some(NEWEST)).await)),
        part("audit", document(client.audit(None, Some(NEWEST)).await)),
        part("whoami", document(client.whoami().await)),
    ]
}

/// As JSON, without values that are secret by their name.
fn document<T: Serialize>(answer: Result<T, ClientError>) -> Result<String, String> {
    let answer = answer.map_err(|error| {
        let problems = error.into_problems();
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        words.join("; ")
    })?;
    let value = serde_json::to_value(&answer).map_err(|error| error.to_string())?;
    let value = secrets::without_values(value);
    serde_json::to_string_pretty(&value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
