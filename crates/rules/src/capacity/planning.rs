//! Questions of planning: how many more, how large a reserve, which node.
//!
//! Each looks at what would be if (`Case`).

use std::collections::BTreeMap;

use accelnet_model::Performance;

use super::{
    Capacity, LEVELS, PerLevel,
    budget::Budget,
    case::Case,
    cluster::Place,
    criteria::Counts,
    decision::most,
    levels::LevelCosts,
    model::{Queues, Vm},
    node::{Kind, NodeState},
    nodes_down_tolerated,
    offline::FitsMore,
    place::{Asked, put},
    position,
    supply::{Rest, places},
};

/// What decides alone how a node answers: what is left beside VMs whose adapters are known, what must
/// stay beside it, what it carries, and whether it is up.
type Likeness = (Vec<Rest>, PerLevel<u64>, Counts, bool);

fn likeness(node: &NodeState, costs: LevelCosts) -> Likeness {
    let rests = node.rests_of_known(costs).collect();
    (rests, node.unpinned, node.counts.clone(), node.down)
}

/// What one node could do for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The node.
    pub node: String,
    /// Adapters for the VM's NICs; `None` if the node is down or has no room for all of them now.
    pub adapters: Option<Vec<String>>,
    /// The reserve would be kept with the VM there.
    pub keeps_reserve: bool,
}

/// What a node has, and what of it is given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// The node.
    pub node: String,
    /// It is down.
    pub down: bool,
    /// Its VFs.
    pub vfs: u64,
    /// VFs of VMs that run there.
    pub vfs_used: u64,
    /// Queue pairs of its VFs, or of the pools that they draw from.
    pub queue_pairs: u64,
    /// Queue pairs of VMs that run there.
    pub queue_pairs_used: u64,
    /// VMs with one NIC that fit beside, the reserve left aside; none if the node is down.
    pub free: FitsMore,
}

fn figures(node: &NodeState, costs: LevelCosts) -> Figures {
    let assumed = node.assumed(costs);
    let [low, medium, high] = match node.down {
        true => [0; LEVELS],
        false => places(&assumed.rests, costs),
    };
    let mut figures = Figures {
        node: node.name.to_string(),
        down: node.down,
        vfs: 0,
        vfs_used: assumed.chosen.len() as u64,
        queue_pairs: 0,
        queue_pairs_used: 0,
        free: FitsMore { low, medium, high },
    };
    for (at, state) in node.adapters.iter().enumerate() {
        let here = assumed.chosen.iter().filter(|(_, adapter)| *adapter == at);
        let vfs = u64::from(state.vfs);
        let (pairs, used) = match state.queues {
            Queues::Pool { total, .. } => {
                let drawn = here.map(|(level, _)| state.drawn(*level, costs));
                (u64::from(total), state.used_queues + drawn.sum::<u64>())
            }
            Queues::PerVf { pairs } => {
                let (pairs, used) = (u64::from(pairs), state.used_vfs + here.count() as u64);
                (vfs * pairs, used * pairs)
            }
        };
        figures.vfs += vfs;
        figures.vfs_used += state.used_vfs;
        figures.queue_pairs += pairs;
        figures.queue_pairs_used += used;
    }
    figures
}

impl Capacity {
    /// How many more VMs of each level fit, each level for itself.
    pub fn fits_more_of_each(&self) -> FitsMore {
        self.fits_more_of_each_within(&mut Budget::of_a_question())
    }

    pub(super) fn fits_more_of_each_within(&self, budget: &mut Budget) -> FitsMore {
        FitsMore {
            low: self.fits_more_within(Performance::Low, budget),
            medium: self.fits_more_within(Performance::Medium, budget),
            high: self.fits_more_within(Performance::High, budget),
        }
    }

    /// What each node has and what of it is given out, in the order of the nodes.
    pub fn figures(&self) -> Vec<Figures> {
        let nodes = self.nodes.iter();
        nodes.map(|node| figures(node, self.costs)).collect()
    }

    /// How many more VMs with one NIC could be admitted one after the other, all of them running on the
    /// same node; for every node in their order, each level for itself.
    pub fn fits_more_by_node(&self) -> Vec<FitsMore> {
        let mut known: BTreeMap<Likeness, FitsMore> = BTreeMap::new();
        let mut budget = Budget::of_a_question();
        // Where VMs could run on one node they could be off: every choice of lost nodes leaves the same
        // places, or one more for each.
        let FitsMore { low, medium, high } = self.fits_more_of_each_within(&mut budget);
        let asked = Performance::ALL.into_iter().zip([low, medium, high]);
        let asked: Vec<(Performance, u64, Case<'_>)> = asked
            .map(|(level, most)| (level, most, Case::now(self).knowing((level, 1))))
            .collect();
        let mut all = Vec::with_capacity(self.nodes.len());
        for (number, node) in (0_u32..).zip(&self.nodes) {
            let likeness = likeness(node, self.costs);
            let fits = *known.entry(likeness).or_insert_with(|| {
                let mut more = [0; LEVELS];
                for (level, most, case) in &asked {
                    more[position(*level)] =
                        self.fits_more_on(number, (*level, *most), case, &mut budget);
                }
                let [low, medium, high] = more;
                FitsMore { low, medium, high }
            });
            all.push(fits);
        }
        all
    }

    fn fits_more_on(
        &self,
        number: u32,
        (level, all): (Performance, u64),
        asked: &Case<'_>,
        budget: &mut Budget,
    ) -> u64 {
        let node = &self.nodes[number as usize];
        if node.down || self.down.len() > self.tolerated {
            return 0;
        }
        // One VM more takes nothing from the others' chances but what it needs.
        let free = places(&node.rests(self.costs), self.costs)[position(level)];
        most(free.min(all), |count| {
            let mut asked = asked.clone();
            for _ in 0..count {
                let Some(place) = free_place(asked.node(number), number, (level, 1), self.costs)
                else {
                    return false;
                };
                asked = asked.with((level, 1), Some(&place));
            }
            asked.verdict(budget).is_ok()
        })
    }

    /// What each node could do for a VM now, in the order of the nodes. A VM that is known is taken as
    /// if it were not there yet.
    pub fn offers(&self, vm: &Vm) -> Vec<Offer> {
        let kind = (vm.level, vm.nics);
        let before = Case::now(self).without(&vm.name);
        // One that is admitted need not be again.
        let open = self.vms.contains_key(vm.name.as_str()) || self.is_open_to(vm.level).is_ok();
        let asked = before.knowing(kind);
        let mut known: BTreeMap<Likeness, bool> = BTreeMap::new();
        let mut budget = Budget::of_a_question();
        let offer = |(number, node): (u32, &NodeState)| {
            let place = free_place(node, number, kind, self.costs);
            let keeps_reserve = place.as_ref().is_some_and(|place| {
                let keeps = known.entry(likeness(node, self.costs)).or_insert_with(|| {
                    let there = asked.clone().with(kind, Some(place));
                    open && there.verdict(&mut budget).is_ok()
                });
                *keeps
            });
            let adapters = place.and_then(|place| place.adapters);
            Offer {
                node: node.name.to_string(),
                adapters: adapters.map(|adapters| node.names_of(&adapters)),
                keeps_reserve,
            }
        };
        asked.nodes().map(offer).collect()
    }

    /// The largest reserve that the VMs that are admitted leave: how many nodes may be down, and the
    /// largest percentage that means no more. `None` if they do not even fit without a reserve.
    pub fn largest_reserve(&self) -> Option<(usize, u8)> {
        let mut budget = Budget::of_a_question();
        let mut holds = |count: u64| {
            let asked = Case::now(self).tolerating(count as usize);
            asked.verdict(&mut budget).is_ok()
        };
        // Where the loss of more nodes is borne, that of fewer is.
        if !holds(0) {
            return None;
        }
        let kept = most(self.nodes.len().saturating_sub(1) as u64, holds) as usize;
        let within = |percent: &u8| nodes_down_tolerated(self.nodes.len(), *percent) <= kept;
        let percent = (0..=99).rev().find(within)?;
        Some((kept, percent))
    }
}

/// Where a VM would run on a node, if there is room for all its NICs.
fn free_place(node: &NodeState, number: u32, kind: Kind, costs: LevelCosts) -> Option<Place> {
    let mut assumed = node.assumed(costs);
    if node.down || assumed.fits != Some(true) {
        return None;
    }
    let vm = Asked {
        level: position(kind.0),
        nics: kind.1,
    };
    let (_, chosen) = put(&mut assumed.rests, vm, costs, |_| true)?;
    let adapters = chosen.into_iter().map(|adapter| adapter as u32);
    Some(Place {
        node: number,
        adapters: Some(adapters.collect()),
    })
}

#[cfg(test)]
mod tests;
