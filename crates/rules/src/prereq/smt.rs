//! SMT (hyperthreading) is the same on all nodes, so that a VM's vCPUs are worth the same wherever
//! it runs, and the floor of vCPUs of a level holds everywhere.

use accelnet_model::{CheckResult, Code, Support};

use super::{Check, Node, list};

/// Nothing without nodes: there is nothing to compare.
pub(super) fn check(nodes: &[Node]) -> Option<CheckResult> {
    let having = |wanted: fn(Support<bool>) -> bool| -> Vec<String> {
        let nodes = nodes.iter().filter(|node| wanted(node.1.node.smt_active));
        nodes.map(|node| node.0.to_string()).collect()
    };
    let on = having(|smt| smt.is(&true));
    // A processor without SMT is one with it off.
    let off = having(|smt| smt.is(&false) || smt == Support::Unsupported);
    let unknown = having(|smt| smt == Support::Unknown);
    if nodes.is_empty() {
        return None;
    }
    let check = Check::of_cluster("smt");
    Some(match (on.is_empty(), off.is_empty(), unknown.is_empty()) {
        (false, false, _) => check.fails(
            Code::HyperthreadingCheckFailed,
            format!("SMT is on on {} and off on {}", list(on), list(off)),
        ),
        (_, _, false) => check.warns(
            Code::HyperthreadingCheckFailed,
            format!("it is not known if SMT is on on {}", list(unknown)),
        ),
        (false, true, true) => check.passes("on, on all nodes"),
        (true, _, true) => check.passes("off, on all nodes"),
    })
}
