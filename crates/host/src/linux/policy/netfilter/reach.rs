//! Can frames of a port meet what a chain does? Everything that is not proved to miss them does.

use std::collections::BTreeSet;

use super::ruleset::{Action, Chain, Interfaced, Rule, Ruleset};
use crate::linux::links::{Interface, Links};

/// Interfaces that frames of a port come by and go out by, as a chain sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// The port's tap, the uplinks and the bridge. Frames between other ports are nobody's business here; those
    /// between another port and the VM come by that one and go out by the tap, or by the uplink once the
    /// VM has a VF.
    Ports(BTreeSet<String>),
    /// With br_netfilter the bridge itself is both (net/bridge/br_netfilter_hooks.c,
    /// `brnf_get_logical_dev`), or a VLAN interface on it.
    Bridge(BTreeSet<String>),
}

impl Own {
    /// For families that see ports.
    pub fn ports(path: &[&Interface]) -> Self {
        Self::Ports(path.iter().map(|link| link.name.to_string()).collect())
    }

    /// For families that see the bridge.
    pub fn bridge(links: &Links, bridge: &Interface) -> Self {
        let above = links.iter().filter(|link| link.lower == Some(bridge.index));
        let names = above.chain([bridge]).map(|link| link.name.to_string());
        Self::Bridge(names.collect())
    }

    /// See [`Own::Bridge`].
    pub fn is_bridge(&self) -> bool {
        matches!(self, Self::Bridge(_))
    }

    fn fits(&self, interface: &Interfaced) -> bool {
        let (Self::Ports(names) | Self::Bridge(names)) = self;
        match interface {
            Interfaced::Is(name) => names.contains(name),
            Interfaced::Begins(begin) => names.iter().any(|name| name.starts_with(begin)),
        }
    }

    /// A rule's conditions on interfaces cannot all hold for frames of the port, or hold alike on either path.
    fn misses(&self, rule: &Rule) -> bool {
        let mut others = rule
            .interfaces
            .iter()
            .map(|interface| !self.fits(interface));
        match self {
            // Both are the bridge: one that is not is enough.
            Self::Bridge(_) => others.any(|other| other),
            // A rule about frames from vnet5 to this tap would no longer fit them on a VF; one about all
            // frames from vnet5 fits them as before.
            Self::Ports(_) => !rule.interfaces.is_empty() && others.all(|other| other),
        }
    }
}

/// What a base chain does to frames of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// Nothing, as can be proved.
    Nothing,
    /// It drops what no rule decided.
    Policy,
    /// A rule, in this chain, does this; and so many more do something.
    Rule {
        chain: String,
        action: String,
        more: usize,
    },
}

/// Follows a base chain and what it goes through.
pub fn of(ruleset: &Ruleset, base: &Chain, own: &Own) -> Reached {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = vec![base];
    while let Some(chain) = next.pop() {
        if !seen.insert(&chain.name) {
            continue;
        }
        for rule in chain.rules.iter().filter(|rule| !own.misses(rule)) {
            for action in &rule.actions {
                match action {
                    Action::Does(action) => found.push((&chain.name, action)),
                    Action::Chain(name) => match ruleset.beside(chain, name) {
                        Some(chain) => next.push(chain),
                        // One that was not seen may do anything.
                        None => found.push((&chain.name, name)),
                    },
                }
            }
        }
    }
    match found.as_slice() {
        _ if base.drops => Reached::Policy,
        [] => Reached::Nothing,
        [(chain, action), more @ ..] => Reached::Rule {
            chain: (*chain).clone(),
            action: (*action).clone(),
            more: more.len(),
        },
    }
}
