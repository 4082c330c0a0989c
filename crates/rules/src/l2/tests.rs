//! A host that is brought from any row of the table to any other, and interrupted on its way.

use accelnet_model::FdbEntry;

use super::*;
use crate::fixture;

const PHASES: [Phase; 4] = [Phase::Tap, Phase::Both, Phase::Vf, Phase::Absent];

#[derive(Clone)]
struct Host {
    mac: MacAddr,
    tap: BridgePort,
    uplink: BridgePort,
    adapter: AdapterFacts,
    told: Option<Hold>,
    forgotten: BTreeSet<IfName>,
    room: bool,
}

impl Host {
    /// Untouched: the bridge has learned the guest's address at its tap.
    fn new() -> Self {
        let mac = fixture::vm(1).nics[0].mac;
        let mut tap = fixture::port("vnet1", None);
        (tap.learning, tap.flood) = (true, true);
        let mut uplink = fixture::port("pf0", None);
        (uplink.learning, uplink.flood) = (true, true);
        let mut host = Self {
            mac,
            tap,
            uplink,
            adapter: fixture::adapter(2),
            told: None,
            forgotten: BTreeSet::new(),
            room: false,
        };
        host.move_entry("vnet1", true, false);
        host
    }

    /// The same as a phase leaves it.
    fn standing(phase: Phase) -> Self {
        let mut host = Self::new();
        let actions = host.actions(phase);
        actions.iter().for_each(|action| host.carry_out(action));
        host
    }

    fn actions(&self, phase: Phase) -> Vec<Action> {
        let hold = match phase {
            Phase::Both | Phase::Vf => Hold::Wait,
            Phase::Tap | Phase::Absent => Hold::Pass,
        };
        let place = Place {
            mac: self.mac,
            tap: &self.tap,
            uplinks: vec![&self.uplink],
            way: Some(&self.uplink.ifname),
            adapters: vec![&self.adapter],
            hold: Some(hold),
            told: self.told,
            ours: true,
            has_room: self.room,
            dress: None,
            forgotten: self.forgotten.iter().collect(),
        };
        difference(&place, l2(phase, Datapath::LegacyVeb))
    }

    fn port(&mut self, name: &IfName) -> &mut BridgePort {
        match *name == self.tap.ifname {
            true => &mut self.tap,
            false => &mut self.uplink,
        }
    }

    fn move_entry(&mut self, port: &str, present: bool, fixed: bool) {
        let (mac, port) = (self.mac, port.parse().unwrap());
        if present {
            // A bridge has one entry of an address.
            let ports = [&mut self.tap, &mut self.uplink];
            ports
                .into_iter()
                .for_each(|port| port.fdb.retain(|entry| entry.mac != mac));
            self.port(&port).fdb.push(FdbEntry {
                mac,
                vlan: None,
                local: false,
                fixed,
                sticky: false,
            });
        } else {
            self.port(&port).fdb.retain(|entry| entry.mac != mac);
        }
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::BridgeEntry { port, present, .. } => {
                self.move_entry(port.as_str(), *present, true);
                if !present {
                    self.forgotten.insert(port.clone());
                }
            }
            Action::Filter { mac, present, .. } => {
                self.adapter.filter.retain(|of| of != mac);
                if *present {
                    self.adapter.filter.push(*mac);
                }
            }
            Action::PortFlood { port, on } => self.port(port).flood = *on,
            Action::PortLearning { port, on } => self.port(port).learning = *on,
            Action::HoldQueue { hold, .. } => {
                (self.tap.hold_queue, self.told) = (true, Some(*hold));
            }
            Action::TapRoom { .. } => self.room = true,
            other => panic!("{other:?}"),
        }
    }

    fn entry(&self) -> At {
        let mac = self.mac;
        let has = |port: &BridgePort| port.fdb.iter().any(|entry| entry.mac == mac);
        match (has(&self.tap), has(&self.uplink)) {
            (true, _) => At::Tap,
            (_, true) => At::Uplink,
            _ => At::Nowhere,
        }
    }

    /// Frames from the wire for the guest come as far as its tap, where they wait or not.
    fn tap_is_reached(&self) -> bool {
        let by_bridge = match self.entry() {
            At::Tap => true,
            At::Nowhere => self.tap.flood,
            At::Uplink => false,
        };
        by_bridge && self.adapter.filter.contains(&self.mac)
    }

    fn assert_stands(&self, phase: Phase, what: &str) {
        let wanted = l2(phase, Datapath::LegacyVeb);
        assert!(
            self.actions(phase).is_empty(),
            "{what}: {:?}",
            self.actions(phase)
        );
        assert_eq!(self.entry(), wanted.entry, "{what}");
        let filter = self.adapter.filter.contains(&self.mac);
        assert_eq!(filter, wanted.filter, "{what}");
        if phase != Phase::Absent {
            assert_eq!(self.tap.flood, wanted.flood, "{what}");
        }
        assert_eq!(self.tap.learning, wanted.learns, "{what}");
    }
}

#[test]
fn from_any_phase_to_any_other_also_if_interrupted_anywhere() {
    for from in PHASES {
        for through in PHASES {
            let begun = Host::standing(from);
            let first = begun.actions(through);
            for stop in 0..=first.len() {
                for to in PHASES {
                    let mut host = begun.clone();
                    first[..stop]
                        .iter()
                        .for_each(|action| host.carry_out(action));
                    host.forgotten.clear();
                    // An agent that starts does not know what a queue was told.
                    host.told = None;
                    for action in &host.actions(to) {
                        host.carry_out(action);
                    }
                    let what = format!("{from:?} to {through:?}, {stop} actions, then {to:?}");
                    host.assert_stands(to, &what);
                }
            }
        }
    }
}

#[test]
fn what_the_guest_gets_by_its_tap_does_not_stop_between_tap_and_both() {
    for (from, to) in [
        (Phase::Tap, Phase::Both),
        (Phase::Both, Phase::Tap),
        (Phase::Vf, Phase::Tap),
    ] {
        let mut host = Host::standing(from);
        let mut reached = host.tap_is_reached();
        assert_eq!(reached, from != Phase::Vf);
        for action in host.actions(to) {
            host.carry_out(&action);
            assert!(
                host.tap_is_reached() || !reached,
                "{from:?} to {to:?}: {action:?}"
            );
            reached |= host.tap_is_reached();
        }
        assert!(reached);
    }
}

#[test]
fn frames_wait_before_the_way_by_the_tap_opens() {
    let mut host = Host::standing(Phase::Vf);
    host.told = None;
    for action in host.actions(Phase::Both) {
        host.carry_out(&action);
        assert!(host.told == Some(Hold::Wait) || !host.tap_is_reached());
    }
    assert!(host.tap_is_reached());
}

#[test]
fn flags_of_a_port_that_are_not_ours_stay() {
    let mut host = Host::new();
    (host.tap.learning, host.tap.flood) = (false, false);
    let place = Place {
        mac: host.mac,
        tap: &host.tap,
        uplinks: vec![&host.uplink],
        way: None,
        adapters: vec![],
        hold: None,
        told: None,
        ours: false,
        has_room: false,
        dress: None,
        forgotten: BTreeSet::new(),
    };
    let actions = difference(&place, l2(Phase::Tap, Datapath::LegacyVeb));
    let entries = |action: &Action| matches!(action, Action::BridgeEntry { .. });
    assert!(actions.iter().all(entries), "{actions:?}");
}
