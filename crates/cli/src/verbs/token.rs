//! `accelnet token …`

use accelnet_api::TokenRequest;
use accelnet_model::problem::exit;

use super::print_outcome;
use crate::{
    args::TokenCommand,
    call::{Call, Ended},
    output::{self, printable},
};

/// Runs one `token` command.
pub async fn run(call: &Call, command: TokenCommand) -> Ended {
    match command {
        TokenCommand::Create { name, role, ttl } => {
            let request = TokenRequest {
                name,
                role,
                ttl_s: ttl,
            };
            let issued = call.client.create_token(&request).await?;
            output::print(call.format, &issued, |issued| {
                let about = &issued.about;
                let until = match about.expires {
                    Some(end) => format!("until {end:.0}"),
                    None => "until it is revoked".to_owned(),
                };
                let (name, role, token) = (&about.name, about.role, printable(&issued.token));
                format!(
                    "Token '{name}' ({role}) is good {until}. It is shown this one time:\n\n{token}"
                )
            });
        }
        TokenCommand::List => {
            let list = call.client.tokens().await?;
            output::print(call.format, &list, |list| {
                output::people::tokens(&list.items)
            });
        }
        TokenCommand::Revoke { name, dry_run } => {
            let outcome = call.client.revoke_token(&name, dry_run).await?;
            let done = format!("Token '{name}' is revoked.");
            print_outcome(call.format, &outcome, &done);
        }
    }
    Ok(exit::OK)
}
