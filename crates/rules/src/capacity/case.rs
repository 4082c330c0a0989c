//! A cluster as it is, or as it would be with a few things changed.
//!
//! Every decision looks at a case. It borrows the cluster and has of its own only what differs: how many
//! VMs there are, and nodes that would carry others. So a question costs what it changes, and there is
//! nothing to be taken back.

use std::{collections::BTreeSet, rc::Rc};

use super::{
    Capacity, PerLevel,
    cluster::Place,
    criteria::Counts,
    levels::LevelCosts,
    node::{Kind, NodeState, decrease, increase},
    sums::{Present, Shape, Sums},
};

/// What is asked about.
#[derive(Clone)]
pub(super) struct Case<'a> {
    cluster: &'a Capacity,
    /// How many nodes may be down at once.
    tolerated: usize,
    /// How many VMs there are, and how many of them are off.
    all: Counts,
    off: Counts,
    /// Nodes that are other than they are.
    others: Vec<(u32, NodeState)>,
    /// Sums made for the case, where the cluster's are of another shape.
    own: Option<Rc<Sums>>,
}

impl<'a> Case<'a> {
    /// Everything as it is.
    pub(super) fn now(cluster: &'a Capacity) -> Self {
        Self {
            tolerated: cluster.tolerated,
            all: cluster.all.clone(),
            off: cluster.off.clone(),
            others: Vec::new(),
            own: None,
            cluster,
        }
    }

    /// If so many nodes might be down.
    pub(super) fn tolerating(mut self, nodes: usize) -> Self {
        self.tolerated = nodes;
        self
    }

    /// If there were so many VMs more of a kind that are off.
    pub(super) fn with_off(mut self, kind: Kind, count: u64) -> Self {
        increase(&mut self.all, kind, count);
        increase(&mut self.off, kind, count);
        self
    }

    /// If there were one more VM, off or at a place.
    pub(super) fn with(mut self, kind: Kind, place: Option<&Place>) -> Self {
        match place {
            None => return self.with_off(kind, 1),
            Some(Place { node, adapters }) => {
                increase(&mut self.all, kind, 1);
                let costs = self.costs();
                self.other(*node).add(kind, adapters.as_deref(), costs);
            }
        }
        self
    }

    /// If the VM of this name were not there.
    pub(super) fn without(mut self, name: &str) -> Self {
        if let Some(vm) = self.cluster.vms.get(name) {
            decrease(&mut self.all, vm.kind, 1);
            let costs = self.costs();
            match &vm.place {
                None => decrease(&mut self.off, vm.kind, 1),
                Some(Place { node, adapters }) => {
                    let node = self.other(*node);
                    node.take_out(vm.kind, adapters.as_deref(), costs);
                }
            }
        }
        self
    }

    /// With sums of the shape that it has; others may ask for more than they must, never for less.
    pub(super) fn settled(mut self) -> Self {
        let shape = self.shape();
        if self.sums().shape != shape {
            let makeup = self.cluster.census.all();
            let nodes = self.nodes().map(|(_, node)| node);
            self.own = Some(Rc::new(Sums::of(shape, makeup, self.costs(), nodes)));
        }
        self
    }

    /// With sums for VMs of a kind too, so that they need not be made for each number of them.
    pub(super) fn knowing(mut self, kind: Kind) -> Self {
        self.own = self.clone().with_off(kind, 1).settled().own;
        self
    }

    /// The shape that its sums should have.
    pub(super) fn shape(&self) -> Shape {
        Shape::of(&self.all, self.further())
    }

    pub(super) fn sums(&self) -> &Sums {
        self.own.as_deref().unwrap_or(&self.cluster.sums)
    }

    fn present(&self) -> Present<'_> {
        Present {
            all: &self.all,
            off: &self.off,
            down: self.down(),
            others: &self.others,
        }
    }

    /// True if the sums show that everything fits, whichever nodes go down.
    pub(super) fn is_sufficient(&self) -> bool {
        self.doubtful().next().is_none() && self.sums().is_sufficient(self.present())
    }

    /// Nodes to lose that prove that not everything fits, if a bound shows it.
    pub(super) fn exceeded(&self) -> Option<Vec<u32>> {
        self.sums().exceeded(self.present())
    }

    /// The nodes to lose of the first inequality that does not hold.
    pub(super) fn weakest(&self) -> Vec<u32> {
        self.sums().weakest(self.present())
    }

    /// NICs that would have to find room without these nodes, and the places that there are.
    pub(super) fn shortage(&self, lost: &[u32]) -> [PerLevel<u64>; 2] {
        self.sums().shortage(self.present(), lost)
    }

    fn other(&mut self, number: u32) -> &mut NodeState {
        let known = self.others.iter().position(|(other, _)| *other == number);
        let at = known.unwrap_or(self.others.len());
        if known.is_none() {
            let node = self.cluster.nodes[number as usize].clone();
            self.others.push((number, node));
        }
        &mut self.others[at].1
    }

    pub(super) fn costs(&self) -> LevelCosts {
        self.cluster.costs
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.cluster.nodes.len()
    }

    pub(super) fn node(&self, number: u32) -> &NodeState {
        let other = self.others.iter().find(|(other, _)| *other == number);
        other.map_or(&self.cluster.nodes[number as usize], |(_, node)| node)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (u32, &NodeState)> + Clone {
        (0..self.len() as u32).map(|number| (number, self.node(number)))
    }

    /// How many nodes besides those that are down may go down.
    pub(super) fn further(&self) -> usize {
        self.tolerated.saturating_sub(self.cluster.down.len())
    }

    /// VMs that are off or on a node that is down.
    pub(super) fn homeless(&self) -> Counts {
        let mut homeless = self.off.clone();
        for number in &self.cluster.down {
            for (kind, count) in &self.node(*number).counts {
                increase(&mut homeless, *kind, *count);
            }
        }
        homeless
    }

    /// Nodes that may survive and that give out more than they have, or for which that is not known.
    pub(super) fn doubtful(&self) -> impl Iterator<Item = u32> {
        let changed = self.others.iter();
        let changed = changed.filter(|(_, node)| node.assumed(self.costs()).fits != Some(true));
        let changed = changed.map(|(number, _)| *number);
        let same = |number: &u32| self.others.iter().all(|(other, _)| other != number);
        let known = self.sums().doubtful.iter().copied().filter(same);
        let up = |number: &u32| !self.node(*number).down;
        known.chain(changed).filter(up)
    }

    /// Nodes that are down.
    pub(super) fn down(&self) -> &BTreeSet<u32> {
        &self.cluster.down
    }

    /// These nodes and those that are down, in their order.
    pub(super) fn with_down(&self, others: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut lost: Vec<u32> = others.chain(self.down().iter().copied()).collect();
        lost.sort_unstable();
        lost
    }
}
