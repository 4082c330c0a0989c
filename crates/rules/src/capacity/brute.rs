//! The promise, word for word: every set of nodes, every placement.
//!
//! It shares nothing with the rules but the words of the question: it counts by itself how many nodes
//! may be down, what levels cost and what an adapter can give. Only this keeps it from taking
//! for ever: nothing is tried where there are fewer places than NICs; nodes that are alike are one; and
//! what could not be finished once is not tried again.

use std::collections::HashSet;

use accelnet_model::Performance;

use super::{Node, Queues, Vm};

/// Queue pairs of Low, Medium and High.
pub(super) type Costs = [u32; 3];
pub(super) const DEFAULT: Costs = [1, 2, 4];

/// VFs, queue pairs of the pool (or as good as without end), the most that a VF has.
type Adapter = (u32, u32, u32);
const WITHOUT_END: u32 = u32::MAX;

/// A VM: queue pairs a NIC, NICs, and the node that it is bound to.
type Asked = (u32, u32, Option<usize>);

/// How many nodes may be down with a percentage.
pub(super) fn tolerated(nodes: usize, percent: u8) -> usize {
    let exact = nodes as f64 * f64::from(percent) / 100.0;
    // Whole percentages of few nodes: what is off by less than this is a rounding error.
    let up = (exact - 1e-9).ceil().max(0.0) as usize;
    if nodes == 0 { 0 } else { up.min(nodes - 1) }
}

/// Whether the cluster holds with these VMs and this percentage.
pub(super) fn holds(nodes: &[Node], vms: &[Vm], percent: u8) -> bool {
    holds_down(nodes, vms, tolerated(nodes.len(), percent), DEFAULT)
}

/// Whether the cluster holds with so many nodes down.
pub(super) fn holds_down(nodes: &[Node], vms: &[Vm], count: usize, costs: Costs) -> bool {
    pinnings(nodes, vms, costs).iter().any(|vms| {
        sets(nodes, count)
            .iter()
            .all(|lost| fits(nodes, vms, |node| lost.contains(&node), costs))
    })
}

/// Sets of nodes that may be down: so many, or as many as are, and those that are among them.
pub(super) fn sets(nodes: &[Node], count: usize) -> Vec<Vec<usize>> {
    let down: Vec<usize> = (0..nodes.len()).filter(|node| nodes[*node].down).collect();
    let size = count.max(down.len());
    let all = (0..1_u32 << nodes.len()).map(|set| {
        let members = (0..nodes.len()).filter(|node| set & (1 << node) != 0);
        members.collect::<Vec<usize>>()
    });
    all.filter(|set| set.len() == size && down.iter().all(|node| set.contains(node)))
        .collect()
}

/// Whether the VMs fit without the lost nodes, for one choice at least of adapters that are not known.
pub(super) fn fits_without(nodes: &[Node], vms: &[Vm], lost: impl Fn(usize) -> bool) -> bool {
    fits_without_at(nodes, vms, lost, DEFAULT)
}

/// The same with other costs.
pub(super) fn fits_without_at(
    nodes: &[Node],
    vms: &[Vm],
    lost: impl Fn(usize) -> bool,
    costs: Costs,
) -> bool {
    fits(nodes, vms, lost, costs)
}

fn cost(level: Performance, costs: Costs) -> u32 {
    match level {
        Performance::Low => costs[0],
        Performance::Medium => costs[1],
        Performance::High => costs[2],
    }
}

fn whole(node: &Node) -> Vec<Adapter> {
    let adapters = node.adapters.iter().map(|adapter| match adapter.queues {
        Queues::PerVf { pairs } => (adapter.vfs, WITHOUT_END, pairs),
        Queues::Pool { total, most_per_vf } => {
            (adapter.vfs, total, most_per_vf.unwrap_or(WITHOUT_END))
        }
    });
    adapters.collect()
}

/// The VMs, with every choice of adapters for those that run on nodes that are up and of which they
/// are not known. One choice if there is none: what does not fit by itself never does.
fn pinnings(nodes: &[Node], vms: &[Vm], costs: Costs) -> Vec<Vec<Vm>> {
    let mut all = vec![vms.to_vec()];
    for (at, vm) in vms.iter().enumerate() {
        let home = nodes
            .iter()
            .find(|node| !node.down && Some(&node.name) == vm.node.as_ref());
        let (Some(home), None) = (home, &vm.adapters) else {
            continue;
        };
        let mut ways: Vec<Vec<String>> = vec![Vec::new()];
        for _ in 0..vm.nics {
            let longer = ways.iter().flat_map(|way| {
                let able = home.adapters.iter().filter(|adapter| {
                    // In the order of their names, so that each way is there once.
                    way.last().is_none_or(|last| *last <= adapter.name)
                        && able(&adapter.queues, cost(vm.level, costs))
                });
                able.map(|adapter| {
                    let mut way = way.clone();
                    way.push(adapter.name.clone());
                    way
                })
                .collect::<Vec<_>>()
            });
            ways = longer.collect();
        }
        let pinned = all.iter().flat_map(|vms| {
            ways.iter().map(|way| {
                let mut vms = vms.clone();
                vms[at].adapters = Some(way.clone());
                vms
            })
        });
        // Which of VMs that are alike is where says nothing.
        let mut seen = HashSet::new();
        all = pinned
            .filter(|vms| {
                left_of(home, vms, costs).is_some_and(|left| seen.insert((left, others(vms, home))))
            })
            .collect();
    }
    all
}

fn able(queues: &Queues, cost: u32) -> bool {
    match queues {
        Queues::PerVf { pairs } => *pairs >= cost,
        Queues::Pool { total, most_per_vf } => {
            *total >= cost && most_per_vf.is_none_or(|most| most >= cost)
        }
    }
}

/// Where VMs of other nodes are.
fn others(vms: &[Vm], home: &Node) -> Vec<Option<Vec<String>>> {
    let others = vms.iter().filter(|vm| vm.node.as_ref() != Some(&home.name));
    others.map(|vm| vm.adapters.clone()).collect()
}

/// What VMs that are known to be there leave of a node's adapters, if it has enough for them.
fn left_of(node: &Node, vms: &[Vm], costs: Costs) -> Option<Vec<Adapter>> {
    let mut adapters = whole(node);
    for vm in vms.iter().filter(|vm| vm.node.as_ref() == Some(&node.name)) {
        for name in vm.adapters.iter().flatten() {
            let mut known = node.adapters.iter();
            let at = known.position(|adapter| &adapter.name == name)?;
            if !take(&mut adapters[at], cost(vm.level, costs), true) {
                return None;
            }
        }
    }
    Some(adapters)
}

fn fits(nodes: &[Node], vms: &[Vm], lost: impl Fn(usize) -> bool, costs: Costs) -> bool {
    let up: Vec<&Node> = nodes
        .iter()
        .enumerate()
        .filter(|(at, _)| !lost(*at))
        .map(|(_, node)| node)
        .collect();
    let mut left: Vec<Vec<Adapter>> = up.iter().map(|node| whole(node)).collect();
    // Those that run on a survivor keep their adapters …
    let mut waiting: Vec<Asked> = Vec::new();
    for vm in vms {
        let cost = cost(vm.level, costs);
        let here = up
            .iter()
            .position(|node| Some(&node.name) == vm.node.as_ref());
        match (here, &vm.adapters) {
            (Some(node), Some(adapters)) => {
                for name in adapters {
                    let at = up[node].adapters.iter().position(|one| &one.name == name);
                    if !take(&mut left[node][at.unwrap()], cost, true) {
                        return false;
                    }
                }
            }
            // … or at least their node.
            (here, _) => waiting.push((cost, vm.nics, here)),
        }
    }
    waiting.sort_by_key(|(cost, nics, bound)| {
        (bound.is_none(), *bound, std::cmp::Reverse((*cost, *nics)))
    });
    place(&left, &waiting, &mut HashSet::new())
}

fn take(adapter: &mut Adapter, cost: u32, runs_already: bool) -> bool {
    let (vfs, pool, most) = adapter;
    if *vfs == 0 || *pool < cost || (*most < cost && !runs_already) {
        return false;
    }
    *vfs -= 1;
    if *pool != WITHOUT_END {
        *pool -= cost;
    }
    true
}

type Dead = HashSet<(usize, Vec<Vec<Adapter>>)>;

/// Places the VMs, the first one first.
fn place(left: &[Vec<Adapter>], vms: &[Asked], dead: &mut Dead) -> bool {
    let Some((&(cost, nics, bound), others)) = vms.split_first() else {
        return true;
    };
    if !enough(left, vms) {
        return false;
    }
    // Which adapter it was says nothing, nor which node, as soon as any may be next.
    let mut alike = left.to_vec();
    if bound.is_none() {
        for adapters in &mut alike {
            adapters.sort_unstable();
        }
        alike.sort_unstable();
    }
    let key = (vms.len(), alike);
    if dead.contains(&key) {
        return false;
    }
    let candidates = match bound {
        Some(node) => node..node + 1,
        None => 0..left.len(),
    };
    for node in candidates {
        if bound.is_none() && left[..node].contains(&left[node]) {
            continue;
        }
        let mut after: Vec<Vec<Adapter>> = Vec::new();
        place_nics(&left[node], cost, nics, 0, &mut after);
        after.sort_unstable();
        after.dedup();
        for adapters in after {
            let mut next = left.to_vec();
            next[node] = adapters;
            if place(&next, others, dead) {
                return true;
            }
        }
    }
    dead.insert(key);
    false
}

/// Whether there are as many places as NICs, for those that cost so much or more, if there were nothing
/// else: where there are not, nothing has to be tried.
fn enough(left: &[Vec<Adapter>], vms: &[Asked]) -> bool {
    let costs: HashSet<u32> = vms.iter().map(|(cost, ..)| *cost).collect();
    costs.into_iter().all(|least| {
        let able = left.iter().flatten().filter(|(_, _, most)| *most >= least);
        let places: u32 = able.map(|(vfs, pool, _)| (*vfs).min(pool / least)).sum();
        let asked = vms.iter().filter(|(cost, ..)| *cost >= least);
        asked.map(|(_, nics, _)| nics).sum::<u32>() <= places
    })
}

/// Every way to put the NICs on the adapters, as what is left then.
fn place_nics(
    adapters: &[Adapter],
    cost: u32,
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
        if take(&mut next[number], cost, false) {
            place_nics(&next, cost, nics - 1, number, after);
        }
    }
}
