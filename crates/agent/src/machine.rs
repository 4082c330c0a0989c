//! The agent's step: `(state, now, event) → (state, effects)`, without clock, thread or I/O.
//!
//! ```text
//!   event ─▶ take in ─▶ plan ─▶ switch-overs turn ─▶ actions to free lanes ─▶ looks that are due ─▶ report
//! ```
//!
//! State is what was seen ([`Observed`]), kept true by what was done since ([`outcomes`]), what cannot be
//! seen ([`plan::Memory`]), and the [`Ledger`]. Everything else is derived at each step. What waits for a
//! guest, a driver or libvirt is an effect that comes back as an event; nothing here waits.

mod heard;
mod incoming;
mod looks;
mod outcomes;
mod seen;
mod telling;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_hypervisor::{HypervisorEvent, MigrationPhase};
use accelnet_model::{NodeDesired, NodeStatus, PciAddress, Problem, VmJob};
use accelnet_rules::{
    Observed,
    action::{Action, Lane},
    counts::Counts,
    isolation,
    moves::{Goal, Move, NicId},
    phase::{Going, Phase},
    plan::{self, Plan, Turn},
    setting_up::SettingUp,
};
use incoming::Awaited;
use looks::Looks;
use uuid::Uuid;

use crate::{
    event::{Effect, Event},
    failures::Failures,
    ledger::Ledger,
    repairs::Repairs,
    words,
};

/// Turns of switch-overs in one step: each changes what is planned next.
const TURNS: u32 = 8;
/// A VM that came in is stopped again by a VF at once, for up to two seconds (docs/reference/switch-over.md).
const SETTLES: Duration = Duration::from_secs(2);
/// So long it is told that a job was ended that had frozen a VM.
const TELL_FROZEN: Duration = Duration::from_secs(600);

/// Work under way in a lane.
#[derive(Debug)]
struct Work {
    since: Duration,
    words: String,
}

/// The agent's state.
#[derive(Debug)]
pub struct Machine {
    ledger: Ledger,
    ledger_problem: Option<Problem>,
    observed: Observed,
    memory: plan::Memory,
    looks: Looks,
    failures: Failures,
    setting_up: SettingUp,
    repairs: Repairs,
    lanes: BTreeMap<Lane, Work>,
    /// Lanes whose work is done, and not yet seen: since which step.
    unseen_work: BTreeMap<Lane, u64>,
    /// Actions that failed in the last pass, and concern the node.
    action_problems: Vec<(Lane, Problem)>,
    /// NICs that were settled in their phase: what they need now has drifted.
    settled: BTreeMap<NicId, Phase>,
    /// VMs whose job was ended, until when that is told, and what is said.
    frozen: BTreeMap<Uuid, (Duration, Problem)>,
    /// VMs that come in; and when those that did began to run.
    incoming: BTreeSet<Uuid>,
    arrived: BTreeMap<Uuid, Duration>,
    /// Those for which VFs are kept.
    awaited: Awaited,
    /// What was staged on definitions since the VM's start, in words.
    staged: BTreeMap<Uuid, Vec<String>>,
    plan: Plan,
    /// The wish that is planned by.
    held: NodeDesired,
    /// The host goes down, and no server knows: all VMs are parked, whatever is wished.
    goes_down: bool,
    /// What counters say of NICs on VFs, and when they were asked for last.
    counts: Counts,
    counted: Option<Duration>,
    /// Number of this step: what came before what is told by it, as two things may happen at one moment.
    number: u64,
    stopping: bool,
    last: NodeStatus,
    /// libvirt did not answer in time when that was told last.
    was_late: bool,
    /// Something that is reported may have changed.
    changed: bool,
}

impl Machine {
    /// The state after a start, with what the ledger says.
    pub fn new(ledger: Ledger, problem: Option<Problem>) -> Self {
        let held = ledger.desired.clone();
        Self {
            ledger,
            held,
            goes_down: false,
            ledger_problem: problem,
            observed: Observed::default(),
            memory: plan::Memory::default(),
            looks: Looks::default(),
            failures: Failures::default(),
            setting_up: SettingUp::default(),
            repairs: Repairs::default(),
            lanes: BTreeMap::new(),
            unseen_work: BTreeMap::new(),
            action_problems: Vec::new(),
            settled: BTreeMap::new(),
            frozen: BTreeMap::new(),
            incoming: BTreeSet::new(),
            arrived: BTreeMap::new(),
            awaited: Awaited::default(),
            staged: BTreeMap::new(),
            plan: Plan::default(),
            counts: Counts::default(),
            counted: None,
            number: 0,
            stopping: false,
            last: NodeStatus::default(),
            was_late: false,
            changed: true,
        }
    }

    /// Takes an event in, and says what is to be done now.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.number += 1;
        self.take(now, event, &mut effects);
        self.forget_old(now);
        if self.looks.may_plan(now) {
            let wanted = self.wanted();
            if self.held != *wanted {
                self.held = wanted.into_owned();
            }
            self.pass(now, true, &mut effects);
        } else if self.looks.has_seen(now) {
            self.pass(now, false, &mut effects);
        }
        self.look(now, &mut effects);
        self.promise(&mut effects);
        self.tell(now, &mut effects);
        effects
    }

    /// What is wished, with what the agent has decided by itself.
    fn wanted(&self) -> Cow<'_, NodeDesired> {
        let mut wanted = Cow::Borrowed(&self.ledger.desired);
        if self.goes_down {
            for vm in &mut wanted.to_mut().vms {
                vm.parked = true;
            }
        }
        wanted
    }

    /// Begins no switch-over any more.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// No switch-over is under way, and nothing else that must come to its end.
    pub fn is_idle(&self) -> bool {
        // A migration goes on without us.
        let mut lanes = self.lanes.keys();
        self.memory.moves.is_empty() && lanes.all(|lane| matches!(lane, Lane::Migration(_)))
    }

    /// When the next step is due if nothing happens before.
    pub fn wake_at(&self, now: Duration) -> Duration {
        let limits = self
            .lanes
            .iter()
            .map(|(lane, work)| work.since + limit(lane));
        let limits = limits.filter(|at| *at > now);
        let rests = self.failures.next_try(now).into_iter();
        let all = rests
            .chain(self.repairs.next_try(now))
            .chain(self.arrived.values().map(|since| *since + SETTLES))
            .chain(self.memory.moves.values().flat_map(Move::turns_at))
            .chain(limits);
        let due = all.filter(|at| *at > now).min();
        let look = self.looks.next(now, self.ledger.desired.enabled.is_some());
        let look = look.min(self.glance_at(now));
        due.map_or(look, |due| due.min(look))
    }

    fn take(&mut self, now: Duration, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Wished(desired) => self.accept(now, *desired, effects),
            Event::Asked(token) => self.looks.ask(token, now, self.number),
            Event::Expected(token, vm) => self.expect(now, token, &vm, effects),
            Event::GoesDown => {
                tracing::warn!("the host goes down, and no server was told: all VMs are parked");
                (self.goes_down, self.changed) = (true, true);
                self.looks.wished(now, self.number, false);
            }
            Event::Host(event) => self.heard(now, &event),
            Event::Vms(event) => self.heard_of_vm(now, event),
            Event::HostSeen(look) => self.host_seen(now, *look, effects),
            Event::VmsSeen(look) => self.vms_seen(now, *look, effects),
            Event::Glanced(glanced) => self.glanced(now, glanced),
            Event::Done(lane, done) => self.done(now, &lane, done, effects),
            Event::Saved(problem) => {
                self.changed |= problem != self.ledger_problem;
                self.ledger_problem = problem;
            }
            Event::Tick => {}
        }
    }

    fn save(&self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Save(Box::new(self.ledger.clone())));
    }

    fn accept(&mut self, now: Duration, desired: NodeDesired, effects: &mut Vec<Effect>) {
        let accepted = &self.ledger.desired;
        if desired.generation < accepted.generation {
            tracing::warn!(
                old = desired.generation,
                "a wish older than the accepted one is ignored"
            );
            return;
        }
        if desired.generation > accepted.generation {
            // What failed under another wish may be tried at once.
            self.failures.clear();
            self.repairs.clear();
            self.frozen.clear();
        }
        // Whoever asks for a change has had the node looked at a moment ago, to see whether it is possible.
        let others = desired.intents != accepted.intents;
        self.ledger.desired = desired;
        isolation::mark(&mut self.observed, &self.ledger.desired.isolated);
        self.looks.wished(now, self.number, others);
        self.changed = true;
        self.save(effects);
    }

    fn heard_of_vm(&mut self, now: Duration, event: HypervisorEvent) {
        match event {
            HypervisorEvent::Rebooted(vm) => {
                // Its drivers let go of everything; that they are back is seen again.
                self.forget_vectors(vm);
                self.looks.want_vms(now);
            }
            HypervisorEvent::UnplugPrimary(vm) => {
                tracing::info!(%vm, "QEMU takes the VF away by itself");
                self.memory.departing.insert(vm);
                self.looks.want_vms_soon(now);
            }
            HypervisorEvent::Migration(vm, MigrationPhase::Failed) => {
                // QEMU plugs the VF back by itself, and the VM is here, whatever was seen of it last.
                self.memory.departing.remove(&vm);
                let mut vms = self.observed.vms.iter_mut();
                if let Some(facts) = vms.find(|facts| facts.uuid == vm) {
                    facts.job = facts.job.filter(|job| *job == VmJob::Incoming);
                }
                // A look that is under way may have seen it on its way still.
                self.looks.touch_vm(vm, now);
                self.looks.want_vms_soon(now);
            }
            HypervisorEvent::Migration(_, MigrationPhase::WaitsForUnplug) => {
                self.looks.want_vms_soon(now);
            }
            HypervisorEvent::Migration(_, MigrationPhase::Other) => {}
            HypervisorEvent::Vm(_) | HypervisorEvent::Device(_) => self.looks.want_vms(now),
            HypervisorEvent::Disconnected | HypervisorEvent::Connected => {
                self.looks.want_vms(now);
            }
        }
    }

    /// Plans, lets switch-overs turn, and gives actions to lanes that are free. While what a new wish needs to
    /// be planned on is still being looked at (libvirt may take its time), the wish before holds: frames
    /// are put right and what is under way goes on, and nothing begins.
    fn pass(&mut self, now: Duration, begins: bool, effects: &mut Vec<Effect>) {
        for _ in 0..TURNS {
            self.prepare_memory(now);
            let plan = plan::plan(&self.observed, &self.held, &self.memory, now);
            let mut let_go = false;
            for (nic, found) in &plan.nics {
                let before = self.memory.pasts.insert(*nic, found.past);
                self.changed |= before.map(|past| past.phase) != Some(found.past.phase);
                if before.is_some_and(|past| past.usable) && !found.past.usable {
                    let_go |= self.failures.end_rest(nic.vm, now);
                }
            }
            self.memory
                .pasts
                .retain(|nic, _| plan.nics.contains_key(nic));
            let open = |nic: &NicId| plan.phase(*nic) == Some(Phase::Both);
            self.memory.forgotten.retain(|nic, _| open(nic));
            self.settled
                .retain(|nic, phase| plan.phase(*nic) == Some(*phase));
            for (nic, found) in plan.nics.iter().filter(|(_, found)| found.settled) {
                self.settled.insert(*nic, found.past.phase);
            }
            let mut turns = plan.turns.clone();
            let goes = |nic: &NicId| self.memory.moves.contains_key(nic);
            turns.retain(|(nic, _)| begins || goes(nic));
            self.changed |= !plan.looks_like(&self.plan);
            self.plan = plan;
            if turns.is_empty() && !let_go {
                break;
            }
            for (nic, turn) in turns {
                self.turn(now, nic, turn);
            }
        }
        let planned: Vec<&Action> = self.plan.actions.iter().map(|(_, action)| action).collect();
        let taken = &self.memory.lanes;
        // Nothing is planned for a lane while it is taken.
        let wanted = |action: &Action| planned.contains(&action) || taken.contains(&action.lane());
        self.repairs.forget(now, wanted);
        let used = |vf| self.observed.is_assigned(vf);
        self.repairs.forget_used(used);
        let tried = self.tried();
        self.failures.forget(now, &tried);
        if !begins {
            let goes = |nic: NicId| self.memory.moves.contains_key(&nic);
            self.plan.actions.retain(|(nic, action)| {
                let now = matches!(action.lane(), Lane::Frames)
                    || matches!(action, Action::EndJob { .. });
                now || nic.is_some_and(goes)
            });
        }
        self.dispatch(now, effects);
    }

    /// VMs that something is left to do for.
    fn tried(&self) -> BTreeSet<Uuid> {
        let actions =
            self.plan
                .actions
                .iter()
                .filter_map(|(nic, action)| match (nic, action.lane()) {
                    (Some(nic), _) => Some(nic.vm),
                    (None, Lane::Vm(vm) | Lane::Migration(vm)) => Some(vm),
                    (None, _) => None,
                });
        let moving = self.memory.moves.keys().map(|nic| nic.vm);
        let busy = self.lanes.keys().filter_map(|lane| match lane {
            Lane::Vm(vm) | Lane::Migration(vm) => Some(*vm),
            _ => None,
        });
        actions.chain(moving).chain(busy).collect()
    }

    fn prepare_memory(&mut self, now: Duration) {
        let memory = &mut self.memory;
        memory.lanes = self
            .lanes
            .keys()
            .chain(self.unseen_work.keys())
            .cloned()
            .collect();
        (memory.resting, memory.resting_all) = self.failures.resting(now);
        memory.quarantined = self.failures.quarantined(now);
        memory.taken = self.failures.taken(now);
        memory.setting_up = self.setting_up.vfs(now);
        memory.learning_off = self.ledger.learning_off.iter().cloned().collect();
        memory.flood_off = self.ledger.flood_off.iter().cloned().collect();
        memory.filtered = self.ledger.filtered.iter().copied().collect();
        let bridges = self.ledger.bridges.iter();
        memory.made_on = bridges
            .map(|entry| (entry.bridge.clone(), entry.adapter.clone()))
            .collect();
        memory.fresh = self.arrived.keys().copied().collect();
        memory.promised = incoming::promised(&self.ledger.incoming);
        memory.host_is_newer = self.looks.host_is_newer();
    }

    fn turn(&mut self, now: Duration, nic: NicId, turn: Turn) {
        match turn {
            // One that turns back is none that begins.
            Turn::Begin(_) if self.stopping && !self.memory.moves.contains_key(&nic) => {}
            Turn::Begin(begun) => {
                tracing::info!(vm = begun.vm_name, device = %begun.device(), going = ?begun.going(), "switch-over begins");
                self.memory.moves.insert(nic, *begun);
            }
            Turn::Over => self.over(now, nic),
            Turn::InVain(problem) => {
                let Some(going) = self.memory.moves.remove(&nic) else {
                    return;
                };
                self.go_back(now, going, problem);
            }
        }
        self.changed = true;
    }

    fn over(&mut self, now: Duration, nic: NicId) {
        let Some(going) = self.memory.moves.remove(&nic) else {
            return;
        };
        tracing::info!(vm = going.vm_name, going = ?going.going(), "switch-over is over");
        if going.because.is_empty() {
            self.failures.succeeded(nic.vm);
        } else {
            self.failures.failed(nic.vm, now, going.because);
        }
    }

    /// A switch-over to a VF came to nothing once the VF was plugged: back, and tell why.
    fn go_back(&mut self, now: Duration, going: Move, problem: Problem) {
        let problem = problem.about("vm", &going.vm_name);
        tracing::warn!(vm = going.vm_name, %problem, "switch-over failed");
        let goal = Goal::Back {
            device: going.device(),
            used: self.plan.phase(going.nic) == Some(Phase::Vf),
        };
        let mut back = Move::new(going.nic, &going.vm_name, goal, now);
        back.because = going.because;
        back.because.push(problem);
        self.memory.moves.insert(going.nic, back);
    }

    /// Gives each free lane what is planned for it.
    fn dispatch(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let mut lots: BTreeMap<Lane, Vec<(Option<NicId>, Action)>> = BTreeMap::new();
        let mut blocked: BTreeSet<NicId> = BTreeSet::new();
        for (nic, action) in &self.plan.actions {
            if nic.is_some_and(|nic| blocked.contains(&nic)) {
                continue;
            }
            if !self.repairs.due(action, now) {
                // What follows for the same NIC waits for it.
                blocked.extend(*nic);
                continue;
            }
            let lane = action.lane();
            let one_at_a_time = matches!(lane, Lane::Vm(_)) && lots.contains_key(&lane);
            if !self.is_taken(&lane) && !one_at_a_time {
                lots.entry(lane).or_default().push((*nic, action.clone()));
            }
        }
        let noted = lots.values().flatten();
        let (ledger, observed) = (&mut self.ledger, &self.observed);
        let noted = noted
            .filter(|(_, action)| ledger.note_before(action, observed) | ledger.note(action))
            .count();
        if noted > 0 {
            self.save(effects);
        }
        for (lane, actions) in lots {
            let words: Vec<String> = actions
                .iter()
                .map(|(_, action)| words::of(action))
                .collect();
            let words = words.join(", ");
            if lane == Lane::Frames {
                self.looks.touch_frames();
            }
            self.lanes.insert(lane.clone(), Work { since: now, words });
            effects.push(Effect::Do(lane, actions));
            self.changed = true;
        }
    }

    /// Drops what time has made void.
    fn forget_old(&mut self, now: Duration) {
        let frozen = self.frozen.len();
        self.frozen.retain(|_, (until, _)| *until > now);
        self.changed |= frozen != self.frozen.len();
        self.arrived.retain(|_, since| *since + SETTLES > now);
    }

    fn is_taken(&self, lane: &Lane) -> bool {
        self.lanes.contains_key(lane) || self.unseen_work.contains_key(lane)
    }

    /// Adapters whose VFs are being worked on.
    fn adapters_worked_on(&self) -> BTreeSet<PciAddress> {
        let lanes = self.lanes.keys().filter_map(|lane| match lane {
            Lane::Adapter(pf) => Some(*pf),
            _ => None,
        });
        lanes.collect()
    }

    /// True while a NIC is on its way, or has both paths open: counters are looked at often then.
    fn is_hot(&self, nic: NicId) -> bool {
        let going = self.memory.moves.get(&nic).map(Move::going);
        let phase = self.memory.pasts.get(&nic).map(|past| past.phase);
        going == Some(Going::ToVf) || phase == Some(Phase::Both)
    }
}

/// How long a lane's work may take before it is said that it does not come back. Making VFs took 65 s on
/// some cards (125 VFs of a ConnectX), a guest has 20 s to give up its VF, and whoever asks for a move says for how
/// long, a day at most.
fn limit(lane: &Lane) -> Duration {
    Duration::from_secs(match lane {
        Lane::Frames => 10,
        Lane::Adapter(_) => 120,
        Lane::Vm(_) => 60,
        Lane::Migration(_) => 24 * 3600,
    })
}
