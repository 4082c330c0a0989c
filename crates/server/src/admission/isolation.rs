//! Taking an adapter out of the pool, and letting it back.
//!
//! It is never the last one that VFs can be had of on its node, never the member of a bond that frames go by now, and
//! never one without which the VMs that are admitted would not all have their VFs, with the reserve. Its own VMs are
//! moved by their node, which keeps each on its VF until another adapter has one for it.

use accelnet_model::{
    AdapterStatus, Code, Intent, Isolated, Name, NodeStatus, Problem, SriovSupport,
};
use accelnet_rules::{capacity::Reserve, profile};
use jiff::Timestamp;

use super::{
    Decided, Decision,
    capacity::{giving, ours, shortage, used_member},
};
use crate::{
    audit::{Asked, Entry, printable},
    reports::{Known, Seen},
    state::{Wish, Write},
};

/// Who wants an adapter out of the pool, and why.
#[derive(Debug, Clone)]
pub struct Why {
    /// The code of the fault that it is for, if the server does it.
    pub detection: Option<Code>,
    /// In words.
    pub because: String,
}

/// Taking an adapter out of the pool; it is called by its interface.
pub fn isolate(
    wish: &Wish,
    seen: &Seen,
    (node, adapter): (&Name, &str),
    why: &Why,
    (asked, now): (&Asked, Timestamp),
) -> Decision {
    let known = seen.node(node);
    let known = known.ok_or_else(|| vec![not_found(node, adapter)])?;
    if let Some(silent) = &known.silent {
        return Err(vec![silent.clone()]);
    }
    let status = known.current().and_then(|status| {
        let mut all = status.adapters.iter();
        let found = all.find(|found| found.facts.ifname.as_str() == adapter)?;
        Some((status, found))
    });
    let (status, found) = status.ok_or_else(|| vec![not_found(node, adapter)])?;
    if wish.desired.isolation(node, &found.facts.id).is_some() {
        return Ok(Decided::nothing());
    }
    let isolated = Isolated {
        node: node.clone(),
        adapter: found.facts.ifname.clone(),
        id: found.facts.id.clone(),
        since: now,
        detection: why.detection.map(|code| code.as_str().to_owned()),
        because: printable(&why.because),
    };
    let without = wish.draft(&[Write::Isolated(isolated.clone())], &Entry::draft(asked));
    spared(wish, &without, seen, known, status, found).map_err(|problem| vec![problem])?;
    let mut plan = vec![format!(
        "none of the VFs of '{adapter}' on '{node}' is given out any more"
    )];
    let users = found.facts.vfs.iter().filter_map(|vf| vf.vm);
    plan.extend(users.map(|vm| {
        let mut vms = status.vms.iter();
        let name = vms.find(|seen| seen.facts.uuid == vm);
        let name = name.map_or_else(|| vm.to_string(), |seen| seen.facts.name.clone());
        format!(
            "VM '{name}' goes to another adapter's VF by its software path, as soon as there is one"
        )
    }));
    Ok(Decided::one(Write::Isolated(isolated), plan))
}

/// Why the adapter cannot be done without.
fn spared(
    wish: &Wish,
    without: &Wish,
    seen: &Seen,
    node: &Known,
    status: &NodeStatus,
    adapter: &AdapterStatus,
) -> Result<(), Problem> {
    let (name, on) = (&adapter.facts.ifname, &node.name);
    let no = |text: String| {
        let problem = Problem::new(Code::AdapterNotSpared, text);
        Err(problem.about("adapter", name).about("node", on))
    };
    let intent = wish.desired.enabled_intent();
    let Some(intent) = intent.filter(|intent| intent.covers(&adapter.facts)) else {
        return no(format!(
            "No VF of '{name}' on '{on}' is given out: acceleration is not enabled on an intent of it."
        ));
    };
    let left = giving(without, on, status, intent);
    let usable = |(port, other): &(&_, &AdapterStatus)| {
        let leads_out = used_member(status, port).is_none_or(|used| *used == other.facts.ifname);
        leads_out && gives(wish, intent, other)
    };
    if !left.iter().any(usable) {
        let before = giving(wish, on, status, intent);
        let port = before
            .iter()
            .find(|(_, its)| its.facts.id == adapter.facts.id);
        let used = port.and_then(|(port, _)| Some((port, used_member(status, port)?)));
        return match used {
            Some((bond, used)) if used == name && before.len() > 1 => no(format!(
                "Frames go by '{name}' on '{on}': {bond} uses it now."
            )),
            _ => no(format!(
                "'{name}' is the last adapter of intent '{}' on '{on}' that VFs can be had of now.",
                intent.name
            )),
        };
    }
    let reserve = wish.desired.enabled.as_ref().map(Reserve::from);
    let short = reserve.and_then(|reserve| shortage(without, seen, intent, reserve));
    match short {
        None => Ok(()),
        Some(short) => no(format!(
            "Without '{name}' on '{on}' the VMs that are admitted would not all have their VFs: {}",
            short.detail
        )),
    }
}

/// VFs can be had of it now.
fn gives(wish: &Wish, intent: &Intent, adapter: &AdapterStatus) -> bool {
    let facts = &adapter.facts;
    let ready = facts.up && facts.carrier && facts.sriov == SriovSupport::Supported;
    ready && profile::eswitch_refused(facts).is_none() && ours(wish, intent, adapter) > 0
}

/// Letting an adapter back into the pool; it is called by its interface, or what that was when it was taken out.
pub fn release(
    wish: &Wish,
    seen: &Seen,
    (node, adapter): (&Name, &str),
) -> Result<Decided<Isolated>, Vec<Problem>> {
    let status = seen.node(node).and_then(|known| known.status.as_deref());
    let adapters = status.into_iter().flat_map(|status| &status.adapters);
    let here = adapters
        .map(|status| &status.facts)
        .find(|facts| facts.ifname.as_str() == adapter);
    let by_id = here.and_then(|facts| wish.desired.isolation(node, &facts.id));
    let mut all = wish.desired.isolated.iter();
    let by_name = || all.find(|its| its.node == *node && its.adapter.as_str() == adapter);
    let Some(isolated) = by_id.or_else(by_name) else {
        let text = format!(
            "Adapter '{}' of node '{node}' is not taken out of the pool.",
            printable(adapter)
        );
        let problem = Problem::new(Code::AdapterNotFound, text);
        return Err(vec![
            problem
                .about("adapter", printable(adapter))
                .with_cure("'accelnet hud' and 'accelnet adapter list' show those that are."),
        ]);
    };
    let plan = vec![format!(
        "VFs of '{}' on '{node}' are given out again",
        isolated.adapter
    )];
    let write = Write::NotIsolated {
        node: node.clone(),
        adapter: isolated.adapter.clone(),
    };
    Ok(Decided::one(write, plan).about(isolated.clone()))
}

/// A node is none any more: what was said of its adapters is forgotten.
pub fn forget(wish: &Wish, node: &Name) -> Decided {
    let its = wish.desired.isolated.iter().filter(|its| its.node == *node);
    let writes = its.map(|its| Write::NotIsolated {
        node: its.node.clone(),
        adapter: its.adapter.clone(),
    });
    Decided {
        writes: writes.collect(),
        ..Decided::nothing()
    }
}

fn not_found(node: &Name, adapter: &str) -> Problem {
    let shown = printable(adapter);
    let text = format!("Node '{node}' has no adapter '{shown}'.");
    Problem::new(Code::AdapterNotFound, text).about("adapter", shown)
}
