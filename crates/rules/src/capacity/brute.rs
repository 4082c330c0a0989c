//! The promise, word for word, and as slow as it reads: every set, every placement, NIC by NIC.

use super::{Node, Queues, Vm, nodes_down_tolerated};

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Adapter {
    name: String,
    vfs: u32,
    queues: Queues,
}

/// Whether the cluster holds with these VMs and this percentage.
pub(super) fn holds(nodes: &[Node], vms: &[Vm], percent: u8) -> bool {
    let down = nodes.iter().filter(|node| node.down).count();
    let size = nodes_down_tolerated(nodes.len(), percent).max(down);
    (0..1_u32 << nodes.len()).all(|set| {
        let lost = |number: usize| set & (1 << number) != 0;
        let contains_down = nodes
            .iter()
            .enumerate()
            .all(|(number, node)| !node.down || lost(number));
        set.count_ones() as usize != size || !contains_down || fits_without(nodes, vms, lost)
    })
}

/// Whether the VMs fit without the lost nodes.
pub(super) fn fits_without(nodes: &[Node], vms: &[Vm], lost: impl Fn(usize) -> bool) -> bool {
    let mut left: Vec<Vec<Adapter>> = Vec::new();
    let mut names = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        if lost(number) {
            continue;
        }
        names.push(node.name.clone());
        let adapters = node.adapters.iter().map(|adapter| Adapter {
            name: adapter.name.clone(),
            vfs: adapter.vfs,
            queues: adapter.queues,
        });
        left.push(adapters.collect());
    }
    // Those that run on a survivor keep their adapters …
    let mut to_place: Vec<(Vm, Option<usize>)> = Vec::new();
    for vm in vms {
        let here = vm
            .node
            .as_ref()
            .and_then(|node| names.iter().position(|name| name == node));
        match (here, &vm.adapters) {
            (Some(node), Some(adapters)) => {
                for name in adapters {
                    let adapter = left[node].iter_mut().find(|one| &one.name == name).unwrap();
                    if !take(adapter, vm.level.queue_pairs(), true) {
                        return false;
                    }
                }
            }
            // … or at least their node.
            (Some(node), None) => to_place.push((vm.clone(), Some(node))),
            (None, _) => to_place.push((vm.clone(), None)),
        }
    }
    to_place.sort_by_key(|(vm, node)| (node.is_none(), std::cmp::Reverse((vm.level, vm.nics))));
    let mut dead = std::collections::BTreeSet::new();
    place(&mut left, &to_place, &mut dead)
}

fn take(adapter: &mut Adapter, pairs: u32, runs_already: bool) -> bool {
    if adapter.vfs == 0 {
        return false;
    }
    match &mut adapter.queues {
        Queues::PerVf { pairs: each } => {
            if *each < pairs && !runs_already {
                return false;
            }
        }
        Queues::Pool { total } => {
            if *total < pairs {
                return false;
            }
            *total -= pairs;
        }
    }
    adapter.vfs -= 1;
    true
}

type Dead = std::collections::BTreeSet<(usize, Vec<Vec<Adapter>>)>;

fn place(left: &mut Vec<Vec<Adapter>>, vms: &[(Vm, Option<usize>)], dead: &mut Dead) -> bool {
    let Some(((vm, bound), others)) = vms.split_first() else {
        return true;
    };
    let key = (vms.len(), left.clone());
    if dead.contains(&key) {
        return false;
    }
    let nodes: Vec<usize> = match bound {
        Some(node) => vec![*node],
        None => (0..left.len()).collect(),
    };
    for node in nodes {
        let mut after = Vec::new();
        place_nics(&left[node], vm.level.queue_pairs(), vm.nics, 0, &mut after);
        after.sort();
        after.dedup();
        for adapters in after {
            let before = std::mem::replace(&mut left[node], adapters);
            if place(left, others, dead) {
                return true;
            }
            left[node] = before;
        }
    }
    dead.insert(key);
    false
}

/// Every way to put the NICs on the adapters, as what is left then.
fn place_nics(
    adapters: &[Adapter],
    pairs: u32,
    nics: u32,
    first: usize,
    after: &mut Vec<Vec<Adapter>>,
) {
    if nics == 0 {
        after.push(adapters.to_vec());
        return;
    }
    for number in first..adapters.len() {
        let mut next = adapters.to_vec();
        if take(&mut next[number], pairs, false) {
            place_nics(&next, pairs, nics - 1, number, after);
        }
    }
}
