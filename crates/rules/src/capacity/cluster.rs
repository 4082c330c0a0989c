//! The cluster with all its admitted VMs.
//!
//! Invariants: what a node carries is the sum over the VMs on it; the sums are those of the nodes as
//! they are, of the shape that the VMs have; nothing but what is admitted or put is ever in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use accelnet_model::{Code, Problem};

use super::{
    criteria::Counts,
    levels::LevelCosts,
    makeup::{Census, Makeup},
    model::{Node, Reserve, Vm},
    node::{Kind, NodeState, decrease, increase},
    sums::{Shape, Sums},
};

/// A cluster's capacity, the VMs admitted to it, and the reserve it keeps.
#[derive(Debug, Clone)]
pub struct Capacity {
    pub(super) tolerated: usize,
    /// What levels cost.
    pub(super) costs: LevelCosts,
    pub(super) nodes: Vec<NodeState>,
    /// VMs that run on each.
    on: Vec<Vec<Arc<str>>>,
    node_numbers: BTreeMap<Arc<str>, u32>,
    /// Nodes that are down now.
    pub(super) down: BTreeSet<u32>,
    pub(super) vms: BTreeMap<Arc<str>, VmState>,
    /// How many VMs there are, and how many of them are off.
    pub(super) all: Counts,
    pub(super) off: Counts,
    pub(super) census: Census,
    pub(super) sums: Sums,
}

/// A VM as it is kept.
#[derive(Debug, Clone)]
pub(super) struct VmState {
    pub(super) kind: Kind,
    /// `None` if it is off.
    pub(super) place: Option<Place>,
}

/// Where a VM runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: u32,
    /// Adapter of each NIC, if they are known.
    pub(super) adapters: Option<Box<[u32]>>,
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
            check_adapters(&node)?;
            let node = NodeState::new(node);
            if node_numbers
                .insert(node.name.clone(), number as u32)
                .is_some()
            {
                return Err(invalid(format!("Node '{}' is there twice.", node.name)));
            }
            states.push(node);
        }
        let tolerated = reserve.nodes_down(states.len());
        let down = (0..states.len() as u32).filter(|number| states[*number as usize].down);
        let down: BTreeSet<u32> = down.collect();
        let mut census = Census::default();
        states
            .iter()
            .for_each(|node| census.add(Makeup::of(node, costs)));
        let shape = Shape::of(&Counts::new(), tolerated.saturating_sub(down.len()));
        Ok(Self {
            tolerated,
            costs,
            on: vec![Vec::new(); states.len()],
            node_numbers,
            down,
            vms: BTreeMap::new(),
            all: Counts::new(),
            off: Counts::new(),
            sums: Sums::of(shape, census.all(), costs, states.iter()),
            census,
            nodes: states,
        })
    }

    /// How many nodes may be down at once.
    pub fn nodes_down_tolerated(&self) -> usize {
        self.tolerated
    }

    /// A VM as it is known.
    pub fn vm(&self, name: &str) -> Option<Vm> {
        let (name, vm) = self.vms.get_key_value(name)?;
        let place = vm.place.as_ref();
        let place = place.map(|place| (&self.nodes[place.node as usize], &place.adapters));
        let adapters = place.and_then(|(node, adapters)| Some(node.names_of(adapters.as_ref()?)));
        Some(Vm {
            name: name.to_string(),
            level: vm.kind.0,
            nics: vm.kind.1,
            node: place.map(|(node, _)| node.name.to_string()),
            adapters,
        })
    }

    /// Takes a VM as it is, admitted long ago, whether there is room for it or not.
    ///
    /// # Errors
    /// `invalid_argument` if it cannot be: its name is taken, it has no NIC, or node or adapters do
    /// not exist.
    pub fn put(&mut self, vm: Vm) -> Result<(), Problem> {
        let node = self.add(vm)?;
        self.update(node, false);
        Ok(())
    }

    /// Forgets a VM. Returns it, if it was there.
    pub fn remove(&mut self, name: &str) -> Option<Vm> {
        let vm = self.vm(name)?;
        let node = self.take_out(name);
        self.update(node, false);
        Some(vm)
    }

    /// A node went down or came back.
    ///
    /// # Errors
    /// `invalid_argument` if there is no such node.
    pub fn set_down(&mut self, node: &str, down: bool) -> Result<(), Problem> {
        let number = self.node_number(node)?;
        let anew = self.mark_down(number, down);
        self.update(None, anew);
        Ok(())
    }

    /// Nodes that are something else now, and VMs: each as it is, or `None` if it is no more. Whether
    /// there is room for them is not asked. It is the same as if the cluster were made anew, in a time
    /// that depends on what changed.
    ///
    /// # Errors
    /// `invalid_argument` if it cannot be: as with [`Self::put`], and if a node is not known. Then it
    /// is unknown what has changed.
    pub fn change(
        &mut self,
        nodes: Vec<Node>,
        vms: BTreeMap<String, Option<Vm>>,
    ) -> Result<(), Problem> {
        let mut touched = BTreeSet::new();
        for name in vms.keys() {
            touched.extend(self.take_out(name));
        }
        let mut back: Vec<Vm> = vms.into_values().flatten().collect();
        let (before, mut anew) = (self.census.all(), false);
        for node in nodes {
            let number = self.node_number(&node.name)?;
            check_adapters(&node)?;
            anew |= self.mark_down(number, node.down);
            if !self.nodes[number as usize].has(&node.adapters) {
                for name in self.on[number as usize].clone() {
                    back.extend(self.vm(&name));
                    self.take_out(&name);
                }
                let state = &mut self.nodes[number as usize];
                self.census.remove(Makeup::of(state, self.costs));
                state.set_adapters(node.adapters);
                self.census.add(Makeup::of(state, self.costs));
                touched.insert(number);
            }
        }
        for vm in back {
            touched.extend(self.add(vm)?);
        }
        self.update(touched, anew || self.census.all() != before);
        Ok(())
    }

    /// One VM more, without what follows from it. Returns the node that it is on.
    fn add(&mut self, vm: Vm) -> Result<Option<u32>, Problem> {
        self.is_new(&vm.name)?;
        let (kind, place) = ((vm.level, vm.nics), self.place(&vm)?);
        let name: Arc<str> = vm.name.into();
        increase(&mut self.all, kind, 1);
        match &place {
            None => increase(&mut self.off, kind, 1),
            Some(Place { node, adapters }) => {
                self.nodes[*node as usize].add(kind, adapters.as_deref(), self.costs);
                self.on[*node as usize].push(name.clone());
            }
        }
        let node = place.as_ref().map(|place| place.node);
        self.vms.insert(name, VmState { kind, place });
        Ok(node)
    }

    pub(super) fn is_new(&self, vm: &str) -> Result<(), Problem> {
        match self.vms.contains_key(vm) {
            true => Err(invalid(format!("VM '{vm}' is there twice."))),
            false => Ok(()),
        }
    }

    /// One less, without what follows from it. Returns the node that it was on.
    fn take_out(&mut self, name: &str) -> Option<u32> {
        let VmState { kind, place } = self.vms.remove(name)?;
        decrease(&mut self.all, kind, 1);
        let Some(Place { node, adapters }) = place else {
            decrease(&mut self.off, kind, 1);
            return None;
        };
        self.nodes[node as usize].take_out(kind, adapters.as_deref(), self.costs);
        self.on[node as usize].retain(|other| **other != *name);
        Some(node)
    }

    /// Whether that is something new; all sums have to be made anew then.
    fn mark_down(&mut self, number: u32, down: bool) -> bool {
        self.nodes[number as usize].down = down;
        match down {
            true => self.down.insert(number),
            false => self.down.remove(&number),
        }
    }

    /// Brings the sums up to date after these nodes changed; all of them anew if their shape changed,
    /// or `anew`.
    fn update(&mut self, nodes: impl IntoIterator<Item = u32>, anew: bool) {
        let shape = Shape::of(&self.all, self.tolerated.saturating_sub(self.down.len()));
        if anew || self.sums.shape != shape {
            self.sums = Sums::of(shape, self.census.all(), self.costs, self.nodes.iter());
            return;
        }
        for number in nodes {
            self.sums.refresh(number, &self.nodes[number as usize]);
        }
    }

    pub(super) fn node_number(&self, name: &str) -> Result<u32, Problem> {
        let number = self.node_numbers.get(name).copied();
        number.ok_or_else(|| invalid(format!("There is no node '{name}'.")))
    }

    /// Where the VM is: node and adapter of each NIC.
    pub(super) fn place(&self, vm: &Vm) -> Result<Option<Place>, Problem> {
        let name = &vm.name;
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
            let (node, adapters) = (number, None);
            return Ok(Some(Place { node, adapters }));
        };
        if adapters.len() != vm.nics as usize {
            return Err(invalid(format!(
                "VM '{name}' has {} NICs, but {} adapters.",
                vm.nics,
                adapters.len()
            )));
        }
        let find = |adapter: &String| {
            let found = node.adapter_names.iter().position(|name| name == adapter);
            let missing = || invalid(format!("Node '{}' has no adapter '{adapter}'.", node.name));
            found.map(|found| found as u32).ok_or_else(missing)
        };
        let found: Result<Box<[u32]>, Problem> = adapters.iter().map(find).collect();
        let (node, adapters) = (number, Some(found?));
        Ok(Some(Place { node, adapters }))
    }
}

/// A node's adapters have names of their own.
fn check_adapters(node: &Node) -> Result<(), Problem> {
    let names = node.adapters.iter().map(|adapter| adapter.name.as_str());
    if names.collect::<BTreeSet<_>>().len() < node.adapters.len() {
        return Err(invalid(format!(
            "Node '{}' has two adapters of the same name.",
            node.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
