//! The adapter's NUMA node, as a note: nothing is refused for it, but a VM whose CPUs and memory are
//! on another node pays for every frame, so whoever pins VMs should know.

use accelnet_model::{AdapterFacts, CheckResult};

use super::{Check, Node};

/// Nothing on machines without NUMA.
pub(super) fn check(node: &Node, facts: &AdapterFacts) -> Option<CheckResult> {
    let number = facts.numa_node?;
    let check = Check::of_adapter("numa", node, &facts.ifname);
    Some(check.passes(format!("NUMA node {number}")))
}
