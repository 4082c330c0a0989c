//! Faults and events for people.

use accelnet_api::{Event, EventKind};
use accelnet_model::{Fault, FaultObject, FaultSeverity};
use jiff::Timestamp;

use super::{
    below, printable,
    tables::{add, table, text},
    terminal,
};

/// So many faults are on a screen.
const ON_SCREEN: usize = 8;
/// As much of an id as is shown: of 100 faults two begin alike with a chance of 1 : 800,000.
const ID_SHOWN: usize = 8;

/// How many there are of which severity.
pub fn summary(faults: &[Fault]) -> String {
    let count = |severity: FaultSeverity| {
        let mine = faults.iter().filter(|fault| fault.is_unattended());
        let count = mine.filter(|fault| fault.severity == severity).count();
        (count > 0).then(|| match (severity, count) {
            (FaultSeverity::Critical, _) => format!("{count} critical"),
            (_, 1) => format!("1 {severity}"),
            _ => format!("{count} {severity}s"),
        })
    };
    let attended = |word: &str, is: fn(&&Fault) -> bool| {
        let count = faults.iter().filter(is).count();
        (count > 0).then(|| format!("{count} {word}"))
    };
    let parts = [
        count(FaultSeverity::Critical),
        count(FaultSeverity::Warning),
        count(FaultSeverity::Notice),
        attended("acknowledged", |fault| {
            fault.acknowledged.is_some() && fault.muted.is_none()
        }),
        attended("muted", |fault| fault.muted.is_some()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.as_slice() {
        [] => "healthy, no faults.".to_owned(),
        parts => format!("{}.", parts.join(", ")),
    }
}

/// `accelnet hud`: the worst first, those that somebody knows of last.
pub fn hud(faults: &[Fault], now: Timestamp, all: bool) -> String {
    let mut shown: Vec<&Fault> = faults
        .iter()
        .filter(|fault| all || fault.muted.is_none())
        .collect();
    // The server has them in order; that stays, within each half.
    shown.sort_by_key(|fault| !fault.is_unattended());
    let summary = summary(faults);
    let mut out = format!("{}{}\n", summary[..1].to_uppercase(), &summary[1..]);
    let room = if all { shown.len() } else { ON_SCREEN };
    for fault in shown.iter().take(room) {
        out.push('\n');
        out.push_str(&one(fault, now));
    }
    if shown.len() > room {
        let more = shown.len() - room;
        out.push_str(&format!("\n{more} more: 'accelnet hud --all'.\n"));
    }
    out
}

fn one(fault: &Fault, now: Timestamp) -> String {
    let width = terminal::width();
    let id: String = fault.id.chars().take(ID_SHOWN).collect();
    let mut out = format!(
        "{:<8}  {}  {}  for {}  [{id}]\n",
        fault.severity,
        fault.code,
        about(&fault.object),
        length(now, fault.since)
    );
    let mut line = |word: &str, words: &str| {
        out.push_str(&format!(
            "  {word:<5} {}\n",
            below(&printable(words), width)
        ));
    };
    line("why:", &fault.evidence);
    line("cure:", &fault.cure);
    if let Some(seen) = fault.last_seen {
        line("seen:", &format!("last {} ago", length(now, seen)));
    }
    let note = |note: &Option<String>| note.as_ref().map(|note| format!(": {note}"));
    if let Some(known) = &fault.acknowledged {
        let words = format!("by {}, {} ago", known.by, length(now, known.at));
        line(
            "ack:",
            &format!("{words}{}", note(&known.note).unwrap_or_default()),
        );
    }
    if let Some(muted) = &fault.muted {
        let words = format!("by {} until {:.0}", muted.by, muted.until);
        line(
            "mute:",
            &format!("{words}{}", note(&muted.note).unwrap_or_default()),
        );
    }
    out
}

fn about(object: &FaultObject) -> String {
    let FaultObject {
        kind, name, node, ..
    } = object;
    let name = printable(name);
    match node.as_ref().filter(|node| node.as_str() != name) {
        Some(node) => format!("{kind} {name} on {node}"),
        None => format!("{kind} {name}"),
    }
}

/// How long ago, in one unit.
fn length(now: Timestamp, since: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn what(event: &Event) -> String {
    let code = event.code.map(|code| code.to_string()).unwrap_or_default();
    let severity = event.severity.map(|severity| severity.to_string());
    let severity = severity.unwrap_or_default();
    match event.kind {
        EventKind::Asked => "asked".to_owned(),
        EventKind::FaultOpened => format!("opened {severity} {code}"),
        EventKind::FaultChanged => format!("changed {severity} {code}"),
        EventKind::FaultClosed => format!("closed {code}"),
        EventKind::VmSwitched => "switched".to_owned(),
        EventKind::VmMoved => "moved".to_owned(),
        EventKind::ServerStarted => "server".to_owned(),
    }
}

fn words(event: &Event) -> String {
    match &event.by {
        Some(by) => format!("{} ({by})", event.text),
        None => event.text.clone(),
    }
}

fn object(event: &Event) -> String {
    event.object.as_ref().map_or_else(|| "-".to_owned(), about)
}

/// `accelnet events`.
pub fn events(events: &[Event]) -> String {
    let mut rows = table(&["at", "what", "about", "why"]);
    for event in events {
        let at = format!("{:.0}", event.at);
        add(&mut rows, [at, what(event), object(event), words(event)]);
    }
    text(&rows)
}

/// One event as it comes.
pub fn event(event: &Event) -> String {
    let Event { at, .. } = event;
    format!(
        "{at:.0}  {}  {}  {}",
        what(event),
        object(event),
        words(event)
    )
}

#[cfg(test)]
mod tests {
    use accelnet_model::{Acknowledged, Code, Muted};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn fault(id: &str, severity: FaultSeverity) -> Fault {
        let node = "node1".parse().unwrap();
        Fault {
            id: id.to_owned(),
            code: Code::AdapterLinkDown,
            title: String::new(),
            severity,
            object: FaultObject::on_node("adapter", &node, "pf0"),
            since: now() - jiff::SignedDuration::from_mins(5),
            opened: now(),
            last_seen: None,
            evidence: "No carrier.".to_owned(),
            cure: "Plug it in.".to_owned(),
            acknowledged: None,
            muted: None,
        }
    }

    #[test]
    fn a_healthy_cluster_is_one_line() {
        assert_eq!(hud(&[], now(), false), "Healthy, no faults.\n");
    }

    #[test]
    fn what_nobody_attends_to_comes_first_and_what_is_muted_is_only_counted() {
        let mut known = fault("aaaaaaaaaaaaaaaa", FaultSeverity::Critical);
        known.acknowledged = Some(Acknowledged {
            by: "alice".into(),
            at: now(),
            note: Some("ordered".into()),
        });
        let mut muted = fault("bbbbbbbbbbbbbbbb", FaultSeverity::Critical);
        muted.muted = Some(Muted {
            by: "bob".into(),
            until: now(),
            note: None,
        });
        let open = fault("cccccccccccccccc", FaultSeverity::Notice);
        let all = [known, muted, open];
        let text = hud(&all, now(), false);
        assert!(
            text.starts_with("1 notice, 1 acknowledged, 1 muted.\n"),
            "{text}"
        );
        let at = |word: &str| text.find(word);
        assert!(at("[cccccccc]") < at("[aaaaaaaa]"), "{text}");
        assert!(
            at("bbbbbbbb").is_none() && at("ack:  by alice, 0 s ago: ordered").is_some(),
            "{text}"
        );
        assert!(
            text.contains("notice    adapter_link_down  adapter pf0 on node1  for 5 min"),
            "{text}"
        );
        assert!(
            text.contains("  why:  No carrier.\n  cure: Plug it in.\n"),
            "{text}"
        );
        assert!(hud(&all, now(), true).contains("[bbbbbbbb]"));
    }

    #[test]
    fn a_screen_holds_so_many() {
        let many = vec![fault("cccccccccccccccc", FaultSeverity::Warning); ON_SCREEN + 3];
        let text = hud(&many, now(), false);
        assert!(
            text.ends_with("\n3 more: 'accelnet hud --all'.\n"),
            "{text}"
        );
        assert!(!hud(&many, now(), true).contains("more:"));
    }
}
