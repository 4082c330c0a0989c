//! The cluster with all its admitted VMs, and its inequalities kept up to date.
//!
//! Invariants: a node's counters are the sum over the VMs on it; the values of every criterion are
//! those of the node's present supply and load; a VM that was refused leaves no trace.

use std::collections::{BTreeMap, BTreeSet};

use accelnet_model::{Code, Problem};

use super::{
    criteria::{Counts, Criterion, Sorts},
    model::{Adapter, Node, Queues, Refusal, Reserve, Vm},
    position,
    supply::{Rest, Supply, View},
    top::TopSum,
};

/// An adapter and what is given out of it.
#[derive(Debug, Clone)]
pub(super) struct AdapterState {
    pub(super) adapter: Adapter,
    pub(super) used_vfs: u64,
    pub(super) used_queues: u64,
}

impl AdapterState {
    fn new(adapter: Adapter) -> Self {
        Self {
            adapter,
            used_vfs: 0,
            used_queues: 0,
        }
    }

    pub(super) fn rest(&self) -> Rest {
        let Adapter { vfs, queues, .. } = self.adapter;
        Rest::of(vfs, queues, self.used_vfs, self.used_queues)
    }

    /// More is given out than there is.
    pub(super) fn is_overdrawn(&self) -> bool {
        let pool = match self.adapter.queues {
            Queues::Pool { total } => u64::from(total),
            Queues::PerVf { .. } => u64::MAX,
        };
        self.used_vfs > u64::from(self.adapter.vfs) || self.used_queues > pool
    }

    /// Gives out a VF (or takes it back) for a NIC of the level.
    pub(super) fn give(&mut self, level: usize) {
        self.used_vfs += 1;
        self.used_queues += self.queues_of(level);
    }

    fn take_back(&mut self, level: usize) {
        self.used_vfs -= 1;
        self.used_queues -= self.queues_of(level);
    }

    fn queues_of(&self, level: usize) -> u64 {
        match self.adapter.queues {
            Queues::Pool { .. } => super::cost()[level],
            Queues::PerVf { .. } => 0,
        }
    }
}

/// A node, its adapters and the VMs that run on it.
#[derive(Debug, Clone)]
pub(super) struct NodeState {
    pub(super) name: String,
    pub(super) down: bool,
    pub(super) adapters: Vec<AdapterState>,
    pub(super) vms: BTreeSet<String>,
    pub(super) counts: Counts,
}

/// A VM as it is kept.
#[derive(Debug, Clone)]
pub(super) struct VmState {
    pub(super) vm: Vm,
    /// Node and adapter of each NIC, if it runs. Where adapters were not given they are chosen here.
    pub(super) place: Option<(u32, Vec<u32>)>,
}

/// Supply and load of all nodes for one criterion.
#[derive(Debug, Clone)]
struct Ledger {
    criterion: Criterion,
    /// Supply of all nodes.
    supply: u64,
    /// Supply plus load of nodes that are down: none of it counts.
    down: u64,
    /// Supply plus load of the others.
    top: TopSum,
    /// Supply and load of each node as they stand in the sums.
    nodes: Vec<(u64, u64)>,
}

/// A cluster's capacity, the VMs admitted to it, and the reserve it keeps.
#[derive(Debug, Clone)]
pub struct Capacity {
    pub(super) tolerated: usize,
    pub(super) nodes: Vec<NodeState>,
    node_numbers: BTreeMap<String, u32>,
    pub(super) vms: BTreeMap<String, VmState>,
    pub(super) off: Counts,
    all: Counts,
    /// Numbers of NICs for which there are ledgers.
    nics: BTreeSet<u32>,
    ledgers: Vec<(View, Vec<Ledger>)>,
    overdrawn: BTreeSet<u32>,
}

fn invalid(text: String) -> Problem {
    Problem::new(Code::InvalidArgument, text)
}

impl Capacity {
    /// A cluster without VMs.
    ///
    /// # Errors
    /// `invalid_argument` if a node's or, on a node, an adapter's name occurs twice.
    pub fn new(nodes: Vec<Node>, reserve: Reserve) -> Result<Self, Problem> {
        let mut node_numbers = BTreeMap::new();
        let mut states = Vec::with_capacity(nodes.len());
        for (number, node) in nodes.into_iter().enumerate() {
            if node_numbers.insert(node.name.clone(), number as u32).is_some() {
                return Err(invalid(format!("Node '{}' is there twice.", node.name)));
            }
            let names: BTreeSet<&str> =
                node.adapters.iter().map(|adapter| adapter.name.as_str()).collect();
            if names.len() < node.adapters.len() {
                return Err(invalid(format!(
                    "Node '{}' has two adapters of the same name.",
                    node.name
                )));
            }
            states.push(NodeState {
                name: node.name,
                down: node.down,
                adapters: node.adapters.into_iter().map(AdapterState::new).collect(),
                vms: BTreeSet::new(),
                counts: Counts::new(),
            });
        }
        let mut capacity = Self {
            tolerated: reserve.nodes_down(states.len()),
            nodes: states,
            node_numbers,
            vms: BTreeMap::new(),
            off: Counts::new(),
            all: Counts::new(),
            nics: BTreeSet::from([1]),
            ledgers: Vec::new(),
            overdrawn: BTreeSet::new(),
        };
        capacity.rebuild();
        Ok(capacity)
    }

    /// How many nodes may be down at once.
    pub fn nodes_down_tolerated(&self) -> usize {
        self.tolerated
    }

    /// Nodes that are down now.
    pub(super) fn down(&self) -> Vec<u32> {
        let down = |number: &u32| self.nodes[*number as usize].down;
        (0..self.nodes.len() as u32).filter(down).collect()
    }

    /// How many nodes besides those that are down may go down.
    pub(super) fn further(&self) -> usize {
        self.tolerated.saturating_sub(self.down().len())
    }

    /// Asks for room for a VM and, if there is, admits it.
    ///
    /// # Errors
    /// `invalid_argument` if the VM cannot be as given; otherwise why it is refused.
    pub fn admit(&mut self, vm: Vm) -> Result<(), Refusal> {
        let name = vm.name.clone();
        let refused = |problem: Problem| Refusal {
            code: problem.code,
            reason: problem.detail,
            counterexample: Vec::new(),
        };
        if let Some(refusal) = self.impossible_at_once(&vm) {
            return Err(refusal);
        }
        self.put(vm).map_err(refused)?;
        match self.judge(&name) {
            Ok(()) => Ok(()),
            Err(refusal) => {
                self.remove(&name);
                Err(refusal)
            }
        }
    }

    /// Takes a VM as it is, admitted long ago, whether there is room for it or not.
    ///
    /// # Errors
    /// `invalid_argument` if it cannot be: its name is taken, it has no NIC, or node or adapters do
    /// not exist.
    pub fn put(&mut self, vm: Vm) -> Result<(), Problem> {
        let place = self.place(&vm)?;
        let key = (vm.level, vm.nics);
        *self.all.entry(key).or_default() += 1;
        let node = place.as_ref().map(|(node, _)| *node);
        match &place {
            None => *self.off.entry(key).or_default() += 1,
            Some((number, adapters)) => {
                let node = &mut self.nodes[*number as usize];
                for adapter in adapters {
                    node.adapters[*adapter as usize].give(position(vm.level));
                }
                *node.counts.entry(key).or_default() += 1;
                node.vms.insert(vm.name.clone());
            }
        }
        self.vms.insert(vm.name.clone(), VmState { vm, place });
        self.changed(node, key.1);
        Ok(())
    }

    /// Forgets a VM. Returns it, if it was there.
    pub fn remove(&mut self, name: &str) -> Option<Vm> {
        let VmState { vm, place } = self.vms.remove(name)?;
        let key = (vm.level, vm.nics);
        decrease(&mut self.all, key);
        let node = place.as_ref().map(|(node, _)| *node);
        match place {
            None => decrease(&mut self.off, key),
            Some((number, adapters)) => {
                let node = &mut self.nodes[number as usize];
                for adapter in adapters {
                    node.adapters[adapter as usize].take_back(position(vm.level));
                }
                decrease(&mut node.counts, key);
                node.vms.remove(name);
            }
        }
        self.changed(node, key.1);
        Some(vm)
    }

    /// A node went down or came back.
    ///
    /// # Errors
    /// `invalid_argument` if there is no such node.
    pub fn set_down(&mut self, node: &str, down: bool) -> Result<(), Problem> {
        let number = self.node_number(node)?;
        if std::mem::replace(&mut self.nodes[number as usize].down, down) != down {
            self.rebuild();
        }
        Ok(())
    }

    fn node_number(&self, name: &str) -> Result<u32, Problem> {
        let number = self.node_numbers.get(name).copied();
        number.ok_or_else(|| invalid(format!("There is no node '{name}'.")))
    }

    /// Where the VM is: node and adapter of each NIC.
    fn place(&self, vm: &Vm) -> Result<Option<(u32, Vec<u32>)>, Problem> {
        let name = &vm.name;
        if self.vms.contains_key(name) {
            return Err(invalid(format!("VM '{name}' is there twice.")));
        }
        if vm.nics == 0 {
            return Err(invalid(format!("VM '{name}' has no NICs.")));
        }
        let Some(node) = &vm.node else {
            return match vm.adapters {
                None => Ok(None),
                Some(_) => Err(invalid(format!("VM '{name}' is off, but has adapters."))),
            };
        };
        let number = self.node_number(node)?;
        let node = &self.nodes[number as usize];
        let Some(adapters) = &vm.adapters else {
            return Ok(Some((number, choose(&node.adapters, vm))));
        };
        if adapters.len() != vm.nics as usize {
            return Err(invalid(format!(
                "VM '{name}' has {} NICs, but {} adapters.",
                vm.nics,
                adapters.len()
            )));
        }
        let find = |adapter: &String| {
            let mut known = node.adapters.iter();
            let found = known.position(|state| &state.adapter.name == adapter);
            let missing = || invalid(format!("Node '{}' has no adapter '{adapter}'.", node.name));
            found.map(|found| found as u32).ok_or_else(missing)
        };
        let found: Result<Vec<u32>, Problem> = adapters.iter().map(find).collect();
        Ok(Some((number, found?)))
    }

    /// A VM with `nics` NICs came or went, on a node or on none.
    fn changed(&mut self, node: Option<u32>, nics: u32) {
        let most = self.all.keys().map(|(_, nics)| *nics).max().unwrap_or(1);
        if let Some(number) = node {
            let overdrawn = self.nodes[number as usize]
                .adapters
                .iter()
                .any(AdapterState::is_overdrawn);
            if overdrawn {
                self.overdrawn.insert(number);
            } else {
                self.overdrawn.remove(&number);
            }
        }
        if !self.nics.contains(&nics) || self.nics.last() != Some(&most) {
            self.rebuild();
            return;
        }
        if let Some(number) = node {
            self.refresh(number);
        }
    }

    /// Brings one node's values up to date in all ledgers.
    fn refresh(&mut self, number: u32) {
        let node = &self.nodes[number as usize];
        for (view, ledgers) in &mut self.ledgers {
            let supply = Supply::of(node.adapters.iter().map(AdapterState::rest), *view);
            for ledger in ledgers {
                let new = (
                    ledger.criterion.supply(&supply),
                    ledger.criterion.demand(&node.counts),
                );
                ledger.set(number, node.down, new);
            }
        }
    }

    /// Makes all ledgers anew: the numbers of NICs that occur, or the nodes that are down, changed.
    fn rebuild(&mut self) {
        self.nics = self.all.keys().map(|(_, nics)| *nics).collect();
        self.nics.insert(1);
        let most_nics = self.nics.last().copied().unwrap_or(1);
        let adapters = || self.nodes.iter().flat_map(|node| &node.adapters);
        let rests = || adapters().map(|state| AdapterState::new(state.adapter.clone()).rest());
        let both = rests().any(Rest::is_both);
        let views = if both { &View::ALL[..] } else { &View::ALL[..1] };
        let k = self.further();
        let count = self.nodes.len();
        let mut all = Vec::with_capacity(views.len());
        for view in views {
            let whole = Supply::of(rests(), *view);
            let sorts = Sorts {
                // A pool in which both can run out may become either.
                slots: whole.slots != [0; super::LEVELS],
                pools: whole.pool_places != [0; super::LEVELS],
                most_nics,
            };
            let mut ledgers = Vec::new();
            for level in accelnet_model::Performance::ALL {
                for nics in &self.nics {
                    let criteria = Criterion::all(level, *nics, sorts).into_iter();
                    ledgers.extend(criteria.map(|criterion| Ledger::new(criterion, count, k)));
                }
            }
            all.push((*view, ledgers));
        }
        self.ledgers = all;
        for number in 0..count as u32 {
            self.refresh(number);
        }
    }

    /// True if the inequalities show that everything fits, whichever nodes go down.
    pub(super) fn is_sufficient(&self) -> bool {
        self.overdrawn_survivor().is_none()
            && self.ledgers.iter().any(|(_, ledgers)| {
                ledgers.iter().all(|ledger| ledger.holds(&self.all, &self.off))
            })
    }

    /// A node that gives out more than it has, and may survive.
    pub(super) fn overdrawn_survivor(&self) -> Option<u32> {
        let mut overdrawn = self.overdrawn.iter().copied();
        overdrawn.find(|number| !self.nodes[*number as usize].down)
    }

    /// True if for VMs like these the inequalities decide exactly: one NIC each, adapters known, and no
    /// adapter of which VFs and queue pairs can both run out.
    pub(super) fn is_exact(&self) -> bool {
        let chosen = |state: &VmState| state.place.is_some() && state.vm.adapters.is_none();
        self.ledgers.len() == 1
            && self.nics.last() == Some(&1)
            && !self.vms.values().any(chosen)
    }

    /// The nodes that weigh most in the first inequality that does not hold, in the first view.
    pub(super) fn weakest(&self) -> Vec<u32> {
        let ledgers = self.ledgers.first().map(|(_, ledgers)| ledgers);
        let mut failing = ledgers
            .into_iter()
            .flatten()
            .filter(|ledger| !ledger.holds(&self.all, &self.off));
        failing
            .next()
            .map(|ledger| ledger.top.numbers().collect())
            .unwrap_or_default()
    }
}

impl Ledger {
    fn new(criterion: Criterion, nodes: usize, k: usize) -> Self {
        let mut top = TopSum::new(k);
        for number in 0..nodes as u32 {
            top.insert(0, number);
        }
        Self {
            criterion,
            supply: 0,
            down: 0,
            top,
            nodes: vec![(0, 0); nodes],
        }
    }

    fn set(&mut self, number: u32, down: bool, new: (u64, u64)) {
        let old = std::mem::replace(&mut self.nodes[number as usize], new);
        self.supply = self.supply - old.0 + new.0;
        let (before, after) = (old.0 + old.1, new.0 + new.1);
        if down {
            self.top.remove(before, number);
            self.down += after;
        } else if before != after {
            self.top.remove(before, number);
            self.top.insert(after, number);
        }
    }

    /// Σ supply of survivors ≥ load of the others + VMs that are off, for the worst choice of nodes.
    /// A criterion for VMs of a sort that does not occur says nothing.
    fn holds(&self, all: &Counts, off: &Counts) -> bool {
        if !all.contains_key(&self.criterion.stuck()) {
            return true;
        }
        let lost = self.down + self.top.sum() + self.criterion.demand(off);
        self.supply >= lost
    }
}

fn decrease(counts: &mut Counts, key: (accelnet_model::Performance, u32)) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// Adapters for the NICs of a running VM of which only the node is known: where most of its level
/// still fits, fixed VFs of the lowest sufficient kind first. If nothing fits, the first adapter takes
/// what is too much, and the node counts as overdrawn.
fn choose(adapters: &[AdapterState], vm: &Vm) -> Vec<u32> {
    let level = position(vm.level);
    let mut adapters = adapters.to_vec();
    let mut chosen = Vec::new();
    for _ in 0..vm.nics {
        let rank = |state: &AdapterState| match state.rest() {
            Rest::Slots { level: most, .. } => (most, 0),
            Rest::Pool { vfs, queues } => (super::LEVELS, u64::MAX - vfs.min(queues)),
            Rest::Nothing => (usize::MAX, 0),
        };
        let fitting = (0..adapters.len()).filter(|i| adapters[*i].rest().places(level) > 0);
        let Some(best) = fitting.min_by_key(|i| rank(&adapters[*i])).or_else(|| {
            (!adapters.is_empty()).then_some(0)
        }) else {
            break;
        };
        adapters[best].give(level);
        chosen.push(best as u32);
    }
    chosen
}
