//! Where a unicast frame goes now.
//!
//! ```text
//!   wire ──┐                      ┌── tap (hold queue) ── guest
//!          card ── PF ── bridge ──┤
//!   VF  ───┘                      └── host
//! ```
//!
//! The card gives a frame to every VF that carries its destination (and its VLAN), driven or not, and to the PF if
//! the PF's filter has it. A guest that is on its VF discards what comes by the tap.

use accelnet_model::{AdapterFacts, BridgeFacts, FdbKey, IfName, MacAddr};

use super::{Guest, Machine, vlan};
use crate::HoldQueue;

/// So many neighbours of a guest stand for all: each of more has a turn with others.
const NEIGHBOURS: usize = 4;

/// Where a frame starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Station {
    /// Another machine.
    Wire,
    /// The host itself, on the bridge.
    Host,
    /// The guest with this address, by the path it sends on.
    Guest(MacAddr),
}

/// What became of a frame for a guest. Copies are allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrival {
    /// A copy came by the VF.
    pub by_vf: bool,
    /// A copy came by the tap, and the guest took it.
    pub by_tap: bool,
    /// A copy waits at the tap.
    pub waits: bool,
}

impl Arrival {
    /// The frame is not lost.
    pub fn arrives(self) -> bool {
        self.by_vf || self.by_tap || self.waits
    }
}

/// A frame on its way.
#[derive(Debug, Clone, Copy)]
struct Frame {
    to: MacAddr,
    /// Its VLAN, if it has a tag where it is now.
    tag: Option<u16>,
}

/// Copies of a frame on their way.
#[derive(Debug, Default)]
struct Copies {
    vf: bool,
    taps: Vec<IfName>,
    host: bool,
    wire: bool,
}

impl Machine {
    /// What becomes of a frame from `from` to the guest with address `mac`.
    pub fn frame_to_guest(&self, mac: MacAddr, from: Station) -> Arrival {
        let Some(guest) = self.guests.iter().find(|guest| guest.mac == mac) else {
            return Arrival::default();
        };
        let copies = self.send(mac, from);
        let at_tap = copies.taps.contains(&guest.tap);
        let waits = matches!(self.holds.get(&guest.tap), Some(HoldQueue::Hold { .. }));
        Arrival {
            by_vf: copies.vf && guest.is_on_vf(self.now),
            by_tap: at_tap && !waits && !guest.discards_by_tap(self.now),
            waits: at_tap && waits,
        }
    }

    /// True if a frame from a guest to the host itself arrives.
    pub fn frame_to_host(&self, from: MacAddr) -> bool {
        // Networks are apart: the host is behind each bridge, and a guest's own one counts.
        let own = self.bridge_of(from).map(|bridge| bridge.mac);
        own.is_some_and(|mac| self.send(mac, Station::Guest(from)).host)
    }

    /// True if a frame from a guest to an address elsewhere leaves on the wire.
    pub fn frame_to_wire(&self, from: MacAddr) -> bool {
        const ELSEWHERE: MacAddr = MacAddr([2, 0, 0, 0, 0xee, 0xee]);
        self.send(ELSEWHERE, Station::Guest(from)).wire
    }

    /// True if a frame to an address, whoever has it, comes out of a tap.
    pub fn frame_to_tap(&self, mac: MacAddr, from: Station, tap: &IfName) -> bool {
        self.send(mac, from).taps.contains(tap)
    }

    /// True if a frame from here to an address leaves on the wire: where a VM is that has gone elsewhere.
    pub fn frame_leaves(&self, mac: MacAddr, from: Station) -> bool {
        self.send(mac, from).wire
    }

    /// Guests that cannot be reached from somewhere, or cannot reach it, in words. One that is
    /// excused is left out until it was in reach again.
    pub fn unreachable(&mut self) -> Vec<String> {
        let running: Vec<Guest> = self
            .guests
            .iter()
            .filter(|guest| guest.up && !guest.paused)
            .cloned()
            .collect();
        let mut lost = Vec::new();
        let mut in_reach = Vec::new();
        for (number, guest) in running.iter().enumerate() {
            let mac = guest.mac;
            let network = |mac| self.network_of(mac);
            let next = (1..running.len()).map(|step| (number + step) % running.len());
            let neighbours = next
                .map(|other| running[other].mac)
                .filter(|other| network(*other) == network(mac))
                .take(NEIGHBOURS);
            // Without a link there is nothing but the host and what is on it.
            let wired = self.bridge_of(mac).is_some_and(|its| self.has_link(its));
            let host = network(mac).is_some_and(|(_, vlan)| vlan::is_the_hosts(vlan));
            let from = host.then_some(Station::Host);
            let from: Vec<Station> = from
                .into_iter()
                .chain(wired.then_some(Station::Wire))
                .chain(neighbours.map(Station::Guest))
                .collect();
            let mut ways: Vec<String> = from
                .iter()
                .filter(|from| !self.frame_to_guest(mac, **from).arrives())
                .map(|from| format!("{from:?} to {mac}"))
                .collect();
            if host && !self.frame_to_host(mac) {
                ways.push(format!("{mac} to the host"));
            }
            if wired && !self.frame_to_wire(mac) {
                ways.push(format!("{mac} to the wire"));
            }
            // One whose frames wait was not reached yet, and one that nobody is there to reach neither.
            let waits = |from: &Station| self.frame_to_guest(mac, *from).waits;
            let waits = from.iter().any(waits);
            if ways.is_empty() && !waits && !from.is_empty() {
                in_reach.push(mac);
            } else if !guest.excused {
                lost.extend(ways);
            }
        }
        for guest in &mut self.guests {
            guest.excused &= !in_reach.contains(&guest.mac);
        }
        // A frame between two guests is lost because of either: one that is excused excuses it.
        let excused: Vec<MacAddr> = self
            .guests
            .iter()
            .filter(|guest| guest.excused)
            .map(|guest| guest.mac)
            .collect();
        lost.retain(|way| !excused.iter().any(|mac| way.contains(&mac.to_string())));
        lost
    }

    fn has_link(&self, bridge: &BridgeFacts) -> bool {
        let leads_out = |card: &&AdapterFacts| {
            let way = self.way_in(card);
            way.is_some_and(|(its, _)| its.ifname == bridge.ifname)
        };
        let mut cards = self.adapters.iter().filter(leads_out);
        cards.any(|card| card.carrier)
    }

    fn send(&self, mac: MacAddr, from: Station) -> Copies {
        let mut copies = Copies::default();
        match from {
            Station::Wire => {
                // Who sends it there is in the VLAN of whom it is for.
                let tag = self.network_of(mac).map(|(_, vlan)| vlan);
                let tag = tag.filter(|vlan| !vlan::is_the_hosts(*vlan));
                let frame = Frame { to: mac, tag };
                for adapter in &self.adapters {
                    self.at_card(adapter, frame, &Source::Wire, &mut copies);
                }
            }
            Station::Host => {
                let frame = Frame { to: mac, tag: None };
                for bridge in &self.bridges {
                    self.at_bridge(bridge, None, frame, &mut copies);
                }
            }
            Station::Guest(sender) => self.sent_by(sender, mac, &mut copies),
        }
        copies
    }

    fn sent_by(&self, sender: MacAddr, mac: MacAddr, copies: &mut Copies) {
        let Some(guest) = self.guests.iter().find(|guest| guest.mac == sender) else {
            return;
        };
        let on_vf = guest.vf.filter(|_| guest.is_on_vf(self.now));
        if let Some((pci, _)) = on_vf {
            let has_it = |adapter: &&AdapterFacts| adapter.vfs.iter().any(|vf| vf.pci == pci);
            // The spoof check lets through what carries the VF's own address.
            let carried = self.vf(pci).map(|vf| &vf.attributes);
            let carried = carried.filter(|attributes| attributes.mac == sender);
            if let (Some(adapter), Some(carried)) = (self.adapters.iter().find(has_it), carried) {
                let tag = Some(carried.vlan).filter(|vlan| *vlan != 0);
                self.at_card(adapter, Frame { to: mac, tag }, &Source::Vf, copies);
            }
            return;
        }
        if let Some(bridge) = self.bridge_of(sender) {
            let frame = Frame { to: mac, tag: None };
            self.at_bridge(bridge, Some(&guest.tap), frame, copies);
        }
    }

    /// The bridge of a guest, and its VLAN there.
    fn network_of(&self, mac: MacAddr) -> Option<(&IfName, u16)> {
        let guest = self.guests.iter().find(|guest| guest.mac == mac)?;
        let bridge = self.bridge_of(mac)?;
        Some((
            &bridge.ifname,
            vlan::within(bridge, Some(&guest.tap), None)?,
        ))
    }

    /// The bridge that a guest's tap is a port of.
    fn bridge_of(&self, mac: MacAddr) -> Option<&BridgeFacts> {
        let guest = self.guests.iter().find(|guest| guest.mac == mac)?;
        let mut bridges = self.bridges.iter();
        bridges.find(|bridge| bridge.port(&guest.tap).is_some())
    }

    fn at_card(&self, card: &AdapterFacts, frame: Frame, from: &Source, copies: &mut Copies) {
        if !card.carrier {
            return;
        }
        let Frame { to: mac, tag } = frame;
        let mut vfs = card.vfs.iter().map(|vf| &vf.attributes);
        let vf = vfs.any(|its| its.mac == mac && its.vlan == tag.unwrap_or(0));
        copies.vf |= vf;
        let in_filter = card.filter.contains(&mac) || card.mac == mac;
        let to_pf = match from {
            // As a bridge port the PF is promiscuous, for what comes by the wire.
            Source::Wire => in_filter || !vf,
            Source::Vf => in_filter,
            Source::Pf => false,
        };
        if let (true, Some((bridge, port))) = (to_pf, self.way_in(card)) {
            self.at_bridge(bridge, Some(port), frame, copies);
        }
        copies.wire |= !matches!(from, Source::Wire) && !vf && !to_pf;
    }

    /// The bridge that the card's own frames come to, and by which port; none for a bond's backup.
    pub(super) fn way_in<'a>(
        &'a self,
        card: &'a AdapterFacts,
    ) -> Option<(&'a BridgeFacts, &'a IfName)> {
        let find = |name: &IfName| self.bridges.iter().find(|bridge| &bridge.ifname == name);
        let master = find(card.master.as_ref()?)?;
        let Some(bond) = &master.bond else {
            return Some((master, &card.ifname));
        };
        let active = bond.active.as_ref() == Some(&card.ifname);
        let bridge = find(master.master.as_ref()?)?;
        active.then_some((bridge, &master.ifname))
    }

    fn at_bridge(
        &self,
        bridge: &BridgeFacts,
        from: Option<&IfName>,
        frame: Frame,
        copies: &mut Copies,
    ) {
        let mac = frame.to;
        let Some(vlan) = vlan::within(bridge, from, frame.tag) else {
            return;
        };
        if mac == bridge.mac {
            copies.host |= from.is_some() && vlan::is_the_hosts(vlan);
            return;
        }
        let key = FdbKey {
            mac,
            vlan: bridge.vlan_filtering.then_some(vlan),
        };
        let mut ports = bridge.ports.iter();
        let known = ports.find(|port| port.entries_of(key).next().is_some());
        let out = bridge.ports.iter().filter(|port| match known {
            Some(known) => port.ifname == known.ifname,
            None => port.flood,
        });
        for port in out.filter(|port| Some(&port.ifname) != from) {
            let mut cards = self.adapters.iter();
            let leads_out = |card: &&AdapterFacts| {
                let way = self.way_in(card);
                way.is_some_and(|(_, own)| *own == port.ifname)
            };
            let is_bond = || self.bridges.iter().any(|bond| bond.ifname == port.ifname);
            match cards.find(leads_out) {
                Some(card) => {
                    let tag = vlan::tag_at(port, vlan, frame.tag);
                    self.at_card(card, Frame { to: mac, tag }, &Source::Pf, copies);
                }
                None if is_bond() => {}
                None if vlan::leaves(port, vlan) => copies.taps.push(port.ifname.clone()),
                None => {}
            }
        }
    }
}

/// Where a frame enters a card.
enum Source {
    Wire,
    Pf,
    Vf,
}
