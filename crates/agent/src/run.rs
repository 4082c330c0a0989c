//! The loop: observe, plan, apply, report.

mod messages;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use accelnet_host::Host;
use accelnet_hypervisor::Hypervisor;
use accelnet_model::{Code, NodeStatus, Problem, Progress};
use accelnet_rules::{
    Observed,
    attach::{ATTACH, DETACH},
    plan::{Action, Plan, Switch, plan},
    profile,
};
use uuid::Uuid;

use crate::{
    Config, Message, apply,
    ledger::{AdapterEntry, Ledger},
    memory::{Busy, Memory},
    observe::observe,
    repairs,
    report::{self, Convergence},
    watches::Watches,
    worker::{LIMIT, Workers, progress_of},
};

/// What was seen this long ago is seen again by looking. A look itself takes as long on a slow machine.
const STILL_FRESH: Duration = Duration::from_secs(1);
/// One pass does its work in rounds: what is created in one is used in the next.
const ROUNDS: u32 = 5;

/// The loop's state.
pub struct Loop {
    config: Config,
    host: Arc<dyn Host>,
    hypervisor: Arc<dyn Hypervisor>,
    messages: mpsc::Sender<Message>,
    report: Box<dyn FnMut(NodeStatus) + Send>,
    ledger: Ledger,
    ledger_problem: Option<Problem>,
    memory: Memory,
    progress: BTreeMap<Uuid, Arc<Mutex<Progress>>>,
    workers: Workers,
    last: NodeStatus,
    /// When the last look ended, and how long it took.
    looked: (Instant, Duration),
    /// What it saw and when it ended (the host's time), while nothing is known to have changed since.
    /// Whoever asks for a change has had the node looked at a moment ago, to see whether it is possible.
    seen: Option<(Duration, Observed)>,
}

impl Loop {
    pub fn new(
        config: Config,
        host: Arc<dyn Host>,
        hypervisor: Arc<dyn Hypervisor>,
        messages: mpsc::Sender<Message>,
        report: Box<dyn FnMut(NodeStatus) + Send>,
    ) -> Self {
        let (ledger, ledger_problem) = match Ledger::load(&config.state_dir) {
            Ok(ledger) => (ledger, None),
            Err(error) => {
                let problem = Problem::new(Code::StoreFailed, format!("{error}."));
                (Ledger::default(), Some(problem))
            }
        };
        Self {
            config,
            host,
            hypervisor,
            messages,
            report,
            ledger,
            ledger_problem,
            memory: Memory::default(),
            progress: BTreeMap::new(),
            workers: Workers::default(),
            last: NodeStatus::default(),
            looked: (Instant::now(), Duration::ZERO),
            seen: None,
        }
    }

    pub fn run(mut self, inbox: &mpsc::Receiver<Message>) {
        // Ended and joined when the loop ends, however it does.
        let _watches = Watches::start(&*self.host, &*self.hypervisor, &self.messages);
        let mut waiting: Vec<mpsc::Sender<NodeStatus>> = Vec::new();
        loop {
            let begun = Instant::now();
            let status = self.pass();
            self.looked = (Instant::now(), begun.elapsed());
            self.publish(status);
            for answer in waiting.drain(..) {
                let _ = answer.send(self.last.clone());
            }
            if !self.wait(inbox, &mut waiting) {
                break;
            }
        }
        self.workers.join();
    }

    fn save(&mut self) {
        self.ledger_problem = self.ledger.save(&self.config.state_dir).err().map(|error| {
            Problem::new(
                Code::StoreFailed,
                format!("The ledger cannot be written: {error}."),
            )
        });
    }

    fn publish(&mut self, mut status: NodeStatus) {
        status.sequence = self.last.sequence;
        if status != self.last {
            status.sequence += 1;
            (self.report)(status.clone());
            self.last = status;
        }
    }

    /// Observes and acts until nothing is left to do but what runs in threads or has to rest.
    fn pass(&mut self) -> NodeStatus {
        let mut round = 0;
        loop {
            round += 1;
            let mut problems: Vec<Problem> = self.ledger_problem.clone().into_iter().collect();
            let now = self.host.now();
            let seen = self.seen.take();
            let seen = seen.filter(|(at, _)| now.saturating_sub(*at) < STILL_FRESH);
            let first_look = round == 1 && seen.is_none();
            let mut observed = seen.map(|(_, observed)| observed).unwrap_or_else(|| {
                observe(
                    &*self.host,
                    &*self.hypervisor,
                    &self.ledger.desired,
                    &mut problems,
                )
            });
            self.ledger.vectors.fill(&mut observed);
            self.count_taps(&observed, first_look);
            self.remember_adapters(&observed);
            if self.ledger.remember_crowded(&observed) {
                self.save();
            }
            // What could not be seen is not gone.
            if problems.is_empty() && self.ledger.remember_bridges(&observed) {
                self.save();
            }
            let all_seen = problems.is_empty() && self.memory.busy.is_empty();
            if all_seen && self.ledger.forget_gone(&observed) {
                self.save();
            }
            let now = self.host.now();
            let plan = plan(
                &observed,
                &self.ledger.desired,
                &self.memory.for_plan(&self.ledger, now),
            );
            self.memory.forget_failures(now, &tried(&plan));
            self.memory.forget_staged(&observed);
            let (switches, actions): (Vec<&Action>, Vec<&Action>) = plan
                .actions
                .iter()
                .partition(|action| matches!(action, Action::Switch(_)));
            self.memory.action_problems.clear();
            self.memory.repairs.forget(now, &plan.actions);
            let outcome = self.act(&actions, &observed);
            match outcome {
                // On a path that is in order.
                Outcome::Nothing | Outcome::FailedForOne => self.begin(&switches, &observed),
                // The way back is always open: it does what it needs itself.
                Outcome::Failed => self.begin(&back(switches), &observed),
                Outcome::Done => {}
            }
            let more = outcome == Outcome::Done && round < ROUNDS;
            if !more {
                let resting = self.memory.repairs.problems();
                self.memory.action_problems.extend(resting);
                // Nothing to do now is not done: VMs may rest after a failure.
                let quiet = plan.actions.is_empty() && self.memory.busy.is_empty();
                let rests = !self.memory.failures.is_empty();
                let whole = quiet && problems.is_empty();
                self.seen = whole.then(|| (self.host.now(), observed.clone()));
                let progress = match (quiet, rests) {
                    (false, _) => Convergence::Working,
                    (true, true) => Convergence::Resting,
                    (true, false) => Convergence::Done,
                };
                return self.status(observed, &plan, problems, progress);
            }
        }
    }

    fn status(
        &mut self,
        observed: Observed,
        plan: &Plan,
        problems: Vec<Problem>,
        convergence: Convergence,
    ) -> NodeStatus {
        for (vm, progress) in &self.progress {
            if let Some(busy) = self.memory.busy.get_mut(vm) {
                busy.progress = progress
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
            }
        }
        report::status(
            observed,
            &self.ledger.desired,
            plan,
            &self.memory,
            problems,
            convergence,
        )
    }

    fn count_taps(&mut self, observed: &Observed, first: bool) {
        if first {
            for port in observed.bridges.iter().flat_map(|bridge| &bridge.ports) {
                self.memory.count_tap(&port.ifname, port.rx_packets);
            }
        }
    }

    /// Notes how many VFs to make at the node's next start.
    fn remember_adapters(&mut self, observed: &Observed) {
        let desired = &self.ledger.desired;
        let Some(intent) = desired.enabled_intent() else {
            return;
        };
        let wanted = |adapter| {
            profile::choose_vf_count(adapter, &intent.levels, intent.vfs)
                .ok()
                .map(|plan| plan.count)
        };
        let entries: Vec<AdapterEntry> = observed
            .uplinks(intent)
            .filter_map(|adapter| {
                Some(AdapterEntry {
                    id: adapter.id.clone(),
                    vfs: wanted(adapter)?,
                })
            })
            .filter(|entry| entry.vfs > 0)
            .collect();
        if !entries.is_empty() && entries != self.ledger.adapters {
            self.ledger.adapters = entries;
            self.save();
        }
    }

    /// Does everything but switch-overs.
    fn act(&mut self, actions: &[&Action], observed: &Observed) -> Outcome {
        let noted = actions
            .iter()
            .filter(|action| apply::note(action, &mut self.ledger))
            .count();
        if noted > 0 {
            self.save();
        }
        let mut outcome = if actions.is_empty() {
            Outcome::Nothing
        } else {
            Outcome::Done
        };
        for action in actions {
            let counts = repairs::counts(action, observed);
            let rests = counts && !self.memory.repairs.due(action, self.host.now());
            if !rests {
                tracing::info!(?action, "to do");
            }
            let done = (!rests)
                .then(|| apply::apply(action, &*self.host, &*self.hypervisor, &mut self.memory));
            let failed = match &done {
                None => true,
                Some(done) => done.is_err(),
            };
            if let (Action::VfVectors { vf, vectors }, Some(done)) = (action, &done) {
                let boot_id = &observed.node.boot_id;
                let given = Some(*vectors).filter(|_| done.is_ok());
                self.ledger.vectors.note(boot_id, *vf, given);
                self.save();
            }
            if let Some(done) = &done
                && counts
            {
                let refused = done.as_ref().err();
                self.memory.repairs.note(action, self.host.now(), refused);
            }
            if failed {
                if let Some(Err(problem)) = done {
                    tracing::warn!(?action, %problem, "failed");
                    if !counts && !is_for_vm(action) {
                        self.memory.action_problems.push(problem);
                    }
                }
                outcome = match outcome {
                    Outcome::Failed => Outcome::Failed,
                    _ if apply::is_for_one(action) => Outcome::FailedForOne,
                    _ => Outcome::Failed,
                };
            }
        }
        outcome
    }

    fn begin(&mut self, switches: &[&Action], observed: &Observed) {
        for action in switches {
            let Action::Switch(switch) = action else {
                continue;
            };
            if self.memory.busy.len() >= LIMIT || self.memory.busy.contains_key(&switch.vm) {
                continue;
            }
            if repairs::counts(action, observed) {
                if !self.memory.repairs.due(action, self.host.now()) {
                    continue;
                }
                self.memory.settling.insert(switch.vm, (*action).clone());
            }
            if apply::note(action, &mut self.ledger) {
                self.save();
            }
            self.begin_one(switch);
        }
    }

    fn begin_one(&mut self, switch: &Switch) {
        let steps = if switch.to_vf { ATTACH } else { DETACH };
        let progress = progress_of(switch, steps.len());
        tracing::info!(vm = switch.vm_name, vf = %switch.vf, to_vf = switch.to_vf, "switch-over begins");
        // Whatever becomes of it, the queue is told to pass once more afterwards.
        self.memory.passing.remove(&switch.tap);
        self.memory.busy.insert(
            switch.vm,
            Busy {
                vf: switch.vf,
                vectors: switch.vectors_given(),
                progress: progress.clone(),
            },
        );
        let progress = Arc::new(Mutex::new(progress));
        self.progress.insert(switch.vm, Arc::clone(&progress));
        let (host, hypervisor) = (Arc::clone(&self.host), Arc::clone(&self.hypervisor));
        self.workers.start(
            switch.clone(),
            host,
            hypervisor,
            progress,
            self.messages.clone(),
        );
    }
}

/// What became of a round's actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// There were none.
    Nothing,
    /// All done.
    Done,
    /// Some failed, each of which concerns one VM or VF.
    FailedForOne,
    /// Some failed that concern all.
    Failed,
}

/// Switch-overs back to the tap.
fn back(switches: Vec<&Action>) -> Vec<&Action> {
    let is_back = |action: &&Action| matches!(action, Action::Switch(switch) if !switch.to_vf);
    switches.into_iter().filter(is_back).collect()
}

/// True if it is the VM that rests after a failure, and tells of it.
fn is_for_vm(action: &Action) -> bool {
    matches!(action, Action::Prepare { .. } | Action::AddNic { .. })
}

/// VMs that the plan has something for.
fn tried(plan: &Plan) -> BTreeSet<Uuid> {
    let vms = plan.actions.iter().filter_map(|action| match action {
        Action::Switch(switch) => Some(switch.vm),
        Action::Prepare { vm, .. } | Action::AddNic { vm, .. } => Some(*vm),
        _ => None,
    });
    vms.collect()
}
