//! Giving a host back: what accelnet has made on it is undone, when its agent does not run any more.
//!
//! What that is comes from the machine and the ledger. It is all refused while a VM has a VF that would go: nothing
//! here takes a path from anybody. What was not seen is not taken for "nothing there" either.

use std::collections::BTreeSet;

use accelnet_host::Host;
use accelnet_hypervisor::{Hypervisor, HypervisorError, VmSeen};
use accelnet_model::{
    AdapterFacts, BridgeFacts, BridgePort, Code, FdbKey, MacAddr, PciAddress, Problem,
    VfAttributes, VfFacts, VfUser, VmFacts, VmState, intent::BRIDGE_MARK,
};
use accelnet_rules::action::{Action, Hold};

use crate::{
    carry_out,
    event::{HostScope, Outcome},
    ledger::{Ledger, MadeVfs},
    look, words,
};

/// What was seen of a host that is given back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// The run of the machine.
    pub boot_id: String,
    /// Its adapters.
    pub adapters: Vec<AdapterFacts>,
    /// Bridges that intents name, and those that we made.
    pub bridges: Vec<BridgeFacts>,
    /// Its VMs.
    pub vms: Vec<VmFacts>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Why nothing may be done.
    pub refused: Vec<Problem>,
    /// What is done, in this order.
    pub actions: Vec<Action>,
    /// What stays as it is, in words.
    pub stays: Vec<String>,
}

/// Looks at the host. Without a hypervisor nobody is asked which VMs there are; which VFs are in use is seen on the
/// machine.
///
/// # Errors
/// Each part that could not be seen.
pub fn look(
    host: &dyn Host,
    hypervisor: Option<&dyn Hypervisor>,
    ledger: &Ledger,
) -> Result<Seen, Vec<Problem>> {
    let intents = ledger.desired.intents.iter().map(|intent| &intent.bridge);
    let made = ledger.bridges.iter().map(|entry| &entry.bridge);
    let scope = HostScope {
        bridges: intents.chain(made).cloned().collect(),
        ..HostScope::default()
    };
    let look = look::at_host(host, &scope);
    let mut problems = Vec::new();
    let mut not_seen = |problem: Problem| problems.push(problem);
    let node = look
        .node
        .map_err(|error| not_seen(look::host_problem(&error)));
    let bridges = look
        .bridges
        .map_err(|error| not_seen(look::host_problem(&error)));
    let adapters = look
        .adapters
        .map_err(|error| not_seen(look::host_problem(&error)));
    for (name, error) in adapters.iter().flat_map(|found| &found.unseen) {
        let text = format!("Adapter {name} could not be looked at: {error}.");
        not_seen(Problem::new(Code::HostOperationFailed, text));
    }
    let vms = hypervisor.map_or(Ok(Vec::new()), |hypervisor| {
        hypervisor
            .observe_vms()
            .map_err(|error| not_seen(vms_problem(&error)))
    });
    let mut seen = Seen::default();
    for vm in vms.into_iter().flatten() {
        let VmSeen { uuid, facts, .. } = vm;
        match facts {
            Ok(facts) => seen.vms.push(facts),
            Err(error) => {
                let text = format!("VM {uuid} could not be looked at: {error}.");
                not_seen(Problem::new(Code::HypervisorUnavailable, text));
            }
        }
    }
    if let (Ok(node), Ok(bridges), Ok(adapters)) = (node, bridges, adapters)
        && problems.is_empty()
    {
        seen.boot_id = node.boot_id;
        seen.bridges = bridges;
        seen.adapters = adapters.seen;
        return Ok(seen);
    }
    Err(problems)
}

fn vms_problem(error: &HypervisorError) -> Problem {
    Problem::new(Code::HypervisorUnavailable, format!("{error}.")).with_cure(
        "Start libvirt. Where it is gone for good, say --without-libvirt: then only what the kernel shows is looked at.",
    )
}

/// Decides what is undone.
pub fn plan(ledger: &Ledger, seen: &Seen) -> Plan {
    let mut plan = Plan::default();
    let mut ours = ledger.ours.clone();
    ours.since(&seen.boot_id);
    for made in &ledger.made {
        let Some(adapter) = seen
            .adapters
            .iter()
            .find(|adapter| adapter.id == made.adapter)
        else {
            continue;
        };
        let count = adapter.vfs.len() as u32;
        if count == made.before {
            continue;
        }
        if !ours.made(adapter.pci) {
            plan.stays.push(format!(
                "{} has {count} VFs, which accelnet did not make; they stay",
                adapter.ifname
            ));
            continue;
        }
        take_away(seen, adapter, made, &mut plan);
    }
    let goes = |adapter: &AdapterFacts, plan: &Plan| {
        let mut actions = plan.actions.iter();
        actions.any(|action| matches!(action, Action::CreateVfs { pf, .. } if *pf == adapter.pci))
    };
    for adapter in &seen.adapters {
        let had = |vf: &&VfFacts| ours.has(adapter.pci, vf.pci);
        if !goes(adapter, &plan) {
            for vf in adapter.vfs.iter().filter(had) {
                clean(seen, adapter, vf, &mut plan);
            }
        }
        let filtered = adapter
            .filter
            .iter()
            .filter(|mac| ledger.filtered.contains(mac));
        plan.actions.extend(filtered.map(|mac| Action::Filter {
            pf: adapter.ifname.clone(),
            mac: *mac,
            present: false,
        }));
    }
    for bridge in &seen.bridges {
        ports(ledger, seen, bridge, &mut plan);
        let mark = bridge.alias.as_deref().unwrap_or_default();
        if mark.starts_with(BRIDGE_MARK) {
            let name = &bridge.ifname;
            plan.stays.push(format!(
                "bridge {name}, which accelnet made, stays until the host restarts; VMs may be on it (ip link delete {name})"
            ));
        }
    }
    if !plan.refused.is_empty() {
        plan.actions.clear();
    }
    plan
}

/// Nobody may have, or need at his next start, a VF that goes.
fn take_away(seen: &Seen, adapter: &AdapterFacts, made: &MadeVfs, plan: &mut Plan) {
    for vf in &adapter.vfs {
        plan.refused.extend(user(seen, adapter, vf));
    }
    plan.actions.push(Action::CreateVfs {
        pf: adapter.pci,
        count: made.before,
    });
    if made.before > 0 {
        plan.stays.push(format!(
            "the {} VFs that {} had before are made again, without a driver and without what they carried",
            made.before, adapter.ifname
        ));
    }
}

/// Who has the VF.
fn user(seen: &Seen, adapter: &AdapterFacts, vf: &VfFacts) -> Option<Problem> {
    let (name, pci) = (&adapter.ifname, vf.pci);
    let refused = |text: String, cure: String| {
        let problem = Problem::new(Code::VfCountNotPossible, text);
        Some(problem.with_cure(cure).about("vf", pci))
    };
    let has = |vm: &&VmFacts| vm.hostdevs.iter().any(|device| device.pci == pci);
    let needs = |vm: &&VmFacts| vm.hostdevs_config.contains(&pci);
    if let Some(vm) = seen.vms.iter().find(has) {
        let cure = format!(
            "Start accelnetd, take the VM off it ('accelnet vm disable {}'), and try again.",
            vm.name
        );
        return refused(format!("VM '{}' has VF {pci} of {name}.", vm.name), cure);
    }
    if let Some(vm) = seen.vms.iter().find(needs) {
        let text = format!(
            "The definition of VM '{}' names VF {pci} of {name}.",
            vm.name
        );
        return refused(text, format!("Take it out ('virsh edit {}').", vm.name));
    }
    match &vf.user {
        VfUser::Nobody | VfUser::Others { .. } | VfUser::Reserved => None,
        VfUser::Process { pid, command } => refused(
            format!("Process {pid} ({command}) has VF {pci} of {name} open."),
            "End it, or have it let go of the VF; a VM is taken off it by 'accelnet vm disable'."
                .into(),
        ),
        VfUser::HostDriver { driver } => refused(
            format!("The host uses VF {pci} of {name} (driver {driver})."),
            format!("Unbind it: echo {pci} > /sys/bus/pci/drivers/{driver}/unbind"),
        ),
    }
}

/// A VF that we had and did not make carries nothing of its last VM.
fn clean(seen: &Seen, adapter: &AdapterFacts, vf: &VfFacts, plan: &mut Plan) {
    if vf.attributes.fulfils(&VfAttributes::baseline()) {
        if vf.is_on_vfio() {
            plan.stays.push(stays_bound(vf.pci));
        }
        return;
    }
    let refused = user(seen, adapter, vf);
    if refused.is_none() {
        plan.actions.push(Action::CleanVf {
            pf: adapter.pci,
            index: vf.index,
            vf: vf.pci,
            mac: vf.attributes.mac,
        });
        plan.stays.push(stays_bound(vf.pci));
    }
    plan.refused.extend(refused);
}

fn stays_bound(vf: PciAddress) -> String {
    format!("VF {vf}, which accelnet did not make, stays bound to the driver that hands it to VMs")
}

/// Ports of a bridge are as they were before us.
fn ports(ledger: &Ledger, seen: &Seen, bridge: &BridgeFacts, plan: &mut Plan) {
    let mut intents = ledger.desired.intents.iter();
    let in_care = intents.any(|intent| intent.bridge == bridge.ifname)
        || ledger
            .bridges
            .iter()
            .any(|entry| entry.bridge == bridge.ifname);
    let running = seen.vms.iter().filter(|vm| vm.state != VmState::Off);
    let nics: BTreeSet<MacAddr> = running.flat_map(|vm| &vm.nics).map(|nic| nic.mac).collect();
    for port in &bridge.ports {
        let name = || port.ifname.clone();
        let flood_off = ledger.flood_off.contains(&port.ifname);
        if port.hold_queue {
            plan.actions.push(Action::HoldQueue {
                tap: name(),
                hold: Hold::Pass,
            });
            let text = format!(
                "the queue of {} lets all pass, and goes when its VM stops",
                port.ifname
            );
            plan.stays.push(text);
        }
        if !port.flood && flood_off {
            plan.actions.push(Action::PortFlood {
                port: name(),
                on: true,
            });
        }
        if !port.learning && ledger.learning_off.contains(&port.ifname) {
            plan.actions.push(Action::PortLearning {
                port: name(),
                on: true,
            });
        }
        // Where others keep a tap from being flooded its entry is theirs, and all that the VM is reached by.
        if in_care && (port.flood || flood_off) {
            entries(port, &nics, plan);
        }
    }
}

/// The bridge learns by itself where NICs are.
fn entries(port: &BridgePort, nics: &BTreeSet<MacAddr>, plan: &mut Plan) {
    let set = port.fdb.iter().filter(|entry| {
        let key = FdbKey {
            mac: entry.mac,
            vlan: None,
        };
        entry.fixed && !entry.sticky && entry.is_of(key) && nics.contains(&entry.mac)
    });
    plan.actions.extend(set.map(|entry| Action::BridgeEntry {
        port: port.ifname.clone(),
        mac: entry.mac,
        vlan: entry.vlan,
        present: false,
    }));
}

/// An action in words, after "to".
pub fn in_words(action: &Action, seen: &Seen) -> String {
    let Action::CreateVfs { pf, count } = action else {
        return words::of(action);
    };
    let adapter = seen.adapters.iter().find(|adapter| adapter.pci == *pf);
    let name = adapter.map_or(pf.to_string(), |adapter| adapter.ifname.to_string());
    let now = adapter.map_or(0, |adapter| adapter.vfs.len());
    let link = "its link goes down for a moment";
    match count {
        0 => format!("take away the {now} VFs of {name} ({link})"),
        count => format!("take away the {now} VFs of {name}, and make {count} as before ({link})"),
    }
}

/// What became of one action.
pub type Done = (String, Result<(), Problem>);

/// Does it; what fails stops nothing else.
pub fn carry_out(
    plan: &Plan,
    seen: &Seen,
    host: &dyn Host,
    hypervisor: &dyn Hypervisor,
) -> Vec<Done> {
    let actions = plan.actions.iter().map(|action| (None, action.clone()));
    let done = carry_out::all(actions.collect(), host, hypervisor);
    done.into_iter()
        .map(|done| {
            let ended = done.result.unwrap_or(Ok(Outcome::default()));
            let words = in_words(&done.action, seen);
            (words, ended.map(drop).map_err(|failure| failure.problem))
        })
        .collect()
}

/// There is nothing to undo.
pub fn is_empty(ledger: &Ledger) -> bool {
    ledger.made.is_empty()
        && ledger.adapters.is_empty()
        && ledger.bridges.is_empty()
        && ledger.desired.intents.is_empty()
        && ledger.filtered.is_empty()
        && ledger.incoming.is_empty()
        && ledger.learning_off.is_empty()
        && ledger.flood_off.is_empty()
}
