//! Questions of planning: how many more, how large a reserve, which node.
//!
//! Each asks [`Capacity`] what would be if; all of them leave it as it was.

use std::collections::BTreeMap;

use accelnet_model::Performance;

use super::{
    Capacity, LEVELS, PerLevel,
    budget::Budget,
    criteria::Counts,
    model::{Queues, Reserve, Vm},
    nodes_down_tolerated,
    offline::FitsMore,
    position,
    recovery::put,
    state::{AdapterState, NodeState},
    supply::Rest,
};

/// Names that no VM has, for VMs that are only asked about.
const ASKED: &str = "\0asked";

/// What decides alone how a node answers: what is left, what must stay beside it, what it carries, and
/// whether it is up.
type Likeness = (Vec<Rest>, PerLevel<u64>, Counts, bool);

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

fn figures(node: &NodeState) -> Figures {
    let [low, medium, high] = if node.down { [0; LEVELS] } else { node.places };
    let mut figures = Figures {
        node: node.name.clone(),
        down: node.down,
        vfs: 0,
        vfs_used: 0,
        queue_pairs: 0,
        queue_pairs_used: 0,
        free: FitsMore { low, medium, high },
    };
    for state in &node.adapters {
        let vfs = u64::from(state.adapter.vfs);
        let (pairs, used) = match state.adapter.queues {
            Queues::Pool { total, .. } => (u64::from(total), state.used_queues),
            Queues::PerVf { pairs } => {
                let pairs = u64::from(pairs);
                (vfs * pairs, state.used_vfs * pairs)
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
    pub fn fits_more_of_each(&mut self) -> FitsMore {
        self.fits_more_of_each_within(&mut Budget::of_a_question())
    }

    pub(super) fn fits_more_of_each_within(&mut self, budget: &mut Budget) -> FitsMore {
        FitsMore {
            low: self.fits_more_within(Performance::Low, budget),
            medium: self.fits_more_within(Performance::Medium, budget),
            high: self.fits_more_within(Performance::High, budget),
        }
    }

    /// What each node has and what of it is given out, in the order of the nodes.
    pub fn figures(&self) -> Vec<Figures> {
        self.nodes.iter().map(figures).collect()
    }

    /// How many more VMs with one NIC could be admitted one after the other, all of them running on the
    /// same node; for every node in their order, each level for itself.
    pub fn fits_more_by_node(&mut self) -> Vec<FitsMore> {
        let mut known: BTreeMap<Likeness, FitsMore> = BTreeMap::new();
        let mut all = Vec::with_capacity(self.nodes.len());
        let mut budget = Budget::of_a_question();
        let total = self.fits_more_of_each_within(&mut budget);
        // Where VMs could run on one node they could be off: every choice of lost nodes leaves the same
        // places, or one more for each.
        let total = [total.low, total.medium, total.high];
        for number in 0..self.nodes.len() as u32 {
            let node = &self.nodes[number as usize];
            let down = node.down;
            let state = self.known(number);
            let likeness = (state.rests, state.unpinned, node.counts.clone(), down);
            let fits = match known.get(&likeness) {
                Some(fits) => *fits,
                None => {
                    let [low, medium, high] = Performance::ALL.map(|level| {
                        let most = total[position(level)];
                        self.fits_more_on(number, level, most, &mut budget)
                    });
                    let fits = FitsMore { low, medium, high };
                    known.insert(likeness, fits);
                    fits
                }
            };
            all.push(fits);
        }
        self.settle();
        all
    }

    fn fits_more_on(
        &mut self,
        number: u32,
        level: Performance,
        most: u64,
        budget: &mut Budget,
    ) -> u64 {
        let node = &self.nodes[number as usize];
        if node.down || self.down().len() > self.tolerated {
            return 0;
        }
        // One VM more takes nothing from the others' chances but what it needs, so the answers are
        // "yes" up to a number and "no" after.
        let (mut fitting, mut not) = (0, node.places[position(level)].min(most) + 1);
        while not - fitting > 1 {
            let middle = fitting + (not - fitting) / 2;
            if self.fits_on(number, level, middle, budget) {
                fitting = middle;
            } else {
                not = middle;
            }
        }
        fitting
    }

    fn fits_on(
        &mut self,
        number: u32,
        level: Performance,
        count: u64,
        budget: &mut Budget,
    ) -> bool {
        let mut added = Vec::new();
        let mut fits = true;
        for one in 0..count {
            let vm = Vm {
                name: format!("{ASKED}{one}"),
                level,
                nics: 1,
                node: None,
                adapters: None,
            };
            let Some(vm) = self.at(vm, number) else {
                fits = false;
                break;
            };
            let name = vm.name.clone();
            if self.put(vm).is_err() {
                fits = false;
                break;
            }
            added.push(name);
        }
        let fits = fits && self.fits(budget);
        for name in added {
            self.take_out(&name);
        }
        fits
    }

    /// The VM as it would run on a node, if there is room for all its NICs.
    fn at(&self, vm: Vm, number: u32) -> Option<Vm> {
        let node = &self.nodes[number as usize];
        if node.down || node.seems_overdrawn() {
            return None;
        }
        let mut adapters: Vec<AdapterState> = node.adapters.clone();
        let chosen = put(
            &mut adapters,
            position(vm.level),
            vm.nics,
            (|_, _| true, self.costs),
        )?;
        let name = |adapter: usize| node.adapters[adapter].adapter.name.clone();
        Some(Vm {
            node: Some(node.name.clone()),
            adapters: Some(chosen.into_iter().map(name).collect()),
            ..vm
        })
    }

    /// What each node could do for a VM now, in the order of the nodes. A VM that is known is taken as
    /// if it were not there yet.
    pub fn offers(&mut self, vm: &Vm) -> Vec<Offer> {
        let before = self.remove(&vm.name);
        let mut offers = Vec::with_capacity(self.nodes.len());
        let mut known: BTreeMap<Likeness, bool> = BTreeMap::new();
        let mut budget = Budget::of_a_question();
        for number in 0..self.nodes.len() as u32 {
            let node = &self.nodes[number as usize];
            let (name, down, counts) = (node.name.clone(), node.down, node.counts.clone());
            let there = self.at(vm.clone(), number);
            let adapters = there.as_ref().and_then(|vm| vm.adapters.clone());
            let keeps_reserve = match there {
                None => false,
                Some(there) => {
                    let state = self.known(number);
                    let likeness = (state.rests, state.unpinned, counts, down);
                    match known.get(&likeness) {
                        Some(keeps) => *keeps,
                        None => {
                            let keeps = match before {
                                // It is admitted, and need not be again.
                                Some(_) => self.holds_with(there, &mut budget),
                                None => self.would_admit_within(there, &mut budget).is_ok(),
                            };
                            known.insert(likeness, keeps);
                            keeps
                        }
                    }
                }
            };
            offers.push(Offer {
                node: name,
                adapters,
                keeps_reserve,
            });
        }
        if let Some(before) = before {
            // It was there, so it can be again.
            let _ = self.put(before);
        }
        self.settle();
        offers
    }

    fn holds_with(&mut self, vm: Vm, budget: &mut Budget) -> bool {
        let name = vm.name.clone();
        if self.put(vm).is_err() {
            return false;
        }
        let fits = self.fits(budget);
        self.take_out(&name);
        fits
    }

    /// The largest reserve that the VMs that are admitted leave: how many nodes may be down, and the
    /// largest percentage that means no more. `None` if they do not even fit without a reserve.
    pub fn largest_reserve(&self) -> Option<(usize, u8)> {
        let mut asked = self.clone();
        let mut budget = Budget::of_a_question();
        let mut holds = |count: usize| {
            asked.set_reserve(Reserve::NodesDown(count));
            asked.fits(&mut budget)
        };
        // Where the loss of more nodes is borne, that of fewer is.
        let (mut kept, mut not) = (0, self.nodes.len().max(1));
        if !holds(0) {
            return None;
        }
        while not - kept > 1 {
            let middle = kept + (not - kept) / 2;
            if holds(middle) {
                kept = middle;
            } else {
                not = middle;
            }
        }
        let within = |percent: &u8| nodes_down_tolerated(self.nodes.len(), *percent) <= kept;
        let percent = (0..=99).rev().find(within)?;
        Some((kept, percent))
    }
}

#[cfg(test)]
mod tests;
