//! In what a copy differs from the present state, and what becomes of it, in words.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use accelnet_model::{ClusterEnable, Name};
use serde::Serialize;
use uuid::Uuid;

use super::plan::{Known, Settled};
use crate::state::{VmSpec, Wish};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Where acceleration is enabled.
    Acceleration,
    /// An intent.
    Intent,
    /// What is wanted for a VM.
    Vm,
    /// A node of the cluster.
    Node,
    /// A token.
    Token,
    /// An adapter that is taken out of the pool.
    Isolated,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Acceleration => "acceleration",
            Self::Intent => "intent",
            Self::Vm => "VM",
            Self::Node => "node",
            Self::Token => "token",
            Self::Isolated => "isolated adapter",
        })
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is.
    pub kind: Kind,
    /// Its name; of a VM with its UUID.
    pub name: String,
    /// As it is now.
    pub now: String,
    /// As the copy has it.
    pub copy: String,
    /// What becomes of it.
    pub then: &'static str,
}

/// All differences, by kind and name.
pub(super) fn between(
    here: &Known,
    copy: &Known,
    settled: &Settled,
    into_empty: bool,
) -> Vec<Difference> {
    let mut all = Vec::new();
    acceleration(&here.wish, &copy.wish, &mut all);
    intents(&here.wish, &copy.wish, &mut all);
    vms(&here.wish, &copy.wish, settled, &mut all);
    let member = |known: &Known| -> BTreeMap<String, String> {
        let members = known.members.iter();
        let described = members.map(|(name, member)| (name.to_string(), member.id.to_string()));
        described.collect()
    };
    let node = (
        "stays a node",
        "does not come back: if it shall, it joins with a new token",
        "is a node again",
    );
    entries(
        Kind::Node,
        &member(here),
        &member(copy),
        node,
        into_empty,
        &mut all,
    );
    let token = |known: &Known| -> BTreeMap<String, String> {
        let tokens = known.wish.tokens.values();
        let described = tokens.map(|token| {
            let (role, made) = (token.role, token.created);
            (token.name.to_string(), format!("{role}, made {made:.0}"))
        });
        described.collect()
    };
    let words = (
        "stays good",
        "stays revoked",
        "is good again: revoke it if it was revoked since",
    );
    entries(
        Kind::Token,
        &token(here),
        &token(copy),
        words,
        into_empty,
        &mut all,
    );
    let isolated = |known: &Known| -> BTreeMap<String, String> {
        let isolated = known.wish.desired.isolated.iter();
        let described = isolated.map(|its| {
            let name = format!("{}/{}", its.node, its.adapter);
            (name, format!("since {:.0}: {}", its.since, its.because))
        });
        described.collect()
    };
    let words = (
        "stays out of the pool",
        "is not taken out again",
        "is out of the pool again, until somebody lets it back",
    );
    entries(
        Kind::Isolated,
        &isolated(here),
        &isolated(copy),
        words,
        into_empty,
        &mut all,
    );
    all
}

fn difference(
    kind: Kind,
    name: impl Into<String>,
    (now, copy): (Option<String>, Option<String>),
    then: &'static str,
) -> Difference {
    let said = |what: Option<String>| what.unwrap_or_else(|| "none".to_owned());
    Difference {
        kind,
        name: name.into(),
        now: said(now),
        copy: said(copy),
        then,
    }
}

fn acceleration(here: &Wish, copy: &Wish, all: &mut Vec<Difference>) {
    let (now, then) = (&here.desired.enabled, &copy.desired.enabled);
    if now == then {
        return;
    }
    let said = |enabled: &ClusterEnable| {
        let ClusterEnable {
            intent,
            node_reserve_percentage: reserve,
            nodes_down,
            when,
        } = enabled;
        match nodes_down {
            Some(nodes) => format!("on '{intent}', {nodes} nodes in reserve, VFs {when:?}"),
            None => format!("on '{intent}', {reserve} % in reserve, VFs {when:?}"),
        }
    };
    let what = match then {
        None => "is not managed any more; VMs keep their VFs",
        Some(_) => "is as in the copy; VMs on another intent's network keep what they have",
    };
    let pair = (now.as_ref().map(said), then.as_ref().map(said));
    all.push(difference(Kind::Acceleration, "cluster", pair, what));
}

fn intents(here: &Wish, copy: &Wish, all: &mut Vec<Difference>) {
    let both = here.desired.intents.iter().chain(&copy.desired.intents);
    let names: BTreeSet<&Name> = both.map(|intent| &intent.name).collect();
    for name in names {
        let (now, then) = (here.intent(name.as_str()), copy.intent(name.as_str()));
        if now == then {
            continue;
        }
        let what = match then {
            None => "is removed; its bridge stays, and VMs keep their VFs",
            Some(_) => "is as in the copy",
        };
        let said = |intent: &accelnet_model::Intent| {
            let adapters = intent.adapters.len();
            format!("bridge {}, {adapters} adapters", intent.bridge)
        };
        all.push(difference(
            Kind::Intent,
            name.as_str(),
            (now.map(said), then.map(said)),
            what,
        ));
    }
}

/// The levels of a VM, by intent.
fn levels(spec: &VmSpec) -> BTreeMap<&Name, String> {
    let wanted = spec.intents.iter().map(|(intent, wanted)| {
        let level = wanted
            .level
            .map_or_else(|| "software path".to_owned(), |level| level.to_string());
        (intent, level)
    });
    wanted.collect()
}

fn said(spec: &VmSpec) -> String {
    let levels = levels(spec);
    let mut parts: Vec<String> = levels
        .iter()
        .map(|(intent, level)| format!("{level} on '{intent}'"))
        .collect();
    if spec.park.is_some() {
        parts.push("parked".to_owned());
    }
    parts.join(", ")
}

fn vms(here: &Wish, copy: &Wish, settled: &Settled, all: &mut Vec<Difference>) {
    let uuids: BTreeSet<Uuid> = here
        .specs
        .iter()
        .chain(copy.specs.iter())
        .map(|spec| spec.uuid)
        .collect();
    for uuid in uuids {
        let (now, then) = (here.specs.get(uuid), copy.specs.get(uuid));
        let after = then.and_then(|then| settled.after(then));
        let same =
            |one: &VmSpec, other: &VmSpec| one.intents == other.intents && one.park == other.park;
        match (now, then) {
            (Some(now), Some(then)) if same(now, then) => continue,
            _ => {}
        }
        let accelerated =
            |spec: Option<&VmSpec>| spec.is_some_and(|spec| spec.highest_level().is_some());
        let what = match (accelerated(now), accelerated(after)) {
            (true, false) => {
                "keeps the VF that it has, and no room is held for it any more: enable it anew, or disable it"
            }
            (_, true) => "is wanted at the copy's level again, where there is room",
            (false, false) => "is left as it is",
        };
        let name = then.or(now).map_or("", |spec| &spec.name);
        let name = format!("{name} ({uuid})");
        all.push(difference(
            Kind::Vm,
            name,
            (now.map(said), then.map(said)),
            what,
        ));
    }
}

/// Nodes, or tokens: what becomes of those that are only here, of those that are only in the copy, and of those in
/// the copy where there is no cluster yet.
fn entries(
    kind: Kind,
    here: &BTreeMap<String, String>,
    copy: &BTreeMap<String, String>,
    (stays, not_back, back): (&'static str, &'static str, &'static str),
    into_empty: bool,
    all: &mut Vec<Difference>,
) {
    let names: BTreeSet<&String> = here.keys().chain(copy.keys()).collect();
    for name in names {
        let (now, then) = (here.get(name), copy.get(name));
        if now == then {
            continue;
        }
        let what = match now {
            _ if into_empty => back,
            Some(_) => stays,
            None => not_back,
        };
        all.push(difference(
            kind,
            name.as_str(),
            (now.cloned(), then.cloned()),
            what,
        ));
    }
}
