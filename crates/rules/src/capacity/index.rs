//! The cluster with all its admitted VMs, and its inequalities kept up to date.
//!
//! Invariants: a node's counters are the sum over the VMs on it; the values of every criterion are
//! those of the node's present supply and load; a VM that was refused leaves no trace.

use std::collections::{BTreeMap, BTreeSet};

use accelnet_model::{Code, Performance, Problem};

use super::{
    LEVELS, PerLevel,
    bound::Known,
    bounds_kept::{Bound, Pools},
    budget::Budget,
    criteria::{Counts, Criterion, Sorts},
    ledger::Ledger,
    levels::LevelCosts,
    model::{Node, Reserve, Vm},
    position,
    region::Region,
    sizes::Size,
    state::{AdapterState, NodeState, VmState},
    supply::{Supply, View},
};

/// A cluster's capacity, the VMs admitted to it, and the reserve it keeps.
#[derive(Debug, Clone)]
pub struct Capacity {
    pub(super) tolerated: usize,
    /// What levels cost.
    pub(super) costs: LevelCosts,
    pub(super) nodes: Vec<NodeState>,
    /// Nodes that are down now.
    down: BTreeSet<u32>,
    node_numbers: BTreeMap<String, u32>,
    pub(super) vms: BTreeMap<String, VmState>,
    pub(super) off: Counts,
    all: Counts,
    /// Sizes of VM for which there are ledgers …
    sizes: BTreeSet<Size>,
    /// … and the most NICs of any VM, as they know it.
    most_nics: u32,
    /// The highest level (position) of any VM, as the ledgers know it.
    highest: usize,
    ledgers: Vec<(View, Vec<Ledger>)>,
    /// Bounds, where the ledgers are not exact whatever VMs come; else none.
    pub(super) bounds: Vec<Bound>,
    pools: Pools,
    /// Sum of the nodes' `places`.
    pub(super) places: PerLevel<u64>,
    overdrawn: BTreeSet<u32>,
    /// VMs of a level and number of NICs that were refused while they were off, with the nodes whose
    /// loss there is no room for, and whether that is proved. More VMs make no more room, so it is
    /// true until a VM goes, or nodes or reserve change.
    pub(super) refused: BTreeMap<(Performance, u32), (Vec<u32>, bool)>,
    /// VMs that run and of which the adapters are not known.
    pub(super) unpinned: u64,
}

fn invalid(text: String) -> Problem {
    Problem::new(Code::InvalidArgument, text)
}

impl Capacity {
    /// A cluster without VMs, in which levels cost what they do by default.
    ///
    /// # Errors
    /// `invalid_argument` if a node's or, on a node, an adapter's name occurs twice.
    pub fn new(nodes: Vec<Node>, reserve: Reserve) -> Result<Self, Problem> {
        Self::with_costs(nodes, reserve, LevelCosts::default())
    }

    /// A cluster without VMs, in which levels cost so much.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_costs(
        nodes: Vec<Node>,
        reserve: Reserve,
        costs: LevelCosts,
    ) -> Result<Self, Problem> {
        let mut node_numbers = BTreeMap::new();
        let mut states = Vec::with_capacity(nodes.len());
        for (number, node) in nodes.into_iter().enumerate() {
            if node_numbers
                .insert(node.name.clone(), number as u32)
                .is_some()
            {
                return Err(invalid(format!("Node '{}' is there twice.", node.name)));
            }
            check_adapters(&node)?;
            states.push(NodeState::new(node, costs));
        }
        let mut capacity = Self {
            tolerated: reserve.nodes_down(states.len()),
            costs,
            down: (0..states.len() as u32)
                .filter(|number| states[*number as usize].down)
                .collect(),
            nodes: states,
            node_numbers,
            vms: BTreeMap::new(),
            off: Counts::new(),
            all: Counts::new(),
            sizes: BTreeSet::from([Size::of(1)]),
            most_nics: 1,
            highest: 0,
            ledgers: Vec::new(),
            bounds: Vec::new(),
            pools: Pools::new(costs),
            places: [0; LEVELS],
            overdrawn: BTreeSet::new(),
            refused: BTreeMap::new(),
            unpinned: 0,
        };
        capacity.rebuild();
        Ok(capacity)
    }

    /// How many nodes may be down at once.
    pub fn nodes_down_tolerated(&self) -> usize {
        self.tolerated
    }

    /// Keeps another reserve from now on, whether it can be kept or not.
    pub(super) fn set_reserve(&mut self, reserve: Reserve) {
        self.tolerated = reserve.nodes_down(self.nodes.len());
        self.refused.clear();
        self.rebuild();
    }

    /// Nodes that are down now.
    pub(super) fn down(&self) -> Vec<u32> {
        self.down.iter().copied().collect()
    }

    /// How many nodes besides those that are down may go down.
    pub(super) fn further(&self) -> usize {
        self.tolerated.saturating_sub(self.down.len())
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
                node.unpinned += u32::from(vm.adapters.is_none());
                self.unpinned += u64::from(vm.adapters.is_none());
                node.demand[position(vm.level)] += u64::from(vm.nics);
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
        let vm = self.take_out(name)?;
        self.refused.clear();
        self.settle();
        Some(vm)
    }

    /// The same for a VM that was put in for a question only. Ledgers may know sizes and levels of VM
    /// that are no more, until [`Self::settle`].
    pub(super) fn take_out(&mut self, name: &str) -> Option<Vm> {
        let VmState { vm, place } = self.vms.remove(name)?;
        let key = (vm.level, vm.nics);
        decrease(&mut self.all, key, 1);
        let node = place.as_ref().map(|(node, _)| *node);
        match place {
            None => decrease(&mut self.off, key, 1),
            Some((number, adapters)) => {
                let node = &mut self.nodes[number as usize];
                for adapter in adapters {
                    node.adapters[adapter as usize].take_back(position(vm.level));
                }
                node.unpinned -= u32::from(vm.adapters.is_none());
                self.unpinned -= u64::from(vm.adapters.is_none());
                node.demand[position(vm.level)] -= u64::from(vm.nics);
                decrease(&mut node.counts, key, 1);
                node.vms.remove(name);
            }
        }
        self.changed(node, key.1);
        Some(vm)
    }

    /// Counts VMs with one NIC that are off, without names; for questions only.
    pub(super) fn add_off(&mut self, level: Performance, count: u64) {
        if count > 0 {
            *self.all.entry((level, 1)).or_default() += count;
            *self.off.entry((level, 1)).or_default() += count;
        }
        self.changed(None, 1);
    }

    /// Takes back what [`Self::add_off`] counted.
    pub(super) fn remove_off(&mut self, level: Performance, count: u64) {
        decrease(&mut self.all, (level, 1), count);
        decrease(&mut self.off, (level, 1), count);
        self.changed(None, 1);
    }

    /// A node went down or came back.
    ///
    /// # Errors
    /// `invalid_argument` if there is no such node.
    pub fn set_down(&mut self, node: &str, down: bool) -> Result<(), Problem> {
        let number = self.node_number(node)?;
        if self.mark_down(number, down) {
            self.refused.clear();
            self.rebuild();
        }
        Ok(())
    }

    /// Whether that is something new; all ledgers have to be made anew then.
    pub(super) fn mark_down(&mut self, number: u32, down: bool) -> bool {
        self.nodes[number as usize].down = down;
        if down {
            self.down.insert(number)
        } else {
            self.down.remove(&number)
        }
    }

    pub(super) fn node_number(&self, name: &str) -> Result<u32, Problem> {
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
            // Chosen as soon as it is there.
            return Ok(Some((number, Vec::new())));
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

    /// The highest level (position) of any VM; the lowest if there are none.
    fn highest_level(&self) -> usize {
        let last = self.all.last_key_value();
        last.map_or(0, |((level, _), _)| position(*level))
    }

    fn most_nics_now(&self) -> u32 {
        self.all.keys().map(|(_, nics)| *nics).max().unwrap_or(1)
    }

    /// A VM with `nics` NICs came or went, on a node or on none.
    fn changed(&mut self, node: Option<u32>, nics: u32) {
        if let Some(number) = node {
            let node = &mut self.nodes[number as usize];
            node.choose_adapters(&mut self.vms);
            if node.seems_overdrawn() {
                self.overdrawn.insert(number);
            } else {
                self.overdrawn.remove(&number);
            }
        }
        // Ledgers that know more than there is ask for more than they must, never for less.
        let known = self.sizes.contains(&Size::of(nics))
            && self.most_nics >= self.most_nics_now()
            && self.highest >= self.highest_level();
        if !known {
            self.rebuild();
            return;
        }
        if let Some(number) = node {
            self.refresh(number);
        }
    }

    /// Ledgers know sizes or levels of VM that there are none of.
    pub(super) fn is_stale(&self) -> bool {
        self.highest != self.highest_level()
            || self.most_nics != self.most_nics_now()
            || self.sizes != self.sizes_now()
    }

    /// Ledgers know what there is and nothing else.
    pub(super) fn settle(&mut self) {
        if self.is_stale() {
            self.rebuild();
        }
    }

    /// Sizes of VM that there are, and VMs with one NIC, which may always come.
    fn sizes_now(&self) -> BTreeSet<Size> {
        let sizes = self.all.keys().map(|(_, nics)| Size::of(*nics));
        sizes.chain([Size::of(1)]).collect()
    }

    /// Brings one node's values up to date in all ledgers.
    pub(super) fn refresh(&mut self, number: u32) {
        if !self.bounds.is_empty() {
            let known = self.known(number);
            let node = &self.nodes[number as usize];
            for bound in &mut self.bounds {
                bound.refresh(number, node.down, &known, &node.counts, &mut self.pools);
            }
        }
        let node = &mut self.nodes[number as usize];
        for level in 0..LEVELS {
            let places = node.adapters.iter().map(|state| state.places(level)).sum();
            let before = std::mem::replace(&mut node.places[level], places);
            self.places[level] = self.places[level] - before + places;
        }
        for (view, ledgers) in &mut self.ledgers {
            let supply = Supply::of(
                node.adapters.iter().map(AdapterState::rest),
                *view,
                self.costs,
            );
            for ledger in ledgers {
                let new = (
                    ledger.criterion.supply(&supply),
                    ledger.criterion.demand(&node.counts),
                );
                ledger.balance.set(number, node.down, new);
            }
        }
    }

    /// Makes all ledgers anew: the numbers of NICs that occur, or the nodes that are down, changed.
    pub(super) fn rebuild(&mut self) {
        self.sizes = self.sizes_now();
        self.most_nics = self.most_nics_now();
        let most_nics = self.most_nics;
        self.highest = self.highest_level();
        let adapters = || self.nodes.iter().flat_map(|node| &node.adapters);
        let rests = || adapters().map(AdapterState::whole);
        let both = rests().any(|rest| rest.is_both(self.costs));
        let views = if both {
            &View::ALL[..]
        } else {
            &View::ALL[..1]
        };
        let k = self.further();
        let count = self.nodes.len();
        let mut all = Vec::with_capacity(views.len());
        for view in views {
            let whole = Supply::of(rests(), *view, self.costs);
            let sorts = Sorts {
                // A pool in which both can run out may become either.
                slots: both || whole.slots != [0; LEVELS],
                pools: both || whole.pool_places != [0; LEVELS],
                most_nics,
                levels_alike: !both
                    && whole.pool_places == [0; LEVELS]
                    && whole.slots[..self.highest] == [0; LEVELS][..self.highest],
                costs: self.costs,
            };
            let criteria = Criterion::all(&self.sizes, sorts).into_iter();
            let ledgers = criteria.map(|criterion| Ledger::new(criterion, count, k));
            let ledgers = ledgers.collect();
            all.push((*view, ledgers));
        }
        self.ledgers = all;
        self.bounds = if both || most_nics > 1 {
            Bound::all(self.costs, self.sizes(), count, k)
        } else {
            Vec::new()
        };
        for number in 0..count as u32 {
            self.refresh(number);
        }
    }

    /// True if the inequalities show that everything fits, whichever nodes go down.
    pub(super) fn is_sufficient(&self) -> bool {
        !self.may_be_overdrawn()
            && self.ledgers.iter().any(|(_, ledgers)| {
                ledgers
                    .iter()
                    .all(|ledger| ledger.holds(&self.all, &self.off))
            })
    }

    /// A node that gives out more than it has, or seems to, and may survive.
    pub(super) fn may_be_overdrawn(&self) -> bool {
        let mut overdrawn = self.overdrawn.iter();
        overdrawn.any(|number| !self.nodes[*number as usize].down)
    }

    /// A node that gives out more than it has, however adapters that are not known are chosen, and may
    /// survive.
    pub(super) fn overdrawn_survivor(&self, budget: &mut Budget) -> Option<u32> {
        let mut overdrawn = self.overdrawn.iter().copied();
        overdrawn.find(|number| {
            let node = &self.nodes[*number as usize];
            let known = self.known(*number);
            let mut too_small = |known: &Known| {
                let region = Region::of(&known.rests, self.costs, budget);
                region.is_some_and(|region| !region.fits(known.unpinned))
            };
            !node.down && (known.overdrawn || too_small(&known))
        })
    }

    /// Numbers of NICs of VMs, the least of each class.
    pub(super) fn sizes(&self) -> impl Iterator<Item = u64> {
        self.sizes.iter().map(|size| u64::from(size.least))
    }

    /// True if for VMs like these the inequalities decide exactly: one NIC each, adapters known, and no
    /// adapter of which VFs and queue pairs can both run out.
    pub(super) fn is_exact(&self) -> bool {
        self.ledgers.len() == 1 && self.most_nics == 1 && self.unpinned == 0
    }

    /// The nodes to lose of the first inequality that does not hold, in the first view: those that are
    /// down and those that weigh most.
    pub(super) fn weakest(&self) -> Vec<u32> {
        let ledgers = self.ledgers.first().map(|(_, ledgers)| ledgers);
        let mut failing = ledgers
            .into_iter()
            .flatten()
            .filter(|ledger| !ledger.holds(&self.all, &self.off));
        let heaviest = failing.next().into_iter();
        self.with_down(heaviest.flat_map(|ledger| ledger.balance.top.numbers()))
    }

    /// These nodes and those that are down.
    pub(super) fn with_down(&self, others: impl Iterator<Item = u32>) -> Vec<u32> {
        // Thousands of them, in the order of the nodes: marking is quicker than sorting.
        let mut lost = vec![false; self.nodes.len()];
        for number in others.chain(self.down.iter().copied()) {
            lost[number as usize] = true;
        }
        let numbers = (0..lost.len() as u32).filter(|number| lost[*number as usize]);
        numbers.collect()
    }
}

/// A node's adapters have names of their own.
pub(super) fn check_adapters(node: &Node) -> Result<(), Problem> {
    let names = node.adapters.iter().map(|adapter| adapter.name.as_str());
    if names.collect::<BTreeSet<_>>().len() < node.adapters.len() {
        return Err(invalid(format!(
            "Node '{}' has two adapters of the same name.",
            node.name
        )));
    }
    Ok(())
}

fn decrease(counts: &mut Counts, key: (Performance, u32), by: u64) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= by;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
