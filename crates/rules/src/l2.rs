//! What follows on the host from where a NIC's frames go: one table, and the order in which a host is
//! brought from one row to another.
//!
//! | | `Tap` | `Both` | `Vf` | `Absent` |
//! |---|---|---|---|---|
//! | bridge's entry of the address | at the tap | none | at the uplink | none |
//! | adapter receives for the address (filter) | yes | yes | no | no |
//! | tap is flooded with what is for unknown addresses | yes | yes | no | no |
//! | bridge learns at tap and uplink | yes | no | yes | yes |
//! | VF carries the address | until it is released | yes | yes | no |
//!
//! Where a driver cannot have an address in the filter and on a VF at once ([`profile::shares_addresses`]) the
//! filter has it only while no VF carries it, in whatever phase: from the moment the VF is given the address
//! until the guest uses it frames that wait at the tap are all that is kept.
//!
//! Entries are static and move: whichever path the guest sends by, the bridge follows it there at
//! once, without us, and tells of it. Only while both paths are open is there none, and nothing is
//! learned: then frames for the guest go both ways.
//!
//! The order ([`difference`]) is one for all changes: what lets frames wait or opens a way comes before
//! the entry that uses it, what closes one after. Each action is an idempotent `ensure`, so a change
//! that was interrupted is done by doing what is left of it.

use std::collections::BTreeSet;

use accelnet_model::{AdapterFacts, BridgePort, FdbKey, IfName, MacAddr, VfFacts};

use crate::{
    action::{Action, Hold},
    phase::Phase,
    profile,
};

/// How frames get from a VF to the switch and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Datapath {
    /// The card's own embedded switch, which knows addresses by filters (VEB).
    LegacyVeb,
}

/// Where the bridge has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// At the NIC's tap.
    Tap,
    /// At the uplink.
    Uplink,
    /// Nowhere that we set.
    Nowhere,
}

/// What a NIC's phase asks of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct L2 {
    /// Where the bridge's entry is.
    pub entry: At,
    /// The adapter receives for the address.
    pub filter: bool,
    /// The tap is flooded.
    pub flood: bool,
    /// The bridge learns at tap and uplink.
    pub learns: bool,
}

/// The row of a phase.
pub fn l2(phase: Phase, datapath: Datapath) -> L2 {
    let Datapath::LegacyVeb = datapath;
    let row = |entry, filter, flood, learns| L2 {
        entry,
        filter,
        flood,
        learns,
    };
    match phase {
        Phase::Tap => row(At::Tap, true, true, true),
        Phase::Both => row(At::Nowhere, true, true, false),
        Phase::Vf => row(At::Uplink, false, false, true),
        Phase::Absent => row(At::Nowhere, false, false, true),
    }
}

/// One NIC with its surroundings.
#[derive(Debug)]
pub struct Place<'a> {
    /// The NIC's address.
    pub mac: MacAddr,
    /// Its tap.
    pub tap: &'a BridgePort,
    /// Ports of the bridge by which frames leave.
    pub uplinks: Vec<&'a BridgePort>,
    /// The one of them by which the NIC's VF is reached.
    pub way: Option<&'a IfName>,
    /// Adapters below them.
    pub adapters: Vec<&'a AdapterFacts>,
    /// What its hold queue shall be; `None` if it cannot stand by, or has no place for a queue.
    pub hold: Option<Hold>,
    /// What the queue was told last, if that is known: it cannot be read.
    pub told: Option<Hold>,
    /// Learning at the tap was turned off by us: only then it is turned on again.
    pub may_learn: bool,
    /// The same of flooding. A tap that others keep from being flooded (libvirt's `macTableManager`) is
    /// reached by an entry alone, which stays there while both paths are open.
    pub may_flood: bool,
    /// The ring behind the tap is known to be long enough.
    pub has_room: bool,
    /// What its VF must still be given.
    pub dress: Option<Action>,
    /// Ports at which the bridge was made to forget the address since both paths were opened. What it
    /// learned in the moment before it stopped to is not seen.
    pub forgotten: BTreeSet<&'a IfName>,
}

impl Place<'_> {
    fn has_entry(&self, port: &BridgePort, only_fixed: bool) -> bool {
        let mut entries = port.entries_of(FdbKey {
            mac: self.mac,
            vlan: self.tap.pvid,
        });
        entries.any(|entry| entry.fixed || !only_fixed)
    }

    fn entry(&self, port: &IfName, present: bool) -> Action {
        Action::BridgeEntry {
            port: port.clone(),
            mac: self.mac,
            vlan: self.tap.pvid,
            present,
        }
    }

    /// A VF of the adapter carries the address, or is about to.
    fn on_vf(&self, adapter: &AdapterFacts) -> bool {
        let dressed = matches!(
            &self.dress,
            Some(Action::Dress { pf, attributes, .. })
                if *pf == adapter.pci && attributes.mac == self.mac
        );
        let undressed = |vf: &VfFacts| matches!(&self.dress, Some(Action::Dress { vf: its, .. }) if *its == vf.pci);
        let mut vfs = adapter.vfs.iter();
        dressed || vfs.any(|vf| vf.attributes.mac == self.mac && !undressed(vf))
    }

    /// The adapter shall receive for the address: not if that cannot be beside a VF that carries it.
    fn receives(&self, adapter: &AdapterFacts, wanted: L2) -> bool {
        wanted.filter && (profile::shares_addresses(adapter) || !self.on_vf(adapter))
    }

    /// Filters that are not as they shall be.
    fn filters(&self, present: bool, wanted: L2) -> impl Iterator<Item = Action> {
        let others = self.adapters.iter().filter(move |adapter| {
            self.receives(adapter, wanted) == present
                && adapter.filter.contains(&self.mac) != present
                && adapter.mac != self.mac
        });
        others.map(move |adapter| Action::Filter {
            pf: adapter.ifname.clone(),
            mac: self.mac,
            present,
        })
    }

    fn queue(&self, wanted: Hold) -> Option<Action> {
        let there = self.tap.hold_queue && self.told == Some(wanted);
        let hold = self.hold.filter(|hold| *hold == wanted && !there)?;
        let tap = self.tap.ifname.clone();
        Some(Action::HoldQueue { tap, hold })
    }
}

/// What is left to do for a NIC whose phase asks for `wanted`, in the order in which it loses nothing.
pub fn difference(place: &Place<'_>, mut wanted: L2) -> Vec<Action> {
    if wanted.entry == At::Nowhere && wanted.flood && !place.tap.flood && !place.may_flood {
        wanted.entry = At::Tap;
    }
    let tap = || place.tap.ifname.clone();
    let flood = |on| Action::PortFlood { port: tap(), on };
    let learning = |on| Action::PortLearning { port: tap(), on };
    let mut actions = Vec::new();
    // Frames wait before a way is opened, and go on once it is. A queue is put in place first of all.
    actions.extend(place.queue(Hold::Wait));
    if wanted.entry == At::Nowhere {
        actions.extend(place.queue(Hold::Pass));
    }
    if !wanted.learns {
        // Else the bridge would learn at once what is taken out of its table now.
        let ports = place.uplinks.iter().chain([&place.tap]);
        let learning = ports.filter(|port| port.learning);
        actions.extend(learning.map(|port| Action::PortLearning {
            port: port.ifname.clone(),
            on: false,
        }));
    }
    if wanted.flood && !place.tap.flood && place.may_flood {
        actions.push(flood(true));
    }
    actions.extend(place.filters(true, wanted));
    if wanted.filter {
        // Only where an address cannot be at both: there the VF takes none that the filter has.
        actions.extend(place.filters(false, wanted));
    }
    entries(place, wanted, &mut actions);
    actions.extend(place.dress.clone());
    if wanted.entry != At::Nowhere {
        actions.extend(place.queue(Hold::Pass));
    }
    if wanted.entry == At::Tap && !place.has_entry(place.tap, true) {
        actions.push(place.entry(&place.tap.ifname, true));
    }
    if !wanted.filter {
        actions.extend(place.filters(false, wanted));
    }
    if wanted.entry == At::Uplink && place.hold.is_some() && !place.has_room {
        actions.push(Action::TapRoom { tap: tap() });
    }
    if !wanted.flood && place.tap.flood {
        actions.push(flood(false));
    }
    if wanted.learns && !place.tap.learning && place.may_learn {
        actions.push(learning(true));
    }
    actions
}

/// Entries that are where they must not be go; that at the uplink comes. (One at the tap comes later, and
/// takes the address from wherever it is.)
fn entries(place: &Place<'_>, wanted: L2, actions: &mut Vec<Action>) {
    let both = wanted.entry == At::Nowhere && wanted.filter;
    let unsure = |port: &BridgePort| both && !place.forgotten.contains(&port.ifname);
    if wanted.entry == At::Nowhere && (place.has_entry(place.tap, false) || unsure(place.tap)) {
        actions.push(place.entry(&place.tap.ifname, false));
    }
    for uplink in &place.uplinks {
        let is_way = place.way == Some(&uplink.ifname);
        match wanted.entry {
            At::Uplink if is_way && !place.has_entry(uplink, true) => {
                actions.push(place.entry(&uplink.ifname, true));
            }
            // Of a guest that is not here any more the bridge knows better than we; what it does not
            // know by itself is ours.
            At::Nowhere if place.has_entry(uplink, !wanted.filter) || unsure(uplink) => {
                actions.push(place.entry(&uplink.ifname, false));
            }
            At::Uplink | At::Nowhere | At::Tap => {}
        }
    }
}

#[cfg(test)]
mod tests;
