//! Intents: added if they can be as given, removed if nothing rests on them.

mod change;

use std::collections::BTreeSet;

use accelnet_model::{Code, Intent, LevelQueuePairs, Levels, Problem, VfCount};
use accelnet_rules::{Observed, membership, own_bridge, prereq};

pub use change::change;

use super::{Decided, Decision, checks, later, reporting};
use crate::{
    audit::printable,
    reports::{Known, Seen, observed},
    state::{Wish, Write},
};

/// The intent that a name means.
///
/// # Errors
/// `intent_not_found`.
pub fn find<'a>(wish: &'a Wish, name: &str) -> Result<&'a Intent, Problem> {
    let shown = printable(name);
    wish.intent(name).ok_or_else(|| {
        let text = format!("No intent is called '{shown}'.");
        Problem::new(Code::IntentNotFound, text).about("intent", name)
    })
}

/// Adding an intent: it can be as given, and its bridge and adapters are there on every node.
pub fn add(wish: &Wish, seen: &Seen, intent: &Intent) -> Decision {
    let nodes = &seen.all();
    if let Some(existing) = wish.intent(intent.name.as_str()) {
        if existing == intent {
            return Ok(Decided::nothing());
        }
        let text = format!(
            "Intent '{}' exists with {}.",
            existing.name,
            settings(existing)
        );
        let problem = Problem::new(Code::IntentExists, text);
        return Err(vec![problem.about("intent", &intent.name)]);
    }
    let mut problems = impossible(intent);
    problems.extend(taken_adapters(wish, nodes, intent));
    if !problems.is_empty() {
        return Err(problems);
    }
    let wrong = misfits(&reporting(nodes)?, intent);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let verb = if intent.create { "make" } else { "adopt" };
    let mut plan = vec![format!(
        "{verb} intent '{}' with {}",
        intent.name,
        settings(intent)
    )];
    plan.extend(bridges_to_make(nodes, intent));
    plan.extend(later(nodes));
    Ok(Decided::one(Write::Intent(intent.clone()), plan))
}

/// What the nodes do for an intent whose bridge is made, in words.
fn bridges_to_make(nodes: &[Known], intent: &Intent) -> Vec<String> {
    if !intent.create {
        return Vec::new();
    }
    let bridge = &intent.bridge;
    let words = observed(nodes).into_iter().filter_map(|(node, seen)| {
        let uplink = own_bridge::uplink(&seen, intent, None).ok()??;
        let name = &uplink.ifname;
        Some(if seen.bridge(bridge).is_some() {
            format!("node '{node}': bridge {bridge} is there, as accelnet made it, with {name}")
        } else {
            format!("node '{node}': make bridge {bridge} with {name}, which nobody manages")
        })
    });
    words.collect()
}

/// What makes the intent impossible on a node; the rest is told by `prereq` and refused by `enable`.
fn misfits(nodes: &[Known], intent: &Intent) -> Vec<Problem> {
    let mut wrong = prereq::errors(&checks(nodes, Some(intent)));
    if intent.create {
        // The bridge need not be there yet, nor the adapter its uplink.
        wrong
            .retain(|problem| matches!(problem.code, Code::AdapterNotFound | Code::AdaptersDiffer));
        wrong.extend(own_bridge::refusals(&observed(nodes), intent));
        return wrong;
    }
    wrong.retain(|problem| {
        matches!(
            problem.code,
            Code::BridgeNotFound
                | Code::BridgeNotSupported
                | Code::AdapterNotFound
                | Code::AdapterNotUplink
                | Code::AdaptersDiffer
        )
    });
    wrong
}

fn settings(intent: &Intent) -> String {
    let list = |items: Vec<String>| items.join(", ");
    let adapters = match &intent.matching {
        Some(rule) => format!("adapters that match {rule}"),
        None => format!("adapters {}", intent.adapters_in_words()),
    };
    let types = list(intent.types.iter().map(ToString::to_string).collect());
    let (bridge, vfs) = (&intent.bridge, intent.vfs);
    let new = if intent.create { "new " } else { "" };
    let Levels {
        queue_pairs,
        max_tx_rate_mbps,
    } = intent.levels;
    let mut text = format!("{new}bridge {bridge}, {adapters}, type {types}, VFs {vfs}");
    if queue_pairs != LevelQueuePairs::default() {
        text.push_str(&format!(", queue pairs {queue_pairs}"));
    }
    if !max_tx_rate_mbps.is_empty() {
        text.push_str(&format!(", limits {max_tx_rate_mbps} Mbit/s"));
    }
    if !intent.vf_driver.is_auto() {
        text.push_str(&format!(", VF driver {}", intent.vf_driver));
    }
    if !intent.exclude_vfs.is_empty() {
        let excluded = list(intent.exclude_vfs.iter().map(ToString::to_string).collect());
        text.push_str(&format!(", without VFs {excluded}"));
    }
    text
}

/// What is wrong with an intent by itself.
fn impossible(intent: &Intent) -> Vec<Problem> {
    let unique: BTreeSet<_> = intent.adapters.iter().collect();
    let types: BTreeSet<_> = intent.types.iter().collect();
    let wrong = [
        (intent.types.is_empty(), "It has no type."),
        (types.len() < intent.types.len(), "It has a type twice."),
        (
            intent.adapters.is_empty() && intent.matching.is_none(),
            "It has no adapter.",
        ),
        (
            !intent.adapters.is_empty() && intent.matching.is_some(),
            "It has both adapters by name and a rule for them.",
        ),
        (
            unique.len() < intent.adapters.len(),
            "It has an adapter twice.",
        ),
        (
            intent.create && intent.adapters.len() > 1,
            "A bridge that is made has one adapter, and it names several.",
        ),
        (
            intent.adapters.iter().any(|name| *name == intent.bridge),
            "Its bridge is one of its adapters.",
        ),
        (
            intent.vfs == VfCount::Exactly(0),
            "It has adapters with 0 VFs.",
        ),
    ];
    let found = wrong.into_iter().filter(|(wrong, _)| *wrong);
    found
        .map(|(_, text)| Problem::new(Code::IntentInvalid, text).about("intent", &intent.name))
        .collect()
}

/// Adapters that another intent has: by name, which needs no node to be seen, or as the nodes' last
/// reports show.
pub fn taken_adapters(wish: &Wish, nodes: &[Known], intent: &Intent) -> Vec<Problem> {
    let named = taken_names(wish, intent);
    if !named.is_empty() {
        return named;
    }
    let seen = nodes.iter().filter_map(|node| {
        let observed = Observed::from_status(node.status.as_deref()?);
        let intents = &wish.desired.intents;
        Some(membership::contested(
            &node.name, &observed, intent, intents,
        ))
    });
    seen.flatten().collect()
}

fn taken_names(wish: &Wish, intent: &Intent) -> Vec<Problem> {
    let taken = intent.adapters.iter().filter_map(|adapter| {
        let mut others = wish.desired.intents.iter();
        let other =
            others.find(|other| other.name != intent.name && other.adapters.contains(adapter))?;
        let text = format!("{adapter} belongs to intent '{}'.", other.name);
        Some(Problem::new(Code::AdapterInTwoIntents, text).about("adapter", adapter))
    });
    taken.collect()
}

/// Removing an intent. The decision is about what it was.
pub fn remove(wish: &Wish, name: &str) -> Result<Decided<Intent>, Vec<Problem>> {
    let intent = find(wish, name).map_err(|problem| vec![problem])?.clone();
    let enabled = wish.desired.enabled.as_ref();
    if enabled.is_some_and(|enabled| enabled.intent == intent.name) {
        let text = format!("Acceleration is enabled on intent '{name}'.");
        return Err(vec![
            Problem::new(Code::IntentInUse, text).about("intent", name),
        ]);
    }
    let plan = format!(
        "forget intent '{name}'; bridge {} stays as it is",
        intent.bridge
    );
    let write = Write::NoIntent(intent.name.clone());
    Ok(Decided::one(write, vec![plan]).about(intent))
}
