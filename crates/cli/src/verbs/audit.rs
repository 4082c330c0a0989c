//! `accelnet audit`: who changed what, and when.

use accelnet_api::AuditEntry;
use accelnet_model::problem::exit;

use crate::{
    args::{AuditArgs, Format},
    call::{Call, Ended},
    output::{self, printable},
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
        print(call.format, entry);
        true
    };
    call.client.follow_audit(args.since, each).await?;
    Ok(exit::OK)
}

/// One entry as it comes: a line, or with YAML a document.
fn print(format: Format, entry: &AuditEntry) {
    match format {
        Format::Table => {
            let AuditEntry {
                at,
                by,
                operation,
                subject,
                ..
            } = entry;
            let line = format!("{at:.0}  {}  {operation}  {subject}", by.name);
            output::raw(&format!("{}\n", printable(&line)));
        }
        Format::Json => {
            let line = serde_json::to_string(entry).unwrap_or_default();
            output::raw(&format!("{}\n", output::document(&line)));
        }
        Format::Yaml => {
            output::raw("---\n");
            output::print(format, entry, |_| String::new());
        }
    }
}
