//! Since when NICs go by the path that they are on, and how often that changed lately.
//!
//! Noticed by the server that decides, since its start; of a NIC whose path has not changed since nothing is known.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use accelnet_model::MacAddr;
use jiff::Timestamp;
use uuid::Uuid;

/// What `lately` means.
pub const LATELY: Duration = Duration::from_secs(3600);
/// NICs that are remembered: twice as many as a large cluster has. More are those that were; then all are forgotten.
const NICS_MAX: usize = 400_000;

/// A change of a NIC's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathChange {
    /// The VM.
    pub vm: Uuid,
    /// The NIC.
    pub mac: MacAddr,
    /// It was between VF and switch; else the VM started or stopped, or the NIC's link did.
    pub switched: bool,
}

#[derive(Debug)]
struct Changed {
    since: Timestamp,
    /// When it switched, on the server's own clock; the last of them last.
    switches: VecDeque<Duration>,
}

/// Changes of paths.
#[derive(Debug, Default)]
pub struct Paths(BTreeMap<(Uuid, MacAddr), Changed>);

impl Paths {
    /// These have changed.
    pub fn note(
        &mut self,
        changes: impl IntoIterator<Item = PathChange>,
        at: Timestamp,
        up: Duration,
    ) {
        for change in changes {
            if self.0.len() >= NICS_MAX {
                self.0.clear();
            }
            let known = self
                .0
                .entry((change.vm, change.mac))
                .or_insert_with(|| Changed {
                    since: at,
                    switches: VecDeque::new(),
                });
            known.since = at;
            known.switches.retain(|switched| up < *switched + LATELY);
            if change.switched {
                known.switches.push_back(up);
            }
        }
    }

    /// Since when a NIC is on its path, if that is known, and how often it switched lately.
    pub fn of(&self, vm: Uuid, mac: MacAddr, up: Duration) -> (Option<Timestamp>, u32) {
        let Some(known) = self.0.get(&(vm, mac)) else {
            return (None, 0);
        };
        let lately = known
            .switches
            .iter()
            .filter(|switched| up < **switched + LATELY);
        (Some(known.since), lately.count() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_known_since_then_and_switches_count_for_an_hour() {
        let (vm, mac) = (Uuid::from_u128(1), MacAddr([2, 0, 0, 0, 0, 1]));
        let at = |second| Timestamp::from_second(second).unwrap();
        let up = Duration::from_secs;
        let change = |switched| [PathChange { vm, mac, switched }];
        let mut paths = Paths::default();
        assert_eq!(paths.of(vm, mac, up(1)), (None, 0));
        paths.note(change(true), at(100), up(10));
        paths.note(change(true), at(200), up(110));
        // The VM was stopped.
        paths.note(change(false), at(300), up(210));
        assert_eq!(paths.of(vm, mac, up(220)), (Some(at(300)), 2));
        assert_eq!(paths.of(vm, mac, up(3610)), (Some(at(300)), 1));
        assert_eq!(paths.of(vm, mac, up(9999)), (Some(at(300)), 0));
    }
}
