//! `accelnet intent …`

use accelnet_api::ChangeIntent;
use accelnet_model::{Intent, Levels, problem::exit};

use super::print_outcome;
use crate::{
    args::IntentCommand,
    call::{Call, Ended},
    output::{self, printable, tables},
};

/// Runs one `intent` command.
pub async fn run(call: &Call, command: IntentCommand) -> Ended {
    match command {
        IntentCommand::Add {
            name,
            types,
            bridge,
            adapters,
            matching,
            create,
            vfs,
            queue_pairs,
            max_tx_rate,
            vf_driver,
            exclude_vfs,
            dry_run,
        } => {
            let intent = Intent {
                name,
                types,
                adapters,
                matching,
                bridge,
                create,
                vfs,
                levels: Levels {
                    queue_pairs,
                    max_tx_rate_mbps: max_tx_rate,
                },
                vf_driver,
                exclude_vfs,
            };
            let outcome = call.client.add_intent(&intent, dry_run).await?;
            let done = format!("Intent '{}' is there.", intent.name);
            print_outcome(call.format, &outcome, &done);
        }
        IntentCommand::Set {
            name,
            types,
            bridge,
            adapters,
            matching,
            vfs,
            queue_pairs,
            max_tx_rate,
            vf_driver,
            exclude_vfs,
            dry_run,
        } => {
            let change = ChangeIntent {
                types,
                adapters,
                matching,
                bridge,
                vfs,
                queue_pairs,
                max_tx_rate_mbps: max_tx_rate,
                vf_driver,
                exclude_vfs,
            };
            let outcome = call.client.change_intent(&name, &change, dry_run).await?;
            let done = format!("Intent '{}' is changed.", printable(&name));
            print_outcome(call.format, &outcome, &done);
        }
        IntentCommand::List => {
            let list = call.client.intents().await?;
            output::print(call.format, &list, |list| tables::intents(&list.items));
        }
        IntentCommand::Show { name } => {
            let intent = call.client.intent(&name).await?;
            output::print(call.format, &intent, tables::intent);
        }
        IntentCommand::Remove { name, dry_run } => {
            let outcome = call.client.remove_intent(&name, dry_run).await?;
            print_outcome(
                call.format,
                &outcome,
                &format!("Intent '{}' is removed.", printable(&name)),
            );
        }
    }
    Ok(exit::OK)
}
