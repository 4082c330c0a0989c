//! What users see: wish and reports together.

use std::collections::BTreeMap;

use accelnet_api::{Adapter, ClusterStatus, EnabledStatus, NodeSummary, Vm};
use accelnet_model::{Code, Name, NicPath, NodeStatus, Problem, VfUser, VmStatus};
use accelnet_rules::profile;

use crate::state::Wish;

/// Reports of all nodes.
pub type Statuses = BTreeMap<Name, NodeStatus>;

/// Nodes that may be down with N nodes and p percent: min(⌈N·p/100⌉, N−1).
pub fn nodes_down_tolerated(nodes: usize, percentage: u8) -> u32 {
    let wanted = (nodes * usize::from(percentage)).div_ceil(100);
    wanted.min(nodes.saturating_sub(1)) as u32
}

/// The cluster at a glance.
pub fn cluster(wish: &Wish, names: &[Name], statuses: &Statuses) -> ClusterStatus {
    let enabled = wish.desired.enabled.as_ref().map(|enabled| EnabledStatus {
        intent: enabled.intent.clone(),
        node_reserve_percentage: enabled.node_reserve_percentage,
        nodes_down_tolerated: nodes_down_tolerated(names.len(), enabled.node_reserve_percentage),
        when: enabled.when,
    });
    ClusterStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        enabled,
        nodes: names
            .iter()
            .map(|name| node(wish, name, statuses.get(name)))
            .collect(),
        problems: Vec::new(),
    }
}

fn node(wish: &Wish, name: &Name, status: Option<&NodeStatus>) -> NodeSummary {
    let mut summary = NodeSummary {
        name: name.clone(),
        reachable: status.is_some(),
        converged: false,
        vfs: 0,
        vfs_used: 0,
        vms: 0,
        vms_accelerated: 0,
        problems: Vec::new(),
    };
    let Some(status) = status else { return summary };
    let intent = wish.desired.enabled_intent();
    let ours = status.adapters.iter().filter(|adapter| {
        intent.is_some_and(|intent| intent.adapters.contains(&adapter.facts.ifname))
    });
    let vfs: Vec<_> = ours.flat_map(|adapter| &adapter.facts.vfs).collect();
    summary.converged = status.converged && status.generation >= wish.desired.generation;
    summary.vfs = vfs.len() as u32;
    summary.vfs_used = vfs.iter().filter(|vf| vf.user != VfUser::Nobody).count() as u32;
    summary.vms = status.vms.len() as u32;
    summary.vms_accelerated = status.vms.iter().filter(|vm| accelerated(vm)).count() as u32;
    summary.problems.clone_from(&status.problems);
    summary
}

fn accelerated(vm: &VmStatus) -> bool {
    vm.nics.iter().any(|nic| nic.path == NicPath::Vf)
}

/// All VMs of all nodes.
pub fn vms(wish: &Wish, statuses: &Statuses) -> Vec<Vm> {
    let all = statuses.iter().flat_map(|(name, status)| {
        status
            .vms
            .iter()
            .map(move |vm| self::vm(wish, name, status, vm))
    });
    let mut vms: Vec<Vm> = all.collect();
    vms.sort_by(|a, b| (&a.name, a.uuid).cmp(&(&b.name, b.uuid)));
    vms
}

fn vm(wish: &Wish, node: &Name, status: &NodeStatus, vm: &VmStatus) -> Vm {
    Vm {
        name: vm.facts.name.clone(),
        uuid: vm.facts.uuid,
        node: Some(node.clone()),
        state: vm.facts.state,
        level: wish.vm(vm.facts.uuid).and_then(|wish| wish.level),
        vcpus: vm.facts.vcpus,
        nics: vm.nics.clone(),
        pending: status.generation < wish.desired.generation,
        progress: vm.progress.clone(),
        staged: vm.staged.clone(),
        problems: vm.problems.clone(),
    }
}

/// The one VM that a name or UUID means.
pub fn find<'a>(vms: &'a [Vm], word: &str) -> Result<&'a Vm, Problem> {
    let matches: Vec<&Vm> = vms
        .iter()
        .filter(|vm| vm.name == word || vm.uuid.to_string().eq_ignore_ascii_case(word))
        .collect();
    let shown: String = word.chars().take(80).flat_map(char::escape_debug).collect();
    match matches.as_slice() {
        [one] => Ok(one),
        [] => Err(
            Problem::new(Code::VmNotFound, format!("No VM is called '{shown}'."))
                .about("vm", shown),
        ),
        several => {
            let uuids: Vec<_> = several.iter().map(|vm| vm.uuid.to_string()).collect();
            let text = format!("'{shown}' is {}.", uuids.join(", "));
            Err(Problem::new(Code::VmAmbiguous, text).about("vm", shown))
        }
    }
}

/// All adapters of all nodes.
pub fn adapters(wish: &Wish, statuses: &Statuses) -> Vec<Adapter> {
    let mut adapters = Vec::new();
    for (node, status) in statuses {
        for adapter in &status.adapters {
            let name = &adapter.facts.ifname;
            let intent = wish
                .desired
                .intents
                .iter()
                .find(|intent| intent.adapters.contains(name));
            adapters.push(Adapter {
                node: node.clone(),
                intent: intent.map(|intent| intent.name.clone()),
                queue_pairs_per_vf: profile::queue_pairs(&adapter.facts)
                    .map(|pairs| pairs.allotted),
                levels: if adapter.facts.total_vfs > 0 {
                    profile::levels(&adapter.facts)
                } else {
                    Vec::new()
                },
                status: adapter.clone(),
            });
        }
    }
    adapters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_rounded_up_and_leaves_a_node() {
        for (nodes, percent, down) in [
            (1, 50, 0),
            (2, 50, 1),
            (3, 50, 2),
            (4, 25, 1),
            (4, 26, 2),
            (10, 99, 9),
            (5, 0, 0),
            (0, 50, 0),
        ] {
            assert_eq!(
                nodes_down_tolerated(nodes, percent),
                down,
                "{nodes} nodes, {percent} %"
            );
        }
    }
}
