//! Admitted or refused, and why.

use accelnet_model::Performance;

use super::{
    Capacity,
    budget::Budget,
    case::Case,
    model::{Refusal, Shortage, Vm},
    position,
};

impl Capacity {
    /// Asks for room for a VM and, if there is, admits it.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn admit(&mut self, vm: Vm) -> Result<(), Refusal> {
        self.admit_within(vm, &mut Budget::of_a_decision())
    }

    /// The same as one of many decisions.
    pub(super) fn admit_within(&mut self, vm: Vm, budget: &mut Budget) -> Result<(), Refusal> {
        self.is_new(&vm.name).map_err(Refusal::Invalid)?;
        self.would_admit_within(&vm, budget)?;
        self.put(vm).map_err(Refusal::Invalid)
    }

    /// Whether the VM would be admitted. One that is known is taken as if it were not there yet.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn would_admit(&self, vm: &Vm) -> Result<(), Refusal> {
        self.would_admit_within(vm, &mut Budget::of_a_decision())
    }

    pub(super) fn would_admit_within(&self, vm: &Vm, budget: &mut Budget) -> Result<(), Refusal> {
        let place = self.place(vm).map_err(Refusal::Invalid)?;
        self.is_open_to(vm.level)?;
        let case = Case::now(self).without(&vm.name);
        case.with((vm.level, vm.nics), place.as_ref())
            .verdict(budget)
    }

    /// Whether the reserve is kept: every VM has room whichever nodes go down.
    ///
    /// # Errors
    /// Why not, with nodes whose loss would leave VMs without room.
    pub fn holds(&self) -> Result<(), Refusal> {
        Case::now(self).verdict(&mut Budget::of_a_decision())
    }

    /// How many more VMs with one NIC of this level could be admitted, one after the other.
    pub fn fits_more(&self, level: Performance) -> u64 {
        self.fits_more_within(level, &mut Budget::of_a_question())
    }

    pub(super) fn fits_more_within(&self, level: Performance, budget: &mut Budget) -> u64 {
        if self.down.len() > self.tolerated || Case::now(self).verdict(budget).is_err() {
            return 0;
        }
        let up = self.nodes.iter().filter(|node| !node.down);
        let rests = up.flat_map(|node| &node.adapters);
        let rests = rests.map(|adapter| adapter.whole(self.costs));
        let all = rests.map(|rest| rest.places(position(level), self.costs));
        let asked = Case::now(self).knowing((level, 1));
        most(all.sum(), |count| {
            let asked = asked.clone().with_off((level, 1), count);
            asked.verdict(budget).is_ok()
        })
    }

    /// What no look at the other VMs is needed for.
    pub(super) fn is_open_to(&self, level: Performance) -> Result<(), Refusal> {
        let queue_pairs = self.costs.of(level);
        let mut adapters = self.nodes.iter().flat_map(|node| &node.adapters);
        if !adapters.any(|state| u64::from(state.queues.most_per_vf()) >= queue_pairs) {
            return Err(Refusal::LevelTooHigh { level, queue_pairs });
        }
        if self.down.len() > self.tolerated {
            return Err(Refusal::TooManyDown {
                down: self.down.iter().copied().collect(),
                tolerated: self.tolerated,
            });
        }
        Ok(())
    }
}

/// The largest number up to `all` that is answered with yes, if the answers are yes up to a number and
/// no after. Of none the answer is yes.
pub(super) fn most(all: u64, mut fits: impl FnMut(u64) -> bool) -> u64 {
    let (mut fitting, mut not) = (0, all + 1);
    while not - fitting > 1 {
        let middle = fitting + (not - fitting) / 2;
        if fits(middle) {
            fitting = middle;
        } else {
            not = middle;
        }
    }
    fitting
}

impl Case<'_> {
    /// Whether everything has room, whichever nodes go down.
    pub(super) fn verdict(self, question: &mut Budget) -> Result<(), Refusal> {
        let (kept, shape) = (&self.sums().shape, self.shape());
        if kept.covers(&shape) && self.is_sufficient() {
            return Ok(());
        }
        let doubtful: Vec<u32> = self.doubtful().collect();
        let is_overdrawn = |number: &&u32| {
            let node = self.node(**number);
            node.assumed(self.costs()).fits == Some(false)
        };
        if let Some(node) = doubtful.iter().filter(is_overdrawn).min().copied() {
            let lost = self.set_without(node);
            return Err(Refusal::Overdrawn { node, lost });
        }
        // Bounds are true whatever they were made for, and making others takes long.
        if kept.further == shape.further
            && let Some(lost) = self.exceeded()
        {
            return Err(self.short(lost, true));
        }
        let case = self.settled();
        if case.is_sufficient() {
            return Ok(());
        }
        if let Some(lost) = case.exceeded() {
            return Err(case.short(lost, true));
        }
        let placed = match doubtful.is_empty() {
            true => question.of_one(|budget| case.fits_everywhere(budget)),
            false => None,
        };
        match placed {
            Some(Ok(())) => Ok(()),
            Some(Err(lost)) => Err(case.short(lost, true)),
            None => Err(case.short(case.weakest(), false)),
        }
    }

    fn short(&self, lost: Vec<u32>, proved: bool) -> Refusal {
        let [demand, places] = self.shortage(&lost);
        Refusal::Short(Shortage {
            lost,
            proved,
            demand,
            places,
        })
    }

    /// A set of nodes to lose in which a node is not.
    fn set_without(&self, survivor: u32) -> Vec<u32> {
        let up = self
            .nodes()
            .filter(|(number, node)| *number != survivor && !node.down);
        let others = up.map(|(number, _)| number).take(self.further());
        self.with_down(others)
    }
}
