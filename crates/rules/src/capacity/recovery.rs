//! Where the VMs of nodes that are down would get their VFs: a placement, published for whoever starts
//! VMs elsewhere. We move nothing ourselves.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use accelnet_model::Problem;
use serde::Serialize;

use super::{
    Capacity,
    budget::Budget,
    everywhere::{Choices, MOST_NODES},
    levels::LevelCosts,
    node::NodeState,
    place::{self, Asked, Spot, put},
    position,
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
    /// gets stuck, a search if the cluster is small.
    ///
    /// # Errors
    /// `invalid_argument` if there is no such node.
    pub fn recover(&self, without: &[String]) -> Result<Recovery, Problem> {
        let mut lost = self.down.clone();
        for node in without {
            lost.insert(self.node_number(node)?);
        }
        let nodes = (0_u32..).zip(&self.nodes);
        let nodes = nodes.filter(|(number, _)| !lost.contains(number));
        let nodes: Vec<&NodeState> = nodes.map(|(_, node)| node).collect();
        let vms = self.homeless(&lost);
        let rests = nodes.iter().map(|node| node.rests(self.costs));
        let mut spots = in_order(rests.collect(), &vms, self.costs);
        if spots.contains(&None)
            && let Some(found) = self.search(&nodes, &vms)
        {
            spots = found.into_iter().map(Some).collect();
        }
        let mut recovery = Recovery::default();
        for ((name, _), spot) in vms.iter().zip(spots) {
            let Some(Spot { node, adapters }) = spot else {
                recovery.without_room.push((*name).to_owned());
                continue;
            };
            let node = nodes[node];
            let adapters = adapters.iter();
            recovery.placements.push(Placement {
                vm: (*name).to_owned(),
                node: node.name.to_string(),
                adapters: adapters.map(|at| node.adapter_names[*at].clone()).collect(),
            });
        }
        Ok(recovery)
    }

    /// A spot for every VM in a small cluster, whatever adapters those that run are on where that is not
    /// known.
    fn search(&self, nodes: &[&NodeState], vms: &[(&str, Asked)]) -> Option<Vec<Spot>> {
        if self.nodes.len() > MOST_NODES {
            return None;
        }
        let asked: Vec<Asked> = vms.iter().map(|(_, asked)| *asked).collect();
        let mut budget = Budget::of_a_question();
        let mut choices = Choices::of(nodes.iter().copied(), self.costs, &mut budget)?;
        loop {
            let found = place::place(choices.rests(), &asked, self.costs, &mut budget);
            match found.flatten() {
                Some(spots) => return Some(spots),
                None => choices.next().filter(|more| *more)?,
            };
        }
    }

    /// VMs without a node that is up, hardest first.
    fn homeless(&self, lost: &BTreeSet<u32>) -> Vec<(&str, Asked)> {
        let homeless = self.vms.iter().filter(|(_, vm)| match &vm.place {
            None => true,
            Some(place) => lost.contains(&place.node),
        });
        let asked = homeless.map(|(name, vm)| {
            let (level, nics) = (position(vm.kind.0), vm.kind.1);
            (&**name, Asked { level, nics })
        });
        let mut asked: Vec<(&str, Asked)> = asked.collect();
        // Names are in order already.
        asked.sort_by_key(|(_, vm)| Reverse((vm.level, vm.nics)));
        asked
    }
}

/// In the order for which [`super::criteria`] shows that nobody gets stuck if they hold.
fn in_order(
    mut nodes: Vec<Vec<Rest>>,
    vms: &[(&str, Asked)],
    costs: LevelCosts,
) -> Vec<Option<Spot>> {
    // A node that has no room for a sort of VM in a phase will have none later.
    let mut first: BTreeMap<(usize, u32, usize), usize> = BTreeMap::new();
    let spot = |(_, vm): &(&str, Asked)| {
        PHASES.iter().enumerate().find_map(|(phase, sort)| {
            let first = first.entry((vm.level, vm.nics, phase)).or_default();
            while let Some(rests) = nodes.get_mut(*first) {
                if let Some((_, adapters)) = put(rests, *vm, costs, |rest| sort(rest, costs)) {
                    let node = *first;
                    return Some(Spot { node, adapters });
                }
                *first += 1;
            }
            None
        })
    };
    vms.iter().map(spot).collect()
}
