//! What a VM's state says of it, and which VMs have run here.
//!
//! libvirt answers for a VM's state at once, whatever else goes on with it: it takes no lock for it.
//! A paused VM's reason tells which job stopped it; but for a migration it is the same at both ends, so
//! that one must know whether the VM has been running here before.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use accelnet_model::{VmJob, VmState};
use uuid::Uuid;
use virt::sys;

/// A state with its reason, as libvirt tells it (`virDomainState`, and the reason's enum of that state).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawState {
    /// `VIR_DOMAIN_…`.
    pub state: sys::virDomainState,
    /// Why; of a paused VM `VIR_DOMAIN_PAUSED_…`.
    pub reason: u32,
}

impl RawState {
    /// The run state. Of a VM that crashed and is kept ("preserve") the processors stand still.
    pub fn run_state(self) -> VmState {
        match self.state {
            sys::VIR_DOMAIN_SHUTOFF => VmState::Off,
            sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED | sys::VIR_DOMAIN_CRASHED => {
                VmState::Paused
            }
            _ => VmState::Running,
        }
    }

    /// What has stopped the VM, or has not let it begin. A user's suspension is no job, nor is the moment
    /// that a snapshot takes.
    pub fn job(self, here: bool) -> Option<VmJob> {
        if self.state != sys::VIR_DOMAIN_PAUSED {
            return None;
        }
        match self.reason {
            // Also while a migration or a saved state is read: that ends with "running" only.
            sys::VIR_DOMAIN_PAUSED_STARTING_UP => Some(VmJob::Incoming),
            sys::VIR_DOMAIN_PAUSED_MIGRATION if !here => Some(VmJob::Incoming),
            sys::VIR_DOMAIN_PAUSED_MIGRATION => Some(VmJob::Outgoing),
            // It runs at the other end already, or neither end is whole.
            sys::VIR_DOMAIN_PAUSED_POSTCOPY | sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED => {
                Some(VmJob::Outgoing)
            }
            sys::VIR_DOMAIN_PAUSED_SAVE => Some(VmJob::Saving),
            sys::VIR_DOMAIN_PAUSED_DUMP => Some(VmJob::Dumping),
            _ => None,
        }
    }

    /// The VM stands still for a migration: it leaves, or it comes in.
    pub fn is_migrating(self) -> bool {
        self.state == sys::VIR_DOMAIN_PAUSED && self.reason == sys::VIR_DOMAIN_PAUSED_MIGRATION
    }

    /// The VM stands still for a job that may be ended here. In postcopy it runs at the other end.
    pub fn can_be_ended(self, here: bool) -> bool {
        self.state == sys::VIR_DOMAIN_PAUSED
            && match self.reason {
                sys::VIR_DOMAIN_PAUSED_SAVE | sys::VIR_DOMAIN_PAUSED_DUMP => true,
                sys::VIR_DOMAIN_PAUSED_MIGRATION => here,
                _ => false,
            }
    }

    /// The VM is wholly here: a migration to this node would have another state.
    fn is_here(self) -> bool {
        let comes_or_goes = [
            sys::VIR_DOMAIN_PAUSED_STARTING_UP,
            sys::VIR_DOMAIN_PAUSED_MIGRATION,
        ];
        self.run_state() != VmState::Off
            && !(self.state == sys::VIR_DOMAIN_PAUSED && comes_or_goes.contains(&self.reason))
    }
}

/// VMs that have run here since they appeared: each with libvirt's number of that start (the domain's id,
/// another one at each start and arrival).
#[derive(Debug, Default)]
pub struct Here(Mutex<BTreeMap<Uuid, u32>>);

impl Here {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It runs.
    pub fn runs(&self, vm: Uuid, start: u32) {
        self.lock().insert(vm, start);
    }

    /// It has stopped, or gone.
    pub fn stopped(&self, vm: Uuid) {
        self.lock().remove(&vm);
    }

    /// Notes a state that was seen, and tells if the VM has run here in this start.
    pub fn note(&self, vm: Uuid, start: Option<u32>, seen: RawState) -> bool {
        let mut all = self.lock();
        match start {
            Some(start) if seen.is_here() => {
                all.insert(vm, start);
                true
            }
            Some(start) => all.get(&vm) == Some(&start),
            None => {
                all.remove(&vm);
                false
            }
        }
    }

    /// Forgets VMs that are not there any more.
    pub fn keep(&self, there: impl Fn(Uuid) -> bool) {
        self.lock().retain(|vm, _| there(*vm));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: Uuid = Uuid::from_u128(1);

    fn paused(reason: u32) -> RawState {
        RawState {
            state: sys::VIR_DOMAIN_PAUSED,
            reason,
        }
    }

    const RUNS: RawState = RawState {
        state: sys::VIR_DOMAIN_RUNNING,
        reason: 1,
    };

    #[test]
    fn a_job_is_told_by_the_reason() {
        for (reason, new, known) in [
            (
                sys::VIR_DOMAIN_PAUSED_STARTING_UP,
                Some(VmJob::Incoming),
                Some(VmJob::Incoming),
            ),
            (
                sys::VIR_DOMAIN_PAUSED_MIGRATION,
                Some(VmJob::Incoming),
                Some(VmJob::Outgoing),
            ),
            (
                sys::VIR_DOMAIN_PAUSED_SAVE,
                Some(VmJob::Saving),
                Some(VmJob::Saving),
            ),
            (
                sys::VIR_DOMAIN_PAUSED_DUMP,
                Some(VmJob::Dumping),
                Some(VmJob::Dumping),
            ),
            (
                sys::VIR_DOMAIN_PAUSED_POSTCOPY,
                Some(VmJob::Outgoing),
                Some(VmJob::Outgoing),
            ),
            (sys::VIR_DOMAIN_PAUSED_USER, None, None),
            (sys::VIR_DOMAIN_PAUSED_SNAPSHOT, None, None),
            (sys::VIR_DOMAIN_PAUSED_FROM_SNAPSHOT, None, None),
            (sys::VIR_DOMAIN_PAUSED_IOERROR, None, None),
            (sys::VIR_DOMAIN_PAUSED_UNKNOWN, None, None),
        ] {
            let jobs = (paused(reason).job(false), paused(reason).job(true));
            assert_eq!(jobs, (new, known), "reason {reason}");
            assert_eq!(paused(reason).run_state(), VmState::Paused);
            let ends = [
                sys::VIR_DOMAIN_PAUSED_MIGRATION,
                sys::VIR_DOMAIN_PAUSED_SAVE,
                sys::VIR_DOMAIN_PAUSED_DUMP,
            ];
            assert_eq!(paused(reason).can_be_ended(true), ends.contains(&reason));
            assert_eq!(
                paused(reason).is_migrating(),
                reason == sys::VIR_DOMAIN_PAUSED_MIGRATION
            );
            assert_eq!(
                paused(reason).can_be_ended(false),
                ends[1..].contains(&reason)
            );
        }
        // The reasons of other states have the same numbers.
        for state in [sys::VIR_DOMAIN_RUNNING, sys::VIR_DOMAIN_SHUTOFF] {
            for reason in 0..15 {
                let other = RawState { state, reason };
                assert_eq!((other.job(false), other.can_be_ended(true)), (None, false));
            }
        }
    }

    #[test]
    fn states_are_told_apart() {
        for (state, expected) in [
            (sys::VIR_DOMAIN_NOSTATE, VmState::Running),
            (sys::VIR_DOMAIN_RUNNING, VmState::Running),
            (sys::VIR_DOMAIN_BLOCKED, VmState::Running),
            (sys::VIR_DOMAIN_SHUTDOWN, VmState::Running),
            (sys::VIR_DOMAIN_PMSUSPENDED, VmState::Paused),
            (sys::VIR_DOMAIN_CRASHED, VmState::Paused),
            (sys::VIR_DOMAIN_SHUTOFF, VmState::Off),
        ] {
            assert_eq!(
                RawState { state, reason: 0 }.run_state(),
                expected,
                "{state}"
            );
        }
    }

    #[test]
    fn a_vm_is_here_once_it_was_seen_running_in_this_start() {
        let migrating = paused(sys::VIR_DOMAIN_PAUSED_MIGRATION);
        let here = Here::default();
        assert!(!here.note(VM, Some(3), migrating), "it comes in");
        assert!(here.note(VM, Some(3), RUNS));
        assert!(here.note(VM, Some(3), migrating), "it leaves");
        assert!(!here.note(VM, Some(4), migrating), "it comes back");
        here.runs(VM, 4);
        assert!(here.note(VM, Some(4), migrating));
        here.stopped(VM);
        assert!(!here.note(VM, Some(4), migrating));
        // A VM that came in paused by its user is here as well.
        assert!(here.note(VM, Some(5), paused(sys::VIR_DOMAIN_PAUSED_USER)));
        assert!(here.note(VM, Some(5), migrating));
        here.keep(|vm| vm != VM);
        assert!(!here.note(VM, Some(5), migrating));
        assert!(here.note(VM, Some(6), RUNS));
        let off = RawState {
            state: sys::VIR_DOMAIN_SHUTOFF,
            reason: 0,
        };
        assert!(!here.note(VM, None, off));
        assert!(!here.note(VM, Some(6), migrating));
    }
}
