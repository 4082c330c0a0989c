//! Tables of people and programs: tokens, profiles, and what they did.

use accelnet_api::{AuditEntry, Token};

use super::tables::{add, dash, table, text};
use crate::verbs::login::Shown;

/// `accelnet token list`.
pub fn tokens(tokens: &[Token]) -> String {
    let mut rows = table(&["name", "role", "created", "by", "until"]);
    for token in tokens {
        let until = match (token.expires, token.expired) {
            (None, _) => "revoked".to_owned(),
            (Some(end), false) => format!("{end:.0}"),
            (Some(end), true) => format!("{end:.0} (over)"),
        };
        let row = [
            token.name.to_string(),
            token.role.to_string(),
            format!("{:.0}", token.created),
            token.created_by.clone(),
            until,
        ];
        add(&mut rows, row);
    }
    text(&rows)
}

/// `accelnet profile list`.
pub fn profiles(profiles: &[Shown]) -> String {
    let mut rows = table(&["profile", "server", "token of", "in use"]);
    for profile in profiles {
        let row = [
            profile.profile.clone(),
            profile.server.clone(),
            dash(profile.name.as_ref()),
            if profile.current { "yes" } else { "" }.to_owned(),
        ];
        add(&mut rows, row);
    }
    text(&rows)
}

/// `accelnet audit`.
pub fn audit(entries: &[AuditEntry]) -> String {
    let mut rows = table(&["at", "by", "operation", "subject"]);
    for entry in entries {
        let row = [
            format!("{:.0}", entry.at),
            entry.by.name.clone(),
            entry.operation.clone(),
            entry.subject.clone(),
        ];
        add(&mut rows, row);
    }
    text(&rows)
}
