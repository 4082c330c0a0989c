//! Carrying out a plan's actions. No choices: what to do was decided by the rules.

use accelnet_host::{HoldQueue, Host, HostError};
use accelnet_hypervisor::{Hypervisor, HypervisorError, NewNic, Staged};
use accelnet_model::{Code, Problem};
use accelnet_rules::plan::Action;
use uuid::Uuid;

use crate::{ledger::Ledger, memory::Memory, observe::host_problem, switch::clean_vf};

/// Does one action. What we add on the machine is noted in the ledger before (the caller saves it),
/// so that it can be taken away again also after a crash.
pub fn apply(
    action: &Action,
    host: &dyn Host,
    hypervisor: &dyn Hypervisor,
    memory: &mut Memory,
) -> Result<(), Problem> {
    let done: Result<(), HostError> = match action {
        Action::MakeBridge { bridge, mark } => host.ensure_bridge(bridge, mark),
        Action::AddUplink { bridge, adapter } => host.ensure_bridge_port(bridge, adapter),
        Action::CreateVfs { pf, count } => host.ensure_vf_count(*pf, *count),
        Action::BindVf { vf } => host.ensure_vf_vfio(*vf),
        Action::VfVectors { vf, vectors } => host.ensure_vf_vectors(*vf, *vectors),
        Action::CleanVf { pf, index, vf } => {
            let cleaned = clean_vf(host, *pf, *index, *vf);
            match &cleaned {
                Ok(()) => drop(memory.quarantined.remove(vf)),
                Err(problem) => memory.quarantine(*vf, host.now(), problem.clone()),
            }
            return cleaned;
        }
        Action::PinBridge { bridge } => host.ensure_bridge_mac_pinned(bridge),
        Action::PortLearning { port, on } => host.ensure_port_learning(port, *on),
        Action::PortFlood { port, on } => host.ensure_port_flood(port, *on),
        Action::Filter { pf, mac, present } => host.ensure_pf_filter(pf, *mac, *present),
        Action::BridgeEntry { port, mac, present } => {
            host.ensure_bridge_entry(port, *mac, *present)
        }
        Action::HoldQueuePass { tap } => {
            let told = host.ensure_hold_queue(tap, HoldQueue::Pass);
            if told.is_ok() {
                memory.passing.insert(tap.clone());
            }
            told
        }
        Action::Prepare { vm, staging } => {
            let staged = hypervisor.prepare(*vm, staging);
            // Queues alone keep nothing back: such a repair rests, not the VM.
            let needed = !staging.standby.is_empty();
            return note_staged(*vm, staged, needed, host, memory);
        }
        Action::AddNic {
            vm,
            mac,
            bridge,
            live,
        } => {
            let nic = NewNic {
                mac: *mac,
                bridge: bridge.clone(),
            };
            // That it waits for the next start is seen in the definition.
            let added = hypervisor.ensure_nic(*vm, &nic, *live);
            let added = added.map(|_| Staged::default());
            return note_staged(*vm, added, true, host, memory);
        }
        // Begun by the loop, in a thread of its own.
        Action::Switch(_) => Ok(()),
    };
    match done {
        // What went away between look and deed needs nothing.
        Err(error) if error.is_gone() => Ok(()),
        other => other.map_err(|error| about(action, host_problem(&error))),
    }
}

/// A problem of an action, with the bridge that is made: other intents' states do not depend on it.
pub fn about(action: &Action, problem: Problem) -> Problem {
    match action {
        Action::MakeBridge { bridge, .. } | Action::AddUplink { bridge, .. }
            if problem.objects.is_empty() =>
        {
            problem.about("bridge", bridge)
        }
        _ => problem,
    }
}

/// A definition was changed or, if acceleration cannot be without that, the VM rests. It is the VM's
/// matter, not the node's.
fn note_staged(
    vm: Uuid,
    staged: Result<Staged, HypervisorError>,
    needed: bool,
    host: &dyn Host,
    memory: &mut Memory,
) -> Result<(), Problem> {
    let error = match staged {
        Ok(staged) => {
            if needed {
                memory.failures.remove(&vm);
            }
            memory.staged.entry(vm).or_default().extend(staged.changes);
            return Ok(());
        }
        // It went away, and needs nothing.
        Err(HypervisorError::NoSuchVm(_)) => return Ok(()),
        Err(error) => error,
    };
    let code = match error {
        HypervisorError::Unavailable(_) => Code::HypervisorUnavailable,
        _ => Code::VmDefinitionNotChanged,
    };
    let problem = Problem::new(code, format!("{error}.")).about("vm", vm);
    if needed {
        memory.failed(vm, host.now(), vec![problem.clone()]);
    }
    Err(problem)
}

/// True if an action concerns one VM or VF, or a bridge that carries nobody yet: its failure keeps no
/// other back.
pub fn is_for_one(action: &Action) -> bool {
    match action {
        Action::MakeBridge { .. }
        | Action::AddUplink { .. }
        | Action::BindVf { .. }
        | Action::PortFlood { .. }
        | Action::VfVectors { .. }
        | Action::CleanVf { .. }
        | Action::HoldQueuePass { .. }
        | Action::Prepare { .. }
        | Action::AddNic { .. }
        | Action::Switch(_) => true,
        Action::CreateVfs { .. }
        | Action::PinBridge { .. }
        | Action::PortLearning { .. }
        | Action::Filter { .. }
        | Action::BridgeEntry { .. } => false,
    }
}

/// Notes in the ledger what an action is going to add, or to make unknown; true if that changed it.
pub fn note(action: &Action, ledger: &mut Ledger) -> bool {
    let before = ledger.clone();
    match action {
        Action::CreateVfs { .. } => ledger.vectors.clear(),
        Action::VfVectors { vf, .. } => ledger.vectors.forget(*vf),
        Action::PortLearning { port, on: false } | Action::PortFlood { port, on: false }
            if !ledger.ports.contains(port) =>
        {
            ledger.ports.push(port.clone());
        }
        Action::Filter {
            mac, present: true, ..
        } if !ledger.filtered.contains(mac) => {
            ledger.filtered.push(*mac);
        }
        Action::Switch(switch) => {
            if switch.vectors_given().is_some() {
                ledger.vectors.forget(switch.vf);
            }
            if !ledger.ports.contains(&switch.tap) {
                ledger.ports.push(switch.tap.clone());
            }
            if !ledger.filtered.contains(&switch.mac) {
                ledger.filtered.push(switch.mac);
            }
        }
        _ => {}
    }
    *ledger != before
}
