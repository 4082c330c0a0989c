//! What the loop remembers from pass to pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_model::{IfName, PciAddress, Problem, Progress};
use accelnet_rules::{Observed, plan::Action};
use uuid::Uuid;

use crate::{ledger::Ledger, repairs::Repairs};

/// First pause after a failure, doubled with each further one up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(300);
/// A VF that did not come clean is tried again after this: a card that is being reset answers so, too.
const QUARANTINE: Duration = LONGEST_REST;

/// A switch-over that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    attempts: u32,
    /// When it may be tried again, on the host's clock.
    pub again_at: Duration,
    /// Why.
    pub problems: Vec<Problem>,
}

/// A VF that did not come clean.
#[derive(Debug, Clone)]
pub struct Quarantine {
    /// When it may be tried again, on the host's clock.
    again_at: Duration,
    /// Why.
    pub problem: Problem,
}

/// A switch-over under way.
#[derive(Debug, Clone)]
pub struct Busy {
    /// The VF it is about.
    pub vf: PciAddress,
    /// Vectors that it gives the VF.
    pub vectors: Option<u32>,
    /// How far it is.
    pub progress: Progress,
}

/// The frames that came by a tap, as last seen.
#[derive(Debug, Clone, Copy)]
pub struct TapCount {
    rx_packets: u64,
    /// Frames have come since the look before.
    pub active: bool,
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub struct Memory {
    /// Switch-overs under way.
    pub busy: BTreeMap<Uuid, Busy>,
    /// Those that failed, by VM.
    pub failures: BTreeMap<Uuid, Failure>,
    /// VFs that did not come clean, and why.
    pub quarantined: BTreeMap<PciAddress, Quarantine>,
    /// Other actions that failed in the last pass.
    pub action_problems: Vec<Problem>,
    /// Actions done lately, and those that rest.
    pub repairs: Repairs,
    /// Switch-overs under way that put a VF in use right.
    pub settling: BTreeMap<Uuid, Action>,
    /// What was staged on definitions since the VM's start, in words.
    pub staged: BTreeMap<Uuid, Vec<String>>,
    /// Processes of VMs at the last look.
    pids: BTreeMap<Uuid, Option<u32>>,
    /// Taps whose hold queue was told to pass, and not to hold since.
    pub passing: BTreeSet<IfName>,
    taps: BTreeMap<IfName, TapCount>,
}

impl Memory {
    /// Notes a failed switch-over; it rests, longer each time.
    pub fn failed(&mut self, vm: Uuid, now: Duration, problems: Vec<Problem>) {
        let attempts = self
            .failures
            .get(&vm)
            .map_or(1, |failure| failure.attempts + 1);
        let rest = FIRST_REST
            .saturating_mul(1 << (attempts - 1).min(10))
            .min(LONGEST_REST);
        self.failures.insert(
            vm,
            Failure {
                attempts,
                again_at: now + rest,
                problems,
            },
        );
    }

    /// Drops failures of VMs that are where they shall be: those whose rest is over and for which the
    /// plan has nothing to try. An old failure says nothing about them.
    pub fn forget_failures(&mut self, now: Duration, tried: &BTreeSet<Uuid>) {
        let busy = &self.busy;
        self.failures.retain(|vm, failure| {
            failure.again_at > now || tried.contains(vm) || busy.contains_key(vm)
        });
    }

    /// Drops what was staged on VMs that have been started since: it is in effect.
    pub fn forget_staged(&mut self, observed: &Observed) {
        if !observed.hypervisor_answers {
            return;
        }
        let pids: BTreeMap<Uuid, Option<u32>> =
            observed.vms.iter().map(|vm| (vm.uuid, vm.pid)).collect();
        let before = std::mem::replace(&mut self.pids, pids);
        self.staged.retain(|vm, _| {
            let (was, is) = (before.get(vm), self.pids.get(vm));
            // What was first seen now was not started since.
            is.is_some_and(|is| is.is_none() || was.is_none_or(|was| was == is))
        });
    }

    /// Notes a VF that did not come clean.
    pub fn quarantine(&mut self, vf: PciAddress, now: Duration, problem: Problem) {
        let again_at = now + QUARANTINE;
        self.quarantined
            .insert(vf, Quarantine { again_at, problem });
    }

    /// When the next resting VM or action may be tried again. Those whose rest is over are not waited for: the
    /// pass before has seen them.
    pub fn next_try(&self, now: Duration) -> Option<Duration> {
        let all = self.failures.values().map(|failure| failure.again_at);
        all.filter(|again_at| *again_at > now)
            .chain(self.repairs.next_try(now))
            .min()
    }

    /// Notes a tap's count; true if frames came since the look before.
    pub fn count_tap(&mut self, tap: &IfName, rx_packets: u64) -> bool {
        let before = self.taps.get(tap).copied();
        let active = before.is_some_and(|before| before.rx_packets != rx_packets);
        self.taps
            .insert(tap.clone(), TapCount { rx_packets, active });
        active
    }

    /// True if frames came by the tap between the last two looks.
    pub fn tap_active(&self, tap: &IfName) -> bool {
        self.taps.get(tap).is_some_and(|count| count.active)
    }

    /// For the rules.
    pub fn for_plan(&self, ledger: &Ledger, now: Duration) -> accelnet_rules::plan::Memory {
        let resting = self
            .failures
            .iter()
            .filter(|(_, failure)| failure.again_at > now);
        let quarantined = self.quarantined.iter();
        let quarantined = quarantined.filter(|(_, quarantine)| quarantine.again_at > now);
        accelnet_rules::plan::Memory {
            busy: self.busy.keys().copied().collect(),
            busy_vfs: self.busy.values().map(|busy| busy.vf).collect(),
            resting: resting.map(|(vm, _)| *vm).collect(),
            quarantined: quarantined.map(|(vf, _)| *vf).collect(),
            ports: ledger.ports.iter().cloned().collect(),
            crowded: ledger.crowded.iter().cloned().collect(),
            filtered: ledger.filtered.iter().copied().collect(),
            passing: self.passing.clone(),
            made_on: ledger
                .bridges
                .iter()
                .map(|entry| (entry.bridge.clone(), entry.adapter.clone()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use accelnet_rules::fixture;

    use super::*;

    #[test]
    fn failures_rest_longer_each_time() {
        let mut memory = Memory::default();
        let vm = Uuid::from_u128(1);
        let mut rests = Vec::new();
        for _ in 0..9 {
            memory.failed(vm, Duration::ZERO, vec![]);
            rests.push(memory.failures[&vm].again_at.as_secs());
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn a_failure_is_forgotten_when_its_rest_is_over_and_nothing_is_left_to_try() {
        let mut memory = Memory::default();
        let (vm, second) = (Uuid::from_u128(1), Duration::from_secs(1));
        memory.failed(vm, Duration::ZERO, vec![]);
        memory.forget_failures(FIRST_REST - second, &BTreeSet::new());
        assert_eq!(memory.next_try(FIRST_REST - second), Some(FIRST_REST));
        assert_eq!(memory.next_try(FIRST_REST), None);
        memory.forget_failures(FIRST_REST, &BTreeSet::from([vm]));
        assert!(memory.failures.contains_key(&vm));
        memory.forget_failures(FIRST_REST, &BTreeSet::new());
        assert!(memory.failures.is_empty());
    }

    #[test]
    fn what_was_staged_is_forgotten_when_the_vm_was_started_since() {
        let mut memory = Memory::default();
        let mut observed = fixture::observed();
        let vm = observed.vms[0].uuid;
        memory.staged.insert(vm, vec!["NIC".into()]);
        // An agent that has just started has not seen it before.
        memory.forget_staged(&observed);
        for (pid, kept) in [(Some(100), true), (None, true), (Some(101), false)] {
            observed.vms[0].pid = pid;
            memory.forget_staged(&observed);
            assert_eq!(memory.staged.contains_key(&vm), kept, "{pid:?}");
        }
        // Started anew between two looks.
        memory.staged.insert(vm, vec!["NIC".into()]);
        observed.vms[0].pid = Some(102);
        memory.forget_staged(&observed);
        assert!(memory.staged.is_empty());
    }

    #[test]
    fn a_tap_is_active_if_frames_came_between_two_looks() {
        let mut memory = Memory::default();
        let tap: IfName = "vnet0".parse().unwrap();
        assert!(!memory.count_tap(&tap, 5), "the first look tells nothing");
        assert!(memory.count_tap(&tap, 6));
        assert!(!memory.count_tap(&tap, 6));
        assert!(!memory.tap_active(&tap));
    }
}
