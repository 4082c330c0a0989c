//! libvirt asks before a VM comes in on its VF: of nodes that VMs can move between.
//!
//! Only a warning: a VM that comes in without having asked is put right when it is there.

use accelnet_model::{CheckResult, Code, Hook};

use super::{Check, Node};

pub(super) fn check(nodes: &[Node]) -> Vec<CheckResult> {
    if nodes.len() < 2 {
        return Vec::new();
    }
    let checks = nodes.iter().map(|node| {
        let check = Check::of_node("migration_hook", node);
        match node.1.node.hook {
            Hook::Loaded => check.passes("libvirt asks before a VM comes in"),
            Hook::Missing => warns(check, "libvirt's hook is not installed"),
            Hook::NotLoaded => warns(
                check,
                "libvirt's hook is installed, and libvirt's daemon began without one",
            ),
            Hook::Unknown => warns(check, "whether libvirt calls the hook could not be told"),
        }
    });
    checks.collect()
}

fn warns(check: Check, found: &str) -> CheckResult {
    check.warns(Code::MigrationHookMissing, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn found(hooks: &[Hook]) -> Vec<Option<Code>> {
        let nodes: Vec<Node> = hooks
            .iter()
            .zip(1..)
            .map(|(hook, number)| {
                let mut observed = fixture::observed();
                observed.node.hook = *hook;
                (format!("node{number}").parse().unwrap(), observed)
            })
            .collect();
        let results = check(&nodes).into_iter();
        let problem = results.map(|result| result.problem.map(|problem| problem.code));
        problem.collect()
    }

    #[test]
    fn each_node_that_does_not_ask_is_told_where_vms_can_move() {
        assert_eq!(found(&[]), []);
        assert_eq!(found(&[Hook::Missing]), []);
        let all = [Hook::Loaded, Hook::Missing, Hook::NotLoaded, Hook::Unknown];
        let warned = Some(Code::MigrationHookMissing);
        assert_eq!(found(&all), [None, warned, warned, warned]);
    }
}
