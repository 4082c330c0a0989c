//! Admitted or refused, and why.

use accelnet_model::{Code, Performance, Problem};

use super::{
    Capacity, LEVELS, PerLevel,
    budget::Budget,
    criteria::Counts,
    model::{Refusal, Vm},
    position,
};

/// Nodes named in a reason; a counterexample names them all.
const NODES_SHOWN: usize = 8;

/// A VM that is not there: its name, level and number of NICs.
type Asked<'a> = (&'a str, (Performance, u32));

/// Whether everything fits, whichever nodes go down.
enum Verdict {
    Fits,
    /// Not if these nodes are down. `proved` is false if it could not be decided.
    Not {
        lost: Vec<u32>,
        proved: bool,
    },
    /// This node gives out more than it has.
    Overdrawn(u32),
}

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
        if let Some(refusal) = self.refused_at_once(&vm) {
            return Err(refusal);
        }
        let name = vm.name.clone();
        let key = (vm.level, vm.nics);
        let is_off = vm.node.is_none() && vm.adapters.is_none() && vm.nics > 0;
        if is_off
            && !self.vms.contains_key(&name)
            && let Some((lost, proved)) = self.refused.get(&key).cloned()
        {
            let verdict = Verdict::Not { lost, proved };
            return Err(self.refusal(&verdict, Some((&name, key))));
        }
        self.put(vm).map_err(|problem| without_set(&problem))?;
        let verdict = self.settled_verdict(budget);
        if matches!(verdict, Verdict::Fits) {
            return Ok(());
        }
        self.take_out(&name);
        if let (true, Verdict::Not { lost, proved }) = (is_off, &verdict) {
            self.refused.insert(key, (lost.clone(), *proved));
        }
        Err(self.refusal(&verdict, Some((&name, key))))
    }

    /// Whether the VM would be admitted; nothing changes.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn would_admit(&mut self, vm: Vm) -> Result<(), Refusal> {
        self.would_admit_within(vm, &mut Budget::of_a_decision())
    }

    pub(super) fn would_admit_within(
        &mut self,
        vm: Vm,
        budget: &mut Budget,
    ) -> Result<(), Refusal> {
        let name = vm.name.clone();
        self.admit_within(vm, budget)?;
        self.take_out(&name);
        Ok(())
    }

    /// Whether the reserve is kept: every VM has room whichever nodes go down.
    ///
    /// # Errors
    /// Why not, with nodes whose loss would leave VMs without room.
    pub fn holds(&self) -> Result<(), Refusal> {
        let budget = &mut Budget::of_a_decision();
        let verdict = match self.is_stale() && !self.is_sufficient() {
            true => self.clone().settled_verdict(budget),
            false => self.verdict(budget),
        };
        match verdict {
            Verdict::Fits => Ok(()),
            verdict => Err(self.refusal(&verdict, None)),
        }
    }

    /// How many more VMs with one NIC of this level could be admitted, one after the other.
    pub fn fits_more(&mut self, level: Performance) -> u64 {
        self.fits_more_within(level, &mut Budget::of_a_question())
    }

    pub(super) fn fits_more_within(&mut self, level: Performance, budget: &mut Budget) -> u64 {
        if self.down().len() > self.tolerated {
            return 0;
        }
        let which = position(level);
        let up = self.nodes.iter().filter(|node| !node.down);
        let adapters = up.flat_map(|node| &node.adapters);
        let all: u64 = adapters
            .map(|adapter| adapter.whole().places(which, self.costs))
            .sum();
        // With one VM more the others still fit, so the answers are "yes" up to a number and "no" after.
        let (mut fitting, mut not) = (0, all + 1);
        if !self.fits_with(level, 0, budget) {
            return 0;
        }
        while not - fitting > 1 {
            let middle = fitting + (not - fitting) / 2;
            if self.fits_with(level, middle, budget) {
                fitting = middle;
            } else {
                not = middle;
            }
        }
        fitting
    }

    /// Whether the reserve is kept, without the reason why not.
    pub(super) fn fits(&mut self, budget: &mut Budget) -> bool {
        matches!(self.settled_verdict(budget), Verdict::Fits)
    }

    fn fits_with(&mut self, level: Performance, count: u64, budget: &mut Budget) -> bool {
        self.add_off(level, count);
        let fits = self.fits(budget);
        self.remove_off(level, count);
        fits
    }

    /// The verdict, by ledgers that ask for no more than they must if it depends on that.
    fn settled_verdict(&mut self, budget: &mut Budget) -> Verdict {
        if !self.is_sufficient() {
            self.settle();
        }
        self.verdict(budget)
    }

    fn verdict(&self, question: &mut Budget) -> Verdict {
        if self.is_sufficient() {
            return Verdict::Fits;
        }
        let mut share = question.share();
        let budget = &mut share.decision;
        if let Some(number) = self.overdrawn_survivor(budget) {
            return Verdict::Overdrawn(number);
        }
        let proved = |lost| Verdict::Not { lost, proved: true };
        if self.is_exact() {
            return proved(self.weakest());
        }
        if let Some(lost) = self.exceeded() {
            return proved(lost);
        }
        if self.place_everywhere(budget).is_some() {
            return Verdict::Fits;
        }
        // What that has used up is not the search's.
        drop(share);
        let mut share = question.share();
        let budget = &mut share.decision;
        let mut decided = self.decide_exactly(budget);
        if matches!(decided, Some(Ok(()))) && self.unpinned > 0 {
            // Adapters may have been others for each choice of nodes; one VM has the same in all.
            decided = self.decide_pinned(budget);
        }
        match decided {
            Some(Ok(())) => Verdict::Fits,
            Some(Err(lost)) => proved(lost),
            None => Verdict::Not {
                lost: self.weakest(),
                proved: false,
            },
        }
    }

    /// What no look at the other VMs is needed for.
    fn refused_at_once(&self, vm: &Vm) -> Option<Refusal> {
        let level = position(vm.level);
        let mut adapters = self.nodes.iter().flat_map(|node| &node.adapters);
        let cost = self.costs.at(level);
        let able = adapters.any(|state| u64::from(state.adapter.queues.most_per_vf()) >= cost);
        if !able {
            return Some(Refusal {
                code: Code::CannotProvisionPerformance,
                reason: format!(
                    "{} needs {cost} queue pairs a VF, which no adapter can give.",
                    vm.level
                ),
                counterexample: Vec::new(),
            });
        }
        let down = self.down();
        (down.len() > self.tolerated).then(|| Refusal {
            code: Code::ClusterNotEnoughResources,
            reason: format!(
                "{} nodes are down and the reserve tolerates {}; nothing new is admitted until they are \
                 back.",
                down.len(),
                self.tolerated
            ),
            counterexample: self.names(&down),
        })
    }

    fn names(&self, numbers: &[u32]) -> Vec<String> {
        let names = numbers
            .iter()
            .map(|number| self.nodes[*number as usize].name.clone());
        names.collect()
    }

    fn refusal(&self, verdict: &Verdict, vm: Option<Asked<'_>>) -> Refusal {
        let (lost, reason) = match verdict {
            Verdict::Fits => (Vec::new(), String::new()),
            Verdict::Overdrawn(number) => {
                let name = &self.nodes[*number as usize].name;
                let reason = match vm {
                    Some((vm, _)) => format!(
                        "With VM '{vm}', node '{name}' would give out more VFs or queue pairs than it has."
                    ),
                    None => format!(
                        "Node '{name}' gives out more VFs or queue pairs than it has, so there is no \
                         reserve to speak of."
                    ),
                };
                (self.set_without(*number), reason)
            }
            Verdict::Not { lost, proved } => (lost.clone(), self.shortage(lost, *proved, vm)),
        };
        Refusal {
            code: Code::ClusterNotEnoughResources,
            reason,
            counterexample: self.names(&lost),
        }
    }

    /// A set of nodes to lose in which a node is not.
    fn set_without(&self, survivor: u32) -> Vec<u32> {
        let mut lost = self.down();
        let up = |number: &u32| *number != survivor && !self.nodes[*number as usize].down;
        let others = (0..self.nodes.len() as u32).filter(up);
        lost.extend(others.take(self.further()));
        lost.sort_unstable();
        lost
    }

    /// What would have to find room without these nodes, and what room there is.
    fn shortage(&self, lost: &[u32], proved: bool, vm: Option<Asked<'_>>) -> String {
        let mut demand = demand_of(&self.off);
        if let Some((_, (level, nics))) = vm {
            demand[position(level)] += u64::from(nics);
        }
        let mut places = self.places;
        for number in lost {
            let node = &self.nodes[*number as usize];
            demand = std::array::from_fn(|level| demand[level] + node.demand[level]);
            places = std::array::from_fn(|level| places[level] - node.places[level]);
        }
        let with = match vm {
            Some((vm, _)) => format!("With VM '{vm}', "),
            None => String::new(),
        };
        let (shown, more) = lost.split_at(lost.len().min(NODES_SHOWN));
        let shown = self.names(shown).join(", ");
        let down = match (shown.is_empty(), more.len()) {
            (true, _) => "with no node down".to_owned(),
            (false, 0) => format!("if {shown} were down"),
            (false, more) => format!("if {shown} and {more} more were down"),
        };
        let one = demand.iter().sum::<u64>() == 1;
        let (what, need) = match one {
            true => ("the NIC", "it needs"),
            false => ("the NICs", "they need"),
        };
        let verb = match (proved, one) {
            (true, true) => "does not fit",
            (true, false) => "do not fit",
            (false, _) => "cannot be shown to fit",
        };
        let text = format!(
            "{with}{down}, {what} to be placed {verb} on the other nodes: {need} {}; there is room for {}, \
             each level alone.",
            in_words(demand),
            in_words(places)
        );
        let mut letters = text.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect()
    }
}

fn demand_of(counts: &Counts) -> PerLevel<u64> {
    let mut demand = [0; LEVELS];
    for ((level, nics), count) in counts {
        demand[position(*level)] += u64::from(*nics) * count;
    }
    demand
}

fn in_words(nics: PerLevel<u64>) -> String {
    let levels = Performance::ALL.into_iter().zip(nics);
    let words: Vec<String> = levels
        .map(|(level, count)| format!("{count} {level}"))
        .collect();
    words.join(", ")
}

fn without_set(problem: &Problem) -> Refusal {
    Refusal {
        code: problem.code,
        reason: problem.detail.clone(),
        counterexample: Vec::new(),
    }
}
