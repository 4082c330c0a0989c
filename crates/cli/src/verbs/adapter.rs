//! `accelnet adapter …`

use accelnet_api::Adapter;
use accelnet_model::{Code, Problem, problem::exit};

use crate::{
    args::AdapterCommand,
    call::{Call, Ended},
    output,
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
    }
    Ok(exit::OK)
}

/// The word is the adapter's interface name, PCI address or permanent address.
pub fn is_called(adapter: &Adapter, word: &str) -> bool {
    let facts = &adapter.status.facts;
    let mac = facts.id.permanent_mac.to_string();
    facts.ifname.as_str() == word || facts.pci.to_string() == word || mac.eq_ignore_ascii_case(word)
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
