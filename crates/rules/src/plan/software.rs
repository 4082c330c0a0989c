//! The software path while VFs of its uplink exist.
//!
//! A card forwards a VF's frames to the PF only for addresses in the PF's filter. Those of NICs follow
//! from their phases ([`super::nics`]); here are the bridge's own, and others behind its ports, as many
//! as a port may have: a guest that invents addresses cannot fill a card.

use std::collections::BTreeSet;

use accelnet_model::{
    AdapterFacts, BridgeFacts, BridgePort, IfName, Intent, MacAddr, VmJob, VmState,
};

use super::{Memory, Plan, nics::Nic};
use crate::{
    Observed,
    action::Action,
    handle::Handle,
    l2::{Datapath, l2},
    observed::{nics_on, tap_port},
    reach::{OTHERS_A_PORT, room_for_others},
};

fn uplinks<'a>(observed: &'a Observed, intent: &Intent, nics: &[Nic<'_>]) -> Vec<&'a AdapterFacts> {
    let carries = |adapter: &AdapterFacts| {
        let mut handles = nics.iter().filter_map(|nic| nic.handle);
        handles.any(|handle| matches!(handle, Handle::Vfio(its, _) if its.pci == adapter.pci))
    };
    let adapters = observed.adapters.iter();
    adapters
        .filter(|adapter| observed.port_of(adapter, &intent.bridge).is_some())
        .filter(|adapter| intent.covers(adapter) || carries(adapter))
        .filter(|adapter| !adapter.vfs.is_empty())
        .collect()
}

/// What comes before anything is done for single NICs.
pub fn before(
    observed: &Observed,
    intent: &Intent,
    bridge: &BridgeFacts,
    nics: &[Nic<'_>],
    memory: &Memory,
    plan: &mut Plan,
) {
    let uplinks = uplinks(observed, intent, nics);
    if uplinks.is_empty() {
        return;
    }
    if !bridge.mac_pinned {
        plan.push(Action::PinBridge {
            bridge: bridge.ifname.clone(),
        });
    }
    incoming(observed, bridge, nics, memory, plan);
    filters(observed, intent, bridge, nics, &uplinks, memory, plan);
}

/// What comes last: the bridge learns at the uplink again when no NIC has both paths open.
pub fn after(
    observed: &Observed,
    intent: &Intent,
    bridge: &BridgeFacts,
    nics: &[Nic<'_>],
    memory: &Memory,
    plan: &mut Plan,
) {
    let open = nics
        .iter()
        .any(|nic| !l2(nic.phase(), Datapath::LegacyVeb).learns);
    let adapters: Vec<&AdapterFacts> = observed.adapters.iter().collect();
    for port in ports(observed, intent, bridge, &adapters) {
        if !open && knows_all(observed) {
            restore_learning(port, memory, plan);
        }
    }
}

/// Every VM that runs here was seen: what none of them needs nobody does. One that comes in needs nothing.
fn knows_all(observed: &Observed) -> bool {
    let mut unseen = observed.unseen_vms.iter();
    observed.hypervisor_answers && unseen.all(|vm| vm.job == Some(VmJob::Incoming))
}

fn ports<'a>(
    observed: &Observed,
    intent: &Intent,
    bridge: &'a BridgeFacts,
    uplinks: &[&AdapterFacts],
) -> Vec<&'a BridgePort> {
    let names: BTreeSet<&IfName> = uplinks
        .iter()
        .filter_map(|uplink| observed.port_of(uplink, &intent.bridge))
        .collect();
    names
        .into_iter()
        .filter_map(|name| bridge.port(name))
        .collect()
}

/// The tap of a VM that comes in is not flooded: what waits there would be answered when the VM runs, up
/// to half a minute old. Of such a VM nothing is known yet, so it is any tap of libvirt's naming
/// (`vnetN`, virNetDevGenerateName) that no VM has.
fn incoming(
    observed: &Observed,
    bridge: &BridgeFacts,
    nics: &[Nic<'_>],
    memory: &Memory,
    plan: &mut Plan,
) {
    let mut unseen = observed.unseen_vms.iter();
    let comes = unseen.any(|vm| vm.job == Some(VmJob::Incoming));
    let known = |port: &BridgePort| nics.iter().any(|nic| nic.tap.ifname == port.ifname);
    let taps = bridge
        .ports
        .iter()
        .filter(|port| port.ifname.as_str().starts_with("vnet") && !known(port));
    for port in taps {
        if comes && port.flood {
            plan.push(Action::PortFlood {
                port: port.ifname.clone(),
                on: false,
            });
        } else if !comes {
            restore_flood(port, memory, plan);
        }
    }
}

/// Addresses behind the bridge's ports that no NIC's phase speaks of.
fn others(
    observed: &Observed,
    intent: &Intent,
    bridge: &BridgeFacts,
    nics: &[Nic<'_>],
    uplinks: &[&AdapterFacts],
) -> BTreeSet<MacAddr> {
    let is_uplink = |name: &IfName| {
        let mut ports = uplinks.iter();
        ports.any(|uplink| observed.port_of(uplink, &intent.bridge) == Some(name))
    };
    let of_nic = |mac: &MacAddr| nics.iter().any(|nic| nic.id.mac == *mac);
    let mut found = BTreeSet::new();
    for port in bridge.ports.iter().filter(|port| !is_uplink(&port.ifname)) {
        let entries = port.fdb.iter().filter(|entry| !entry.local);
        let addresses = entries.map(|entry| entry.mac);
        // Those that are in already stay: whoever makes up addresses makes no work.
        let is_new = |mac: &MacAddr| uplinks.iter().any(|uplink| !uplink.filter.contains(mac));
        let addresses: BTreeSet<(bool, MacAddr)> = addresses
            .filter(|mac| !mac.is_group() && !mac.is_zero() && !of_nic(mac))
            .map(|mac| (is_new(&mac), mac))
            .collect();
        found.extend(addresses.into_iter().take(OTHERS_A_PORT));
    }
    let room = room_for_others(observed, intent, uplinks);
    let found = found.into_iter().map(|(_, mac)| mac).take(room);
    found.chain([bridge.mac]).collect()
}

fn filters(
    observed: &Observed,
    intent: &Intent,
    bridge: &BridgeFacts,
    nics: &[Nic<'_>],
    uplinks: &[&AdapterFacts],
    memory: &Memory,
    plan: &mut Plan,
) {
    let others = others(observed, intent, bridge, nics, uplinks);
    for uplink in uplinks {
        let filter = |mac: &MacAddr, present| Action::Filter {
            pf: uplink.ifname.clone(),
            mac: *mac,
            present,
        };
        for mac in &others {
            if !uplink.filter.contains(mac) && *mac != uplink.mac {
                plan.push(filter(mac, true));
            }
        }
        // Also of one whose tap is not seen: it may have been started a moment ago.
        let on: BTreeSet<MacAddr> = observed
            .vms_on(&bridge.ifname)
            .flat_map(|vm| vm.nics.iter().map(|nic| nic.mac))
            .collect();
        let of_nic = |mac: &MacAddr| on.contains(mac);
        let left = uplink
            .filter
            .iter()
            .filter(|mac| memory.filtered.contains(mac) && !others.contains(mac) && !of_nic(mac));
        for mac in left.filter(|_| knows_all(observed)) {
            plan.push(filter(mac, false));
        }
    }
}

/// Ports of the bridge that we do not look after any more (or not yet again) are as they were before us,
/// but for those of guests on a VF.
pub fn restore_ports(observed: &Observed, bridge: &BridgeFacts, memory: &Memory, plan: &mut Plan) {
    let vms = observed.vms.iter().filter(|vm| vm.state != VmState::Off);
    let on_vf: BTreeSet<&IfName> = vms
        .flat_map(|vm| nics_on(vm, &bridge.ifname).map(move |nic| (vm, nic)))
        .filter(|(vm, nic)| Handle::of(observed, vm, nic).is_some())
        .filter_map(|(_, nic)| tap_port(bridge, nic))
        .map(|port| &port.ifname)
        .collect();
    for port in bridge
        .ports
        .iter()
        .filter(|port| !on_vf.contains(&port.ifname))
    {
        restore_flood(port, memory, plan);
        restore_learning(port, memory, plan);
    }
}

fn restore_flood(port: &BridgePort, memory: &Memory, plan: &mut Plan) {
    if !port.flood && memory.flood_off.contains(&port.ifname) {
        plan.push(Action::PortFlood {
            port: port.ifname.clone(),
            on: true,
        });
    }
}

fn restore_learning(port: &BridgePort, memory: &Memory, plan: &mut Plan) {
    if !port.learning && memory.learning_off.contains(&port.ifname) {
        plan.push(Action::PortLearning {
            port: port.ifname.clone(),
            on: true,
        });
    }
}
