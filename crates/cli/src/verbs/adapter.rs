//! `accelnet adapter …`

use accelnet_api::{Adapter, IsolateRequest};
use accelnet_model::{Code, Problem, problem::exit};

use super::print_outcome;
use crate::{
    args::AdapterCommand,
    call::{Call, Ended},
    output::{self, printable},
};

/// Runs one `adapter` command.
pub async fn run(call: &Call, command: AdapterCommand) -> Ended {
    let list = call.client.adapters().await?;
    match command {
        AdapterCommand::List => {
            output::print(call.format, &list, |list| {
                output::adapters::adapters(&list.items)
            });
        }
        AdapterCommand::Show { adapter, node } => {
            let found = find(&list.items, &adapter, node.as_deref())?;
            output::print(call.format, found, output::adapters::adapter);
        }
        AdapterCommand::Isolate {
            adapter,
            node,
            because,
            dry_run,
        } => {
            let found = find(&list.items, &adapter, node.as_deref())?;
            let (node, name) = (found.node.as_str(), found.status.facts.ifname.as_str());
            let request = IsolateRequest { because };
            let outcome = call.client.isolate((node, name), &request, dry_run).await?;
            let done = format!(
                "None of the VFs of '{name}' on '{node}' is given out, until 'accelnet adapter release {name} --node {node}'."
            );
            print_outcome(call.format, &outcome, &done);
        }
        AdapterCommand::Release {
            adapter,
            node,
            dry_run,
        } => {
            let out = isolated(&list.items, &adapter, node.as_deref())?;
            let (node, name) = (out.0.as_str(), out.1.as_str());
            let outcome = call.client.release((node, name), dry_run).await?;
            let shown = printable(name);
            let done = format!(
                "VFs of '{shown}' on '{}' are given out again.",
                printable(node)
            );
            print_outcome(call.format, &outcome, &done);
        }
    }
    Ok(exit::OK)
}

/// The word is the adapter's interface name, PCI address or permanent address.
pub fn is_called(adapter: &Adapter, word: &str) -> bool {
    let facts = &adapter.status.facts;
    let mac = facts.id.permanent_mac.to_string();
    facts.ifname.as_str() == word || facts.pci.to_string() == word || mac.eq_ignore_ascii_case(word)
}

/// Node and name of the adapter that is meant: the one of those that are taken out, else whatever its node shall judge.
fn isolated(
    adapters: &[Adapter],
    word: &str,
    node: Option<&str>,
) -> Result<(String, String), Problem> {
    let out: Vec<Adapter> = adapters
        .iter()
        .filter(|adapter| adapter.isolated.is_some())
        .cloned()
        .collect();
    let named = |found: &Adapter| {
        (
            found.node.to_string(),
            found.status.facts.ifname.to_string(),
        )
    };
    match (find(&out, word, node), node) {
        (Ok(found), _) => Ok(named(found)),
        // It is called otherwise now, or is gone.
        (Err(problem), Some(node)) if problem.code == Code::AdapterNotFound => {
            Ok((node.to_owned(), word.to_owned()))
        }
        (Err(problem), None) if problem.code == Code::AdapterNotFound => {
            find(adapters, word, node).map(named)
        }
        (Err(problem), _) => Err(problem),
    }
}

fn find<'a>(
    adapters: &'a [Adapter],
    word: &str,
    node: Option<&str>,
) -> Result<&'a Adapter, Problem> {
    let matches: Vec<&Adapter> = adapters
        .iter()
        .filter(|adapter| node.is_none_or(|node| adapter.node.as_str() == node))
        .filter(|adapter| is_called(adapter, word))
        .collect();
    match matches.as_slice() {
        [one] => Ok(one),
        [] => Err(Problem::new(
            Code::AdapterNotFound,
            format!("No adapter is called '{}'.", word.escape_debug()),
        )
        .about("adapter", word)),
        several => {
            let nodes: Vec<_> = several
                .iter()
                .map(|adapter| adapter.node.to_string())
                .collect();
            let text = format!("'{word}' is on nodes {}.", nodes.join(", "));
            Err(Problem::new(Code::AdapterAmbiguous, text).about("adapter", word))
        }
    }
}
