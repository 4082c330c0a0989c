//! The software path while VFs of its uplink exist.
//!
//! A card forwards a VF's frames to the PF only for addresses in the PF's filter, and a bridge
//! learns an address where it last saw it as a source: both need help so that VFs, software-switched
//! guests and the host reach each other (docs/reference/switch-over.md).

use std::collections::BTreeSet;

use accelnet_model::{
    AdapterFacts, BridgeFacts, BridgePort, IfName, Intent, MacAddr, NicFacts, VmFacts, VmState,
};

use super::{Action, Memory, Plan};
use crate::{
    Observed,
    eligibility::others_behind,
    observed::{nics_on, tap_port},
};

pub fn plan(observed: &Observed, intent: &Intent, memory: &Memory, plan: &mut Plan) {
    let Some(bridge) = observed.bridge(&intent.bridge) else {
        return;
    };
    let uplinks: Vec<&AdapterFacts> = observed
        .adapters
        .iter()
        .filter(|adapter| observed.port_of(adapter, &intent.bridge).is_some())
        .filter(|adapter| intent.covers(adapter) || carries(observed, intent, adapter))
        .filter(|adapter| !adapter.vfs.is_empty())
        .collect();
    if uplinks.is_empty() {
        return;
    }
    if !bridge.mac_pinned {
        plan.actions.push(Action::PinBridge {
            bridge: bridge.ifname.clone(),
        });
    }
    let ports: BTreeSet<&IfName> = uplinks
        .iter()
        .filter_map(|uplink| observed.port_of(uplink, &intent.bridge))
        .collect();
    for port in &ports {
        uplink_learning_off(bridge, port, plan);
    }
    filters(observed, intent, bridge, &uplinks, memory, plan);
    for vm in at_rest(observed, memory) {
        for nic in nics_on(vm, &intent.bridge) {
            tap(observed, bridge, vm, nic, &ports, memory, plan);
        }
    }
}

/// Running VMs that are not being switched.
fn at_rest<'a>(observed: &'a Observed, memory: &'a Memory) -> impl Iterator<Item = &'a VmFacts> {
    let vms = observed.vms.iter();
    vms.filter(|vm| vm.state != VmState::Off && !memory.busy.contains(&vm.uuid))
}

/// True if a NIC on the bridge is on a VF of the adapter: then its frames depend on the adapter also
/// when a rule does not choose it any more (its speed is another one, say).
fn carries(observed: &Observed, intent: &Intent, adapter: &AdapterFacts) -> bool {
    let mut vms = observed.vms_on(&intent.bridge);
    vms.any(|vm| {
        let mut nics = nics_on(vm, &intent.bridge);
        nics.any(|nic| {
            let vf = observed.vf_of(vm, nic);
            vf.is_some_and(|(its, _)| its.pci == adapter.pci && its.ifname == adapter.ifname)
        })
    })
}

/// The bridge does not learn at the uplink; true if that is so already. Needed before VFs are there: a
/// card that echoes the PF's broadcasts would teach the bridge that its guests are on the wire.
pub fn uplink_learning_off(bridge: &BridgeFacts, port: &IfName, plan: &mut Plan) -> bool {
    let port = port.clone();
    let learns = bridge.port(&port).is_some_and(|port| port.learning);
    let action = Action::PortLearning { port, on: false };
    if learns && !plan.actions.contains(&action) {
        plan.actions.push(action);
    }
    !learns
}

/// Addresses that must be reached by software, and that must not.
struct Addresses {
    software: BTreeSet<MacAddr>,
    elsewhere: BTreeSet<MacAddr>,
}

fn addresses(
    observed: &Observed,
    intent: &Intent,
    bridge: &BridgeFacts,
    uplinks: &[&AdapterFacts],
    memory: &Memory,
) -> Addresses {
    let is_uplink = |name: &IfName| {
        let mut ports = uplinks.iter();
        ports.any(|uplink| observed.port_of(uplink, &intent.bridge) == Some(name))
    };
    let ports = bridge.ports.iter().filter(|port| !is_uplink(&port.ifname));
    let mut software: BTreeSet<MacAddr> = ports
        .flat_map(|port| &port.fdb)
        .filter(|entry| !entry.local)
        .map(|entry| entry.mac)
        .filter(|mac| !mac.is_group() && !mac.is_zero())
        .collect();
    software.insert(bridge.mac);
    let mut elsewhere = BTreeSet::new();
    for vm in observed.vms.iter().filter(|vm| vm.state != VmState::Off) {
        for nic in nics_on(vm, &intent.bridge) {
            // Those of a VM that is being switched belong to the switch-over; those on a VF to
            // `switch`.
            if memory.busy.contains(&vm.uuid) || observed.vf_of(vm, nic).is_some() {
                elsewhere.insert(nic.mac);
            } else {
                software.insert(nic.mac);
            }
        }
    }
    software.retain(|mac| !elsewhere.contains(mac));
    Addresses {
        software,
        elsewhere,
    }
}

fn filters(
    observed: &Observed,
    intent: &Intent,
    bridge: &BridgeFacts,
    uplinks: &[&AdapterFacts],
    memory: &Memory,
    plan: &mut Plan,
) {
    let Addresses {
        software,
        elsewhere,
    } = addresses(observed, intent, bridge, uplinks, memory);
    for uplink in uplinks {
        let filter = |mac: &MacAddr, present| Action::Filter {
            pf: uplink.ifname.clone(),
            mac: *mac,
            present,
        };
        let missing = software
            .iter()
            .filter(|mac| !uplink.filter.contains(mac) && **mac != uplink.mac);
        plan.actions.extend(missing.map(|mac| filter(mac, true)));
        let left = uplink.filter.iter().filter(|mac| {
            memory.filtered.contains(mac) && !software.contains(mac) && !elsewhere.contains(mac)
        });
        plan.actions.extend(left.map(|mac| filter(mac, false)));
    }
}

/// Taps of the bridge that we do not look after any more (or not yet again) are as they were before us,
/// but for those of guests on a VF.
pub fn let_go(observed: &Observed, bridge: &BridgeFacts, memory: &Memory, plan: &mut Plan) {
    for vm in at_rest(observed, memory) {
        for nic in nics_on(vm, &bridge.ifname) {
            if let (Some(port), None) = (tap_port(bridge, nic), observed.vf_of(vm, nic)) {
                flood_again(port, memory, plan);
                learn_again(port, memory, plan);
            }
        }
    }
}

/// The bridge reaches the guest by its tap, if it was we who kept it from that.
pub fn flood_again(port: &BridgePort, memory: &Memory, plan: &mut Plan) {
    if !port.flood && memory.ports.contains(&port.ifname) {
        plan.actions.push(Action::PortFlood {
            port: port.ifname.clone(),
            on: true,
        });
    }
}

fn tap(
    observed: &Observed,
    bridge: &BridgeFacts,
    vm: &VmFacts,
    nic: &NicFacts,
    uplinks: &BTreeSet<&IfName>,
    memory: &Memory,
    plan: &mut Plan,
) {
    let Some(port) = tap_port(bridge, nic) else {
        return;
    };
    // What a crash left waiting cannot be seen: each queue is told to pass once.
    if nic.standby_live && !(port.hold_queue && memory.passing.contains(&port.ifname)) {
        plan.actions.push(Action::HoldQueuePass {
            tap: port.ifname.clone(),
        });
    }
    if observed.vf_of(vm, nic).is_some() {
        return;
    }
    for uplink in uplinks {
        let known = bridge.port(uplink).into_iter().flat_map(|port| &port.fdb);
        if known
            .clone()
            .any(|entry| entry.mac == nic.mac && !entry.local)
        {
            let (port, mac) = ((*uplink).clone(), nic.mac);
            plan.actions.push(Action::BridgeEntry {
                port,
                mac,
                present: false,
            });
        }
    }
    let mut entries = port.fdb.iter();
    let known = entries.any(|entry| entry.mac == nic.mac && entry.fixed && !entry.local);
    if !known {
        let (port, mac) = (port.ifname.clone(), nic.mac);
        plan.actions.push(Action::BridgeEntry {
            port,
            mac,
            present: true,
        });
    }
    flood(bridge, nic, port, known, memory, plan);
    learn_again(port, memory, plan);
}

/// As the bridge does not learn at the uplink, it does not know who is on the wire, and sends frames for
/// them to all its ports: guests would get each other's frames, and each frame be copied as often as
/// there are guests. So a tap is not flooded where the bridge knows all addresses behind it: the NIC's
/// own, and never another. One that only listens is found by what asks for it, as broadcast passes. With
/// VLAN filtering an entry is of one VLAN, and a port may get another one any time.
fn flood(
    bridge: &BridgeFacts,
    nic: &NicFacts,
    port: &BridgePort,
    known: bool,
    memory: &Memory,
    plan: &mut Plan,
) {
    let several = memory.crowded.contains(&port.ifname) || !others_behind(bridge, nic).is_empty();
    if several || bridge.vlan_filtering {
        flood_again(port, memory, plan);
    } else if known && port.flood {
        plan.actions.push(Action::PortFlood {
            port: port.ifname.clone(),
            on: false,
        });
    }
}

fn learn_again(port: &BridgePort, memory: &Memory, plan: &mut Plan) {
    if !port.learning && memory.ports.contains(&port.ifname) {
        plan.actions.push(Action::PortLearning {
            port: port.ifname.clone(),
            on: true,
        });
    }
}
