//! Nobody else sets the number of the adapter's VFs, or their attributes: two that do undo each other.
//!
//! Only a warning: as long as both want the same nothing happens.

use accelnet_model::{AdapterFacts, CheckResult, Code};

use super::{Check, Node};

/// Nothing if nobody does.
pub(super) fn check(node: &Node, facts: &AdapterFacts) -> Option<CheckResult> {
    if facts.vf_owners.is_empty() {
        return None;
    }
    let check = Check::of_adapter("vf_owner", node, &facts.ifname);
    Some(check.warns(Code::VfsManagedElsewhere, facts.vf_owners.join("; ")))
}
