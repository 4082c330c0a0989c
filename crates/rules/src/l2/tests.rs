//! A host that is brought from any row of the table to any other, and interrupted on its way.

use accelnet_model::FdbEntry;
use proptest::prelude::*;

use super::*;
use crate::fixture;

const PHASES: [Phase; 4] = [Phase::Tap, Phase::Both, Phase::Vf, Phase::Absent];

#[derive(Debug, Clone)]
struct Host {
    mac: MacAddr,
    tap: BridgePort,
    uplink: BridgePort,
    adapter: AdapterFacts,
    told: Option<Hold>,
    forgotten: BTreeSet<IfName>,
    room: bool,
    may_flood: bool,
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
            may_flood: true,
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
            may_learn: true,
            may_flood: self.may_flood,
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
        let (mac, vlan, port) = (self.mac, self.tap.pvid, port.parse().unwrap());
        let other = |entry: &FdbEntry| entry.mac != mac || entry.vlan != vlan;
        if present {
            // A bridge has one entry of an address in a VLAN.
            let ports = [&mut self.tap, &mut self.uplink];
            ports.into_iter().for_each(|port| port.fdb.retain(other));
            self.port(&port).fdb.push(FdbEntry {
                mac,
                vlan,
                local: false,
                fixed,
                sticky: false,
            });
        } else {
            self.port(&port).fdb.retain(other);
        }
    }

    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::BridgeEntry {
                port,
                present,
                vlan,
                ..
            } => {
                assert_eq!(*vlan, self.tap.pvid);
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
        let (mac, vlan) = (self.mac, self.tap.pvid);
        let its = |entry: &FdbEntry| entry.mac == mac && entry.vlan == vlan;
        let has = |port: &BridgePort| port.fdb.iter().any(its);
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
        // Of a guest that is gone the bridge may have learned where it is now.
        let mut learned = self.uplink.entries_of(FdbKey {
            mac: self.mac,
            vlan: self.tap.pvid,
        });
        let elsewhere = phase == Phase::Absent && learned.any(|entry| !entry.fixed);
        if !elsewhere {
            assert_eq!(self.entry(), wanted.entry, "{what}");
        }
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
        may_learn: false,
        may_flood: false,
        has_room: false,
        dress: None,
        forgotten: BTreeSet::new(),
    };
    let actions = difference(&place, l2(Phase::Tap, Datapath::LegacyVeb));
    let entries = |action: &Action| matches!(action, Action::BridgeEntry { .. });
    assert!(actions.iter().all(entries), "{actions:?}");
}

/// A host that somebody left in any state, with all ports ours.
fn any_host() -> impl Strategy<Value = Host> {
    let entry = prop::option::of((any::<bool>(), any::<bool>()));
    let told = prop::option::of(prop_oneof![Just(Hold::Pass), Just(Hold::Wait)]);
    (any::<[bool; 8]>(), entry, told, any::<bool>()).prop_map(|(flags, entry, told, by_vlan)| {
        let [learns, at_uplink, floods, queue, filter, room, tap, uplink] = flags;
        let mut host = Host::new();
        host.move_entry("vnet1", false, false);
        if by_vlan {
            // Of the time when the guest was in another.
            for (port, vlan) in [(&mut host.tap, 1), (&mut host.uplink, 7)] {
                port.fdb.push(FdbEntry {
                    mac: host.mac,
                    vlan: Some(vlan),
                    local: false,
                    fixed: true,
                    sticky: false,
                });
            }
            host.tap.pvid = Some(42);
        }
        (host.tap.learning, host.uplink.learning) = (learns, at_uplink);
        (host.tap.flood, host.tap.hold_queue) = (floods, queue);
        (host.told, host.room) = (told, room);
        if filter {
            host.adapter.filter.push(host.mac);
        }
        if let Some((at_tap, fixed)) = entry {
            host.move_entry(if at_tap { "vnet1" } else { "pf0" }, true, fixed);
        }
        let forgotten = [(tap, "vnet1"), (uplink, "pf0")];
        let forgotten = forgotten.iter().filter(|(is, _)| *is);
        host.forgotten = forgotten.map(|(_, name)| name.parse().unwrap()).collect();
        host
    })
}

/// Where an action stands in the one order: what lets wait or opens, what moves the address, what closes.
fn rank(action: &Action, wanted: L2) -> u8 {
    let opens = wanted.entry == At::Nowhere;
    match action {
        Action::HoldQueue {
            hold: Hold::Wait, ..
        } => 0,
        // Where the address has no entry frames are flooded, and the queue is there to pass them.
        Action::HoldQueue {
            hold: Hold::Pass, ..
        } if opens => 1,
        // Else the bridge learns at once what is taken out.
        Action::PortLearning { on: false, .. } => 2,
        Action::PortFlood { on: true, .. } => 3,
        Action::Filter { present: true, .. } => 4,
        Action::BridgeEntry { port, .. } if opens || port.as_str() == "pf0" => 5,
        // What waited goes on before later frames may overtake it by the entry.
        Action::HoldQueue { .. } => 6,
        Action::BridgeEntry { .. } => 7,
        Action::Filter { present: false, .. } => 8,
        // It restarts the tap's queue: nothing comes there any more.
        Action::TapRoom { .. } => 9,
        Action::PortFlood { on: false, .. } => 10,
        Action::PortLearning { on: true, .. } => 11,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn from_any_state_in_one_order_to_the_row_of_the_table(
        start in any_host(),
        to in prop::sample::select(&PHASES[..]),
        left_out in any::<prop::sample::Index>(),
    ) {
        let wanted = l2(to, Datapath::LegacyVeb);
        let actions = start.actions(to);
        let ranks: Vec<u8> = actions.iter().map(|action| rank(action, wanted)).collect();
        prop_assert!(ranks.is_sorted(), "{:?}", actions);
        let mut host = start.clone();
        let (mut reached, way_in) = (host.tap_is_reached(), wanted.filter);
        for action in &actions {
            host.carry_out(action);
            // Who is to be reached by the tap does not stop being.
            prop_assert!(host.tap_is_reached() || !reached || !way_in, "{:?}", action);
            reached = host.tap_is_reached();
        }
        prop_assert_eq!(reached, way_in);
        host.assert_stands(to, "all done");

        // The same if it is interrupted, and gone on with.
        let mut host = start;
        let done = left_out.index(actions.len() + 1);
        actions[..done].iter().for_each(|action| host.carry_out(action));
        prop_assert_eq!(host.actions(to), &actions[done..]);
    }
}

/// With libvirt's `macTableManager='libvirt'` the tap gets what it has an entry for, and nothing else.
#[test]
fn a_tap_that_others_keep_from_being_flooded_is_reached_by_its_entry() {
    let mut host = Host::new();
    (host.tap.flood, host.may_flood) = (false, false);
    for phase in [Phase::Tap, Phase::Both, Phase::Vf, Phase::Both, Phase::Tap] {
        for action in host.actions(phase) {
            assert!(!matches!(action, Action::PortFlood { .. }), "{action:?}");
            host.carry_out(&action);
        }
        assert_eq!(host.actions(phase), []);
        assert_eq!(host.tap_is_reached(), phase != Phase::Vf, "{phase:?}");
    }
}

/// A card on which an address is in the filter or on a VF: never in both, on the way to the VF and back, and the
/// filter gives it up before the VF takes it.
#[test]
fn an_address_that_cannot_be_at_both_is_never_at_both() {
    let mut host = Host::standing(Phase::Tap);
    host.adapter.driver = Some("ice".into());
    host.adapter.driver_version = Some("5.15.0".into());
    assert!(host.adapter.filter.contains(&host.mac));
    let carries = accelnet_model::VfAttributes::for_mac(host.mac);
    let dress = Action::Dress {
        pf: host.adapter.pci,
        uplink: host.adapter.ifname.clone(),
        index: 0,
        vf: host.adapter.vfs[0].pci,
        attributes: carries.clone(),
    };
    let both = |host: &Host, dress: Option<Action>| {
        let place = Place {
            mac: host.mac,
            tap: &host.tap,
            uplinks: vec![&host.uplink],
            way: Some(&host.uplink.ifname),
            adapters: vec![&host.adapter],
            hold: Some(Hold::Wait),
            told: None,
            may_learn: true,
            may_flood: true,
            has_room: true,
            dress,
            forgotten: BTreeSet::new(),
        };
        difference(&place, l2(Phase::Both, Datapath::LegacyVeb))
    };
    let actions = both(&host, Some(dress.clone()));
    let at = |wanted: &dyn Fn(&Action) -> bool| actions.iter().position(wanted);
    let gives_up = at(&|action| matches!(action, Action::Filter { present: false, .. }));
    let dressed = at(&|action| *action == dress);
    assert!(gives_up.is_some() && gives_up < dressed, "{actions:?}");
    assert_eq!(
        at(&|action| matches!(action, Action::Filter { present: true, .. })),
        None
    );
    // And nothing is put into the filter as long as the VF has it, also on the tap.
    host.adapter.filter.clear();
    host.adapter.vfs[0].attributes = carries;
    let filters = |actions: Vec<Action>| {
        let filter = |action: &&Action| matches!(action, Action::Filter { .. });
        actions.iter().filter(filter).count()
    };
    assert_eq!(filters(both(&host, None)), 0);
    assert_eq!(filters(host.actions(Phase::Tap)), 0);
    host.adapter.vfs[0].attributes = accelnet_model::VfAttributes::baseline();
    assert_eq!(filters(host.actions(Phase::Tap)), 1);
}
