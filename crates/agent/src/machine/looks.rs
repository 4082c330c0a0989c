//! When the node is looked at: the machine, its VMs, and counters alone.

use std::{collections::BTreeSet, time::Duration};

use accelnet_model::{Code, IfName, PciAddress, Problem};
use accelnet_rules::{counts, observed::nics_on};
use uuid::Uuid;

use super::Machine;
use crate::{
    event::{Effect, GlanceAt, GlanceScope},
    look,
};

/// What no event tells of (somebody's change of a VF's attributes) is found at the latest after this,
/// while acceleration is enabled.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Without acceleration nothing is watched but the facts for `status` and `prereq`.
const LOOK_EVERY_IDLE: Duration = Duration::from_secs(60);
/// Events that come in bursts (a VM's start makes dozens) are taken together.
const BURST: Duration = Duration::from_millis(150);
/// So long may wait what matters to VFs alone, and what guests can cause as often as they like.
const LAZY: Duration = Duration::from_secs(1);
/// What was seen this long ago is as good as a fresh look.
const STILL_FRESH: Duration = Duration::from_secs(1);
/// While switch-overs go on, which cause most events then themselves, a look rests for so many times as
/// long as the last one took: libvirt and the guest need the processor more.
const RESTS_WHILE_MOVING: u32 = 10;
/// Nobody waits for libvirt longer than this: what is known without it is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// Counters of NICs that are on their way; they have no events, and looking costs microseconds.
const GLANCE_HOT: Duration = Duration::from_millis(50);
/// Counters of NICs that rest on their VF: that a guest's driver has gone has no event either.
const GLANCE: Duration = Duration::from_secs(1);

/// Looks of one kind.
#[derive(Debug, Default)]
pub(super) struct Kind {
    /// When the next one is due, if something called for it.
    due: Option<Duration>,
    /// Since when, and which step, one is under way.
    running: Option<(Duration, u64)>,
    /// When the last one that is over began and ended.
    last: Option<(Duration, Duration)>,
    /// The steps at which it did.
    steps: Option<(u64, u64)>,
    /// What is known is known to be old: one is wanted at once, or is under way for that.
    owed: bool,
    owed_by_running: bool,
    /// What it could not see.
    pub(super) problems: Vec<Problem>,
}

impl Kind {
    fn want(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn is_due(&self, now: Duration, every: Duration, moving: bool) -> bool {
        self.running.is_none() && now >= self.at(every, moving)
    }

    /// When the next one begins if none is under way.
    fn at(&self, every: Duration, moving: bool) -> Duration {
        let Some((began, ended)) = self.last else {
            return Duration::ZERO;
        };
        let took = ended.saturating_sub(began);
        let rest = match moving {
            true => (took * RESTS_WHILE_MOVING).min(LOOK_EVERY),
            false => took,
        };
        let regular = ended + every;
        self.due
            .map_or(regular, |due| due.max(ended + rest).min(regular))
    }

    /// It is wanted at once, and what is known until then is known to be old.
    fn owe(&mut self, now: Duration) {
        self.want(now);
        self.owed = true;
    }

    /// When the one that is under way began.
    pub(super) fn began(&self) -> Option<Duration> {
        self.running.map(|(began, _)| began)
    }

    fn begins(&mut self, now: Duration, step: u64) {
        (self.running, self.due) = (Some((now, step)), None);
        self.owed_by_running = std::mem::take(&mut self.owed);
    }

    /// One is over; the step at which it began.
    pub(super) fn ends(&mut self, now: Duration, step: u64, problems: Vec<Problem>) -> u64 {
        let (began, first) = self.running.take().unwrap_or((now, step));
        self.last = Some((began, now));
        self.steps = Some((first, step));
        self.owed_by_running = false;
        self.problems = problems;
        first
    }

    /// What was asked at a step has been looked at since.
    fn answers(&self, step: u64) -> bool {
        self.steps.is_some_and(|(first, _)| first >= step)
    }
}

/// All looks.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pub(super) host: Kind,
    pub(super) vms: Kind,
    /// Since when a glance is under way.
    glances: Option<Duration>,
    glanced: Duration,
    /// Links of which something was told.
    pub(super) links: BTreeSet<IfName>,
    /// Who asked, at which step.
    asked: Vec<(u64, u64)>,
    /// A new wish is planned on what was seen after this step.
    wished: Option<u64>,
    /// Frames were worked on while the machine was looked at: what was seen of them is old.
    pub(super) touched_frames: bool,
    /// The step at which the last look at the machine began that was taken in whole.
    pub(super) whole: Option<u64>,
    /// Adapters and VMs that were worked on while they were looked at: what was seen of them is old.
    pub(super) touched_adapters: BTreeSet<PciAddress>,
    pub(super) touched_vms: BTreeSet<Uuid>,
    moving: bool,
}

impl Looks {
    /// Somebody waits for a look that begins from now on.
    pub(super) fn ask(&mut self, token: u64, now: Duration, step: u64) {
        self.asked.push((token, step));
        self.want_both_now(now);
    }

    fn want_both_now(&mut self, now: Duration) {
        self.host.want(now);
        self.vms.want(now);
    }

    /// There is another wish, perhaps with other intents. Whoever asks for a change has had the node looked
    /// at a moment ago, to see whether it is possible: that serves, if nothing is known to have changed since.
    pub(super) fn wished(&mut self, now: Duration, step: u64, others: bool) {
        let fresh = |kind: &Kind| {
            let last = kind
                .last
                .filter(|_| kind.due.is_none() && kind.running.is_none());
            last.is_some_and(|(_, ended)| now.saturating_sub(ended) < STILL_FRESH)
        };
        if others || !fresh(&self.host) || !fresh(&self.vms) {
            self.want_both_now(now);
            self.wished = Some(step);
        }
    }

    /// When the glance began that is over now.
    pub(super) fn glance_began(&self) -> Duration {
        self.glances.unwrap_or_default()
    }

    pub(super) fn want_host(&mut self, now: Duration) {
        self.host.want(now + BURST);
    }

    /// The machine is looked at again, when what goes on has had a moment to end.
    pub(super) fn owe_host(&mut self, now: Duration) {
        self.host.owe(now + BURST);
    }

    pub(super) fn want_host_soon(&mut self, now: Duration) {
        self.host.owe(now);
    }

    pub(super) fn want_host_lazily(&mut self, now: Duration) {
        self.host.want(now + LAZY);
    }

    pub(super) fn want_vms(&mut self, now: Duration) {
        self.vms.want(now + BURST);
    }

    pub(super) fn want_vms_soon(&mut self, now: Duration) {
        self.vms.owe(now);
    }

    /// Forwarding is worked on.
    pub(super) fn touch_frames(&mut self) {
        self.touched_frames |= self.host.running.is_some();
    }

    /// An adapter was worked on.
    pub(super) fn touch_adapter(&mut self, pf: PciAddress, now: Duration) {
        if self.host.running.is_some() {
            self.touched_adapters.insert(pf);
            self.want_host(now);
        }
    }

    /// A VM was.
    pub(super) fn touch_vm(&mut self, vm: Uuid, now: Duration) {
        if self.vms.running.is_some() {
            self.touched_vms.insert(vm);
            self.want_vms(now);
        }
    }

    /// Everything has been looked at once, and anew since the last wish.
    pub(super) fn may_plan(&mut self, now: Duration) -> bool {
        let late = self.late(now).is_some();
        let seen = |step| self.host.answers(step) && (late || self.vms.answers(step));
        if self.wished.is_some_and(seen) {
            self.wished = None;
        }
        self.has_seen(now) && self.wished.is_none()
    }

    /// What is wanted has been held against what is seen.
    pub(super) fn is_planned(&self) -> bool {
        let owed = |kind: &Kind| kind.owed || kind.owed_by_running;
        self.wished.is_none() && !owed(&self.host) && !owed(&self.vms)
    }

    /// There is something to tell.
    pub(super) fn has_seen(&self, now: Duration) -> bool {
        self.host.last.is_some() && (self.vms.last.is_some() || self.late(now).is_some())
    }

    /// The machine was looked at after the VMs were.
    pub(super) fn host_is_newer(&self) -> bool {
        match (self.whole, self.vms.steps) {
            (Some(began), Some((_, ended))) => began >= ended,
            _ => false,
        }
    }

    /// What could not be seen.
    pub(super) fn problems(&self, now: Duration) -> Vec<Problem> {
        let mut problems = self.host.problems.clone();
        problems.extend(self.vms.problems.iter().cloned());
        if let Some(late) = self.late(now) {
            let text = format!("libvirt has not answered for {} s.", late.as_secs());
            problems.push(Problem::new(Code::HypervisorUnavailable, text));
        }
        problems
    }

    /// Nobody waits for libvirt any more.
    pub(super) fn is_late(&self, now: Duration) -> bool {
        self.late(now).is_some()
    }

    /// How long a look at the VMs has been under way, if that is too long.
    fn late(&self, now: Duration) -> Option<Duration> {
        let (since, _) = self.vms.running?;
        Some(now.saturating_sub(since)).filter(|time| *time >= PATIENCE)
    }

    /// Who can be answered now.
    pub(super) fn answered(&mut self, now: Duration) -> Vec<u64> {
        let late = self.late(now).is_some();
        let (host, vms) = (&self.host, &self.vms);
        let ready = |step: &u64| host.answers(*step) && (vms.answers(*step) || late);
        let tokens: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, step)| ready(step))
            .map(|(token, _)| *token)
            .collect();
        self.asked.retain(|(token, _)| !tokens.contains(token));
        tokens
    }

    /// When something is due next.
    pub(super) fn next(&self, now: Duration, enabled: bool) -> Duration {
        let every = every(enabled);
        let of = |kind: &Kind| match kind.running {
            Some(_) => None,
            None => Some(kind.at(every, self.moving).max(now)),
        };
        let late = self.vms.running.map(|(since, _)| since + PATIENCE);
        let late = late.filter(|at| *at > now);
        let all = [of(&self.host), of(&self.vms), late];
        all.into_iter().flatten().min().unwrap_or(now + every)
    }
}

fn every(enabled: bool) -> Duration {
    match enabled {
        true => LOOK_EVERY,
        false => LOOK_EVERY_IDLE,
    }
}

impl Machine {
    /// Begins the looks that are due.
    pub(super) fn look(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let every = every(self.ledger.desired.enabled.is_some());
        let moving = !self.memory.moves.is_empty();
        self.looks.moving = moving;
        // Who waits for an answer is not made to wait for a rest.
        let asked = !self.looks.asked.is_empty() || self.looks.wished.is_some();
        let moving = moving && !asked;
        if self.looks.vms.is_due(now, every, moving) {
            self.looks.vms.begins(now, self.number);
            // What was done before is seen by it.
            self.looks.touched_vms.clear();
            effects.push(Effect::LookAtVms);
        }
        if self.looks.host.is_due(now, every, moving) {
            self.looks.host.begins(now, self.number);
            self.looks.touched_adapters.clear();
            self.looks.touched_frames = self
                .lanes
                .contains_key(&accelnet_rules::action::Lane::Frames);
            let mut scope = look::scope(&self.observed, &self.ledger.desired);
            scope.busy = self.adapters_worked_on();
            // Not with each look that an event calls for.
            if self.counted.is_none_or(|at| now >= at + LOOK_EVERY) {
                scope.counted = counts::adapters(&self.observed, &self.ledger.desired);
                self.counted = Some(now);
            }
            effects.push(Effect::LookAtHost(scope));
        }
        self.glance(now, effects);
    }

    fn glance(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if now < self.glance_at(now) {
            return;
        }
        let scope = GlanceScope {
            nics: self.to_glance_at(),
            links: std::mem::take(&mut self.looks.links).into_iter().collect(),
        };
        if scope != GlanceScope::default() {
            self.looks.glances = Some(now);
            effects.push(Effect::Glance(scope));
        }
    }

    /// A glance is over.
    pub(super) fn glance_ends(&mut self, now: Duration) {
        (self.looks.glances, self.looks.glanced) = (None, now);
    }

    /// When counters are looked at next.
    pub(super) fn glance_at(&self, now: Duration) -> Duration {
        if self.looks.glances.is_some() {
            return now + LOOK_EVERY_IDLE;
        }
        if !self.looks.links.is_empty() {
            return now;
        }
        let mut nics = self.memory.pasts.keys();
        let every = match nics.any(|nic| self.is_hot(*nic)) {
            true => GLANCE_HOT,
            false if self.to_glance_at().is_empty() => return now + LOOK_EVERY_IDLE,
            false => GLANCE,
        };
        self.looks.glanced + every
    }

    /// NICs that have a VF or are about to get one.
    fn to_glance_at(&self) -> Vec<GlanceAt> {
        let Some(intent) = self.ledger.desired.enabled_intent() else {
            return Vec::new();
        };
        let mut at = Vec::new();
        for vm in self.observed.vms_on(&intent.bridge) {
            for nic in nics_on(vm, &intent.bridge) {
                let id = accelnet_rules::moves::NicId {
                    vm: vm.uuid,
                    mac: nic.mac,
                };
                let handle = accelnet_rules::handle::Handle::of(&self.observed, vm, nic);
                if (handle.is_some() || self.is_hot(id))
                    && let Some(tap) = nic.tap.clone()
                {
                    let vf = handle.map(|handle| handle.device());
                    at.push(GlanceAt { nic: id, tap, vf });
                }
            }
        }
        at
    }
}
