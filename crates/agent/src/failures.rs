//! Switch-overs that failed and rest, and VFs that are kept back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use accelnet_model::{PciAddress, Problem};
use uuid::Uuid;

/// First pause after a failure, doubled with each further one up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(300);
/// The way back to the tap is tried again after this at the latest: policy may depend on it.
const LONGEST_REST_BACK: Duration = Duration::from_secs(10);

/// The rest after so many failures in a row.
fn rest(attempts: u32) -> Duration {
    FIRST_REST
        .saturating_mul(1 << (attempts - 1).min(10))
        .min(LONGEST_REST)
}

/// A switch-over that failed.
#[derive(Debug, Clone)]
struct Failure {
    attempts: u32,
    again_at: Duration,
    /// When the way back may be tried.
    back_at: Duration,
    problems: Vec<Problem>,
}

/// A VF that did not come clean, or could not be put right.
#[derive(Debug, Clone)]
struct Quarantine {
    attempts: u32,
    again_at: Duration,
    problem: Problem,
}

/// A VF that libvirt has just given to another VM is not chosen for so long: QEMU has opened it long before, so that
/// the looks show whose it is.
const TAKEN: Duration = Duration::from_secs(60);

/// All of them.
#[derive(Debug, Default)]
pub struct Failures {
    vms: BTreeMap<Uuid, Failure>,
    vfs: BTreeMap<PciAddress, Quarantine>,
    /// VFs that others were faster with, and until when that counts.
    taken: BTreeMap<PciAddress, Duration>,
}

impl Failures {
    /// Notes a failed switch-over; it rests, longer each time.
    pub fn failed(&mut self, vm: Uuid, now: Duration, problems: Vec<Problem>) {
        let attempts = self.vms.get(&vm).map_or(1, |failure| failure.attempts + 1);
        let rest = rest(attempts);
        self.vms.insert(
            vm,
            Failure {
                attempts,
                again_at: now + rest,
                back_at: now + rest.min(LONGEST_REST_BACK),
                problems,
            },
        );
    }

    /// The guest let go of a VF that it had kept: its way back rests no more. True if it did.
    pub fn end_rest(&mut self, vm: Uuid, now: Duration) -> bool {
        let failure = self.vms.get_mut(&vm);
        let rests = failure.filter(|failure| failure.back_at > now);
        rests.map(|failure| failure.back_at = now).is_some()
    }

    /// Notes that it is where it shall be.
    pub fn succeeded(&mut self, vm: Uuid) {
        self.vms.remove(&vm);
    }

    /// Drops failures of VMs that are where they shall be: those whose rest is over and for which nothing
    /// is left to try. An old failure says nothing about them.
    pub fn forget(&mut self, now: Duration, tried: &BTreeSet<Uuid>) {
        self.vms
            .retain(|vm, failure| failure.again_at > now || tried.contains(vm));
    }

    /// Drops all failures of VMs: under another wish everything may be tried at once.
    pub fn clear(&mut self) {
        self.vms.clear();
    }

    /// VMs that rest, and those that not even the way back is tried for.
    pub fn resting(&self, now: Duration) -> (BTreeSet<Uuid>, BTreeSet<Uuid>) {
        let rest = |back: bool| {
            let all = self.vms.iter().filter(move |(_, failure)| {
                let again_at = if back {
                    failure.back_at
                } else {
                    failure.again_at
                };
                again_at > now
            });
            all.map(|(vm, _)| *vm).collect()
        };
        (rest(false), rest(true))
    }

    /// Why a VM rests.
    pub fn of_vm(&self, vm: Uuid) -> &[Problem] {
        self.vms
            .get(&vm)
            .map_or(&[], |failure| failure.problems.as_slice())
    }

    /// True if a VM rests.
    pub fn rests(&self, vm: Uuid) -> bool {
        self.vms.contains_key(&vm)
    }

    /// True if any does.
    pub fn any_vm_rests(&self) -> bool {
        !self.vms.is_empty()
    }

    /// Keeps a VF back, longer each time: a card that is being reset does not come clean either.
    pub fn quarantine(&mut self, vf: PciAddress, now: Duration, problem: Problem) {
        let attempts = self.vfs.get(&vf).map_or(1, |before| before.attempts + 1);
        self.vfs.insert(
            vf,
            Quarantine {
                attempts,
                again_at: now + rest(attempts),
                problem,
            },
        );
    }

    /// Somebody else was given a VF that was to be one of ours. True if that was so a moment ago, too.
    pub fn note_taken(&mut self, vf: PciAddress, now: Duration) -> bool {
        self.taken.retain(|_, until| *until + TAKEN > now);
        self.taken.insert(vf, now + TAKEN).is_some()
    }

    /// VFs that others were faster with a moment ago.
    pub fn taken(&self, now: Duration) -> BTreeSet<PciAddress> {
        let all = self.taken.iter().filter(|(_, until)| **until > now);
        all.map(|(vf, _)| *vf).collect()
    }

    /// A VF came clean.
    pub fn is_clean(&mut self, vf: PciAddress) {
        self.vfs.remove(&vf);
    }

    /// VFs that are kept back now.
    pub fn quarantined(&self, now: Duration) -> BTreeSet<PciAddress> {
        let all = self.vfs.iter().filter(|(_, one)| one.again_at > now);
        all.map(|(vf, _)| *vf).collect()
    }

    /// Why a VF is kept back.
    pub fn of_vf(&self, vf: PciAddress) -> Option<&Problem> {
        self.vfs.get(&vf).map(|one| &one.problem)
    }

    /// When the next of them may be tried again.
    pub fn next_try(&self, now: Duration) -> Option<Duration> {
        let vms = self
            .vms
            .values()
            .flat_map(|failure| [failure.again_at, failure.back_at]);
        let vfs = self.vfs.values().map(|one| one.again_at);
        let taken = self.taken.values().copied();
        vms.chain(vfs).chain(taken).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::Code;

    use super::*;

    #[test]
    fn a_vf_that_others_take_again_and_again_is_told() {
        let (mut failures, vf) = (Failures::default(), "0000:01:10.0".parse().unwrap());
        let at = Duration::from_secs;
        assert!(!failures.note_taken(vf, at(0)));
        assert!(failures.taken(at(59)).contains(&vf));
        assert!(failures.taken(at(60)).is_empty());
        assert!(failures.note_taken(vf, at(61)));
        assert!(!failures.note_taken(vf, at(1000)));
    }

    #[test]
    fn failures_rest_longer_each_time_and_the_way_back_never_long() {
        let mut failures = Failures::default();
        let vm = Uuid::from_u128(1);
        let mut rests = Vec::new();
        for _ in 0..9 {
            failures.failed(vm, Duration::ZERO, vec![]);
            rests.push(failures.vms[&vm].again_at.as_secs());
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        let at = |seconds| failures.resting(Duration::from_secs(seconds));
        assert_eq!(at(9), (BTreeSet::from([vm]), BTreeSet::from([vm])));
        assert_eq!(at(10), (BTreeSet::from([vm]), BTreeSet::new()));
        assert_eq!(at(300), (BTreeSet::new(), BTreeSet::new()));
        assert!(failures.end_rest(vm, Duration::from_secs(1)));
        let at = |seconds| failures.resting(Duration::from_secs(seconds));
        assert_eq!(at(1), (BTreeSet::from([vm]), BTreeSet::new()));
    }

    #[test]
    fn a_failure_is_forgotten_when_its_rest_is_over_and_nothing_is_left_to_try() {
        let mut failures = Failures::default();
        let (vm, second) = (Uuid::from_u128(1), Duration::from_secs(1));
        failures.failed(vm, Duration::ZERO, vec![]);
        failures.forget(FIRST_REST - second, &BTreeSet::new());
        assert_eq!(failures.next_try(FIRST_REST - second), Some(FIRST_REST));
        failures.forget(FIRST_REST, &BTreeSet::from([vm]));
        assert!(failures.rests(vm));
        failures.forget(FIRST_REST, &BTreeSet::new());
        assert!(!failures.rests(vm));
    }

    #[test]
    fn a_vf_that_does_not_come_clean_is_tried_again_later() {
        let mut failures = Failures::default();
        let vf: PciAddress = "0000:01:10.0".parse().unwrap();
        let problem = Problem::new(Code::VfQuarantined, "x");
        failures.quarantine(vf, Duration::ZERO, problem);
        let before = FIRST_REST - Duration::from_secs(1);
        assert!(failures.quarantined(before).contains(&vf));
        assert!(failures.quarantined(FIRST_REST).is_empty());
        assert!(failures.of_vf(vf).is_some());
        failures.is_clean(vf);
        assert!(failures.of_vf(vf).is_none());
    }
}
