//! Which NIC goes where.
//!
//! A NIC with a VF is in one of three states, told apart by evidence: *settled* (the guest drives the
//! VF and all frames go there), *arriving* (the guest drives it, but both paths are open: the attach
//! was interrupted; it is finished), and *away* (no driver: the guest restarts, or has none; both
//! paths are opened so that the software path serves it).

use accelnet_model::{
    AdapterFacts, BridgePort, IfName, Intent, NicFacts, NodeDesired, Performance, Problem,
    VfAttributes, VfFacts, VmFacts, VmState,
};

use super::{Action, Memory, Plan, Switch, definition, path, vectors};
use crate::{
    Observed,
    attach::Standing,
    eligibility::{self, free_vfs},
    observed::{nics_on, tap_port},
    policy, profile,
};

/// Switches between the paths that are wanted and possible now, at most one a VM.
pub fn plan(
    observed: &Observed,
    desired: &NodeDesired,
    intent: &Intent,
    memory: &Memory,
    plan: &mut Plan,
) {
    for wish in &desired.vms {
        let Some(vm) = observed.vm(wish.uuid) else {
            continue;
        };
        if memory.busy.contains(&vm.uuid) {
            continue;
        }
        let gets_nic = definition::plan(vm, wish, intent, memory, plan);
        if vm.state != VmState::Off && !gets_nic {
            match wish.level {
                Some(level) => accelerate(observed, vm, intent, level, memory, plan),
                None => decelerate(observed, vm, intent, memory, plan),
            }
        }
    }
}

/// Which way a switch-over goes.
#[derive(Clone, Copy)]
enum Direction {
    /// To a VF, which is given so many vectors if they come from a pool.
    ToVf { vectors: Option<u32> },
    /// Back to the tap.
    Back,
}

/// A NIC that has its VF goes through the steps to it once more, to put right what is not as it shall be.
const AGAIN: Direction = Direction::ToVf { vectors: None };

/// A VF, and the way of its adapter's frames into the bridge.
struct Way<'a> {
    adapter: &'a AdapterFacts,
    port: &'a IfName,
    vf: &'a VfFacts,
}

fn way<'a>(
    observed: &'a Observed,
    intent: &Intent,
    adapter: &'a AdapterFacts,
    vf: &'a VfFacts,
) -> Way<'a> {
    let port = port(observed, intent, adapter);
    Way { adapter, port, vf }
}

fn switch(
    direction: Direction,
    standing: Standing,
    vm: &VmFacts,
    nic: &NicFacts,
    way: &Way<'_>,
    attributes: VfAttributes,
) -> Option<Action> {
    let Way { adapter, port, vf } = way;
    let (to_vf, vectors) = match direction {
        Direction::ToVf { vectors } => (true, vectors),
        Direction::Back => (false, None),
    };
    Some(Action::Switch(Box::new(Switch {
        vm: vm.uuid,
        vm_name: vm.name.clone(),
        to_vf,
        standing,
        mac: nic.mac,
        alias: nic.alias.clone()?,
        tap: nic.tap.clone()?,
        pf: adapter.pci,
        uplink: adapter.ifname.clone(),
        port: (*port).clone(),
        vf_index: vf.index,
        vf: vf.pci,
        attributes,
        vectors,
    })))
}

/// The bridge's port by which the adapter's frames come. An adapter that was taken out of the bridge
/// counts as the port that it was.
fn port<'a>(observed: &'a Observed, intent: &Intent, adapter: &'a AdapterFacts) -> &'a IfName {
    let port = observed.port_of(adapter, &intent.bridge);
    port.unwrap_or(&adapter.ifname)
}

/// What the VF must carry: policy on the NIC's whole path, in the VM's definition and on the host, and
/// the level's limit.
fn judge(
    observed: &Observed,
    vm: &VmFacts,
    nic: &NicFacts,
    rate_mbps: Option<u32>,
) -> Result<VfAttributes, Problem> {
    let mut findings = nic.policy.clone();
    findings.extend(
        observed
            .policy
            .get(&(vm.uuid, nic.mac))
            .cloned()
            .unwrap_or_default(),
    );
    let attributes = policy::judge(&findings, nic.mac)?;
    Ok(profile::limited(attributes, rate_mbps))
}

fn accelerate(
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    level: Performance,
    memory: &Memory,
    plan: &mut Plan,
) {
    let rate = intent.levels.max_tx_rate_mbps(level);
    let problems = eligibility::check(observed, vm, intent, level);
    for nic in nics_on(vm, &intent.bridge) {
        let Some((adapter, vf)) = observed.vf_of(vm, nic) else {
            continue;
        };
        let way = way(observed, intent, adapter, vf);
        if !observed.is_active(adapter) {
            // The bond has failed over: what is for the guest comes by another adapter now.
            plan.actions
                .extend(back(observed, intent, vm, nic, &way, memory));
            return;
        }
        let attributes = match judge(observed, vm, nic, rate) {
            Ok(attributes) => attributes,
            Err(problem) => {
                // Back at once: what the switch enforces would not hold on the VF.
                plan.vm_problems
                    .entry(vm.uuid)
                    .or_default()
                    .push(problem.about("vm", &vm.name));
                plan.actions
                    .extend(back(observed, intent, vm, nic, &way, memory));
                return;
            }
        };
        if vf.active_vectors == 0 {
            open_both(observed, intent, nic, &way, memory, plan);
            continue;
        }
        // Another number of vectors can be had only while the guest does not have the VF.
        if vectors::differ(adapter, vf, intent, level)
            && problems.is_empty()
            && eligibility::has_vectors(adapter, vf, &intent.levels, level)
        {
            plan.actions
                .extend(back(observed, intent, vm, nic, &way, memory));
            return;
        }
        let settled = settled(observed, intent, nic, &way, &attributes);
        if !settled && !memory.resting.contains(&vm.uuid) {
            let standing = standing(observed, intent, nic, &way);
            plan.actions
                .extend(switch(AGAIN, standing, vm, nic, &way, attributes));
            return;
        }
        // Of an attach that an older version made, or that was interrupted at its last step.
        let tap = tap_of(observed, intent, nic).filter(|port| settled && port.flood);
        if let Some(port) = tap {
            plan.actions.push(Action::PortFlood {
                port: port.ifname.clone(),
                on: false,
            });
        }
    }
    vectors::not_provided(observed, vm, intent, level, &problems, plan);
    let waiting: Vec<&NicFacts> = nics_on(vm, &intent.bridge)
        .filter(|nic| observed.vf_of(vm, nic).is_none())
        .collect();
    if waiting.is_empty() && nics_on(vm, &intent.bridge).next().is_some() {
        return;
    }
    if !problems.is_empty() {
        plan.vm_problems
            .entry(vm.uuid)
            .or_default()
            .extend(problems);
        return;
    }
    if memory.resting.contains(&vm.uuid) {
        return;
    }
    // One NIC at a time; the next pass takes the next.
    if let Some(nic) = waiting.first()
        && let Some((adapter, vf)) = choose(observed, intent, level, memory, plan)
        && let Ok(attributes) = judge(observed, vm, nic, rate)
    {
        let standing = Standing::OnTap;
        let vectors = profile::wanted_vectors(adapter, &intent.levels, level);
        plan.actions.extend(switch(
            Direction::ToVf { vectors },
            standing,
            vm,
            nic,
            &way(observed, intent, adapter, vf),
            attributes,
        ));
    }
}

/// The adapter with the most free VFs, and its first one that is ready.
fn choose<'a>(
    observed: &'a Observed,
    intent: &'a Intent,
    level: Performance,
    memory: &Memory,
    plan: &Plan,
) -> Option<(&'a AdapterFacts, &'a VfFacts)> {
    let taken: Vec<_> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Switch(switch) => Some(switch.vf),
            _ => None,
        })
        .collect();
    let ready = |adapter: &'a AdapterFacts| {
        free_vfs(observed, adapter)
            .filter(|vf| vf.driver.as_deref() == Some("vfio-pci"))
            .filter(|vf| vf.attributes.fulfils(&VfAttributes::baseline()))
            .filter(|vf| eligibility::has_vectors(adapter, vf, &intent.levels, level))
            .filter(|vf| {
                !memory.busy_vfs.contains(&vf.pci) && !memory.quarantined.contains(&vf.pci)
            })
            .filter(|vf| !taken.contains(&vf.pci))
            .collect::<Vec<_>>()
    };
    observed
        .active_uplinks(intent)
        .filter(|adapter| profile::can_provision(adapter, &intent.levels, level))
        .map(|adapter| (adapter, ready(adapter)))
        .max_by_key(|(_, ready)| ready.len())
        .and_then(|(adapter, ready)| Some((adapter, *ready.first()?)))
}

/// The bridge sends all frames for the NIC to this port, whatever it learns.
fn is_fixed(observed: &Observed, intent: &Intent, nic: &NicFacts, port: &IfName) -> bool {
    observed
        .bridge(&intent.bridge)
        .and_then(|bridge| bridge.port(port))
        .is_some_and(|port| {
            port.fdb
                .iter()
                .any(|entry| entry.mac == nic.mac && entry.fixed)
        })
}

/// All frames for the NIC go to the VF, and the VF carries what it shall.
fn settled(
    observed: &Observed,
    intent: &Intent,
    nic: &NicFacts,
    way: &Way<'_>,
    attributes: &VfAttributes,
) -> bool {
    is_fixed(observed, intent, nic, way.port)
        && !way.adapter.filter.contains(&nic.mac)
        && way.vf.attributes.fulfils(attributes)
}

/// Where a NIC with a VF is: on the VF if its frames all go there and the guest takes them. After a
/// failover of the bond no frame comes by the VF's adapter, whatever the bridge says, and a way back
/// that fails must not end there.
fn standing(observed: &Observed, intent: &Intent, nic: &NicFacts, way: &Way<'_>) -> Standing {
    let vf = way.vf;
    if vf.active_vectors > 0
        && observed.is_active(way.adapter)
        && settled(observed, intent, nic, way, &vf.attributes)
    {
        Standing::OnVf
    } else {
        Standing::BothPaths
    }
}

/// True if the NIC's frames all go to its VF, as far as bridge and filter show.
pub fn is_settled(observed: &Observed, intent: &Intent, vm: &VmFacts, nic: &NicFacts) -> bool {
    observed.vf_of(vm, nic).is_some_and(|(adapter, vf)| {
        let way = way(observed, intent, adapter, vf);
        settled(observed, intent, nic, &way, &vf.attributes)
    })
}

/// The NIC's tap, as a port of the intent's bridge.
fn tap_of<'a>(observed: &'a Observed, intent: &Intent, nic: &NicFacts) -> Option<&'a BridgePort> {
    tap_port(observed.bridge(&intent.bridge)?, nic)
}

fn open_both(
    observed: &Observed,
    intent: &Intent,
    nic: &NicFacts,
    way: &Way<'_>,
    memory: &Memory,
    plan: &mut Plan,
) {
    let mac = nic.mac;
    // First: without an entry its frames are those for an unknown address.
    if let Some(port) = tap_of(observed, intent, nic) {
        path::flood_again(port, memory, plan);
    }
    if !way.adapter.filter.contains(&mac) {
        plan.actions.push(Action::Filter {
            pf: way.adapter.ifname.clone(),
            mac,
            present: true,
        });
    }
    if is_fixed(observed, intent, nic, way.port) {
        plan.actions.push(Action::BridgeEntry {
            port: way.port.clone(),
            mac,
            present: false,
        });
    }
}

/// The NIC's way back to the tap, unless its VM rests.
fn back(
    observed: &Observed,
    intent: &Intent,
    vm: &VmFacts,
    nic: &NicFacts,
    way: &Way<'_>,
    memory: &Memory,
) -> Option<Action> {
    if memory.resting.contains(&vm.uuid) {
        return None;
    }
    let standing = standing(observed, intent, nic, way);
    let attributes = way.vf.attributes.clone();
    switch(Direction::Back, standing, vm, nic, way, attributes)
}

fn decelerate(
    observed: &Observed,
    vm: &VmFacts,
    intent: &Intent,
    memory: &Memory,
    plan: &mut Plan,
) {
    for nic in nics_on(vm, &intent.bridge) {
        if let Some((adapter, vf)) = observed.vf_of(vm, nic) {
            let way = way(observed, intent, adapter, vf);
            plan.actions
                .extend(back(observed, intent, vm, nic, &way, memory));
            return;
        }
    }
}
