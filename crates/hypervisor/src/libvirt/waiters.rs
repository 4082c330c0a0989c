//! Who waits for a device of a VM to come or go, and wakes at its events.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use uuid::Uuid;

/// All that wait.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    all: Vec<One>,
}

#[derive(Debug)]
struct One {
    number: u64,
    vm: Uuid,
    changed: bool,
    refused: bool,
}

/// Somebody who waits for one VM. What happens from its making on wakes it, also between two waits.
#[derive(Debug)]
pub struct Waiter<'a> {
    waiters: &'a Waiters,
    number: u64,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// A device came or went, or the VM's own state changed.
    Changed,
    /// The guest said that it does not give up a device.
    Refused,
    /// Nothing happened.
    Nothing,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this VM from now on.
    pub fn wait_for(&self, vm: Uuid) -> Waiter<'_> {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.all.push(One {
            number,
            vm,
            changed: false,
            refused: false,
        });
        Waiter {
            waiters: self,
            number,
        }
    }

    /// Something of this VM changed.
    pub fn changed(&self, vm: Uuid) {
        self.tell(vm, |one| one.changed = true);
    }

    /// Its guest does not give up a device.
    pub fn refused(&self, vm: Uuid) {
        self.tell(vm, |one| one.refused = true);
    }

    fn tell(&self, vm: Uuid, what: impl Fn(&mut One)) {
        let mut waiting = self.lock();
        waiting
            .all
            .iter_mut()
            .filter(|one| one.vm == vm)
            .for_each(what);
        drop(waiting);
        self.changed.notify_all();
    }
}

impl Waiter<'_> {
    /// Waits for the next event, or for so long. A refusal that came with a change is told as that.
    pub fn wait(&mut self, limit: Duration) -> Woken {
        let number = self.number;
        let idle = move |waiting: &mut Waiting| {
            let mut all = waiting.all.iter();
            all.any(|one| one.number == number && !one.changed && !one.refused)
        };
        let (mut waiting, _) = self
            .waiters
            .changed
            .wait_timeout_while(self.waiters.lock(), limit, idle)
            .unwrap_or_else(PoisonError::into_inner);
        let Some(one) = waiting.all.iter_mut().find(|one| one.number == number) else {
            return Woken::Nothing;
        };
        let (changed, refused) = (
            std::mem::take(&mut one.changed),
            std::mem::take(&mut one.refused),
        );
        match (changed, refused) {
            (_, true) => Woken::Refused,
            (true, false) => Woken::Changed,
            (false, false) => Woken::Nothing,
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let number = self.number;
        self.waiters.lock().all.retain(|one| one.number != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_wakes_for_its_own_vm_and_loses_nothing() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let waiters = Waiters::default();
        waiters.changed(one);
        let mut waiter = waiters.wait_for(one);
        let mut second = waiters.wait_for(one);
        assert_eq!(waiter.wait(Duration::ZERO), Woken::Nothing, "it was before");
        waiters.changed(other);
        assert_eq!(waiter.wait(Duration::ZERO), Woken::Nothing);
        waiters.changed(one);
        waiters.refused(one);
        let hour = Duration::from_secs(3600);
        assert_eq!(waiter.wait(hour), Woken::Refused);
        assert_eq!(waiter.wait(Duration::ZERO), Woken::Nothing);
        assert_eq!(second.wait(hour), Woken::Refused);
        waiters.changed(one);
        assert_eq!(waiter.wait(hour), Woken::Changed);
        std::thread::scope(|scope| {
            let late = scope.spawn(|| waiters.wait_for(other).wait(hour));
            while waiters.lock().all.len() < 3 {
                std::thread::yield_now();
            }
            waiters.changed(other);
            assert_eq!(late.join().unwrap(), Woken::Changed);
        });
        drop((waiter, second));
        assert!(waiters.lock().all.is_empty());
    }
}
