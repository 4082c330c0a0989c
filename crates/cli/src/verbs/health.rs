//! `accelnet hud`, `events`, `status --check`: what is wrong, since when, why, and what happened.

use std::time::Duration;

use accelnet_api::{AcknowledgeRequest, Event, Items, MuteRequest, Outcome};
use accelnet_model::{Code, Fault, FaultSeverity, Problem, problem::exit};
use jiff::Timestamp;
use serde::Serialize;

use super::print_outcome;
use crate::{
    args::{EventsArgs, Format, HudArgs, HudCommand},
    call::{Call, Ended},
    output::{self, faults, printable},
};

/// A screen that stays is drawn anew this often, since what is on it grows older.
const REDRAWN_EVERY: Duration = Duration::from_secs(10);

/// Open faults on one screen, or something that is said to one.
pub async fn hud(call: &Call, args: &HudArgs) -> Ended {
    match &args.command {
        Some(HudCommand::Ack { fault, note }) => {
            let id = id_of(call, fault).await?;
            let request = AcknowledgeRequest { note: note.clone() };
            let outcome = call.client.acknowledge(&id, &request, false).await?;
            said(call, &outcome, "acknowledged");
        }
        Some(HudCommand::Mute {
            fault,
            length,
            note,
        }) => {
            let id = id_of(call, fault).await?;
            let request = MuteRequest {
                for_s: *length,
                note: note.clone(),
            };
            let outcome = call.client.mute(&id, &request, false).await?;
            let until = outcome.object.muted.as_ref().map(|muted| muted.until);
            let until = until.map(|until| format!("muted until {until:.0}"));
            said(call, &outcome, &until.unwrap_or_default());
        }
        Some(HudCommand::Unmute { fault }) => {
            let id = id_of(call, fault).await?;
            let outcome = call.client.unmute(&id, false).await?;
            said(call, &outcome, "shown again");
        }
        None => return show(call, args).await,
    }
    Ok(exit::OK)
}

fn said(call: &Call, outcome: &Outcome<Fault>, what: &str) {
    let Fault { code, object, .. } = &outcome.object;
    let done = format!(
        "{code} of {} '{}' is {what}.",
        object.kind,
        printable(&object.name)
    );
    print_outcome(call.format, outcome, &done);
}

/// The one open fault whose id begins so. What is none of those the server shall judge: it may be gone and muted.
async fn id_of(call: &Call, word: &str) -> Result<String, accelnet_api::ClientError> {
    let open = call.client.faults().await?.items;
    let mut found = open.iter().filter(|fault| fault.id.starts_with(word));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.id.clone()),
        (None, _) => Ok(word.to_owned()),
        (Some(one), Some(other)) => {
            let text = format!("'{}' is {} and {}.", printable(word), one.id, other.id);
            Err(Problem::new(Code::InvalidArgument, text)
                .with_cure("Write more of the id.")
                .into())
        }
    }
}

async fn show(call: &Call, args: &HudArgs) -> Ended {
    let mut told: Option<Vec<Fault>> = None;
    loop {
        let list = call.client.faults().await?;
        let table = |list: &Items<Fault>| faults::hud(&list.items, Timestamp::now(), args.all);
        if !args.watch {
            output::print(call.format, &list, table);
            return Ok(code_of(&list.items));
        }
        if call.format == Format::Table {
            if output::terminal::width().is_some() {
                // Home, and clear what is below: ECMA-48 CUP and ED.
                output::raw("\x1b[H\x1b[J");
            }
            output::raw(&table(&list));
        } else if told.as_ref() != Some(&list.items) {
            // Programs are told what changes, not that time passes.
            output::each(call.format, &list, String::new);
        }
        let other = call.client.until_faults_differ(&list.items);
        if let Ok(changed) = tokio::time::timeout(REDRAWN_EVERY, other).await {
            changed?;
        }
        told = Some(list.items);
    }
}

/// The exit code of the worst fault that nobody attends to.
fn code_of(faults: &[Fault]) -> u8 {
    match worst(faults) {
        Some(FaultSeverity::Critical) => exit::CRITICAL,
        Some(FaultSeverity::Warning) => exit::WARNING,
        Some(FaultSeverity::Notice) | None => exit::OK,
    }
}

fn worst(faults: &[Fault]) -> Option<FaultSeverity> {
    let mine = faults.iter().filter(|fault| fault.is_unattended());
    mine.map(|fault| fault.severity).max()
}

/// `accelnet status --check`.
#[derive(Debug, Serialize)]
struct Check {
    /// The worst of what nobody attends to.
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<FaultSeverity>,
    critical: usize,
    warning: usize,
    notice: usize,
    /// Acknowledged or muted.
    attended: usize,
}

/// One line for scripts.
pub async fn check(call: &Call) -> Ended {
    let faults = call.client.faults().await?.items;
    let count = |severity| {
        let mine = faults.iter().filter(|fault| fault.is_unattended());
        mine.filter(|fault| fault.severity == severity).count()
    };
    let check = Check {
        worst: worst(&faults),
        critical: count(FaultSeverity::Critical),
        warning: count(FaultSeverity::Warning),
        notice: count(FaultSeverity::Notice),
        attended: faults.iter().filter(|fault| !fault.is_unattended()).count(),
    };
    output::print(call.format, &check, |check| {
        let word = check.worst.map_or("OK", |worst| match worst {
            FaultSeverity::Critical => "CRITICAL",
            FaultSeverity::Warning => "WARNING",
            FaultSeverity::Notice => "OK",
        });
        format!("{word}: {}", faults::summary(&faults))
    });
    Ok(code_of(&faults))
}

/// What happened, or what happens.
pub async fn events(call: &Call, args: &EventsArgs) -> Ended {
    if !args.follow {
        let list = call.client.events(args.since, Some(args.limit)).await?;
        output::print(call.format, &list, |list| faults::events(&list.items));
        return Ok(exit::OK);
    }
    let each = |event: &Event| {
        output::each(call.format, event, || faults::event(event));
        true
    };
    call.client.follow_events(args.since, each).await?;
    Ok(exit::OK)
}
