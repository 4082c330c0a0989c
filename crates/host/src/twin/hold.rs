//! Hold queues of taps, and the guard that lets go of them when their time is over, whoever is dead.

use accelnet_model::{BridgePort, IfName};

use super::{Machine, new_port};
use crate::{HoldQueue, HostError, HostEvent, Result};

impl Machine {
    /// The queue holds, or lets frames pass. One that is told to hold again has its whole time again.
    pub(super) fn ensure_hold(&mut self, tap: &IfName, wanted: HoldQueue) -> Result<()> {
        if self.foreign_qdiscs.contains(tap) {
            return Err(HostError::ForeignQdisc {
                tap: tap.clone(),
                kind: "tbf".into(),
            });
        }
        let gone = || HostError::Gone(tap.to_string());
        self.port_mut(tap).ok_or_else(gone)?.hold_queue = true;
        self.holds.insert(tap.clone(), wanted);
        self.held_since.remove(tap);
        self.note_holds();
        self.tell(&HostEvent::TrafficControl(tap.to_string()));
        Ok(())
    }

    /// From now on the time of those counts that hold.
    pub(super) fn note_holds(&mut self) {
        let now = self.now;
        let holds = |hold: &HoldQueue| matches!(hold, HoldQueue::Hold { .. });
        for (tap, _) in self.holds.iter().filter(|(_, hold)| holds(hold)) {
            self.held_since.entry(tap.clone()).or_insert(now);
        }
        let all = &self.holds;
        self.held_since
            .retain(|tap, _| all.get(tap).is_some_and(holds));
    }

    /// What has waited for as long as it may passes.
    pub(super) fn let_go_of_holds(&mut self) {
        for (tap, since) in &self.held_since {
            if let Some(hold) = self.holds.get_mut(tap)
                && let HoldQueue::Hold { limit } = *hold
                && self.now >= *since + limit
            {
                *hold = HoldQueue::Pass;
            }
        }
        self.note_holds();
    }

    /// Somebody takes a tap away and makes one anew under its name: nothing that was set on the old one is
    /// on it, and what it has counted begins at zero.
    pub fn make_tap_anew(&mut self, tap: &IfName) {
        let own = |port: &BridgePort| {
            let mut fdb = port.fdb.iter();
            fdb.find(|entry| entry.local).map(|entry| entry.mac)
        };
        if let Some(port) = self.port_mut(tap)
            && let Some(mac) = own(port)
        {
            // Who makes it puts it into its VLAN.
            *port = BridgePort {
                pvid: port.pvid,
                ..new_port(tap, mac)
            };
        }
        self.holds.remove(tap);
        self.foreign_qdiscs.remove(tap);
        self.policy.remove(tap);
        // What is lost meanwhile is the doing of who did that.
        for guest in self.guests.iter_mut().filter(|guest| guest.tap == *tap) {
            guest.excused = true;
        }
        self.tell(&HostEvent::Link(tap.to_string()));
    }
}
