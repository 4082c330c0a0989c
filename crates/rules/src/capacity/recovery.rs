//! Where the VMs of nodes that are down would get their VFs: a placement, published for whoever starts
//! VMs elsewhere. We move nothing ourselves.

use std::collections::{BTreeMap, BTreeSet};

use accelnet_model::{Performance, Problem};
use serde::Serialize;

use super::{
    Capacity, LEVELS, PerLevel,
    budget::Budget,
    exact::Packing,
    levels::LevelCosts,
    position,
    region::Region,
    state::{AdapterState, VmState},
    supply::Rest,
};

/// One VM's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// The VM.
    pub vm: String,
    /// Where it would run.
    pub node: String,
    /// Adapter of each NIC.
    pub adapters: Vec<String>,
}

/// What becomes of the VMs that are off or on nodes that are down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// VMs with a place, in the order in which they should start.
    pub placements: Vec<Placement>,
    /// VMs without: they would run on the software path.
    pub without_room: Vec<String>,
}

/// Sorts of adapter, in the order in which VMs are put on them.
const PHASES: [fn(Rest, LevelCosts) -> bool; 3] =
    [is_slots, |rest, costs| !is_slots(rest, costs), |_, _| true];

fn is_slots(rest: Rest, costs: LevelCosts) -> bool {
    match rest {
        Rest::Slots { .. } => true,
        Rest::Pool { vfs, units, .. } => vfs < units && !rest.is_both(costs),
        Rest::Nothing => false,
    }
}

impl Capacity {
    /// A placement with these nodes down as well as those that are down now: greedy; where somebody
    /// gets stuck, an exact search if the cluster is small.
    ///
    /// # Errors
    /// `invalid_argument` if there is no such node.
    pub fn recover(&self, without: &[String]) -> Result<Recovery, Problem> {
        let mut lost: BTreeSet<u32> = self.down().into_iter().collect();
        for node in without {
            lost.insert(self.node_number(node)?);
        }
        let greedy = self.place_greedily(&lost);
        if greedy.without_room.is_empty() {
            return Ok(greedy);
        }
        let mut after = self.clone();
        for node in without {
            after.set_down(node, true)?;
        }
        Ok(match after.pack_now() {
            Some(Some(packing)) => after.unpack(&packing, &lost).unwrap_or(greedy),
            _ => greedy,
        })
    }

    /// VMs without a node that is up, hardest first.
    fn homeless(&self, lost: &BTreeSet<u32>) -> Vec<&VmState> {
        let homeless = |state: &&VmState| match &state.place {
            None => true,
            Some((node, _)) => lost.contains(node),
        };
        let mut homeless: Vec<&VmState> = self.vms.values().filter(homeless).collect();
        homeless.sort_by_key(|state| {
            let vm = &state.vm;
            (std::cmp::Reverse((vm.level, vm.nics)), &vm.name)
        });
        homeless
    }

    /// In the order for which [`super::criteria`] shows that nobody gets stuck if they hold.
    fn place_greedily(&self, lost: &BTreeSet<u32>) -> Recovery {
        let mut recovery = Recovery::default();
        let mut nodes: Vec<(usize, Vec<AdapterState>)> = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if !lost.contains(&(number as u32)) {
                nodes.push((number, node.adapters.clone()));
            }
        }
        // A node that has no room for a sort of VM in a phase will have none later.
        let mut first: BTreeMap<(Performance, u32, usize), usize> = BTreeMap::new();
        for state in self.homeless(lost) {
            let vm = &state.vm;
            let level = position(vm.level);
            let placed = PHASES.iter().enumerate().find_map(|(phase, sort)| {
                let first = first.entry((vm.level, vm.nics, phase)).or_default();
                while let Some((number, adapters)) = nodes.get_mut(*first) {
                    if let Some(chosen) = put(adapters, level, vm.nics, (*sort, self.costs)) {
                        return Some((*number, chosen));
                    }
                    *first += 1;
                }
                None
            });
            match placed {
                None => recovery.without_room.push(vm.name.clone()),
                Some((number, adapters)) => {
                    recovery
                        .placements
                        .push(self.placement(&vm.name, number, &adapters));
                }
            }
        }
        recovery
    }

    fn placement(&self, vm: &str, number: usize, adapters: &[usize]) -> Placement {
        let node = &self.nodes[number];
        let name = |adapter: &usize| node.adapters[*adapter].adapter.name.clone();
        Placement {
            vm: vm.to_owned(),
            node: node.name.clone(),
            adapters: adapters.iter().map(name).collect(),
        }
    }

    /// Names and adapters for a packing that only has numbers.
    fn unpack(&self, packing: &Packing, lost: &BTreeSet<u32>) -> Option<Recovery> {
        let mut waiting: BTreeMap<(Performance, u32), Vec<&str>> = BTreeMap::new();
        for state in self.homeless(lost).into_iter().rev() {
            let key = (state.vm.level, state.vm.nics);
            waiting.entry(key).or_default().push(&state.vm.name);
        }
        let mut recovery = Recovery::default();
        let mut budget = Budget::of_a_question();
        for (number, takes) in &packing.takes {
            let known = self.known(*number);
            let mut nics = known.unpinned;
            for ((level, each), count) in takes {
                nics[position(*level)] += u64::from(*each) * count;
            }
            let mut shares: Vec<PerLevel<u64>> =
                Region::of(&known.rests, self.costs, &mut budget)?.assign(nics)?;
            for ((level, each), count) in takes {
                for _ in 0..*count {
                    let vm = waiting.get_mut(&(*level, *each))?.pop()?;
                    let adapters: Option<Vec<usize>> = (0..*each)
                        .map(|_| draw(&mut shares, position(*level)))
                        .collect();
                    let placement = self.placement(vm, *number as usize, &adapters?);
                    recovery.placements.push(placement);
                }
            }
        }
        Some(recovery)
    }
}

/// Takes a NIC of a level from an adapter's share.
fn draw(shares: &mut [PerLevel<u64>], level: usize) -> Option<usize> {
    let adapter = shares.iter().position(|share| share[level] > 0)?;
    shares[adapter][level] -= 1;
    Some(adapter)
}

/// Puts all NICs of a VM on adapters of one sort of a node, if they fit: fixed VFs of the lowest
/// sufficient kind first.
pub(super) fn put(
    adapters: &mut [AdapterState],
    level: usize,
    nics: u32,
    (sort, costs): (fn(Rest, LevelCosts) -> bool, LevelCosts),
) -> Option<Vec<usize>> {
    let places = |state: &AdapterState| {
        if sort(state.rest(), costs) {
            state.places(level)
        } else {
            0
        }
    };
    if adapters.iter().map(places).sum::<u64>() < u64::from(nics) {
        return None;
    }
    let rank = |state: &AdapterState| match state.rest() {
        Rest::Slots { level, .. } => level,
        Rest::Pool { .. } | Rest::Nothing => LEVELS,
    };
    let mut chosen = Vec::new();
    for _ in 0..nics {
        let fitting = (0..adapters.len()).filter(|number| places(&adapters[*number]) > 0);
        let best = fitting.min_by_key(|number| rank(&adapters[*number]))?;
        adapters[best].give(level);
        chosen.push(best);
    }
    Some(chosen)
}
