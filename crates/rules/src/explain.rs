//! Why a VM's packets go the way they go: the whole chain, link by link, from what is wished and what its node reports.
//!
//! ```text
//!   wish ─ admission ─ node ─┬─ switch ─ policy ─ adapter ─ vf ─ iommu_group ─ vfio ─ device ─ guest ─ change ─ traffic
//!                            └─ … the same of each NIC on the enabled intent's bridge
//! ```
//!
//! | part | holds |
//! |---|---|
//! | [`nic`] | the links of a NIC |
//! | [`blame`] | which link a problem is of |
//! | [`evidence`] | what was counted |

mod blame;
mod evidence;
mod nic;

use accelnet_model::{
    ChainLink, Intent, LinkState, Name, NicChain, NicCounted, NicPath, NodeDesired, NodeStatus,
    Performance, Problem, VmExplanation, VmState, VmStatus,
};
use uuid::Uuid;

use crate::{Observed, observed::nics_on};

/// Where a VM is, and what is known of it there.
#[derive(Debug, Clone)]
pub enum At<'a> {
    /// No node has it, or none that can be seen.
    Nowhere(Problem),
    /// It is there, and could not be looked at.
    NotSeen {
        /// The node.
        node: &'a Name,
        /// Why.
        because: Problem,
    },
    /// It is there.
    On {
        /// The node.
        node: &'a Name,
        /// Its report, of now.
        status: &'a NodeStatus,
        /// The VM in it.
        vm: &'a VmStatus,
        /// The node has not taken up yet what is wished.
        pending: bool,
    },
}

/// Everything that an explanation is made of.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The VM's name.
    pub name: &'a str,
    /// Its identity.
    pub uuid: Uuid,
    /// What is wanted of all nodes.
    pub desired: &'a NodeDesired,
    /// The level that is admitted for it on the enabled intent.
    pub level: Option<Performance>,
    /// It is kept on its software path, and until when, in words.
    pub parked: Option<String>,
    /// Names of rules of its ports that need not hold.
    pub waived: &'a [String],
    /// How far the cluster's reserve is short, if it is.
    pub shortage: Option<Problem>,
    /// Where it is.
    pub at: At<'a>,
    /// What was counted of its NICs, or why that is not known.
    pub counted: Result<&'a [NicCounted], &'a str>,
}

impl Scene<'_> {
    fn intent(&self) -> Option<&Intent> {
        self.desired.enabled_intent()
    }

    /// It shall be on its VF now.
    fn wanted(&self) -> bool {
        self.level.is_some() && self.parked.is_none() && self.intent().is_some()
    }
}

/// A link with what was found.
fn link(link: &str, state: LinkState, text: impl Into<String>) -> ChainLink {
    ChainLink {
        link: link.to_owned(),
        state,
        text: text.into(),
        evidence: None,
        code: None,
        cure: None,
    }
}

/// A link that a problem breaks, or keeps from being seen.
fn by_problem(name: &str, state: LinkState, problem: &Problem) -> ChainLink {
    ChainLink {
        code: Some(problem.code),
        cure: Some(problem.cure.clone()),
        ..link(name, state, problem.detail.clone())
    }
}

/// The chain of a VM.
pub fn explain(scene: &Scene<'_>) -> VmExplanation {
    let links = vec![wish(scene), admission(scene), node(scene)];
    let (node, nics) = match &scene.at {
        At::Nowhere(_) => (None, Vec::new()),
        At::NotSeen { node, .. } => (Some(*node), Vec::new()),
        At::On {
            node, status, vm, ..
        } => (Some(*node), nics(scene, node, status, vm)),
    };
    VmExplanation {
        name: scene.name.to_owned(),
        uuid: scene.uuid,
        node: node.cloned(),
        summary: summary(scene, &links, &nics),
        links,
        nics,
    }
}

fn wish(scene: &Scene<'_>) -> ChainLink {
    let Some(intent) = scene.intent() else {
        let text = "Acceleration is not enabled on any intent; VMs keep the way they have.";
        return ChainLink {
            cure: Some("'accelnet enable INTENT'.".to_owned()),
            ..link("wish", LinkState::Idle, text)
        };
    };
    match (scene.level, &scene.parked) {
        (None, _) => ChainLink {
            cure: Some(format!(
                "'accelnet vm enable {} --performance LEVEL'.",
                scene.uuid
            )),
            ..link(
                "wish",
                LinkState::Idle,
                format!(
                    "Acceleration is not wanted for it on intent '{}': it goes by the switch.",
                    intent.name
                ),
            )
        },
        (Some(level), None) => link(
            "wish",
            LinkState::Holds,
            format!("{level} on intent '{}'.", intent.name),
        ),
        (Some(level), Some(parked)) => link(
            "wish",
            LinkState::Waits,
            format!(
                "{level} on intent '{}', and it is {parked}: by the switch until then.",
                intent.name
            ),
        ),
    }
}

/// A level is kept only if there was room for it, so what can be wrong is the reserve.
fn admission(scene: &Scene<'_>) -> ChainLink {
    if scene.level.is_none() || scene.intent().is_none() {
        return link("admission", LinkState::Idle, "Nothing is held for it.");
    }
    match &scene.shortage {
        None => link(
            "admission",
            LinkState::Holds,
            "Admitted: its VFs are held for it, with the reserve.",
        ),
        // It has what it has; others may not come back after a failure.
        Some(short) => link(
            "admission",
            LinkState::Holds,
            format!("Admitted; the reserve is short: {}", short.detail),
        ),
    }
}

fn node(scene: &Scene<'_>) -> ChainLink {
    match &scene.at {
        At::Nowhere(problem) => by_problem("node", LinkState::Broken, problem),
        At::NotSeen { because, .. } => by_problem("node", LinkState::NotSeen, because),
        At::On { node, pending, .. } if *pending => link(
            "node",
            LinkState::Waits,
            format!("'{node}' has not taken up yet what is wished."),
        ),
        At::On { node, vm, .. } => match vm.facts.state {
            VmState::Running => link(
                "node",
                LinkState::Holds,
                format!("It runs on '{node}', which reports."),
            ),
            VmState::Paused => link(
                "node",
                LinkState::Waits,
                format!("It is paused on '{node}': what its guest has to do waits."),
            ),
            VmState::Off => link(
                "node",
                LinkState::Waits,
                format!("It is off, on '{node}': a VM gets its VF when it has started."),
            ),
        },
    }
}

fn nics(scene: &Scene<'_>, node: &Name, status: &NodeStatus, vm: &VmStatus) -> Vec<NicChain> {
    let Some(intent) = scene.intent() else {
        return Vec::new();
    };
    let observed = Observed::from_status(status);
    let on_bridge = nics_on(&vm.facts, &intent.bridge);
    on_bridge
        .map(|facts| NicChain {
            mac: facts.mac,
            links: nic::links(&nic::Nic {
                scene,
                node,
                status,
                observed: &observed,
                intent,
                vm,
                facts,
                seen: vm.nics.iter().find(|seen| seen.mac == facts.mac),
            }),
        })
        .collect()
}

/// The way of the packets, and the first link that is broken.
fn summary(scene: &Scene<'_>, links: &[ChainLink], nics: &[NicChain]) -> String {
    let name = scene.name;
    let all = || links.iter().chain(nics.iter().flat_map(|nic| &nic.links));
    let first = |state: LinkState| all().find(|link| link.state == state);
    let vm = match &scene.at {
        At::Nowhere(problem) => return format!("'{name}': {}", problem.detail),
        At::NotSeen { because, .. } => {
            return format!("'{name}' cannot be looked at: {}", because.detail);
        }
        At::On { vm, .. } => vm,
    };
    if vm.facts.state == VmState::Off {
        return format!("'{name}' is off.");
    }
    let intent = scene.intent();
    let ours = vm
        .nics
        .iter()
        .filter(|nic| intent.is_some_and(|intent| nic.bridge.as_ref() == Some(&intent.bridge)));
    let paths: Vec<NicPath> = ours.map(|nic| nic.path).collect();
    let on_vf = paths.iter().filter(|path| **path == NicPath::Vf).count();
    let way = match (paths.len(), on_vf) {
        (0, _) => match intent {
            Some(intent) => format!("'{name}' has no NIC on bridge {}", intent.bridge),
            None => format!("'{name}' goes the way it has"),
        },
        (all, vfs) if all == vfs => format!("'{name}' goes by its VF"),
        (_, 0) => format!("'{name}' goes by the switch"),
        (all, vfs) => format!("'{name}' goes by its VF with {vfs} of {all} NICs"),
    };
    let as_wanted = match scene.wanted() {
        true => !paths.is_empty() && on_vf == paths.len(),
        false => on_vf == 0,
    };
    match (first(LinkState::Broken), first(LinkState::NotSeen)) {
        (Some(broken), _) if broken.text.ends_with('.') => {
            format!("{way}. Broken at {}: {}", broken.link, broken.text)
        }
        (Some(broken), _) => format!("{way}. Broken at {}: {}.", broken.link, broken.text),
        (None, _) if as_wanted => format!("{way}, as wanted."),
        (None, Some(unseen)) => format!("{way}. Not seen: {}.", unseen.link),
        (None, None) => match first(LinkState::Waits) {
            Some(waits) => format!("{way}. Waits at {}: {}", waits.link, waits.text),
            None => format!("{way}."),
        },
    }
}

#[cfg(test)]
mod tests;
