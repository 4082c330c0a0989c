//! `accelnet audit`: who changed what, and when.

use accelnet_api::AuditEntry;
use accelnet_model::problem::exit;

use crate::{
    args::AuditArgs,
    call::{Call, Ended},
    output,
};

/// Shows the record, or follows it.
pub async fn run(call: &Call, args: &AuditArgs) -> Ended {
    if !args.follow {
        let list = call.client.audit(args.since, Some(args.limit)).await?;
        output::print(call.format, &list, |list| {
            output::people::audit(&list.items)
        });
        return Ok(exit::OK);
    }
    let each = |entry: &AuditEntry| {
        output::each(call.format, entry, || line(entry));
        true
    };
    call.client.follow_audit(args.since, each).await?;
    Ok(exit::OK)
}

/// One entry as it comes.
fn line(entry: &AuditEntry) -> String {
    let AuditEntry {
        at,
        by,
        operation,
        subject,
        ..
    } = entry;
    format!("{at:.0}  {}  {operation}  {subject}", by.name)
}
