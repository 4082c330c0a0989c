//! The loop: observe, plan, apply, report.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use accelnet_host::Host;
use accelnet_hypervisor::Hypervisor;
use accelnet_model::{Code, NodeDesired, NodeStatus, PciAddress, Problem, Progress};
use accelnet_rules::{
    Observed,
    attach::{ATTACH, DETACH, Standing},
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
    worker::{Finished, LIMIT, Workers, progress_of},
};

/// What no event tells of (a guest that lets go of its VF, somebody's change of a VF's attributes) is
/// found at the latest after this, while acceleration is enabled.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Without acceleration nothing is watched but the facts for `status` and `prereq`.
const LOOK_EVERY_IDLE: Duration = Duration::from_secs(60);
/// Events that come in bursts (a VM's start makes dozens) are taken together.
const BURST: Duration = Duration::from_millis(150);
/// Where events never end, they are not waited for longer than this.
const LONGEST_BURST: Duration = Duration::from_secs(2);
/// While switch-overs go on, which cause most events then themselves, a look at everything rests for so
/// many times as long as the last one took: libvirt and the guest need the processor more.
const RESTS_WHILE_BUSY: u32 = 10;
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

    /// Waits for something to do; false if the loop shall end.
    fn wait(
        &mut self,
        inbox: &mpsc::Receiver<Message>,
        waiting: &mut Vec<mpsc::Sender<NodeStatus>>,
    ) -> bool {
        let patience = self.patience();
        let mut next = match inbox.recv_timeout(patience) {
            Ok(message) => Some(message),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.seen = None;
                return true;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
        };
        let (mut urgent, mut latest) = (false, None);
        while let Some(message) = next {
            if !matches!(message, Message::Progressed) {
                latest.get_or_insert_with(|| Instant::now() + LONGEST_BURST);
            }
            if !matches!(message, Message::Desired(_)) {
                self.seen = None;
            }
            // Somebody waits for the answer to these; a burst of events can be waited out.
            urgent |= matches!(
                message,
                Message::Desired(_) | Message::Refresh(_) | Message::Finished(_)
            );
            match message {
                Message::Desired(desired) => self.accept(*desired),
                Message::Refresh(answer) => waiting.push(answer),
                Message::Finished(finished) => self.finished(finished),
                Message::Progressed => self.progressed(),
                Message::Something => {}
                Message::Stop => return false,
            }
            let patience = match latest {
                _ if urgent => Duration::ZERO,
                None => self.patience(),
                Some(latest) => self.gathering(latest),
            };
            next = inbox.recv_timeout(patience).ok();
        }
        true
    }

    /// How long to wait for more events before looking because of those that came; until `latest` if they
    /// do not end.
    fn gathering(&self, latest: Instant) -> Duration {
        let burst = BURST.min(latest.saturating_duration_since(Instant::now()));
        if self.memory.busy.is_empty() {
            return burst;
        }
        let (ended, took) = self.looked;
        let rest = (took * RESTS_WHILE_BUSY).min(LOOK_EVERY);
        burst.max(rest.saturating_sub(ended.elapsed()))
    }

    fn patience(&self) -> Duration {
        let usual = if self.ledger.desired.enabled.is_some() {
            LOOK_EVERY
        } else {
            LOOK_EVERY_IDLE
        };
        let now = self.host.now();
        let next_try = self
            .memory
            .next_try(now)
            .map(|at| at.saturating_sub(now) + BURST);
        next_try.map_or(usual, |due| due.min(usual))
    }

    fn accept(&mut self, desired: NodeDesired) {
        if desired.generation < self.ledger.desired.generation {
            tracing::warn!(
                old = desired.generation,
                "a wish older than the accepted one is ignored"
            );
            return;
        }
        if desired.generation > self.ledger.desired.generation {
            // What failed under another wish may be tried at once.
            self.memory.failures.clear();
            self.memory.repairs.clear();
        }
        if desired.intents != self.ledger.desired.intents {
            self.seen = None;
        }
        self.ledger.desired = desired;
        self.save();
    }

    fn save(&mut self) {
        self.ledger_problem = self.ledger.save(&self.config.state_dir).err().map(|error| {
            Problem::new(
                Code::StoreFailed,
                format!("The ledger cannot be written: {error}."),
            )
        });
    }

    fn finished(&mut self, finished: Finished) {
        let busy = self.memory.busy.remove(&finished.vm);
        if let Some(Busy {
            vf,
            vectors: Some(vectors),
            ..
        }) = busy
        {
            self.note_vectors(vf, Some(vectors).filter(|_| finished.result.is_ok()));
        }
        self.progress.remove(&finished.vm);
        let settling = self.memory.settling.remove(&finished.vm);
        match finished.result {
            Ok(()) => {
                self.memory.failures.remove(&finished.vm);
                if let Some(action) = settling {
                    self.memory.repairs.note(&action, self.host.now(), None);
                }
            }
            Err(problems) => self.memory.failed(finished.vm, self.host.now(), problems),
        }
    }

    /// Notes what a VF was given, for drivers that do not show it.
    fn note_vectors(&mut self, vf: PciAddress, vectors: Option<u32>) {
        let before = self.ledger.vectors.clone();
        self.ledger
            .vectors
            .note(&self.last.node.boot_id, vf, vectors);
        if self.ledger.vectors != before {
            self.save();
        }
    }

    /// A step of a switch-over began: tell it without looking at everything again.
    fn progressed(&mut self) {
        let mut status = self.last.clone();
        for vm in &mut status.vms {
            if let Some(progress) = self.progress.get(&vm.facts.uuid) {
                vm.progress = Some(
                    progress
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone(),
                );
            }
        }
        self.publish(status);
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
                vectors: switch
                    .vectors
                    .filter(|_| switch.standing == Standing::OnTap),
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
