//! What the agent counts of its own work, for whoever asks how it does.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use accelnet_api::metrics::Histogram;
use accelnet_model::{IfName, MacAddr, NicPath, NodeStatus};
use accelnet_rules::action::{Action, HOLD_LIMIT, Hold};
use uuid::Uuid;

use crate::event::Done;

/// Looks of one kind.
#[derive(Debug, Clone, Default)]
pub struct LookFigures {
    /// How long they took.
    pub took: Histogram,
    /// When the last one ended, on the host's clock.
    pub ended: Option<Duration>,
}

/// The path of one NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathFigures {
    /// It.
    pub path: NicPath,
    /// Since when, on the host's clock.
    pub since: Duration,
    /// How often it was another one of VF and switch than before.
    pub switches: u64,
}

/// All of it at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Looks at the machine.
    pub machine: LookFigures,
    /// Looks at the VMs.
    pub vms: LookFigures,
    /// Paths of NICs of VMs that have a level.
    pub paths: BTreeMap<(Uuid, MacAddr), PathFigures>,
    /// How long frames waited at most in the last change of a path that held them.
    pub last_hold: Option<Duration>,
    /// Taps that hold frames, and since when.
    holding: BTreeMap<IfName, Duration>,
}

/// What was counted so far.
#[derive(Debug, Default)]
pub struct Figures(Mutex<Snapshot>);

impl Figures {
    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// A look at the machine is over.
    pub fn looked_at_machine(&self, began: Duration, ended: Duration) {
        self.lock().machine.note(began, ended);
    }

    /// A look at the VMs is over.
    pub fn looked_at_vms(&self, began: Duration, ended: Duration) {
        self.lock().vms.note(began, ended);
    }

    /// Something was done with frames, one after the other, from then on.
    pub fn did(&self, began: Duration, done: &[Done]) {
        self.lock().did(began, done);
    }

    /// There is a new report.
    pub fn reported(&self, status: &NodeStatus, now: Duration) {
        self.lock().reported(status, now);
    }
}

impl LookFigures {
    fn note(&mut self, began: Duration, ended: Duration) {
        self.took.note(ended.saturating_sub(began));
        self.ended = Some(ended);
    }
}

impl Snapshot {
    fn did(&mut self, began: Duration, done: &[Done]) {
        let mut at = began;
        for one in done {
            let (before, after) = (at, at + one.took);
            at = after;
            let (Action::HoldQueue { tap, hold }, Some(Ok(_))) = (&one.action, &one.result) else {
                continue;
            };
            match hold {
                Hold::Wait => drop(self.holding.entry(tap.clone()).or_insert(before)),
                Hold::Pass => {
                    if let Some(since) = self.holding.remove(tap) {
                        // The kernel lets them go by itself then.
                        self.last_hold = Some(after.saturating_sub(since).min(HOLD_LIMIT));
                    }
                }
            }
        }
    }

    fn reported(&mut self, status: &NodeStatus, now: Duration) {
        let with_level = status.vms.iter().filter(|vm| vm.level.is_some());
        let mut there = BTreeMap::new();
        for vm in with_level {
            for nic in &vm.nics {
                let key = (vm.facts.uuid, nic.mac);
                let before = self.paths.get(&key);
                there.insert(key, path(before, nic.path, now));
            }
        }
        // Of a VM that cannot be seen nobody says that it is gone, or that its path is another one.
        let unseen = |vm: Uuid| {
            let mut unseen = status.unseen_vms.iter();
            status.node.libvirt.is_none() || unseen.any(|known| known.uuid == vm)
        };
        let kept = self.paths.iter().filter(|((vm, _), _)| unseen(*vm));
        for (key, path) in kept {
            there.entry(*key).or_insert(*path);
        }
        self.paths = there;
        // A tap that went while it held frames holds none.
        self.holding
            .retain(|_, since| now.saturating_sub(*since) < HOLD_LIMIT * 2);
    }
}

fn path(before: Option<&PathFigures>, is: NicPath, now: Duration) -> PathFigures {
    let Some(before) = before else {
        return PathFigures {
            path: is,
            since: now,
            switches: 0,
        };
    };
    let switched = matches!(
        (before.path, is),
        (NicPath::Vf, NicPath::Synthetic) | (NicPath::Synthetic, NicPath::Vf)
    );
    PathFigures {
        path: is,
        since: match before.path == is {
            true => before.since,
            false => now,
        },
        switches: before.switches + u64::from(switched),
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{Performance, VmStatus};
    use accelnet_rules::fixture;

    use super::*;
    use crate::event::Outcome;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn status(path: Option<NicPath>) -> NodeStatus {
        let vm = path.map(|path| {
            let mut vm = VmStatus::of(fixture::vm(1));
            (vm.level, vm.nics[0].path) = (Some(Performance::Low), path);
            vm
        });
        let mut status = NodeStatus {
            vms: vm.into_iter().collect(),
            ..NodeStatus::default()
        };
        status.node.libvirt = Some((11, 0, 0));
        status
    }

    #[test]
    fn switches_are_changes_between_vf_and_switch_and_last_while_the_vm_is_there() {
        let figures = Figures::default();
        let path = |expected: Option<(NicPath, u64, u64)>| {
            let paths = figures.snapshot().paths;
            let found = paths.values().next();
            let found = found.map(|of| (of.path, of.since.as_secs(), of.switches));
            assert_eq!(found, expected);
        };
        figures.reported(&status(Some(NicPath::Synthetic)), seconds(1));
        figures.reported(&status(Some(NicPath::Vf)), seconds(5));
        figures.reported(&status(Some(NicPath::Vf)), seconds(7));
        path(Some((NicPath::Vf, 5, 1)));
        // The VM was off: that is no switch.
        figures.reported(&status(Some(NicPath::None)), seconds(8));
        figures.reported(&status(Some(NicPath::Vf)), seconds(9));
        path(Some((NicPath::Vf, 9, 1)));
        let mut blind = status(None);
        blind.node.libvirt = None;
        figures.reported(&blind, seconds(10));
        path(Some((NicPath::Vf, 9, 1)));
        figures.reported(&status(None), seconds(11));
        path(None);
    }

    #[test]
    fn the_last_hold_is_from_the_moment_that_frames_wait_to_that_when_they_pass() {
        let hold = |hold, took| Done {
            nic: None,
            action: Action::HoldQueue {
                tap: "vnet0".parse().unwrap(),
                hold,
            },
            result: Some(Ok(Outcome::default())),
            took: Duration::from_millis(took),
        };
        let figures = Figures::default();
        figures.did(seconds(1), &[hold(Hold::Pass, 5)]);
        assert_eq!(figures.snapshot().last_hold, None);
        figures.did(seconds(2), &[hold(Hold::Wait, 10), hold(Hold::Wait, 10)]);
        figures.did(
            seconds(2) + Duration::from_millis(30),
            &[hold(Hold::Pass, 5)],
        );
        assert_eq!(
            figures.snapshot().last_hold,
            Some(Duration::from_millis(35))
        );
        // Whoever lets them pass too late finds that the kernel has.
        figures.did(seconds(3), &[hold(Hold::Wait, 10)]);
        figures.did(seconds(60), &[hold(Hold::Pass, 5)]);
        assert_eq!(figures.snapshot().last_hold, Some(HOLD_LIMIT));
    }
}
